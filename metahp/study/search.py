"""How a search is to run, be it on a table or on an objective, and how it ends."""

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Protocol, Trial
from metahp.evaluation.backend import Backend, JobT
from metahp.evaluation.countdown import Countdown
from metahp.evaluation.interrupts import Held
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.refinement.strategy import Strategy, Suggestion
from metahp.results.directory import STUDY
from metahp.study.configurations import Given
from metahp.study.loop import run_search
from metahp.study.request import Budget
from metahp.study.trials import Progress, Study, find_progress

logger = logging.getLogger(__name__)

# The journal loses nothing by waiting for a later call, where another process holds the file now.
INGEST_SECONDS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What a person asks of a search, whatever it is that is tuned; the fields are arguments of `metahp.tune`.

    `is_readable` says whether the knowledge base can be opened.
    """

    base: KnowledgeBase
    is_readable: bool
    is_recorded: bool
    directory: Path | None
    budget: Budget
    countdown: Countdown
    n_jobs: int
    strategy: str
    device: str
    is_cold: bool
    n_warm: int
    configurations: Sequence[Given]
    seed: int
    command: str | None
    on_trial: Callable[[Progress], None]

    def study(self, task: str, protocol: Protocol, *rest: Any) -> Study:
        """The trials of the task so far; `rest` are metric and spaces."""
        key = hashlib.blake2b(f"{task} {protocol}".encode(), digest_size=8).hexdigest()
        folder = None if self.directory is None else self.directory / STUDY / key
        return Study(task, protocol, *rest, base=self.base if self.is_recorded else None, folder=folder)

    def is_open(self, study: Study) -> bool:
        """Whether there are trials left to do."""
        return len(study.trials) < self.budget.trials

    def best_of(
        self,
        study: Study,
        strategy: Strategy,
        backend: Backend[JobT],
        job_of: Callable[[Suggestion], JobT],
        held: Held,
        *,
        hint: str,
    ) -> tuple[Trial, str]:
        """Run to the end: the best complete trial, and why the run ended; `hint` says what to try where there is none.

        Signals end the run at once; before and after it they are `held`.

        Raises:
            MetahpError: no trial is complete; the message has the most frequent reason.
            KeyboardInterrupt: interrupted before any trial was complete.
        """
        try:
            with held.released():
                start = Countdown(math.inf)

                def show(trial: Trial | None) -> None:
                    self.on_trial(find_progress(study, trial, self.budget.trials, self.countdown, start))

                show(None)
                ended = run_search(
                    strategy, backend, study, self.budget, job_of=job_of, on_trial=show, countdown=self.countdown
                )
        except KeyboardInterrupt:
            ended = "interrupted"
        best = study.best()
        if best is None and ended == "interrupted":
            raise KeyboardInterrupt
        if best is None:
            raise study.failure(hint)
        return best, ended

    def record(self, task: TaskRecord) -> None:
        """Describe the task in the knowledge base, if trials are recorded.

        Raises:
            KnowledgeBaseError: it cannot be written, and there is no result directory to keep the trials.
        """
        if not self.is_recorded:
            return
        try:
            self.base.record(tasks=[task])
        except KnowledgeBaseError as error:
            if self.directory is None:
                raise
            logger.warning("the task is not recorded: %s", error)

    def ingest(self) -> None:
        """Take the journal into the knowledge base, if trials are recorded and nobody else is at it.

        The result is written by now: whatever goes wrong here, the trials stay in the journal until a later call.
        """
        if not self.is_recorded or not self.is_readable:
            return
        try:
            self.base.ingest(INGEST_SECONDS)
        except KnowledgeBaseError as error:
            logger.info("The trials stay in the journal until a later call: %s", error)
        except Exception as error:
            logger.warning("the trials stay in the journal until a later call: %s: %s", type(error).__name__, error)
