"""Search for incumbents: a short search on each table finds better configurations than the design alone."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from metahp.core.metric import find_metric
from metahp.core.task import Task
from metahp.core.trial import Origin, Protocol, Trial
from metahp.core.upgrade import upgrade_trials
from metahp.datasets.read import TableSource
from metahp.evaluation.backend import InTurn
from metahp.evaluation.limits import Limits
from metahp.evaluation.processes import call_each, run_here
from metahp.evaluation.runner import Job
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import find_learner
from metahp.refinement.strategies import make_named_strategy
from metahp.refinement.strategy import Suggestion
from metahp.study.loop import MemoryLog, run_search
from metahp.study.request import Budget

STRATEGY = "gp"
# Metric of the search. Log loss for binary tasks too, since every configuration changes it.
METRIC_NAMES = {"binary": "neg_log_loss", "multiclass": "neg_log_loss", "regression": "neg_root_mean_squared_error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSearch:
    """`n_trials` further trials of a learner on a table; the strategy learns from its earlier trials, `known`."""

    source: TableSource
    task: Task
    learner: str
    protocol: Protocol
    limits: Limits
    known: tuple[Trial, ...]
    n_trials: int


def plan_searches(
    base: KnowledgeBase,
    tables: Sequence[tuple[TableSource, Task]],
    learner: str,
    n_trials: int,
    protocol: Protocol,
    limits: Limits,
) -> Iterator[PlannedSearch]:
    """Yield the remaining part of a search of `n_trials` trials for each table."""
    known: dict[str, list[Trial]] = {task.id: [] for _, task in tables}
    for trial in base.trials(learner=learner):
        if trial.task in known and trial.protocol == protocol:
            known[trial.task].append(trial)
    for source, task in tables:
        space = find_learner(learner).space(task.type)
        task_trials = [trial for _, trial in upgrade_trials(known[task.id], {learner: space})]
        n_left = n_trials - sum(trial.origin is Origin.POSTERIOR for trial in task_trials)
        if n_left > 0:
            yield PlannedSearch(
                source=source,
                task=task,
                learner=learner,
                protocol=protocol,
                limits=limits,
                known=tuple(task_trials),
                n_trials=n_left,
            )


def run_searches(
    planned: Iterable[PlannedSearch], n_jobs: int, record: Callable[[Sequence[Trial]], None]
) -> Iterator[list[Trial]]:
    """Yield the trials of each search, in the order in which searches finish.

    Each trial goes to `record`, in the process that made it, before the strategy chooses the next one. The strategy is
    Optuna's Gaussian process. It does not use past tasks, so its results do not repeat the prior.
    """
    for _, trials in call_each(functools.partial(_run_planned, record), list(planned), n_jobs=n_jobs):
        yield trials


def _run_planned(record: Callable[[Sequence[Trial]], None], planned: PlannedSearch) -> list[Trial]:
    metric = find_metric(planned.task.type, METRIC_NAMES[planned.task.type]).name
    space = find_learner(planned.learner).space(planned.task.type)

    def make_job(suggestion: Suggestion) -> Job:
        return Job(
            source=planned.source,
            task=planned.task.id,
            configuration=suggestion.configuration,
            protocol=planned.protocol,
            origin=Origin.POSTERIOR,
            limits=planned.limits,
        )

    n_known = len(planned.known)
    log = MemoryLog(metric, [space], planned.known, lambda trial: record([trial]))
    run_search(
        make_named_strategy(STRATEGY, [space], seed=n_known),
        InTurn(run_here),
        log,
        Budget(trials=n_known + planned.n_trials),
        make_job=make_job,
    )
    return log.trials[n_known:]
