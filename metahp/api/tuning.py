"""Tune: a warm start from past tasks, a strategy that refines it, and the trials written back."""

import functools
import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metahp.api.advice import known_learners
from metahp.api.attempts import Given, configurations_of
from metahp.api.objective import ObjectivePool, best_of_past, metric_of, objective_task, prior_of_past
from metahp.api.past import TRANSFER, Known, Past, check_strategy, in_order, past_of, record_of, strategy_of
from metahp.api.rows import Rows, rows_of
from metahp.api.study import Progress, Study, run
from metahp.api.tuned import Ensemble, Plan, TuneResult, tuned_of
from metahp.core.configuration import Configuration, Value
from metahp.core.errors import (
    InputError,
    KnowledgeBaseError,
)
from metahp.core.metric import Metric, metric_for
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin, Trial
from metahp.datasets.table import Table
from metahp.evaluation.budget import Budget
from metahp.evaluation.parallel import TrialPool
from metahp.evaluation.pruning import pruning_after
from metahp.evaluation.runner import Job, Limits, Workload
from metahp.knowledge.locate import open_knowledge_base
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.catalogue import learner_named
from metahp.metafeatures.extract import extract
from metahp.refinement.ensemble import cross_fitted_gain, loss_of_many, select_ensemble, votes
from metahp.refinement.strategy import Suggestion
from metahp.results.directory import STUDY, ResultContent, check_directory, write_result
from metahp.results.model import TunedModel, fit_model

logger = logging.getLogger(__name__)

N_WARM = 10
DEVICES = ("auto", "cpu", "cuda")
# More rows than this say nothing new about which models to average, and take their time.
MAX_ENSEMBLE_ROWS = 20_000
# Predictions of one trial that are larger than this (numbers) are not kept: fifty of them would fill the memory.
MAX_PREDICTIONS = 2_000_000
# The journal loses nothing by waiting for a later call, where another process holds the file now.
INGEST_SECONDS = 2.0


