import os
import signal
import threading

import pytest

from metahp.evaluation import interrupts
from metahp.evaluation.interrupts import Interrupted, held_back, shielded, terminable


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_raised_and_gives_the_exit_code(number: int, code: int) -> None:
    before = signal.signal(number, signal.default_int_handler)
    try:
        with terminable():
            with pytest.raises(Interrupted):
                send(number)
            assert interrupts.exit_code() == code
            with pytest.raises(Interrupted):
                interrupts.check()
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            send(signal.SIGHUP)
            assert interrupts.received() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_first_signal_waits_while_a_result_is_made_and_a_second_does_not() -> None:
    told = []
    with terminable(lambda: told.append("waits")), held_back() as held:
        send()
        assert held.is_waiting
        assert told == ["waits"]
        with pytest.raises(Interrupted):
            send()


def test_a_signal_that_has_ended_the_run_counts_as_the_first() -> None:
    with terminable(), held_back() as held:
        with pytest.raises(Interrupted), held.released():
            send()
        assert not held.is_waiting
        with pytest.raises(Interrupted):
            send()


def test_a_signal_that_waits_is_raised_when_the_run_begins() -> None:
    with terminable(), held_back() as held:
        send()
        with pytest.raises(Interrupted), held.released():
            pytest.fail("the run has begun")


def test_a_shielded_step_is_finished_whatever_comes() -> None:
    done = []

    def step(n_signals: int) -> None:
        with shielded():
            for _ in range(n_signals):
                send()
            done.append("step")

    with terminable(), pytest.raises(Interrupted):
        step(2)
    with terminable(), held_back() as held:
        step(1)
        assert held.is_waiting
        with pytest.raises(Interrupted):
            step(1)
    assert done == ["step"] * 3


def test_outside_of_a_command_only_an_interrupt_waits_and_handlers_come_back() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with held_back() as held:
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
            with terminable(), held_back(), shielded():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures == []
