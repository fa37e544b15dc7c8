"""The trials of a study and where they are kept, so that the next run goes on from there."""

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError, MetahpError
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.core.upgrade import upgrade_trials
from metahp.evaluation import interrupts
from metahp.evaluation.backend import Outcome
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.fixed import NOTHING_FIXED, Fixed
from metahp.refinement.strategy import Observation
from metahp.results.directory import STUDY
from metahp.study.loop import count_since_best, find_best, is_scored, observe_all, observe_outcome
from metahp.study.trial_folder import TrialFolder

logger = logging.getLogger(__name__)

# Origins of warm-start trials.
WARM = (Origin.SURROGATE, Origin.PORTFOLIO)
# An ensemble uses no more than this many of the best trials, and more predictions would fill the memory.
MAX_LIBRARY = 50
# A later call ingests the journal where another process holds the file for longer than this.
INGEST_SECONDS = 2.0


class NoCompleteTrialError(MetahpError):
    """A study has no complete trial."""


class StudyTrials:
    """The finished trials of one task under one protocol, in their order; a `TrialLog`.

    They are kept in the knowledge base and in the folder of the study, and each of the two gets what only the other
    has: a study goes on where one of them is damaged or was moved away.

    Args:
        task: Id of the task.
        protocol: How its trials are measured.
        metric: What is tuned for.
        spaces: Search spaces; trials of other learners are left alone.
        base: Where finished trials are recorded; None where they are not.
        recorded: Trials of the task that were recorded there earlier; None where it cannot be read.
        folder: Where trials, their order and predictions are kept too; None for nowhere.
        fixed: What the user fixed; trials without just that are left alone.

    Raises:
        InputError: the folder has trials with other fixed arguments.
    """

    def __init__(
        self,
        task: str,
        protocol: Protocol,
        metric: Metric,
        spaces: Sequence[SearchSpace],
        *,
        base: KnowledgeBase | None,
        recorded: Sequence[Trial] | None,
        folder: Path | None,
        fixed: Fixed = NOTHING_FIXED,
    ) -> None:
        self.task = task
        self.protocol = protocol
        self.metric = metric
        self.spaces: Mapping[str, SearchSpace] = {space.learner: space for space in spaces}
        self.trials: list[Trial] = []
        self.predictions: dict[str, np.ndarray] = {}
        self.fixed = fixed
        self._base = base
        self._folder = None if folder is None else TrialFolder(folder, fixed.described)
        self._is_warned = False
        self._n_unrecorded = 0
        # Archives are named by the ids under which trials were recorded, whatever version of the space these are of.
        by_id = {trial.id: upgraded for trial, upgraded in self._read_earlier(recorded)}
        numbers = {key: self._folder.find_number(key) if self._folder else -1 for key in by_id}
        ordered = sorted(by_id, key=lambda key: (numbers[key], key))
        self.trials += [by_id[key] for key in ordered]
        self.n_earlier, self._n_unrecorded = len(self.trials), 0
        for key in ordered:
            if self._folder is not None and by_id[key].state is TrialState.COMPLETE:
                self._keep_predictions(by_id[key], self._folder.read_predictions(key))

    @property
    def n_trials(self) -> int:
        """How many trials have finished, those of earlier runs included."""
        return len(self.trials)

    @property
    def n_recorded(self) -> int:
        """How many trials of this run went to the knowledge base."""
        return len(self.trials) - self.n_earlier - self._n_unrecorded if self._base else 0

    @property
    def n_since_best(self) -> int:
        """How many trials have finished since the best one did; 0 where none has a loss."""
        return count_since_best(self.trials, self.metric.name)

    @property
    def has_best(self) -> bool:
        """Whether a trial is complete and has a loss."""
        return self.find_best() is not None

    def list_observations(self) -> list[Observation]:
        """What a strategy is told of the trials so far."""
        return observe_all(self.trials, self.metric.name, self.spaces)

    def add(self, outcome: Outcome) -> Observation:
        """Take in a finished trial, which is on disk before this returns: what the strategy is told of it.

        Raises:
            MetahpError: it can be written nowhere.
        """
        trial, best = outcome.trial, self.find_best()
        with interrupts.shield():
            # The predictions first: a trial that is on record without them would never be in the ensemble.
            if self._folder is not None:
                self._folder.write_predictions(trial.id, outcome.predictions)
                self._folder.append([trial])
            self._record([trial])
            self.trials.append(trial)
            self._keep_predictions(trial, outcome.predictions)
            if self._folder is not None and self.find_best() is trial:
                self._folder.write_best(trial, self.metric, self.n_trials)
        return observe_outcome(outcome, self.metric.name, self.spaces[trial.configuration.learner], best=best)

    def find_asked(self, trial: Trial) -> Configuration:
        """The configuration that was run, whatever early stopping kept of it."""
        return trial.asked(self.spaces[trial.configuration.learner])

    def find_best(self, where: Callable[[Trial], bool] = lambda trial: True) -> Trial | None:
        """The complete trial with the lowest loss, the first of equals; None where there is none."""
        return find_best(filter(where, self.trials), self.metric.name)

    def find_best_default(self) -> Trial | None:
        """The best complete trial of a learner's default; None where there is none."""
        defaults = {self.fixed.apply(space.default) for space in self.spaces.values()}
        return self.find_best(lambda trial: trial.configuration in defaults)

    def find_number(self, trial: Trial) -> int:
        """The position of a trial among all, from 1."""
        return self.trials.index(trial) + 1

    def explain_failure(self, hint: str) -> NoCompleteTrialError:
        """The error that says why there is no complete trial; `hint` says what to try."""
        if not self.trials:
            return NoCompleteTrialError(
                "The time was up before a trial finished. Asking a knowledge base that has changed takes some seconds: "
                "run the same command again, or give more with `timeout`.",
                argument="timeout",
            )
        no_number = f"{self.metric.label} is no number on some fold"
        reasons = Counter(
            trial.reason or (no_number if trial.state is TrialState.COMPLETE else str(trial.state))
            for trial in self.trials
        )
        reason, count = reasons.most_common(1)[0]
        return NoCompleteTrialError(
            f"None of {len(self.trials)} trials is complete. The most frequent reason ({count} times): {reason}. {hint}"
        )

    def _read_earlier(self, recorded: Sequence[Trial] | None) -> list[tuple[Trial, Trial]]:
        """The trials of earlier runs that lie in a search space, each as it was recorded and as one of that space.

        Knowledge base and folder both have all of them after this.
        """
        in_folder = self._folder.read_trials() if self._folder else []
        of_base, of_folder = (
            {
                trial.id: trial
                for trial in trials
                if trial.task == self.task and trial.protocol == self.protocol and self.fixed.is_in(trial.configuration)
            }
            for trials in (recorded or (), in_folder)
        )
        if recorded is not None and (missing := [trial for key, trial in of_folder.items() if key not in of_base]):
            self._record(missing)
        if self._folder and (missing := [trial for key, trial in of_base.items() if key not in of_folder]):
            self._folder.append(missing)
        either = {**of_folder, **of_base}.values()
        earlier = [trial for trial in either if trial.configuration.learner in self.spaces]
        outside = [(trial, trial) for trial in earlier if trial.configuration.is_outside]
        pairs = [*upgrade_trials(earlier, self.spaces), *outside]
        if len(pairs) < len(earlier):
            logger.warning(
                "%d earlier trial(s) are left out and may run again: their configurations no longer fit the spaces",
                len(earlier) - len(pairs),
            )
        return pairs

    def _record(self, trials: Sequence[Trial]) -> None:
        """Add trials to the knowledge base, or leave them in the folder where that cannot be."""
        if self._base is None:
            return
        try:
            self._base.record(trials)
        except (KnowledgeBaseError, OSError) as error:
            if self._folder is None:
                raise
            if not self._is_warned:
                logger.warning("later advice does not learn from trials kept in the result directory alone: %s", error)
            self._is_warned = True
            self._n_unrecorded += len(trials)

    def _keep_predictions(self, trial: Trial, predictions: np.ndarray | None) -> None:
        if predictions is None or not is_scored(trial, self.metric.name):
            return
        self.predictions[trial.id] = predictions
        if len(self.predictions) > MAX_LIBRARY:
            kept = [one for one in self.trials if one.id in self.predictions]
            del self.predictions[max(kept, key=lambda one: one.loss(self.metric.name)).id]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Storage:
    """Where a study keeps its trials and its result.

    Attributes:
        base: The knowledge base in which trials are recorded; None where they are not.
        snapshot: What the knowledge base held when the study began; None where it cannot be read.
        directory: The result directory; None for none.
    """

    base: KnowledgeBase | None
    snapshot: Snapshot | None
    directory: Path | None
    # Trials by task, read once: the snapshot is closed before a study on growing samples opens its next trials.
    _recorded: dict[str, list[Trial] | None] = field(default_factory=dict, init=False, repr=False)

    def open_trials(
        self,
        task: str,
        protocol: Protocol,
        metric: Metric,
        spaces: Sequence[SearchSpace],
        fixed: Fixed = NOTHING_FIXED,
    ) -> StudyTrials:
        """The trials of a task so far; arguments as for `StudyTrials`."""
        key = hashlib.blake2b(f"{task} {protocol}".encode(), digest_size=8).hexdigest()
        folder = None if self.directory is None else self.directory / STUDY / key
        if task not in self._recorded:
            self._recorded[task] = [] if self.base is None else self._read_recorded(task)
        recorded = self._recorded[task]
        return StudyTrials(
            task, protocol, metric, spaces, base=self.base, recorded=recorded, folder=folder, fixed=fixed
        )

    def close_snapshot(self) -> None:
        """Give up the file of the knowledge base, which other processes wait for; no trial is read after this."""
        if self.snapshot is not None:
            self.snapshot.close()

    def _read_recorded(self, task: str) -> list[Trial] | None:
        """The trials of a task that the knowledge base has; None where it cannot be read."""
        try:
            return None if self.snapshot is None else self.snapshot.read_trials(task=task)
        except KnowledgeBaseError as error:
            logger.warning("earlier trials of other result directories are not used, and may be run again: %s", error)
            return None

    def record(self, task: TaskRecord) -> None:
        """Describe the task in the knowledge base, if trials are recorded.

        Raises:
            KnowledgeBaseError: it cannot be written, and there is no result directory to keep the trials.
        """
        if self.base is None:
            return
        try:
            self.base.record(tasks=[task])
        except KnowledgeBaseError as error:
            if self.directory is None:
                raise
            logger.warning("later advice does not learn from this table: %s", error)

    def ingest(self, seconds_left: float = math.inf) -> None:
        """Take the journal into the knowledge base, if trials are recorded, time is left and nobody else holds it.

        The result is written by now: whatever goes wrong here, the trials stay in the journal until a later call.
        """
        if self.base is None or self.snapshot is None or seconds_left <= 0:
            return
        try:
            self.base.ingest(min(INGEST_SECONDS, seconds_left))
        except KnowledgeBaseError as error:
            logger.info("The trials stay in the journal until a later call: %s", error)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            logger.warning("nothing is lost, but the trials stay in the journal until a later call: %s", reason)
