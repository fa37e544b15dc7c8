import numpy as np
import pytest
import torch

from metahp.core.configuration import Configuration
from metahp.core.space import Float, SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.gain import JointLosses, compute_expected_gains
from metahp.refinement.posterior import MixtureSettings, ObservedTrials, Points, Posterior
from metahp.refinement.strategies import make_named_strategy
from metahp.refinement.strategy import Observation, Suggestion, estimate_gains
from metahp.refinement.task_process import TaskProcess
from metahp.refinement.transfer import Transfer
from metahp.surrogate.prior import Scenarios

BOWL = SearchSpace("bowl", 1, (Float("x", 0.0, 1.0, 0.5), Float("y", 0.0, 1.0, 0.5)))
CENTRES = np.array([[0.2, 0.2], [0.3, 0.25], [0.2, 0.4], [0.35, 0.3], [0.8, 0.7]])


class BowlPrior:
    """Past tasks are bowls around `CENTRES`."""

    candidates: tuple[Configuration, ...] = ()
    log_scale = (0.0, 0.5)
    weights = np.full(len(CENTRES), 1 / len(CENTRES))

    def __init__(self, unit: float = 1.0) -> None:
        self.unit = unit

    def at(self, configurations) -> Scenarios:
        points = BOWL.to_unit(configurations)
        values = 4 * ((points[None] - CENTRES[:, None]) ** 2).sum(axis=2)
        return Scenarios(values, self.weights, points / 0.4)


def measure(configuration: Configuration) -> float:
    values = configuration.values
    return 10.0 + 4 * ((values["x"] - 0.28) ** 2 + (values["y"] - 0.3) ** 2)


def run(search: Transfer, n: int, noise: float, unit: float = 1.0, *, is_asked: bool = True):
    """The trials of a search, and what it expected of more of them after each."""
    suggestions, expected = [], []
    for _ in range(n):
        suggestions.append(search.ask())
        configuration = suggestions[-1].configuration
        search.tell(Observation(configuration=configuration, loss=unit * measure(configuration), noise=unit * noise))
        expected.append(search.estimate_gains() if is_asked else None)
    return suggestions, expected


def joint(means, deviations, *, noise: float = 0.0, weight: float = 1.0) -> JointLosses:
    means, variances = (torch.tensor(each, dtype=torch.float64) for each in (means, np.square(deviations)))
    one = torch.ones(1, dtype=torch.float64)
    return JointLosses(
        means=means[None], covariance=torch.diag(variances), noise=noise, scales=one, weights=weight * one
    )


def test_without_noise_the_gain_is_the_mean_decrease_of_the_lowest_loss():
    # Of a standard normal variable the mean of what lies below zero, and of the lower one of two of them.
    one, two = compute_expected_gains([joint([0.0, 0.0, 0.0], [0.0, 1.0, 1.0])], 0.0)
    assert one == pytest.approx(0.3989, abs=0.07)
    assert two == pytest.approx(0.5642 + 0.1168, abs=0.08)
    assert compute_expected_gains([joint([3.0, 1.0, 0.5, 9.0], [0.0] * 4)], 3.0).tolist() == [2.0, 2.5, 2.5]
    assert compute_expected_gains([joint([1.0, 2.0], [0.0, 0.0])], 1.0).tolist() == [0.0]


def test_luck_is_no_gain():
    # All configurations have the loss 1 in truth: whatever is measured, there is nothing to gain.
    assert compute_expected_gains([joint([1.0, 1.0, 1.0], [0.0] * 3, noise=5.0)], 0.9).tolist() == [0.0, 0.0]
    # The incumbent was lucky, so that a better one is hardly ever seen to be better.
    (lucky,) = compute_expected_gains([joint([1.0, 0.9], [0.0, 0.0], noise=0.1)], 0.6)
    assert lucky < 0.1 * compute_expected_gains([joint([1.0, 0.9], [0.0, 0.0], noise=0.1)], 1.1)[0]


def test_the_gain_of_a_mixture_is_the_mean_of_its_parts():
    parts = [joint([2.0, 1.0], [0.0, 0.0], weight=0.25), joint([2.0, 0.0], [0.0, 0.0], weight=0.75)]
    assert compute_expected_gains(parts, 2.0) == pytest.approx([1.75])


def test_joint_losses_have_the_mean_and_deviation_of_single_ones(rng):
    inputs, mean = 2 * rng.random((15, 3)), rng.random((1, 15))
    points = Points.of(inputs, mean, torch.ones(1, dtype=torch.float64))
    losses = torch.tensor(3.0 + mean[0, :9] + 0.1 * rng.normal(size=9))
    observed = ObservedTrials(points.select(range(9)), losses, torch.full_like(losses, 0.01))
    new = points.select(range(9, 15))
    process = TaskProcess(observed)
    (only,) = process.predict_jointly(new)
    means, deviations = process.predict(new)
    np.testing.assert_allclose(only.means[0], means)
    np.testing.assert_allclose(only.scales * only.covariance.diagonal().sqrt(), deviations, rtol=1e-6)
    mixture = Posterior(torch.ones(1, dtype=torch.float64), (0.0, 0.5), 0.3, observed, MixtureSettings())
    parts = mixture.predict_jointly(new)
    assert sum(float(part.weights.sum()) for part in parts) == pytest.approx(1.0)
    np.testing.assert_allclose(sum(part.weights @ part.means for part in parts), mixture.predict(new)[0])


@pytest.mark.parametrize("noise", [np.nan, 1e-3])
def test_much_is_expected_early_and_hardly_anything_at_the_optimum(noise):
    warm = [Suggestion(BOWL.configuration({"x": x, "y": 0.9}), Origin.SURROGATE) for x in (0.7, 0.8, 0.9)]
    suggestions, expected = run(Transfer(BowlPrior(), [BOWL], warm=warm, seed=0, device="cpu"), 25, noise)
    # Not while the advised points are still to be tried.
    assert expected[0] is expected[1] is None
    early, late = (each[-1] for each in (expected[2], expected[-1]))
    first = measure(suggestions[0].configuration) - min(measure(each.configuration) for each in suggestions[:3])
    assert early > 0.2
    assert late < 0.02 * (early + first)
    for gains in expected[2:]:
        assert (np.diff(gains) >= 0).all()


@pytest.mark.parametrize("noise", [np.nan, 1e-3])
def test_the_estimate_changes_no_trial_and_has_the_unit_of_the_loss(noise):
    options = {"seed": 0, "device": "cpu"}
    suggestions, expected = run(Transfer(BowlPrior(), [BOWL], **options), 9, noise)
    assert run(Transfer(BowlPrior(), [BOWL], **options), 9, noise, is_asked=False)[0] == suggestions
    _, scaled = run(Transfer(BowlPrior(1000.0), [BOWL], **options), 9, noise, 1000.0)
    np.testing.assert_allclose(scaled[-1], 1000 * expected[-1], rtol=1e-3)


def test_a_table_that_is_used_up_brings_nothing_and_failures_tell_nothing():
    table = [BOWL.configuration({"x": x, "y": 0.5}) for x in (0.1, 0.5, 0.9)]
    search = Transfer(BowlPrior(), [BOWL], table=table, seed=0, device="cpu")
    search.tell(Observation(configuration=table[0], loss=np.inf))
    assert search.estimate_gains() is None
    for configuration in table[1:]:
        search.tell(Observation(configuration=configuration, loss=measure(configuration)))
    assert search.estimate_gains().tolist() == [0.0]


def test_a_strategy_without_past_tasks_expects_nothing():
    assert estimate_gains(make_named_strategy("random", [BOWL], seed=0)) is None
