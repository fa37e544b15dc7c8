"""Warnings that are logged only once."""

import logging
from collections.abc import Mapping
from pathlib import Path

from metahp.core.text import make_encodable

_log = logging.getLogger(__name__)


class WarnOnce:
    """Logs each warning once. Call it with a key, which identifies the warning, and the message."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, key: str, message: str) -> None:
        """Log the message, unless a warning with this key was logged before."""
        if key not in self._given:
            self._given.add(key)
            _log.warning("%s", message)

    def warn_of_rows(self, file: Path, faults: Mapping[str, str], what: str) -> None:
        """Warn about invalid rows of `file`; `faults` holds the reasons by id."""
        fresh = {key: reason for key, reason in faults.items() if f"{what} {key}" not in self._given}
        if fresh:
            self._given |= {f"{what} {key}" for key in fresh}
            key, reason = next(iter(fresh.items()))
            _log.warning(
                "%d %s of %s are not valid, so advice does not learn from them; the first is %s: %s.",
                len(fresh),
                what,
                file,
                make_encodable(key),
                reason,
            )
