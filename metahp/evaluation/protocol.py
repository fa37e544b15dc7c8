"""Cross-validation of one configuration on fixed folds: losses per fold, the learning curve and predictions."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import find_metrics
from metahp.core.task import Task
from metahp.core.trial import EMPTY_CURVE, Curve, Protocol
from metahp.datasets.table import Table
from metahp.evaluation.losses import compute_constant_losses, compute_losses
from metahp.evaluation.pruning import Pruning
from metahp.evaluation.splits import Splits
from metahp.learners.base import Learner, Split


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """The part of a table that a measurement needs, to be sent to another process; fields as in `Table`."""

    task: Task
    matrix: np.ndarray
    y: np.ndarray
    is_categorical: np.ndarray

    @classmethod
    def of(cls, table: Table) -> "Arrays":
        """The arrays of a table."""
        return cls(table.task, table.matrix, table.y, table.is_categorical)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The result of a cross-validation.

    Attributes:
        configuration: What was asked for, with fewer iterations where early stopping kept fewer.
        fold_losses: Losses of this configuration, one for each fold that was run, by metric.
        curve: The learning curve to the end of the run, whatever early stopping kept; empty where it was pruned.
        fit_seconds: Summed over the folds.
        predict_seconds: Summed over the folds.
        n_rows: How many rows were used.
        pruned: Why it ended before the last fold; empty where it did not.
        predictions: Out-of-fold predictions of the finished models, float32, shape (n_rows, n_classes) or (n_rows,)
            over all rows of the table: the mean where a row is tested more than once, NaN where it never is. None
            unless they are kept.
    """

    configuration: Configuration
    fold_losses: dict[str, tuple[float, ...]]
    curve: Curve
    fit_seconds: float
    predict_seconds: float
    n_rows: int
    pruned: str = ""
    predictions: np.ndarray | None = None


def measure(
    table: Table | Arrays,
    learner: Learner,
    configuration: Configuration,
    protocol: Protocol,
    *,
    splits: Splits | None = None,
    pruning: Pruning | None = None,
    keep_predictions: bool = False,
    early_stopping: str = "",
) -> Measurement:
    """Cross-validate `configuration` on `table`; the folds depend on the protocol alone, or are those of `splits`.

    `early_stopping` is the name of a metric. A learner that stops early then keeps the iterations up to the checkpoint
    of the learning curve where the mean loss over the folds is lowest: one number for all folds, with which the
    configuration can be trained again.

    Raises whatever the learner raises: the caller makes it a failed trial.
    """
    rows = sample_rows(table, protocol)
    parts = _make_parts(table, rows, protocol, splits)
    metrics = [metric.name for metric in find_metrics(table.task.type)]
    space = learner.space(table.task.type)
    # Without an axis for the iterations, fewer of them are no configuration.
    stops_early = bool(early_stopping) and learner.stops_early and space.iteration_axis is not None
    fewest = space.iterations[0]
    tested: list[tuple[np.ndarray, Sequence[np.ndarray]]] = []
    checkpoints: tuple[int, ...] = ()
    curves, fit_seconds, predict_seconds, kept, pruned = [], 0.0, 0.0, -1, ""
    splits_of_parts = (
        Split(
            X_train=table.matrix[train],
            y_train=table.y[train],
            X_test=table.matrix[test],
            is_categorical=table.is_categorical,
            task_type=table.task.type,
            n_classes=table.task.n_classes,
        )
        for train, test in parts
    )
    courses = learner.fit_many([configuration] * len(parts), splits_of_parts, [protocol.seed] * len(parts))
    for (_, test), course in zip(parts, courses, strict=True):
        curves.append([compute_losses(table.y[test], prediction, table.task.type) for prediction in course.predictions])
        if keep_predictions:
            tested.append((test, course.predictions if stops_early else course.predictions[-1:]))
        checkpoints = course.checkpoints
        fit_seconds += course.fit_seconds
        predict_seconds += course.predict_seconds
        if stops_early:
            means = np.mean([[losses[early_stopping] for losses in curve] for curve in curves], axis=0)
            kept = _find_lowest(np.where(np.array(checkpoints) < fewest, np.inf, means))
        if pruning is not None and (pruned := pruning.explain([curve[kept][pruning.metric] for curve in curves])):
            # Which checkpoint it would have kept is not known, so its losses are those at the end.
            kept = -1
            break
    share = checkpoints[kept] / checkpoints[-1]
    curve = Curve(
        checkpoints,
        {
            name: tuple(float(np.mean([curve[i][name] for curve in curves])) for i in range(len(checkpoints)))
            for name in metrics
        },
    )
    predictions = None
    if keep_predictions and not pruned:
        predictions = _spread_over_rows(table.task.n_rows, [(test, course[kept]) for test, course in tested])
    n_rows = len(rows) if splits is None else len(np.unique(np.concatenate([a for part in parts for a in part])))
    return Measurement(
        configuration=space.with_iterations(configuration, checkpoints[kept]) if share < 1 else configuration,
        fold_losses={name: tuple(curve[kept][name] for curve in curves) for name in metrics},
        curve=EMPTY_CURVE if pruned else curve,
        fit_seconds=share * fit_seconds,
        predict_seconds=share * predict_seconds,
        n_rows=n_rows,
        pruned=pruned,
        predictions=predictions,
    )


