import numpy as np
import pytest

from metahp.refinement.relevance import Relevance


def test_an_axis_that_matters_gets_a_shorter_length_scale_than_one_that_does_not(rng):
    inputs = rng.uniform(size=(30, 4)) * 2
    learned = Relevance.learn(inputs, np.sin(4 * inputs[:, 2]))
    assert int(learned.length_scales.argmin()) == 2
    assert learned.length_scales[2] < 0.5 * np.delete(learned.length_scales, 2).min()


def test_amplitude_and_noise_are_variances_of_the_residuals(rng):
    inputs, noise = rng.uniform(size=(40, 2)) * 2, rng.normal(size=40)
    one, ten = (Relevance.learn(inputs, scale * noise) for scale in (1.0, 10.0))
    assert ten.amplitude == pytest.approx(100 * one.amplitude, rel=1e-6)
    assert ten.noise == pytest.approx(100 * one.noise, rel=1e-6)
    assert one.noise > one.amplitude


def test_trials_that_say_nothing_tell_no_axis_from_another(rng):
    learned = Relevance.learn(rng.uniform(size=(6, 3)), np.full(6, 0.3))
    assert learned.length_scales.max() < 1.2 * learned.length_scales.min()
    assert np.isfinite([learned.amplitude, learned.noise]).all()
