"""Hard limits of one trial."""

from dataclasses import dataclass

from metahp.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of one trial: seconds over all folds, and resident memory in MiB.

    Args:
        seconds: Wall-clock seconds, or seconds of the processor.
        memory_mib: Resident memory of the worker process.
        by_processor: Whether seconds are those that the worker's threads computed, in the limit and in the trial: what
            else the machine does then costs a trial nothing. A worker that computes nothing for 20 times as long
            ends all the same.

    Raises:
        InputError: a limit that is no number above 0; it names the argument of `metahp.tune`.
    """

    seconds: float = 60.0
    memory_mib: float = 4096.0
    by_processor: bool = False

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(
                f"`trial_timeout` is a number of seconds above 0, got {self.seconds:g}.", argument="trial_timeout"
            )
        if not self.memory_mib > 0:
            raise InputError(
                f"`memory_limit` is a number of MiB above 0, got {self.memory_mib:g}.", argument="memory_limit"
            )
