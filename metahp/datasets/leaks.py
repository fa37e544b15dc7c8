"""Find columns that are copies of the target, or that tell it alone."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from metahp.core.task import TaskType
from metahp.datasets.columns import ParsedColumn

COPY = "a copy of the target"
# Above this share of rows whose target a column tells alone, it is named.
GIVEAWAY_SHARE = 0.995
# Unexplained share of the target's variance below which a column is the target on another scale.
SAME = 1e-9
# A column of so many different values per class tells nothing by being pure.
MIN_ROWS_PER_VALUE = 5.0
# More rows than this are looked at only where these rows show a giveaway.
MOST_ROWS = 20_000


def find_copies(columns: Mapping[str, ParsedColumn], y: np.ndarray, kind: TaskType) -> dict[str, str]:
    """Why to leave out columns that are the target under another name or on another scale, by name.

    Args:
        columns: Parsed columns of the rows that have a target.
        y: The target, shape (n,), numbers or codes of classes.
        kind: What is predicted.
    """
    some = _choose_rows(len(y))
    return {
        name: COPY
        for name, column in columns.items()
        if (some is None or _may_be_copy(column.cells.iloc[some], y[some], kind)) and _is_copy(column.cells, y, kind)
    }


def _may_be_copy(cells: pd.Series, y: np.ndarray, kind: TaskType) -> bool:
    """Whether some of the rows allow that a column is a copy of a target of classes; true for every other target."""
    if kind is TaskType.REGRESSION:
        return True
    codes = _make_codes(cells)
    if codes is None or (codes < 0).any():
        return False
    n_pairs = len(np.unique(codes * (int(y.max()) + 1) + y))
    return n_pairs == int(codes.max()) + 1 == len(np.unique(y))


def _is_copy(cells: pd.Series, y: np.ndarray, kind: TaskType) -> bool:
    if kind is TaskType.REGRESSION:
        if not pd.api.types.is_numeric_dtype(cells.dtype):
            return False
        values = cells.to_numpy(dtype=float)
        is_known = np.isfinite(values)
        if is_known.sum() < max(3, 0.9 * len(values)) or np.ptp(values[is_known]) == 0 or np.ptp(y[is_known]) == 0:
            return False
        with np.errstate(all="ignore"):
            correlation = np.corrcoef(values[is_known], y[is_known])[0, 1]
        return bool(1 - correlation**2 < SAME)
    codes = _make_codes(cells)
    if codes is None or (codes < 0).any():
        return False
    return codes.max() == y.max() and len(np.unique(codes * (int(y.max()) + 1) + y)) == int(y.max()) + 1


def _make_codes(cells: pd.Series) -> np.ndarray | None:
    if isinstance(cells.dtype, pd.CategoricalDtype):
        codes, _ = pd.factorize(cells)
        return codes
    if pd.api.types.is_numeric_dtype(cells.dtype):
        codes, _ = pd.factorize(cells.to_numpy(dtype=float))
        return codes
    return None


def find_giveaways(columns: Mapping[str, ParsedColumn], y: np.ndarray, kind: TaskType) -> Iterator[str]:
    """A line for each column that tells the target nearly alone.

    Args:
        columns: Parsed columns that are used, of the rows that have a target.
        y: The target, shape (n,), numbers or codes of classes.
        kind: What is predicted.
    """
    some = _choose_rows(len(y))
    for name, column in columns.items():
        if some is not None and not _may_tell(column.cells, y, kind, some):
            continue
        if _tells(column.cells, y, kind):
            yield (
                f"column '{name}' tells the target nearly alone; leave it out with `drop` if it is not known when you "
                "predict, or every score is too good"
            )


def _may_tell(cells: pd.Series, y: np.ndarray, kind: TaskType, some: np.ndarray) -> bool:
    """Whether some of the rows allow that a column tells the target, which takes less time than all of them.

    Where a column has many values, a sample has too few rows for each, though all rows may be enough. Then the number
    of values is counted on all rows, unless the sample repeats so few of them that it must be too large.
    """
    few = cells.iloc[some]
    if _tells(few, y[some], kind):
        return True
    n_values = few.nunique()
    if kind is TaskType.REGRESSION or n_values * MIN_ROWS_PER_VALUE <= len(some):
        return False
    most = len(cells) / MIN_ROWS_PER_VALUE
    n_expected = most * (1 - (1 - 1 / most) ** len(some))
    # Unequal frequencies only make repeats more frequent; half of them leaves room for luck.
    if len(some) - n_values < (len(some) - n_expected) / 2:
        return False
    return bool(cells.nunique() <= most)


def _choose_rows(n_rows: int) -> np.ndarray | None:
    """Some of the rows, in their order; None where there are few enough to look at all of them."""
    if n_rows <= MOST_ROWS:
        return None
    return np.sort(np.random.default_rng(0).choice(n_rows, MOST_ROWS, replace=False))


def _tells(cells: pd.Series, y: np.ndarray, kind: TaskType) -> bool:
    if kind is TaskType.REGRESSION:
        return _tells_number(cells, y)
    codes = _make_codes(cells)
    if codes is None or len(y) == 0:
        return False
    n_classes = int(y.max()) + 1
    if n_classes < 2 or np.bincount(y).max() > 0.98 * len(y):
        return False
    if (int(codes.max()) + 1) * MIN_ROWS_PER_VALUE <= len(y):
        shifted = codes + 1
        table = np.zeros((int(shifted.max()) + 1, n_classes))
        np.add.at(table, (shifted, y), 1)
        return bool(table.max(axis=1).sum() >= GIVEAWAY_SHARE * len(y))
    if not pd.api.types.is_numeric_dtype(cells.dtype):
        return False
    values = cells.to_numpy(dtype=float)
    is_known = ~np.isnan(values)
    if is_known.mean() < GIVEAWAY_SHARE:
        return False
    order = np.argsort(values[is_known], kind="stable")
    changes = int(np.count_nonzero(np.diff(y[is_known][order])))
    return changes <= (n_classes - 1) + 2 * (1 - GIVEAWAY_SHARE) * len(y)


def _tells_number(cells: pd.Series, y: np.ndarray) -> bool:
    """Whether the target rises or falls with the column throughout, as its logarithm does."""
    if not pd.api.types.is_numeric_dtype(cells.dtype):
        return False
    values = cells.to_numpy(dtype=float)
    is_known = np.isfinite(values)
    if is_known.sum() < max(20, 0.9 * len(values)):
        return False
    if len(np.unique(values[is_known])) < len(np.unique(y[is_known])) / 2:
        return False
    # Pearson's correlation of the ranks alone takes a sort of every column; that of the values rules most out.
    with np.errstate(all="ignore"):
        if not abs(np.corrcoef(values[is_known], y[is_known])[0, 1]) > 0.5:
            return False
    ranks = pd.DataFrame({"x": values[is_known], "y": y[is_known]}).rank()
    return bool(abs(np.corrcoef(ranks["x"], ranks["y"])[0, 1]) > 0.9999)
