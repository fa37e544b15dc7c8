"""The study of a table: learners are tuned, the best model or the ensemble is fitted, and a result is written."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.text import format_count
from metahp.core.trial import Origin, Trial, TrialState
from metahp.evaluation import interrupts
from metahp.evaluation.imbalance import describe_imbalance
from metahp.evaluation.processes import TrialProcesses, choose_threads
from metahp.evaluation.protocol import check_metric
from metahp.evaluation.pruning import MULTIPLE, MULTIPLE_OF_TIME, find_pruning
from metahp.evaluation.runner import Job, Workload
from metahp.evaluation.scoring import Scorer
from metahp.learners.fixed import NOTHING_FIXED, Fixed
from metahp.learners.read_fixed import read_fixed
from metahp.learners.registry import find_learner
from metahp.refinement.strategy import Suggestion
from metahp.results.content import ResultContent
from metahp.results.directory import STUDY, write_result
from metahp.results.model import TunedModel
from metahp.study.configurations import apply_fixed, read_configurations
from metahp.study.ensemble import (
    Ensemble,
    can_keep_predictions,
    choose_ensemble,
    estimate_ensemble_seconds,
    explain_single,
)
from metahp.study.final_model import FinalModel
from metahp.study.growth import Growing, name_rung, plan_rungs
from metahp.study.loop import is_scored
from metahp.study.outlook import find_outlook_notes
from metahp.study.request import Budget, Request, TableSettings
from metahp.study.result import Plan, TuneResult, make_result
from metahp.study.rows import Rows
from metahp.study.run import run_study
from metahp.study.rungs import Stage, climb_rungs
from metahp.study.search import Fixing, LateSearch, Search
from metahp.study.trial_folder import keep_scorer
from metahp.study.trials import WARM, Storage, StudyTrials

logger = logging.getLogger(__name__)

# These metrics judge probabilities, and votes are poor ones.
OF_PROBABILITIES = ("neg_log_loss", "neg_brier_score", "roc_auc", "roc_auc_ovr", "average_precision")
# Seconds that a result takes to be made and written, and members that an ensemble has at least in most studies.
FINISH_SECONDS, MEMBERS_FITTED = 0.3, 5
HINT = "Try other learners, or more with `trial_timeout` or `memory_limit`."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableRequest:
    """What a study of a table is asked for, beside a `Request`.

    Attributes:
        rows: The rows, in folds.
        file: The file that they were read from; None where there is none.
        metric: What to tune for.
        learners: Names of the learners to choose from.
        settings: How trials are measured, and what becomes of them.
        scorer: Of a metric that trials do not store by themselves; None for one that they do.
    """

    rows: Rows
    file: str | Path | None
    metric: Metric
    learners: Sequence[str]
    settings: TableSettings
    scorer: Scorer | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beginning:
    """What a search of a table begins with.

    Attributes:
        trials: The trials so far.
        spaces: Search spaces, one per learner.
        own: The user's own configurations.
        stopped_early: Learners of which fewer iterations may be kept than are asked for.
        fixed: What is fixed; the spaces and the user's own configurations are narrow, as a strategy sees them.
        growing: Tells how many of the rows trials use now.
    """

    trials: StudyTrials
    spaces: Sequence[SearchSpace]
    own: Sequence[Configuration]
    stopped_early: Sequence[str]
    fixed: Fixed = NOTHING_FIXED
    growing: Growing = field(default_factory=Growing)


def tune_table(
    request: Request, table_request: TableRequest, storage: Storage, begin: Callable[[Beginning], Search | LateSearch]
) -> TuneResult:
    """Tune learners on a table; errors as for `metahp.tune`.

    Args:
        request: What is asked of any study.
        table_request: What is asked of this one.
        storage: Where trials and result are kept.
        begin: Makes the search, before the first trial.
    """
    rows, metric = table_request.rows, table_request.metric
    check_metric(rows.table, metric.name, rows.protocol, rows.splits, table_request.scorer)
    if table_request.scorer is not None and storage.directory is not None:
        keep_scorer(storage.directory / STUDY, rows.table.task.id, table_request.scorer.identity)
    spaces = [find_learner(name).space(rows.table.task.type) for name in table_request.learners]
    fixed = read_fixed(table_request.settings.fixed, table_request.learners, rows.table)
    own = apply_fixed(read_configurations(request.start.configurations, spaces, rows.table.task.type), fixed)
    trials = storage.open_trials(rows.table.task.id, rows.protocol, metric, spaces, fixed)
    beginning = Beginning(
        trials=trials,
        spaces=fixed.narrow(spaces),
        own=[fixed.strip(each) for each in own],
        stopped_early=_find_stopped_early(table_request, fixed),
        fixed=fixed,
    )
    search = begin(beginning)
    ready = search if isinstance(search, Search) else None
    warnings = (
        *rows.table.warnings,
        *(ready.past.notes if ready else ()),
        *_find_notes(request, table_request, trials),
    )
    table_request.settings.on_start(
        Plan(
            table=rows.table,
            file=str(table_request.file) if table_request.file is not None else rows.table.task.name or "table",
            metric=metric,
            protocol=rows.protocol,
            strategy=ready.name if ready else request.start.strategy,
            device=ready.device if ready else None,
            is_learning=ready is None,
            n_trials=request.budget.trials,
            n_earlier=trials.n_earlier,
            n_warm=sum(each.origin in WARM for each in search.suggestions[: request.budget.trials]),
            n_past_tasks=ready.past.n_past_tasks if ready else 0,
            n_test_rows=0 if rows.outer is None else len(rows.outer),
            is_recorded=storage.base is not None,
            warnings=warnings,
            fixed=fixed.describe(),
        )
    )
    with interrupts.hold_signals() as held:
        stage, of_rungs = _run_trials(request, table_request, storage, beginning, search, held)
        best, ended, trials, outlook = stage.best, stage.ended, stage.trials, stage.outlook
        warnings = (*warnings, *of_rungs)
        if ready is None:
            warnings = (*warnings, *search.past.notes)
        ensemble = _choose_ensemble(request, table_request, trials)
        members, notes = _choose_members(table_request, trials, best, ensemble)
        notes += find_outlook_notes(request.budget, trials, outlook)
        # What ended otherwise goes on with the same command.
        if ended == "trials":
            notes += _find_left_out(trials, own, table_request.learners)
        fit = FinalModel(
            rows.table,
            members,
            metric,
            best,
            seed=request.seed,
            is_voting=table_request.settings.is_voting and len(members) > 1,
            n_jobs=request.n_jobs,
            fixed_n_jobs=fixed.n_jobs,
            sample_weight=rows.weights,
            scorer=table_request.scorer,
        )
        if request.budget.timeout is not None:
            # The limit holds for the model too, so it is not left to its first use.
            fit()
        test = None
        if rows.outer is not None:
            test, test_notes = _score_outer_rows(fit(), rows.outer, rows.outer_weights)
            notes += test_notes
        result = make_result(
            trials,
            best,
            ended,
            n_past_tasks=search.past.n_past_tasks,
            directory=storage.directory,
            ensemble=ensemble,
            test=test,
            outlook=outlook,
            warnings=(*warnings, *notes),
            fit=fit,
        )
        if storage.directory is not None:
            _write_result(storage.directory, request, table_request, result, fixed)
        storage.ingest(request.budget.seconds_left)
        return replace(result, ended="interrupted") if held.is_waiting else result


def _find_stopped_early(table_request: TableRequest, fixed: Fixed) -> list[str]:
    """The learners of which fewer iterations may be kept than are asked for."""
    if not table_request.settings.stops_early:
        return []
    return [
        name for name in table_request.learners if find_learner(name).stops_early and not fixed.has_iterations(name)
    ]


def _find_notes(request: Request, table_request: TableRequest, trials: StudyTrials) -> Iterator[str]:
    """What a user should know before the first trial."""
    if not request.start.is_cold and (note := trials.fixed.find_note()):
        yield note
    task, metric, scorer = table_request.rows.table.task, table_request.metric, table_request.scorer
    yield from describe_imbalance(table_request.rows.table, metric, table_request.rows.protocol)
    if scorer is not None and scorer.looks_at_rows:
        yield (
            f"{metric.label} gets the prepared features of the test rows as X, and a stand-in for the fitted estimator "
            "that knows the predictions of these rows alone"
        )
    if scorer is not None and table_request.rows.weights is not None and not scorer.takes_weights:
        yield f"{metric.label} takes no sample_weight, so all rows weigh the same in the scores"
    if not can_keep_predictions(table_request.rows.table):
        yield f"the result is a single model, as predictions of {task.n_rows:,} rows are too many for an ensemble"
    pruned = [trial for trial in trials.trials if trial.state is TrialState.PRUNED]
    if others := [trial for trial in pruned if f"({metric.name})" not in trial.reason]:
        yield (
            f"{format_count(len(others), 'earlier trial')} {'was' if len(others) == 1 else 'were'} stopped early by "
            f"another metric and may be good by {metric.label}; another `seed` measures anew"
        )
    if n_unmeasured := sum(_is_unmeasured(trial, metric) for trial in trials.trials):
        yield (
            f"{format_count(n_unmeasured, 'earlier trial')} without {metric.label} cannot win, because an older "
            "version of metahp measured them; another `seed` measures anew"
        )
    if table_request.settings.is_voting and metric.name in OF_PROBABILITIES:
        yield f"an ensemble that votes usually has a worse {metric.label} than one that averages; leave out `voting`"


def _is_unmeasured(trial: Trial, metric: Metric) -> bool:
    """Whether a complete trial has no losses of the metric: those of older versions lack the newer metrics."""
    return trial.state is TrialState.COMPLETE and metric.name not in trial.fold_losses


def _run_trials(
    request: Request,
    table_request: TableRequest,
    storage: Storage,
    beginning: Beginning,
    search: Search | LateSearch,
    held: interrupts.Held,
) -> tuple[Stage, list[str]]:
    """What the last rung with a complete trial has, and what a user should know of the rungs."""
    rows, growing = table_request.rows, beginning.growing
    strategy = search.strategy if isinstance(search, Search) else search
    growing.strategy = Fixing(strategy, beginning.fixed) if beginning.fixed else strategy
    rungs = plan_rungs(rows.table.task, rows.protocol, request.budget.timeout)
    trials = beginning.trials
    logs = [
        storage.open_trials(
            trials.task,
            replace(rows.protocol, max_rows=rung.n_rows),
            trials.metric,
            list(trials.spaces.values()),
            trials.fixed,
        )
        for rung in rungs[:-1]
    ]
    logs.append(trials)
    n_threads = choose_threads(request.n_jobs, rungs[-1].n_rows * rows.table.task.n_features)
    with TrialProcesses(request.n_jobs // n_threads, request.worker) as backend:

        def run(place: int, part: Budget, below: Stage | None) -> Stage:
            log = logs[place]
            best, ended, outlook = run_study(
                request,
                log,
                growing,
                backend,
                _prepare_jobs(request, table_request, log, n_threads),
                held,
                hint=HINT,
                stage=name_rung(rungs[place], rungs),
                estimate_reserve=lambda: _estimate_reserve(
                    request, table_request, log if log.has_best or below is None else below.trials
                ),
                # A rung below has a model already, and the time limit waits for no other.
                is_patient=below is None,
                part=part,
            )
            return Stage(best=best, ended=ended, trials=log, outlook=outlook)

        stage = climb_rungs(
            rungs,
            logs,
            request.budget,
            growing,
            run,
            lambda log: _estimate_reserve(request, table_request, log),
        )
    if stage.ended == "interrupted":
        logger.warning(
            "%s: the best result so far is being written; once more ends at once", interrupts.describe_signal()
        )
    n_used, n_rows = stage.trials.protocol.max_rows, rungs[-1].n_rows
    counts = [f"{log.n_trials} on {rung.n_rows:,}" for rung, log in zip(rungs, logs, strict=True) if log.n_trials]
    notes = []
    if len(counts) > 1 or n_used < n_rows:
        notes.append(
            f"the time limit is short for {n_rows:,} rows, so trials began on fewer: {', '.join(counts)} rows; scores "
            f"are of trials on {'all' if n_used >= n_rows else f'{n_used:,}'} rows, and the model is fitted on all"
        )
    return stage, notes


def _prepare_jobs(
    request: Request, table_request: TableRequest, trials: StudyTrials, n_threads: int
) -> Callable[[Suggestion], Job]:
    """A function that makes a job of a suggestion; each trial has `n_threads` threads."""
    is_timed = request.budget.timeout is not None
    multiple = MULTIPLE_OF_TIME if is_timed else MULTIPLE
    rows, metric, settings = table_request.rows, table_request.metric, table_request.settings
    workload = Workload(rows.table, rows.splits, table_request.scorer)

    def make_job(suggestion: Suggestion) -> Job:
        comparable = [trial for trial in trials.trials if not _is_unmeasured(trial, metric)]
        # Others are compared with these, so they are measured to the end, and as they are.
        is_whole = suggestion.origin in (Origin.USER, Origin.DEFAULT)
        has_iterations = trials.fixed.has_iterations(suggestion.configuration.learner)
        return Job(
            source=workload,
            task=trials.task,
            configuration=suggestion.configuration,
            protocol=trials.protocol,
            origin=suggestion.origin,
            limits=settings.limits,
            keep_predictions=can_keep_predictions(rows.table),
            pruning=(
                find_pruning(comparable, metric.name, multiple=multiple, is_early=is_timed)
                if settings.is_pruned and not is_whole
                else None
            ),
            early_stopping=metric.name if settings.stops_early and not is_whole and not has_iterations else "",
            n_threads=n_threads,
        )

    return make_job


def _estimate_reserve(request: Request, table_request: TableRequest, trials: StudyTrials) -> float:
    """Seconds that the ensemble and the final fit take, as far as the trials tell; 0 without a limit."""
    best = trials.find_best()
    if request.budget.timeout is None or best is None:
        return 0.0
    settings, task = table_request.settings, table_request.rows.table.task
    name = trials.metric.name
    scored = sorted((trial for trial in trials.trials if is_scored(trial, name)), key=lambda trial: trial.loss(name))
    fitted = scored[:MEMBERS_FITTED] if settings.is_ensemble else scored[:1]
    n_outputs = task.n_rows * max(1, task.n_classes)
    combining = estimate_ensemble_seconds(len(trials.predictions), n_outputs) if settings.is_ensemble else 0.0
    return FINISH_SECONDS + combining + sum(_estimate_fit_seconds(trial, task.n_rows) for trial in fitted)


def _estimate_fit_seconds(trial: Trial, n_rows: int) -> float:
    """Seconds that a trial's configuration takes to fit on `n_rows` rows; a fold leaves one part of its rows out."""
    parts = trial.protocol.folds * trial.protocol.repeats
    share = n_rows / max(trial.n_rows, 1) if trial.protocol.max_rows < n_rows else 1.0
    return share * trial.fit_seconds / parts * trial.protocol.folds / max(trial.protocol.folds - 1, 1)


