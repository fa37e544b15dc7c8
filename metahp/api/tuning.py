"""Tune with a warm start from past tasks and a strategy that refines it, and record the trials.

What is heavy and not needed for a first trial is imported by the functions that need it: a time limit may be short.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metahp.api.background import (
    AskingObjectives,
    AskingTables,
    BackgroundSearch,
    BaseSource,
    Describing,
    ask_objectives_in_worker,
    ask_tables_in_worker,
    describe_in_worker,
    import_ahead,
    limit_describing,
    log_answer,
)
from metahp.api.known_learners import choose_learners
from metahp.api.quick_points import read_quick_points
from metahp.core.configuration import Configuration
from metahp.core.errors import BusyError, KnowledgeBaseError
from metahp.datasets.raw import RawTable
from metahp.evaluation import interrupts
from metahp.evaluation.runner import Runner
from metahp.evaluation.scoring import compute_reference_loss, find_scorer
from metahp.knowledge.locate import find_knowledge_base_path, open_snapshot
from metahp.knowledge.seed import list_seed_learners
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.read_fixed import leave_out
from metahp.learners.registry import find_learner
from metahp.refinement.strategy import Observation, Suggestion, lengthen
from metahp.results.directory import hold_directory
from metahp.study.objective import ObjectiveRequest, tune_function
from metahp.study.request import Folds, Place, Request, TableSettings
from metahp.study.result import TuneResult
from metahp.study.rows import split_rows
from metahp.study.search import (
    COLD_START,
    SHARE_OF_DEFAULT,
    LateSearch,
    Search,
    WarmStart,
    find_affordable,
    order_quick_suggestions,
)
from metahp.study.table import Beginning, TableRequest, tune_table
from metahp.study.trials import Storage, StudyTrials

if TYPE_CHECKING:
    from metahp.api.past_tables import TableQuestion

logger = logging.getLogger(__name__)
# Before past tasks have answered, at most one trial in four is a default or a configuration that is good in general.
SHARE_OF_POINTS = 4


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
        if request.worker is not None:
            stack.callback(request.worker.close)
        directory = _hold(place.output, stack)
        # Read before the knowledge base is opened: other processes wait while that is open.
        rows = split_rows(X, y, target=target, task=task, folds=folds)
        metric, scorer = find_scorer(settings.metric, rows.table)
        if scorer is not None:
            # Other trials have no such score.
            rows = replace(rows, protocol=rows.protocol.mark(scorer=scorer.identity))
        study = _open_study(request, place, directory, stack)
        names = choose_learners(settings.learners, study.totals or {"defaults_by_learner": {}})
        if not settings.learners:
            names, note = leave_out(settings.fixed, names, rows.table.task.type)
            if note:
                logger.warning(note)
        table_request = TableRequest(
            rows=rows,
            file=X if isinstance(X, str | Path) else (X.path or None) if isinstance(X, RawTable) else None,
            metric=metric,
            scorer=scorer,
            learners=names,
            settings=settings,
        )
        begin = _begin_table if request.budget.timeout is None else _begin_table_late
        return tune_table(
            study.request, table_request, study.storage, lambda beginning: begin(study, table_request, beginning)
        )


def tune_space(request: Request, objective_request: ObjectiveRequest, place: Place) -> TuneResult:
    """Tune an objective over its space; errors as of `metahp.tune_objective`."""
    with ExitStack() as stack:
        study = _open_study(request, place, _hold(place.output, stack), stack)
        begin = _begin_objective if request.budget.timeout is None else _begin_objective_late
        return tune_function(
            study.request,
            objective_request,
            study.storage,
            lambda trials, own: begin(study, objective_request, trials, own),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _OpenStudy:
    """A study with open knowledge base and result directory; `totals` is None where the knowledge base is damaged."""

    request: Request
    place: Place
    totals: Mapping[str, Any] | None
    storage: Storage
    stack: ExitStack


def _hold(output: str | Path | None, stack: ExitStack) -> Path | None:
    """The result directory, locked against other processes until `stack` ends; None for none."""
    if output is None:
        return None
    stack.enter_context(hold_directory(Path(output)))
    return Path(output)


def _open_study(request: Request, place: Place, directory: Path | None, stack: ExitStack) -> _OpenStudy:
    """Open the knowledge base, at most until `stack` ends; if it is unreadable, the request becomes a cold start."""
    base, snapshot, totals = _open_base(place.knowledge_base, is_quick=request.budget.timeout is not None)
    if snapshot is None:
        request = replace(request, start=replace(request.start, is_cold=True))
    else:
        stack.enter_context(snapshot)
    storage = Storage(base=base if place.is_recorded else None, snapshot=snapshot, directory=directory)
    return _OpenStudy(request=request, place=place, totals=totals, storage=storage, stack=stack)


def _open_base(
    source: str | Path | KnowledgeBase | None, *, is_quick: bool
) -> tuple[KnowledgeBase, Snapshot | None, Mapping[str, Any] | None]:
    """The knowledge base, its snapshot and its totals; the last two are None, with a logged warning, if it is damaged.

    Raises:
        BusyError: another process holds it.
    """
    snapshot: Snapshot | None = None
    try:
        if not is_quick:
            base, snapshot = open_snapshot(source)
            return base, snapshot, snapshot.totals
        base = source if isinstance(source, KnowledgeBase) else _name_base(source)
        snapshot = base.take_snapshot()
        return base, snapshot, snapshot.totals if base is source or base.file.exists() else _count_seed()
    except KnowledgeBaseError as error:
        if snapshot is not None:
            snapshot.close()
        if isinstance(error, BusyError):
            raise
        # DuckDB turns a signal during a read into its own error.
        interrupts.check()
        message = (
            "the search starts from library defaults, and goes on from the result directory alone: the knowledge base "
            "cannot be read. %s"
        )
        logger.warning(message, error)
        if isinstance(source, KnowledgeBase):
            return source, None, None
        return _name_base(source), None, None


def _name_base(source: str | Path | None) -> KnowledgeBase:
    return KnowledgeBase(find_knowledge_base_path(Path(source) if source else None))


def _count_seed() -> Mapping[str, Any]:
    """The totals of a knowledge base that the process that learns will create: the learners of the seed are known."""
    return {"defaults_by_learner": dict.fromkeys(list_seed_learners(), 1)}


def _begin_table(study: _OpenStudy, table_request: TableRequest, beginning: Beginning) -> Search:
    """The search of a table, after past tasks were asked."""
    from metahp.study.strategy import make_search

    past = _ask_past_tables(study, table_request, beginning.trials)
    return make_search(
        study.request.start,
        past,
        beginning.spaces,
        beginning.own,
        seed=study.request.seed,
        stopped_early=beginning.stopped_early,
        fixed=beginning.fixed,
    )


def _begin_table_late(study: _OpenStudy, table_request: TableRequest, beginning: Beginning) -> Search | LateSearch:
    """The search of a table under a time limit: past tasks are asked beside the first trials."""
    request, storage, table = study.request, study.storage, table_request.rows.table
    if beginning.trials.n_trials >= request.budget.trials:
        return _begin_table(study, table_request, beginning)
    storage.close_snapshot()
    if storage.directory is not None:
        # Most learners write their models with it, and its import takes a second.
        import_ahead("skops.io")
    budget_seconds = limit_describing(table_request.settings.budget_seconds, request.budget.timeout)

    def learn(runner: Runner) -> WarmStart:
        from metahp.api.tables import make_record

        asked = Describing(table=table, budget_seconds=budget_seconds, seed=request.seed)
        described = runner.call(describe_in_worker, asked)
        try:
            if request.start.is_cold:
                return COLD_START
            question = AskingTables(
                source=_find_source(study),
                question=_make_question(study, table_request),
                described=described,
                seconds_left=request.budget.seconds_left,
            )
            return log_answer(runner.call(ask_tables_in_worker, question))
        finally:
            # Not before: a task on record is a past task.
            storage.record(make_record(table, described))

    def build(past: WarmStart) -> Search:
        from metahp.study.strategy import make_search

        return make_search(
            request.start,
            past,
            beginning.spaces,
            beginning.own,
            seed=request.seed,
            stopped_early=beginning.stopped_early,
            budget=request.budget,
            growing=beginning.growing,
            fixed=beginning.fixed,
        )

    has_use = not request.start.is_cold or storage.base is not None
    background = BackgroundSearch(request.budget, learn if has_use else None, build)
    costs = {space.learner: find_learner(space.learner).relative_cost for space in beginning.spaces}
    points = [] if request.start.is_cold else _read_quick_points(study, table_request, beginning)
    # Where few trials are wanted, most of them are left to what past tasks say of this table.
    points = points[: max(0, request.budget.trials // SHARE_OF_POINTS - len(costs))]
    first = order_quick_suggestions(beginning.own, beginning.spaces, list(costs.values()), points)
    return _make_late_search(study, background, first, costs)


def _read_quick_points(study: _OpenStudy, table_request: TableRequest, beginning: Beginning) -> list[Configuration]:
    """What is good in general, of the learners in question: boosted defaults stopped early, and what past tasks say."""
    folder = KnowledgeBase(_find_source(study).path).folder
    spaces, task_type = {space.learner: space for space in beginning.spaces}, table_request.rows.table.task.type
    whole = {learner: find_learner(learner).space(task_type) for learner in spaces}
    points = read_quick_points(folder, task_type, table_request.metric.past_name, whole)
    if beginning.fixed:
        points = beginning.fixed.restrict(points)
    # First the default with as many iterations as are useful: it is known what its first ones are worth.
    defaults = [spaces[learner].default for learner in beginning.stopped_early if learner in spaces]
    return [
        lengthen(each, spaces[each.learner]) if each.learner in beginning.stopped_early else each
        for each in (*defaults, *points)
    ]


def _make_late_search(
    study: _OpenStudy,
    background: BackgroundSearch,
    first: Sequence[Suggestion],
    costs: Mapping[str, float] | None = None,
) -> LateSearch:
    """The late search of a background search, which is closed with the study.

    With the `costs` of learners, what would take too much of the time is not tried before the search is ready.
    """
    study.stack.callback(background.close)
    budget, is_cold = study.request.budget, study.request.start.is_cold

    def choose(left: Sequence[Suggestion], observations: Sequence[Observation]) -> Suggestion | None:
        return find_affordable(left, observations, costs or {}, SHARE_OF_DEFAULT * budget.seconds_left)

    return LateSearch(
        first,
        lambda is_urgent: background.await_search(budget.seconds_left if is_urgent else 0.0),
        lambda: "" if is_cold else background.note,
        choose,
    )


def _find_source(study: _OpenStudy) -> BaseSource:
    """The knowledge base as another process opens it."""
    given = study.place.knowledge_base
    if isinstance(given, KnowledgeBase):
        return BaseSource(path=given.file, is_open=True)
    return BaseSource(path=find_knowledge_base_path(Path(given) if given else None), is_open=False)


def _make_question(study: _OpenStudy, table_request: TableRequest) -> "TableQuestion":
    from metahp.api.past_tables import TableQuestion

    rows = table_request.rows
    return TableQuestion(
        table=table_request.rows.table,
        whole=table_request.rows.whole,
        metric=table_request.metric,
        reference_loss=compute_reference_loss(rows.table, table_request.metric, table_request.scorer, rows.weights),
        learners=table_request.learners,
        n_warm=study.request.start.n_warm,
        protocol=table_request.rows.protocol if study.request.budget.timeout is not None else None,
    )


def _ask_past_tables(study: _OpenStudy, table_request: TableRequest, trials: StudyTrials) -> WarmStart:
    """The warm start of a table from past tasks, and record the table; a cold start where no trial is left to do."""
    from metahp.api.past_tables import find_warm_start, read_past_of_table
    from metahp.api.tables import describe_table, make_record

    request, storage, table = study.request, study.storage, table_request.rows.table
    question = _make_question(study, table_request)
    is_open = trials.n_trials < request.budget.trials
    past, known = COLD_START, None
    try:
        if is_open and not request.start.is_cold and storage.snapshot is not None:
            known = read_past_of_table(storage.snapshot, question)
    except KnowledgeBaseError as error:
        past = WarmStart(notes=(f"the search starts from library defaults: {error}",))
    storage.close_snapshot()
    if not is_open or (request.start.is_cold and storage.base is None):
        return past
    described = describe_table(table, budget_seconds=table_request.settings.budget_seconds, seed=request.seed)
    if known is not None:
        past = find_warm_start(known, question, described, seconds_left=request.budget.seconds_left)
    storage.record(make_record(table, described))
    return past


def _begin_objective(
    study: _OpenStudy, objective_request: ObjectiveRequest, trials: StudyTrials, own: Sequence[Configuration]
) -> Search:
    """The search of an objective, after past tasks were asked."""
    from metahp.study.strategy import make_search

    past = _ask_past_objectives(study, objective_request, trials)
    return make_search(study.request.start, past, [objective_request.space], own, seed=study.request.seed)


def _begin_objective_late(
    study: _OpenStudy, objective_request: ObjectiveRequest, trials: StudyTrials, own: Sequence[Configuration]
) -> Search | LateSearch:
    """The search of an objective under a time limit: past tasks are asked beside the first trials."""
    request, space = study.request, objective_request.space
    if trials.n_trials >= request.budget.trials:
        return _begin_objective(study, objective_request, trials, own)
    study.storage.close_snapshot()

    def learn(runner: Runner) -> WarmStart:
        asked = AskingObjectives(
            source=_find_source(study),
            space=space,
            metric=objective_request.metric,
            task=objective_request.task.id,
            metafeatures=dict(objective_request.metafeatures),
            start=replace(request.start, configurations=()),
            seed=request.seed,
        )
        return log_answer(runner.call(ask_objectives_in_worker, asked))

    def build(past: WarmStart) -> Search:
        from metahp.study.strategy import make_search

        return make_search(request.start, past, [space], own, seed=request.seed)

    background = BackgroundSearch(request.budget, None if request.start.is_cold else learn, build)
    return _make_late_search(study, background, order_quick_suggestions(own, [space], [1.0]))


def _ask_past_objectives(study: _OpenStudy, objective_request: ObjectiveRequest, trials: StudyTrials) -> WarmStart:
    """The warm start of an objective from past tasks; a cold start where the knowledge base cannot be read."""
    from metahp.api.past_objectives import ask_past_objectives

    request, storage = study.request, study.storage
    if storage.snapshot is None:
        return COLD_START
    past = ask_past_objectives(
        storage.snapshot,
        objective_request.space,
        objective_request.metric,
        objective_request.task.id,
        objective_request.metafeatures,
        request.start,
        is_open=trials.n_trials < request.budget.trials,
        seed=request.seed,
    )
    storage.close_snapshot()
    return past
