"""Samples of a table in canonical order: an order of rows and columns that depends on the values alone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metahp.core.task import TaskType
from metahp.datasets.table import Table

# Most rows and columns of the sample for the groups that fit no model.
MAX_ROWS = 10_000
MAX_COLUMNS = 100
# Most rows, columns and classes of the sample for models: ten small boosters then take about half a second.
MODEL_ROWS = 1_500
MODEL_COLUMNS = 60
MULTICLASS_ROWS = 1_000
MULTICLASS_COLUMNS = 30
MODEL_CLASSES = 5
# Two folds test the most rows for their cost. Below `FEW_ROWS` rows a third fold is added, as half of them is too few
# to train on.
FOLDS = 2
FEW_ROWS = 800
MULTICLASS_FEW_ROWS = 400
# A rare class keeps at least this many of its rows in the sample for models: with one or two rows its loss is chance.
MIN_CLASS_ROWS = 20
# Tables up to this many cells are hashed in three rounds: later rounds separate columns that the first one does not.
REHASHED_CELLS = 1_000_000
REHASH_ROUNDS = 3
CHUNK_CELLS = 1 << 18
# Cost of the canonical order. Sorting the keys costs as much for each row as hashing this many cells.
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

    Attributes:
        names: The meta-features.
        expected_seconds: Cost on one core of a common machine; it depends on the shape of the table alone.
        run: Takes the values of the earlier steps and returns one value for each of `names`.
        needs: A meta-feature without which the step cannot run; empty if it needs none.
        is_count: The step reads the table as it is and costs almost nothing. Other steps need the canonical order.
    """

    names: tuple[str, ...]
    expected_seconds: float
    run: Callable[[Values], Values]
    needs: str = ""
    is_count: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some rows and columns of a table in canonical order.

    Attributes:
        X: Shape (n, d), categories as codes and missing values as NaN.
        y: Shape (n,), class codes below `n_classes`, or numbers for regression.
        is_categorical: Shape (d,).
        task_type: Type of the task that these rows make.
        n_classes: Number of classes; 0 for regression.
        fold: Shape (n,), number of the fold that tests the row; stratified by the target.
    """

    X: np.ndarray
    y: np.ndarray
    is_categorical: np.ndarray
    task_type: TaskType
    n_classes: int
    fold: np.ndarray


class View:
    """Samples of a table that do not change when its rows or columns are permuted; each is made on first use."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        self.seed = seed
        # Built here, so that its time counts for no step: training needs the matrix anyway.
        self._matrix = table.matrix

    @property
    def is_multiclass(self) -> bool:
        """Whether there are more than two classes; every model then costs several times as much."""
        return self.table.task.n_classes > 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of `sample`, without building it."""
        return min(self.table.task.n_rows, MAX_ROWS), min(self.table.task.n_features, MAX_COLUMNS)

    @property
    def n_numeric(self) -> float:
        """Expected number of numeric columns in `sample`."""
        return self.shape[1] * (1.0 - float(self.table.is_categorical.mean()))

    @property
    def model_shape(self) -> tuple[int, int, int, int]:
        """Most rows, columns, trees per boosting iteration (1 unless multiclass) and folds of `model_sample`."""
        n, d, n_classes = self.table.task.n_rows, self.table.task.n_features, self.table.task.n_classes
        if self.is_multiclass:
            folds = FOLDS + (n < MULTICLASS_FEW_ROWS)
            return min(n, MULTICLASS_ROWS), min(d, MULTICLASS_COLUMNS), min(n_classes, MODEL_CLASSES), folds
        return min(n, MODEL_ROWS), min(d, MODEL_COLUMNS), 1, FOLDS + (n < FEW_ROWS)

    @property
    def seconds_to_order(self) -> float:
        """Expected seconds for the canonical order, which both samples need."""
        return self.table.task.n_rows * (self.table.task.n_features + CELLS_PER_ROW) * SECONDS_PER_CELL

    @cached_property
    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of all rows and of all columns in canonical order, which the seed shuffles."""
        rows, columns = _hash_rows_and_columns(self._matrix, self.table.y)
        row_ties, column_ties = _hash_ties(self._matrix, rows, columns)
        salt = _mix(np.array([self.seed], dtype=np.uint64) + _MISSING)
        by_column = (self.table.is_categorical, column_ties, _mix(columns ^ salt))
        return np.lexsort((row_ties, _mix(rows ^ salt))), np.lexsort(by_column)

    @cached_property
    def sample(self) -> Sample:
        """Sample for the groups that fit no model: at most `MAX_ROWS` rows and `MAX_COLUMNS` columns."""
        rows, columns = self.order
        n_classes = self.table.task.n_classes
        return self._take(rows[:MAX_ROWS], columns[:MAX_COLUMNS], self.table.y[rows[:MAX_ROWS]], n_classes, 1)

    @cached_property
    def model_sample(self) -> Sample:
        """Sample for models: fewer rows and columns, and only the most frequent classes.

        Raises:
            ValueError: fewer than two classes have two rows.
        """
        rows, columns = self.order
        n_rows, n_columns, _, folds = self.model_shape
        y = self.table.y[rows]
        if not self.table.task.type.is_classification:
            return self._take(rows[:n_rows], columns[:n_columns], _standardise(y[:n_rows]), 0, folds)
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
        # Rows that are adjacent in target order get different folds, so that no fold tests both rows of a class of two.
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


def _hash_rows_and_columns(matrix: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Content hashes of all rows, shape (n,), and columns, shape (d,), independent of the order of rows and columns.

    A column's hash combines its cells with the hashes of their rows, and a row's hash combines its cells with the
    hashes of their columns. Rounds alternate between the two, like colour refinement of a graph.
    """
    n, d = matrix.shape
    width = max(1, CHUNK_CELLS // n)
    chunks = [slice(start, start + width) for start in range(0, d, width)]
    hashed_chunks: Iterable[tuple[slice, np.ndarray]] = ((chunk, _mix(_to_bits(matrix[:, chunk]))) for chunk in chunks)
    rounds = 1
    if matrix.size <= REHASHED_CELLS:
        hashed_chunks, rounds = list(hashed_chunks), REHASH_ROUNDS
    target = _mix(_to_bits(y.astype(float)))
    rows, columns = target, np.empty(d, dtype=np.uint64)
    for _ in range(rounds):
        sums = np.zeros(n, dtype=np.uint64)
        for chunk, cells in hashed_chunks:
            columns[chunk] = _mix((rows | _ONE) @ cells)
            sums += cells @ (columns[chunk] | _ONE)
        rows = _mix(target + _mix(sums))
    return rows, columns


def _hash_ties(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second hashes for rows and columns whose first hashes are equal; 0 for columns without a tie.

    Only large tables need them, as these are hashed in one round. One round gives equal hashes to rare flags that are
    set equally often in each class.
    """
    row_hashes, column_hashes = np.zeros_like(rows), np.zeros_like(columns)
    _, positions, counts = np.unique(columns, return_inverse=True, return_counts=True)
    tied = np.flatnonzero(counts[positions] > 1)
    for column in tied if matrix.size > REHASHED_CELLS else ():
        cells = _mix(_to_bits(matrix[:, column]))
        column_hashes[column] = (rows | _ONE) @ cells
        row_hashes += cells * (column_hashes[column] | _ONE)
    return row_hashes, column_hashes


def _to_bits(values: np.ndarray) -> np.ndarray:
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


def _standardise(y: np.ndarray) -> np.ndarray:
    spread = y.std()
    if not spread > 0:
        raise ValueError("the target is constant in the sample")
    return (y - y.mean()) / spread
