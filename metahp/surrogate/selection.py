"""Choose a batch of k candidates: greedily minimise the expected best loss over the scenarios."""

import numpy as np


def choose_greedy_batch(scenarios: np.ndarray, weights: np.ndarray, k: int) -> list[int]:
    """Columns of the `k` candidates that together minimise the expected best loss, in the order of their choice.

    Args:
        scenarios: Loss of each candidate in each possible scenario, shape (t, c), finite.
        weights: Weights of the scenarios, shape (t,); sum to one.
        k: Number of candidates; at most c are returned, all different.

    The expected improvement of a set is submodular, so greedy choice reaches (1 - 1/e) of the best (Nemhauser et al.,
    1978, "An analysis of approximations for maximizing submodular set functions").
    """
    best = np.full(len(scenarios), np.inf)
    chosen: list[int] = []
    for _ in range(min(k, scenarios.shape[1])):
        expected = weights @ np.minimum(scenarios, best[:, None])
        # Break ties by the mean loss: once no scenario can improve, a further pick should be good by itself.
        expected = expected + 1e-6 * (weights @ scenarios)
        expected[chosen] = np.inf
        pick = int(expected.argmin())
        chosen.append(pick)
        best = np.minimum(best, scenarios[:, pick])
    return chosen