def _choose_ensemble(request: Request, table_request: TableRequest, trials: StudyTrials) -> Ensemble | None:
    """The ensemble of the trials; None where there is none, or no time is left to choose one that was not asked for."""
    table, settings = table_request.rows.table, table_request.settings
    n_outputs = table.task.n_rows * max(1, table.task.n_classes)
    seconds = estimate_ensemble_seconds(len(trials.predictions), n_outputs)
    if not settings.is_ensemble and seconds > max(request.budget.seconds_left - FINISH_SECONDS, 0.0):
        logger.info("No ensemble is chosen: the time is up.")
        return None
    return choose_ensemble(
        trials,
        table,
        is_voting=settings.is_voting,
        seed=request.seed,
        weights=table_request.rows.weights,
        scorer=table_request.scorer,
    )


def _choose_members(
    table_request: TableRequest, trials: StudyTrials, best: Trial, ensemble: Ensemble | None
) -> tuple[tuple[tuple[Configuration, float], ...], list[str]]:
    """The configurations of the final model with their weights, and what a user should know of them."""
    if table_request.settings.is_ensemble and ensemble and len(ensemble.members) > 1:
        return ensemble.members, []
    notes = []
    if table_request.settings.is_ensemble and can_keep_predictions(table_request.rows.table):
        notes.append(f"the result is the best single model, not an ensemble: {explain_single(trials)}")
    return ((best.configuration, 1.0),), notes


