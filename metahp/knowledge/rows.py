"""Tasks and trials read from Arrow tables, each row on its own: one that is not valid is told, and the others stay."""

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
from metahp.knowledge.columns import TASK_SCHEMA, conform, drop_ids, trial_schema
from metahp.knowledge.records import Fault, TaskRecord

_FIELDS = tuple(each.name for each in fields(Trial))
_CURVE_PLACE = _FIELDS.index("curve")
_PROTOCOL = ("folds", "repeats", "seed", "max_rows", "splits")
# States that need no reason.
_ENDED_WELL = pa.array([TrialState.COMPLETE, TrialState.PRUNED], pa.string())


def read_tasks(table: pa.Table) -> tuple[list[TaskRecord | None], list[Fault]]:
    """The records of a table with the columns of `TASK_SCHEMA`, None where a row is not valid, and what is wrong there.

    Raises:
        KnowledgeBaseError: a column is missing or of another type.
    """
    rows = _pylist(conform(table, TASK_SCHEMA, "tasks"), "tasks")
    records: list[TaskRecord | None] = []
    faults = []
    for place, row in enumerate(rows):
        try:
            records.append(_build_task(row))
        except Exception as error:
            records.append(None)
            faults.append(Fault.of(place, error))
    return records, faults


def read_trials(table: pa.Table) -> tuple[list[Trial | None], list[Fault]]:
    """The trials of a table with the columns of `trial_schema`, None where a row is not valid, and what is wrong there.

    Ids are not read but follow from the content. Configurations and protocols that repeat are one object, nested
    columns are cut from flat lists and most rows are checked by columns: 40,000 trials with curves take about a second.

    Raises:
        KnowledgeBaseError: a column is missing or of another type.
    """
    table = _conform_trials(table)
    with _clear_errors():
        parsed = _Parsed.of(table)
        is_sound = _is_sound(table, parsed)
        values = _read_fields(table, parsed)
    trials: list[Trial | None] = [
        _build_unchecked(fields) if sound else None for sound, fields in zip(is_sound.tolist(), values, strict=True)
    ]
    faults = []
    for place in np.flatnonzero(~is_sound).tolist():
        try:
            trials[place] = _build_trial(values[place])
        except Exception as error:
            faults.append(Fault.of(place, error))
    return trials, faults


def read_columns(table: pa.Table) -> tuple[TrialColumns, list[Fault]]:
    """The valid trials of a table with the columns of `trial_schema`, as columns, and what is wrong with other rows.

    Only rows that are not certainly valid become objects, which decide themselves.

    Raises:
        KnowledgeBaseError: a column is missing or of another type.
    """
    ids = table["id"].to_pylist()
    table = _conform_trials(table)
    with _clear_errors():
        parsed = _Parsed.of(table)
        is_sound = _is_sound(table, parsed)
        places = np.flatnonzero(is_sound)
        sound = TrialColumns.from_fields(
            ids=_take(ids, places),
            tasks=_take(table["task"].to_pylist(), places),
            configurations=_take(parsed.configurations, places),
            protocols=_take(parsed.protocols, places),
            states=_take(parsed.states, places),
            origins=_take(parsed.origins, places),
            fit_seconds=_to_numpy(table["fit_seconds"])[places],
            fold_losses=_read_losses(_to_array(table["fold_losses"])).take(places),
            checkpoints=_read_lists(_to_array(table["curve_checkpoints"])).take(places),
            curve_losses=_read_losses(_to_array(table["curve_losses"])).take(places),
        )
        others = np.flatnonzero(~is_sound)
        values = _read_fields(table.take(others), _Parsed(*(_take(each, others) for each in parsed)))
    trials: dict[int, Trial] = {}
    faults = []
    for place, row in zip(others.tolist(), values, strict=True):
        try:
            trials[place] = _build_trial(row)
        except Exception as error:
            faults.append(Fault.of(place, error))
    if not trials:
        return sound, faults
    built = replace(TrialColumns.of(trials.values()), ids=np.array([ids[place] for place in trials], dtype=object))
    return TrialColumns.join([sound, built]), faults


