import numpy as np
import pytest
from metahp.refinement.relevance import Relevance

from metahp.refinement import relevance


def test_it_is_a_mode_of_the_posterior_density(rng, monkeypatch):
    inputs, mean = 2 * rng.uniform(size=(30, 3)), rng.uniform(size=30)
    minimize, moves, rises = relevance.minimize, 1e-2 * np.vstack([np.eye(6), -np.eye(6)]), []

    def spied(function, start, **options):
        found = minimize(function, start, **options)
        rises.extend(function(found.x + move)[0] - found.fun for move in moves)
        return found

    monkeypatch.setattr(relevance, "N_STEPS", 300)
    monkeypatch.setattr(relevance, "minimize", spied)
    Relevance.learn(inputs, mean, mean + np.sin(3 * inputs[:, 0]) + 0.1 * rng.normal(size=30))
    assert min(rises) > 0


def test_an_axis_that_matters_gets_a_shorter_length_scale_than_one_that_does_not(rng):
    inputs = rng.uniform(size=(30, 4)) * 2
    learned = Relevance.learn(inputs, np.zeros(30), np.sin(4 * inputs[:, 2]))
    assert int(learned.length_scales.argmin()) == 2
    assert learned.length_scales[2] < 0.5 * np.delete(learned.length_scales, 2).min()


def test_a_mean_that_the_losses_follow_gets_its_slope_and_another_loses_it(rng):
    inputs, mean = 2 * rng.uniform(size=(40, 2)), rng.uniform(size=40)
    follows, does_not = (Relevance.learn(inputs, mean, y) for y in (5 + 1.5 * mean, np.sin(4 * inputs[:, 0])))
    assert follows.slope == pytest.approx(1.5, rel=0.1)
    assert does_not.slope < 0.5


def test_amplitude_and_noise_are_variances_of_the_losses(rng):
    inputs, noise = rng.uniform(size=(40, 2)) * 2, rng.normal(size=40)
    one, ten = (Relevance.learn(inputs, np.zeros(40), scale * noise) for scale in (1.0, 10.0))
    assert ten.amplitude == pytest.approx(100 * one.amplitude, rel=1e-2)
    assert ten.noise == pytest.approx(100 * one.noise, rel=1e-2)
    assert one.noise > one.amplitude


def test_trials_that_say_nothing_tell_no_axis_from_another(rng):
    learned = Relevance.learn(rng.uniform(size=(6, 3)), np.zeros(6), np.full(6, 0.3))
    assert learned.length_scales.max() < 1.2 * learned.length_scales.min()
    assert np.isfinite([learned.amplitude, learned.noise, learned.slope]).all()
