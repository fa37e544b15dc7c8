"""The loop of a tuning run: ask, evaluate, write down, tell; and what lets the next run go on from there."""

import io
import logging
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, KnowledgeBaseError, MetahpError
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.statistics import standard_error
from metahp.core.trial import Origin, Trial, TrialState
from metahp.core.trial import Protocol as Measured
from metahp.core.upgrade import upgrade_trials
from metahp.evaluation import interrupts
from metahp.evaluation.budget import Budget
from metahp.evaluation.runner import Outcome
from metahp.files import sweep, write_file
from metahp.knowledge.journal import Journal
from metahp.knowledge.store import KnowledgeBase
from metahp.refinement.strategy import Observation, Strategy, Suggestion

logger = logging.getLogger(__name__)

# Origins of warm-start trials.
WARM = (Origin.SURROGATE, Origin.PORTFOLIO)
# Predictions are kept of this many best trials: an ensemble has no use for more, and memory has an end.
MAX_LIBRARY = 50
_KEPT = re.compile(r"(\d{1,9})-([0-9a-f]+)\.npz")
# Larger archives of predictions are none that this module wrote; unpacked, they could fill the memory.
MAX_ARCHIVE_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; `trial` is the one that has just finished, None at the start.

    `n_done` counts finished trials, those of earlier runs (`n_earlier`) included; `best_number` is the place of the
    best among them, from 1. Scores are NaN where there is none; `seconds_left` is an estimate, NaN where there is none.
    """

    trial: Trial | None
    metric: Metric
    n_done: int
    n_trials: int
    n_earlier: int
    best: Trial | None
    best_number: int
    default_score: float
    warm_score: float
    seconds_left: float

    @property
    def score(self) -> float:
        """Score of the trial that has just finished; NaN where it has none."""
        return self.metric.score(self.trial.loss(self.metric.name)) if self.trial else float("nan")

    @property
    def best_score(self) -> float:
        """The best score so far; NaN where there is none."""
        return self.metric.score(self.best.loss(self.metric.name)) if self.best else float("nan")


class Study:
    """The finished trials of one task under one protocol, in their order, and the places where they are kept.

    Each place is a second copy of the other: a study goes on where one of them is damaged or was moved away.

    Args:
        task: Id of the task.
        protocol: How its trials are measured.
        metric: What is tuned for.
        spaces: Search spaces; trials of other learners are left alone.
        base: Where finished trials are recorded; None where they are not.
        recorded: Trials of the task that were recorded there earlier; None where it cannot be read.
        folder: Where trials, their order and predictions are kept too; None for nowhere.
    """

    def __init__(
        self,
        task: str,
        protocol: Measured,
        metric: Metric,
        spaces: Sequence[SearchSpace],
        *,
        base: KnowledgeBase | None,
        recorded: Sequence[Trial] | None,
        folder: Path | None,
    ) -> None:
        self.task = task
        self.protocol = protocol
        self.metric = metric
        self.spaces: Mapping[str, SearchSpace] = {space.learner: space for space in spaces}
        self.predictions: dict[str, np.ndarray] = {}
        self._base = base
        self._folder = folder
        self._journal = None if folder is None else Journal(folder / "journal")
        self._is_warned = False
        self._n_unrecorded = 0
        places = self._places()
        self._next_place = max(places.values(), default=-1) + 1
        # Places go by the ids that trials were recorded under, whatever version of the space they are of.
        upgraded = {trial.id: new for trial, new in self._earlier(recorded)}
        earlier = sorted(upgraded, key=lambda key: (places.get(key, -1), key))
        self.trials = [upgraded[key] for key in earlier]
        self.n_earlier, self._n_unrecorded = len(self.trials), 0
        for key, trial in zip(earlier, tuple(self.trials), strict=True):
            if key in places and trial.state is TrialState.COMPLETE:
                self._keep(trial, self._read(places[key], key))

    @property
    def n_recorded(self) -> int:
        """How many trials of this run went to the knowledge base."""
        return len(self.trials) - self.n_earlier - self._n_unrecorded if self._base else 0

    def add(self, outcome: Outcome) -> None:
        """Take in a finished trial; it is on disk before this returns.

        Raises:
            MetahpError: it can be written nowhere.
        """
        trial = outcome.trial
        with interrupts.shielded():
            # The predictions first: a trial that is on record without them would never be in the ensemble.
            if self._folder is not None:
                self._write(self._next_place, trial.id, outcome.predictions)
                self._next_place += 1
            self._append([trial])
            self._record([trial])
            self.trials.append(trial)
            self._keep(trial, outcome.predictions)

    def observation(self, trial: Trial) -> Observation:
        """What a strategy is told of a trial; a pruned one counts with the folds that it has."""
        loss = trial.loss(self.metric.name)
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or not math.isfinite(loss):
            return Observation(trial.configuration, math.inf)
        is_complete = trial.state is TrialState.COMPLETE
        noise = standard_error(trial.fold_losses[self.metric.name]) if is_complete else math.nan
        run = self.asked(trial)
        return Observation(trial.configuration, loss, noise, None if run == trial.configuration else run)

    def asked(self, trial: Trial) -> Configuration:
        """The configuration that was run, whatever early stopping kept of it."""
        return trial.asked(self.spaces[trial.configuration.learner])

    def best(self, where: Callable[[Trial], bool] = lambda trial: True) -> Trial | None:
        """The complete trial with the lowest loss (the first of equals); None where there is none."""
        complete = [trial for trial in self.trials if self._is_scored(trial) and where(trial)]
        return min(complete, key=lambda trial: trial.loss(self.metric.name), default=None)

    def default(self) -> Trial | None:
        """The best complete trial of a learner's default; None where there is none."""
        defaults = {space.default for space in self.spaces.values()}
        return self.best(lambda trial: trial.configuration in defaults)

    def number_of(self, trial: Trial) -> int:
        """The place of a trial among all, from 1."""
        return self.trials.index(trial) + 1

    def n_since_best(self) -> int:
        """How many trials have finished since the best one did; 0 where there is none."""
        best = self.best()
        return len(self.trials) - self.number_of(best) if best else 0

    def failure(self, hint: str) -> MetahpError:
        """The error that says why there is no complete trial; `hint` says what to try."""
        if not self.trials:
            return MetahpError(
                "The time was up before a trial finished. Asking a knowledge base that has changed takes some seconds: "
                "run the same command again, or give more with `timeout`."
            )
        no_number = f"{self.metric.name} is no number on some fold"
        reasons = Counter(
            trial.reason or (no_number if trial.state is TrialState.COMPLETE else str(trial.state))
            for trial in self.trials
        )
        reason, count = reasons.most_common(1)[0]
        return MetahpError(
            f"None of {len(self.trials)} trials is complete. The most frequent reason ({count} times): {reason}. {hint}"
        )

    def _is_scored(self, trial: Trial) -> bool:
        return trial.state is TrialState.COMPLETE and math.isfinite(trial.loss(self.metric.name))

    def _earlier(self, recorded: Sequence[Trial] | None) -> list[tuple[Trial, Trial]]:
        """The trials of earlier runs, from both places, each of which then has them all.

        Each as it was recorded and as one of the current search spaces, outside of which there is none.
        """
        kept = list(self._journal.trials()) if self._journal else []
        mine, others = (
            {trial.id: trial for trial in trials if trial.task == self.task and trial.protocol == self.protocol}
            for trials in (recorded or (), kept)
        )
        if recorded is not None and (missing := [trial for key, trial in others.items() if key not in mine]):
            self._record(missing)
        if missing := [trial for key, trial in mine.items() if key not in others]:
            self._append(missing)
        earlier = [trial for trial in {**others, **mine}.values() if trial.configuration.learner in self.spaces]
        pairs = upgrade_trials(earlier, self.spaces)
        if len(pairs) < len(earlier):
            logger.warning(
                "%d earlier trial(s) are left out: their configuration lies outside its search space, which has "
                "changed, or is now that of another trial",
                len(earlier) - len(pairs),
            )
        return pairs

    def _record(self, trials: Sequence[Trial]) -> None:
        """Add trials to the knowledge base, or leave them in the result directory where that cannot be."""
        if self._base is None:
            return
        try:
            self._base.record(trials)
        except (KnowledgeBaseError, OSError) as error:
            if self._journal is None:
                raise
            if not self._is_warned:
                logger.warning("trials are kept in the result directory alone: %s", error)
            self._is_warned = True
            self._n_unrecorded += len(trials)

    def _append(self, trials: Sequence[Trial]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.append(trials)
        except OSError as error:
            raise self._unwritable(error) from error

    def _keep(self, trial: Trial, predictions: np.ndarray | None) -> None:
        if predictions is None or not self._is_scored(trial):
            return
        self.predictions[trial.id] = predictions
        if len(self.predictions) > MAX_LIBRARY:
            kept = [one for one in self.trials if one.id in self.predictions]
            del self.predictions[max(kept, key=lambda one: one.loss(self.metric.name)).id]

    def _places(self) -> dict[str, int]:
        if self._folder is None or not self._folder.is_dir():
            return {}
        sweep(self._folder)
        names = [_KEPT.fullmatch(path.name) for path in self._folder.iterdir()]
        return {name[2]: int(name[1]) for name in names if name}

    def _path(self, place: int, trial: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{place:05d}-{trial}.npz"

    def _read(self, place: int, trial: str) -> np.ndarray | None:
        path = self._path(place, trial)
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_ARCHIVE_BYTES:
                    raise ValueError(f"more than {MAX_ARCHIVE_BYTES >> 20} MiB when unpacked")
            with np.load(path, allow_pickle=False) as content:
                predictions = content.get("predictions")
            if predictions is not None and predictions.dtype != np.float32:
                raise ValueError(f"expected float32, found {predictions.dtype}")
            return predictions
        except Exception as error:
            # A damaged archive fails in as many ways as zip and numpy have formats; the trial itself is on record.
            logger.warning("%s cannot be read (%s): its trial takes no part in the ensemble", path, error)
            return None

    def _write(self, place: int, trial: str, predictions: np.ndarray | None) -> None:
        """An archive with the predictions, or without any: its name alone keeps the order."""
        path = self._path(place, trial)
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {} if predictions is None else {"predictions": predictions}
        np.savez(buffer, **arrays)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, buffer.getvalue())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"'{self._folder}' cannot be written ({error.strerror}); "
            "name a directory that you may write to, on a disk with space left."
        )


