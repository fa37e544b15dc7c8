"""The loop of every search: ask for a configuration, evaluate it, put it on record, tell the strategy.

A study, the search of `refresh` and the benchmarks all run it: what differs is the strategy, the backend that
evaluates, and the log that keeps the trials.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Protocol

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.statistics import compute_standard_error
from metahp.core.trial import Trial, TrialState
from metahp.evaluation import interrupts
from metahp.evaluation.backend import Backend, JobT, Outcome
from metahp.evaluation.countdown import Countdown
from metahp.refinement.strategy import Observation, Strategy, Suggestion
from metahp.study.request import Budget

# The next configuration is chosen ahead where the choice takes at least this share of a trial, by the last of both.
SHARE_OF_TRIAL, RECENT = 0.5, 5


class TrialLog(Protocol):
    """The finished trials of a search, those of earlier runs included."""

    @property
    def n_trials(self) -> int:
        """How many trials have finished."""

    @property
    def n_since_best(self) -> int:
        """How many trials have finished since the best one did; 0 where none has a loss."""

    @property
    def has_best(self) -> bool:
        """Whether a trial is complete and has a loss."""

    def list_observations(self) -> Iterable[Observation]:
        """What a strategy is told of the trials so far."""

    def add(self, outcome: Outcome) -> Observation:
        """Put a finished trial on record before this returns: what the strategy is told of it."""


class MemoryLog:
    """A log that keeps trials in memory alone.

    Args:
        metric: Name of the metric that is searched by.
        spaces: The search spaces of the trials.
        trials: Trials that are known before the search.
        record: Called with each new trial before the strategy is told of it.
    """

    def __init__(
        self,
        metric: str,
        spaces: Sequence[SearchSpace],
        trials: Sequence[Trial] = (),
        record: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self.trials = list(trials)
        self._metric = metric
        self._spaces = {space.learner: space for space in spaces}
        self._record = record

    @property
    def n_trials(self) -> int:
        """How many trials there are."""
        return len(self.trials)

    @property
    def n_since_best(self) -> int:
        """How many trials have finished since the best one did; 0 where none has a loss."""
        return count_since_best(self.trials, self._metric)

    @property
    def has_best(self) -> bool:
        """Whether a trial is complete and has a loss."""
        return find_best(self.trials, self._metric) is not None

    def list_observations(self) -> Iterable[Observation]:
        """What a strategy is told of the trials so far."""
        return observe_all(self.trials, self._metric, self._spaces)

    def add(self, outcome: Outcome) -> Observation:
        """Record a finished trial: what the strategy is told of it."""
        self._record(outcome.trial)
        best = find_best(self.trials, self._metric)
        self.trials.append(outcome.trial)
        return observe_outcome(outcome, self._metric, self._spaces[outcome.trial.configuration.learner], best=best)


def observe_outcome(outcome: Outcome, metric: str, space: SearchSpace, *, best: Trial | None = None) -> Observation:
    """What a strategy is told of a trial that has just ended; `best` is the best complete one before it."""
    observation = observe(outcome.trial, metric, space, outcome.asked, best=best)
    is_whole = outcome.trial.state is TrialState.COMPLETE
    return replace(observation, seconds=outcome.seconds if is_whole else math.nan)


def observe_all(trials: Iterable[Trial], metric: str, spaces: Mapping[str, SearchSpace]) -> list[Observation]:
    """What a strategy is told of trials in the order in which they finished; `spaces` by learner."""
    observations, best = [], None
    for trial in trials:
        observations.append(observe(trial, metric, spaces[trial.configuration.learner], best=best))
        best = find_best([trial] if best is None else [best, trial], metric)
    return observations


def observe(
    trial: Trial, metric: str, space: SearchSpace, asked: Configuration | None = None, *, best: Trial | None = None
) -> Observation:
    """What a strategy is told of a trial.

    A pruned one has only its first folds, which may be the easy ones. So it counts with the loss of the best trial plus
    the difference to it on the same folds.

    Args:
        trial: The trial.
        metric: What is tuned for.
        space: The search space of its learner.
        asked: The configuration that was asked for; None where only the trial is known, of a run that may have been
            stopped before its end.
        best: The best complete trial before this one; None where there is none.
    """
    loss = trial.loss(metric)
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or not math.isfinite(loss):
        return Observation(configuration=trial.configuration, loss=math.inf)
    if trial.state is TrialState.PRUNED and best is not None:
        loss += best.loss(metric) - float(np.mean(best.fold_losses[metric][: len(trial.fold_losses[metric])]))
    noise = compute_standard_error(trial.fold_losses[metric]) if trial.state is TrialState.COMPLETE else math.nan
    run = asked or trial.asked(space)
    return Observation(
        configuration=trial.configuration, loss=loss, noise=noise, run=None if run == trial.configuration else run
    )


def find_best(trials: Iterable[Trial], metric: str) -> Trial | None:
    """The complete trial with the lowest loss, the first of equals; None where there is none."""
    scored = (trial for trial in trials if is_scored(trial, metric))
    return min(scored, key=lambda trial: trial.loss(metric), default=None)


def is_scored(trial: Trial, metric: str) -> bool:
    """Whether a trial is complete and has a loss that is a number."""
    return trial.state is TrialState.COMPLETE and math.isfinite(trial.loss(metric))


def count_since_best(trials: Sequence[Trial], metric: str) -> int:
    """How many trials come after the best one; 0 where there is none."""
    best = find_best(trials, metric)
    return 0 if best is None else len(trials) - 1 - trials.index(best)


class Line:
    """How many suggestions are asked for while all workers are busy.

    A worker idles while the next configuration is chosen. Where choosing takes as long as a good part of a trial, and
    there is a core for it, the next one is chosen before the running trial has ended: without its loss, but at once.

    Args:
        n_free_cores: Cores that no trial uses.
    """

    def __init__(self, n_free_cores: int) -> None:
        self._n_free_cores = n_free_cores
        self._choice = 0.0
        self._choices: list[float] = []
        self._trials: list[float] = []

    @property
    def n_ahead(self) -> int:
        """One where choosing ahead is worth it, else 0."""
        choices, trials = self._choices[-RECENT:], self._trials[-RECENT:]
        is_slow = len(choices) == len(trials) == RECENT and median(choices) > SHARE_OF_TRIAL * median(trials)
        return int(self._n_free_cores > 0 and is_slow)

    @contextmanager
    def time_choice(self) -> Iterator[None]:
        """Measure the body, which is a part of choosing a configuration."""
        clock = Countdown(0.0)
        yield
        self._choice += clock.measure_spent()

    def note_choice(self) -> None:
        """A configuration has been chosen."""
        self._choices.append(self._choice)
        self._choice = 0.0

    def note_trial(self, seconds: float) -> None:
        """Learn how long a trial took."""
        if math.isfinite(seconds):
            self._trials.append(seconds)


def run_search(
    strategy: Strategy,
    backend: Backend[JobT],
    log: TrialLog,
    budget: Budget,
    *,
    make_job: Callable[[Suggestion], JobT],
    on_trial: Callable[[Trial], None] = lambda trial: None,
    estimate_reserve: Callable[[], float] = lambda: 0.0,
    is_patient: bool = True,
    whole: Budget | None = None,
    n_free_cores: int = 0,
    is_flat: Callable[[], bool] = lambda: False,
) -> str:
    """Evaluate what the strategy asks for until the budget ends; why it ended.

    Every trial that has finished is on record before the next one is chosen. What still runs when the time is up, or
    when a person interrupts, is lost; but while no trial has a loss, the time limit waits for one.

    Args:
        strategy: Chooses; it has not been told of the trials in `log` yet.
        backend: Evaluates.
        log: The trials so far.
        budget: When to end; its clock runs already.
        make_job: What the backend is given for a suggestion.
        on_trial: Called after every trial.
        estimate_reserve: Seconds of the time limit to keep for what comes after the search, as far as is known.
        is_patient: Whether the time limit waits for a trial with a loss.
        n_free_cores: Cores that no trial uses.
        whole: The budget of which `budget` is a part: after the time of the part nothing begins, but what runs may end.
        is_flat: Whether further trials are expected to bring too little; asked where `budget` ends there.

    Returns:
        trials, timeout, patience, flat, or exhausted where nothing is left to try.
    """

    def seconds_left(*, of_part: bool = True) -> float:
        if is_patient and not log.has_best:
            return math.inf
        # What follows the search comes after all parts, so its seconds are kept from the whole.
        left = (whole or budget).seconds_left - estimate_reserve()
        return min(left, budget.seconds_left) if of_part else left

    for observation in log.list_observations():
        strategy.tell(observation)
    line = Line(n_free_cores if budget.timeout is not None else 0)
    while True:
        interrupts.check()
        ended = ""
        while not ended and backend.n_pending < backend.n_jobs + line.n_ahead:
            ended = _find_end(log, backend.n_pending, budget, seconds_left(), is_flat)
            if not ended:
                with line.time_choice():
                    suggestion = strategy.ask()
                line.note_choice()
                if suggestion is None:
                    ended = "exhausted"
                else:
                    backend.submit(make_job(suggestion))
        # Another part may follow, which could not take in what still runs: it is waited for.
        has_ended = ended in ("patience", "flat", "timeout") and (
            whole is None or (ended == "timeout" and seconds_left(of_part=False) <= 0)
        )
        if not backend.n_pending or (has_ended and (log.has_best or not is_patient)):
            return ended
        seconds = seconds_left(of_part=False)
        outcome = backend.await_outcome(max(0.0, seconds) if math.isfinite(seconds) else None)
        if outcome is None:
            return "timeout"
        while outcome is not None:
            line.note_trial(outcome.seconds)
            with line.time_choice():
                strategy.tell(log.add(outcome))
                # What a study says of the trial makes a model of all trials, which the next choice uses.
                on_trial(outcome.trial)
            # Others may have finished meanwhile: they too go on record before anything new begins.
            outcome = backend.await_outcome(0.0) if backend.n_pending else None


def _find_end(log: TrialLog, n_pending: int, budget: Budget, seconds_left: float, is_flat: Callable[[], bool]) -> str:
    """Why nothing more is asked for; empty where the search goes on."""
    # A trial that runs may be the one with a loss: until it ends, nothing more begins after the limit.
    if seconds_left <= 0 or (n_pending and budget.seconds_left <= 0):
        return "timeout"
    if log.n_trials + n_pending >= budget.trials:
        return "trials"
    if budget.patience is not None and log.n_since_best >= budget.patience:
        return "patience"
    if budget.stops_when_flat and is_flat():
        return "flat"
    return ""