def _find_left_out(trials: StudyTrials, own: Sequence[Configuration], learners: Sequence[str]) -> Iterator[str]:
    """What was asked for and is not among the trials."""
    if n_left := len(set(own) - {trials.find_asked(trial) for trial in trials.trials}):
        was = "was" if n_left == 1 else "were"
        yield f"{n_left} of your configurations {was} not tried, because no trial was left; ask for more with `trials`"
    tried = {trial.configuration.learner for trial in trials.trials}
    if untried := [name for name in learners if name not in tried]:
        yield f"no trial of {', '.join(untried)}, so a better model may be missed; ask for more with `trials`"


def _score_outer_rows(
    model: TunedModel, outer: pd.DataFrame, weights: np.ndarray | None
) -> tuple[tuple[float, int], list[str]]:
    """Score on outer rows with how many rows it is of, and what a user should know of it.

    The model has no score on a class that it has not seen.
    """
    frame = model.read(outer)
    features, notes = model.preparation.transform(frame)
    notes = tuple(f"rows set aside for the test: {note}" for note in notes)
    try:
        return model.score_of(model.outputs(features), frame, sample_weight=weights), list(notes)
    except InputError as error:
        return (math.nan, 0), [*notes, f"the best model has no test score: {error}"]


def _write_result(
    directory: Path, request: Request, table_request: TableRequest, result: TuneResult, fixed: Fixed
) -> None:
    ensemble = result.ensemble_
    write_result(
        directory,
        ResultContent(
            table=table_request.rows.table,
            metric=result.metric,
            best=result.best_trial_.configuration,
            model=result.best_estimator_,
            trials=result.trials,
            protocol=table_request.rows.protocol,
            seed=request.seed,
            path=None if table_request.file is None or str(table_request.file) == "-" else table_request.file,
            split_column=table_request.rows.split_column,
            weight_column=table_request.rows.weight_column,
            is_weighted=table_request.rows.weights is not None,
            command=request.command,
            default_score=result.default_score_,
            test_score=result.test_score_,
            ensemble=None if ensemble is None else ensemble.to_dict(),
            warm_start=result.warm_start(),
            outlook=result.describe_outlook(),
            fixed=fixed,
        ),
    )
