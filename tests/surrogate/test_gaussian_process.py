"""Past tasks as functions: the kernel that is learned, and what is interpolated."""

import logging

import numpy as np
import pytest
from scipy.optimize import check_grad

from metahp.core.space import Categorical, Float, SearchSpace
from metahp.surrogate import gaussian_process
from metahp.surrogate.evidence import encode
from metahp.surrogate.gaussian_process import (
    JITTER,
    MOST_POINTS,
    Interpolation,
    Kernel,
    Relevance,
    compute_matern52,
    compute_negative_log_likelihood,
    draw_matern52,
    find_minimum,
    make_raw_inputs,
)

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
    return make_raw_inputs(encode(SPACE.from_unit(rng.uniform(size=(80, 4))), SPACES), SPACES)


def _losses(inputs, centres):
    return np.array([np.abs(inputs[:, 0] - centre) + (inputs[:, 2] > 0) for centre in centres])


def test_inactive_hyperparameters_lie_in_the_middle_and_choices_apart():
    points = [SPACE.configuration({"kind": kind}) for kind in ("a", "b", "c")]
    raw = make_raw_inputs(encode(points, SPACES), SPACES)
    assert raw.shape == (3, 6)
    np.testing.assert_array_equal(raw[:, 5], 0.5)
    gaps = [np.linalg.norm(raw[i] - raw[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(gaps, gaps[0])


def test_several_learners_have_a_column_each():
    other = SearchSpace("other", 1, (Float("z", 0.0, 1.0, 0.5),))
    spaces = {**SPACES, "other": other}
    raw = make_raw_inputs(encode([SPACE.default, other.default], spaces), spaces)
    assert (raw[0] != raw[1])[:2].all()


def test_correlation_is_one_at_the_same_point_and_falls_with_distance(rng):
    A = rng.normal(size=(5, 3))
    correlation = compute_matern52(A, np.vstack([A[:1], A[:1] + 0.1, A[:1] + 10]))
    assert correlation[0, 0] == pytest.approx(1.0)
    assert 1.0 > correlation[0, 1] > 0.9
    assert correlation[0, 2] < 1e-6


def test_random_functions_have_the_correlation_of_the_kernel(rng):
    points = rng.uniform(size=(6, 3)) * 2
    draws = draw_matern52(points, 20_000, seed=1)
    assert draws.mean() == pytest.approx(0.0, abs=0.03)
    # So many waves stand for infinitely many.
    np.testing.assert_allclose(np.cov(draws.T), compute_matern52(points, points), atol=0.15)


def test_gradient_of_the_likelihood_is_right(rng):
    samples = [(rng.uniform(size=(20, 3)), rng.normal(size=20)) for _ in range(2)]
    for _ in range(3):
        theta = rng.normal(scale=0.5, size=5)
        error = check_grad(
            lambda t: compute_negative_log_likelihood(t, samples)[0],
            lambda t: compute_negative_log_likelihood(t, samples)[1],
            theta,
        )
        assert error < 1e-4


def test_learned_length_scales_are_short_where_the_loss_moves(inputs, rng):
    losses = _losses(inputs, rng.uniform(size=20))
    kernel = Kernel.learn(SPACES, inputs, losses, seed=0)
    assert kernel.length_scales[0] < 0.5 * kernel.length_scales[1]


def test_losses_that_say_nothing_leave_the_kernel_as_it_is(inputs):
    kernel = Kernel.learn(SPACES, inputs, np.ones((3, len(inputs))), seed=0)
    np.testing.assert_allclose(kernel.length_scales, np.exp(-0.5))


def test_interpolation_tells_what_tasks_have_not_measured(inputs, rng):
    losses = _losses(inputs, rng.uniform(size=20))
    kernel = Kernel.learn(SPACES, inputs, losses, seed=0)
    scaled = inputs / kernel.length_scales
    partial = losses.copy()
    partial[:10, :20] = np.nan
    found = Interpolation.fit(kernel, scaled, partial).at(scaled)
    assert found.shape == losses.shape
    hidden = np.abs(found - losses)[:10, :20]
    guess = np.abs(losses[:10, :20] - np.nanmean(partial[:10], axis=1, keepdims=True))
    assert hidden.mean() < 0.3 * guess.mean()


def test_a_task_without_any_configuration_is_flat(inputs):
    kernel = Kernel(SPACES, np.ones(inputs.shape[1]))
    values = np.full((1, len(inputs)), np.nan)
    assert np.ptp(Interpolation.fit(kernel, inputs, values).at(inputs)) == 0.0


# Which of 80 configurations each of 12 tasks has measured; the first 60 are shared where two tasks have them.
def _all_shared(known: np.ndarray, rng: np.random.Generator) -> None:
    known[:, :60] = True


def _a_few_own(known: np.ndarray, rng: np.random.Generator) -> None:
    known[:, :60] = True
    for task in range(0, 12, 2):
        known[task, 60 + task : 60 + task + 3] = True


def _own_and_gaps(known: np.ndarray, rng: np.random.Generator) -> None:
    known[:, :60] = rng.random((12, 60)) < 0.7
    for task in range(12):
        known[task, 60 + task] = True


def _mostly_own(known: np.ndarray, rng: np.random.Generator) -> None:
    known[:, :2] = True
    for task in range(12):
        known[task, 4 + 6 * task : 10 + 6 * task] = True


def _all_own(known: np.ndarray, rng: np.random.Generator) -> None:
    for task in range(12):
        known[task, 6 * task : 6 * task + 6] = True


def _some_empty(known: np.ndarray, rng: np.random.Generator) -> None:
    _a_few_own(known, rng)
    known[[0, 5]] = False


@pytest.mark.parametrize("pattern", [_all_shared, _a_few_own, _own_and_gaps, _mostly_own, _all_own, _some_empty])
def test_each_task_is_interpolated_as_a_gaussian_process_of_its_own(inputs, rng, pattern):
    known = np.zeros((12, 80), dtype=bool)
    pattern(known, rng)
    losses = np.where(known, rng.normal(size=(12, 80)), np.nan)
    kernel = Kernel(SPACES, np.ones(inputs.shape[1]), amplitude=0.8, noise=0.05)
    interpolation = Interpolation.fit(kernel, inputs, losses)
    expected = np.zeros((12, 80))
    for task, row in enumerate(losses):
        own = np.flatnonzero(known[task])
        if own.size:
            covariance = 0.8 * compute_matern52(inputs[own], inputs[own]) + (0.05 + JITTER) * np.eye(own.size)
            solution = np.linalg.solve(covariance, row[own] - row[own].mean())
            expected[task] = row[own].mean() + 0.8 * compute_matern52(inputs, inputs[own]) @ solution
    np.testing.assert_allclose(interpolation.at(inputs), expected, atol=1e-8)
    means = np.array([row[own].mean() if own.any() else 0.0 for row, own in zip(losses, known, strict=True)])
    nearer = interpolation.at(inputs, share=0.6)
    np.testing.assert_allclose(nearer, means[:, None] + 0.6 * (expected - means[:, None]), atol=1e-8)


def test_cells_that_are_wanted_are_filled_and_others_may_be_missing(inputs, rng, monkeypatch):
    monkeypatch.setattr(gaussian_process, "BLOCK", 7)
    losses = rng.normal(size=(6, 80))
    losses[rng.random(losses.shape) < 0.2] = np.nan
    interpolation = Interpolation.fit(Kernel(SPACES, np.ones(inputs.shape[1])), inputs, losses)
    wanted = rng.random((6, 80)) < 0.1
    every, some = interpolation.at(inputs), interpolation.at(inputs, wanted=wanted)
    np.testing.assert_allclose(some[wanted], every[wanted])
    assert np.isnan(some).any()
    is_told = ~np.isnan(some)
    np.testing.assert_allclose(some[is_told], every[is_told])


def test_of_very_many_configurations_a_sample_is_interpolated_from(rng):
    points = rng.uniform(size=(MOST_POINTS + 100, 1))
    losses = np.abs(points[:, 0] - np.array([[0.2], [0.7]]))
    kernel = Kernel({"toy": SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5),))}, np.ones(1), 1.0, 1e-3)
    one, same, other = (Interpolation.fit(kernel, points / 0.1, losses, seed=seed) for seed in (0, 0, 1))
    assert {len(group.points) for group in one.groups} == {MOST_POINTS}
    found = one.at(points / 0.1)
    np.testing.assert_array_equal(found, same.at(points / 0.1))
    assert np.abs(found - other.at(points / 0.1)).max() > 0
    assert np.abs(found - losses).mean() < 0.02


