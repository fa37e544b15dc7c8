"""Tasks and trials from Arrow tables. Every row is read separately: an invalid row becomes a fault, others are kept."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metahp.core.checks import MAX_SECONDS, MAX_TEXT, check_texts, show
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.core.metric import METRICS
from metahp.core.task import Task, TaskType
from metahp.core.trial import (
    BOUNDED_METRICS,
    OBJECTIVE_SPLITS,
    ROUNDING,
    Curve,
    Origin,
    Protocol,
    Trial,
    TrialState,
    compute_trial_id,
)
from metahp.core.trial_columns import LossLists, NumberLists, TrialColumns
from metahp.knowledge.columns import TASK_SCHEMA, conform, drop_ids, make_trial_schema
from metahp.knowledge.records import Fault, TaskRecord

_FIELDS = tuple(field.name for field in fields(Trial))
_CURVE_POSITION = _FIELDS.index("curve")
_PROTOCOL = ("folds", "repeats", "seed", "max_rows", "splits")
# States that need no reason.
_ENDED_WELL = pa.array([TrialState.COMPLETE, TrialState.PRUNED], pa.string())


def read_tasks(table: pa.Table) -> tuple[list[TaskRecord | None], list[Fault]]:
    """Task records of a table with the columns of `TASK_SCHEMA`.

    Returns:
        One record per row, None for an invalid row; and the faults of invalid rows.

    Raises:
        KnowledgeBaseError: a column is missing or of another type.
    """
    rows = _list_rows(conform(table, TASK_SCHEMA, "tasks"), "tasks")
    records: list[TaskRecord | None] = []
    faults = []
    for position, row in enumerate(rows):
        try:
            records.append(_build_task(row))
        except Exception as error:
            records.append(None)
            faults.append(Fault.of(position, error))
    return records, faults


def read_trials(table: pa.Table) -> tuple[list[Trial | None], list[Fault]]:
    """Trials of a table with the columns of `make_trial_schema`.

    Ids are not read, but computed from the content. For speed, equal configurations and protocols share one object,
    nested columns are cut from flat lists, and most rows are checked by column: 40,000 trials with curves take about a
    second.

    Returns:
        One trial per row, None for an invalid row; and the faults of invalid rows.

    Raises:
        KnowledgeBaseError: a column is missing or of another type.
    """
    table = _conform_trials(table)
    with _translate_errors():
        parsed = _Parsed.of(table)
        is_sound = _is_sound(table, parsed)
        values = _read_fields(table, parsed)
    trials: list[Trial | None] = [
        _build_unchecked(fields) if sound else None for sound, fields in zip(is_sound.tolist(), values, strict=True)
    ]
    faults = []
    for position in np.flatnonzero(~is_sound).tolist():
        try:
            trials[position] = _build_trial(values[position])
        except Exception as error:
            faults.append(Fault.of(position, error))
    return trials, faults


def read_columns(table: pa.Table) -> tuple[TrialColumns, list[Fault]]:
    """The valid trials of a table with the columns of `make_trial_schema`, as columns, and the faults of other rows.

    Only rows that fail the check by column are built as `Trial` objects, which decide whether the row is valid.

    Raises:
        KnowledgeBaseError: a column is missing or of another type.
    """
    ids = table["id"].to_pylist()
    table = _conform_trials(table)
    with _translate_errors():
        parsed = _Parsed.of(table)
        is_sound = _is_sound(table, parsed)
        positions = np.flatnonzero(is_sound)
        sound = TrialColumns.from_fields(
            ids=_take(ids, positions),
            tasks=_take(table["task"].to_pylist(), positions),
            configurations=_take(parsed.configurations, positions),
            protocols=_take(parsed.protocols, positions),
            states=_take(parsed.states, positions),
            origins=_take(parsed.origins, positions),
            fit_seconds=_to_numpy(table["fit_seconds"])[positions],
            fold_losses=_read_losses(_to_array(table["fold_losses"])).take(positions),
            checkpoints=_read_lists(_to_array(table["curve_checkpoints"])).take(positions),
            curve_losses=_read_losses(_to_array(table["curve_losses"])).take(positions),
        )
        others = np.flatnonzero(~is_sound)
        values = _read_fields(table.take(others), _Parsed(*(_take(column, others) for column in parsed)))
    trials: dict[int, Trial] = {}
    faults = []
    for position, row in zip(others.tolist(), values, strict=True):
        try:
            trials[position] = _build_trial(row)
        except Exception as error:
            faults.append(Fault.of(position, error))
    if not trials:
        return sound, faults
    built = replace(
        TrialColumns.of(trials.values()), ids=np.array([ids[position] for position in trials], dtype=object)
    )
    return TrialColumns.join([sound, built]), faults


def _conform_trials(table: pa.Table) -> pa.Table:
    return conform(table, drop_ids(make_trial_schema(pa.float64())), "trials").combine_chunks()


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn an error of Arrow about unreadable columns into a `KnowledgeBaseError`."""
    try:
        yield
    except (pa.ArrowException, ValueError) as error:
        raise KnowledgeBaseError(f"The trials of this knowledge base cannot be read: {error}") from error


