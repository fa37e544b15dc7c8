import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from metahp.core.errors import InputError
from metahp.refinement.posterior import (
    JITTER,
    MixtureSettings,
    ObservedTrials,
    Points,
    Posterior,
    compute_matern52,
    find_torch_device,
)

WEIGHTS = np.array([0.5, 0.3, 0.2])
# All components are kept, each with its exact weight to four digits.
FINE = MixtureSettings(amplitudes=(0.1, 0.6), noises=(0.02,), n_scales=3, n_components=200_000)
LOG_SCALE = (-0.3, 0.4)
VARIANCE = 0.25


def points_of(inputs, scenarios, device="cpu") -> Points:
    return Points.of(np.asarray(inputs), np.asarray(scenarios), torch.tensor(WEIGHTS, device=device))


def problem(seed: int, n_finished: int, n_pending: int = 0, n_new: int = 7):
    """Three scenarios on a few random points: weights, the observed trials and other points."""
    rng = np.random.default_rng(seed)
    n = n_finished + n_pending
    inputs, scenarios = rng.random((n + n_new, 2)), rng.random((3, n + n_new))
    losses = 3.0 + rng.random(n_finished)
    nan = torch.full((n_finished,), torch.nan, dtype=torch.float64)
    observed = ObservedTrials(points_of(inputs[:n], scenarios[:, :n]), torch.tensor(losses), nan)
    return WEIGHTS, observed, points_of(inputs[n:], scenarios[:, n:])


def posterior(weights, observed, settings=FINE) -> Posterior:
    return Posterior(torch.tensor(weights), LOG_SCALE, VARIANCE, observed, settings)


def matern(left, right) -> np.ndarray:
    r = np.sqrt(5 * ((left[:, None] - right[None]) ** 2).sum(axis=2))
    return (1 + r + r**2 / 3) * np.exp(-r)


def reference(weights, observed, points, relevance, settings=FINE):
    """Mean, standard deviation and expected improvement by a plain solve for each component of the mixture."""
    inputs = np.vstack([observed.points.inputs, points.inputs])
    scenarios = np.hstack([observed.points.scenarios, points.scenarios])
    losses, o = observed.losses.numpy(), len(observed.losses)
    centred = scenarios - weights @ scenarios
    blended = (weights[:, None] * centred).T @ centred
    logs, means, deviations, improvements = [], [], [], []
    steps = np.linspace(-1, 1, settings.n_scales) * settings.scale_width
    prior = np.exp(-0.5 * steps**2)
    noise = settings.noises[0] * VARIANCE
    kinds = [
        (amplitude * VARIANCE, noise, 1.0, j)
        for amplitude, j in itertools.product(settings.amplitudes, [0, 1, 2, "blend"])
    ]
    if relevance:
        kinds.append((relevance.amplitude, relevance.noise, relevance.length_scales, "own"))
    for (amplitude, noise, lengths, j), (step, scale_prior) in itertools.product(
        kinds, zip(steps, prior / prior.sum(), strict=True)
    ):
        scale = np.exp(LOG_SCALE[0] + LOG_SCALE[1] * step)
        K = amplitude * matern(inputs / lengths, inputs / lengths) + settings.level**2
        mean, weight = (weights @ scenarios, settings.blend) if isinstance(j, str) else (scenarios[j], weights[j])
        if j == "blend":
            K = K + blended
        noisy = K[:o, :o] + (noise + JITTER) * np.eye(o)
        y = np.minimum((losses - losses.min()) / scale, settings.clip)
        gain = np.linalg.solve(noisy, K[:o, o:]).T
        mu = mean[o:] + gain @ (y - mean[:o])
        sigma = np.sqrt(np.diag(K[o:, o:] - gain @ K[:o, o:]) + noise)
        # The constant (2π)^(-o/2) is common to all.
        likelihood = multivariate_normal.logpdf(y, mean[:o], noisy) - (y < settings.clip).sum() * np.log(scale)
        logs.append(settings.power * likelihood + np.log(weight) + np.log(scale_prior))
        z = -mu / sigma
        improvements.append(scale * sigma * (norm.pdf(z) + z * norm.cdf(z)))
        means.append(losses.min() + scale * mu)
        deviations.append(scale * sigma)
    q = np.exp(np.array(logs) - max(logs))
    q /= q.sum()
    mean = q @ np.array(means)
    return mean, np.sqrt(q @ (np.array(deviations) ** 2 + np.array(means) ** 2) - mean**2), q @ np.array(improvements)


@pytest.mark.parametrize("n_finished", [1, 4, 12])
def test_the_mixture_agrees_with_a_plain_solve_of_every_component(n_finished):
    weights, observed, points = problem(n_finished, n_finished)
    mixture = posterior(weights, observed)
    assert (mixture.relevance is None) == (n_finished < FINE.min_own_trials)
    mean, deviation, improvement = reference(weights, observed, points, mixture.relevance)
    predicted_mean, predicted_deviation = mixture.predict(points)
    np.testing.assert_allclose(predicted_mean, mean, atol=1e-4)
    np.testing.assert_allclose(predicted_deviation, deviation, rtol=1e-3)
    np.testing.assert_allclose(mixture.compute_log_improvement(points).exp(), improvement, rtol=1e-3, atol=1e-6)


