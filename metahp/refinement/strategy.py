"""What every search strategy is: asked for the next configuration, told how it went."""

from dataclasses import dataclass
from typing import Protocol

from metahp.core.configuration import Configuration
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


class Strategy(Protocol):
    """A search over configurations.

    What was asked for and not yet told is pending: asking again gives another configuration.
    """

    def ask(self) -> Suggestion | None:
        """The next configuration, never one that was asked for or told before; None where none is left."""

    def tell(self, observation: Observation) -> None:
        """Learn from a trial: one that was asked for, a user's own, or one of an earlier run."""
