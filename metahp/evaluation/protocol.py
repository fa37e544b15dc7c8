"""Cross-validation of one configuration on fixed folds: losses per fold, the learning curve and predictions."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import find_metrics
from metahp.core.space import SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import EMPTY_CURVE, Curve, Protocol
from metahp.datasets.table import Table
from metahp.evaluation.losses import compute_constant_losses, compute_losses, is_defined
from metahp.evaluation.pruning import Pruning
from metahp.evaluation.scoring import Scorer, explain_undefined
from metahp.evaluation.splits import Splits
from metahp.learners.base import FINE_CHECKPOINTS, Course, Learner, Run, Split, list_checkpoints

# Number of checkpoints and of iterations without improvement after which a run ends, where it can be stopped.
PATIENCE, LEAST_PATIENCE = 3, 30


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
        curve: The learning curve as far as all folds were trained, whatever early stopping kept; empty where it was
            pruned.
        fit_seconds: Of the kept iterations, summed over the folds.
        predict_seconds: Of the kept iterations, summed over the folds.
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
    memory: "FoldMemory | None" = None,
    n_threads: int = 1,
    scorer: Scorer | None = None,
) -> Measurement:
    """Cross-validate `configuration` on `table`; the folds depend on the protocol alone, or are those of `splits`.

    Args:
        table: The rows.
        learner: Fits the configuration.
        configuration: What is measured.
        protocol: Folds, rows and seed.
        splits: Explicit folds, which the protocol names; None for the default ones.
        pruning: When to stop after the first folds; None for never.
        keep_predictions: Whether out-of-fold predictions are returned.
        early_stopping: Name of a metric, or empty. A learner that stops early then keeps the iterations up to the
            checkpoint where the mean loss over the folds is lowest: one number for all folds, with which the
            configuration can be trained again. Where its fits can be stopped, they end `PATIENCE` checkpoints later.
        memory: What is kept of this table from one measurement to the next; None for nothing. It saves time and changes
            no result.
        n_threads: Number of threads of each fit.
        scorer: Gives a loss beside those of the metrics that all trials store; None for these alone.

    Raises whatever the learner raises: the caller makes it a failed trial.
    """
    memory = FoldMemory() if memory is None else memory
    rows, parts = memory.find_parts(table, protocol, splits)
    weights = None if splits is None else splits.weights
    space = learner.space(table.task.type)
    # Without an axis for the iterations, fewer of them are no configuration.
    stops_early = bool(early_stopping) and learner.stops_early and space.iteration_axis is not None
    made = (
        Split(
            X_train=table.matrix[train],
            y_train=table.y[train],
            X_test=table.matrix[test],
            is_categorical=table.is_categorical,
            task_type=table.task.type,
            n_classes=table.task.n_classes,
            n_threads=n_threads,
            w_train=None if weights is None else weights[train],
            memory=kept,
        )
        for (train, test), kept in zip(parts, memory.by_fold, strict=True)
    )
    folds: list[_Fold] = []
    best, pruned = -1, ""
    seed = protocol.seed if configuration.seed is None else configuration.seed
    for course in _fit_folds(learner, configuration, seed, made, len(parts), can_stop=stops_early):
        checkpoints = course.checkpoints if isinstance(course, Course) else _list_fine_checkpoints(space, configuration)
        test = parts[len(folds)][1]
        w_test = None if weights is None else weights[test]
        tested = _TestRows(y=table.y[test], weights=w_test, numbers=test, task_type=table.task.type, scorer=scorer)
        folds.append(_Fold(tested, checkpoints, course, keep_predictions=keep_predictions))
        if stops_early:
            best = _find_best_checkpoint(folds, early_stopping, space.iterations[0])
        if pruning is not None and (
            pruned := pruning.explain([fold.measure_loss(best, pruning.metric) for fold in folds])
        ):
            break
    checkpoints = folds[0].checkpoints[: min(len(fold.losses) for fold in folds)]
    kept = checkpoints[best]
    names = [metric.name for metric in find_metrics(table.task.type) if is_defined(metric.name, table.y)]
    names += [scorer.metric.name] if scorer is not None else []
    curve = EMPTY_CURVE
    if not pruned:
        means = {
            name: tuple(float(np.mean([fold.losses[i][name] for fold in folds])) for i in range(len(checkpoints)))
            for name in names
        }
        curve = Curve(checkpoints, means)
    predictions = None
    if keep_predictions and not pruned:
        outputs = [(test, fold.predictions[best]) for (_, test), fold in zip(parts, folds, strict=True)]
        predictions = _spread_over_rows(table.task.n_rows, outputs)
    fit_seconds, predict_seconds = np.sum([fold.seconds * kept / fold.n_iterations for fold in folds], axis=0)
    n_rows = len(rows) if splits is None else len(np.unique(np.concatenate([a for part in parts for a in part])))
    is_shorter = kept < folds[0].checkpoints[-1]
    return Measurement(
        configuration=space.with_iterations(configuration, kept) if is_shorter else configuration,
        fold_losses={name: tuple(fold.losses[best][name] for fold in folds) for name in names},
        curve=curve,
        fit_seconds=float(fit_seconds),
        predict_seconds=float(predict_seconds),
        n_rows=n_rows,
        pruned=pruned,
        predictions=predictions,
    )


class FoldMemory:
    """The folds of one table, and what learners keep of the training rows of each from one fit to the next.

    Attributes:
        by_fold: The memory of each fold of the last protocol.
    """

    def __init__(self) -> None:
        self.by_fold: list[dict[str, Any]] = []
        self._protocol: Protocol | None = None
        self._rows: np.ndarray | None = None
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def find_parts(
        self, table: "Table | Arrays", protocol: Protocol, splits: Splits | None
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
        """The rows that a protocol uses, and training and test rows of every fold.

        What is kept of the folds of another protocol is given up.
        """
        if self._rows is None or protocol != self._protocol:
            self._rows = sample_rows(table, protocol)
            self._parts = _make_parts(table, self._rows, protocol, splits)
            self._protocol, self.by_fold = protocol, [{} for _ in self._parts]
        return self._rows, self._parts


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _TestRows:
    """Targets and weights of the test rows of a fold, their numbers in the table, and what measures predictions."""

    y: np.ndarray
    weights: np.ndarray | None
    numbers: np.ndarray
    task_type: TaskType
    scorer: Scorer | None

    def compute_losses(self, prediction: np.ndarray) -> dict[str, float]:
        losses = compute_losses(self.y, prediction, self.task_type, self.weights)
        if self.scorer is not None:
            loss = self.scorer.compute_loss(self.y, prediction, self.weights, self.numbers)
            losses[self.scorer.metric.name] = loss
        return losses


class _Fold:
    """Losses on the test rows of one fold at its checkpoints; a run is trained as far as they are asked for.

    Args:
        rows: The test rows.
        checkpoints: Of a run to the end.
        course: A finished fit, or a run.
        keep_predictions: Whether predictions are kept, in float32, shape as in `Course`.
    """

    def __init__(
        self,
        rows: _TestRows,
        checkpoints: tuple[int, ...],
        course: Course | Run,
        *,
        keep_predictions: bool,
    ) -> None:
        self.checkpoints = checkpoints
        self.losses: list[dict[str, float]] = []
        self.predictions: list[np.ndarray] = []
        self._rows, self._keeps = rows, keep_predictions
        self._run = None if isinstance(course, Course) else course
        self._timed = course
        for prediction in course.predictions if isinstance(course, Course) else ():
            self._add(prediction)

    @property
    def can_grow(self) -> bool:
        """Whether it is trained no further than it is asked for."""
        return self._run is not None

    @property
    def n_iterations(self) -> int:
        """The iterations that were trained."""
        return self.checkpoints[len(self.losses) - 1]

    @property
    def seconds(self) -> np.ndarray:
        """Seconds of training and of prediction, shape (2,)."""
        return np.array([self._timed.fit_seconds, self._timed.predict_seconds])

    def measure_loss(self, i: int, metric: str) -> float:
        """The loss at the checkpoint `i`, or at the last one that was reached for -1."""
        while self._run is not None and len(self.losses) <= i:
            self._add(self._run.grow(self.checkpoints[len(self.losses)]))
        return self.losses[i][metric]

    def _add(self, prediction: np.ndarray) -> None:
        self.losses.append(self._rows.compute_losses(prediction))
        if self._keeps:
            self.predictions.append(prediction.astype(np.float32))


def _fit_folds(
    learner: Learner, configuration: Configuration, seed: int, splits: Iterator[Split], n: int, *, can_stop: bool
) -> Iterator[Course | Run]:
    """A fit on each of the `n` splits, when it is asked for; with `can_stop` only begun, where that can be."""
    if can_stop and learner.can_stop(configuration):
        return (learner.start(configuration, split, seed=seed) for split in splits)
    return learner.fit_many([configuration] * n, splits, [seed] * n)


def _list_fine_checkpoints(space: SearchSpace, configuration: Configuration) -> tuple[int, ...]:
    n_iterations = space.iterations_of(configuration)
    assert n_iterations is not None
    return list_checkpoints(n_iterations, FINE_CHECKPOINTS)


def _find_best_checkpoint(folds: Sequence[_Fold], metric: str, fewest: int) -> int:
    """Place of the checkpoint with the lowest mean loss over the folds, the first of equals.

    Folds that can grow are trained until the mean has not improved for `PATIENCE` checkpoints and `LEAST_PATIENCE`
    iterations: the earlier ones of them go on where they were stopped. -1 where no loss is a number.
    """
    checkpoints, can_grow = folds[0].checkpoints, folds[0].can_grow
    best, lowest = -1, np.inf
    for i, checkpoint in enumerate(checkpoints):
        mean = float(np.mean([fold.measure_loss(i, metric) for fold in folds]))
        if checkpoint >= fewest and mean < lowest:
            best, lowest = i, mean
        is_late = best >= 0 and i - best >= PATIENCE and checkpoint - checkpoints[best] >= LEAST_PATIENCE
        if can_grow and is_late:
            break
    return best


def check_metric(
    table: Table, metric: str, protocol: Protocol, splits: Splits | None = None, scorer: Scorer | None = None
) -> None:
    """Refuse folds whose test rows do not define a metric, as ROC AUC of rows of one class.

    Raises:
        InputError: there is such a fold.
    """
    task, rows = table.task, sample_rows(table, protocol)
    for number, (_, test) in enumerate(_make_parts(table, rows, protocol, splits), start=1):
        weights = None if splits is None or splits.weights is None else splits.weights[test]
        if scorer is not None:
            if why := explain_undefined(scorer, table.y[test], weights, test, task):
                raise InputError(
                    f"{metric} is not defined on the test rows of fold {number}: {why}. Choose another `metric`, or "
                    "split in another way.",
                    argument="metric",
                )
            continue
        if np.isfinite(compute_constant_losses(table.y[test], task.type, task.n_classes, weights)[metric]):
            continue
        y = table.y[test] if weights is None else table.y[test][weights > 0]
        missing = [name for code, name in enumerate(table.classes) if not (y == code).any()]
        of = "" if weights is None else " with a weight above 0"
        why = f"have no row of class '{missing[0]}'{of}" if missing else f"all have the same target{of}"
        advice = "Ask for fewer folds, split in another way, or choose another `metric`."
        if missing and not protocol.split_name:
            n_rare = int((table.y[rows] == table.classes.index(missing[0])).sum())
            if 1 < n_rare < protocol.folds:
                advice = f"It has {n_rare} rows: ask for {n_rare} folds (`cv`), or choose another `metric`."
        raise InputError(f"{metric} is not defined on the test rows of fold {number}, which {why}. {advice}")


def sample_rows(table: Table | Arrays, protocol: Protocol) -> np.ndarray:
    """Sorted indices of the rows that the protocol uses: all, or a sample stratified by class.

    Of two classes, the rarer one has at least as many rows in the sample as there are folds, if the table has them.
    """
    n = table.task.n_rows
    if n <= protocol.max_rows:
        return np.arange(n)
    strata = table.y if table.task.type.is_classification and np.bincount(table.y).min() >= 2 else None
    chosen, _ = train_test_split(
        np.arange(n), train_size=protocol.max_rows, random_state=protocol.seed, stratify=strata
    )
    if table.task.type is TaskType.BINARY:
        chosen = _keep_rarer_class(table.y, chosen, protocol)
    return np.sort(chosen)


def _keep_rarer_class(y: np.ndarray, chosen: np.ndarray, protocol: Protocol) -> np.ndarray:
    is_rare = y == np.bincount(y).argmin()
    is_chosen = np.isin(np.arange(len(y)), chosen)
    n_missing = min(protocol.folds, int(is_rare.sum())) - int((is_rare & is_chosen).sum())
    if n_missing <= 0:
        return chosen
    rng = np.random.default_rng(protocol.seed)
    added = rng.choice(np.flatnonzero(is_rare & ~is_chosen), n_missing, replace=False)
    left_out = rng.choice(np.flatnonzero(~is_rare & is_chosen), n_missing, replace=False)
    return np.concatenate([np.setdiff1d(chosen, left_out), added])


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
