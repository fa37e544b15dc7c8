"""Cross-validation of one configuration on fixed folds: losses per fold and the learning curve."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from metahp.core.configuration import Configuration
from metahp.core.metric import metrics_for
from metahp.core.trial import Curve, Protocol
from metahp.datasets.table import Table
from metahp.evaluation.losses import losses_of
from metahp.learners.base import Learner, Split


@dataclass(frozen=True, slots=True)
class Measurement:
    """What cross-validation gives: per-fold losses by metric, the curve, and seconds summed over the folds."""

    fold_losses: dict[str, tuple[float, ...]]
    curve: Curve
    fit_seconds: float
    predict_seconds: float
    n_rows: int


def measure(table: Table, learner: Learner, configuration: Configuration, protocol: Protocol) -> Measurement:
    """Cross-validate `configuration` on `table`; the folds depend on the protocol alone.

    Raises whatever the learner raises: the caller makes it a failed trial.
    """
    rows = sampled_rows(table, protocol)
    courses, curves, fit_seconds, predict_seconds = [], [], 0.0, 0.0
    for train, test in folds(table, rows, protocol):
        split = Split(
            table.matrix[train],
            table.y[train],
            table.matrix[test],
            table.is_categorical,
            table.task.type,
            table.task.n_classes,
        )
        course = learner.fit(configuration, split, seed=protocol.seed)
        curves.append([losses_of(table.y[test], prediction, table.task.type) for prediction in course.predictions])
        courses.append(course)
        fit_seconds += course.fit_seconds
        predict_seconds += course.predict_seconds
    metrics = [metric.name for metric in metrics_for(table.task.type)]
    checkpoints = courses[0].checkpoints
    return Measurement(
        {name: tuple(curve[-1][name] for curve in curves) for name in metrics},
        Curve(
            checkpoints,
            {
                name: tuple(float(np.mean([curve[i][name] for curve in curves])) for i in range(len(checkpoints)))
                for name in metrics
            },
        ),
        fit_seconds,
        predict_seconds,
        len(rows),
    )


def sampled_rows(table: Table, protocol: Protocol) -> np.ndarray:
    """Sorted indices of the rows that the protocol uses: all, or a sample stratified by class."""
    n = table.task.n_rows
    if n <= protocol.max_rows:
        return np.arange(n)
    strata = table.y if table.task.type.is_classification and np.bincount(table.y).min() >= 2 else None
    chosen, _ = train_test_split(
        np.arange(n), train_size=protocol.max_rows, random_state=protocol.seed, stratify=strata
    )
    return np.sort(chosen)


def folds(table: Table, rows: np.ndarray, protocol: Protocol) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Train and test indices into the table, stratified by class for classification."""
    for repeat in range(protocol.repeats):
        options = {"n_splits": protocol.folds, "shuffle": True, "random_state": protocol.seed + repeat}
        splitter = StratifiedKFold(**options) if table.task.type.is_classification else KFold(**options)
        with warnings.catch_warnings():
            # Classes with fewer rows than folds are allowed: a fold without them still has its losses.
            warnings.filterwarnings("ignore", message="The least populated class")
            for train, test in splitter.split(rows, table.y[rows]):
                yield rows[train], rows[test]
