"""The greedy batch, by hand."""

import numpy as np

from metahp.surrogate.selection import choose_greedy_batch


def test_greedy_batch_covers_scenarios_instead_of_repeating_the_best():
    scenarios = np.array([[0.0, 0.1, 1.0], [0.5, 0.6, 0.0]])
    assert choose_greedy_batch(scenarios, np.array([0.8, 0.2]), 2) == [0, 2]
    assert sorted(choose_greedy_batch(scenarios, np.array([0.8, 0.2]), 9)) == [0, 1, 2]
