"""Make a table of a raw table: its target, the task type and the prepared columns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from metahp.core.errors import InputError
from metahp.core.task import Task, TaskType, find_task_type
from metahp.core.text import join_names, make_encodable
from metahp.datasets.columns import (
    ColumnRules,
    ParsedColumn,
    describe_columns,
    parse_column,
    settle_day_first,
)
from metahp.datasets.fingerprint import fingerprint
from metahp.datasets.leaks import find_copies, find_giveaways
from metahp.datasets.limits import MIN_ROWS
from metahp.datasets.portable import make_number_label, parse_numbers
from metahp.datasets.preparation import Preparation, make_target_column
from metahp.datasets.raw import RawTable
from metahp.datasets.table import Table
from metahp.datasets.target import encode_target, find_target, is_junk, parse_target

# Warn above this many columns: every later step takes longer.
WIDE_COLUMNS = 1000
# A class with fewer rows is missing in some of the usual three folds.
MIN_CLASS_ROWS = 3
# Columns of many numbers beside one column of names, and no column that is called like a target.
MIN_TRANSPOSED_COLUMNS = 8


def build_table(
    raw: RawTable | pd.DataFrame,
    *,
    target: str | None = None,
    task_type: TaskType | str | None = None,
    group: str = "",
) -> Table:
    """A table made from `raw`, which is not changed.

    Args:
        raw: One row per example, with the target among the columns; a frame means `RawTable.of(frame)`.
        target: Name of the target column; None for that of `raw`, which is guessed where `raw` has none.
        task_type: What to predict; None to infer it from the target.
        group: Name of a group of related tasks; the name of the table where empty.

    Raises:
        InputError: no rows, fewer than 20 rows with a target, one column or too many, one class, as many classes as
            rows, no usable feature, or a task type that the target does not allow.
        UnknownNameError: no column is called `target`, or no task type is called `task_type`.
    """
    wanted = find_task_type(task_type)
    raw = raw if isinstance(raw, RawTable) else RawTable.of(raw)
    frame = raw.frame
    _check_size(frame)
    warnings = list(raw.warnings)
    if frame.shape[1] > WIDE_COLUMNS:
        warnings.append(
            f"the table is wide: {frame.shape[1]:,} columns; every step takes longer, "
            "so leave out the columns that you know to be useless"
        )
    target, origin = find_target(frame, raw.target if target is None else target)
    parsed = parse_target(frame[target], raw.rules, wanted)
    has_target = parsed.cells.notna()
    if not has_target.any():
        raise InputError(
            f"Every value of the target '{target}' is missing; name another column with `target`.", argument="target"
        )
    n_without = int((~has_target).sum())
    if n_without:
        warnings.append(f"{n_without} row(s) without a target left out")
        frame = frame[has_target.to_numpy()]
    if len(frame) < MIN_ROWS:
        raise InputError(
            f"Expected at least {MIN_ROWS} rows with a target, found {len(frame)}; "
            "with fewer rows, scores are meaningless."
        )
    cells = parsed.cells[has_target]
    kind, y, classes = encode_target(cells, target, wanted, date=parsed.date)
    useless = {name: "as asked" for name in raw.drop if name != target}
    if raw.id_column:
        useless[raw.id_column] = "the id of a row"
    names = [str(name) for name in frame.columns if name != target]
    useless |= {name: "nothing but separators" for name in names if is_junk(frame[name]) and frame[name].notna().any()}
    columns = _parse_columns(frame, [name for name in names if name not in useless], raw.rules)
    rows = np.flatnonzero(has_target.to_numpy())
    warnings += _describe(columns, parsed, raw.rules, rows)
    task_id = fingerprint([column.cells for column in columns.values()], _make_numbers(cells), kind)
    copies = find_copies(columns, y, kind)
    useless |= copies if len(copies) < len(columns) else {}
    renamed = [name for name in raw.read.renamed.values() if name != target]
    preparation, notes = Preparation.fit(columns, renamed, useless=useless, missing=raw.rules.missing)
    if not preparation.columns:
        left_out = "; ".join(f"{column} ({why})" for column, why in list(preparation.dropped.items())[:5])
        raise InputError(f"No usable feature column is left beside the target '{target}': {left_out}.")
    preparation = replace(preparation, target=make_target_column(parsed), id_column=raw.id_column)
    features = preparation.make_features(columns)
    warnings += _describe_classes(y, classes)
    used = {name: columns[name] for name in preparation.used_names}
    warnings += find_giveaways(used, y, kind)
    if origin == "guessed: last column" and _looks_transposed(frame, columns, kind):
        warnings.append(
            f"the table looks transposed: {len(frame):,} named rows of numbers like each other; where the rows are "
            "features and the columns are examples, transpose it first"
        )
    return Table(
        task=Task(
            id=task_id,
            type=kind,
            n_rows=len(frame),
            n_features=features.shape[1],
            n_classes=len(classes),
            name=make_encodable(raw.name),
            group=make_encodable(group or raw.name),
        ),
        features=features,
        y=y,
        target=target,
        classes=classes,
        target_origin=origin,
        n_rows_without_target=n_without,
        preparation=preparation,
        warnings=(*warnings, *notes),
        read=raw.read,
    )


def _check_size(frame: pd.DataFrame) -> None:
    if frame.shape[1] < 2:
        raise InputError(
            f"Expected a target and at least one feature column, found {frame.shape[1]} column(s). "
            "Is the separator one of , ; tab |?"
        )
    if len(frame) == 0:
        raise InputError(f"Expected at least {MIN_ROWS} rows, found a header and no rows.")


def _make_numbers(cells: pd.Series) -> pd.Series:
    """A target whose classes are called like numbers as these: 0 and 1 are the same task, be they text or not."""
    if not isinstance(cells.dtype, pd.CategoricalDtype):
        return cells
    labels = cells.cat.categories.to_numpy(dtype=object)
    numbers = parse_numbers(labels)
    if not np.isfinite(numbers).all() or [make_number_label(number) for number in numbers] != list(labels):
        return cells
    return pd.Series(numbers[cells.cat.codes.to_numpy()], index=cells.index, name=cells.name)


def _parse_columns(frame: pd.DataFrame, names: Sequence[str], rules: ColumnRules) -> dict[str, ParsedColumn]:
    columns = {name: parse_column(frame[name], rules) for name in names}
    day_first = settle_day_first(list(columns.values())) if rules.day_first is None else None
    if day_first is not None:
        for name, column in columns.items():
            if column.notation is not None and column.notation.is_ambiguous:
                columns[name] = parse_column(frame[name], replace(rules, day_first=day_first))
    return columns


def _describe(
    columns: Mapping[str, ParsedColumn], target: ParsedColumn, rules: ColumnRules, rows: np.ndarray
) -> list[str]:
    """What a user should know of how columns and target were read; `rows` are those that have a target."""
    moved = [
        replace(column, odd=tuple((text, int(rows[row])) for text, row in column.odd)) for column in columns.values()
    ]
    return list(describe_columns([target, *moved], rules))


def _describe_classes(y: np.ndarray, classes: Sequence[str]) -> list[str]:
    if not classes:
        return []
    counts = np.bincount(y, minlength=len(classes))
    rare = [f"'{name}' ({count})" for name, count in zip(classes, counts, strict=True) if count < MIN_CLASS_ROWS]
    if not rare:
        return []
    return [
        f"classes with fewer rows than the {MIN_CLASS_ROWS} folds of cross-validation: {join_names(rare)}; some folds "
        "lack them and learn nothing of them; merge or leave them out"
    ]


def _looks_transposed(frame: pd.DataFrame, columns: Mapping[str, ParsedColumn], kind: TaskType) -> bool:
    """Whether rows seem to be features: a first column of different names, then many numbers on one scale."""
    if kind is not TaskType.REGRESSION or len(columns) < MIN_TRANSPOSED_COLUMNS or len(frame) < 2 * len(columns):
        return False
    first, *others = columns.values()
    if not isinstance(first.cells.dtype, pd.CategoricalDtype) or first.cells.nunique() < len(frame):
        return False
    if not all(column.is_number for column in others):
        return False
    medians = np.array([np.nanmedian(column.cells.to_numpy()) for column in others])
    spreads = np.array([np.nanstd(column.cells.to_numpy()) for column in others])
    return bool(np.ptp(medians) <= 2 * np.median(spreads) and spreads.max() <= 5 * max(spreads.min(), 1e-12))
