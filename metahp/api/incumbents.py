"""Incumbents: what a short search finds on a table beyond the design, so that the best known is not the design's."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from metahp.core.metric import metric_for
from metahp.core.statistics import standard_error
from metahp.core.task import Task
from metahp.core.trial import Origin, Protocol, Trial
from metahp.core.upgrade import upgrade_trials
from metahp.datasets.read import TableSource
from metahp.evaluation.parallel import call_each, run_here
from metahp.evaluation.runner import Job, Limits
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import learner_named
from metahp.refinement.strategies import strategy_named
from metahp.refinement.strategy import Observation

STRATEGY = "gp"
# What the search improves: for classes log loss, binary ones too, as every configuration moves it.
METRIC_NAMES = {"binary": "neg_log_loss", "multiclass": "neg_log_loss", "regression": "neg_root_mean_squared_error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSearch:
    """`n_trials` further trials of a learner on a table, chosen by what its trials so far, `known`, say."""

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
    """What is left of a search of `n_trials` trials on each of the tables."""
    known: dict[str, list[Trial]] = {task.id: [] for _, task in tables}
    for trial in base.trials(learner=learner):
        if trial.task in known and trial.protocol == protocol:
            known[trial.task].append(trial)
    for source, task in tables:
        own = [trial for _, trial in upgrade_trials(known[task.id], {learner: learner_named(learner).space(task.type)})]
        n_left = n_trials - sum(trial.origin is Origin.POSTERIOR for trial in own)
        if n_left > 0:
            yield PlannedSearch(
                source=source,
                task=task,
                learner=learner,
                protocol=protocol,
                limits=limits,
                known=tuple(own),
                n_trials=n_left,
            )


def run_searches(
    planned: Iterable[PlannedSearch], n_jobs: int, record: Callable[[Sequence[Trial]], None]
) -> Iterator[list[Trial]]:
    """The trials of each search, in the order in which searches finish.

    Each trial is handed to `record`, in the process that made it, before the next one is chosen. The strategy is
    Optuna's Gaussian process, which knows nothing of past tasks: what it finds is no echo of the prior.
    """
    for _, trials in call_each(functools.partial(_trials, record), list(planned), n_jobs=n_jobs):
        yield trials


def _trials(record: Callable[[Sequence[Trial]], None], search: PlannedSearch) -> list[Trial]:
    metric = metric_for(search.task.type, METRIC_NAMES[search.task.type]).name
    strategy = strategy_named(STRATEGY, [learner_named(search.learner).space(search.task.type)], seed=len(search.known))
    for trial in search.known:
        strategy.tell(_observed(trial, metric))
    made: list[Trial] = []
    while len(made) < search.n_trials and (suggestion := strategy.ask()) is not None:
        chosen = suggestion.configuration
        trial = run_here(Job(search.source, search.task.id, chosen, search.protocol, Origin.POSTERIOR, search.limits))
        record([trial])
        strategy.tell(_observed(trial, metric))
        made.append(trial)
    return made


def _observed(trial: Trial, metric: str) -> Observation:
    losses = trial.fold_losses.get(metric, ())
    if not losses:
        return Observation(trial.configuration, float("inf"))
    return Observation(trial.configuration, float(np.mean(losses)), standard_error(losses))
