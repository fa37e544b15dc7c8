"""What a configuration costs: seconds of a trial on a new task, from past trials and corrected by this task's own.

The log of the seconds is linear: log s = learner and size of the task + slopes · coordinates of the configuration, in
the unit cube of its space and squared. Past tasks give the coefficients. How fast this machine is, how hard this table
is for each learner, and how far the slopes differ from those of past tasks are unknown: normal priors on them, whose
widths are those between past tasks, become posteriors with every trial of this task.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.task import Task
from metahp.surrogate.evidence import Evidence

# Ridge penalty of the coefficients, in trials: a hyperparameter that was hardly varied gets a slope near zero.
RIDGE = 10.0
# Least seconds of a trial: shorter ones measure the clock.
LEAST_SECONDS = 1e-4
# Standard deviation of the log speed of this machine beside that of the past trials.
MACHINE = 1.0
# Widths where past tasks are too few to tell: of a learner's offset, of a slope, and of a trial.
OFFSET, SLOPE, TRIAL = 0.5, 0.3, 0.3
# With fewer past tasks these widths are used.
LEAST_TASKS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearnerCost:
    """The cost of one learner's configurations on past tasks.

    Attributes:
        size: Coefficients of (1, log rows, log features, log classes), shape (4,).
        slopes: Coefficients of the coordinates and their squares, shape (2 d,).
        offset: Standard deviation of a task's offset.
        spread: Standard deviation of a task's slopes, shape (2 d,).
        noise: Standard deviation of a trial.
    """

    size: np.ndarray
    slopes: np.ndarray
    offset: float
    spread: np.ndarray
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostModel:
    """Log seconds of trials by learner; one trial has all folds of the past protocol.

    Attributes:
        spaces: Search spaces by learner.
        learners: What past tasks say, by learner; a learner without past trials is missing.
    """

    spaces: Mapping[str, SearchSpace]
    learners: Mapping[str, LearnerCost]

    @classmethod
    def fit(cls, evidence: Evidence) -> "CostModel":
        """The model of past trials; a learner without any has no part in it."""
        size = make_sizes([(task.n_rows, task.n_features, task.n_classes) for task in evidence.tasks])
        learners = {}
        for learner, space in evidence.spaces.items():
            columns = [i for i, candidate in enumerate(evidence.candidates) if candidate.learner == learner]
            seconds = evidence.fit_seconds[:, columns]
            if np.isfinite(seconds).any():
                inputs = make_inputs(space, [evidence.candidates[i] for i in columns])
                learners[learner] = _fit_learner(np.log(np.maximum(seconds, LEAST_SECONDS)), inputs, size)
        return cls(spaces=dict(evidence.spaces), learners=learners)

    def on(self, task: Task, *, folds: float, past_folds: float = 3.0, most_rows: int | None = None) -> "TaskCost":
        """The cost of trials with `folds` folds on a task; they use at most `most_rows` rows, all for None."""
        n_rows = task.n_rows if most_rows is None else min(task.n_rows, most_rows)
        # A fold trains on all rows but one part of them.
        share = folds * (1 - 1 / max(folds, 2.0)) / (past_folds * (1 - 1 / past_folds))
        return TaskCost(self, make_sizes([(n_rows, task.n_features, task.n_classes)])[0], math.log(share))


class TaskCost:
    """The cost of trials on one task; `tell` it what trials took.

    Args:
        model: What past tasks say.
        size: Size of the task as in `LearnerCost.size`, shape (4,).
        log_share: Log of the seconds of a trial here over those of a past trial, as far as the protocol tells.
    """

    def __init__(self, model: CostModel, size: np.ndarray, log_share: float) -> None:
        self._model, self._size, self._log_share = model, size, log_share
        self._learners = list(model.learners)
        self._width = 1 + sum(1 + len(cost.slopes) for cost in model.learners.values())
        variances = [MACHINE**2]
        for cost in model.learners.values():
            variances += [cost.offset**2, *cost.spread**2]
        self._precision = np.diag(1 / np.array(variances))
        self._target = np.zeros(self._width)
        self._posterior: tuple[np.ndarray, np.ndarray] | None = None

    def prepare(self, configurations: Sequence[Configuration]) -> "CostPoints":
        """What `predict` needs of some configurations, for those that are asked about more than once."""
        n = len(configurations)
        mean, noise, design = np.full(n, np.nan), np.full(n, np.nan), np.zeros((n, self._width))
        design[:, 0] = 1.0
        start = 1
        for learner, cost in self._model.learners.items():
            rows = [i for i, each in enumerate(configurations) if each.learner == learner]
            width = len(cost.slopes)
            if rows:
                inputs = make_inputs(self._model.spaces[learner], [configurations[i] for i in rows])
                mean[rows] = self._size @ cost.size + inputs @ cost.slopes + self._log_share
                noise[rows] = cost.noise
                design[rows, start] = 1.0
                design[np.ix_(rows, range(start + 1, start + 1 + width))] = inputs
            start += 1 + width
        return CostPoints(mean=mean, design=design, noise=noise)

    def tell(self, configuration: Configuration, seconds: float) -> None:
        """Learn what a complete trial took; one of an unknown learner or outside its space is passed over."""
        if configuration.is_outside or configuration.learner not in self._learners or not seconds > 0:
            return
        point = self.prepare([configuration])
        residual = math.log(max(seconds, LEAST_SECONDS)) - point.mean[0]
        self._precision = self._precision + point.design.T @ point.design / point.noise[0] ** 2
        self._target = self._target + point.design[0] * residual / point.noise[0] ** 2
        self._posterior = None

    def predict(self, points: "CostPoints") -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the log seconds of trials, both (n,); NaN for an unknown learner."""
        if self._posterior is None:
            covariance = np.linalg.inv(self._precision)
            self._posterior = covariance @ self._target, covariance
        shift, covariance = self._posterior
        variance = np.sum(points.design @ covariance * points.design, axis=1)
        return points.mean + points.design @ shift, np.sqrt(variance + points.noise**2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostPoints:
    """Configurations as `TaskCost` sees them.

    Attributes:
        mean: Log seconds by past tasks, shape (n,); NaN for an unknown learner.
        design: Factors of what is unknown on this task, shape (n, p).
        noise: Standard deviation of a trial, shape (n,).
    """

    mean: np.ndarray
    design: np.ndarray
    noise: np.ndarray


def make_sizes(shapes: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Sizes of tasks as (1, log rows, log features, log classes), shape (t, 4), from rows, features and classes."""
    return np.array([[1.0, np.log(max(n, 1)), np.log(max(d, 1)), np.log(max(k, 1))] for n, d, k in shapes])


def make_inputs(space: SearchSpace, configurations: Sequence[Configuration]) -> np.ndarray:
    """Coordinates in the unit cube around its middle, and their squares, shape (n, 2 d); inactive ones are 0."""
    centred = np.nan_to_num(space.to_unit(configurations) - 0.5)
    return np.concatenate([centred, centred**2], axis=1)


def _fit_learner(log_seconds: np.ndarray, inputs: np.ndarray, size: np.ndarray) -> LearnerCost:
    """The cost of one learner from log seconds (t, c), NaN where unknown, inputs (c, p) and sizes (t, 4)."""
    known = np.isfinite(log_seconds)
    rows, columns = np.nonzero(known)
    counts = np.maximum(known.sum(axis=1), 1)
    # Slopes from the differences within each task, so that easy and hard tasks do not matter.
    task_means = np.where(known, log_seconds, 0.0).sum(axis=1) / counts
    input_means = known.astype(float) @ inputs / counts[:, None]
    apart, moved = inputs[columns] - input_means[rows], log_seconds[rows, columns] - task_means[rows]
    gram = apart.T @ apart + RIDGE * np.eye(inputs.shape[1])
    slopes = np.linalg.solve(gram, apart.T @ moved)
    used = known.any(axis=1)
    levels = (task_means - input_means @ slopes)[used]
    penalty = np.diag([1e-6, 1e-3, 1e-3, 1e-3])
    coefficients = np.linalg.solve(size[used].T @ size[used] + penalty, size[used].T @ levels)
    n_tasks, width = int(used.sum()), inputs.shape[1]
    if n_tasks < LEAST_TASKS:
        return LearnerCost(size=coefficients, slopes=slopes, offset=OFFSET, spread=np.full(width, SLOPE), noise=TRIAL)
    # Slopes of each task, shrunk towards the common ones: their variance between tasks is the spread.
    own, residuals = [], []
    for row in np.flatnonzero(used):
        mine = rows == row
        if mine.sum() > 2:
            left = moved[mine] - apart[mine] @ slopes
            extra = np.linalg.solve(apart[mine].T @ apart[mine] + np.eye(width), apart[mine].T @ left)
            own.append(extra)
            residuals.append(left - apart[mine] @ extra)
    noise = float(np.sqrt(np.mean(np.concatenate(residuals) ** 2))) if residuals else TRIAL
    spread = np.sqrt(np.mean(np.square(own), axis=0)) if own else np.full(width, SLOPE)
    offset = float((levels - size[used] @ coefficients).std())
    return LearnerCost(
        size=coefficients,
        slopes=slopes,
        offset=max(offset, 1e-2),
        spread=np.maximum(spread, 1e-2),
        noise=max(noise, 1e-2),
    )
