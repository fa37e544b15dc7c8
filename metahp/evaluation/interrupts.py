"""Signals that end a run: raised where work may stop, held back where it has to be finished.

A first signal that comes while a result is made waits until the result is written. A second one ends that too, but not
within a `shield` step.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# By number: interrupt from the keyboard, a polite kill, a terminal that was closed (not on Windows).
SIGNALS = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)
ENDINGS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}


class Interrupted(KeyboardInterrupt):
    """A signal asked this run to end."""


class _State:
    """The signals that have come, and how the next one is treated."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.n_waiting = 0
        self.is_held = False
        self.has_ended = False
        self.n_shields = 0
        self.notify: Callable[[], None] = lambda: None


_state = _State()


def get_signal() -> int:
    """Number of the first signal that has come while `handle_signals` is active; 0 without one."""
    return _state.received[0] if _state.received else 0


def get_exit_code() -> int:
    """The exit code of a process that the received signal has ended: 130 for an interrupt, 143 for SIGTERM."""
    return 128 + get_signal()


def describe_signal() -> str:
    """What the received signal did, in one or two words."""
    return ENDINGS.get(signal.Signals(get_signal()).name, "interrupted") if get_signal() else "interrupted"


@contextlib.contextmanager
def handle_signals(notify: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise `Interrupted` in the body on SIGINT, SIGTERM and SIGHUP; signals that the process ignores stay ignored.

    `notify` is called where a first signal is held back, because a result is being made.
    """
    _state.received.clear()
    _state.notify = notify
    with _install_handlers([number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]):
        try:
            yield
        finally:
            _state.notify = lambda: None


def check() -> None:
    """Raise a signal that has come and was lost, as in a callback of native code.

    Raises:
        Interrupted: a signal has come.
    """
    if _state.received and not _state.n_shields:
        raise Interrupted


class Held:
    """Says whether a signal waits, inside `hold_signals`."""

    @property
    def is_waiting(self) -> bool:
        """Whether a signal has come that has not been raised."""
        return _state.n_waiting > 0

    @contextlib.contextmanager
    def release_signals(self) -> Iterator[None]:
        """Raise signals at once in the body; one that waits already is raised first."""
        _state.is_held = False
        try:
            if _state.n_waiting:
                _state.n_waiting, _state.has_ended = 0, True
                raise Interrupted
            yield
        finally:
            _state.is_held = True


@contextlib.contextmanager
def hold_signals() -> Iterator[Held]:
    """Let the body finish when a first signal comes; a second one is raised in it, in or out of `release_signals`.

    Outside of `handle_signals`, as in a notebook, only SIGINT is held back. A signal that still waits at the end is not
    raised: the caller asks `is_waiting`.
    """
    own = [signal.SIGINT] if signal.getsignal(signal.SIGINT) is signal.default_int_handler else []
    if own:
        _state.received.clear()
    with _install_handlers(own):
        _state.is_held, _state.n_waiting, _state.has_ended = True, 0, False
        try:
            yield Held()
        finally:
            _state.is_held, _state.n_waiting, _state.has_ended = False, 0, False
            if own:
                _state.received.clear()


@contextlib.contextmanager
def shield() -> Iterator[None]:
    """Finish the body whatever signal comes; a signal that is not held back is raised at its end."""
    _state.n_shields += 1
    try:
        yield
    finally:
        _state.n_shields -= 1
    if _state.n_shields == 0 and _state.n_waiting > (_state.is_held and not _state.has_ended):
        _state.n_waiting, _state.has_ended = 0, True
        raise Interrupted


@contextlib.contextmanager
def _install_handlers(numbers: list[signal.Signals] | list[int]) -> Iterator[None]:
    """Handle these signals by this module in the body; outside of the main thread Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, _on_signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _state.received.append(number)
    is_first = not _state.n_waiting and not _state.has_ended
    if _state.n_shields or (_state.is_held and is_first):
        _state.n_waiting += 1
        if _state.is_held and is_first:
            _state.notify()
        return
    _state.n_waiting, _state.has_ended = 0, True
    raise Interrupted