def tasks_from_table(table: pa.Table) -> list[TaskRecord]:
    """The task records of a table; every row must be valid.

    Raises:
        KnowledgeBaseError: a column is missing or of another type, or a row is not a valid task.
    """
    records, faults = read_tasks(table)
    _refuse(faults, "task")
    return [record for record in records if record is not None]


def trials_from_table(table: pa.Table) -> list[Trial]:
    """The trials of a table; every row must be valid.

    Raises:
        KnowledgeBaseError: a column is missing or of another type, or a row is not a valid trial.
    """
    trials, faults = read_trials(table)
    _refuse(faults, "trial")
    return [trial for trial in trials if trial is not None]


def add_ids(table: pa.Table) -> pa.Table:
    """The table of trials with losses as float64, and with the ids of configurations and trials.

    Raises:
        KnowledgeBaseError: a column is missing or of another type, or a configuration or protocol is not valid.
    """
    table = conform(table, drop_ids(make_trial_schema(pa.float64())), "trials")
    configurations, protocols = _read_configurations(table), _read_protocols(table)
    wrong = [
        Fault.of(position, value)
        for position, pair in enumerate(zip(configurations, protocols, strict=True))
        for value in pair
        if isinstance(value, Exception)
    ]
    _refuse(wrong, "trial")
    ids = [
        compute_trial_id(*values) for values in zip(table["task"].to_pylist(), configurations, protocols, strict=True)
    ]
    table = table.append_column("id", pa.array(ids, pa.string()))
    table = table.append_column("configuration_id", pa.array([c.id for c in configurations], pa.string()))
    return table.select(make_trial_schema(pa.float64()).names)


def _refuse(faults: list[Fault], what: str) -> None:
    if faults:
        raise KnowledgeBaseError(f"A {what} of this knowledge base is not valid: {faults[0].reason}.")


def _list_rows(table: pa.Table, what: str) -> list[dict[str, Any]]:
    try:
        return table.to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise KnowledgeBaseError(f"The {what} of this knowledge base cannot be read: {error}") from error


def _build_task(row: Mapping[str, Any]) -> TaskRecord:
    task = Task(
        id=row["id"],
        type=TaskType(row["type"]),
        n_rows=row["n_rows"],
        n_features=row["n_features"],
        n_classes=row["n_classes"],
        name=row["name"],
        group=row["group"],
    )
    features = {name: float("nan") if value is None else value for name, value in row["metafeatures"]}
    return TaskRecord(
        task=task,
        metafeatures=features,
        metafeatures_version=row["metafeatures_version"],
        source=row["source"],
        licence=row["licence"],
    )


class _Parsed(NamedTuple):
    """Fields of `Trial` that are built from texts or several columns, each a list over the rows.

    If a value cannot be read, the list holds the exception in its position.
    """

    configurations: list[Any]
    protocols: list[Any]
    states: list[Any]
    origins: list[Any]
    versions: list[Any]

    @classmethod
    def of(cls, table: pa.Table) -> "_Parsed":
        """The fields of all rows of a table of trials."""
        return cls(
            _read_configurations(table),
            _read_protocols(table),
            _read_once(table["state"].to_pylist(), TrialState),
            _read_once(table["origin"].to_pylist(), Origin),
            _read_once(table["versions"].to_pylist(), _read_versions),
        )


