"""Regret: loss above the best known on a task, on two named scales."""

import numpy as np

from metahp.core.statistics import compute_mean_difference

# A configuration far worse than the default is as useless as one twice as bad; without the clip, one diverging
# configuration would outweigh all other tasks in a mean.
DEFAULT_SCALED_CLIP = 2.0


def compute_default_scaled_regret(loss: np.ndarray | float, best: float, default: float) -> np.ndarray:
    """Regret with the best known loss at 0 and the library default at 1, clipped at 2; a missing loss is 2.

    Same shape as `loss`. The caller has to leave out flat tasks (`is_flat`): the scale has no meaning there.
    """
    with np.errstate(over="ignore"):  # where the default is the best, every worse loss is clipped
        regret = (np.asarray(loss, dtype=float) - best) / max(default - best, np.finfo(float).tiny)
    return np.clip(np.nan_to_num(regret, nan=DEFAULT_SCALED_CLIP), 0.0, DEFAULT_SCALED_CLIP)


def compute_range_scaled_regret(loss: np.ndarray | float, best: float, worst: float) -> np.ndarray:
    """Regret with the best loss of a look-up task at 0 and its worst at 1; all zeros where both are equal."""
    if not worst > best:
        return np.zeros_like(np.asarray(loss, dtype=float))
    return np.clip((np.asarray(loss, dtype=float) - best) / (worst - best), 0.0, 1.0)


def is_flat(best_folds: np.ndarray, default_folds: np.ndarray) -> bool:
    """Whether default and best differ by less than the fold noise, so that regret on this task is noise.

    Both arrays hold one loss per fold, in the same order, shape (folds,). The noise is the standard error of the paired
    differences, because both were measured on the same rows. With one fold it is unknown and ignored.
    """
    gain, noise = compute_mean_difference(default_folds, best_folds)
    # With one fold the noise is NaN and the second comparison false.
    return gain <= 0 or gain < noise


def track_incumbent(losses: np.ndarray) -> np.ndarray:
    """Best loss so far after each trial, along the last axis; a missing loss never becomes the best."""
    return np.minimum.accumulate(np.where(np.isnan(losses), np.inf, losses), axis=-1)
