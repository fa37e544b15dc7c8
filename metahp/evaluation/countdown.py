"""The clock of a time limit: asked here, so that the rooms that compute need no clock of their own."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Countdown:
    """A number of seconds that begins to run when it is made."""

    seconds: float
    _start: float = field(default_factory=time.perf_counter)

    def measure_left(self) -> float:
        """Seconds left; negative once they are spent."""
        return self.seconds - self.measure_spent()

    def measure_spent(self) -> float:
        """Seconds since this was made."""
        return time.perf_counter() - self._start

    def shorten(self, share: float) -> "Countdown":
        """A countdown with the same start and this share of the seconds."""
        return Countdown(share * self.seconds, self._start)
