"""The rows of a study: those to tune on, in folds, and those to set aside before anything looks at them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.trial import Protocol
from metahp.datasets.columns import parse_column
from metahp.datasets.infer import build_table
from metahp.datasets.load import leave_out_weights, load, read
from metahp.datasets.raw import RawTable
from metahp.datasets.table import Table
from metahp.datasets.target import parse_target
from metahp.evaluation.splits import (
    Splits,
    check_complete,
    check_weights,
    split_by_group,
    split_by_time,
    split_with,
    weigh,
)
from metahp.study.request import Folds

# The default number of folds: fewer on large tables, where the noise of a fold is small and its cost is not.
N_FOLDS, N_FOLDS_OF_MANY, MANY_ROWS = 5, 3, 10_000
DEFAULT_FOLDS = Folds()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The rows of a table as a study uses them.

    Attributes:
        table: The inner rows, which are tuned on.
        protocol: How trials on them are measured.
        splits: Their folds; None for the default folds of the protocol.
        outer: The rows that are set aside, raw and with their target; None where there are none.
        whole: Id of the table of inner and outer rows; empty where there are no outer rows.
        split_column: The column by whose groups or times the folds go; empty without.
        weight_column: The column that has the weights of rows; empty without.
        outer_weights: Weights of the outer rows, shape (n_outer,); None where all are equal.
    """

    table: Table
    protocol: Protocol
    splits: Splits | None = None
    outer: pd.DataFrame | None = None
    whole: str = ""
    split_column: str = ""
    weight_column: str = ""
    outer_weights: np.ndarray | None = None

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of the inner rows, shape (n,); None where all are equal."""
        return None if self.splits is None else self.splits.weights


def split_rows(
    X: Any, y: Any = None, *, target: str | None = None, task: str | None = None, folds: Folds = DEFAULT_FOLDS
) -> Rows:
    """The rows of a table, in folds; X, y, target and task are those of `metahp.tune`.

    Raises:
        InputError, UnknownNameError: the table, a column or a size cannot be used.
    """
    groups, time, splitter, seed = folds.groups, folds.time, folds.splitter, folds.seed
    outer, whole, weights, outer_weights = None, "", None, None
    split_column = "" if splitter is not None else next((by for by in (groups, time) if isinstance(by, str)), "")
    if groups is None and time is None and folds.test_size is None and folds.sample_weight is None:
        table = load(X, y, target=target, task=task)
    else:
        aside = _set_rows_aside(X, y, target, task, folds)
        table, outer, groups, time, whole = aside.table, aside.outer, aside.groups, aside.times, aside.whole
        weights, outer_weights = aside.weights, aside.outer_weights
    n = table.task.n_rows
    cap = n if folds.max_rows is None else min(folds.max_rows, n)
    n_folds = folds.cv if folds.cv is not None else N_FOLDS if n <= MANY_ROWS else N_FOLDS_OF_MANY
    if not 2 <= n_folds <= cap // 2:
        raise InputError(
            f"Expected 2 to {cap // 2} folds for {cap:,} rows, got {n_folds}. Change `cv`"
            + (" or `max_rows`." if cap < n else "."),
            argument="cv",
        )
    if splitter is not None:
        splits = split_with(table, splitter, groups)
    elif groups is not None:
        splits = split_by_group(table, groups, n_folds, seed)
    elif time is not None:
        splits = split_by_time(table, time, n_folds)
    else:
        splits = None
    if weights is not None:
        splits = weigh(table, weights, splits, n_folds, seed)
    if splits is None:
        protocol = Protocol(folds=n_folds, seed=seed, max_rows=cap)
        return Rows(table=table, protocol=protocol, outer=outer, whole=whole)
    return Rows(
        table=table,
        protocol=splits.make_protocol(seed=seed, max_rows=cap),
        splits=splits,
        outer=outer,
        whole=whole,
        split_column=split_column,
        weight_column=folds.sample_weight if isinstance(folds.sample_weight, str) else "",
        outer_weights=outer_weights,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Aside:
    """The table of the inner rows and the outer rows, with what is known of both; fields as in `Rows`."""

    table: Table
    outer: pd.DataFrame | None
    whole: str
    groups: np.ndarray | None
    times: np.ndarray | None
    weights: np.ndarray | None
    outer_weights: np.ndarray | None


def _set_rows_aside(X: Any, y: Any, target: str | None, task: str | None, folds: Folds) -> _Aside:
    """The rows in two parts, with groups, times and weights."""
    groups, time = folds.groups, folds.time
    if isinstance(X, Table):
        raise InputError("Groups, times, weights and outer rows need the raw rows; pass a file, a frame or arrays.")
    raw = read(X, y, target=target)
    if isinstance(folds.sample_weight, str):
        raw = leave_out_weights(raw, folds.sample_weight)
    full = build_table(raw, task_type=task)
    has_target = parse_target(raw.frame[full.target], raw.rules, full.task.type).cells.notna().to_numpy()
    # The inner rows alone may not show which comes first.
    raw = replace(raw, rules=replace(raw.rules, day_first=full.preparation.day_first))
    frame = raw.frame[has_target].reset_index(drop=True)
    labels = _read_row_values(groups, frame, has_target, full.target, "groups")
    times = _read_row_values(time, frame, has_target, full.target, "time")
    weights = _read_weights(folds.sample_weight, frame, has_target, full.target, raw)
    if times is not None:
        # Times are no categories, whatever the type of their column.
        times = parse_column(pd.Series(times), replace(raw.rules, is_typed=False, categorical=())).cells.to_numpy()
        if times.dtype == object:
            of = f"in the column '{time}' of `time`" if isinstance(time, str) else "of rows"
            raise InputError(f"Expected times {of} that are numbers or dates, such as 2026-01-31; got '{times[0]}'.")
    for name, values in (("groups", labels), ("times", times)):
        if values is not None:
            check_complete(values, name)
    inner, outer = _divide_rows(full, labels, times, folds.test_size, folds.seed)
    left_out = [groups] if isinstance(groups, str) else []
    inner_raw = replace(raw, frame=frame.iloc[inner].drop(columns=left_out), target=full.target)
    table = build_table(inner_raw, task_type=full.task.type)
    dropped = {**table.preparation.dropped, **dict.fromkeys(left_out, "names the group of a row")}
    preparation = replace(table.preparation, dropped=dropped, inputs=full.preparation.inputs)
    # Of what both tables have to say of their columns, that of the inner rows holds.
    notes = {note.partition(":")[0]: note for note in (*full.warnings, *table.warnings)}
    table = replace(table, preparation=preparation, warnings=tuple(notes.values()), target_origin=full.target_origin)
    return _Aside(
        table=table,
        outer=frame.iloc[outer] if len(outer) else None,
        whole=full.task.id if len(outer) else "",
        groups=None if labels is None else labels[inner],
        times=None if times is None else times[inner],
        weights=None if weights is None else weights[inner],
        outer_weights=None if weights is None or not len(outer) else check_weights(weights[outer]),
    )


def _read_weights(
    given: Any, frame: pd.DataFrame, has_target: np.ndarray, target: str, raw: RawTable
) -> np.ndarray | None:
    """The weight of every row with a target, shape (n,); None where none are given."""
    values = _read_row_values(given, frame, has_target, target, "sample_weight")
    if values is None:
        return None
    of = f"in the column '{given}'" if isinstance(given, str) else "of rows"
    cells = pd.Series(values)
    if isinstance(given, str):
        cells = parse_column(cells, replace(raw.rules, is_typed=False, categorical=())).cells
    numbers = pd.to_numeric(cells, errors="coerce") if cells.dtype == object else cells
    if not pd.api.types.is_numeric_dtype(numbers) or numbers.isna().any():
        odd = next((value for value in values if not isinstance(value, int | float) or value != value), values[0])
        raise InputError(
            f"Expected weights {of} that are finite numbers of at least 0; got {odd!r:.40}.", argument="sample_weight"
        )
    return check_weights(numbers.to_numpy())


def _read_row_values(
    given: Any, frame: pd.DataFrame, has_target: np.ndarray, target: str, argument: str
) -> np.ndarray | None:
    """One value per row with a target: those of a column of `frame`, or given for all rows.

    `argument` is the one of `metahp.tune` that they were given as.
    """
    if given is None:
        return None
    if isinstance(given, str):
        names = [str(name) for name in frame.columns]
        if given not in names:
            raise UnknownNameError(
                f"No column is called '{given}'. {did_you_mean(given, names[:50])}", argument=argument
            )
        if given == target:
            raise InputError(f"'{given}' is the target; name another column with `{argument}`.", argument=argument)
        return frame[given].to_numpy(dtype=object)
    values = np.asarray(given, dtype=object)
    if values.shape != has_target.shape:
        raise InputError(
            f"Expected a value of `{argument}` for each of {len(has_target):,} rows, got shape {values.shape}.",
            argument=argument,
        )
    return values[has_target]


def _divide_rows(
    full: Table, labels: np.ndarray | None, times: np.ndarray | None, test_size: float | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to tune on and to set aside: whole groups, the latest rows, or each class by its share."""
    everyone = np.arange(full.task.n_rows)
    if test_size is None:
        return everyone, everyone[:0]
    n_outer = math.ceil(test_size * len(everyone))
    if n_outer >= len(everyone):
        raise InputError(
            f"`test_size={test_size:g}` leaves no row of {len(everyone)} to tune on.", argument="test_size"
        )
    if times is not None:
        order = np.argsort(times, kind="stable")
        return np.sort(order[:-n_outer]), np.sort(order[-n_outer:])
    if labels is not None:
        codes, distinct = pd.factorize(labels)
        if len(distinct) < 2:
            raise InputError("Setting groups aside needs at least 2 of them; there is one.", argument="groups")
        splitter = GroupShuffleSplit(1, test_size=test_size, random_state=seed)
        inner, outer = next(splitter.split(everyone, groups=codes))
        return inner, outer
    is_stratified = full.task.type.is_classification and _can_stratify(full.y, n_outer)
    inner, outer = train_test_split(
        everyone, test_size=n_outer, random_state=seed, stratify=full.y if is_stratified else None
    )
    return np.sort(inner), np.sort(outer)


def _can_stratify(y: Sequence[int] | np.ndarray, n_outer: int) -> bool:
    counts = np.bincount(y)
    return bool(counts.min() >= 2 and n_outer >= len(counts) and len(y) - n_outer >= len(counts))