# The minimum of an objective.

BOUNDS = np.array([(-2.0, 2.0)] * 2)


def _bowl(theta: np.ndarray) -> tuple[float, np.ndarray]:
    away = theta - np.array([1.0, -0.5])
    return float(away @ away), 2 * away


def _valley(theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Rosenbrock's: a long way for small steps."""
    x, y = theta
    gradient = np.array([-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2)])
    return 100 * (y - x**2) ** 2 + (1 - x) ** 2, gradient


def test_the_minimum_of_a_bowl_is_found_without_a_word(caplog):
    assert find_minimum(_bowl, np.zeros(2), BOUNDS, 30, "The axes") == pytest.approx([1.0, -0.5], abs=1e-3)
    assert not caplog.records


def test_bounds_are_kept():
    narrow = np.array([(-2.0, 0.5), (-2.0, 2.0)])
    assert find_minimum(_bowl, np.zeros(2), narrow, 30, "The axes") == pytest.approx([0.5, -0.5], abs=1e-3)


def test_where_few_steps_are_too_few_a_second_attempt_goes_on(caplog):
    found = find_minimum(_valley, np.array([-1.2, 1.0]), BOUNDS, 12, "The axes")
    assert found == pytest.approx([1.0, 1.0], abs=0.05)
    assert not caplog.records


