"""Tuning a user's own objective: past tasks of its space, its trials, its result."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from metahp.api.tuning.attempts import configurations_of
from metahp.api.tuning.objective import Cost, LearnedPast, ObjectivePool, best_of_past, learn_past, objective_task
from metahp.api.tuning.past import in_order, strategy_of
from metahp.api.tuning.search import Search
from metahp.api.tuning.tuned import TuneResult, tuned_of
from metahp.core.configuration import Value
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.evaluation import interrupts
from metahp.knowledge.records import TaskRecord
from metahp.recommendation.abstention import MIN_PAST_TASKS
from metahp.results.directory import Objective, ResultContent, write_result
from metahp.surrogate.prior import Prior

logger = logging.getLogger(__name__)

HINT = "Trials belong to a task by its name and meta-features: after a change of the objective give it another name."


def tune_objective(
    search: Search,
    objective: Callable[[dict[str, Value]], float | Sequence[float]],
    space: SearchSpace,
    metric: Metric,
    metafeatures: Mapping[str, float],
    name: str,
) -> TuneResult:
    """Tune `objective`, whose task is known by its name and meta-features; errors as for `metahp.tune`."""
    own = configurations_of(search.configurations, [space])
    task, protocol = objective_task(name, metafeatures, metric)
    study = search.study(task.id, protocol, metric, [space])
    is_open = search.is_open(study)
    if not is_open:
        logger.warning("nothing left to do: the task '%s' has %d trials already. %s", name, len(study.trials), HINT)
    snapshot = search.snapshot
    points, n_past = (
        best_of_past(snapshot, space, metric, task.id, metafeatures, search.n_warm) if snapshot else ([], 0)
    )

    @functools.cache
    def learned() -> LearnedPast | None:
        if snapshot is None or search.is_cold or not is_open:
            return None
        return learn_past(snapshot, space, metric, task.id, metafeatures, search.seed)

    if metafeatures and n_past >= MIN_PAST_TASKS and (found := learned()) and (better := found.points(search.n_warm)):
        points, n_past = better, found.n_tasks

    def prior() -> Prior | None:
        found = learned()
        return found.prior() if found else None

    ordered = in_order(own, points, [space.default])
    strategy, _ = strategy_of(search.strategy, prior, [space], ordered, seed=search.seed, device=search.device)
    search.close_snapshot()
    if is_open:
        search.record(TaskRecord(task=task, metafeatures=metafeatures))
    with interrupts.held_back() as held:
        with ObjectivePool(objective, space, task.id, protocol, metric, search.n_jobs) as pool:
            best, ended = search.best_of(study, strategy, pool, lambda suggestion: suggestion, held, hint=HINT)
        result = tuned_of(study, best, ended, n_past_tasks=n_past, directory=search.directory)
        if search.directory is not None:
            content = ResultContent(
                Objective(task, metafeatures, "minimize" if isinstance(metric, Cost) else "maximize"),
                metric,
                best.configuration,
                None,
                result.trials,
                protocol,
                search.seed,
                command=search.command,
                default_score=result.default_score_,
                warm_start=result.warm_start(),
            )
            write_result(search.directory, content)
        search.ingest()
        return replace(result, ended="interrupted") if held.is_waiting else result
