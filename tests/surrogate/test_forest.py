"""The forest that tells which past tasks are alike."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from metahp.surrogate.forest import MIN_TASKS_IN_LEAF, N_TREES, SimilarityForest, compute_leaf_shares


@pytest.fixture
def two_kinds(rng):
    """Meta-features (80, 5) and losses (80, 12) of tasks of two kinds, told apart by the second meta-feature."""
    metafeatures = rng.normal(size=(80, 5))
    kind = metafeatures[:, 1] > 0
    losses = np.where(kind[:, None], np.arange(12.0), np.arange(12.0)[::-1]) + 0.1 * rng.normal(size=(80, 12))
    return metafeatures, losses


def test_tasks_whose_losses_go_the_same_way_share_leaves(two_kinds):
    metafeatures, losses = two_kinds
    forest = SimilarityForest.fit(metafeatures[1:], losses[1:], seed=0)
    shared = compute_leaf_shares(forest.leaves(metafeatures[:1])[0], forest.leaves(metafeatures[1:]))
    assert shared.sum() == pytest.approx(1.0)
    same = (metafeatures[1:, 1] > 0) == (metafeatures[0, 1] > 0)
    assert shared[same].sum() > 0.7


def test_leaves_are_those_of_the_library(two_kinds, monkeypatch):
    metafeatures, losses = two_kinds
    grown = []
    fit = RandomForestRegressor.fit
    monkeypatch.setattr(RandomForestRegressor, "fit", lambda self, *args: grown.append(fit(self, *args)) or grown[-1])
    forest = SimilarityForest.fit(metafeatures, losses, seed=0)
    others = np.random.default_rng(5).normal(size=(30, 5))
    leaves = forest.leaves(others)
    assert leaves.shape == (30, N_TREES)
    assert (leaves - forest.roots == grown[0].apply(others)).all()
    again = SimilarityForest.from_arrays(forest.to_arrays())
    assert (again.leaves(others) == leaves).all()


def test_unknown_meta_features_are_taken_for_the_median(two_kinds):
    metafeatures, losses = two_kinds
    metafeatures[:, 4] = np.nan
    metafeatures[:9, 0] = np.nan
    forest = SimilarityForest.fit(metafeatures, losses, seed=0)
    unknown, middle = metafeatures[20].copy(), metafeatures[20].copy()
    unknown[0], middle[0] = np.nan, np.nanmedian(metafeatures[:, 0])
    assert (forest.leaves(unknown[None]) == forest.leaves(middle[None])).all()


def test_without_meta_features_all_tasks_are_alike(two_kinds):
    _, losses = two_kinds
    for nothing in (np.full((80, 3), np.nan), np.empty((80, 0))):
        forest = SimilarityForest.fit(nothing, losses, seed=0)
        shared = compute_leaf_shares(forest.leaves(nothing[:1])[0], forest.leaves(nothing))
        assert shared == pytest.approx(np.full(80, 1 / 80))


def test_few_tasks_are_one_leaf(two_kinds):
    metafeatures, losses = (part[: MIN_TASKS_IN_LEAF - 1] for part in two_kinds)
    forest = SimilarityForest.fit(metafeatures, losses, seed=0)
    shared = compute_leaf_shares(forest.leaves(metafeatures[:1])[0], forest.leaves(metafeatures))
    assert shared == pytest.approx(np.full(len(losses), 1 / len(losses)))


def test_losses_of_one_candidate_tell_no_tasks_apart():
    metafeatures = np.random.default_rng(0).normal(size=(6, 2))
    leaves = SimilarityForest.fit(metafeatures, np.arange(6.0)[:, None], seed=0).leaves(metafeatures)
    assert (leaves == leaves[0]).all()
