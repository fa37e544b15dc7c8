"""The time that a search has: what a trial costs, and how much that counts when the next one is chosen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_ndtr

from metahp.core.configuration import Configuration
from metahp.core.trial import Origin
from metahp.refinement.strategy import Observation, Suggestion
from metahp.surrogate.cost import CostPoints, TaskCost
from metahp.surrogate.prior import Prior

# Seconds that pass between two trials: choosing, recording and sending. A trial that is much shorter gains nothing.
BETWEEN_TRIALS = 0.1


@dataclass(eq=False, kw_only=True)
class Pace:
    """Costs and clock of a search with a time limit.

    The expected improvement of a candidate is divided by a power of its expected seconds. The power is the share of the
    time that is left: at the end all seconds are spent anyway, and what counts is the improvement. Lee et al., 2020,
    "Cost-aware Bayesian Optimization" (CArBO, arXiv 2003.10870), section 4.2, call it cost-cooling. A candidate counts
    with the probability that its trial ends in time.

    Attributes:
        costs: Seconds of trials on this task.
        measure_left: Tells how many seconds are left.
        measure_share: Tells which share of the time is left.
    """

    costs: TaskCost
    measure_left: Callable[[], float]
    measure_share: Callable[[], float]
    _prepared: dict[int, CostPoints] = field(default_factory=dict, init=False)

    def tell(self, observation: Observation) -> None:
        """Learn what a trial took."""
        if math.isfinite(observation.seconds):
            self.costs.tell(observation.configuration, observation.seconds)

    def weigh(self, configurations: Sequence[Configuration], *, are_kept: bool = False) -> np.ndarray:
        """What is added to the log of an improvement, shape (n,); 0 for a learner of unknown cost.

        `are_kept` says that the same sequence will be asked about again.
        """
        points = self._prepared.get(id(configurations))
        if points is None:
            points = self.costs.prepare(configurations)
            if are_kept:
                self._prepared[id(configurations)] = points
        log_seconds, deviation = self.costs.predict(points)
        left = self.measure_left()
        share = min(max(self.measure_share(), 0.0), 1.0)
        in_time = log_ndtr((math.log(max(left, 1e-3)) - log_seconds) / deviation)
        return np.asarray(np.nan_to_num(in_time - share * np.log(np.exp(log_seconds) + BETWEEN_TRIALS)))

    def order(self, suggestions: Sequence[Suggestion], prior: Prior, *, most: float) -> list[Suggestion]:
        """Suggestions by what they are worth per second, the user's own first and unchanged.

        The worth is the expected improvement over a library default. Defaults that take more than the share `most` of
        the seconds left are left to the search, which weighs them like any other candidate.
        """
        own = [each for each in suggestions if each.origin is Origin.USER]
        others = [each for each in suggestions if each.origin is not Origin.USER]
        if not others:
            return own
        scenarios = prior.at([each.configuration for each in others])
        gain = scenarios.weights @ np.maximum(1.0 - scenarios.values, 0.0)
        log_seconds = np.nan_to_num(self.costs.predict(self.costs.prepare([each.configuration for each in others]))[0])
        most_seconds = most * self.measure_left()
        worth = gain / (np.exp(log_seconds) + BETWEEN_TRIALS)
        return own + [
            others[i]
            for i in np.argsort(-worth, kind="stable")
            if others[i].origin is not Origin.DEFAULT or np.exp(log_seconds[i]) <= most_seconds
        ]
