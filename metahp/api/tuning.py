"""Tune with a warm start from past tasks and a strategy that refines it, and record the trials."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Never

from metahp.api.advice import choose_learners
from metahp.api.advisers import ask_about
from metahp.api.past_knowledge import PastKnowledge, read_knowledge
from metahp.api.past_objectives import ask_past_objectives
from metahp.api.tables import describe, make_record
from metahp.core.errors import BusyError, InputError, KnowledgeBaseError
from metahp.core.metric import find_metric
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.evaluation import interrupts
from metahp.evaluation.runner import Limits
from metahp.evaluation.threads import ObjectiveFunction
from metahp.knowledge.locate import find_knowledge_base_path, open_snapshot
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.metafeatures.extract import MetaFeatures
from metahp.refinement.strategy import Suggestion
from metahp.results.directory import hold_directory
from metahp.study.configurations import Given
from metahp.study.objective import MAXIMIZE, ObjectiveRequest, make_metric, tune_function
from metahp.study.progress import Progress
from metahp.study.request import TRANSFER, Budget, Folds, Request, Start
from metahp.study.result import Plan, TuneResult
from metahp.study.rows import split_rows
from metahp.study.strategy import COLD_START, WarmStart
from metahp.study.table import TableRequest, tune_table
from metahp.study.trials import Storage, StudyTrials

logger = logging.getLogger(__name__)


def tune(
    X: Any = None,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    learners: str | Sequence[str] | None = None,
    trials: int = 50,
    timeout: float | None = None,
    trial_timeout: float = 300.0,
    memory_limit: float = 4096.0,
    jobs: int = 1,
    device: str = "auto",
    strategy: str = TRANSFER,
    cold: bool = False,
    warm: int | None = None,
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
    early_stopping: bool = True,
    budget_seconds: float = 2.0,
    command: str | None = None,
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_trial: Callable[[Progress], None] = lambda progress: None,
    **others: Never,
) -> TuneResult:
    """Tune learners on a table, starting from recommendations of past tasks.

    The same call continues where the last one ended, even if that was interrupted. Earlier trials of this task under
    the same protocol (in the knowledge base, or in `output` without recording) count towards `trials`, and no
    configuration is evaluated twice.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`.
        y: Target, shape (n,), where `X` does not contain it.
        target: Target column; None to guess it.
        task: binary, multiclass or regression; None to infer it.
        metric: A usual name (rmse, mae, log_loss, auc, f1, …) or a scikit-learn scorer's; the task type's default
            where None.
        learners: Name or names of learners to choose from; None for all that the knowledge base knows well enough.
        trials: Number of finished trials, including those of earlier calls.
        timeout: Seconds after which the call ends with the result so far; None for no limit.
        trial_timeout: Seconds of one trial over all folds; a longer trial is killed, and counts as a trial.
        memory_limit: Resident memory of one trial in MiB; a larger trial is killed, and counts as a trial.
        jobs: Number of trials that run in parallel, each on one thread.
        device: auto, cpu or cuda, for the posterior; trials of metahp's learners run on the CPU.
        strategy: Strategy after the warm start: transfer, which also learns from past tasks, or random, grid, tpe, gp,
            cmaes or nsga2. Without past tasks, gp replaces transfer.
        cold: Ignore past tasks: no recommended points, and no transfer.
        warm: Number of recommended points to start with; None for 3 with transfer and 10 with another strategy.
        seed: Seed of folds, models and strategy.
        knowledge_base: A knowledge base or its path; None for the user's own.
        record: Write trials and meta-features to the knowledge base.
        output: Result directory to write or replace; None for none.
        cv: Number of folds; None for 5, or 3 where there are more than 10,000 rows.
        groups: All rows of a group are either trained on or tested on. A column, which is then not a feature, or labels
            of shape (n,).
        time: Train on earlier rows, test on later ones. A column, or times of shape (n,).
        splitter: A scikit-learn splitter, or pairs of training and test indices.
        test_size: Share of rows to set aside as test rows before anything else; the result then has `test_score_`. With
            `time` they are the latest rows, with `groups` whole groups.
        max_rows: Trials use a sample of this many rows; None for all.
        configurations: Your configurations to try first: dictionaries, texts `key=value,…`, or `Configuration` values;
            missing values are the library's defaults. `learner:` before the text, or a key `learner`, names the
            learner.
        ensemble: Make the final model a greedy ensemble, not the best single configuration.
        voting: Let the members of the ensemble vote, instead of averaging probabilities.
        patience: End after this many trials without improvement; None for never.
        prune: Stop a hopeless trial after its first folds.
        early_stopping: Cut boosted trees at the iteration with the lowest mean loss over the folds; a default and your
            configurations keep all iterations.
        budget_seconds: Work for the meta-features, in seconds of one core of a common machine.
        command: The command line, stored in the result.
        on_start: Called with the plan of the study.
        on_trial: Called at the start and after every trial.
        **others: Not accepted; for `objective` the error names `tune_objective`.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: unusable input.
        MetahpError: no trial is complete; the message gives the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; later interrupts are noted in the result.
    """
    if others:
        raise _refuse(others)
    if X is None:
        raise InputError("Expected a table as `X`: a path, a frame or an array.")
    folds = Folds(cv=cv, groups=groups, time=time, splitter=splitter, test_size=test_size, max_rows=max_rows, seed=seed)
    limits = Limits(seconds=trial_timeout, memory_mib=memory_limit)
    request = Request(
        budget=Budget(trials=trials, timeout=timeout, patience=patience),
        start=Start(strategy=strategy, device=device, is_cold=cold, warm=warm, configurations=configurations),
        n_jobs=jobs,
        seed=seed,
        command=command,
        on_trial=on_trial,
    )
    with ExitStack() as stack:
        directory = _hold(output, stack)
        # Read before the knowledge base is opened: other processes wait while that is open.
        rows = split_rows(X, y, target=target, task=task, folds=folds)
        study = _open_study(request, knowledge_base, directory, stack, is_recorded=record)
        table_request = TableRequest(
            rows=rows,
            file=X if isinstance(X, str | Path) else None,
            metric=find_metric(rows.table.task.type, metric),
            learners=choose_learners(learners, study.totals or {"defaults_by_learner": {}}),
            limits=limits,
            is_pruned=prune,
            stops_early=early_stopping,
            is_ensemble=ensemble,
            is_voting=voting,
            on_start=on_start,
        )
        return tune_table(
            study.request,
            table_request,
            study.storage,
            lambda trials: _ask_past_tables(study, table_request, trials, budget_seconds),
        )


def tune_objective(
    function: ObjectiveFunction,
    space: SearchSpace,
    *,
    metafeatures: Mapping[str, float] | None = None,
    name: str = "",
    direction: str = MAXIMIZE,
    metric: str | None = None,
    trials: int = 50,
    timeout: float | None = None,
    jobs: int = 1,
    device: str = "auto",
    strategy: str = TRANSFER,
    cold: bool = False,
    warm: int | None = None,
    seed: int = 0,
    knowledge_base: str | Path | KnowledgeBase | None = None,
    record: bool = True,
    output: str | Path | None = None,
    configurations: Sequence[Given] = (),
    patience: int | None = None,
    command: str | None = None,
    on_trial: Callable[[Progress], None] = lambda progress: None,
) -> TuneResult:
    """Tune your function, starting from recommendations of past tasks of its search space.

    The same call continues where the last one ended, even if that was interrupted. Earlier trials of this task (in the
    knowledge base, or in `output` without recording) count towards `trials`, and no configuration is evaluated twice.

    Args:
        function: Takes a dictionary of values and returns a score, or a score per fold; an exception makes a failed
            trial. With several `jobs` it runs in threads.
        space: The search space; past tasks are found by its `learner`.
        metafeatures: Numbers that describe the task; similar tasks are found by them.
        name: Name of the task, which it identifies together with the meta-features; the name of the space where empty.
        direction: maximize or minimize.
        metric: Name of the score.
        trials: Number of finished trials, including those of earlier calls.
        timeout: Seconds after which the call ends with the result so far; None for no limit.
        jobs: Number of parallel calls of `function`.
        device: auto, cpu or cuda, for the posterior of the transfer strategy.
        strategy: Strategy after the warm start: transfer, which also learns from past tasks, or random, grid, tpe, gp,
            cmaes or nsga2. Without past tasks, gp replaces transfer.
        cold: Ignore past tasks: no recommended points, and no transfer.
        warm: Number of recommended points to start with; None for 3 with transfer and 10 with another strategy.
        seed: Seed of the strategy.
        knowledge_base: A knowledge base or its path; None for the user's own.
        record: Write trials and meta-features to the knowledge base.
        output: Result directory to write or replace; None for none. It contains no model.
        configurations: Your configurations to try first: dictionaries, texts `key=value,…`, or `Configuration` values;
            missing values are the defaults of the space.
        patience: End after this many trials without improvement; None for never.
        command: The command line, stored in the result.
        on_trial: Called at the start and after every trial.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: unusable input.
        MetahpError: no trial is complete; the message gives the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; later interrupts are noted in the result.
    """
    request = Request(
        budget=Budget(trials=trials, timeout=timeout, patience=patience),
        start=Start(strategy=strategy, device=device, is_cold=cold, warm=warm, configurations=configurations),
        n_jobs=jobs,
        seed=seed,
        command=command,
        on_trial=on_trial,
    )
    objective_request = ObjectiveRequest(
        function=function,
        space=space,
        metric=make_metric(metric, direction),
        metafeatures={} if metafeatures is None else metafeatures,
        name=name,
    )
    with ExitStack() as stack:
        study = _open_study(request, knowledge_base, _hold(output, stack), stack, is_recorded=record)
        return tune_function(
            study.request,
            objective_request,
            study.storage,
            lambda trials: _ask_past_objectives(study, objective_request, trials),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _OpenStudy:
    """A study with open knowledge base and result directory; `totals` is None where the knowledge base is damaged."""

    request: Request
    totals: Mapping[str, Any] | None
    storage: Storage


def _hold(output: str | Path | None, stack: ExitStack) -> Path | None:
    """The result directory, locked against other processes until `stack` ends; None for none."""
    if output is None:
        return None
    stack.enter_context(hold_directory(Path(output)))
    return Path(output)


def _open_study(
    request: Request,
    knowledge_base: str | Path | KnowledgeBase | None,
    directory: Path | None,
    stack: ExitStack,
    *,
    is_recorded: bool,
) -> _OpenStudy:
    """Open the knowledge base, at most until `stack` ends; if it is unreadable, the request becomes a cold start."""
    base, snapshot, totals = _open_base(knowledge_base)
    if snapshot is None:
        request = replace(request, start=replace(request.start, is_cold=True))
    else:
        stack.enter_context(snapshot)
    storage = Storage(base=base if is_recorded else None, snapshot=snapshot, directory=directory)
    return _OpenStudy(request=request, totals=totals, storage=storage)


def _open_base(
    source: str | Path | KnowledgeBase | None,
) -> tuple[KnowledgeBase, Snapshot | None, Mapping[str, Any] | None]:
    """The knowledge base, its snapshot and its totals; the last two are None, with a logged warning, if it is damaged.

    Raises:
        BusyError: another process holds it.
    """
    snapshot: Snapshot | None = None
    try:
        base, snapshot = open_snapshot(source)
        return base, snapshot, snapshot.totals
    except KnowledgeBaseError as error:
        if snapshot is not None:
            snapshot.close()
        if isinstance(error, BusyError):
            raise
        # DuckDB turns a signal during a read into its own error.
        interrupts.check()
        logger.warning("a cold start, and earlier trials from the result directory alone: %s", error)
        if isinstance(source, KnowledgeBase):
            return source, None, None
        return KnowledgeBase(find_knowledge_base_path(Path(source) if source else None)), None, None


def _ask_past_tables(
    study: _OpenStudy, table_request: TableRequest, trials: StudyTrials, budget_seconds: float
) -> WarmStart:
    """The warm start of a table from past tasks, and record the table; a cold start where no trial is left to do."""
    request, storage, table = study.request, study.storage, table_request.rows.table
    is_open = trials.n_trials < request.budget.trials
    past, knowledge = COLD_START, None
    try:
        if is_open and not request.start.is_cold and storage.snapshot is not None:
            knowledge = read_knowledge(storage.snapshot, table.task.type, table_request.metric, table_request.learners)
    except KnowledgeBaseError as error:
        past = WarmStart(notes=(f"a cold start: {error}",))
    whole = table_request.rows.whole
    is_whole_known = bool(knowledge and whole and storage.snapshot and storage.snapshot.read_trials(task=whole))
    storage.close_snapshot()
    if not is_open or (request.start.is_cold and storage.base is None):
        return past
    described = describe(table, budget_seconds=budget_seconds, seed=request.seed)
    if knowledge is not None:
        past = _find_warm_start(knowledge, table_request, described, request, is_whole_known=is_whole_known)
    storage.record(make_record(table, described))
    return past


def _find_warm_start(
    knowledge: PastKnowledge,
    table_request: TableRequest,
    described: MetaFeatures,
    request: Request,
    *,
    is_whole_known: bool,
) -> WarmStart:
    """The warm start of a table; `is_whole_known` says whether a past task includes the rows that are set aside."""
    n_warm = request.start.n_warm
    _, advice, notes = ask_about(
        knowledge,
        table_request.rows.table,
        table_request.metric,
        described,
        max(1, n_warm),
        seconds_left=request.budget.seconds_left,
    )
    prior = advice.prior
    origin = Origin.PORTFOLIO if prior.abstained else Origin.SURROGATE
    notes = (*described.warnings, *notes)
    if prior.abstained:
        notes = (*notes, f"past tasks not trusted, so the warm start is the portfolio: {prior.abstained}")
    if is_whole_known:
        notes = (*notes, "past tasks include this table with the rows that are set aside, so their score flatters")
    return WarmStart(
        prior=prior,
        points=tuple(Suggestion(prior.candidates[item.column], origin) for item in advice.items[:n_warm]),
        n_past_tasks=prior.n_tasks,
        notes=notes,
    )


def _ask_past_objectives(study: _OpenStudy, objective_request: ObjectiveRequest, trials: StudyTrials) -> WarmStart:
    """The warm start of an objective from past tasks; a cold start where the knowledge base cannot be read."""
    request, storage = study.request, study.storage
    if storage.snapshot is None:
        return COLD_START
    is_open = trials.n_trials < request.budget.trials
    past = ask_past_objectives(storage.snapshot, objective_request, request.start, is_open=is_open, seed=request.seed)
    storage.close_snapshot()
    return past


def _refuse(others: Mapping[str, Any]) -> Exception:
    """The error for arguments that `tune` does not have."""
    if "objective" in others:
        return InputError("`tune` is for tables; tune a function with metahp.tune_objective(function, space, …).")
    return TypeError(f"tune() got an unexpected keyword argument '{next(iter(others))}'")
