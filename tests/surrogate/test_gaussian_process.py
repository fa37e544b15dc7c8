"""Past tasks as functions: the kernel that is learned, and what is interpolated."""

import numpy as np
import pytest
from metahp.surrogate.encoding import encode
from metahp.surrogate.worlds import (
    Kernel,
    Worlds,
    matern52,
    matern52_draws,
    negative_log_likelihood,
    raw_inputs,
)
from scipy.optimize import check_grad

from metahp.core.space import Categorical, Float, SearchSpace

SPACE = SearchSpace(
    "toy",
    1,
    (
        Float("x", 0.0, 1.0, 0.5),
        Float("unused", 0.0, 1.0, 0.5),
        Categorical("kind", ("a", "b", "c"), "a"),
        Float("depth", 0.0, 1.0, 0.5, only_if=("kind", ("b",))),
    ),
)
SPACES = {"toy": SPACE}


@pytest.fixture
def inputs(rng):
    return raw_inputs(encode(SPACE.from_unit(rng.uniform(size=(80, 4))), SPACES), SPACES)


def _losses(inputs, centres):
    return np.array([np.abs(inputs[:, 0] - centre) + (inputs[:, 2] > 0) for centre in centres])


def test_inactive_hyperparameters_lie_in_the_middle_and_choices_apart():
    points = [SPACE.configuration({"kind": kind}) for kind in ("a", "b", "c")]
    raw = raw_inputs(encode(points, SPACES), SPACES)
    assert raw.shape == (3, 6)
    np.testing.assert_array_equal(raw[:, 5], 0.5)
    gaps = [np.linalg.norm(raw[i] - raw[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(gaps, gaps[0])


def test_several_learners_have_a_column_each():
    other = SearchSpace("other", 1, (Float("z", 0.0, 1.0, 0.5),))
    spaces = {**SPACES, "other": other}
    raw = raw_inputs(encode([SPACE.default, other.default], spaces), spaces)
    assert (raw[0] != raw[1])[:2].all()


def test_correlation_is_one_at_the_same_point_and_falls_with_distance(rng):
    A = rng.normal(size=(5, 3))
    correlation = matern52(A, np.vstack([A[:1], A[:1] + 0.1, A[:1] + 10]))
    assert correlation[0, 0] == pytest.approx(1.0)
    assert 1.0 > correlation[0, 1] > 0.9
    assert correlation[0, 2] < 1e-6


def test_random_functions_have_the_correlation_of_the_kernel(rng):
    points = rng.uniform(size=(6, 3)) * 2
    draws = matern52_draws(points, 20_000, seed=1)
    assert draws.mean() == pytest.approx(0.0, abs=0.03)
    # So many waves stand for infinitely many.
    np.testing.assert_allclose(np.cov(draws.T), matern52(points, points), atol=0.15)


def test_gradient_of_the_likelihood_is_right(rng):
    samples = [(rng.uniform(size=(20, 3)), rng.normal(size=20)) for _ in range(2)]
    for _ in range(3):
        theta = rng.normal(scale=0.5, size=5)
        error = check_grad(
            lambda t: negative_log_likelihood(t, samples)[0],
            lambda t: negative_log_likelihood(t, samples)[1],
            theta,
        )
        assert error < 1e-4


def test_learned_length_scales_are_short_where_the_loss_moves(inputs, rng):
    worlds = _losses(inputs, rng.uniform(size=20))
    kernel = Kernel.learn(SPACES, inputs, worlds, seed=0)
    assert kernel.length_scales[0] < 0.5 * kernel.length_scales[1]


def test_worlds_interpolate_what_they_have_not_measured(inputs, rng):
    worlds = _losses(inputs, rng.uniform(size=20))
    kernel = Kernel.learn(SPACES, inputs, worlds, seed=0)
    scaled = inputs / kernel.length_scales
    partial = worlds.copy()
    partial[:10, :20] = np.nan
    found = Worlds.fit(kernel, scaled, partial).at(scaled)
    assert found.shape == worlds.shape
    hidden = np.abs(found - worlds)[:10, :20]
    guess = np.abs(worlds[:10, :20] - np.nanmean(partial[:10], axis=1, keepdims=True))
    assert hidden.mean() < 0.3 * guess.mean()


def test_a_world_without_any_configuration_is_flat(inputs):
    kernel = Kernel(SPACES, np.ones(inputs.shape[1]))
    values = np.full((1, len(inputs)), np.nan)
    assert np.ptp(Worlds.fit(kernel, inputs, values).at(inputs)) == 0.0
