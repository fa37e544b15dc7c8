import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from metahp.refinement.posterior import JITTER, ObservedTrials, Points
from metahp.refinement.task_process import CLIP, TaskProcess


def points_of(inputs, mean=None) -> Points:
    """Points of which the only scenario says `mean`."""
    scenarios = np.zeros(len(inputs)) if mean is None else np.asarray(mean)
    return Points.of(np.asarray(inputs), scenarios[None], torch.ones(1, dtype=torch.float64))


def observed_of(points: Points, losses) -> ObservedTrials:
    losses = torch.as_tensor(losses, dtype=torch.float64)
    return ObservedTrials(points, losses, torch.full_like(losses, torch.nan))


def problem(seed: int, n: int = 12, n_pending: int = 0, n_new: int = 7):
    """Observed trials whose losses follow the scenario in part, and other points."""
    rng = np.random.default_rng(seed)
    total = n + n_pending + n_new
    inputs, mean = 2 * rng.random((total, 3)), rng.random(total)
    losses = 3.0 + 0.4 * mean[:n] + 0.2 * np.sin(3 * inputs[:n, 0]) + 0.02 * rng.normal(size=n)
    known = n + n_pending
    return observed_of(points_of(inputs[:known], mean[:known]), losses), points_of(inputs[known:], mean[known:])


def matern(left, right) -> np.ndarray:
    r = np.sqrt(5 * ((left[:, None] - right[None]) ** 2).sum(axis=2))
    return (1 + r + r**2 / 3) * np.exp(-r)


def test_it_agrees_with_a_plain_solve_and_the_improvement_with_an_integral():
    observed, points = problem(0)
    process = TaskProcess(observed)
    learned, losses = process.relevance, observed.losses.numpy()
    spread = np.sort(losses)[(len(losses) - 1) // 2] - losses.min()
    y = np.minimum((losses - losses.min()) / spread, CLIP)
    left, right = (each.inputs.numpy() / learned.length_scales for each in (observed.points, points))
    covariance, cross, own = (
        learned.amplitude * matern(a, b) + learned.level for a, b in ((left, left), (left, right), (right, right))
    )
    gain = np.linalg.solve(covariance + (learned.noise + JITTER) * np.eye(len(y)), cross).T
    expected = y.mean() + learned.slope * observed.points.mean.numpy()
    mu = y.mean() + learned.slope * points.mean.numpy() + gain @ (y - expected)
    sigma = np.sqrt(np.diag(own - gain @ cross))
    mean, deviation = process.predict(points)
    np.testing.assert_allclose(mean, losses.min() + spread * mu, rtol=1e-8)
    np.testing.assert_allclose(deviation, spread * sigma, rtol=1e-6)
    improvement = [
        quad(lambda loss, m=m, s=s: (losses.min() - loss) * norm.pdf(loss, m, s), m - 9 * s, losses.min())[0]
        for m, s in zip(mean.tolist(), deviation.tolist(), strict=True)
    ]
    np.testing.assert_allclose(process.compute_log_improvement(points).exp(), improvement, rtol=1e-4, atol=1e-9)


def test_scenarios_that_fit_get_a_slope_and_scenarios_that_do_not_lose_it(rng):
    inputs, mean = 2 * rng.uniform(size=(40, 2)), rng.uniform(size=40)
    fits, does_not = (
        TaskProcess(observed_of(points_of(inputs, mean), losses))
        for losses in (5 + 0.3 * mean, np.sin(4 * inputs[:, 0]))
    )
    assert fits.relevance.slope > 3 * does_not.relevance.slope
    assert fits.relevance.noise + fits.relevance.amplitude < 0.2 * does_not.relevance.amplitude


def test_the_unit_of_the_loss_changes_nothing_but_the_unit():
    observed, points = problem(2)
    one, ten = (TaskProcess(observed_of(observed.points, 7.0 + scale * observed.losses)) for scale in (1.0, 10.0))
    assert ten.relevance.slope == pytest.approx(one.relevance.slope, rel=1e-3)
    torch.testing.assert_close(
        ten.compute_log_improvement(points) - np.log(10), one.compute_log_improvement(points), rtol=1e-3, atol=1e-3
    )


def test_a_pending_trial_leaves_the_mean_and_takes_the_interest_away_from_its_place():
    observed, points = problem(3, n_new=30)
    free = TaskProcess(observed)
    favourite = int(free.compute_log_improvement(points).argmax())
    waiting = Points.join([observed.points, points.select([favourite])])
    believing = TaskProcess(ObservedTrials(waiting, observed.losses, observed.noise))
    torch.testing.assert_close(free.predict(points)[0], believing.predict(points)[0])
    drop = free.compute_log_improvement(points).exp() - believing.compute_log_improvement(points).exp()
    assert int(drop.argmax()) == favourite
    assert float(drop.min()) > -1e-9


def test_a_failed_trial_counts_as_one_far_from_the_best():
    observed, points = problem(4)
    failed, far = observed.losses.clone(), observed.losses.clone()
    # Above the median, which is that of the trials that did not fail.
    worst = int(failed.argmax())
    failed[worst], far[worst] = torch.inf, 1e6
    one, other = (TaskProcess(ObservedTrials(observed.points, each, observed.noise)) for each in (failed, far))
    assert int(one.compute_log_improvement(points).argmax()) == int(other.compute_log_improvement(points).argmax())
    assert bool(torch.isfinite(one.compute_log_improvement(points)).all())


def test_where_most_trials_are_equal_the_others_still_count(rng):
    inputs = 2 * rng.uniform(size=(12, 2))
    losses = np.where(inputs[:, 0] > 1.6, 1e-5, 0.0)
    assert (losses == 0).sum() > 6
    away = points_of([[1.8, 1.0], [0.2, 1.0]])
    worse, better = TaskProcess(observed_of(points_of(inputs), losses)).predict(away)[0].tolist()
    assert worse > better + 3e-6


def test_trials_that_say_nothing_leave_something_to_ask(rng):
    process = TaskProcess(observed_of(points_of(rng.uniform(size=(6, 3))), np.full(6, 0.3)))
    assert bool(torch.isfinite(process.compute_log_improvement(points_of(rng.uniform(size=(4, 3))))).all())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    observed, points = problem(5, n_pending=2)

    def moved(points: Points) -> Points:
        return Points(*(each.cuda() for each in (points.inputs, points.scenarios, points.mean, points.deviations)))

    there = TaskProcess(ObservedTrials(moved(observed.points), observed.losses.cuda(), observed.noise.cuda()))
    expected = TaskProcess(observed).compute_log_improvement(points)
    torch.testing.assert_close(there.compute_log_improvement(moved(points)).cpu(), expected, rtol=1e-6, atol=1e-6)
