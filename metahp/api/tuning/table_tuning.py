"""Tuning learners on a table: what past tasks say of it, its trials, the ensemble, the model and what is written."""

import functools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from metahp.api.past_knowledge import PastKnowledge, read_knowledge
from metahp.api.tables import describe, record_of
from metahp.api.tuning.attempts import configurations_of
from metahp.api.tuning.past import find_prior, in_order, strategy_of
from metahp.api.tuning.rows import Rows
from metahp.api.tuning.search import Search
from metahp.api.tuning.study import WARM, Study
from metahp.api.tuning.tuned import Ensemble, Plan, TuneResult, tuned_of
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.core.metric import Metric
from metahp.core.trial import Origin, Trial, TrialState
from metahp.datasets.table import Table
from metahp.evaluation import interrupts
from metahp.evaluation.parallel import TrialPool
from metahp.evaluation.protocol import check_metric
from metahp.evaluation.pruning import pruning_after
from metahp.evaluation.runner import Job, Limits, Workload
from metahp.learners.registry import learner_named
from metahp.recommendation.result import arguments_of
from metahp.refinement.ensemble import cross_fitted_gain, loss_of_many, select_ensemble, votes
from metahp.refinement.strategy import Suggestion
from metahp.refinement.transfer import Transfer
from metahp.results.directory import ResultContent, write_result
from metahp.results.model import TunedModel, fit_model
from metahp.surrogate.prior import Prior

logger = logging.getLogger(__name__)

# More rows than this say nothing new about which models to average, and take their time.
MAX_ENSEMBLE_ROWS = 20_000
# What votes are poor at: they are no probabilities.
OF_PROBABILITIES = ("neg_log_loss", "roc_auc", "roc_auc_ovr")
HINT = "Try other learners, or more with `trial_timeout` or `memory_limit`."
# Predictions of one trial that are larger than this (numbers) are not kept: fifty of them would fill the memory.
MAX_PREDICTIONS = 2_000_000


def tune_table(
    search: Search,
    rows: Rows,
    source: str | Path | None,
    metric: Metric,
    learners: Sequence[str],
    limits: Limits,
    *,
    is_pruned: bool,
    stops_early: bool,
    is_ensemble: bool,
    is_voting: bool,
    budget_seconds: float,
    on_start: Callable[[Plan], None],
) -> TuneResult:
    """Tune `learners` on a table, which was read from the file `source` where there is one.

    The other arguments and the errors are those of `metahp.tune`.
    """
    table, protocol = rows.table, rows.protocol
    check_metric(table, metric.name, protocol, rows.splits)
    spaces = [learner_named(each).space(table.task.type) for each in learners]
    own = configurations_of(search.configurations, spaces)
    study = search.study(table.task.id, protocol, metric, spaces)
    knowledge, cold = _read_knowledge(search, study, table, learners)
    is_whole_known = bool(rows.whole and search.snapshot and search.snapshot.read_trials(task=rows.whole))
    search.close_snapshot()
    prior, points, notes = _prior(search, study, table, knowledge, budget_seconds)
    notes = (*notes, *cold)
    ordered = in_order(own, points, [space.default for space in spaces])
    strategy, used = strategy_of(
        search.strategy,
        lambda: prior,
        spaces,
        ordered,
        seed=search.seed,
        device=search.device,
        stopped_early=[each for each in learners if stops_early and learner_named(each).stops_early],
    )
    if not _keeps_predictions(table):
        notes = (*notes, f"no ensemble: predictions of {table.task.n_rows:,} rows are too many to keep of every trial")
    others = [t for t in study.trials if t.state is TrialState.PRUNED and f"({metric.name})" not in t.reason]
    if others:
        notes = (*notes, f"{len(others)} earlier trials were pruned by another metric, which chose its trials too")
    if is_voting and metric.name in OF_PROBABILITIES:
        notes = (
            *notes,
            f"votes are no probabilities, which {metric.name} judges: an ensemble that averages usually does better",
        )
    if prior and is_whole_known:
        notes = (*notes, "past tasks include this table with the rows that are set aside, so their score flatters")
    plan = Plan(
        table,
        str(source) if source is not None else table.task.name or "table",
        metric,
        protocol,
        used,
        strategy.device if isinstance(strategy, Transfer) else None,
        search.n_trials,
        study.n_earlier,
        sum(suggestion.origin in WARM for suggestion in ordered[: search.n_trials]),
        prior.n_tasks if prior else 0,
        0 if rows.outer is None else len(rows.outer),
        search.is_recorded,
        (*table.warnings, *notes),
    )
    on_start(plan)
    with interrupts.held_back() as held:
        with TrialPool(search.n_jobs) as pool:
            jobs = _jobs(study, rows, limits, is_pruned, stops_early)
            best, ended = search.best_of(study, strategy, pool, jobs, held, hint=HINT)
        if ended == "interrupted":
            logger.warning("%s: the best result so far is being written; once more ends at once", interrupts.ending())
        found = _ensemble(study, table, is_voting=is_voting, seed=search.seed)
        members = found.members if is_ensemble and found and len(found.members) > 1 else ((best.configuration, 1.0),)
        if is_ensemble and len(members) == 1 and _keeps_predictions(table):
            logger.warning("no ensemble, the best model instead: %s", _why_single(study))
        # What ended otherwise goes on with the same command.
        for left in _left_out(study, own, learners) if ended == "trials" else ():
            logger.warning("%s: ask for more with `trials`", left)
        result = _result(search, study, rows, best, ended, plan, found, members, is_voting=is_voting)
        if search.directory is not None:
            _write(search.directory, search, result, rows, source)
        search.ingest()
        return replace(result, ended="interrupted") if held.is_waiting else result