def tune(
    X: Any = None,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    learners: Sequence[str] | None = None,
    trials: int = 50,
    timeout: float | None = None,
    trial_timeout: float = 300.0,
    memory_limit: float = 4096.0,
    jobs: int = 1,
    device: str = "auto",
    strategy: str = TRANSFER,
    cold: bool = False,
    warm: int = N_WARM,
    seed: int = 0,
    knowledge_base: str | Path | KnowledgeBase | None = None,
    record: bool = True,
    output: str | Path | None = None,
    cv: int | None = None,
    groups: Any = None,
    time: Any = None,
    splitter: Any = None,
    test_size: float | None = None,
    max_rows: int | None = None,
    configurations: Sequence[Given] = (),
    ensemble: bool = False,
    voting: bool = False,
    patience: int | None = None,
    prune: bool = True,
    budget_seconds: float = 2.0,
    command: str | None = None,
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_trial: Callable[[Progress], None] = lambda progress: None,
    objective: Callable[[dict[str, Value]], float | Sequence[float]] | None = None,
    space: SearchSpace | None = None,
    metafeatures: Mapping[str, float] | None = None,
    name: str = "",
    direction: str = "maximize",
) -> TuneResult:
    """Tune learners on a table, or an objective of your own, starting from what past tasks have shown.

    The same call again goes on where the last one ended, however it ended: trials of this task under the same
    protocol (found in the knowledge base, or in `output` where nothing is recorded) count towards `trials`, and no
    configuration is evaluated twice.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`; None for an objective.
        y: Target of arrays and of frames without it, shape (n,).
        target: Target column; guessed where None.
        task: binary, multiclass or regression; inferred where None.
        metric: A scikit-learn scorer name; the task type's default where None.
        learners: Names of learners to choose from; None for all that the knowledge base knows well enough.
        trials: How many finished trials there are to be, those of earlier calls included.
        timeout: Seconds after which the call ends with what it has found; None for no limit.
        trial_timeout: Seconds of one trial over all folds; one that takes longer is killed, and a trial.
        memory_limit: Resident memory of one trial in MiB; one that takes more is killed, and a trial.
        jobs: How many trials run side by side, each on one thread.
        device: auto, cpu or cuda, for the posterior; trials of the learners here run on the CPU.
        strategy: What chooses after the warm start: transfer, which goes on learning from past tasks, or random,
            grid, tpe, gp, cmaes or nsga2. Where nothing is known of past tasks, gp takes the place of transfer.
        cold: Leave past tasks aside: no recommended points, and no transfer.
        warm: How many recommended points to begin with.
        seed: Of folds, models and strategy.
        knowledge_base: A knowledge base or the path of one; None for the user's own.
        record: Write trials and meta-features to the knowledge base.
        output: Result directory to write, or to replace; None for none.
        cv: Number of folds; None for 5, or 3 where there are more than 10,000 rows.
        groups: Rows of one group are never both trained and tested on: a column, which is then no feature, or labels
            of shape (n,).
        time: Train on the past, test on what follows: a column, or times of shape (n,).
        splitter: A scikit-learn splitter, or pairs of training and test indices.
        test_size: Share of rows to set aside before anything looks at them; the result then has `test_score_`. They
            are the latest where `time` is given, whole groups where `groups` are.
        max_rows: Trials use a sample of so many rows; None for all.
        configurations: Configurations of your own to try first: dictionaries, texts `key=value,…`, or
            `Configuration`s; values not named are the library's defaults. `learner:` before the text, or a key
            `learner`, says whose they are.
        ensemble: The final model is the greedy ensemble, not the best single configuration.
        voting: Members of the ensemble vote, instead of averaging probabilities.
        patience: End after so many trials without a better one; None for never.
        prune: End a trial after its first folds where it is hopeless.
        budget_seconds: For the meta-features.
        command: The command line, kept in the result.
        on_start: Called with what is about to be done on a table.
        on_trial: Called at the start and after every trial.
        objective: A function of a dictionary of values that gives a score, or a score per fold; an exception makes a
            failed trial. With several `jobs` it runs in threads.
        space: The search space of the objective; its `learner` is the name by which past tasks are found again.
        metafeatures: Numbers that describe the objective's task, so that like tasks find each other.
        name: Of the objective's task, which is known by its name and meta-features; the space's where empty.
        direction: maximize or minimize the objective.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: input that cannot be used.
        MetahpError: no trial is complete; the message has the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; else the result says that it was.
    """
    budget = Budget(math.inf if timeout is None else timeout)
    _check_numbers(trials, timeout, trial_timeout, memory_limit, jobs, warm, patience)
    if device not in DEVICES:
        raise InputError(f"--device is one of {', '.join(DEVICES)}, got '{device}'.")
    check_strategy(strategy)
    loop: dict[str, Any] = {"n_trials": trials, "budget": budget, "patience": patience, "on_trial": on_trial}
    base = (
        knowledge_base
        if isinstance(knowledge_base, KnowledgeBase)
        else open_knowledge_base(Path(knowledge_base) if knowledge_base else None)
    )
    if objective is not None:
        if X is not None or y is not None or space is None or output is not None:
            raise InputError("An objective comes with a space, and without a table or an output directory.")
        return _tune_objective(
            objective,
            space,
            metric_of(metric, direction),
            metafeatures or {},
            name or space.learner,
            base=base,
            record=record,
            n_warm=0 if cold else warm,
            cold=cold,
            device=device,
            own=configurations_of(configurations, [space]),
            strategy=strategy,
            seed=seed,
            jobs=jobs,
            loop=loop,
        )
    if X is None:
        raise InputError("Expected a table (X), or an objective with its space.")
    directory = None if output is None else Path(output)
    if directory is not None:
        check_directory(directory)
    rows = rows_of(
        X,
        y,
        target=target,
        task=task,
        cv=cv,
        groups=groups,
        time=time,
        splitter=splitter,
        test_size=test_size,
        max_rows=max_rows,
        seed=seed,
    )
    table, protocol = rows.table, rows.protocol
    chosen = metric_for(table.task.type, metric)
    names = tuple(dict.fromkeys(learners)) if learners else known_learners(base.info())
    spaces = [learner_named(each).space(table.task.type) for each in names]
    own = configurations_of(configurations, spaces)
    folder = None if directory is None else directory / STUDY / _key(table.task.id, protocol)
    study = Study(table.task.id, protocol, chosen, spaces, base=base if record else None, folder=folder)
    is_open = len(study.trials) < trials
    past: Past | None = None
    notes: tuple[str, ...] = ()
    if is_open and (record or not cold):
        described = extract(table, seconds_left=Budget(budget_seconds).left, seed=seed)
        if not cold:
            past, notes = past_of(base, table, chosen, described, names, warm, seed)
        if record:
            base.record(tasks=[record_of(table, described)])
    points = past.points if past else ()
    n_past = len(past.adviser.tasks) if past else 0
    ordered = in_order(own, points, [space.default for space in spaces])
    search, used = strategy_of(
        strategy, past.prior if past else lambda: None, spaces, ordered, seed=seed, device=device
    )
    workload = Workload(table, rows.splits)
    limits = Limits(trial_timeout, memory_limit)
    size = table.task.n_rows * max(1, table.task.n_classes)
    if size > MAX_PREDICTIONS:
        notes = (*notes, f"no ensemble: predictions of {table.task.n_rows:,} rows are too many to keep of every trial")
    warnings = (*table.warnings, *notes)
    n_outer = 0 if rows.outer is None else len(rows.outer)
    file = str(X) if isinstance(X, str | Path) else table.task.name or "table"
    on_start(
        Plan(
            table,
            file,
            chosen,
            protocol,
            used,
            trials,
            study.n_earlier,
            min(len(points), trials),
            n_past,
            n_outer,
            record,
            warnings,
        )
    )

    def job_of(suggestion: Suggestion) -> Job:
        # What others are compared with is measured to the end.
        is_whole = not prune or suggestion.origin in (Origin.USER, Origin.DEFAULT)
        return Job(
            workload,
            table.task.id,
            suggestion.configuration,
            protocol,
            suggestion.origin,
            limits,
            keep_predictions=size <= MAX_PREDICTIONS,
            pruning=None if is_whole else pruning_after(study.trials, chosen.name),
        )

    with TrialPool(jobs) as pool:
        ended = run(study, search, pool, job_of, **loop)
    best = _best_or_raise(study, ended)
    if record:
        _ingest(base)
    found = _ensemble(study, table, voting=voting, seed=seed)
    members = found.members if ensemble and found else ((best.configuration, 1.0),)
    fit = functools.cache(
        lambda: fit_model(table, members, chosen, seed=seed, is_voting=voting and len(members) > 1, n_jobs=jobs)
    )
    test_score = None if rows.outer is None else fit().score(rows.outer)
    result = tuned_of(
        study,
        best,
        ended,
        n_past_tasks=n_past,
        ensemble_=found,
        test_score_=test_score,
        n_test_rows=n_outer,
        warnings=warnings,
        directory=directory,
        _fit=fit,
    )
    if directory is not None:
        _write(directory, result, rows, fit(), is_ensemble=len(members) > 1, seed=seed, source=X, command=command)
    return result


