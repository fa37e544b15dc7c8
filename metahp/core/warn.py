"""Warnings for the person who called metahp."""

import sys
import warnings
from collections.abc import Collection, Iterable

from metahp.core.errors import MetahpWarning

_PACKAGE = __name__.partition(".")[0]


def warn_user(messages: Iterable[str], *, said: Collection[str] = ()) -> None:
    """Raise each message once as a `MetahpWarning` of the line that called metahp, without those already `said`."""
    level = _count_own_frames()
    for message in dict.fromkeys(messages):
        if message not in said:
            warnings.warn(message, MetahpWarning, stacklevel=level)


def _count_own_frames() -> int:
    """The `stacklevel`, for a call from the caller of this function, of the first line outside of metahp."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    return level
