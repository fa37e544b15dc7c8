import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from metahp.refinement.acquisition import compute_expected_best_loss, compute_log_mixture, log_expected_improvement
from metahp.surrogate.selection import choose_greedy_batch


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (-2.0, 0.5), (1.0, 0.3), (0.4, 2.0), (5.0, 1.0)])
def test_log_expected_improvement_agrees_with_numerical_integration(mu, sigma):
    incumbent = 0.2
    expected, _ = quad(
        lambda loss: (incumbent - loss) * norm.pdf(loss, mu, sigma), min(mu, incumbent) - 12 * sigma, incumbent
    )
    log_value = log_expected_improvement(tensor([mu]), tensor([sigma]), incumbent)
    assert float(log_value) == pytest.approx(np.log(expected), abs=1e-6)


def test_log_expected_improvement_falls_without_a_jump_far_into_the_tail():
    z = -np.logspace(-3, 8, 4000)
    values = log_expected_improvement(tensor(-z), torch.ones(len(z), dtype=torch.float64), 0.0).numpy()
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()
    # The leading terms, from z = -100 on: log φ(z) - 2 log |z|.
    far = z < -100
    leading = norm.logpdf(z[far]) - 2 * np.log(-z[far])
    np.testing.assert_allclose(values[far], leading, rtol=1e-4)


def test_a_mixture_improves_by_the_weighted_mean_of_its_components():
    values = compute_log_mixture(tensor([0.25, 0.75]).log(), tensor([[1.0, 2.0], [3.0, 4.0]]).log())
    np.testing.assert_allclose(values.exp(), [2.5, 3.5])


def test_expected_best_loss_chooses_the_greedy_batch(rng):
    scenarios, weights = rng.random((6, 20)), rng.dirichlet(np.ones(6))
    chosen: list[int] = []
    for _ in range(4):
        expected = compute_expected_best_loss(tensor(scenarios), tensor(weights), tensor(scenarios[:, chosen]))
        chosen.append(int(expected.argmin()))
    assert chosen == choose_greedy_batch(scenarios, weights, 4)
