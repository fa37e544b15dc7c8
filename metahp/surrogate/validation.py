"""Leave-one-group-out validation: the value of the advice on each past task as if it were new."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import gammaln

from metahp.core.regret import compute_default_scaled_regret, track_incumbent
from metahp.core.trial import Origin
from metahp.surrogate.evidence import Evidence


def make_group_folds(groups: Sequence[str], n_folds: int, *, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training and test indices; no group is in both."""
    names = np.array(sorted(set(groups)))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {str(names[g]): i % n_folds for i, g in enumerate(order)}
    folds = np.array([fold_of[group] for group in groups])
    for fold in range(n_folds):
        if (folds == fold).any():
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def find_best_and_default(past: Evidence, row: int) -> tuple[float, float]:
    """The best known loss of any learner on task `row`, and the loss of the library default.

    With several learners the default is that of the first learner, because it is unknown beforehand which default is
    the best. If it is missing or failed, the next learner's is used; NaN if no default has a loss.
    """
    losses = past.losses[row]
    defaults = losses[list(past.defaults.values())]
    known = np.flatnonzero(np.isfinite(defaults))
    return float(np.nanmin(losses)), float(defaults[known[0]]) if known.size else float("nan")


def compute_batch_regret(past: Evidence, row: int, batch: Sequence[int], ks: Sequence[int]) -> list[float]:
    """Default-scaled regret on task `row` of the best of the first k candidates in `batch`, for each k."""
    best, default = find_best_and_default(past, row)
    tried = track_incumbent(past.losses[row, list(batch)])
    return [float(compute_default_scaled_regret(tried[min(k, len(tried)) - 1], best, default)) for k in ks]


def count_random(past: Evidence, row: int) -> int:
    """Number of design points measured on task `row`: the most trials that random search can have."""
    return int((~np.isnan(past.losses[row, is_random(past)])).sum())


def compute_random_regret(past: Evidence, row: int, ks: Sequence[int]) -> list[float]:
    """Expected default-scaled regret of the best of k random design points, over all subsets of that size.

    A quasi-random point counts with its own number of iterations, as in random search.
    """
    pool = past.losses[row, is_random(past)]
    best, default = find_best_and_default(past, row)
    regrets = compute_default_scaled_regret(np.nan_to_num(pool[~np.isnan(pool)], posinf=np.inf), best, default)
    return compute_expected_best_of_random(regrets, ks)


def compute_expected_best_of_random(regrets: np.ndarray, ks: Sequence[int]) -> list[float]:
    """Expected minimum of k of the `regrets` (n,), drawn without replacement, for each k of `ks`."""
    ordered = np.sort(regrets)
    n = len(ordered)
    k = np.minimum(np.asarray(ks, dtype=float), n)[:, None]
    # P(the best of k without replacement has rank i) = C(n - i - 1, k - 1) / C(n, k); no subset has a rank above n - k.
    above = n - 1 - np.arange(n)
    possible = above >= k - 1
    share = np.where(
        possible, np.exp(_compute_log_choose(np.where(possible, above, k - 1), k - 1) - _compute_log_choose(n, k)), 0.0
    )
    return (share @ ordered).tolist()


def compute_worth_in_random_trials(curve: np.ndarray, regret: float) -> float:
    """Number of random trials that reach the mean regret `regret`, interpolated; infinite if `curve` does not.

    `curve` has the mean regret of the best of 1, 2, … random trials.
    """
    reached = np.flatnonzero(curve <= regret)
    if not reached.size:
        return float("inf")
    i = int(reached[0])
    if i == 0:
        return 1.0
    return float(i + (curve[i - 1] - regret) / max(curve[i - 1] - curve[i], np.finfo(float).tiny))


def is_random(past: Evidence) -> np.ndarray:
    """Whether random search may draw each candidate: whether it is a point of the design, shape (c,)."""
    return past.is_final & np.array([origin is Origin.DESIGN for origin in past.origins])


def _compute_log_choose(n: np.ndarray | float, k: np.ndarray) -> np.ndarray:
    return gammaln(np.asarray(n) + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