class Pool(Protocol):
    """What runs trials: `metahp.evaluation.parallel.TrialPool`, or one for a user's own objective."""

    n_jobs: int
    n_pending: int

    def submit(self, job: Any) -> None:
        """Start a job."""

    def next_done(self, timeout: float | None = None) -> Outcome | None:
        """The outcome of the next job that ends; None where none has ended after `timeout` seconds."""


def run(
    study: Study,
    strategy: Strategy,
    pool: Pool,
    job_of: Callable[[Suggestion], Any],
    *,
    n_trials: int,
    budget: Budget,
    patience: int | None = None,
    on_trial: Callable[[Progress], None] = lambda progress: None,
) -> str:
    """Evaluate what the strategy asks for until a budget ends; why it ended.

    Every trial that has finished is on disk before the next one is chosen. What still runs when the time is up, or
    when a person interrupts, is lost.

    Args:
        study: The trials so far, which the strategy has not been told yet.
        strategy: Chooses.
        pool: Evaluates.
        job_of: What the pool is given for a suggestion.
        n_trials: How many finished trials there are to be, those of earlier runs included.
        budget: Seconds, infinite for no limit.
        patience: End after so many trials without a better one; None for never.
        on_trial: Called at the start and after every trial.

    Returns:
        trials, timeout, patience, exhausted (nothing is left to try) or interrupted.
    """
    start = Budget(0.0)
    for trial in study.trials:
        strategy.tell(study.observation(trial))
    try:
        on_trial(_progress(study, None, n_trials, budget, start))
        while True:
            interrupts.check()
            ended = ""
            while not ended and pool.n_pending < pool.n_jobs:
                ended = _why_end(study, pool.n_pending, n_trials, budget, patience)
                if not ended:
                    suggestion = strategy.ask()
                    if suggestion is None:
                        ended = "exhausted"
                    else:
                        pool.submit(job_of(suggestion))
            if ended in ("timeout", "patience") or not pool.n_pending:
                return ended
            outcome = pool.next_done(None if math.isinf(budget.seconds) else max(0.0, budget.left()))
            if outcome is None:
                return "timeout"
            while outcome is not None:
                study.add(outcome)
                strategy.tell(study.observation(outcome.trial))
                on_trial(_progress(study, outcome.trial, n_trials, budget, start))
                # Others may have finished meanwhile: they too go to disk before anything new begins.
                outcome = pool.next_done(0.0) if pool.n_pending else None
    except KeyboardInterrupt:
        return "interrupted"


def _why_end(study: Study, n_pending: int, n_trials: int, budget: Budget, patience: int | None) -> str:
    if budget.left() <= 0:
        return "timeout"
    if len(study.trials) + n_pending >= n_trials:
        return "trials"
    if patience is not None and study.n_since_best() >= patience:
        return "patience"
    return ""


def _progress(study: Study, trial: Trial | None, n_trials: int, budget: Budget, start: Budget) -> Progress:
    best = study.best()
    default = study.default()
    warm = study.best(lambda one: one.origin in WARM)
    n_new = len(study.trials) - study.n_earlier
    by_rate = start.spent() / n_new * max(0, n_trials - len(study.trials)) if n_new else math.nan
    left = by_rate if math.isinf(budget.seconds) else float(np.fmin(by_rate, max(0.0, budget.left())))
    score = study.metric.score
    name = study.metric.name
    return Progress(
        trial,
        study.metric,
        len(study.trials),
        n_trials,
        study.n_earlier,
        best,
        study.number_of(best) if best else 0,
        score(default.loss(name)) if default else math.nan,
        score(warm.loss(name)) if warm else math.nan,
        left,
    )