def _check_numbers(
    trials: int,
    timeout: float | None,
    trial_timeout: float,
    memory_limit: float,
    jobs: int,
    warm: int,
    patience: int | None,
) -> None:
    for option, number in (("--timeout", timeout), ("--trial-timeout", trial_timeout)):
        if number is not None and not number > 0:
            raise InputError(f"{option} is a number of seconds above 0, got {number:g}.")
    if not memory_limit > 0:
        raise InputError(f"--memory-limit is a number of MiB above 0, got {memory_limit:g}.")
    for option, count in (("--trials", trials), ("--jobs", jobs), ("--patience", patience)):
        if count is not None and count < 1:
            raise InputError(f"{option} is at least 1, got {count}.")
    if warm < 0:
        raise InputError(f"--warm is at least 0, got {warm}.")


def _key(task: str, protocol: Any) -> str:
    return hashlib.blake2b(f"{task} {protocol}".encode(), digest_size=8).hexdigest()


def _best_or_raise(study: Study, ended: str) -> Trial:
    best = study.best()
    if best is not None:
        return best
    if ended == "interrupted":
        raise KeyboardInterrupt
    raise study.failure()


def _ingest(base: KnowledgeBase) -> None:
    try:
        base.ingest(INGEST_SECONDS)
    except KnowledgeBaseError as error:
        logger.info("The trials stay in the journal until a later call: %s", error)