def test_where_it_never_converges_one_warning_says_so_and_the_best_point_is_used(caplog):
    with caplog.at_level(logging.WARNING):
        found = find_minimum(_valley, np.array([-1.2, 1.0]), BOUNDS, 1, "The axes")
    [record] = caplog.records
    assert record.getMessage().startswith("The axes did not converge")
    assert _valley(found)[0] < _valley(np.array([-1.2, 1.0]))[0]


def _without_factor(where):
    """The bowl, but for the points where there is no Cholesky factor."""

    def objective(theta):
        if where(theta):
            raise np.linalg.LinAlgError
        return _bowl(theta)

    return objective


def test_a_first_step_to_a_matrix_without_a_cholesky_factor_is_taken_back(caplog):
    far_off = _without_factor(lambda theta: theta[0] > 1.5)
    assert find_minimum(far_off, np.array([-1.0, 0.0]), BOUNDS, 30, "The axes") == pytest.approx([1, -0.5], abs=1e-2)
    assert not caplog.records


def test_where_no_matrix_beyond_has_a_cholesky_factor_the_best_before_is_used_and_a_warning_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        wall = _without_factor(lambda theta: theta[0] > 0.5)
        found = find_minimum(wall, np.array([-1.0, 0.0]), BOUNDS, 30, "The axes")
    assert found == pytest.approx([0.5, -0.5], abs=0.2)
    assert found[0] <= 0.5
    [record] = caplog.records
    assert "did not converge (a covariance has no Cholesky factor)" in record.getMessage()


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_where_nothing_has_a_value_the_start_is_used_and_a_warning_says_so(caplog, value):
    def nothing(theta):
        if value is None:
            raise np.linalg.LinAlgError
        return value, np.full(2, value)

    start = np.array([0.3, 0.4])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(find_minimum(nothing, start, BOUNDS, 30, "The axes"), start)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["The axes could not be learned"]


# Which axes matter on one task.


def test_relevance_is_a_mode_of_the_posterior_density(rng, monkeypatch):
    inputs, mean = 2 * rng.uniform(size=(30, 3)), rng.uniform(size=30)
    minimize, moves, rises = gaussian_process.minimize, 1e-2 * np.vstack([np.eye(6), -np.eye(6)]), []

    def spied(function, start, **options):
        found = minimize(function, start, **options)
        rises.extend(function(found.x + move)[0] - found.fun for move in moves)
        return found

    monkeypatch.setattr(gaussian_process, "N_STEPS", 300)
    monkeypatch.setattr(gaussian_process, "TOLERANCE", 1e-12)
    monkeypatch.setattr(gaussian_process, "minimize", spied)
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
