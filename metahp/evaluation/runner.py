"""A long-lived worker process that the parent watches: hard limits on a trial's time and memory.

A fresh process for each trial would cost more than a second of imports, and limits set inside a process either crash
OpenMP programs far below the limit or cannot stop native code. So a worker serves many trials, the parent polls its
clock and its resident memory, and kills and replaces it where a limit is met.
"""

import math
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, WorkerError
from metahp.core.metric import METRICS
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.read import TableSource
from metahp.datasets.table import Table
from metahp.evaluation.backend import Outcome
from metahp.evaluation.limits import Limits
from metahp.evaluation.protocol import Arrays, Measurement
from metahp.evaluation.pruning import Pruning
from metahp.evaluation.scoring import Scorer
from metahp.evaluation.splits import Splits
from metahp.evaluation.worker import Call, Packed, Question
from metahp.evaluation.worker_process import POLL_SECONDS, START_SECONDS, WorkerProcess
from metahp.learners.registry import LearnerReference, find_learner, find_reference, list_references

# A limit in seconds of the processor ends a trial that computes nothing after so many times as long.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A table in memory, its folds where they are not the default ones, and a scorer beside the stored metrics.

    Use one object for all jobs on a table: a worker gets the table again for each new object.
    """

    table: Table
    splits: Splits | None = None
    scorer: Scorer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A trial to run.

    Attributes:
        source: The table, in memory or as the file to read it from.
        task: Id of the task.
        configuration: What to evaluate.
        protocol: How to measure it.
        origin: Where the configuration came from.
        limits: When the trial is killed.
        keep_predictions: Whether the outcome has the out-of-fold predictions.
        pruning: When the trial ends before its last fold; None for never.
        early_stopping: The metric by which a learner that stops early keeps the best iterations; empty to keep all.
        n_threads: Number of threads of each fit.
        learner: Where a worker finds the learner of the configuration.

    Raises:
        UnknownNameError: there is no such learner.
        InputError: the protocol names other splits than the source has, or the pruning fits another number of folds.
    """

    source: TableSource | Workload
    task: str
    configuration: Configuration
    protocol: Protocol
    origin: Origin
    limits: Limits = field(default_factory=Limits)
    keep_predictions: bool = False
    pruning: Pruning | None = None
    early_stopping: str = ""
    n_threads: int = 1
    learner: LearnerReference = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "learner", find_reference(self.configuration.learner))
        splits = self.source.splits if isinstance(self.source, Workload) else None
        n_folds = self.protocol.folds * self.protocol.repeats
        if self.protocol.split_name != (splits.name if splits else "") or (splits and n_folds != len(splits.parts)):
            raise InputError(
                f"The protocol of a job names the splits that its table comes with; got {self.protocol} for "
                f"{f'{len(splits.parts)} parts of {splits.name}' if splits else 'the default folds'}."
            )
        scorer = self.source.scorer if isinstance(self.source, Workload) else None
        for metric in (self.early_stopping, self.pruning.metric if self.pruning else ""):
            if metric and metric not in METRICS and (scorer is None or metric != scorer.metric.name):
                raise InputError(f"'{metric}' is not a metric that trials store. Known: {', '.join(METRICS)}.")
        if self.pruning and len(self.pruning.thresholds) != n_folds - 1:
            raise InputError(
                f"Pruning needs a threshold for every fold but the last, {n_folds - 1}; "
                f"got {len(self.pruning.thresholds)}."
            )