def _ensemble(study: Study, table: Table, *, voting: bool, seed: int) -> Ensemble | None:
    """The greedy ensemble of the trials whose predictions are known; None for fewer than two of them."""
    library = [trial for trial in study.trials if trial.id in study.predictions]
    if len(library) < 2:
        return None
    chosen = np.arange(table.task.n_rows)
    if len(chosen) > MAX_ENSEMBLE_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MAX_ENSEMBLE_ROWS, replace=False))
    predictions = np.stack([study.predictions[trial.id][chosen] for trial in library])
    is_voting = voting and table.task.type.is_classification
    predictions = votes(predictions) if is_voting else predictions
    loss = loss_of_many(study.metric.name, table.task.type)
    try:
        weights = select_ensemble(predictions, table.y[chosen], loss, seed=seed)
    except InputError as error:
        logger.warning("no ensemble: %s", error)
        return None
    try:
        gain = cross_fitted_gain(predictions, table.y[chosen], loss, seed=seed)
    except InputError as error:
        logger.warning("the gain of the ensemble cannot be told: %s", error)
        gain = None
    used = np.flatnonzero(weights)
    members = tuple((library[i].configuration, float(weights[i])) for i in used[np.argsort(-weights[used])])
    return Ensemble(members, gain, is_voting)


def _write(
    directory: Path,
    result: TuneResult,
    rows: Rows,
    model: TunedModel,
    *,
    is_ensemble: bool,
    seed: int,
    source: Any,
    command: str | None,
) -> None:
    found = result.ensemble_
    write_result(
        directory,
        ResultContent(
            rows.table,
            result.metric,
            result.best_trial_.configuration,
            model,
            result.trials,
            rows.protocol,
            seed,
            path=source if isinstance(source, str | Path) and str(source) != "-" else None,
            command=command,
            test_score=None if result.test_score_ is None or math.isnan(result.test_score_) else result.test_score_,
            ensemble=None if found is None else {**found.to_dict(), "is_the_model": is_ensemble},
            warm_start=result.warm_start(),
        ),
    )


def _tune_objective(
    objective: Callable[[dict[str, Value]], float | Sequence[float]],
    space: SearchSpace,
    metric: Metric,
    metafeatures: Mapping[str, float],
    name: str,
    *,
    base: KnowledgeBase,
    record: bool,
    n_warm: int,
    cold: bool,
    device: str,
    own: Sequence[Configuration],
    strategy: str,
    seed: int,
    jobs: int,
    loop: dict[str, Any],
) -> TuneResult:
    task, protocol = objective_task(name, metafeatures, metric)
    study = Study(task.id, protocol, metric, [space], base=base if record else None, folder=None)
    points, n_past = best_of_past(base, space, metric, task.id, metafeatures, n_warm)

    def prior() -> Known | None:
        # Losses of an objective are in the units of past losses: there is no constant prediction to compare with.
        known = None if cold else prior_of_past(base, space, metric, task.id, metafeatures, seed)
        return known and (*known, 1.0)

    is_open = len(study.trials) < loop["n_trials"]
    ordered = in_order(own, points, [space.default])
    search, _ = strategy_of(strategy, prior if is_open else lambda: None, [space], ordered, seed=seed, device=device)
    if record and is_open:
        base.record(tasks=[TaskRecord(task, metafeatures)])
    with ObjectivePool(objective, space, task.id, protocol, metric, jobs) as pool:
        ended = run(study, search, pool, lambda suggestion: suggestion, **loop)
    best = _best_or_raise(study, ended)
    if record:
        _ingest(base)
    return tuned_of(study, best, ended, n_past_tasks=n_past)
