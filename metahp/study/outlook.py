"""What more time is expected to bring, and where a search is flat.

The expected gain of m more trials after n has two parts of equal weight:

- *the posterior of this task*: the strategy draws the losses of its best candidates and of the best trial jointly
  (`metahp.refinement.gain`). The draws know a few dozen fixed candidates, but the search goes on to better ones, so
  real gains are `POSTERIOR_FACTOR` times as large.
- *the curves of past tasks*: what is still to be gained falls as 1 / n there. So m more trials bring
  `CURVE_FACTOR` (1 / n - 1 / (n + m)) of what has been gained over the library default.

The posterior alone is too sure where it is wrong about a task; the curves alone know nothing of the task. How many
trials the next minute holds is known from the last ones. `benchmarks.flat` says how well the estimates hold.
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
# Number of last trials whose mean is the seconds of a trial.
N_RECENT = 10
# By `python -m benchmarks.flat` on six tables, as shares of the gain in the end: after 25, 50 and 100 trials, 100 more
# gained 6.2, 3.1 and 1.0 % (cross-validated). Draws alone expected 1.6, 1.7 and 1.6 %, the curves 6.0, 2.6 and 1.0 %.
POSTERIOR_FACTOR, CURVE_FACTOR = 1.5, 2.0
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
        name, default, n_done = self._trials.metric.name, self._trials.find_best_default(), self._trials.n_trials
        gained = None if default is None else default.loss(name) - best.loss(name)
        n_left: float = self._budget.trials - n_done
        if seconds > 0:
            n_left = min(n_left, self._budget.seconds_left / seconds)
        ahead = estimate_gain(gains, gained, n_done, int(min(N_AHEAD, max(n_left, 1))))
        is_small = ahead < max(SHARE_OF_GAIN * (gained or 0.0), SHARE_OF_NOISE * (0.0 if math.isnan(noise) else noise))
        return Outlook(
            gain=estimate_gain(gains, gained, n_done, n_trials),
            n_trials=n_trials,
            noise=noise,
            gain_ahead=ahead,
            is_flat=n_done >= LEAST_TRIALS and is_small,
        )


def find_outlook_notes(budget: Budget, trials: StudyTrials, outlook: Outlook | None) -> list[str]:
    """What a user should know where a search was to end once it is flat, and nobody could tell."""
    if not budget.stops_when_flat or outlook is not None or trials.n_trials < LEAST_TRIALS:
        return []
    return ["`stop_when_flat` had no effect: without past tasks nothing is known of what more trials bring"]


def estimate_gain(gains: np.ndarray, gained: float | None, n_done: int, n_more: int) -> float:
    """Expected decrease of the best cross-validated loss.

    Args:
        gains: What the posterior expects of 1, 2, … more trials, shape (k,); of more trials it expects as much as of k.
        gained: Decrease over the library default so far; None where the default has no loss.
        n_done: Number of finished trials, at least 1.
        n_more: Number of further trials, at least 1.
    """
    by_posterior = POSTERIOR_FACTOR * float(gains[min(n_more, len(gains)) - 1])
    if gained is None:
        return by_posterior
    typical = CURVE_FACTOR * (1 / n_done - 1 / (n_done + n_more)) * gained
    return 0.5 * (by_posterior + typical)


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
