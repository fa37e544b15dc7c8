"""A random forest that predicts losses from meta-features: tasks in the same leaves are similar."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.ensemble import RandomForestRegressor

N_TREES = 300
# Chosen, like the other settings, by regret on left-out tasks. Leaves of 3 or 5 tasks and extremely randomised trees
# were nearly as good.
MIN_TASKS_IN_LEAF = 8
SHARE_OF_FEATURES = 0.3
# Number of principal components that describe the differences between tasks' losses.
N_COMPONENTS = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class SimilarityForest:
    """Trees as arrays with one element per node; a leaf is its own child.

    Attributes:
        roots: Index of each tree's first node, shape (r,).
        features: Index of the tested meta-feature, shape (n,); 0 for a leaf.
        thresholds: A value up to this goes to the left child, shape (n,).
        left: Index of the left child, shape (n,).
        right: Index of the right child, shape (n,).
        middle: Values that replace unknown meta-features, shape (m,).
    """

    roots: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    left: np.ndarray
    right: np.ndarray
    middle: np.ndarray

    @classmethod
    def fit(cls, metafeatures: np.ndarray, losses: np.ndarray, *, seed: int) -> "SimilarityForest":
        """Grow trees that predict normalised losses (t, c), without gaps, from meta-features (t, m)."""
        known = ~np.isnan(metafeatures).all(axis=0)
        middle = np.zeros(metafeatures.shape[1])
        middle[known] = np.nanmedian(metafeatures[:, known], axis=0)
        if not known.any():
            return cls.make_empty(len(middle))
        centred = losses - losses.mean(axis=1, keepdims=True)
        u, s, _ = np.linalg.svd(centred - centred.mean(axis=0), full_matrices=False)
        components = (u * s)[:, :N_COMPONENTS]
        if components.shape[1] == 1:
            # scikit-learn warns about a matrix with one column.
            components = components.ravel()
        grown = RandomForestRegressor(
            N_TREES, min_samples_leaf=MIN_TASKS_IN_LEAF, max_features=SHARE_OF_FEATURES, random_state=seed
        ).fit(_fill_gaps(metafeatures, middle), components)
        trees = [estimator.tree_ for estimator in grown.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
        features = np.concatenate([tree.feature for tree in trees])
        children = [
            np.concatenate([first + side for first, side in zip(roots, sides, strict=True)])
            for sides in ([tree.children_left for tree in trees], [tree.children_right for tree in trees])
        ]
        is_leaf, places = features < 0, np.arange(len(features))
        left, right = (np.where(is_leaf, places, side).astype(np.int32) for side in children)
        thresholds = np.concatenate([tree.threshold for tree in trees])
        return cls(
            roots=roots.astype(np.int32),
            features=np.where(is_leaf, 0, features),
            thresholds=thresholds,
            left=left,
            right=right,
            middle=middle,
        )

    @classmethod
    def make_empty(cls, m: int) -> "SimilarityForest":
        """A forest without trees for `m` meta-features; all tasks are equally similar."""
        nothing = np.zeros(0, dtype=np.int32)
        return cls(
            roots=nothing, features=nothing, thresholds=np.zeros(0), left=nothing, right=nothing, middle=np.zeros(m)
        )

    def leaves(self, metafeatures: np.ndarray) -> np.ndarray:
        """The leaf of each task in each tree, shape (t, r), for meta-features (t, m)."""
        X = _fill_gaps(metafeatures, self.middle)
        nodes = np.tile(self.roots, (len(X), 1))
        rows = np.arange(len(X))[:, None]
        while True:
            below = X[rows, self.features[nodes]] <= self.thresholds[nodes]
            children = np.where(below, self.left[nodes], self.right[nodes])
            if (children == nodes).all():
                return nodes
            nodes = children

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays."""
        return asdict(self)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "SimilarityForest":
        """The forest that `to_arrays` wrote."""
        return cls(**arrays)


def compute_proximities(own: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Share of trees in which a task with leaves `own` (r,) and each past task (t, r) have the same leaf, shape (t,).

    Source: Breiman, 2001, "Random Forests", on proximities.
    """
    return np.asarray((past == own).mean(axis=1)) if own.size else np.zeros(len(past))


def compute_leaf_shares(own: np.ndarray, past: np.ndarray) -> np.ndarray:
    """Share of each past task (t, r) in the leaves `own` (r,) of a task, shape (t,); sums to one."""
    if not own.size:
        return np.full(len(past), 1.0 / len(past))
    same = past == own
    return np.asarray((same / np.maximum(same.sum(axis=0), 1)).mean(axis=1))


def _fill_gaps(metafeatures: np.ndarray, middle: np.ndarray) -> np.ndarray:
    # Single precision, as in training: in double precision a value may fall on the other side of a threshold.
    return np.where(np.isnan(metafeatures), middle, metafeatures).astype(np.float32)
