"""Tune with a warm start from past tasks and a strategy that refines it, and record the trials."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metahp.api.advice import choose_learners
from metahp.api.advisers import ask_about
from metahp.api.past_knowledge import PastKnowledge, read_knowledge
from metahp.api.past_objectives import ask_past_objectives
from metahp.api.tables import describe_table, make_record
from metahp.core.errors import BusyError, KnowledgeBaseError
from metahp.core.metric import find_metric
from metahp.core.trial import Origin
from metahp.evaluation import interrupts
from metahp.knowledge.locate import find_knowledge_base_path, open_snapshot
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.metafeatures.extract import MetaFeatures
from metahp.refinement.strategy import Suggestion
from metahp.results.directory import hold_directory
from metahp.study.objective import ObjectiveRequest, tune_function
from metahp.study.request import Folds, Place, Request, TableSettings
from metahp.study.result import TuneResult
from metahp.study.rows import split_rows
from metahp.study.strategy import COLD_START, WarmStart
from metahp.study.table import TableRequest, tune_table
from metahp.study.trials import Storage, StudyTrials

logger = logging.getLogger(__name__)


def tune_rows(
    request: Request,
    settings: TableSettings,
    place: Place,
    folds: Folds,
    X: Any,
    y: Any,
    *,
    target: str | None,
    task: str | None,
) -> TuneResult:
    """Tune learners on the rows of a table; arguments and errors as of `metahp.tune`."""
    with ExitStack() as stack:
        directory = _hold(place.output, stack)
        # Read before the knowledge base is opened: other processes wait while that is open.
        rows = split_rows(X, y, target=target, task=task, folds=folds)
        study = _open_study(request, place, directory, stack)
        table_request = TableRequest(
            rows=rows,
            file=X if isinstance(X, str | Path) else None,
            metric=find_metric(rows.table.task.type, settings.metric),
            learners=choose_learners(settings.learners, study.totals or {"defaults_by_learner": {}}),
            settings=settings,
        )
        return tune_table(
            study.request, table_request, study.storage, lambda trials: _ask_past_tables(study, table_request, trials)
        )


def tune_space(request: Request, objective_request: ObjectiveRequest, place: Place) -> TuneResult:
    """Tune an objective over its space; errors as of `metahp.tune_objective`."""
    with ExitStack() as stack:
        study = _open_study(request, place, _hold(place.output, stack), stack)
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


def _open_study(request: Request, place: Place, directory: Path | None, stack: ExitStack) -> _OpenStudy:
    """Open the knowledge base, at most until `stack` ends; if it is unreadable, the request becomes a cold start."""
    base, snapshot, totals = _open_base(place.knowledge_base)
    if snapshot is None:
        request = replace(request, start=replace(request.start, is_cold=True))
    else:
        stack.enter_context(snapshot)
    storage = Storage(base=base if place.is_recorded else None, snapshot=snapshot, directory=directory)
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


def _ask_past_tables(study: _OpenStudy, table_request: TableRequest, trials: StudyTrials) -> WarmStart:
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
    described = describe_table(table, budget_seconds=table_request.settings.budget_seconds, seed=request.seed)
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
