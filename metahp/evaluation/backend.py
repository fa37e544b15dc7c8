"""What evaluates the configurations of a search: the protocol that its loop knows, and the simplest backend.

Others are the watched processes of `metahp.evaluation.processes`, the threads of `metahp.evaluation.threads` for a
user's own objective, and the tables of `metahp.evaluation.lookup`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.trial import Origin, Trial

JobT = TypeVar("JobT")
JobT_contra = TypeVar("JobT_contra", contravariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A trial, and its out-of-fold predictions where the job keeps them and the trial is complete.

    `predictions` are float32, shape (n_rows, n_classes) or (n_rows,) over all rows of the table, averaged over repeats
    and NaN where a row was tested in no fold. `asked` is the configuration of the job; None where that is the trial's.
    `seconds` is how long the trial took on the clock, NaN where that was not measured.
    """

    trial: Trial
    predictions: np.ndarray | None = None
    asked: Configuration | None = None
    seconds: float = float("nan")


class Candidate(Protocol):
    """A configuration to evaluate, and where it came from; a strategy's suggestion is one."""

    @property
    def configuration(self) -> Configuration:
        """What to evaluate."""

    @property
    def origin(self) -> Origin:
        """Where it came from."""


class Backend(Protocol[JobT_contra]):
    """Evaluates jobs, up to `n_jobs` at a time."""

    @property
    def n_jobs(self) -> int:
        """How many jobs run side by side."""

    @property
    def n_pending(self) -> int:
        """How many submitted jobs have no outcome yet."""

    def submit(self, job: JobT_contra) -> None:
        """Start a job."""

    def await_outcome(self, timeout: float | None = None) -> Outcome | None:
        """The outcome of the next job that ends; None where no job has ended after `timeout` seconds."""


class InTurn(Generic[JobT]):
    """A backend that evaluates one job at a time in the thread that waits for it, so that an interrupt reaches it.

    Args:
        evaluate: Gives the outcome of a job.
    """

    n_jobs = 1

    def __init__(self, evaluate: Callable[[JobT], Outcome]) -> None:
        self._evaluate = evaluate
        self._waiting: deque[JobT] = deque()

    @property
    def n_pending(self) -> int:
        """How many submitted jobs have no outcome yet."""
        return len(self._waiting)

    def submit(self, job: JobT) -> None:
        """Put a job in the line."""
        self._waiting.append(job)

    def await_outcome(self, timeout: float | None = None) -> Outcome:
        """The outcome of the next job; it ends before this returns, whatever `timeout` is.

        Raises:
            InputError: no job is pending.
        """
        if not self._waiting:
            raise InputError("No trial is pending, so none can end; submit a job first.")
        return self._evaluate(self._waiting.popleft())
