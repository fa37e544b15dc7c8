"""What more time is expected to bring, and where a search is flat.

The strategy estimates the gain of further trials from past tasks and its posterior. How many trials the next minute
holds is known from the last ones.
"""

import math
from collections import deque

import numpy as np

from metahp.core.statistics import compute_mean_difference
from metahp.core.trial import Trial
from metahp.evaluation.countdown import Countdown
from metahp.refinement.strategy import Strategy, estimate_gains
from metahp.study.progress import Outlook
from metahp.study.request import Budget
from metahp.study.trials import StudyTrials

SECONDS = 60.0
# The mean seconds of a trial are those of so many last ones.
N_RECENT = 10
# A search is flat where the expected gain of the next `N_AHEAD` trials is below `SHARE_OF_GAIN` of the gain over the
# library default so far, or below `SHARE_OF_NOISE` of the fold noise; but not before `LEAST_TRIALS`.
N_AHEAD, SHARE_OF_GAIN, SHARE_OF_NOISE, LEAST_TRIALS = 100, 0.1, 0.1, 25


class OutlookKeeper:
    """The outlook of a study, made anew after each trial.

    Args:
        strategy: Estimates what further trials bring.
        trials: The trials of the study.
        budget: When the study ends.
    """

    def __init__(self, strategy: Strategy, trials: StudyTrials, budget: Budget) -> None:
        self._strategy, self._trials, self._budget = strategy, trials, budget
        self._clock = Countdown(math.inf)
        self._moments: deque[float] = deque([0.0], maxlen=N_RECENT + 1)
        self._made_at = -1
        self._outlook: Outlook | None = None

    def note_trial(self) -> None:
        """Take the time: a trial has finished."""
        self._moments.append(self._clock.measure_spent())

    def look(self) -> Outlook | None:
        """What is expected now; None where that is not known."""
        if self._made_at != self._trials.n_trials:
            self._outlook = self._make_outlook()
            self._made_at = self._trials.n_trials
        return self._outlook

    def is_flat(self) -> bool:
        """Whether further trials are expected to bring too little."""
        outlook = self.look()
        return outlook is not None and outlook.is_flat

    def _make_outlook(self) -> Outlook | None:
        best = self._trials.find_best()
        gains = None if best is None else estimate_gains(self._strategy)
        if best is None or gains is None:
            return None
        seconds = (self._moments[-1] - self._moments[0]) / max(len(self._moments) - 1, 1)
        n_trials = max(1, round(SECONDS / seconds)) if seconds > 0 else N_AHEAD
        noise = measure_fold_noise(self._trials, best)
        return Outlook(
            gain=find_gain(gains, n_trials),
            n_trials=n_trials,
            noise=noise,
            is_flat=self._trials.n_trials >= LEAST_TRIALS and self._is_flat(gains, best, noise),
        )

    def _is_flat(self, gains: np.ndarray, best: Trial, noise: float) -> bool:
        name, n_left = self._trials.metric.name, self._budget.trials - self._trials.n_trials
        expected = find_gain(gains, min(N_AHEAD, max(n_left, 1)))
        default = self._trials.find_best_default()
        gained = 0.0 if default is None else default.loss(name) - best.loss(name)
        return expected < SHARE_OF_GAIN * gained or expected < SHARE_OF_NOISE * noise


def find_gain(gains: np.ndarray, n_trials: int) -> float:
    """The expected gain of `n_trials`, of `gains` after 1, 2, … trials; of more trials, that of all."""
    return float(gains[min(n_trials, len(gains)) - 1])


def measure_fold_noise(trials: StudyTrials, best: Trial) -> float:
    """Standard error over the folds of the difference between the best trial and the default.

    Where the default is the best trial or has no score, the next best trial takes its place. NaN where there is none,
    or with fewer than two folds.
    """
    rival = trials.find_best_default()
    if rival is None or rival == best:
        rival = trials.find_best(lambda trial: trial != best)
    if rival is None:
        return math.nan
    losses, others = (each.fold_losses[trials.metric.name] for each in (best, rival))
    return (
        compute_mean_difference(np.asarray(losses), np.asarray(others))[1] if len(losses) == len(others) else math.nan
    )
