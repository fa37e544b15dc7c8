"""A user's own objective as a task: known by its name and meta-features, evaluated here, remembered like any other."""

import hashlib
import json
import math
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metahp.api.tuning.past import Known
from metahp.core.configuration import Value
from metahp.core.errors import InputError
from metahp.core.metric import METRICS, Metric
from metahp.core.space import SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.text import encodable
from metahp.core.trial import Origin, Protocol, Trial, TrialState, find_loss_fault
from metahp.evaluation.runner import Outcome
from metahp.evaluation.worker import reason_of
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS
from metahp.recommendation.abstention import MIN_PAST_TASKS
from metahp.recommendation.selection import greedy_batch
from metahp.refinement.strategy import Suggestion
from metahp.surrogate.calibration import INNER_FOLDS, MIN_TASKS, learn_calibrated
from metahp.surrogate.encoding import Evidence, evidence
from metahp.surrogate.prior import Knowledge

# Default metric name of an objective.
OBJECTIVE = "objective"
# The objective decides how it measures; this says so, and that trials of all seeds are comparable.
PROTOCOL = Protocol(splits=OBJECTIVE)
# A left-out task that shares fewer configurations with others does not tell how far they are a guide.
MIN_SHARED = 5


@dataclass(frozen=True, slots=True)
class Cost(Metric):
    """A number that is to be small: loss and score are the same."""

    def loss(self, score: float) -> float:
        """The loss of a score."""
        return score

    def score(self, loss: float) -> float:
        """The score of a loss."""
        return loss


def metric_of(name: str | None, direction: str) -> Metric:
    """What an objective is tuned for.

    Raises:
        InputError: no such direction, or a known metric that is to be minimised.
    """
    if direction not in ("maximize", "minimize"):
        raise InputError(f"direction is maximize or minimize, got '{direction}'.")
    if name in METRICS:
        if direction == "minimize":
            raise InputError(f"'{name}' is a score, greater is better; it cannot be minimised.")
        return METRICS[name]
    return (Metric if direction == "maximize" else Cost)(name or OBJECTIVE, 0.0, ())


def objective_task(name: str, metafeatures: Mapping[str, float], metric: Metric) -> tuple[Task, Protocol]:
    """The task of an objective and the protocol of its trials; the same name and meta-features are the same task."""
    name = encodable(name)
    described = [name, sorted((key, repr(float(value))) for key, value in metafeatures.items())]
    described += [metric.name, type(metric).__name__]
    id_ = hashlib.blake2b(json.dumps(described).encode(), digest_size=12).hexdigest()
    return Task(id_, TaskType.REGRESSION, 0, 0, name=name, group=name), PROTOCOL


