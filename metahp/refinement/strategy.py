"""The interface of search strategies: `ask` for the next configuration, `tell` its result."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import UnknownNameError, did_you_mean
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin

# Names of the strategies in `metahp.refinement.strategies`, here for those who only check a name.
STRATEGY_NAMES = ("grid", "random", "tpe", "gp", "cmaes", "nsga2")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A configuration to try next, and its origin."""

    configuration: Configuration
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The result of a configuration on the task.

    Attributes:
        configuration: The configuration that has this loss.
        loss: Mean over the folds; infinite where the trial failed or met a limit.
        noise: Standard error of `loss`; NaN where it is unknown.
        run: The configuration that was run, where early stopping kept fewer iterations of it; None where it is
            `configuration` itself.
        seconds: How long the whole trial took; NaN where that is unknown or the trial did not end by itself.
    """

    configuration: Configuration
    loss: float
    noise: float = float("nan")
    run: Configuration | None = None
    seconds: float = float("nan")

    @property
    def asked(self) -> Configuration:
        """The configuration that was run, with all its iterations."""
        return self.run or self.configuration


def lengthen(configuration: Configuration, space: SearchSpace) -> Configuration:
    """A configuration with the most iterations of its space: early stopping ends the run and keeps the best ones."""
    if space.iterations_of(configuration) is None:
        return configuration
    return space.with_iterations(configuration, space.iterations[1])


def check_configuration(configuration: Configuration, spaces: Mapping[str, SearchSpace]) -> None:
    """Refuse a configuration that is in none of the search spaces.

    Raises:
        UnknownNameError, OutOfRangeError: it is in none.
    """
    _find_space(configuration, spaces).to_unit([configuration])


def upgrade_observation(observation: Observation, spaces: Mapping[str, SearchSpace]) -> Observation:
    """The observation with configurations of the current version of their search space; it may come from an older one.

    Raises:
        UnknownNameError, OutOfRangeError: the configuration is in none of the search spaces.
    """
    space = _find_space(observation.configuration, spaces)
    configuration = space.upgraded(observation.configuration)
    if configuration is None:
        # Raises an error that names the value outside the space.
        known = {name: value for name, value in observation.configuration.pairs if name in space.names}
        configuration = space.configuration(known)
    # None where the run has more iterations than the current space has: it cannot be asked for again.
    run = None if observation.run is None else space.upgraded(observation.run)
    if configuration is observation.configuration and run is observation.run:
        return observation
    return replace(observation, configuration=configuration, run=None if run == configuration else run)


def _find_space(configuration: Configuration, spaces: Mapping[str, SearchSpace]) -> SearchSpace:
    if configuration.learner not in spaces:
        raise UnknownNameError(
            f"'{configuration.learner}' is not searched here. {did_you_mean(configuration.learner, list(spaces))}"
        )
    return spaces[configuration.learner]


class Strategy(Protocol):
    """A search over configurations.

    A configuration that was asked for and not yet told is pending; asking again gives a different one.
    """

    def ask(self) -> Suggestion | None:
        """The next configuration, new to this search; None where none is left."""

    def tell(self, observation: Observation) -> None:
        """Learn from a trial: one that was asked for, a user's own, or one of an earlier run.

        Its configuration may be of an older version of its search space.
        """


@runtime_checkable
class Forecasting(Protocol):
    """A strategy that estimates what further trials bring."""

    def estimate_gains(self) -> np.ndarray | None:
        """Expected decrease of the best loss after 1, 2, … more trials, shape (k,); None where it is not known yet."""


def estimate_gains(strategy: Strategy) -> np.ndarray | None:
    """What a strategy expects of further trials; None of a strategy that does not estimate it, or not yet."""
    return strategy.estimate_gains() if isinstance(strategy, Forecasting) else None
