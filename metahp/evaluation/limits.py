"""Hard limits of one trial."""

from dataclasses import dataclass

from metahp.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of one trial: wall-clock seconds over all folds, and resident memory in MiB.

    Raises:
        InputError: a limit that is no number above 0; it names the argument of `metahp.tune`.
    """

    seconds: float = 60.0
    memory_mib: float = 4096.0

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(
                f"`trial_timeout` is a number of seconds above 0, got {self.seconds:g}.", argument="trial_timeout"
            )
        if not self.memory_mib > 0:
            raise InputError(
                f"`memory_limit` is a number of MiB above 0, got {self.memory_mib:g}.", argument="memory_limit"
            )
