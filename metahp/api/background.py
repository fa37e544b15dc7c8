"""Learning from past tasks beside the first trials, in a process that is killed when its share of the time is up.

A study with a time limit tries library defaults at once. Meanwhile a thread imports the search, asks a worker process
what past tasks say, and builds the strategy; the study goes over to it when it is ready.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from metahp.core.errors import KnowledgeBaseError, WorkerError
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.warn import PROGRESS, is_progress
from metahp.evaluation.runner import Runner
from metahp.evaluation.worker_process import WorkerProcess
from metahp.study.request import Budget, Start
from metahp.study.search import Search, WarmStart

# Learning may take this share of a time limit, and more of a short one, which little else can be done with. Below so
# many seconds, starting to learn would take all of it.
LEARNING_SHARE, SHORT_SHARE, SHORT_SECONDS, LEAST_SECONDS = 0.5, 0.8, 15.0, 2.0
# A thread cannot be killed: it is given so many seconds to end after a study.
JOIN_SECONDS = 0.1
_log = logging.getLogger(__name__)


def import_ahead(*names: str) -> None:
    """Import modules in a thread, so that they are there when a study under a time limit needs them at its end."""

    def run() -> None:
        for name in names:
            import_module(name)

    threading.Thread(target=run, name="metahp imports", daemon=True).start()


class BackgroundSearch:
    """A search that a thread makes ready; closing it kills the process that learns.

    Args:
        budget: The limits of the study.
        learn: Asks past tasks with the runner it is given; None where they are left aside.
        build: Makes the search of what they said.
    """

    def __init__(
        self, budget: Budget, learn: Callable[[Runner], WarmStart] | None, build: Callable[[WarmStart], Search]
    ) -> None:
        assert budget.timeout is not None
        self._budget, self._learn, self._build = budget, learn, build
        seconds = max(LEARNING_SHARE * budget.timeout, min(SHORT_SHARE * budget.timeout, SHORT_SECONDS))
        self._result: Search | BaseException | None = None
        self._is_done, self._is_closed = threading.Event(), False
        self._why = "the time limit is too short; give a longer `timeout`"
        self._is_late = threading.Event()
        self._thread: threading.Thread | None = None
        if budget.timeout < LEAST_SECONDS:
            return
        # The process starts while this one imports the search.
        self._runner = Runner(WorkerProcess() if learn is not None else None)
        self._timer = threading.Timer(max(seconds - budget.seconds_spent, 0.0), self._end_learning)
        self._timer.daemon = True
        self._timer.start()
        self._thread = threading.Thread(target=self._run, name="metahp learning", daemon=True)
        self._thread.start()

    def await_search(self, seconds: float) -> Search | None:
        """The search; None where it is not ready within so many seconds.

        Raises:
            MetahpError, …: what went wrong when it was built.
        """
        if self._thread is None or not self._is_done.wait(max(seconds, 0.0)):
            return None
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    @property
    def note(self) -> str:
        """Why past tasks have no part in the study, where the search was not ready in time."""
        if self._learn is None:
            return ""
        return f"the search starts from library defaults: past tasks could not be learned from ({self._why})"

    def close(self) -> None:
        """Kill the process that learns; the thread ends soon after."""
        self._is_closed = True
        if self._thread is None:
            return
        self._timer.cancel()
        self._runner.stop()
        self._thread.join(JOIN_SECONDS)
        self._runner.close()

    def _end_learning(self) -> None:
        self._is_late.set()
        self._runner.stop()

    def _run(self) -> None:
        try:
            past = WarmStart()
            if self._learn is not None:
                try:
                    past = self._learn(self._runner)
                except WorkerError as error:
                    if self._is_closed:
                        return
                    self._why = self._why if self._is_late.is_set() else str(error)
                    past = WarmStart(notes=(self.note,))
                    if self._budget.seconds_left < LEAST_SECONDS:
                        # Importing the search would only hold up the end of the study.
                        return
            self._result = self._build(past)
        except BaseException as error:
            self._result = error
        finally:
            self._is_done.set()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseSource:
    """A knowledge base that another process opens: its file, and whether the caller opened it or only gave its path."""

    path: Path
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Describing:
    """A table to describe in a worker."""

    table: Any
    budget_seconds: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskingTables:
    """A `TableQuestion` for a worker."""

    source: BaseSource
    question: Any
    described: Any
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskingObjectives:
    """A question about an objective for a worker; fields as of `ask_past_objectives`."""

    source: BaseSource
    space: SearchSpace
    metric: Metric
    task: str
    metafeatures: Mapping[str, float]
    start: Start
    seed: int


# What past tasks say, and what was logged: each message, and whether it was only for the time of the wait.
Answer = tuple[WarmStart, Sequence[tuple[str, bool]]]


def describe_in_worker(asked: Describing) -> Any:
    """The meta-features of a table."""
    from metahp.api.tables import describe_table

    with _collect_warnings([]):
        return describe_table(asked.table, budget_seconds=asked.budget_seconds, seed=asked.seed)


def ask_tables_in_worker(asked: AskingTables) -> Answer:
    """What past tasks say about a table, and what was logged."""
    from metahp.api.past_tables import find_warm_start, read_past_of_table

    said: list[tuple[str, bool]] = []
    with _collect_warnings(said):
        try:
            with _open_source(asked.source) as snapshot:
                past = read_past_of_table(snapshot, asked.question)
        except KnowledgeBaseError as error:
            return WarmStart(notes=(_explain_cold(error),)), said
        return find_warm_start(past, asked.question, asked.described, seconds_left=asked.seconds_left), said


def ask_objectives_in_worker(asked: AskingObjectives) -> Answer:
    """What past tasks say about an objective, and what was logged."""
    from metahp.api.past_objectives import ask_past_objectives

    said: list[tuple[str, bool]] = []
    with _collect_warnings(said):
        try:
            with _open_source(asked.source) as snapshot:
                past = ask_past_objectives(
                    snapshot,
                    asked.space,
                    asked.metric,
                    asked.task,
                    asked.metafeatures,
                    asked.start,
                    is_open=True,
                    seed=asked.seed,
                )
        except KnowledgeBaseError as error:
            past = WarmStart(notes=(_explain_cold(error),))
        return past, said


def log_answer(answer: Answer) -> WarmStart:
    """The warm start of an answer; what its worker logged is logged here."""
    past, said = answer
    for message, was_progress in said:
        _log.warning("%s", message, extra=PROGRESS if was_progress else None)
    return past


def _explain_cold(error: KnowledgeBaseError) -> str:
    return f"the search starts from library defaults: {error}"


def limit_describing(budget_seconds: float, timeout: float | None) -> float:
    """Work for the meta-features under a time limit: a tenth of it at most, so that the limit alone decides on it."""
    return min(budget_seconds, math.inf if timeout is None else 0.1 * timeout)


def _open_source(source: BaseSource) -> Any:
    from metahp.knowledge.locate import open_snapshot
    from metahp.knowledge.store import KnowledgeBase

    return open_snapshot(KnowledgeBase(source.path) if source.is_open else source.path)[1]


@contextmanager
def _collect_warnings(said: list[tuple[str, bool]]) -> Iterator[None]:
    """Collect what is logged in the body, which in a worker would go to the terminal."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append((record.getMessage(), is_progress(record)))

    handler = Handler(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
