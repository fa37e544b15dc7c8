"""What metahp knows of a learner: a search space, how to build it, and how to fit it while looking at its course."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from metahp.core.configuration import Configuration, Value
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType

# Iterations (trees) at which a learning curve is read, about geometric; only those below a trial's own are.
CHECKPOINTS = (5, 10, 20, 35, 50, 75, 100, 150, 250, 400, 600, 1000)


@dataclass(frozen=True, slots=True)
class Split:
    """One fold: `X` are float64 matrices with categories as codes and NaN for missing, `y_train` codes or numbers."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    is_categorical: np.ndarray
    task_type: TaskType
    n_classes: int


@dataclass(frozen=True, slots=True)
class Course:
    """Predictions for the test rows along one training run.

    `predictions[i]` belongs to `checkpoints[i]` iterations and the last entry to the finished model: shape
    (n_test, n_classes) probabilities, or (n_test,) numbers for regression.
    """

    checkpoints: tuple[int, ...]
    predictions: Sequence[np.ndarray]
    fit_seconds: float
    predict_seconds: float


class Learner(Protocol):
    """A family of models with its search space; a user's own learner needs no more than this.

    `stops_early` says that fewer iterations than were run may be better, so that early stopping is worth its while.
    """

    name: str
    stops_early: bool

    def space(self, task_type: TaskType) -> SearchSpace:
        """The search space for tasks of this type; its version is the same for all types."""

    def published(self, task_type: TaskType) -> Mapping[str, Mapping[str, Value]]:
        """Tuned defaults that others have published, by source; values not named are the library's defaults."""

    def estimator(
        self,
        configuration: Configuration,
        task_type: TaskType,
        *,
        numeric: Sequence[str | int],
        categorical: Sequence[str | int],
        seed: int,
        n_jobs: int = 1,
    ) -> Any:
        """An unfitted scikit-learn estimator for frames (or matrices) with these columns."""

    def fit(self, configuration: Configuration, split: Split, *, seed: int) -> Course:
        """Fit once on a fold, on one thread, and predict its test rows at every checkpoint."""


def checkpoints_below(n_estimators: int) -> tuple[int, ...]:
    """The checkpoints below `n_estimators`, then `n_estimators` itself."""
    return (*(c for c in CHECKPOINTS if c < n_estimators), n_estimators)
