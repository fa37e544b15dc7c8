"""What every search strategy is: asked for the next configuration, told how it went."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from metahp.core.configuration import Configuration
from metahp.core.errors import UnknownNameError, did_you_mean
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A configuration to try next, and where it came from."""

    configuration: Configuration
    origin: Origin


@dataclass(frozen=True, slots=True)
class Observation:
    """How a configuration went on the task at hand.

    `loss` is the mean over the folds, infinite where the trial failed or met a limit; `noise` the standard error of
    that mean, NaN where it is not known. `run` is the configuration that was run, where early stopping kept fewer of
    its iterations and the loss is theirs; None where they are the same.
    """

    configuration: Configuration
    loss: float
    noise: float = float("nan")
    run: Configuration | None = None

    @property
    def asked(self) -> Configuration:
        """The configuration that was run, whatever was kept of it."""
        return self.run or self.configuration


def check_configuration(configuration: Configuration, spaces: Mapping[str, SearchSpace]) -> None:
    """Refuse a configuration that is in none of the search spaces.

    Raises:
        UnknownNameError, OutOfRangeError: it is in none.
    """
    _find_space(configuration, spaces).to_unit([configuration])


def upgrade_observation(observation: Observation, spaces: Mapping[str, SearchSpace]) -> Observation:
    """The observation of a trial of any version of its search space as one of the current version.

    Raises:
        UnknownNameError, OutOfRangeError: the configuration is in none of the search spaces.
    """
    space = _find_space(observation.configuration, spaces)
    configuration = space.upgraded(observation.configuration)
    if configuration is None:
        # Says which value lies outside.
        known = {name: value for name, value in observation.configuration.items if name in space.names}
        configuration = space.configuration(known)
    # A run of more iterations than there are now is none that could be asked for again.
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

    What was asked for and not yet told is pending: asking again gives another configuration.
    """

    def ask(self) -> Suggestion | None:
        """The next configuration, never one that was asked for or told before; None where none is left."""

    def tell(self, observation: Observation) -> None:
        """Learn from a trial: one that was asked for, a user's own, or one of an earlier run.

        That may be one of an older version of its search space.
        """
