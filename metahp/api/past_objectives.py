"""Use past tasks of a search space for a new objective of that space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.core.upgrade import upgrade_trials
from metahp.knowledge.snapshot import Snapshot
from metahp.recommendation.abstention import MIN_PAST_TASKS
from metahp.refinement.strategy import Suggestion
from metahp.study.request import TRANSFER, Start
from metahp.study.search import WarmStart
from metahp.surrogate.calibration import INNER_FOLDS, MIN_TASKS, fit_calibrated
from metahp.surrogate.collecting import collect_evidence
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks, Prior

# With fewer shared configurations, a left-out task cannot show how well the other tasks predict it.
MIN_SHARED = 5


def rank_past(
    snapshot: Snapshot, space: SearchSpace, metric: Metric, task: str, metafeatures: Mapping[str, float], k: int
) -> tuple[list[Suggestion], int]:
    """The `k` best configurations of past tasks of this space, and the number of these tasks.

    First comes the best configuration of each task, then the second-best of each, and so on; within these, the most
    similar task first. The most similar task has the smallest mean difference over the meta-features that both tasks
    have, each in units of its standard deviation over the tasks.
    """
    if k == 0:
        return [], 0
    ranked: dict[str, list[Trial]] = {}
    for trial in _read_past_trials(snapshot, space, metric, task):
        if trial.state is TrialState.COMPLETE and math.isfinite(trial.loss(metric.name)):
            ranked.setdefault(trial.task, []).append(trial)
    for trials in ranked.values():
        trials.sort(key=lambda trial: trial.loss(metric.name))
    described = {record.task.id: record.metafeatures for record in snapshot.tasks if record.task.id in ranked}
    spread = {
        name: float(np.std([values[name] for values in (*described.values(), metafeatures) if name in values])) or 1.0
        for name in metafeatures
    }

    def compute_distance(other: str) -> float:
        values = described.get(other, {})
        gaps = [abs(values[name] - metafeatures[name]) / spread[name] for name in metafeatures if name in values]
        return float(np.mean(gaps)) if gaps else math.inf

    nearest = sorted(ranked, key=lambda other: (compute_distance(other), other))
    rounds = max((len(trials) for trials in ranked.values()), default=0)
    ordered = [ranked[other][i] for i in range(rounds) for other in nearest if i < len(ranked[other])]
    distinct = dict.fromkeys(trial.configuration for trial in ordered)
    points = [Suggestion(configuration, Origin.PORTFOLIO) for configuration in distinct]
    return points[:k], len(ranked)


@dataclass(frozen=True, slots=True, eq=False)
class LearnedPast:
    """Past tasks of a new task's space, and its meta-features (m,) that differ between tasks; None without any."""

    past: PastTasks
    metafeatures: np.ndarray | None

    @property
    def n_tasks(self) -> int:
        """The number of past tasks."""
        return len(self.past.evidence.tasks)

    def prior(self) -> Prior:
        """The prior of the new task; it abstains where too few past tasks have meta-features.

        Losses of an objective have the unit of past losses, as there is no constant prediction to compare with.
        """
        n_described = int(np.isfinite(self.past.evidence.metafeatures).any(axis=1).sum())
        few = f"only {n_described} past tasks are described" if n_described < MIN_PAST_TASKS else ""
        return self.past.prior(self.metafeatures, abstained=few)

    def points(self, k: int) -> list[Suggestion]:
        """The `k` configurations to start with; none where the prior abstains."""
        prior = self.prior()
        if prior.abstained:
            return []
        return [Suggestion(prior.candidates[column], Origin.SURROGATE) for column in prior.batch(k)]


def learn_past(
    snapshot: Snapshot, space: SearchSpace, metric: Metric, task: str, metafeatures: Mapping[str, float], seed: int
) -> LearnedPast | None:
    """What past tasks of this space say about a new one; None where the default is complete on none of them."""
    trials = _read_past_trials(snapshot, space, metric, task)
    # Losses are compared with the loss of the default.
    defaults = [trial for trial in trials if trial.configuration == space.default]
    ids = {trial.task for trial in defaults if trial.state is TrialState.COMPLETE}
    records = [record for record in snapshot.tasks if record.task.id in ids]
    if not records:
        return None
    # Drop constant and missing meta-features.
    names = [
        name
        for name in sorted(metafeatures)
        if len({value for record in records if np.isfinite(value := record.metafeatures.get(name, np.nan))}) > 1
    ]
    vectors = np.array([[record.metafeatures.get(name, np.nan) for name in names] for record in records])
    if not names:
        # All past tasks are then equally similar to the new one; these numbers only distinguish them from each other.
        vectors = np.arange(len(records), dtype=float)[:, None]
    evidence = collect_evidence(
        # Tasks of the same name, the new one included, differ in their meta-features. So each task is left out alone,
        # not with all tasks of its name.
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


def _read_past_trials(snapshot: Snapshot, space: SearchSpace, metric: Metric, task: str) -> list[Trial]:
    """Trials of tasks other than `task`, upgraded to this version of the space; complete ones have the metric."""
    trials = [
        trial
        for trial in snapshot.read_trials(learner=space.learner)
        if trial.task != task and (metric.name in trial.fold_losses or trial.state is not TrialState.COMPLETE)
    ]
    return [trial for _, trial in upgrade_trials(trials, {space.learner: space})]


def _can_calibrate(evidence: Evidence) -> bool:
    """Whether enough tasks share configurations, and a meta-feature still differs when a fold of tasks is left out."""
    measured = ~np.isnan(evidence.losses)
    shared = measured[:, measured.sum(axis=0) > 1].sum(axis=1)
    n_left_out = -(-len(evidence.tasks) // INNER_FOLDS)

    def differs_after_leaving_out(values: np.ndarray) -> bool:
        counts = np.unique(values[np.isfinite(values)], return_counts=True)[1]
        return int(counts.sum() - counts.max(initial=0)) > n_left_out

    return int((shared >= MIN_SHARED).sum()) >= MIN_TASKS and any(
        map(differs_after_leaving_out, evidence.metafeatures.T)
    )


def ask_past_objectives(
    snapshot: Snapshot,
    space: SearchSpace,
    metric: Metric,
    task: str,
    metafeatures: Mapping[str, float],
    start: Start,
    *,
    is_open: bool,
    seed: int,
) -> WarmStart:
    """The warm start of an objective from past tasks of its space.

    If enough past tasks have meta-features, a learned model chooses the points; otherwise they are the best
    configurations of similar tasks. Learning takes seconds, so it is skipped where the study is not `is_open` or does
    not use it.
    """
    points, n_tasks = rank_past(snapshot, space, metric, task, metafeatures, start.n_warm)
    is_described = bool(metafeatures) and n_tasks >= MIN_PAST_TASKS
    is_learned = is_open and not start.is_cold and (is_described or start.strategy == TRANSFER)
    learned = learn_past(snapshot, space, metric, task, metafeatures, seed) if is_learned else None
    if is_described and learned and (better := learned.points(start.n_warm)):
        points, n_tasks = better, learned.n_tasks
    prior = learned.prior() if learned and start.strategy == TRANSFER else None
    return WarmStart(prior=prior, points=tuple(points), n_past_tasks=n_tasks)
