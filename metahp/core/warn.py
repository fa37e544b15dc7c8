"""Warnings for the person who called metahp."""

import logging
import sys
import warnings
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from metahp.core.errors import MetahpWarning

_PACKAGE = __name__.partition(".")[0]
_logger = logging.getLogger(_PACKAGE)
# Passed as `extra` to a log call: the message is for now, while something takes its time, and no warning of the result.
PROGRESS = {"is_progress": True}


class LoggedWarnings:
    """Collects in `messages` what metahp logs as warnings in the body of a call, for the `warnings` of its result.

    Messages marked as `PROGRESS` are printed at once where nothing else handles logs. If the body raises, the collected
    messages are raised as warnings, because there is no result to keep them.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._handler = _Collector(self.messages)

    def __enter__(self) -> "LoggedWarnings":
        _logger.addHandler(self._handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _logger.removeHandler(self._handler)
        if kind is not None:
            for message in self.messages:
                # The error itself matters more than a warning that was turned into one.
                with suppress(MetahpWarning):
                    warn_user([message])

    def add_to(self, known: Iterable[str]) -> tuple[str, ...]:
        """Known warnings of a result and the collected ones, each once."""
        return tuple(dict.fromkeys((*known, *self.messages)))


class _Collector(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        message = record.getMessage()
        if not is_progress(record):
            self._messages.append(message)
        elif not _has_other_handlers():
            with suppress(OSError, ValueError, AttributeError):
                print(f"metahp: {message}", file=sys.stderr, flush=True)


def is_progress(record: Any) -> bool:
    """Whether a log record was marked as `PROGRESS`."""
    return bool(getattr(record, "is_progress", False))


def _has_other_handlers() -> bool:
    return any(not isinstance(each, _Collector) for each in (*_logger.handlers, *logging.getLogger().handlers))


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
