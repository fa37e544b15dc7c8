"""How similar past tasks are to a new one, by hand."""

import numpy as np
import pytest

from metahp.surrogate.similarity import (
    compute_copy_width,
    compute_feature_distances,
    compute_near_width,
    compute_similarities,
    measure_copies,
)


def test_a_weight_falls_with_the_distance_of_meta_features_and_grows_with_shared_leaves():
    alike, equal = np.zeros(2), np.ones(2) / 2
    apart = np.array([1.0, 2.0])
    weights = compute_similarities(apart, equal, near=1.5)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[0] / weights[1] == pytest.approx(np.exp((4 - 1) / 1.5 / 2))
    weights = compute_similarities(alike, np.array([0.9, 0.1]), near=1.5)
    assert weights[0] / weights[1] == pytest.approx(3.0)
    # Where no distance tells, neither do its differences.
    assert compute_similarities(apart, equal, near=0.0) == pytest.approx([0.5, 0.5])


def test_a_task_that_shares_no_leaf_is_not_ruled_out():
    weights = compute_similarities(np.array([9.0, 0.0]), np.array([1.0, 0.0]), near=1.0)
    assert weights[1] > 0.9


def test_one_odd_meta_feature_does_not_rule_the_distance(rng):
    past = rng.normal(size=(40, 20))
    odd = past[0].copy()
    odd[3] = 1e6
    apart = compute_feature_distances(odd, past)
    assert apart.argmin() == 0
    assert apart[0] == pytest.approx(4.0 / np.sqrt(20))
    assert compute_feature_distances(past[0, :0], past[:, :0]) == pytest.approx(np.zeros(40))
    rounded = np.full((40, 1), 4.4) + rng.normal(size=(40, 1)) * 1e-15
    assert compute_feature_distances(np.array([4.5]), rounded) == pytest.approx(np.zeros(40))
    assert compute_near_width(past[:, :0]) == compute_near_width(past[:1]) == 0.0
    assert 0 < compute_near_width(past) < np.median(apart**2)


def test_only_a_task_much_closer_than_past_tasks_are_is_a_near_copy(rng):
    past = rng.normal(size=(40, 6))
    width = compute_copy_width(past)
    assert measure_copies(past[7], past, width)[7] == 1.0
    assert np.delete(measure_copies(past[7], past, width), 7).max() < 0.5
    nearly = past[7] + 0.1 * width * past.std(axis=0)
    assert measure_copies(nearly, past, width)[7] == pytest.approx(np.exp(-0.5 * 0.1**2))
    assert measure_copies(past[7], past, 0.0).max() == 0.0
