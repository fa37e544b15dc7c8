import os
import signal
import threading

import pytest

from metahp.evaluation import interrupts
from metahp.evaluation.interrupts import Interrupted, handle_signals, hold_signals, shield


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_raised_and_gives_the_exit_code(number: int, code: int) -> None:
    before = signal.signal(number, signal.default_int_handler)
    try:
        with handle_signals():
            with pytest.raises(Interrupted):
                send(number)
            assert interrupts.get_exit_code() == code
            with pytest.raises(Interrupted):
                interrupts.check()
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals():
            send(signal.SIGHUP)
            assert interrupts.get_signal() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_first_signal_waits_while_a_result_is_made_and_a_second_does_not() -> None:
    told = []
    with handle_signals(lambda: told.append("waits")), hold_signals() as held:
        send()
        assert held.is_waiting
        assert told == ["waits"]
        with pytest.raises(Interrupted):
            send()


def test_a_signal_that_has_ended_the_run_counts_as_the_first() -> None:
    with handle_signals(), hold_signals() as held:
        with pytest.raises(Interrupted), held.release_signals():
            send()
        assert not held.is_waiting
        with pytest.raises(Interrupted):
            send()


def test_a_signal_that_waits_is_raised_when_the_run_begins() -> None:
    with handle_signals(), hold_signals() as held:
        send()
        with pytest.raises(Interrupted), held.release_signals():
            pytest.fail("the run has begun")


def test_a_shielded_step_is_finished_whatever_comes() -> None:
    done = []

    def step(n_signals: int) -> None:
        with shield():
            for _ in range(n_signals):
                send()
            done.append("step")

    with handle_signals(), pytest.raises(Interrupted):
        step(2)
    with handle_signals(), hold_signals() as held:
        step(1)
        assert held.is_waiting
        with pytest.raises(Interrupted):
            step(1)
    assert done == ["step"] * 3


def test_outside_of_a_command_only_an_interrupt_waits_and_handlers_come_back() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with hold_signals() as held:
            send()
            assert held.is_waiting
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_no_handlers() -> None:
    failures = []

    def run() -> None:
        try:
            with handle_signals(), hold_signals(), shield():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []
