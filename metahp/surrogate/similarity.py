"""Similarity of past tasks to a new task: by meta-features, and by shared leaves of a forest."""

import numpy as np

# Rank of the neighbour whose distance of meta-features, beyond that of the nearest, sets the scale of similarity.
NEAR = 10
# A task that shares no leaf with the new one keeps a small weight, in case the tasks that do are unlike it.
LEAST_SHARED = 1e-6
# Largest difference of a meta-feature that counts, in standard deviations.
FARTHEST = 4.0


def compute_similarities(apart: np.ndarray, shared: np.ndarray, *, near: float) -> np.ndarray:
    """Weights of past tasks as scenarios, shape (t,), summing to one.

    Args:
        apart: Distances of meta-features, shape (t,), as `compute_feature_distances` gives them.
        shared: Share of each past task in the leaves of the new task, shape (t,), as `compute_leaf_shares` gives it.
        near: Squared distance at which a weight by meta-features alone would be exp(-1).

    A weight is the square root of the product of both: a past task is similar if the tables are alike, and alike in the
    meta-features that predict losses. The distance between its losses and the surrogate's predictions was tried as a
    third factor and made no difference (docs/choices.md).
    """
    energy = apart**2 / near if near > 0 else np.zeros_like(apart)
    energy = energy - np.log(np.maximum(shared, LEAST_SHARED))
    weights = np.exp(-(energy - energy.min()) / 2)
    return np.asarray(weights / weights.sum())


def compute_feature_distances(metafeatures: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Root-mean-square distance of meta-features (m,) to `past` (t, m), in standard deviations, shape (t,)."""
    return _compute_distances(_scale(metafeatures[None], past)[0], _scale(past, past), most=FARTHEST)


def compute_near_width(metafeatures: np.ndarray) -> float:
    """Squared distance that counts as near, from the meta-features of past tasks (t, m); 0 for fewer than two."""
    if len(metafeatures) < 2:
        return 0.0
    scaled = _scale(metafeatures, metafeatures)
    squared = np.sort([_compute_distances(row, scaled, most=FARTHEST) ** 2 for row in scaled], axis=1)
    return float(np.median(squared[:, min(NEAR, len(metafeatures) - 1)] - squared[:, 1]))


# A task within this share of the usual distance to the nearest task is the same table with a few rows changed.
COPY_SHARE = 0.25


def compute_copy_width(metafeatures: np.ndarray) -> float:
    """Distance below which two tables count as near copies, from the meta-features of past tasks (t, m)."""
    scaled = _scale(metafeatures, metafeatures)
    nearest = [np.sort(_compute_distances(row, scaled))[1] for row in scaled] if len(scaled) > 1 else [0.0]
    return COPY_SHARE * float(np.median(nearest))


def measure_copies(metafeatures: np.ndarray, past: np.ndarray, width: float) -> np.ndarray:
    """Degree to which each past task is a copy of the new task, shape (t,); 1 if identical.

    Args:
        metafeatures: Meta-features of the new task, shape (m,); NaN where unknown.
        past: Meta-features of past tasks, shape (t, m).
        width: Distance at which the degree is exp(-1/2).
    """
    if width <= 0:
        return np.zeros(len(past))
    return np.exp(-0.5 * (_compute_distances(_scale(metafeatures[None], past)[0], _scale(past, past)) / width) ** 2)


def _scale(metafeatures: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Meta-features divided by the standard deviations of `past`, without those that are constant or unknown."""
    known = ~np.isnan(past).all(axis=0)
    if not known.any():
        return metafeatures[:, known]
    spread = np.nanstd(past[:, known], axis=0)
    # Differences of rounding size do not count as variation.
    varies = spread > 1e-9 * np.nanmax(np.abs(past[:, known]), axis=0)
    return metafeatures[:, known][:, varies] / spread[varies]


def _compute_distances(row: np.ndarray, others: np.ndarray, *, most: float = np.inf) -> np.ndarray:
    """Root-mean-square difference of `row` to each of `others`, shape (t,); each difference is at most `most`.

    A difference counts as 1 if only one of the two values is known, and as 0 if neither is.
    """
    if not row.size:
        return np.zeros(len(others))
    gap = np.isnan(row) != np.isnan(others)
    squared = np.where(gap, 1.0, np.minimum(np.nan_to_num(row - others) ** 2, most**2))
    return np.sqrt(squared.mean(axis=1))
