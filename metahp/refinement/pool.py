"""Candidates of the next trial: known configurations, a sample of the spaces, and a trust region around the best."""

from collections.abc import Collection, Sequence
from itertools import islice

import numpy as np
from scipy.stats import qmc

from metahp.core.configuration import Configuration
from metahp.core.space import Categorical, SearchSpace

# Candidates of the fixed part of a pool, known configurations included, and of the trust region of one ask.
N_FIXED = 10_000
N_LOCAL = 300
# Side of the trust region in the unit cube. It grows after `N_SUCCESSES` successes in a row, shrinks after `N_FAILURES`
# failures in a row (more on many axes), and is reset to its start below `SMALLEST_SIDE`. Eriksson et al., 2019,
# "Scalable Global Optimization via Local Bayesian Optimization" (TuRBO, arXiv 1910.01739), section 2, with a smaller
# start, because the incumbent is a warm start.
START_SIDE = 0.4
LARGEST_SIDE = 0.8
SMALLEST_SIDE = 0.4 * 0.5**6
N_SUCCESSES = 3
N_FAILURES = 4
# Mean number of axes of the incumbent that change at a time; changing all of them leaves its neighbourhood.
N_CHANGED_AXES = 4


def make_fixed_pool(spaces: Sequence[SearchSpace], known: Sequence[Configuration], *, seed: int) -> list[Configuration]:
    """The known configurations and an even sample of each space: `N_FIXED` or more, fewer for small spaces.

    The sample fills the pool up, and has at least `N_FIXED` / 2 configurations; all spaces have equal shares of it.
    """
    pool = {each.id: each for each in known}
    share = -(-max(N_FIXED - len(pool), N_FIXED // 2) // len(spaces))
    for index, space in enumerate(spaces):
        sobol = qmc.Sobol(len(space), rng=np.random.default_rng([seed, index]))
        sample = space.from_unit(sobol.random_base2(share.bit_length()))
        pool.update((each.id, each) for each in islice((each for each in sample if each.id not in pool), share))
    return list(pool.values())


def compute_trust_region_side(losses: Sequence[float], n_axes: int) -> float:
    """Side of the trust region in the unit cube after trials with these losses, in the order of the trials."""
    side, best, successes, failures = START_SIDE, float("inf"), 0, 0
    for loss in losses:
        if loss < best:
            best, successes, failures = loss, successes + 1, 0
        else:
            successes, failures = 0, failures + 1
        if successes == N_SUCCESSES:
            side, successes = min(2 * side, LARGEST_SIDE), 0
        elif failures == max(N_FAILURES, n_axes):
            side, failures = side / 2, 0
            if side < SMALLEST_SIDE:
                side = START_SIDE
    return side


def sample_trust_region(
    space: SearchSpace, centre: Configuration, side: float, n: int, *, known: Collection[str], rng: np.random.Generator
) -> list[Configuration]:
    """Up to `n` configurations near `centre`, different from each other and from the `known` ids.

    Each is the centre with a random subset of its axes changed: a number by at most half a side, a category to a
    random one.
    """
    d = len(space)
    [middle] = space.to_unit([centre])
    # An inactive axis needs a position too, because a changed parent may make it active.
    start = np.where(np.isnan(middle), rng.random((n, d)), middle)
    is_changed = rng.random((n, d)) < min(1.0, N_CHANGED_AXES / d)
    is_changed[np.arange(n), rng.integers(d, size=n)] = True
    near = np.clip(start + side * (rng.random((n, d)) - 0.5), 0.0, 1.0)
    is_category = np.array([isinstance(axis, Categorical) for axis in space])
    changed = np.where(is_category, rng.random((n, d)), near)
    points = space.from_unit(np.where(is_changed, changed, start))
    return list({each.id: each for each in points if each.id not in known}.values())