def best_of_past(
    base: KnowledgeBase, space: SearchSpace, metric: Metric, task: str, metafeatures: Mapping[str, float], k: int
) -> tuple[list[Suggestion], int]:
    """The best configurations of past tasks of this space, and the number of these tasks.

    Tasks that are alike come first, by the mean difference of the meta-features that both have, each in units of its
    spread over the tasks; then second-best configurations, and so on, until there are `k`.
    """
    if k == 0:
        return [], 0
    ranked: dict[str, list[Trial]] = {}
    for trial in base.trials(learner=space.learner):
        is_like = trial.task != task and trial.state is TrialState.COMPLETE and metric.name in trial.fold_losses
        if is_like and math.isfinite(trial.loss(metric.name)) and space.holds(trial.configuration):
            ranked.setdefault(trial.task, []).append(trial)
    for trials in ranked.values():
        trials.sort(key=lambda trial: trial.loss(metric.name))
    described = {record.task.id: record.metafeatures for record in base.tasks() if record.task.id in ranked}
    spread = {
        name: float(np.std([values[name] for values in (*described.values(), metafeatures) if name in values])) or 1.0
        for name in metafeatures
    }

    def distance(other: str) -> float:
        values = described.get(other, {})
        gaps = [abs(values[name] - metafeatures[name]) / spread[name] for name in metafeatures if name in values]
        return float(np.mean(gaps)) if gaps else math.inf

    nearest = sorted(ranked, key=lambda other: (distance(other), other))
    rounds = max((len(trials) for trials in ranked.values()), default=0)
    ordered = [ranked[other][i] for i in range(rounds) for other in nearest if i < len(ranked[other])]
    distinct = dict.fromkeys(trial.configuration for trial in ordered)
    points = [Suggestion(configuration, Origin.PORTFOLIO) for configuration in distinct]
    return points[:k], len(ranked)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned of a new task from past tasks of its space.

    `metafeatures` (m,) are its own, None where it has none; `abstained` says why they are not gone by, or is empty.
    """

    knowledge: Knowledge
    metafeatures: np.ndarray | None
    abstained: str
    n_tasks: int

    def prior(self) -> Known:
        """The prior, the configurations that past tasks know, and the unit of the loss."""
        prior = self.knowledge.task_prior(self.metafeatures, abstained=self.abstained)
        # Losses of an objective are in the units of past losses: there is no constant prediction to compare with.
        return prior, self.knowledge.candidates, 1.0

    def points(self, k: int) -> list[Suggestion]:
        """The `k` configurations to begin with; none where the meta-features are not gone by."""
        if self.metafeatures is None or self.abstained:
            return []
        batch = greedy_batch(*self.knowledge.drawn(self.knowledge.prior(self.metafeatures)), k)
        return [Suggestion(self.knowledge.candidates[column], Origin.SURROGATE) for column in batch]


def learned_of_past(
    base: KnowledgeBase, space: SearchSpace, metric: Metric, task: str, metafeatures: Mapping[str, float], seed: int
) -> Learned | None:
    """What past tasks of this space say about a new one; None where there are none with a complete default."""
    trials = [
        trial
        for trial in base.trials(learner=space.learner)
        if trial.task != task
        and (metric.name in trial.fold_losses or trial.state is not TrialState.COMPLETE)
        and space.holds(trial.configuration)
    ]
    # Losses are told by how much better they are than the default's.
    defaults = [trial for trial in trials if trial.configuration == space.default]
    ids = {trial.task for trial in defaults if trial.state is TrialState.COMPLETE}
    records = [record for record in base.tasks() if record.task.id in ids]
    if not records:
        return None
    # What is the same for all past tasks, or known of none, tells nothing.
    names = [
        name
        for name in sorted(metafeatures)
        if len({value for record in records if np.isfinite(value := record.metafeatures.get(name, np.nan))}) > 1
    ]
    vectors = np.array([[record.metafeatures.get(name, np.nan) for name in names] for record in records])
    if not names:
        # All past tasks are then equally like the new one; this only tells them apart from each other.
        vectors = np.arange(len(records), dtype=float)[:, None]
    spaces = {space.learner: space}
    past = evidence(
        # Tasks that share a name are told apart by their meta-features, as the new one is from them: each is left out
        # by itself, not with all others of its name.
        [replace(record.task, group=record.task.id) for record in records],
        vectors,
        trials,
        metrics={str(kind): metric.name for kind in TaskType},
        spaces=spaces,
    )
    if not past.tasks:
        return None
    if not names:
        # There is no similarity to calibrate.
        return Learned(Knowledge.learn(past, spaces, seed=seed), None, "", len(past.tasks))
    n_described = int(np.isfinite(past.metafeatures).any(axis=1).sum())
    few = f"only {n_described} past tasks are described" if n_described < MIN_PAST_TASKS else ""
    own = np.array([metafeatures[name] for name in names], dtype=float)
    learn = learn_calibrated if _can_calibrate(past) else Knowledge.learn
    return Learned(learn(past, spaces, seed=seed), own, few, len(past.tasks))


def _can_calibrate(past: Evidence) -> bool:
    """Whether enough tasks share configurations, and a meta-feature differs among those that are not left out."""
    measured = ~np.isnan(past.losses)
    shared = measured[:, measured.sum(axis=0) > 1].sum(axis=1)
    n_left_out = -(-len(past.tasks) // INNER_FOLDS)

    def still_differs(values: np.ndarray) -> bool:
        counts = np.unique(values[np.isfinite(values)], return_counts=True)[1]
        return int(counts.sum() - counts.max(initial=0)) > n_left_out

    return int((shared >= MIN_SHARED).sum()) >= MIN_TASKS and any(map(still_differs, past.metafeatures.T))


class ObjectivePool:
    """Evaluates an objective here, or in as many threads as there are jobs; a context manager."""

    def __init__(
        self,
        objective: Callable[[dict[str, Value]], float | Sequence[float]],
        space: SearchSpace,
        task: str,
        protocol: Protocol,
        metric: Metric,
        n_jobs: int,
    ) -> None:
        if space.learner in LEARNERS:
            raise InputError(f"'{space.learner}' is the name of a learner of metahp; call the space otherwise.")
        self.n_jobs = n_jobs
        self.n_pending = 0
        self._objective = objective
        self._space = space
        self._task = task
        self._protocol = protocol
        self._metric = metric
        self._threads = ThreadPoolExecutor(n_jobs) if n_jobs > 1 else None
        self._waiting: deque[Suggestion] = deque()
        self._done: queue.SimpleQueue[Future[Trial]] = queue.SimpleQueue()

    def __enter__(self) -> "ObjectivePool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, job: Suggestion) -> None:
        """Start a trial; with one job it runs when it is waited for, so that an interrupt reaches it."""
        if self._threads is None:
            self._waiting.append(job)
        else:
            self._threads.submit(self._trial, job).add_done_callback(self._done.put)
        self.n_pending += 1

    def next_done(self, timeout: float | None = None) -> Outcome | None:
        """The next trial that ends; None where none has ended after `timeout` seconds (several jobs only)."""
        if self._threads is None:
            trial = self._trial(self._waiting.popleft())
        else:
            try:
                trial = self._done.get(timeout=timeout).result()
            except queue.Empty:
                return None
        self.n_pending -= 1
        return Outcome(trial)

    def _trial(self, suggestion: Suggestion) -> Trial:
        start = time.perf_counter()
        losses: tuple[float, ...] = ()
        try:
            scores = self._objective(suggestion.configuration.values)
            losses = tuple(float(self._metric.loss(float(score))) for score in np.atleast_1d(np.asarray(scores)))
            reason = "" if losses and np.isfinite(losses).all() else "a score that is not finite"
            reason = reason or find_loss_fault(self._metric.name, losses)
        except MemoryError:
            reason = "out of memory"
        except Exception as error:
            reason = reason_of(error)
        state = {"": TrialState.COMPLETE, "out of memory": TrialState.OUT_OF_MEMORY}.get(reason, TrialState.FAILED)
        rest: dict[str, Any] = {"fit_seconds": round(time.perf_counter() - start, 5), "reason": reason}
        return Trial(
            self._task,
            suggestion.configuration,
            self._protocol,
            0,
            state,
            suggestion.origin,
            {self._metric.name: losses} if state is TrialState.COMPLETE else {},
            space_version=self._space.version,
            **rest,
        )
