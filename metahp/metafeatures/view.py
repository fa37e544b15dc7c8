"""A table as the meta-features see it: in an order of rows and columns that depends on the values alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metahp.core.task import TaskType
from metahp.datasets.table import Table

# Rows and columns that the descriptive groups look at.
MAX_ROWS = 10_000
MAX_COLUMNS = 100
# Rows, columns and classes that models are fitted on: few enough that ten small boosters take about half a second.
MODEL_ROWS = 1_500
MODEL_COLUMNS = 60
MULTICLASS_ROWS = 1_000
MULTICLASS_COLUMNS = 30
MODEL_CLASSES = 5
# Two folds test the most rows for their cost; below this many rows a third keeps the training halves from starving.
FOLDS = 2
FEW_ROWS = 800
MULTICLASS_FEW_ROWS = 400
# A rare class gets this many rows of the model sample where it has them: with one or two its loss is a coin toss.
MIN_CLASS_ROWS = 20
# Tables up to this many cells are hashed three times, so that columns alike in one respect are told apart by others.
REHASHED_CELLS = 1_000_000
REHASH_ROUNDS = 3
CHUNK_CELLS = 1 << 18
# Of the canonical order; sorting the keys costs a row as much as this many cells.
SECONDS_PER_CELL = 1.3e-8
CELLS_PER_ROW = 10

# Odd constants of splitmix64 (Steele et al., 2014, "Fast splittable pseudorandom number generators").
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MISSING = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Meta-features that are computed together.

    `run` gets the values of the steps before it and gives one value for each of `names`; `expected_seconds` of one
    core of a common machine follow from the shape of the table alone; a step is left out where the value named by
    `needs` is missing. A count reads the table as it is, at next to no cost; other steps wait for its canonical order.
    """

    names: tuple[str, ...]
    expected_seconds: float
    run: Callable[[Values], Values]
    needs: str = ""
    is_count: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some rows and columns in canonical order.

    `X` has shape (n, d), categories as codes and NaN for missing; `y` has shape (n,): codes below `n_classes`, or
    numbers. `fold` numbers the fold in which a row is tested, stratified by the target.
    """

    X: np.ndarray
    y: np.ndarray
    is_categorical: np.ndarray
    task_type: TaskType
    n_classes: int
    fold: np.ndarray


class View:
    """Samples of a table that do not change when its rows or columns are permuted; each made on first use."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        self.seed = seed
        # Made here, so that no step pays for what training needs as well.
        self._matrix = table.matrix

    @property
    def is_multiclass(self) -> bool:
        """Whether there are more than two classes, so that every model costs several times as much."""
        return self.table.task.n_classes > 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of `sample`, known without making it."""
        return min(self.table.task.n_rows, MAX_ROWS), min(self.table.task.n_features, MAX_COLUMNS)

    @property
    def n_numeric(self) -> float:
        """Expected number of numeric columns in `sample`."""
        return self.shape[1] * (1.0 - float(self.table.is_categorical.mean()))

    @property
    def model_shape(self) -> tuple[int, int, int, int]:
        """Most rows, columns, classes (1 unless multiclass: what a booster grows per iteration) and the folds."""
        n, d, n_classes = self.table.task.n_rows, self.table.task.n_features, self.table.task.n_classes
        if self.is_multiclass:
            folds = FOLDS + (n < MULTICLASS_FEW_ROWS)
            return min(n, MULTICLASS_ROWS), min(d, MULTICLASS_COLUMNS), min(n_classes, MODEL_CLASSES), folds
        return min(n, MODEL_ROWS), min(d, MODEL_COLUMNS), 1, FOLDS + (n < FEW_ROWS)

    @property
    def seconds_to_order(self) -> float:
        """Expected seconds for the canonical order, on which both samples wait."""
        return self.table.task.n_rows * (self.table.task.n_features + CELLS_PER_ROW) * SECONDS_PER_CELL

    @cached_property
    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """All rows and all columns in canonical order, as indices; an order that the seed shuffles."""
        rows, columns = _keys(self._matrix, self.table.y)
        row_ties, column_ties = _keys_of_ties(self._matrix, rows, columns)
        salt = _mix(np.array([self.seed], dtype=np.uint64) + _MISSING)
        by_column = (self.table.is_categorical, column_ties, _mix(columns ^ salt))
        return np.lexsort((row_ties, _mix(rows ^ salt))), np.lexsort(by_column)

    @cached_property
    def sample(self) -> Sample:
        """What the statistics describe: at most 10,000 rows and 100 columns."""
        rows, columns = self.order
        n_classes = self.table.task.n_classes
        return self._take(rows[:MAX_ROWS], columns[:MAX_COLUMNS], self.table.y[rows[:MAX_ROWS]], n_classes, 1)

    @cached_property
    def models(self) -> Sample:
        """What models are fitted on: fewer rows and columns, and only the most frequent classes.

        Raises:
            ValueError: fewer than two classes have two rows.
        """
        rows, columns = self.order
        n_rows, n_columns, _, folds = self.model_shape
        y = self.table.y[rows]
        if not self.table.task.type.is_classification:
            return self._take(rows[:n_rows], columns[:n_columns], _standardised(y[:n_rows]), 0, folds)
        counts = np.bincount(y, minlength=self.table.task.n_classes)
        kept = np.argsort(-counts, kind="stable")[:MODEL_CLASSES]
        kept = np.sort(kept[counts[kept] >= 2])
        if kept.size < 2:
            raise ValueError("fewer than two classes have two rows")
        quota = np.round(counts[kept] * min(1.0, n_rows / counts[kept].sum())).astype(int)
        quota = np.maximum(quota, np.minimum(counts[kept], MIN_CLASS_ROWS))
        chosen = np.sort(np.concatenate([np.flatnonzero(y == c)[:q] for c, q in zip(kept, quota, strict=True)]))
        return self._take(rows[chosen], columns[:n_columns], np.searchsorted(kept, y[chosen]), kept.size, folds)

    def _take(self, rows: np.ndarray, columns: np.ndarray, y: np.ndarray, n_classes: int, folds: int) -> Sample:
        # Neighbours in target order are tested in different folds, so a class of two rows is never wholly held out.
        fold = np.empty(len(rows), dtype=np.int64)
        fold[np.argsort(y, kind="stable")] = np.arange(len(rows)) % folds
        X = np.asfortranarray(self._matrix[np.ix_(rows, columns)])
        task_type = self.table.task.type
        if task_type is TaskType.MULTICLASS and n_classes == 2:
            task_type = TaskType.BINARY
        return Sample(
            X=X,
            y=y,
            is_categorical=self.table.is_categorical[columns],
            task_type=task_type,
            n_classes=n_classes,
            fold=fold,
        )


def _keys(matrix: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A content hash of every row and every column, none of which depends on the order of the others.

    A column is hashed with the rows that its cells stand in, and a row with the columns, which are refined in turn
    like the colours of a graph.
    """
    n, d = matrix.shape
    step = max(1, CHUNK_CELLS // n)
    parts = [slice(start, start + step) for start in range(0, d, step)]
    hashed: Iterable[tuple[slice, np.ndarray]] = ((part, _mix(_bits(matrix[:, part]))) for part in parts)
    rounds = 1
    if matrix.size <= REHASHED_CELLS:
        hashed, rounds = list(hashed), REHASH_ROUNDS
    target = _mix(_bits(y.astype(float)))
    rows, columns = target, np.empty(d, dtype=np.uint64)
    for _ in range(rounds):
        sums = np.zeros(n, dtype=np.uint64)
        for part, cells in hashed:
            columns[part] = _mix((rows | _ONE) @ cells)
            sums += cells @ (columns[part] | _ONE)
        rows = _mix(target + _mix(sums))
    return rows, columns


def _keys_of_ties(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys that order rows and columns whose first keys are equal, 0 for all columns that need none.

    One round alone does not tell rare flags apart that are set equally often in each class.
    """
    sums, second = np.zeros_like(rows), np.zeros_like(columns)
    _, places, counts = np.unique(columns, return_inverse=True, return_counts=True)
    tied = np.flatnonzero(counts[places] > 1)
    for column in tied if matrix.size > REHASHED_CELLS else ():
        cells = _mix(_bits(matrix[:, column]))
        second[column] = (rows | _ONE) @ cells
        sums += cells * (second[column] | _ONE)
    return sums, second


def _bits(values: np.ndarray) -> np.ndarray:
    values = values + 0.0  # makes -0.0 and 0.0 one value
    bits = values.view(np.uint64)
    bits[np.isnan(values)] = _MISSING  # NaN has many bit patterns
    return bits


def _mix(values: np.ndarray) -> np.ndarray:
    values = values ^ (values >> np.uint64(30))
    values *= _MIX_1
    values ^= values >> np.uint64(27)
    values *= _MIX_2
    values ^= values >> np.uint64(31)
    return values


def _standardised(y: np.ndarray) -> np.ndarray:
    spread = y.std()
    if not spread > 0:
        raise ValueError("the target is constant in the sample")
    return (y - y.mean()) / spread