def _conform_trials(table: pa.Table) -> pa.Table:
    return conform(table, drop_ids(trial_schema(pa.float64())), "trials").combine_chunks()


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn what Arrow says of columns that cannot be read into an error of the knowledge base."""
    try:
        yield
    except (pa.ArrowException, ValueError) as error:
        raise KnowledgeBaseError(f"The trials of this knowledge base cannot be read: {error}") from error


def tasks_from_table(table: pa.Table) -> list[TaskRecord]:
    """The records of a table, all of them.

    Raises:
        KnowledgeBaseError: a column is missing or of another type, or a value is none that a task can have.
    """
    records, faults = read_tasks(table)
    _refuse(faults, "task")
    return [record for record in records if record is not None]


def trials_from_table(table: pa.Table) -> list[Trial]:
    """The trials of a table, all of them.

    Raises:
        KnowledgeBaseError: a column is missing or of another type, or a value is none that a trial can have.
    """
    trials, faults = read_trials(table)
    _refuse(faults, "trial")
    return [trial for trial in trials if trial is not None]


def add_ids(table: pa.Table) -> pa.Table:
    """A table of trials with losses as float64 and the ids of configurations and trials, computed from the content.

    Raises:
        KnowledgeBaseError: a column is missing or of another type, or a configuration or protocol is not valid.
    """
    table = conform(table, drop_ids(trial_schema(pa.float64())), "trials")
    configurations, protocols = _configurations(table), _protocols(table)
    wrong = [
        Fault.of(place, each)
        for place, pair in enumerate(zip(configurations, protocols, strict=True))
        for each in pair
        if isinstance(each, Exception)
    ]
    _refuse(wrong, "trial")
    ids = [
        compute_trial_id(*values) for values in zip(table["task"].to_pylist(), configurations, protocols, strict=True)
    ]
    table = table.append_column("id", pa.array(ids, pa.string()))
    table = table.append_column("configuration_id", pa.array([c.id for c in configurations], pa.string()))
    return table.select(trial_schema(pa.float64()).names)


def _refuse(faults: list[Fault], what: str) -> None:
    if faults:
        raise KnowledgeBaseError(f"A {what} of this knowledge base is not valid: {faults[0].reason}.")


def _pylist(table: pa.Table, what: str) -> list[dict[str, Any]]:
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
    """The fields of `Trial` that come from texts or several columns, each as a list over the rows.

    Where one cannot be read, the exception has its place.
    """

    configurations: list[Any]
    protocols: list[Any]
    states: list[Any]
    origins: list[Any]
    versions: list[Any]

    @classmethod
    def of(cls, table: pa.Table) -> "_Parsed":
        """The fields in the rows of a table of trials."""
        return cls(
            _configurations(table),
            _protocols(table),
            _interned(table["state"].to_pylist(), TrialState),
            _interned(table["origin"].to_pylist(), Origin),
            _interned(table["versions"].to_pylist(), _versions),
        )


def _read_fields(table: pa.Table, parsed: _Parsed) -> list[tuple[Any, ...]]:
    """The fields of `Trial` in each row, with checkpoints and losses for a curve."""
    curves = zip(_lists(_to_array(table["curve_checkpoints"])), _losses(_to_array(table["curve_losses"])), strict=True)
    columns = [
        table["task"].to_pylist(),
        parsed.configurations,
        parsed.protocols,
        table["n_rows"].to_pylist(),
        parsed.states,
        parsed.origins,
        _losses(_to_array(table["fold_losses"])),
        curves,
        *(table[name].to_pylist() for name in ("fit_seconds", "predict_seconds", "reason", "space_version")),
        parsed.versions,
        table["device"].to_pylist(),
    ]
    return list(zip(*columns, strict=True))


def _build_unchecked(values: tuple[Any, ...]) -> Trial:
    return Trial.unchecked(*values[:_CURVE_PLACE], Curve.unchecked(*values[_CURVE_PLACE]), *values[_CURVE_PLACE + 1 :])


def _build_trial(values: tuple[Any, ...]) -> Trial:
    for value in values:
        if isinstance(value, Exception):
            raise value
    by_name = dict(zip(_FIELDS, values, strict=True))
    return Trial(**{**by_name, "curve": Curve(*by_name["curve"])})


def _is_sound(table: pa.Table, parsed: _Parsed) -> np.ndarray:
    """Which rows, shape (n,), a `Trial` would surely not refuse; about the others it decides itself."""
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
    n_checkpoints, is_increasing = _checkpoints(_to_array(table["curve_checkpoints"]))
    is_complete = _to_numpy(pc.equal(table["state"], TrialState.COMPLETE))
    sound &= is_increasing & _has_losses(_to_array(table["curve_losses"]), n_checkpoints, n_checkpoints)
    folds = _to_array(table["fold_losses"])
    sound &= _has_losses(folds, np.where(is_complete, n_folds, 0), n_folds)
    return sound & (~is_complete | (np.diff(folds.offsets.to_numpy()) > 0))


def _has_losses(array: pa.MapArray, fewest: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Rows (n,) of which each metric has between `fewest` and `most` losses (n,), all of them possible ones."""
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