def _read_fields(table: pa.Table, parsed: _Parsed) -> list[tuple[Any, ...]]:
    """The fields of `Trial` for each row; the curve is a pair of checkpoints and losses."""
    curves = zip(
        _list_tuples(_to_array(table["curve_checkpoints"])), _list_losses(_to_array(table["curve_losses"])), strict=True
    )
    columns = [
        table["task"].to_pylist(),
        parsed.configurations,
        parsed.protocols,
        table["n_rows"].to_pylist(),
        parsed.states,
        parsed.origins,
        _list_losses(_to_array(table["fold_losses"])),
        curves,
        *(table[name].to_pylist() for name in ("fit_seconds", "predict_seconds", "reason", "space_version")),
        parsed.versions,
        table["device"].to_pylist(),
    ]
    return list(zip(*columns, strict=True))


def _build_unchecked(values: tuple[Any, ...]) -> Trial:
    return Trial.make_unchecked(
        *values[:_CURVE_POSITION], Curve.make_unchecked(*values[_CURVE_POSITION]), *values[_CURVE_POSITION + 1 :]
    )


def _build_trial(values: tuple[Any, ...]) -> Trial:
    for value in values:
        if isinstance(value, Exception):
            raise value
    by_name = dict(zip(_FIELDS, values, strict=True))
    return Trial(**{**by_name, "curve": Curve(*by_name["curve"])})


def _is_sound(table: pa.Table, parsed: _Parsed) -> np.ndarray:
    """Rows, shape (n,), that `Trial` certainly accepts; other rows may be valid too."""
    sound = np.ones(table.num_rows, dtype=bool)
    for values in parsed:
        sound &= np.fromiter((not isinstance(value, Exception) for value in values), bool, len(sound))
    for column in table.columns:
        if column.null_count:
            sound &= _to_numpy(column.is_valid())
    for name in ("task", "learner", "reason", "splits", "device", "configuration", "versions"):
        sound &= _to_numpy(pc.less_equal(pc.binary_length(table[name]), MAX_TEXT))
    for name in ("task", "learner"):
        sound &= _to_numpy(pc.greater(pc.binary_length(table[name]), 0))
    for name in ("n_rows", "space_version"):
        sound &= _to_numpy(table[name]) >= 0
    for name in ("fit_seconds", "predict_seconds"):
        seconds = _to_numpy(table[name])
        sound &= (seconds >= 0) & (seconds <= MAX_SECONDS)
    sound &= _to_numpy(pc.or_(pc.is_in(table["state"], _ENDED_WELL), pc.greater(pc.binary_length(table["reason"]), 0)))
    sound &= ~_to_numpy(pc.equal(table["splits"], OBJECTIVE_SPLITS))
    n_folds = _to_numpy(table["folds"]).astype(float) * _to_numpy(table["repeats"])
    n_checkpoints, is_increasing = _read_checkpoints(_to_array(table["curve_checkpoints"]))
    is_complete = _to_numpy(pc.equal(table["state"], TrialState.COMPLETE))
    sound &= is_increasing & _has_losses(_to_array(table["curve_losses"]), n_checkpoints, n_checkpoints)
    folds = _to_array(table["fold_losses"])
    sound &= _has_losses(folds, np.where(is_complete, n_folds, 0), n_folds)
    return sound & (~is_complete | (np.diff(folds.offsets.to_numpy()) > 0))


