"""Many trials at once: a pool that is fed as trials end, and a plain run over a list of jobs."""

import atexit
import functools
import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from joblib import Parallel, delayed

from metahp.core.errors import InputError
from metahp.core.trial import Trial
from metahp.evaluation.runner import Job, Outcome, Runner


class TrialPool:
    """Up to `n_jobs` trials at once, for a loop that chooses the next one as soon as one ends; a context manager.

    Threads only wait here: each trial runs in the watched process of a `Runner`. The table of a `Workload` is sent to
    a process once. On leaving, also by an interrupt, the trials that still run are killed and lost.

        with TrialPool(n_jobs) as pool:
            pool.submit(job)
            outcome = pool.next_done()
    """

    def __init__(self, n_jobs: int) -> None:
        if n_jobs < 1:
            raise InputError(f"Expected at least 1 trial at a time, got {n_jobs}.")
        self.n_jobs = n_jobs
        self.n_pending = 0
        self._runners = [Runner() for _ in range(n_jobs)]
        # The runner that was used last comes first: with few jobs at hand, idle workers are never started.
        self._idle: queue.LifoQueue[Runner] = queue.LifoQueue()
        for runner in self._runners:
            self._idle.put(runner)
        self._threads = ThreadPoolExecutor(n_jobs)
        self._done: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()

    def __enter__(self) -> "TrialPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: Job) -> None:
        """Start a job, or put it in the line where `n_jobs` are running; `n_pending` counts both."""
        self._threads.submit(self._run, job).add_done_callback(self._done.put)
        self.n_pending += 1

    def next_done(self, timeout: float | None = None) -> Outcome | None:
        """The outcome of the next job that ends; None where none has ended after `timeout` seconds.

        Raises:
            InputError: no job is pending.
            WorkerError: no worker process could be started for a job.
        """
        if not self.n_pending:
            raise InputError("No trial is pending, so none can end; submit a job first.")
        try:
            done = self._done.get(timeout=timeout)
        except queue.Empty:
            return None
        self.n_pending -= 1
        return done.result()

    def close(self) -> None:
        """Kill the workers at once; jobs that are pending have no outcome."""
        for runner in self._runners:
            runner.stop()
        self._threads.shutdown(cancel_futures=True)
        for runner in self._runners:
            runner.close()
        self.n_pending = 0

    def _run(self, job: Job) -> Outcome:
        runner = self._idle.get()
        try:
            return runner.evaluate(job)
        finally:
            self._idle.put(runner)


def run_jobs(jobs: Iterable[Job], *, n_jobs: int) -> Iterator[Trial]:
    """Trials of `jobs` in the order in which they finish, `n_jobs` at a time, through joblib.

    Each joblib worker keeps one watched process (`metahp.evaluation.runner`); with `n_jobs=1` no pool is started. Jobs
    name their table by where it is read from: one in memory would be copied for each of them.
    """
    if n_jobs == 1:
        with Runner() as runner:
            for job in jobs:
                yield runner.run(job)
        return
    # The default pre-dispatch (two jobs per worker) keeps workers busy and still lets an interrupt end the run soon.
    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(
        delayed(run_here)(job) for job in jobs
    )


@functools.cache
def _runner() -> Runner:
    runner = Runner()
    atexit.register(runner.close)
    return runner


def run_here(job: Job) -> Trial:
    """The trial of a job, in the watched process that this process keeps."""
    return _runner().run(job)