def _checkpoints(array: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """The number of checkpoints of each row (n,), and whether they increase from 1 on."""
    edges = array.offsets.to_numpy()
    if array.values.null_count:
        return np.diff(edges), np.zeros(len(array), dtype=bool)
    values = array.values.to_numpy()[edges[0] : edges[-1]]
    row = np.repeat(np.arange(len(array)), np.diff(edges))
    bad = values < 1
    bad[1:] |= (values[1:] <= values[:-1]) & (row[1:] == row[:-1])
    return np.diff(edges), np.bincount(row[bad], minlength=len(array)) == 0


def _to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column as numbers or truth values; missing ones are False, or NaN."""
    if pa.types.is_boolean(column.type):
        column = pc.fill_null(column, False)
    return column.to_numpy(zero_copy_only=False)


def read_configuration(learner: str, text: str) -> Configuration:
    """The configuration whose values are a JSON text; raises whatever is wrong with it."""
    return Configuration.of(learner, _parsed(json.loads(text)))


def _configurations(table: pa.Table) -> list[Any]:
    keys = zip(table["learner"].to_pylist(), table["configuration"].to_pylist(), strict=True)
    return _interned(keys, lambda key: read_configuration(*key))


def _protocols(table: pa.Table) -> list[Any]:
    keys = zip(*(table[name].to_pylist() for name in _PROTOCOL), strict=True)
    return _interned(keys, lambda key: Protocol(**dict(zip(_PROTOCOL, key, strict=True))))


def _interned(keys: Iterable[Any], read: Callable[[Any], Any]) -> list[Any]:
    """What `read` makes of each key, one object for equal keys; the exception where it raises one."""
    known: dict[Any, Any] = {}
    found = []
    for key in keys:
        if key not in known:
            try:
                known[key] = read(key)
            except Exception as error:
                known[key] = error
        found.append(known[key])
    return found


def _versions(text: str) -> dict[str, Any]:
    versions = _parsed(json.loads(text))
    check_texts(versions, "The versions of a trial")
    return versions


def _parsed(values: object) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f"Expected an object of names and values, got {show(values)}.")
    return values


def _to_array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)


def _losses(array: pa.MapArray) -> list[dict[str, tuple[float, ...]]]:
    names, losses = array.keys.to_pylist(), _lists(array.items)
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


def _take(values: Sequence[Any], places: np.ndarray) -> list[Any]:
    return [values[place] for place in places.tolist()]


def _lists(array: pa.ListArray) -> list[tuple[Any, ...]]:
    values, edges = array.values.to_pylist(), array.offsets.to_pylist()
    return [tuple(values[start:stop]) for start, stop in pairwise(edges)]