def _read_knowledge(
    search: Search, study: Study, table: Table, learners: Sequence[str]
) -> tuple[PastKnowledge | None, tuple[str, ...]]:
    """What the knowledge base says of the table, where that is needed, and why it says nothing."""
    if search.is_cold or search.snapshot is None or not search.is_open(study):
        return None, ()
    try:
        return read_knowledge(search.snapshot, table.task.type, study.metric, learners), ()
    except KnowledgeBaseError as error:
        return None, (f"a cold start: {error}",)


def _prior(
    search: Search, study: Study, table: Table, knowledge: PastKnowledge | None, budget_seconds: float
) -> tuple[Prior | None, list[Suggestion], tuple[str, ...]]:
    """As `find_prior`, where it is needed; the table is on record after this."""
    if not search.is_open(study) or (search.is_cold and not search.is_recorded):
        return None, [], ()
    prior: Prior | None = None
    points: list[Suggestion] = []
    notes: tuple[str, ...] = ()
    described = describe(table, budget_seconds=budget_seconds, seed=search.seed)
    if knowledge is not None:
        prior, points, notes = find_prior(
            knowledge, table, study.metric, described, search.n_warm, search.budget.left()
        )
    search.record(record_of(table, described))
    return prior, points, notes


def _left_out(study: Study, own: Sequence[Configuration], learners: Sequence[str]) -> Iterator[str]:
    """What was asked for and is not among the trials."""
    if n_left := len(set(own) - {study.asked(trial) for trial in study.trials}):
        yield f"own configurations that were not tried: {n_left}"
    if unmeasured := [each for each in learners if each not in {trial.configuration.learner for trial in study.trials}]:
        yield f"no trial of {', '.join(unmeasured)}"


def _why_single(study: Study) -> str:
    n_kept, n_complete = len(study.predictions), sum(trial.state is TrialState.COMPLETE for trial in study.trials)
    if n_kept > 1 or n_complete < 2:
        return "nothing that was measured adds to it"
    where = "lie in this result directory; name the one that has them with `output`"
    return f"predictions of {n_kept} of {n_complete} complete trials {where}"


def _keeps_predictions(table: Table) -> bool:
    return table.task.n_rows * max(1, table.task.n_classes) <= MAX_PREDICTIONS


