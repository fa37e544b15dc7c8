"""How similar past tasks are to a new one: by their meta-features, and by the leaves that they share in a forest."""

import numpy as np

# Of a task's neighbours, the one at whose distance of meta-features similarity has fallen, beyond the nearest.
NEAR = 10
# A task that shares no leaf with the new one, as where all those that do are unlike it, is not ruled out.
LEAST_SHARED = 1e-6
# A meta-feature may set two tasks apart by so many standard deviations.
FARTHEST = 4.0


def compute_similarities(apart: np.ndarray, shared: np.ndarray, *, near: float) -> np.ndarray:
    """Weights of past tasks as scenarios, shape (t,), summing to one.

    Args:
        apart: Distances of meta-features, shape (t,), as `compute_feature_distances` gives them.
        shared: Share of each past task in the leaves of the new task, shape (t,), as `compute_leaf_shares` gives it.
        near: Squared distance of meta-features at which a weight by them alone would have fallen by exp(-1).

    A weight is the square root of the product of the two: a past task is similar where the tables look alike, and where
    they do so in what tells losses apart. The distance between losses and what the surrogate expects of them was a
    third part, and level (docs/choices.md).
    """
    energy = apart**2 / near if near > 0 else np.zeros_like(apart)
    energy = energy - np.log(np.maximum(shared, LEAST_SHARED))
    weights = np.exp(-(energy - energy.min()) / 2)
    return np.asarray(weights / weights.sum())


def compute_feature_distances(metafeatures: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Root-mean-square distance in standard deviations of the meta-features (m,) from the past (t, m) ones, (t,)."""
    return _compute_distances(_scale(metafeatures[None], past)[0], _scale(past, past), most=FARTHEST)


def compute_near_width(metafeatures: np.ndarray) -> float:
    """Squared distance of meta-features that is near, from those of past tasks (t, m); 0 where nothing tells."""
    if len(metafeatures) < 2:
        return 0.0
    scaled = _scale(metafeatures, metafeatures)
    squared = np.sort([_compute_distances(row, scaled, most=FARTHEST) ** 2 for row in scaled], axis=1)
    return float(np.median(squared[:, min(NEAR, len(metafeatures) - 1)] - squared[:, 1]))


# A task this much closer than past tasks usually are to their nearest is the same table with a few rows changed.
COPY_SHARE = 0.25


def compute_copy_width(metafeatures: np.ndarray) -> float:
    """Distance of meta-features below which two tables are taken for near copies, from those of past tasks (t, m)."""
    scaled = _scale(metafeatures, metafeatures)
    nearest = [np.sort(_compute_distances(row, scaled))[1] for row in scaled] if len(scaled) > 1 else [0.0]
    return COPY_SHARE * float(np.median(nearest))


def measure_copies(metafeatures: np.ndarray, past: np.ndarray, width: float) -> np.ndarray:
    """How nearly each past task is a copy of the one with `metafeatures` (m,): 1 for the same, shape (t,).

    Args:
        metafeatures: Of the new task, NaN where unknown.
        past: Of the past tasks, shape (t, m).
        width: Distance at which the answer has fallen to exp(-1/2).
    """
    if width <= 0:
        return np.zeros(len(past))
    return np.exp(-0.5 * (_compute_distances(_scale(metafeatures[None], past)[0], _scale(past, past)) / width) ** 2)


def _scale(metafeatures: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Meta-features in standard deviations of the past ones; those that do not vary are left out."""
    known = ~np.isnan(past).all(axis=0)
    if not known.any():
        return metafeatures[:, known]
    spread = np.nanstd(past[:, known], axis=0)
    # What differs by rounding alone does not vary.
    varies = spread > 1e-9 * np.nanmax(np.abs(past[:, known]), axis=0)
    return metafeatures[:, known][:, varies] / spread[varies]


def _compute_distances(row: np.ndarray, others: np.ndarray, *, most: float = np.inf) -> np.ndarray:
    """Root-mean-square difference, each at `most` so large, shape (t,).

    A difference is one where only one of the two is known, none where neither is.
    """
    if not row.size:
        return np.zeros(len(others))
    gap = np.isnan(row) != np.isnan(others)
    squared = np.where(gap, 1.0, np.minimum(np.nan_to_num(row - others) ** 2, most**2))
    return np.sqrt(squared.mean(axis=1))
