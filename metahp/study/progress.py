"""How far a study has come, and the lines that say so."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.text import format_count
from metahp.core.trial import Trial, TrialState

# A line comes with every new best, and otherwise no more often than this.
SECONDS_BETWEEN_LINES = 5.0
# An expected gain below this share of the fold noise is shown as almost nothing.
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What more time is expected to bring after a trial.

    Attributes:
        gain: Expected improvement of the best score in the next minute, at least zero.
        n_trials: How many trials fit into the next minute, at least 1.
        noise: Standard error over the folds of the difference between the best trial and the default (the next best
            trial, where the default is the best or has no score); NaN with fewer than two folds.
        gain_ahead: Expected improvement with the trials that are left, but at most 100 of them.
        is_flat: Whether the trials that are left are expected to bring too little to go on (`metahp.study.outlook`).
    """

    gain: float
    n_trials: int
    noise: float
    gain_ahead: float
    is_flat: bool

    @property
    def share_of_noise(self) -> float:
        """The expected gain in units of the noise; NaN where that is unknown or zero."""
        return self.gain / self.noise if self.noise > 0 else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of a study after a trial. Scores are in the metric's own sign, NaN where there is none.

    Attributes:
        trial: The trial that has just finished; None at the start.
        metric: What is tuned for.
        n_done: How many trials have finished, those of earlier runs included.
        n_trials: How many trials there are to be.
        n_earlier: How many trials are of earlier runs.
        best: The best trial so far; None where no trial is complete.
        best_number: The position of the best trial among all, from 1; 0 where there is none.
        default_score: The best score of a learner's default.
        warm_score: The best score of a warm-start trial.
        seconds_left: An estimate; NaN where there is none.
        stage: Which rows trials use now, in words, where a time limit is short for all of them; else empty.
        outlook: What more time is expected to bring; None where that is not known.
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
    stage: str = ""
    outlook: Outlook | None = None

    @property
    def score(self) -> float:
        """Score of the trial that has just finished; NaN where it has none."""
        return self.metric.score(self.trial.loss(self.metric.name)) if self.trial else float("nan")

    @property
    def best_score(self) -> float:
        """The best score so far; NaN where there is none."""
        return self.metric.score(self.best.loss(self.metric.name)) if self.best else float("nan")


class ProgressPrinter:
    """Lines about a study on standard error.

    Args:
        verbose: 0 for none, 1 for the start, each new best trial and a line every few seconds, 2 for every trial.

    Raises:
        InputError: `verbose` is another value.
    """

    def __init__(self, verbose: int) -> None:
        if verbose not in (0, 1, 2):
            raise InputError(f"`verbose` is 0, 1 or 2, got {verbose!r}.", argument="verbose")
        self._verbose = int(verbose)
        self._last = -math.inf

    def follow(self, on_trial: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """What prints the progress, then calls `on_trial`."""
        if not self._verbose:
            return on_trial

        def show(progress: Progress) -> None:
            self._show(progress)
            on_trial(progress)

        return show

    def _show(self, progress: Progress) -> None:
        if progress.trial is None:
            plan = format_plan(progress.n_trials, progress.n_earlier)
            stage = f", now on {progress.stage}" if progress.stage else ""
            _say(f"metahp: tuning for {progress.metric.label}: {plan}{stage}")
            return
        now = time.monotonic()
        is_news = progress.n_done in (progress.best_number, progress.n_trials)
        if self._verbose > 1 or is_news or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            parts = (
                f"trial {progress.n_done}/{progress.n_trials}",
                format_trial(progress),
                format_time_left(progress),
                format_outlook(progress.outlook),
            )
            _say("metahp: " + "  ".join(filter(None, parts)))


def format_plan(n_trials: int, n_earlier: int) -> str:
    """How many trials there are to be, and how many of them there are already."""
    if n_earlier >= n_trials:
        exist = "exists" if n_earlier == 1 else "exist"
        return f"nothing left to do: {format_count(n_earlier, 'trial')} {exist} already"
    earlier = f", {n_earlier} of them done earlier" if n_earlier else ""
    return f"{format_count(n_trials, 'trial')}{earlier}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def format_trial(progress: Progress) -> str:
    """Scores of the last and the best trial as people speak of them, and where their configurations came from."""
    parts = []
    if progress.trial is not None:
        state = progress.trial.state
        is_complete = state is TrialState.COMPLETE
        shown = f"{format_score(progress, progress.score)} ({progress.trial.origin.words})"
        parts.append(shown if is_complete else state.words)
    if progress.best is not None:
        beside = [f"trial {progress.best_number}", progress.best.origin.words]
        for name, score in (("best default", progress.default_score), ("best of past tasks", progress.warm_score)):
            if not math.isnan(score) and score != progress.best_score:
                beside.append(f"{name} {format_score(progress, score)}")
        parts.append(f"best {format_score(progress, progress.best_score)} ({', '.join(beside)})")
    return "  ".join(parts)


def format_time_left(progress: Progress) -> str:
    """The remaining time in minutes and seconds; empty at the end, and where there is no estimate."""
    if math.isnan(progress.seconds_left) or progress.n_done >= progress.n_trials:
        return ""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{minutes}:{seconds:02d} left"


def format_outlook(outlook: Outlook | None) -> str:
    """What the next minute is expected to bring, for a line about a trial; empty where that is not known."""
    return "" if outlook is None else f"next minute: {format_gain(outlook)}"


def format_gain(outlook: Outlook, unit: str = "better") -> str:
    """The expected gain and its size beside the fold noise; `unit` follows the number."""
    share = outlook.share_of_noise
    if outlook.gain == 0 or share < LEAST_SHARE:
        return "almost nothing"
    times = f"{share:.2g}" if share < 10 else f"{share:.0f}"
    beside = "" if math.isnan(share) else f" ({times} × the fold noise)"
    return f"{outlook.gain:.2g} {unit}{beside}"


def format_score(progress: Progress, score: float) -> str:
    """A score as people speak of it: an error without its minus sign."""
    spoken = progress.metric.speak(score)
    return "–" if math.isnan(spoken) else f"{spoken:.4f}" if abs(spoken) < 1000 else f"{spoken:.6g}"