def check_metric(table: Table, metric: str, protocol: Protocol, splits: Splits | None = None) -> None:
    """Refuse folds whose test rows do not define a metric, as ROC AUC of rows of one class.

    Raises:
        InputError: there is such a fold.
    """
    task, rows = table.task, sample_rows(table, protocol)
    for number, (_, test) in enumerate(_make_parts(table, rows, protocol, splits), start=1):
        if np.isfinite(compute_constant_losses(table.y[test], task.type, task.n_classes)[metric]):
            continue
        missing = [name for code, name in enumerate(table.classes) if not (table.y[test] == code).any()]
        why = f"have no row of class '{missing[0]}'" if missing else "all have the same target"
        raise InputError(
            f"{metric} is not defined on the test rows of fold {number}, which {why}. "
            "Ask for fewer folds, split in another way, or choose another `metric`."
        )


def _find_lowest(losses: np.ndarray) -> int:
    """Place of the lowest loss, the first of equals; the last place where the last loss is not a number."""
    return int(np.nanargmin(losses)) if np.isfinite(losses[-1]) else -1


def sample_rows(table: Table | Arrays, protocol: Protocol) -> np.ndarray:
    """Sorted indices of the rows that the protocol uses: all, or a sample stratified by class."""
    n = table.task.n_rows
    if n <= protocol.max_rows:
        return np.arange(n)
    strata = table.y if table.task.type.is_classification and np.bincount(table.y).min() >= 2 else None
    chosen, _ = train_test_split(
        np.arange(n), train_size=protocol.max_rows, random_state=protocol.seed, stratify=strata
    )
    return np.sort(chosen)


def make_folds(table: Table | Arrays, rows: np.ndarray, protocol: Protocol) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Train and test indices into the table, stratified by class for classification.

    Raises:
        InputError: no class has as many rows as there are folds.
    """
    if table.task.type.is_classification and (largest := int(np.bincount(table.y[rows]).max())) < protocol.folds:
        raise InputError(
            f"Of {len(rows):,} rows the largest class has {largest}, fewer than {protocol.folds} folds. "
            "Ask for fewer folds (`cv`), or for more rows (`max_rows`)."
        )
    for repeat in range(protocol.repeats):
        options = {"n_splits": protocol.folds, "shuffle": True, "random_state": protocol.seed + repeat}
        splitter = StratifiedKFold(**options) if table.task.type.is_classification else KFold(**options)
        with warnings.catch_warnings():
            # Classes with fewer rows than folds are allowed: a fold without them still has its losses.
            warnings.filterwarnings("ignore", message="The least populated class")
            for train, test in splitter.split(rows, table.y[rows]):
                yield rows[train], rows[test]


def _make_parts(
    table: Table | Arrays, rows: np.ndarray, protocol: Protocol, splits: Splits | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test rows of every fold, of the rows that the protocol uses."""
    return list(make_folds(table, rows, protocol) if splits is None else _sample_parts(splits, rows, table.task.n_rows))


def _sample_parts(splits: Splits, rows: np.ndarray, n_rows: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The parts of `splits`, each without the rows that the protocol's sample leaves out."""
    is_used = np.zeros(n_rows, dtype=bool)
    is_used[rows] = True
    for number, part in enumerate(splits.parts, start=1):
        train, test = (indices[is_used[indices]] for indices in part)
        if not len(train) or not len(test):
            raise InputError(
                f"The sample of {len(rows)} rows leaves a part of fold {number} empty. Use more rows, or fewer folds."
            )
        yield train, test


def _spread_over_rows(n_rows: int, tested: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean prediction for every row, float32; NaN where there is none."""
    total = np.zeros((n_rows, *tested[0][1].shape[1:]))
    count = np.zeros(n_rows)
    for test, predictions in tested:
        # A part drawn with replacement may name a row twice.
        np.add.at(total, test, predictions)
        np.add.at(count, test, 1)
    total[count == 0] = np.nan
    return (total / np.maximum(count, 1).reshape(-1, *[1] * (total.ndim - 1))).astype(np.float32)