class Runner:
    """Runs jobs one after another in a watched worker process; a context manager.

    A trial is measured on the threads of its job; use several runners to run trials side by side.

    Args:
        worker: The process to begin with, where one is being started already.
    """

    def __init__(self, worker: WorkerProcess | None = None) -> None:
        self._worker = worker
        self._loaded: TableSource | Workload | None = None
        self._is_stopped = False
        # Held while a worker is started or killed, so that `stop` in another thread misses none.
        self._turn = threading.Lock()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job) -> Trial:
        """The trial of a job; a limit that it met, a crash or an exception become its state and reason.

        Raises:
            WorkerError: no worker process could be started, or the runner was stopped.
        """
        return self.evaluate(job).trial

    def evaluate(self, job: Job) -> Outcome:
        """As `run`, with the out-of-fold predictions where the job keeps them."""
        self._start_if_needed()
        answer: Any = None
        start = time.monotonic()
        if self._loaded != job.source:
            self._loaded = None
            answer = self._ask(_make_messages(job.source), replace(job.limits, seconds=START_SECONDS))
        if answer is None:
            self._loaded = job.source
            question = Question(
                learner=job.learner,
                configuration=job.configuration,
                protocol=job.protocol,
                pruning=job.pruning,
                keep_predictions=job.keep_predictions,
                early_stopping=job.early_stopping,
                n_threads=job.n_threads,
                by_processor=job.limits.by_processor,
            )
            start = time.monotonic()
            answer = self._ask([question], job.limits)
        if self._is_stopped:
            raise WorkerError("The runner was stopped while a trial was running.")
        predictions = getattr(answer, "predictions", None)
        return Outcome(_make_trial(job, answer), predictions, job.configuration, time.monotonic() - start)

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """The result of `function(argument)` in the worker, without limits; both must be picklable.

        Raises:
            WorkerError: the worker died or was stopped; or whatever the function raises.
        """
        self._start_if_needed()
        content = pickle.dumps((function, argument), protocol=pickle.HIGHEST_PROTOCOL)
        answer = self._ask([Call(content, list_references())], Limits(math.inf, math.inf))
        if isinstance(answer, tuple):
            raise WorkerError("The runner was stopped during a call." if self._is_stopped else answer[1])
        if answer.error is not None:
            raise answer.error
        return answer.value

    def close(self) -> None:
        """End the worker; the next job starts another."""
        with self._turn:
            self._end()

    def stop(self) -> None:
        """Kill the worker for good, from any thread: the running job and every later one raise WorkerError."""
        with self._turn:
            self._is_stopped = True
            if self._worker is not None:
                self._worker.kill()

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = self._loaded = None

    def _start_if_needed(self) -> None:
        with self._turn:
            if self._is_stopped:
                raise WorkerError("The runner was stopped.")
            if self._worker is None or not self._worker.is_alive:
                self._end()
                self._worker = WorkerProcess()
            worker = self._worker
        worker.await_ready()

    def _ask(self, messages: Iterable[object], limits: Limits) -> Any:
        """The worker's answer to messages, or the state and reason of its end."""
        worker = self._worker
        assert worker is not None
        clock, peak = _Clock(worker, limits), 0.0
        try:
            for message in messages:
                worker.send(message)
            while not worker.has_answer(POLL_SECONDS):
                peak = max(peak, worker.measure_resident_mib())
                if peak > limits.memory_mib:
                    self.close()
                    return (
                        TrialState.OUT_OF_MEMORY,
                        f"resident memory {peak:.0f} MiB above the limit of {limits.memory_mib:g} MiB",
                    )
                if clock.is_over():
                    self.close()
                    return TrialState.TIMEOUT, f"not finished after the limit of {limits.seconds:g} s"
            answer = worker.receive()
            if clock.is_over():
                # It ended between two looks at the clock; the limit is the same for all.
                return TrialState.TIMEOUT, f"not finished after the limit of {limits.seconds:g} s"
            return answer
        except (EOFError, BrokenPipeError, ConnectionResetError):
            code = worker.await_exit()
            self.close()
            return TrialState.FAILED, f"the worker process died with exit code {code}"


class _Clock:
    """Tells when a worker has spent its seconds, by the wall's clock or by the processor's."""

    def __init__(self, worker: WorkerProcess, limits: Limits) -> None:
        self._worker, self._by_processor = worker, limits.by_processor
        self._end = self._read() + limits.seconds
        self._patience = time.monotonic() + PATIENCE * limits.seconds

    def is_over(self) -> bool:
        return self._read() > self._end or time.monotonic() > self._patience

    def _read(self) -> float:
        return self._worker.measure_processor_seconds() if self._by_processor else time.monotonic()


def _make_messages(source: TableSource | Workload) -> Iterator[object]:
    """The messages that make a worker load a table; arrays in memory are sent without a copy."""
    if isinstance(source, TableSource):
        yield source
        return
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(
        (Arrays.of(source.table), source.splits, source.scorer),
        protocol=pickle.HIGHEST_PROTOCOL,
        buffer_callback=buffers.append,
    )
    yield Packed(content, len(buffers))
    yield from (buffer.raw() for buffer in buffers)


def _make_trial(job: Job, answer: Measurement | tuple[TrialState, str]) -> Trial:
    learner = find_learner(job.configuration.learner)
    versions = {library: version(library) for library in learner.libraries}
    # The version is the same for all task types.
    space_version = learner.space(TaskType.BINARY).version
    if not isinstance(answer, Measurement):
        state, reason = answer
        return Trial(
            task=job.task,
            configuration=job.configuration,
            protocol=job.protocol,
            n_rows=0,
            state=state,
            origin=job.origin,
            fold_losses={},
            fit_seconds=job.limits.seconds if state is TrialState.TIMEOUT else 0.0,
            reason=reason,
            space_version=space_version,
            versions=versions,
        )
    return Trial(
        task=job.task,
        configuration=answer.configuration,
        protocol=job.protocol,
        n_rows=answer.n_rows,
        state=TrialState.PRUNED if answer.pruned else TrialState.COMPLETE,
        origin=job.origin,
        fold_losses=answer.fold_losses,
        curve=answer.curve,
        fit_seconds=round(answer.fit_seconds, 5),
        predict_seconds=round(answer.predict_seconds, 5),
        reason=answer.pruned,
        space_version=space_version,
        versions=versions,
    )