def test_weights_sum_to_one_and_point_at_the_scenario_that_the_losses_follow():
    weights, observed, _ = problem(0, 12)
    followed = ObservedTrials(observed.points, 5.0 + 0.8 * observed.points.scenarios[2], observed.noise)
    total = torch.cat([each.flatten() for each in posterior(weights, followed).log_weights]).exp().sum()
    assert float(total) == pytest.approx(1.0)
    by_scenario = sum(each.exp().sum(dim=0) for each in posterior(weights, followed).log_weights if each.shape[1] == 3)
    assert int(by_scenario.argmax()) == 2


def test_where_no_scenario_fits_the_local_term_takes_over():
    weights, observed, _ = problem(1, 12)
    # A smooth loss that has nothing to do with the scenarios, at twice the spread they have.
    strange = 2.0 * torch.sin(3 * observed.points.inputs[:, 0]) + 5.0
    flat = points_of(observed.points.inputs, 0.01 * observed.points.scenarios)
    mixture = posterior(weights, ObservedTrials(flat, strange, observed.noise))
    one, one_and_more, blend, blend_and_more, own = (float(w.exp().sum()) for w in mixture.log_weights)
    assert one + blend < 0.01
    assert one_and_more + blend_and_more + own > 0.99
    shared = posterior(weights, ObservedTrials(flat, strange, observed.noise), replace(FINE, min_own_trials=1000))
    by_kernel = torch.tensor([float(each.exp().sum()) for each in shared.log_weights]).reshape(2, 2).sum(dim=0)
    assert by_kernel[1] > 0.9


def test_noise_is_found_out_where_no_trial_tells_it():
    weights, observed, points = problem(5, 8)
    told = ObservedTrials(observed.points, observed.losses, torch.full_like(observed.losses, 0.1))
    several, one = replace(FINE, noises=(0.02, 0.5)), replace(FINE, noises=(0.02,))
    torch.testing.assert_close(
        posterior(weights, told, several).predict(points), posterior(weights, told, one).predict(points)
    )
    # The losses are random numbers that follow no scenario.
    by_noise = torch.stack([each.exp().sum() for each in posterior(weights, observed, several).log_weights])
    assert float(by_noise[1::2].sum()) > 0.7


def test_resampled_components_stand_for_all():
    weights, observed, points = problem(2, 5)
    few = posterior(weights, observed, replace(FINE, n_components=256))
    all_of_them = posterior(weights, observed)
    np.testing.assert_allclose(few.predict(points)[0], all_of_them.predict(points)[0], atol=0.01)


def test_a_pending_trial_leaves_the_weights_and_takes_the_interest_away_from_its_place():
    weights, observed, points = problem(3, 6, n_new=30)
    free = posterior(weights, observed)
    favourite = int(free.compute_log_improvement(points).argmax())
    waiting = Points.join([observed.points, points.select([favourite])])
    believing = posterior(weights, ObservedTrials(waiting, observed.losses, observed.noise))
    for one, other in zip(free.log_weights, believing.log_weights, strict=True):
        torch.testing.assert_close(one, other)
    np.testing.assert_allclose(free.predict(points)[0], believing.predict(points)[0], atol=1e-9)
    drop = free.compute_log_improvement(points).exp() - believing.compute_log_improvement(points).exp()
    assert int(drop.argmax()) == favourite
    assert float(drop.min()) > -1e-9


def test_a_failed_trial_counts_as_the_worst_clipped_loss():
    weights, observed, points = problem(4, 5)
    losses = observed.losses.clone()
    losses[1] = torch.inf
    far = losses.clone()
    far[1] = 1e6
    one, other = (posterior(weights, ObservedTrials(observed.points, each, observed.noise)) for each in (losses, far))
    torch.testing.assert_close(one.compute_log_improvement(points), other.compute_log_improvement(points))


def test_known_noise_is_trusted_less_where_it_is_large():
    weights, observed, points = problem(5, 6)
    loud = ObservedTrials(observed.points, observed.losses, torch.full((6,), 5.0, dtype=torch.float64))
    # An error of zero is no knowledge: the default share stays.
    silent = ObservedTrials(observed.points, observed.losses, torch.zeros(6, dtype=torch.float64))
    shared = replace(FINE, min_own_trials=1000)
    spread = [float(posterior(weights, each, shared).predict(points)[1].mean()) for each in (observed, silent, loud)]
    assert posterior(weights, observed).relevance is not None
    assert posterior(weights, loud).relevance is None
    assert spread[0] == pytest.approx(spread[1])
    assert spread[2] > spread[0]


def test_matern52_agrees_with_its_formula(rng):
    left, right = rng.random((5, 3)), rng.random((4, 3))
    np.testing.assert_allclose(
        compute_matern52(torch.tensor(left), torch.tensor(right)), matern(left, right), atol=1e-12
    )


def test_a_device_that_is_not_there_is_an_error():
    with pytest.raises(InputError, match="Known: auto, cpu, cuda"):
        find_torch_device("tpu")
    if not torch.cuda.is_available():
        assert find_torch_device("auto").type == "cpu"
        with pytest.raises(InputError, match="No CUDA device"):
            find_torch_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    weights, observed, points = problem(6, 8, 2)
    cuda = torch.device("cuda")
    there = ObservedTrials(
        points_of(observed.points.inputs, observed.points.scenarios, cuda),
        observed.losses.to(cuda),
        observed.noise.to(cuda),
    )
    moved = Posterior(torch.tensor(weights, device=cuda), LOG_SCALE, VARIANCE, there, FINE)
    expected = posterior(weights, observed).compute_log_improvement(points)
    torch.testing.assert_close(
        moved.compute_log_improvement(points_of(points.inputs, points.scenarios, cuda)).cpu(), expected
    )