def _has_losses(array: pa.MapArray, fewest: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Rows, shape (n,), in which each metric has `fewest` to `most` losses, shape (n,), all in the metric's range."""
    edges, lists = array.offsets.to_numpy(), array.items
    if lists.null_count or lists.values.null_count:
        return np.zeros(len(array), dtype=bool)
    names, starts, values = array.keys, lists.offsets.to_numpy(), lists.values.to_numpy()
    n_losses = np.diff(starts)
    is_known, is_bounded = (
        np.repeat(_to_numpy(pc.is_in(names, pa.array(sorted(metrics), pa.string()))), n_losses)
        for metrics in (METRICS, BOUNDED_METRICS)
    )
    values = values[starts[0] : starts[-1]] if len(starts) else values
    wrong = (values < -ROUNDING) & is_known | (values > 1 + ROUNDING) & is_bounded | np.isneginf(values)
    counted = np.concatenate(([0], np.cumsum(wrong)))
    offsets = starts - starts[0]
    length = _to_numpy(pc.binary_length(names))
    row = np.repeat(np.arange(len(array)), np.diff(edges))
    inside = slice(edges[0], edges[-1])
    bad = (counted[offsets[1:]] > counted[offsets[:-1]]) | (length == 0) | (length > MAX_TEXT)
    bad = bad[inside] | (n_losses[inside] < fewest[row]) | (n_losses[inside] > most[row])
    return np.bincount(row[bad], minlength=len(array)) == 0


def _read_checkpoints(array: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Number of checkpoints of each row, shape (n,), and whether they are at least 1 and increasing, shape (n,)."""
    edges = array.offsets.to_numpy()
    if array.values.null_count:
        return np.diff(edges), np.zeros(len(array), dtype=bool)
    values = array.values.to_numpy()[edges[0] : edges[-1]]
    row = np.repeat(np.arange(len(array)), np.diff(edges))
    bad = values < 1
    bad[1:] |= (values[1:] <= values[:-1]) & (row[1:] == row[:-1])
    return np.diff(edges), np.bincount(row[bad], minlength=len(array)) == 0


def _to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column as numbers or booleans; missing numbers are NaN, missing booleans False."""
    if pa.types.is_boolean(column.type):
        column = pc.fill_null(column, False)
    return column.to_numpy(zero_copy_only=False)


def read_configuration(learner: str, text: str) -> Configuration:
    """The configuration with these values, a JSON text. An invalid text can raise any exception."""
    return Configuration.of(learner, _check_names(json.loads(text)))


def _read_configurations(table: pa.Table) -> list[Any]:
    keys = zip(table["learner"].to_pylist(), table["configuration"].to_pylist(), strict=True)
    return _read_once(keys, lambda key: read_configuration(*key))


def _read_protocols(table: pa.Table) -> list[Any]:
    keys = zip(*(table[name].to_pylist() for name in _PROTOCOL), strict=True)
    return _read_once(keys, lambda key: Protocol(**dict(zip(_PROTOCOL, key, strict=True))))


def _read_once(keys: Iterable[Any], read: Callable[[Any], Any]) -> list[Any]:
    """The result of `read` for each key, the same object for equal keys; the exception if `read` raises one."""
    known: dict[Any, Any] = {}
    values = []
    for key in keys:
        if key not in known:
            try:
                known[key] = read(key)
            except Exception as error:
                known[key] = error
        values.append(known[key])
    return values


def _read_versions(text: str) -> dict[str, Any]:
    versions = _check_names(json.loads(text))
    check_texts(versions, "The versions of a trial")
    return versions


def _check_names(values: object) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"Expected an object of names and values, got {show(values)}.")
    return values


def _to_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)


def _list_losses(array: pa.MapArray) -> list[dict[str, tuple[float, ...]]]:
    names, losses = array.keys.to_pylist(), _list_tuples(array.items)
    edges = array.offsets.to_pylist()
    return [dict(zip(names[start:stop], losses[start:stop], strict=True)) for start, stop in pairwise(edges)]


def _read_losses(array: pa.MapArray) -> LossLists:
    """The losses of each row by metric."""
    edges, lists = array.offsets.to_numpy(), _read_lists(array.items)
    names = array.keys.dictionary_encode()
    rows = np.repeat(np.arange(len(array)), np.diff(edges))
    inside = slice(edges[0], edges[-1])
    codes = names.indices.to_numpy()[inside]
    starts, counts = (np.zeros((len(names.dictionary), len(array)), dtype=np.int64) for _ in range(2))
    starts[codes, rows], counts[codes, rows] = lists.starts[inside], lists.counts[inside]
    return LossLists(metrics=tuple(names.dictionary.to_pylist()), starts=starts, counts=counts, values=lists.values)


def _read_lists(array: pa.ListArray) -> NumberLists:
    edges = array.offsets.to_numpy().astype(np.int64)
    values = array.values.to_numpy(zero_copy_only=False).astype(float)
    return NumberLists(starts=edges[:-1], counts=np.diff(edges), values=values)


def _take(values: Sequence[Any], positions: np.ndarray) -> list[Any]:
    return [values[position] for position in positions.tolist()]


def _list_tuples(array: pa.ListArray) -> list[tuple[Any, ...]]:
    values, edges = array.values.to_pylist(), array.offsets.to_pylist()
    return [tuple(values[start:stop]) for start, stop in pairwise(edges)]
