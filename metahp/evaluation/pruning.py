"""The rule that ends a hopeless trial after its first folds, and its thresholds from complete trials."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metahp.core.errors import InputError
from metahp.core.trial import Trial, TrialState

# With fewer trials, the spread of the differences cannot be estimated.
MIN_TRIALS = 5
# Replayed on the seed (see `find_pruning`): 2 loses the best trial now and then, 4 only saves less.
MULTIPLE = 3.0
# Where seconds count, what 2 saves is worth more than the best trial that it loses in one run of 150.
MULTIPLE_OF_TIME = 2.0
# Luck of the first fold over the best loss: medians of .06 (ROC AUC), .03 (log loss) and .02 (RMSE) over the better
# half of the lightgbm trials on 184, 90 and 235 tables of the seed.
USUAL_LUCK = 0.05


@dataclass(frozen=True, slots=True)
class Pruning:
    """A trial ends after fold i (from 0) where its mean loss over the folds so far is above `thresholds[i]`.

    There is one threshold for every fold (of every repeat) but the last.
    """

    metric: str
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.metric:
            raise InputError("Pruning needs the name of a metric.")

    def explain(self, losses: Sequence[float]) -> str:
        """Why a trial with these losses of its first folds ends here; empty where it goes on."""
        mean, n = float(np.mean(losses)), len(losses)
        if n > len(self.thresholds) or not mean > self.thresholds[n - 1]:
            return ""
        return (
            f"pruned after {n} of {len(self.thresholds) + 1} folds: mean loss {mean:.6g} ({self.metric}) above "
            f"{self.thresholds[n - 1]:.6g}"
        )


def find_pruning(
    trials: Sequence[Trial], metric: str, *, multiple: float = MULTIPLE, is_early: bool = False
) -> Pruning | None:
    """The thresholds that the complete ones of `trials` give; None where fewer than `MIN_TRIALS` are complete.

    `is_early` prunes from the first complete trial on: as long as trials are few, the luck of the folds is taken to be
    `USUAL_LUCK` of the best loss.

    Over its first folds, a trial may be further ahead of the best trial, or further behind, than over all folds: that
    difference is the luck of the folds. The threshold is the mean of the best trial over the same folds plus `multiple`
    times the root mean square of the luck of the other complete trials. Folds are paired, so a fold that is hard for
    all cancels out. A trial that would become the best one would need more bad luck than that to be pruned.

    Replayed on the lightgbm design of 150 tables of the seed (3 folds, each table's default metric, three random orders
    each): a multiple of 3 saved 40 % of the folds and lost the best trial in 0 of 450 runs (2: 45 % and 3 runs; 4: 36 %
    and 0). Where only the best quarter of the configurations is tried, as a good strategy does: 16 % and 1 run (2: 22 %
    and 2; 4: 12 % and 0).

    Args:
        trials: Trials of one task and one protocol, in any order and state.
        metric: The metric that is tuned for.
        multiple: How many times the luck of the folds a trial may lag behind.
        is_early: Whether to prune before `MIN_TRIALS` trials are complete.

    Raises:
        InputError: the complete trials have different tasks or protocols, or lack the metric.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if len({(trial.task, trial.protocol) for trial in complete}) > 1:
        raise InputError("Thresholds come from trials of one task under one protocol; these have several.")
    if any(metric not in trial.fold_losses for trial in complete):
        raise InputError(f"Some of the trials have no losses of '{metric}'.")
    losses = np.array([trial.fold_losses[metric] for trial in complete])
    losses = losses[np.isfinite(losses).all(axis=1)] if complete else losses
    is_few = len(losses) < MIN_TRIALS
    if is_few and not (is_early and len(losses)):
        return None
    means = losses.mean(axis=1)
    best = int(means.argmin())
    numbers = np.arange(1, losses.shape[1])
    firsts = np.cumsum(losses, axis=1)[:, :-1] / numbers
    if is_few:
        return Pruning(
            metric, tuple((firsts[best] + MULTIPLE * USUAL_LUCK * abs(means[best]) / np.sqrt(numbers)).tolist())
        )
    luck = np.delete((firsts - firsts[best]) - (means - means[best])[:, None], best, axis=0)
    thresholds = firsts[best] + multiple * np.sqrt(np.mean(luck**2, axis=0))
    return Pruning(metric, tuple(thresholds.tolist()))
