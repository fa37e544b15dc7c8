"""What a study is asked with, checked at birth."""

import math
from dataclasses import dataclass
from numbers import Integral

from metahp.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When a study ends: after `trials` trials, `timeout` seconds, or `patience` trials without a better one.

    `trials` counts those of earlier runs too. None means no limit.

    Raises:
        InputError: a limit that is no number, or too small.
    """

    trials: int
    timeout: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"`timeout` is a number of seconds above 0, got {self.timeout:g}.", argument="timeout")
        check_count("trials", self.trials)
        if self.patience is not None:
            check_count("patience", self.patience)

    @property
    def seconds(self) -> float:
        """The time limit in seconds; infinite where there is none."""
        return math.inf if self.timeout is None else self.timeout


def check_count(argument: str, count: object, *, least: int = 1) -> None:
    """Refuse what is no whole number of at least `least`.

    Raises:
        InputError: it is refused.
    """
    if not isinstance(count, Integral) or isinstance(count, bool) or count < least:
        raise InputError(f"`{argument}` is a whole number of at least {least}, got {count!r}.", argument=argument)
