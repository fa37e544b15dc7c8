"""Meta-features from counts: sizes, kinds of columns, missing values, and the balance of the classes.

For features about classes, regression counts as the limit of one class per row: shares 0, entropy 1, one row per class.
Only the number of classes itself is 0.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from metahp.core.task import TaskType
from metahp.datasets.table import Table
from metahp.metafeatures.view import Step, Values, View

# The first rows are checked alone: if they have more than two values, the column is not binary.
PEEK = 200
SECONDS_PER_CELL = 1.5e-9


def _log_n_rows(table: Table) -> float:
    return math.log(table.task.n_rows)


def _log_n_features(table: Table) -> float:
    return math.log(table.task.n_features)


def _log_rows_per_feature(table: Table) -> float:
    return math.log(table.task.n_rows / table.task.n_features)


def _n_classes(table: Table) -> float:
    return float(table.task.n_classes)


def _is_binary(table: Table) -> float:
    return float(table.task.type is TaskType.BINARY)


def _is_regression(table: Table) -> float:
    return float(table.task.type is TaskType.REGRESSION)


def _categorical_share(table: Table) -> float:
    return float(table.is_categorical.mean())


def _binary_column_share(table: Table) -> float:
    return sum(_has_two_values(column) for column in table.matrix.T) / table.task.n_features


def _has_two_values(column: np.ndarray) -> bool:
    head = column[:PEEK]
    if np.unique(head[~np.isnan(head)]).size > 2:
        return False
    present = column[~np.isnan(column)]
    if present.size == 0 or present.min() == present.max():
        return False
    return bool(((present == present.min()) | (present == present.max())).all())


def _list_cardinalities(table: Table) -> list[int]:
    """Numbers of categories, sorted so that a sum over them does not depend on the order of the columns."""
    return sorted(len(dtype.categories) for dtype in table.features.dtypes if isinstance(dtype, pd.CategoricalDtype))


def _log_cardinality_mean(table: Table) -> float:
    return float(np.mean([math.log(max(count, 1)) for count in _list_cardinalities(table)] or [0.0]))


def _log_cardinality_max(table: Table) -> float:
    return math.log(max(_list_cardinalities(table) or [1]) or 1)


def _compute_class_shares(table: Table) -> np.ndarray:
    return np.bincount(table.y, minlength=table.task.n_classes) / len(table.y)


def _minority_share(table: Table) -> float:
    return float(_compute_class_shares(table).min()) if table.task.type.is_classification else 0.0


def _majority_share(table: Table) -> float:
    return float(_compute_class_shares(table).max()) if table.task.type.is_classification else 0.0


def _class_entropy(table: Table) -> float:
    """Entropy of the classes, divided by the entropy of equally frequent classes."""
    if not table.task.type.is_classification:
        return 1.0
    shares = _compute_class_shares(table)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / math.log(table.task.n_classes))


def _log_rows_per_class(table: Table) -> float:
    return math.log(table.task.n_rows / table.task.n_classes) if table.task.type.is_classification else 0.0


_FEATURES: dict[str, Callable[[Table], float]] = {
    "log_n_rows": _log_n_rows,
    "log_n_features": _log_n_features,
    "log_rows_per_feature": _log_rows_per_feature,
    "n_classes": _n_classes,
    "is_binary": _is_binary,
    "is_regression": _is_regression,
    "categorical_share": _categorical_share,
    "binary_column_share": _binary_column_share,
    "log_cardinality_mean": _log_cardinality_mean,
    "log_cardinality_max": _log_cardinality_max,
    "minority_share": _minority_share,
    "majority_share": _majority_share,
    "class_entropy": _class_entropy,
    "log_rows_per_class": _log_rows_per_class,
}
_GAPS = ("missing_share", "missing_column_share", "missing_row_share")

NAMES: tuple[str, ...] = (*_FEATURES, *_GAPS)


def plan_steps(view: View) -> list[Step]:
    """One step per feature; the features about missing values share one step and one pass over the table."""
    table = view.table

    def plan_step(name: str, feature: Callable[[Table], float]) -> Step:
        return Step(names=(name,), expected_seconds=0.0, run=lambda _: {name: feature(table)}, is_count=True)

    return [
        *(plan_step(name, feature) for name, feature in _FEATURES.items()),
        Step(
            names=_GAPS,
            expected_seconds=table.matrix.size * SECONDS_PER_CELL,
            run=lambda _: _measure_gaps(table),
            is_count=True,
        ),
    ]


def _measure_gaps(table: Table) -> Values:
    matrix = table.matrix
    counts = np.empty(matrix.shape[1])
    is_incomplete = np.zeros(len(matrix), dtype=bool)
    for index, column in enumerate(matrix.T):
        is_missing = np.isnan(column)
        counts[index] = np.count_nonzero(is_missing)
        is_incomplete |= is_missing
    return dict(zip(_GAPS, (counts.sum() / matrix.size, (counts > 0).mean(), is_incomplete.mean()), strict=True))
