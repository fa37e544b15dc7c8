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

from metahp.core.configuration import Value
from metahp.core.errors import InputError
from metahp.core.metric import METRICS, Metric
from metahp.core.space import SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.text import encodable
from metahp.core.trial import Origin, Protocol, Trial, TrialState, find_loss_fault
from metahp.core.trial_columns import TrialColumns
from metahp.core.upgrade import upgrade_trials
from metahp.evaluation.runner import Outcome
from metahp.evaluation.worker import reason_of
from metahp.knowledge.snapshot import Snapshot
from metahp.learners.registry import LEARNERS
from metahp.recommendation.abstention import MIN_PAST_TASKS
from metahp.refinement.strategy import Suggestion
from metahp.surrogate.calibration import INNER_FOLDS, MIN_TASKS, fit_calibrated
from metahp.surrogate.collecting import collect_evidence
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks, Prior

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
    return Task(id=id_, type=TaskType.REGRESSION, n_rows=0, n_features=0, name=name, group=name), PROTOCOL


def best_of_past(
    snapshot: Snapshot, space: SearchSpace, metric: Metric, task: str, metafeatures: Mapping[str, float], k: int
) -> tuple[list[Suggestion], int]:
    """The best configurations of past tasks of this space, and the number of these tasks.

    Tasks that are alike come first, by the mean difference of the meta-features that both have, each in units of its
    spread over the tasks; then second-best configurations, and so on, until there are `k`.
    """
    if k == 0:
        return [], 0
    ranked: dict[str, list[Trial]] = {}
    for trial in _past_trials(snapshot, space, metric, task):
        if trial.state is TrialState.COMPLETE and math.isfinite(trial.loss(metric.name)):
            ranked.setdefault(trial.task, []).append(trial)
    for trials in ranked.values():
        trials.sort(key=lambda trial: trial.loss(metric.name))
    described = {record.task.id: record.metafeatures for record in snapshot.tasks if record.task.id in ranked}
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
class LearnedPast:
    """Past tasks of a new task's space, and its meta-features (m,) by which they differ; None where none does."""

    past: PastTasks
    metafeatures: np.ndarray | None

    @property
    def n_tasks(self) -> int:
        """The number of past tasks."""
        return len(self.past.evidence.tasks)

    def prior(self) -> Prior:
        """The prior of the new task; it abstains where its meta-features are no guide.

        Losses of an objective are in the units of past losses: there is no constant prediction to compare with.
        """
        n_described = int(np.isfinite(self.past.evidence.metafeatures).any(axis=1).sum())
        few = f"only {n_described} past tasks are described" if n_described < MIN_PAST_TASKS else ""
        return self.past.prior(self.metafeatures, abstained=few)

    def points(self, k: int) -> list[Suggestion]:
        """The `k` configurations to begin with; none where the prior abstains."""
        prior = self.prior()
        if prior.abstained:
            return []
        return [Suggestion(prior.candidates[column], Origin.SURROGATE) for column in prior.batch(k)]


def learn_past(
    snapshot: Snapshot, space: SearchSpace, metric: Metric, task: str, metafeatures: Mapping[str, float], seed: int
) -> LearnedPast | None:
    """What past tasks of this space say about a new one; None where there are none with a complete default."""
    trials = _past_trials(snapshot, space, metric, task)
    # Losses are told by how much better they are than the default's.
    defaults = [trial for trial in trials if trial.configuration == space.default]
    ids = {trial.task for trial in defaults if trial.state is TrialState.COMPLETE}
    records = [record for record in snapshot.tasks if record.task.id in ids]
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
    evidence = collect_evidence(
        # Tasks that share a name are told apart by their meta-features, as the new one is from them: each is left out
        # by itself, not with all others of its name.
        [replace(record.task, group=record.task.id) for record in records],
        vectors,
        TrialColumns.of(trials),
        metric=metric.name,
        metrics={str(kind): metric.name for kind in TaskType},
        spaces={space.learner: space},
    )
    if not evidence.tasks:
        return None
    if not names or not _can_calibrate(evidence):
        # Without meta-features there is no similarity to calibrate.
        past = PastTasks.read(evidence, MetaModel.fit(evidence, seed=seed), seed=seed)
    else:
        past = fit_calibrated(evidence, seed=seed)
    return LearnedPast(past, np.array([metafeatures[name] for name in names], dtype=float) if names else None)


def _past_trials(snapshot: Snapshot, space: SearchSpace, metric: Metric, task: str) -> list[Trial]:
    """Trials of other tasks than `task` as ones of this version of the space, complete ones with the metric."""
    trials = [
        trial
        for trial in snapshot.read_trials(learner=space.learner)
        if trial.task != task and (metric.name in trial.fold_losses or trial.state is not TrialState.COMPLETE)
    ]
    return [trial for _, trial in upgrade_trials(trials, {space.learner: space})]


def _can_calibrate(evidence: Evidence) -> bool:
    """Whether enough tasks share configurations, and a meta-feature differs among those that are not left out."""
    measured = ~np.isnan(evidence.losses)
    shared = measured[:, measured.sum(axis=0) > 1].sum(axis=1)
    n_left_out = -(-len(evidence.tasks) // INNER_FOLDS)

    def still_differs(values: np.ndarray) -> bool:
        counts = np.unique(values[np.isfinite(values)], return_counts=True)[1]
        return int(counts.sum() - counts.max(initial=0)) > n_left_out

    return int((shared >= MIN_SHARED).sum()) >= MIN_TASKS and any(map(still_differs, evidence.metafeatures.T))


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
            task=self._task,
            configuration=suggestion.configuration,
            protocol=self._protocol,
            n_rows=0,
            state=state,
            origin=suggestion.origin,
            fold_losses={self._metric.name: losses} if state is TrialState.COMPLETE else {},
            space_version=self._space.version,
            **rest,
        )
