"""What the forecast expects of a candidate, by hand."""

import numpy as np
import pytest

from metahp.core.space import Float, SearchSpace
from metahp.surrogate.forecast import Forecast, weighted_median

SPACE = SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5),))


class Level:
    """A model that expects the same default loss everywhere."""

    def predict(self, metafeatures: np.ndarray, num_threads: int) -> np.ndarray:
        return np.full(len(metafeatures), -0.7)


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [
        ([3.0, 1.0, 2.0], [0.2, 0.3, 0.5], 2.0),
        ([3.0, 1.0, 2.0], [0.6, 0.3, 0.1], 3.0),
        ([5.0], [1.0], 5.0),
        ([1.0, 2.0], [1.0, 0.0], 1.0),
    ],
)
def test_weighted_median_by_hand(values: list[float], weights: list[float], median: float) -> None:
    assert weighted_median(np.array(values), np.array(weights)) == median


def test_one_past_disaster_does_not_make_a_better_candidate_look_worse_than_the_default() -> None:
    # Column 0 is the default; candidate 1 was 5 % better on four past tasks and ten times worse on a fifth.
    ratios = np.column_stack([np.zeros(5), [np.log(0.95)] * 4 + [np.log(10.0)]])
    forecast = Forecast({"toy": Level()}, ratios, np.zeros(4), np.zeros(2), {"toy": np.full(5, 0.05)}, {"toy": 0}, 2500)
    candidates = {0: SPACE.default, 1: SPACE.configuration({"x": 0.1})}
    expected = forecast.relative_loss(candidates, np.zeros(3), np.full(5, 0.2), np.zeros(2))
    assert expected[0] == (-0.7, -0.7)
    assert expected[1] == (pytest.approx(-0.7 + np.log(0.95)), -0.7)
