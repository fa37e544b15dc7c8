"""The worker process behind `Runner`: holds one table and measures configurations until its parent goes away."""

import math
import os
import pickle
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection
from typing import Any

from metahp.core.configuration import Configuration
from metahp.core.text import make_encodable
from metahp.core.trial import Protocol, TrialState
from metahp.datasets.read import TableSource
from metahp.evaluation.protocol import Arrays, FoldMemory, Measurement, measure
from metahp.evaluation.pruning import Pruning
from metahp.evaluation.scoring import Scorer
from metahp.evaluation.splits import Splits
from metahp.evaluation.worker_process import READY
from metahp.learners.registry import LearnerReference, adopt, find_learner

Failure = tuple[TrialState, str]
# Characters of an exception's text that a trial keeps as its reason.
REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Packed:
    """The head of a table in memory; its arrays follow as `n_buffers` raw messages, so that nothing is copied."""

    content: bytes
    n_buffers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A configuration to measure on the table that was sent before."""

    learner: LearnerReference
    configuration: Configuration
    protocol: Protocol
    pruning: Pruning | None
    keep_predictions: bool
    early_stopping: str
    n_threads: int
    by_processor: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A pickled pair of a function, which is found again by its name, and the argument to call it with.

    The function may ask for the parent's `learners` by name.
    """

    content: bytes
    learners: tuple[LearnerReference, ...]


@dataclass(frozen=True, slots=True)
class Returned:
    """The result of a call, or the exception that it raised."""

    value: Any = None
    error: BaseException | None = None


def describe_error(error: Exception) -> str:
    """The first line of an exception, as a trial keeps it: short, and writable in any encoding."""
    lines = make_encodable(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:REASON_LENGTH]}"


class _Desk:
    """The loaded table, and the answers to questions about it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loaded: tuple[Arrays, Splits | None, Scorer | None] | None = None
        self._memory = FoldMemory()

    def answer(self, message: TableSource | Packed | Question | Call) -> Measurement | Failure | Returned | None:
        """The measurement of a configuration, the result of a call, or the state and reason of a failure.

        None once a table is loaded.
        """
        if isinstance(message, Call):
            return _call(message)
        if not isinstance(message, Question):
            # First free the old table: there may be no memory for two large ones.
            self._loaded, self._memory = None, FoldMemory()
        if isinstance(message, Packed):
            # Not among the failures below: after half a table, the next message could not be understood.
            buffers = [self._connection.recv_bytes() for _ in range(message.n_buffers)]
            self._loaded = pickle.loads(message.content, buffers=buffers)
            return None
        try:
            if isinstance(message, Question):
                return self._measure(message)
            self._loaded = Arrays.of(message.load()), None, None
            return None
        except MemoryError:
            return TrialState.OUT_OF_MEMORY, "out of memory"
        except Exception as error:
            return TrialState.FAILED, describe_error(error)

    def _measure(self, question: Question) -> Measurement | Failure:
        assert self._loaded is not None
        arrays, splits, scorer = self._loaded
        adopt([question.learner])
        wall, processor = time.perf_counter(), time.process_time()
        measurement = measure(
            arrays,
            find_learner(question.learner.name),
            question.configuration,
            question.protocol,
            splits=splits,
            pruning=question.pruning,
            keep_predictions=question.keep_predictions,
            early_stopping=question.early_stopping,
            memory=self._memory,
            n_threads=question.n_threads,
            scorer=scorer,
        )
        if question.by_processor:
            share = (time.process_time() - processor) / (time.perf_counter() - wall)
            measurement = replace(
                measurement,
                fit_seconds=share * measurement.fit_seconds,
                predict_seconds=share * measurement.predict_seconds,
            )
        first = next(iter(measurement.fold_losses.values()))
        if not all(math.isfinite(loss) for loss in first):
            return TrialState.FAILED, "a loss that is not finite"
        return measurement


def _call(call: Call) -> Returned:
    adopt(call.learners)
    try:
        function, argument = pickle.loads(call.content)
        return Returned(function(argument))
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return Returned(error=error)


def _end_with_parent() -> None:
    """End at once when standard input closes: the parent holds the other end for as long as it lives."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def _connect() -> Connection:
    """The connection to the parent: by the number in the first argument, or by address and key from standard input."""
    if sys.argv[1] != "listener":
        return Connection(int(sys.argv[1]))
    address, key = (sys.stdin.readline().strip() for _ in range(2))
    return Client(address, authkey=bytes.fromhex(key))


def main() -> None:
    """Serve one parent; end when it goes away, in mid-trial too."""
    connection = _connect()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with connection:
        connection.send(READY)
        desk = _Desk(connection)
        while True:
            try:
                connection.send(desk.answer(connection.recv()))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return