def _jobs(study: Study, rows: Rows, limits: Limits, is_pruned: bool, stops_early: bool) -> Callable[[Suggestion], Job]:
    """What makes a job of a suggestion."""
    workload = Workload(rows.table, rows.splits)

    def job_of(suggestion: Suggestion) -> Job:
        # What others are compared with is measured to the end, and as it is.
        is_whole = suggestion.origin in (Origin.USER, Origin.DEFAULT)
        return Job(
            workload,
            study.task,
            suggestion.configuration,
            study.protocol,
            suggestion.origin,
            limits,
            keep_predictions=_keeps_predictions(rows.table),
            pruning=pruning_after(study.trials, study.metric.name) if is_pruned and not is_whole else None,
            early_stopping=study.metric.name if stops_early and not is_whole else "",
        )

    return job_of


def _ensemble(study: Study, table: Table, *, is_voting: bool, seed: int) -> Ensemble | None:
    """The greedy ensemble of the trials whose predictions are known; None for fewer than two of them."""
    shape = (table.task.n_rows, table.task.n_classes)[: 1 + table.task.type.is_classification]
    library = [
        trial for trial in study.trials if trial.id in study.predictions and study.predictions[trial.id].shape == shape
    ]
    if len(library) < 2:
        return None
    chosen = np.arange(table.task.n_rows)
    if len(chosen) > MAX_ENSEMBLE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MAX_ENSEMBLE_ROWS, replace=False))
    singles = np.stack([study.predictions[trial.id][chosen] for trial in library])
    is_voting = is_voting and table.task.type.is_classification
    predictions = votes(singles) if is_voting else singles
    loss = loss_of_many(study.metric.name, table.task.type)
    try:
        weights = select_ensemble(predictions, table.y[chosen], loss, seed=seed)
    except InputError as error:
        logger.warning("no ensemble: %s", error)
        return None
    try:
        gain = cross_fitted_gain(predictions, table.y[chosen], loss, singles=singles, seed=seed)
    except InputError as error:
        logger.warning("the gain of the ensemble cannot be told: %s", error)
        gain = None
    used = np.flatnonzero(weights)
    members = tuple((library[i].configuration, float(weights[i])) for i in used[np.argsort(-weights[used])])
    return Ensemble(members, gain, is_voting)


def _result(
    search: Search,
    study: Study,
    rows: Rows,
    best: Trial,
    ended: str,
    plan: Plan,
    found: Ensemble | None,
    members: Sequence[tuple[Configuration, float]],
    *,
    is_voting: bool,
) -> TuneResult:
    """The result, whose model of the (configuration, weight) `members` is fitted on first use."""

    @functools.cache
    def fit() -> TunedModel:
        is_vote = is_voting and len(members) > 1
        model = fit_model(rows.table, members, study.metric, seed=search.seed, is_voting=is_vote, n_jobs=search.n_jobs)
        score = study.metric.score(best.loss(study.metric.name))
        return replace(model, best_params_=arguments_of(best.configuration), best_score_=score)

    test_score, n_tested = (None, 0) if rows.outer is None else _tested(fit(), rows.outer)
    return tuned_of(
        study,
        best,
        ended,
        n_past_tasks=plan.n_past_tasks,
        ensemble_=found,
        test_score_=test_score,
        n_test_rows=n_tested,
        warnings=plan.warnings,
        directory=search.directory,
        _fit=fit,
    )


def _tested(model: TunedModel, outer: pd.DataFrame) -> tuple[float, int]:
    """Score on outer rows and how many have one: no model is scored on a class that it has not seen."""
    frame = model.read(outer)
    try:
        return model.score_of(model.outputs(model.features(frame)), frame)
    except InputError as error:
        logger.warning("no test score: %s", error)
        return math.nan, 0


def _write(directory: Path, search: Search, result: TuneResult, rows: Rows, source: str | Path | None) -> None:
    found = result.ensemble_
    write_result(
        directory,
        ResultContent(
            rows.table,
            result.metric,
            result.best_trial_.configuration,
            result.best_estimator_,
            result.trials,
            rows.protocol,
            search.seed,
            path=None if source is None or str(source) == "-" else source,
            split_column=rows.split_column,
            command=search.command,
            default_score=result.default_score_,
            test_score=result.test_score_,
            ensemble=None if found is None else found.to_dict(),
            warm_start=result.warm_start(),
        ),
    )
