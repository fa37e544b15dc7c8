"""Standard errors, by hand and where there are none."""

import math

import numpy as np
import pytest

from metahp.core.statistics import compute_mean_difference, compute_standard_error


def test_the_standard_error_of_a_mean_by_hand() -> None:
    # Deviations -1, 0 and 1: a standard deviation of 1, over the root of 3.
    assert compute_standard_error([1.0, 2.0, 3.0]) == pytest.approx(1 / math.sqrt(3))
    assert compute_standard_error(np.full(4, 0.25)) == 0.0


@pytest.mark.parametrize("values", [[], [0.5]])
def test_of_fewer_than_two_values_it_is_not_known(values: list[float]) -> None:
    assert math.isnan(compute_standard_error(values))


def test_paired_differences_do_not_know_what_both_share(rng: np.random.Generator) -> None:
    shared = rng.normal(size=5)
    mean, error = compute_mean_difference(shared + np.array([0.5, 1.0, 1.5, 1.0, 1.0]), shared)
    assert mean == pytest.approx(1.0)
    assert error == pytest.approx(math.sqrt(0.125 / 5))
    assert math.isnan(compute_mean_difference(np.array([2.0]), np.array([1.0]))[1])
