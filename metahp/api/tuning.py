"""Tune: a warm start from past tasks, a strategy that refines it, and the trials written back."""

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
    """Tune learners on a table, starting from what past tasks have shown.

    The same call again goes on where the last one ended, however it ended: trials of this task under the same
    protocol (found in the knowledge base, or in `output` where nothing is recorded) count towards `trials`, and no
    configuration is evaluated twice.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`.
        y: Target of arrays and of frames without it, shape (n,).
        target: Target column; guessed where None.
        task: binary, multiclass or regression; inferred where None.
        metric: A scikit-learn scorer name; the task type's default where None.
        learners: Name or names of learners to choose from; None for all that the knowledge base knows well enough.
        trials: How many finished trials there are to be, those of earlier calls included.
        timeout: Seconds after which the call ends with what it has found; None for no limit.
        trial_timeout: Seconds of one trial over all folds; one that takes longer is killed, and a trial.
        memory_limit: Resident memory of one trial in MiB; one that takes more is killed, and a trial.
        jobs: How many trials run side by side, each on one thread.
        device: auto, cpu or cuda, for the posterior; trials of the learners here run on the CPU.
        strategy: What chooses after the warm start: transfer, which goes on learning from past tasks, or random,
            grid, tpe, gp, cmaes or nsga2. Where nothing is known of past tasks, gp takes the place of transfer.
        cold: Leave past tasks aside: no recommended points, and no transfer.
        warm: How many recommended points to begin with; None for 3 with transfer and 10 with another strategy.
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
            `Configuration` values; values not named are the library's defaults. `learner:` before the text, or a key
            `learner`, says whose they are.
        ensemble: The final model is the greedy ensemble, not the best single configuration.
        voting: Members of the ensemble vote, instead of averaging probabilities.
        patience: End after so many trials without a better one; None for never.
        prune: End a trial after its first folds where it is hopeless.
        early_stopping: Of the iterations of boosted trees keep those where the mean loss over the folds is lowest; a
            default and your own configurations keep all of theirs.
        budget_seconds: Work for the meta-features, in seconds of one core of a common machine.
        command: The command line, kept in the result.
        on_start: Called with what is about to be done.
        on_trial: Called at the start and after every trial.
        **others: None; an `objective` is answered with the name of the other verb.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: input that cannot be used.
        MetahpError: no trial is complete; the message has the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; else the result says that it was.
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
    """Tune a function of your own, starting from what past tasks of its search space have shown.

    The same call again goes on where the last one ended, however it ended: trials of this task (found in the knowledge
    base, or in `output` where nothing is recorded) count towards `trials`, and no configuration is evaluated twice.

    Args:
        function: Takes a dictionary of values and gives a score, or a score per fold; an exception makes a failed
            trial. With several `jobs` it runs in threads.
        space: The search space; its `learner` is the name by which past tasks are found again.
        metafeatures: Numbers that describe the task, by which similar tasks are found.
        name: Name of the task, which is known by it and by its meta-features; that of the space where empty.
        direction: maximize or minimize.
        metric: What to call the score.
        trials: How many finished trials there are to be, those of earlier calls included.
        timeout: Seconds after which the call ends with what it has found; None for no limit.
        jobs: How many calls of `function` run side by side.
        device: auto, cpu or cuda, for the posterior of the transfer strategy.
        strategy: What chooses after the warm start: transfer, which goes on learning from past tasks, or random,
            grid, tpe, gp, cmaes or nsga2. Where nothing is known of past tasks, gp takes the place of transfer.
        cold: Leave past tasks aside: no recommended points, and no transfer.
        warm: How many recommended points to begin with; None for 3 with transfer and 10 with another strategy.
        seed: Seed of the strategy.
        knowledge_base: A knowledge base or the path of one; None for the user's own.
        record: Write trials and meta-features to the knowledge base.
        output: Result directory to write, or to replace; None for none. It has no model.
        configurations: Configurations of your own to try first: dictionaries, texts `key=value,…`, or
            `Configuration` values; values not named are the defaults of the space.
        patience: End after so many trials without a better one; None for never.
        command: The command line, kept in the result.
        on_trial: Called at the start and after every trial.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: input that cannot be used.
        MetahpError: no trial is complete; the message has the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; else the result says that it was.
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
    """A study whose knowledge base and result directory are open; `totals` is None where the former is damaged."""

    request: Request
    totals: Mapping[str, Any] | None
    storage: Storage


def _hold(output: str | Path | None, stack: ExitStack) -> Path | None:
    """The result directory, which no other process writes to until `stack` ends; None for none."""
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
    """Open the knowledge base until `stack` ends at the latest; a request without past tasks is a cold one."""
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
    """The knowledge base, a snapshot of it and its totals; None for these two where it is damaged.

    A study does without them, and a logged warning says so.

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
        # DuckDB makes an error of its own of a signal that comes while it reads.
        interrupts.check()
        logger.warning("a cold start, and earlier trials from the result directory alone: %s", error)
        if isinstance(source, KnowledgeBase):
            return source, None, None
        return KnowledgeBase(find_knowledge_base_path(Path(source) if source else None)), None, None


def _ask_past_tables(
    study: _OpenStudy, table_request: TableRequest, trials: StudyTrials, budget_seconds: float
) -> WarmStart:
    """What past tasks say about a table, which is on record after this; nothing where no trial is left to do."""
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
    """The warm start of a table; `is_whole_known` says whether its outer rows are among those of a past task."""
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
    """What past tasks say about an objective; nothing where the knowledge base cannot be read."""
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
