"""Leave-one-group-out: what the advice would have been worth on each past task, had it been new."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from metahp.core.regret import default_scaled_regret
from metahp.core.trial import Origin
from metahp.surrogate.encoding import Evidence


def group_folds(groups: Sequence[str], n_folds: int, *, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Train and test indices; a group is never on both sides."""
    names = np.array(sorted(set(groups)))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {str(names[g]): i % n_folds for i, g in enumerate(order)}
    folds = np.array([fold_of[group] for group in groups])
    for fold in range(n_folds):
        if (folds == fold).any():
            yield np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)


def batch_regret(past: Evidence, row: int, batch: Sequence[int], ks: Sequence[int]) -> list[float]:
    """Default-scaled regret on task `row` of the best of the first k candidates in `batch`, for each k."""
    losses = past.losses[row]
    best, default = np.nanmin(losses), losses[list(past.defaults.values())].min()
    tried = np.minimum.accumulate(np.nan_to_num(losses[list(batch)], nan=np.inf, posinf=np.inf))
    return [float(default_scaled_regret(tried[min(k, len(tried)) - 1], best, default)) for k in ks]


def random_regret(past: Evidence, row: int, ks: Sequence[int]) -> list[float]:
    """Expected default-scaled regret of the best of k random design points, over all subsets of that size.

    A quasi-random point counts with its own number of iterations, as random search would run it.
    """
    losses = past.losses[row]
    is_random = past.is_final & np.array([origin is Origin.DESIGN for origin in past.origins])
    pool = losses[is_random & ~np.isnan(losses)]
    best, default = np.nanmin(losses), losses[list(past.defaults.values())].min()
    return expected_best_of_random(default_scaled_regret(np.nan_to_num(pool, posinf=np.inf), best, default), ks)


def expected_best_of_random(regrets: np.ndarray, ks: Sequence[int]) -> list[float]:
    """Expected lowest of k of the `regrets`, shape (n,), drawn without replacement, over all subsets of that size."""
    ordered = np.sort(regrets)
    n = len(ordered)
    expected = []
    for k in ks:
        k = min(k, n)
        # P(the best of k without replacement has rank i) = C(n - i - 1, k - 1) / C(n, k), as a running product.
        share = np.empty(n)
        share[0] = k / n
        for i in range(1, n):
            share[i] = share[i - 1] * max(n - i - k + 1, 0) / (n - i)
        expected.append(float(share @ ordered))
    return expected


def leave_groups_out(
    past: Evidence,
    recommend: Callable[[Evidence, np.ndarray], Mapping[int, Sequence[int]]],
    *,
    ks: Sequence[int],
    n_folds: int,
    seed: int,
    tasks: Sequence[int] | None = None,
) -> np.ndarray:
    """Regret of the batches that `recommend(past_without_group, left_out_rows)` gives by row, shape (t, len(ks)).

    `recommend` is handed the remaining evidence and indices into `past` whose meta-features it may look at, never
    their losses. Tasks not asked for are NaN.
    """
    regret = np.full((len(past.tasks), len(ks)), np.nan)
    wanted = set(range(len(past.tasks))) if tasks is None else set(tasks)
    for train, test in group_folds([task.group or task.id for task in past.tasks], n_folds, seed=seed):
        left_out = np.array([row for row in test if row in wanted], dtype=int)
        if left_out.size:
            for row, batch in recommend(past.rows(train), left_out).items():
                regret[row] = batch_regret(past, row, batch, ks)
    return regret
