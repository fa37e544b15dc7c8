"""The backend of a user's own objective: it is called here, or in several threads."""

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from metahp.core.configuration import Value
from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.trial import Protocol, Trial, TrialState, find_loss_fault
from metahp.evaluation.backend import Candidate, Outcome
from metahp.evaluation.worker import describe_error

# A function of the values of a configuration that gives a score, or a score per fold.
ObjectiveFunction = Callable[[dict[str, Value]], float | Sequence[float]]
OUT_OF_MEMORY = "out of memory"


class ObjectiveThreads:
    """Calls an objective in as many threads as there are jobs, with one job in the calling one; a context manager.

    On leaving, calls that still run go on unheard: a thread cannot be ended from outside.

    Args:
        objective: What is called.
        space: The search space from which the configurations come.
        task: Id of the task of the trials.
        protocol: Protocol of the trials.
        metric: What the scores of the objective are.
        n_jobs: How many calls run side by side.
    """

    def __init__(
        self,
        objective: ObjectiveFunction,
        space: SearchSpace,
        *,
        task: str,
        protocol: Protocol,
        metric: Metric,
        n_jobs: int,
    ) -> None:
        self.n_jobs = n_jobs
        self.n_pending = 0
        self._objective = objective
        self._space = space
        self._task = task
        self._protocol = protocol
        self._metric = metric
        self._threads = ThreadPoolExecutor(n_jobs) if n_jobs > 1 else None
        self._waiting: deque[Candidate] = deque()
        self._done: queue.SimpleQueue[Future[Trial]] = queue.SimpleQueue()

    def __enter__(self) -> "ObjectiveThreads":
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, job: Candidate) -> None:
        """Start a trial; with one job it runs when its outcome is waited for, so that an interrupt reaches it."""
        if self._threads is None:
            self._waiting.append(job)
        else:
            self._threads.submit(self._call, job).add_done_callback(self._done.put)
        self.n_pending += 1

    def await_outcome(self, timeout: float | None = None) -> Outcome | None:
        """The outcome of the next call that ends; None where none has ended after `timeout` seconds.

        A single job is run to its end, whatever `timeout` is.

        Raises:
            InputError: no job is pending.
        """
        if not self.n_pending:
            raise InputError("No trial is pending, so none can end; submit a job first.")
        if self._threads is None:
            trial = self._call(self._waiting.popleft())
        else:
            try:
                trial = self._done.get(timeout=timeout).result()
            except queue.Empty:
                return None
        self.n_pending -= 1
        return Outcome(trial)

    def _call(self, job: Candidate) -> Trial:
        start = time.perf_counter()
        losses: tuple[float, ...] = ()
        try:
            scores = self._objective(job.configuration.hyperparameters)
            losses = tuple(float(self._metric.loss(float(score))) for score in np.atleast_1d(np.asarray(scores)))
            reason = "" if losses and np.isfinite(losses).all() else "a score that is not finite"
            reason = reason or find_loss_fault(self._metric.name, losses)
        except MemoryError:
            reason = OUT_OF_MEMORY
        except Exception as error:
            reason = describe_error(error)
        state = {"": TrialState.COMPLETE, OUT_OF_MEMORY: TrialState.OUT_OF_MEMORY}.get(reason, TrialState.FAILED)
        return Trial(
            task=self._task,
            configuration=job.configuration,
            protocol=self._protocol,
            n_rows=0,
            state=state,
            origin=job.origin,
            fold_losses={self._metric.name: losses} if state is TrialState.COMPLETE else {},
            fit_seconds=round(time.perf_counter() - start, 5),
            reason=reason,
            space_version=self._space.version,
        )
