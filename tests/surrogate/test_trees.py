"""Trees taken apart say what LightGBM says."""

import lightgbm
import numpy as np
import pytest

from metahp.surrogate.surrogate import MANY_TASKS, Surrogate
from metahp.surrogate.trees import average_trees, compact_text, predict_trees, read_trees

N_TASKS, N_CANDIDATES, N_METAFEATURES, N_DIMENSIONS = 20, 30, 4, 3


def _walked(booster, metafeatures, encoded):
    t, c = len(metafeatures), len(encoded)
    X = np.hstack([np.repeat(metafeatures, c, axis=0), np.tile(encoded, (t, 1))])
    return booster.predict(X).reshape(t, c)


def _trained(rng, *, share_missing: float, **options):
    metafeatures = rng.normal(size=(N_TASKS, N_METAFEATURES))
    metafeatures[rng.random(metafeatures.shape) < share_missing] = np.nan
    encoded = rng.random((N_CANDIDATES, N_DIMENSIONS))
    encoded[rng.random(encoded.shape) < share_missing] = np.nan
    X = np.hstack([np.repeat(metafeatures, N_CANDIDATES, axis=0), np.tile(encoded, (N_TASKS, 1))])
    filled = np.nan_to_num(X, nan=-2.0)
    y = filled[:, 0] * filled[:, N_METAFEATURES] + filled[:, 1] ** 2 - filled[:, -1]
    options = {"objective": "regression", "num_leaves": 12, "verbosity": -1, "min_data_in_leaf": 5, **options}
    return lightgbm.train(options, lightgbm.Dataset(X, y), num_boost_round=40), metafeatures, encoded


@pytest.mark.parametrize("share_missing", [0.0, 0.2], ids=["complete", "with gaps"])
@pytest.mark.parametrize("asked_missing", [0.0, 0.2], ids=["asked of complete", "asked of gaps"])
def test_predictions_are_those_of_walking_the_trees(rng, share_missing, asked_missing):
    booster, _, _ = _trained(rng, share_missing=share_missing)
    _, metafeatures, encoded = _trained(rng, share_missing=asked_missing)
    trees = read_trees(booster.model_to_string())
    assert len(trees) == 40
    expected = _walked(booster, metafeatures, encoded)
    np.testing.assert_allclose(predict_trees(trees, metafeatures, encoded), expected, atol=1e-12)
    np.testing.assert_allclose(average_trees(trees, metafeatures, encoded), expected.mean(axis=0), atol=1e-12)


def test_a_tree_that_is_one_leaf_counts_with_its_value(rng):
    booster, metafeatures, encoded = _trained(rng, share_missing=0.0, min_data_in_leaf=10_000)
    trees = read_trees(booster.model_to_string())
    expected = _walked(booster, metafeatures, encoded)
    np.testing.assert_allclose(predict_trees(trees, metafeatures, encoded), expected, atol=1e-12)


def test_a_surrogate_says_the_same_of_many_tasks_as_of_each_alone(rng):
    metafeatures, encoded = rng.normal(size=(N_TASKS, N_METAFEATURES)), rng.random((N_CANDIDATES, N_DIMENSIONS))
    target = metafeatures[:, :1] * encoded[:, 0]
    surrogate = Surrogate.fit(metafeatures, encoded, target, seed=0)
    assert len(metafeatures) >= MANY_TASKS
    alone = np.vstack([surrogate.predict(row[None], encoded) for row in metafeatures])
    assert alone.std() > 0.1
    np.testing.assert_allclose(surrogate.predict(metafeatures, encoded), alone, atol=1e-12)
    np.testing.assert_allclose(surrogate.average(metafeatures, encoded), alone.mean(axis=0), atol=1e-12)
    assert surrogate.predict(metafeatures[:0], encoded).shape == (0, N_CANDIDATES)


def test_a_compact_text_is_shorter_and_says_the_same(rng):
    booster, metafeatures, encoded = _trained(rng, share_missing=0.1)
    text = booster.model_to_string()
    short, shorter = (compact_text(text, has_counts=has_counts) for has_counts in (True, False))
    assert len(shorter) < len(short) < 0.7 * len(text)
    assert compact_text(short, has_counts=True) == short
    expected = _walked(booster, metafeatures, encoded)
    for each in (short, shorter):
        np.testing.assert_allclose(predict_trees(read_trees(each), metafeatures, encoded), expected, atol=1e-4)
        read = lightgbm.Booster(model_str=each)
        np.testing.assert_allclose(_walked(read, metafeatures, encoded), expected, atol=1e-4)
    X = np.hstack([metafeatures, encoded[: len(metafeatures)]])
    contributions = lightgbm.Booster(model_str=short).predict(X, pred_contrib=True)
    np.testing.assert_allclose(contributions, booster.predict(X, pred_contrib=True), atol=1e-3)


def test_a_surrogate_from_its_text_is_the_same_to_the_bit(rng):
    metafeatures, encoded = rng.normal(size=(N_TASKS, N_METAFEATURES)), rng.random((N_CANDIDATES, N_DIMENSIONS))
    surrogate = Surrogate.fit(metafeatures, encoded, metafeatures[:, :1] * encoded[:, 0], seed=0)
    again = Surrogate.from_text(surrogate.to_text())
    for rows in (1, N_TASKS):
        np.testing.assert_array_equal(
            again.predict(metafeatures[:rows], encoded), surrogate.predict(metafeatures[:rows], encoded)
        )
    np.testing.assert_array_equal(
        again.compute_contributions(metafeatures[0], encoded), surrogate.compute_contributions(metafeatures[0], encoded)
    )
