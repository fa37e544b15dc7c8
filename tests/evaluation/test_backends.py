"""What every backend keeps to, and what is each one's own."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from builders import BOWL_SPACE, bowl, make_trial
from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.trial import OBJECTIVE_SPLITS, Origin, Protocol, TrialState
from metahp.evaluation.backend import Backend, InTurn, Outcome
from metahp.evaluation.lookup import Lookup
from metahp.evaluation.processes import CELLS_FOR_THREADS, choose_threads
from metahp.evaluation.threads import ObjectiveFunction, ObjectiveThreads
from metahp.refinement.strategy import Suggestion

SUGGESTIONS = [Suggestion(BOWL_SPACE.configuration({"depth": depth}), Origin.DESIGN) for depth in (3, 7, 10)]
SCORE = Metric("score", 0.0, ())


def threads_of(function: ObjectiveFunction, n_jobs: int, metric: Metric = SCORE) -> ObjectiveThreads:
    protocol = Protocol(splits=OBJECTIVE_SPLITS)
    return ObjectiveThreads(function, BOWL_SPACE, task="t", protocol=protocol, metric=metric, n_jobs=n_jobs)


def evaluate(suggestion: Suggestion) -> Outcome:
    configuration = suggestion.configuration
    return Outcome(make_trial(-bowl(configuration.values), 0.0, metric="score", configuration=configuration))


BACKENDS: dict[str, Callable[[], AbstractContextManager[Backend[Suggestion]]]] = {
    "in turn": lambda: nullcontext(InTurn(evaluate)),
    "look-up": lambda: nullcontext(
        Lookup({each.configuration: (-bowl(each.configuration.values),) for each in SUGGESTIONS}, metric="score")
    ),
    "one thread": lambda: threads_of(bowl, 1),
    "threads": lambda: threads_of(bowl, 2),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend[Suggestion]]:
    with BACKENDS[request.param]() as backend:
        yield backend


def test_a_backend_gives_one_outcome_for_each_job(backend: Backend[Suggestion]) -> None:
    for number, suggestion in enumerate(SUGGESTIONS, start=1):
        backend.submit(suggestion)
        assert backend.n_pending == number
    outcomes = [backend.await_outcome(10.0) for _ in SUGGESTIONS]
    assert backend.n_pending == 0
    assert {outcome.trial.configuration for outcome in outcomes} == {each.configuration for each in SUGGESTIONS}
    for outcome in outcomes:
        assert outcome.trial.fold_losses["score"][0] == -bowl(outcome.trial.configuration.values)
        assert (outcome.trial.state, outcome.predictions) == (TrialState.COMPLETE, None)


def test_a_backend_without_jobs_has_no_outcome(backend: Backend[Suggestion]) -> None:
    with pytest.raises(InputError, match="No trial is pending"):
        backend.await_outcome()


def test_as_many_calls_run_side_by_side_as_there_are_jobs() -> None:
    both = threading.Barrier(2, timeout=10)

    def together(values: dict) -> float:
        both.wait()
        return 1.0

    with threads_of(together, 2) as backend:
        for suggestion in SUGGESTIONS[:2]:
            backend.submit(suggestion)
        assert [backend.await_outcome().trial.state for _ in range(2)] == [TrialState.COMPLETE] * 2


def test_threads_that_are_not_done_in_time_stay_pending() -> None:
    release = threading.Event()

    def wait(values: dict) -> float:
        release.wait(10)
        return 1.0

    with threads_of(wait, 2) as backend:
        backend.submit(SUGGESTIONS[0])
        assert backend.await_outcome(0.01) is None
        assert backend.n_pending == 1
        release.set()
        assert backend.await_outcome(10.0).trial.state is TrialState.COMPLETE


def fail(values: dict) -> float:
    raise RuntimeError("the service is down\nfor now")


def fill_memory(values: dict) -> float:
    raise MemoryError


@pytest.mark.parametrize(
    ("function", "state", "reason"),
    [
        (fail, TrialState.FAILED, "RuntimeError: the service is down"),
        (fill_memory, TrialState.OUT_OF_MEMORY, "out of memory"),
        (lambda values: math.nan, TrialState.FAILED, "a score that is not finite"),
        (lambda values: [], TrialState.FAILED, "a score that is not finite"),
        (lambda values: "good", TrialState.FAILED, "ValueError: could not convert string to float"),
    ],
)
def test_what_an_objective_cannot_do_is_a_trial(function: ObjectiveFunction, state: TrialState, reason: str) -> None:
    with threads_of(function, 1) as backend:
        backend.submit(SUGGESTIONS[0])
        trial = backend.await_outcome().trial
    assert trial.state is state
    assert trial.reason.startswith(reason)
    assert not trial.fold_losses


def test_a_score_per_fold_becomes_a_loss_per_fold_by_the_sign_of_the_metric() -> None:
    for sign, losses in ((1, (-3.0, -1.0)), (-1, (3.0, 1.0))):
        with threads_of(lambda values: [3.0, 1.0], 1, Metric("score", 0.0, (), sign=sign)) as backend:
            backend.submit(SUGGESTIONS[0])
            assert backend.await_outcome().trial.fold_losses == {"score": losses}


def test_an_interrupt_reaches_the_one_call_that_is_waited_for() -> None:
    def interrupt(values: dict) -> float:
        raise KeyboardInterrupt

    with threads_of(interrupt, 1) as backend:
        backend.submit(SUGGESTIONS[0])
        with pytest.raises(KeyboardInterrupt):
            backend.await_outcome(0.0)


@pytest.mark.parametrize("n_jobs", [1, 2, 3, 8])
def test_a_large_table_has_all_cores_for_one_trial_and_a_small_one_one_core_for_each(n_jobs: int) -> None:
    assert choose_threads(n_jobs, CELLS_FOR_THREADS - 1) == 1
    assert choose_threads(n_jobs, CELLS_FOR_THREADS) == n_jobs
