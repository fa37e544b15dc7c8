"""Trials in watched processes: the backend of a search, runs over a list of jobs, and other calls side by side."""

import atexit
import functools
import os
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from metahp.core.errors import InputError
from metahp.core.trial import Trial
from metahp.evaluation.backend import Outcome
from metahp.evaluation.runner import Job, Runner
from metahp.evaluation.worker_process import WorkerProcess

Argument = TypeVar("Argument")
Result = TypeVar("Result")
# Jobs in line for each worker: it always has work, and an interrupt loses little.
IN_LINE = 2
# Rows times features from which on a trial on several threads is about as fast as trials side by side. Two threads of
# LightGBM (100 trees, 30 features) were 1.71, 1.78, 1.82, 1.93 and 1.97 times as fast as one on .075, .3, .9, 3 and 9
# million cells.
CELLS_FOR_THREADS = 1_000_000


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(n_jobs: int, n_cells: int) -> int:
    """Threads of each trial, so that trials side by side and their threads are `n_jobs` cores.

    On a large table one trial has all cores: its threads are busy, the memory holds one table, and every trial is
    chosen with all others known. On a small one trials run side by side, each on one thread.
    """
    return n_jobs if n_cells >= CELLS_FOR_THREADS else 1


class TrialProcesses:
    """A backend that runs up to `n_jobs` trials side by side; a context manager.

    Each trial runs in the watched process of a `Runner`, for which a thread waits. A process gets the table of a
    `Workload` once. On leaving, also by an interrupt, the trials that still run are killed and lost.

        with TrialProcesses(n_jobs) as backend:
            backend.submit(job)
            outcome = backend.await_outcome()

    Args:
        n_jobs: How many trials run side by side.
        worker: The process for the first trial, where one is being started already.
    """

    def __init__(self, n_jobs: int, worker: WorkerProcess | None = None) -> None:
        if n_jobs < 1:
            raise InputError(f"Expected at least 1 trial at a time, got {n_jobs}.")
        self.n_jobs = n_jobs
        self.n_pending = 0
        self._runners = [*(Runner() for _ in range(n_jobs - 1)), Runner(worker)]
        # The runner that was used last comes first, so that few jobs start few workers.
        self._idle: queue.LifoQueue[Runner] = queue.LifoQueue()
        for runner in self._runners:
            self._idle.put(runner)
        self._threads = ThreadPoolExecutor(n_jobs)
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def __enter__(self) -> "TrialProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: Job) -> None:
        """Start a job, or put it in the line where `n_jobs` are running; `n_pending` counts both."""
        self._submit(lambda runner: runner.evaluate(job))

    def await_outcome(self, timeout: float | None = None) -> Outcome | None:
        """The outcome of the next job that ends; None where none has ended after `timeout` seconds.

        Raises:
            InputError: no job is pending.
            WorkerError: no worker process could be started for a job.
        """
        return self._await_outcome(timeout)

    def close(self) -> None:
        """Kill the workers at once; jobs that are pending have no outcome."""
        for runner in self._runners:
            runner.stop()
        self._threads.shutdown(cancel_futures=True)
        for runner in self._runners:
            runner.close()
        self.n_pending = 0

    def _submit(self, work: Callable[[Runner], Any]) -> None:
        self._threads.submit(self._run, work).add_done_callback(self._done.put)
        self.n_pending += 1

    def _await_outcome(self, timeout: float | None = None) -> Any:
        if not self.n_pending:
            raise InputError("No trial is pending, so none can end; submit a job first.")
        try:
            done = self._done.get(timeout=timeout)
        except queue.Empty:
            return None
        self.n_pending -= 1
        return done.result()

    def _run(self, work: Callable[[Runner], Any]) -> Any:
        runner = self._idle.get()
        try:
            return work(runner)
        finally:
            self._idle.put(runner)


def run_jobs(jobs: Iterable[Job], *, n_jobs: int) -> Iterator[Trial]:
    """Trials of `jobs` in the order in which they finish, `n_jobs` at a time.

    Jobs name their table by where it is read from, or share one `Workload`.
    """
    for outcome in _run_all((functools.partial(_evaluate, job) for job in jobs), n_jobs):
        yield outcome.trial


def call_each(
    function: Callable[[Argument], Result], arguments: Sequence[Argument], *, n_jobs: int
) -> Iterator[tuple[int, Result]]:
    """The result of `function` for each argument, with the index of the argument, in the order in which calls finish.

    With `n_jobs=1` the calls run here, one after another; else in as many worker processes, on one thread each. These
    end with this generator and with this process. Function and arguments must be picklable, by name and by value.

    Raises:
        WorkerError: a worker died; or whatever the function raises.
    """
    if n_jobs == 1:
        for place, argument in enumerate(arguments):
            yield place, function(argument)
        return
    numbered = ((place, argument) for place, argument in enumerate(arguments))
    yield from _run_all((functools.partial(_call, function, *each) for each in numbered), n_jobs)


def _evaluate(job: Job, runner: Runner) -> Outcome:
    return runner.evaluate(job)


def _call(function: Callable[[Any], Any], place: int, argument: Any, runner: Runner) -> tuple[int, Any]:
    return place, runner.call(function, argument)


def _run_all(works: Iterable[Callable[[Runner], Any]], n_jobs: int) -> Iterator[Any]:
    works = iter(works)
    with TrialProcesses(n_jobs) as pool:
        for work in islice(works, IN_LINE * n_jobs):
            pool._submit(work)
        while pool.n_pending:
            done = pool._await_outcome()
            for work in islice(works, 1):
                pool._submit(work)
            yield done


@functools.cache
def _keep_runner() -> Runner:
    runner = Runner()
    atexit.register(runner.close)
    return runner


def run_here(job: Job) -> Outcome:
    """The outcome of a job, measured in the watched process that this process keeps."""
    return _keep_runner().evaluate(job)
