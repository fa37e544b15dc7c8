"""Signals that end a run: raised where work may stop, held back where it has to be finished.

A first signal while a result is being made waits until the result is written; a second one ends that too, but never
in the midst of a step that is `shielded`.
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
    """What has come, and what is done about the next signal."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.n_waiting = 0
        self.is_held = False
        self.has_ended = False
        self.n_shields = 0
        self.notify: Callable[[], None] = lambda: None


_state = _State()


def received() -> int:
    """Number of the first signal that has come while `terminable` is active; 0 without one."""
    return _state.received[0] if _state.received else 0


def exit_code() -> int:
    """What a process returns that the received signal has ended: 130 for an interrupt, 143 for SIGTERM."""
    return 128 + received()


def ending() -> str:
    """What the received signal did, in a word or two."""
    return ENDINGS.get(signal.Signals(received()).name, "interrupted") if received() else "interrupted"


@contextlib.contextmanager
def terminable(notify: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Raise `Interrupted` in the body on SIGINT, SIGTERM and SIGHUP; what the process ignores stays ignored.

    `notify` is called when the first signal comes while a result is being made, which then goes on.
    """
    _state.received.clear()
    _state.notify = notify
    with _handled([number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]):
        try:
            yield
        finally:
            _state.notify = lambda: None


def check() -> None:
    """Raise what has been received and was lost, as in a callback of native code.

    Raises:
        Interrupted: a signal has come.
    """
    if _state.received and not _state.n_shields:
        raise Interrupted


class Held:
    """Says whether a signal waits, inside `held_back`."""

    @property
    def is_waiting(self) -> bool:
        """Whether a signal has come that has not been raised."""
        return _state.n_waiting > 0

    @contextlib.contextmanager
    def released(self) -> Iterator[None]:
        """Raise signals at once in the body, one that waits first of all."""
        _state.is_held = False
        try:
            if _state.n_waiting:
                _state.n_waiting, _state.has_ended = 0, True
                raise Interrupted
            yield
        finally:
            _state.is_held = True


@contextlib.contextmanager
def held_back() -> Iterator[Held]:
    """Let the body finish when a first signal comes; a second one is raised in it, in or out of `released`.

    Outside of `terminable`, as in a notebook, that is so of SIGINT alone. What waits at the end is not raised: the
    caller asks `is_waiting`.
    """
    own = [signal.SIGINT] if signal.getsignal(signal.SIGINT) is signal.default_int_handler else []
    if own:
        _state.received.clear()
    with _handled(own):
        _state.is_held, _state.n_waiting, _state.has_ended = True, 0, False
        try:
            yield Held()
        finally:
            _state.is_held, _state.n_waiting, _state.has_ended = False, 0, False
            if own:
                _state.received.clear()


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Finish the body whatever comes; what may be raised outside is raised at its end."""
    _state.n_shields += 1
    try:
        yield
    finally:
        _state.n_shields -= 1
    if _state.n_shields == 0 and _state.n_waiting > (_state.is_held and not _state.has_ended):
        _state.n_waiting, _state.has_ended = 0, True
        raise Interrupted


@contextlib.contextmanager
def _handled(numbers: list[signal.Signals] | list[int]) -> Iterator[None]:
    """Answer these signals as this module does; elsewhere than in the main thread Python allows no handlers."""
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
