"""How a search is to run, be it on a table or on an objective, and how it ends."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metahp.api.tuning.attempts import Given
from metahp.api.tuning.study import Pool, Progress, Study, run
from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Protocol, Trial
from metahp.evaluation.budget import Budget
from metahp.evaluation.interrupts import Held
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.refinement.strategy import Strategy, Suggestion
from metahp.results.directory import STUDY

logger = logging.getLogger(__name__)

# The journal loses nothing by waiting for a later call, where another process holds the file now.
INGEST_SECONDS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What a person asks of a search, whatever it is that is tuned; the fields are arguments of `metahp.tune`.

    `snapshot` is what the knowledge base held when the command began, closed before the first trial; None where it
    cannot be read.
    """

    base: KnowledgeBase
    snapshot: Snapshot | None
    is_recorded: bool
    directory: Path | None
    n_trials: int
    budget: Budget
    patience: int | None
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
        if not self.is_recorded:
            return Study(task, protocol, *rest, base=None, recorded=(), folder=folder)
        return Study(task, protocol, *rest, base=self.base, recorded=self._read_recorded(task), folder=folder)

    def _read_recorded(self, task: str) -> list[Trial] | None:
        """The trials of the task that the knowledge base has; None where it cannot be read."""
        try:
            return None if self.snapshot is None else self.snapshot.read_trials(task=task)
        except KnowledgeBaseError as error:
            logger.warning("earlier trials come from the result directory alone: %s", error)
            return None

    def close_snapshot(self) -> None:
        """Give up the file of the knowledge base: all that is needed of it has been read."""
        if self.snapshot is not None:
            self.snapshot.close()

    def is_open(self, study: Study) -> bool:
        """Whether there are trials left to do."""
        return len(study.trials) < self.n_trials

    def best_of(
        self,
        study: Study,
        strategy: Strategy,
        pool: Pool,
        job_of: Callable[[Suggestion], Any],
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
                ended = run(
                    study,
                    strategy,
                    pool,
                    job_of,
                    n_trials=self.n_trials,
                    budget=self.budget,
                    patience=self.patience,
                    on_trial=self.on_trial,
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
        if not self.is_recorded or self.snapshot is None:
            return
        try:
            self.base.ingest(INGEST_SECONDS)
        except KnowledgeBaseError as error:
            logger.info("The trials stay in the journal until a later call: %s", error)
        except Exception as error:
            logger.warning("the trials stay in the journal until a later call: %s: %s", type(error).__name__, error)
