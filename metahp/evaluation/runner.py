"""A long-lived worker process that the parent watches: hard limits on a trial's time and memory.

A fresh process for each trial would cost more than a second of imports, and limits set inside a process either crash
OpenMP programs far below the limit or cannot stop native code. So a worker serves many trials, the parent polls its
clock and its resident memory, and kills and replaces it where a limit is met.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import psutil

from metahp.core.configuration import Configuration
from metahp.core.errors import WorkerError
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.read import TableSource
from metahp.learners.catalogue import learner_named

POLL_SECONDS = 0.02
START_SECONDS = 120.0
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits of one trial: wall-clock seconds over all folds, and resident memory in MiB."""

    seconds: float = 60.0
    memory_mib: float = 4096.0


@dataclass(frozen=True, slots=True)
class Job:
    """A trial to be run: the table by where it is read from, its task id, and what to evaluate on it."""

    source: TableSource
    task: str
    configuration: Configuration
    protocol: Protocol
    origin: Origin
    limits: Limits = Limits()


class Runner:
    """Runs jobs one after another in a watched worker process; use as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, job: Job) -> Trial:
        """The trial of a job; a limit that was met, a crash or an exception is the trial's state and reason.

        Raises:
            WorkerError: no worker process could be started.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        assert self._connection is not None
        self._connection.send(("load", job.source))
        state, answer = self._wait(START_SECONDS, job.limits.memory_mib)
        if state is None:
            self._connection.send(("measure", job))
            state, answer = self._wait(job.limits.seconds, job.limits.memory_mib)
        return _trial(job, state, answer)

    def close(self) -> None:
        """End the worker."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None

    def _start(self) -> None:
        self.close()
        key = secrets.token_bytes(16)
        # One thread per worker: trials run side by side, and results must not depend on the number of cores.
        environment = {
            **os.environ,
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        root = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
        with Listener(authkey=key) as listener:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metahp.evaluation.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environment,
            )
            assert self._process.stdin is not None
            self._process.stdin.write(f"{listener.address}\n{key.hex()}\n".encode())
            self._process.stdin.close()
            self._connection = _accept(listener, self._process)

    def _wait(self, seconds: float, memory_mib: float) -> tuple[TrialState | None, Any]:
        assert self._process is not None
        assert self._connection is not None
        deadline = time.monotonic() + seconds
        watched = psutil.Process(self._process.pid)
        peak = 0.0
        while not self._connection.poll(POLL_SECONDS):
            with contextlib.suppress(psutil.NoSuchProcess):
                peak = max(peak, watched.memory_info().rss / MIB)
            if peak > memory_mib:
                self.close()
                return TrialState.OUT_OF_MEMORY, f"resident memory {peak:.0f} MiB above the limit of {memory_mib:g} MiB"
            if time.monotonic() > deadline:
                self.close()
                return TrialState.TIMEOUT, f"not finished after the limit of {seconds:g} s"
        try:
            failure, answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            code = self._process.wait()
            self.close()
            return TrialState.FAILED, f"the worker process died with exit code {code}"
        return (TrialState(failure) if failure else None), answer


def _accept(listener: Listener, process: subprocess.Popen[bytes]) -> Connection:
    """The worker's connection; `Listener.accept` has no time limit of its own, so it waits in a thread."""
    box: list[Connection] = []
    thread = threading.Thread(target=lambda: box.append(listener.accept()), daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while thread.is_alive() and time.monotonic() < deadline and process.poll() is None:
        thread.join(POLL_SECONDS)
    thread.join(1.0)
    if not box:
        process.kill()
        raise WorkerError(
            f"The worker process did not start (exit code {process.wait()}); "
            f"try `{sys.executable} -c 'import metahp.evaluation.worker'`."
        )
    return box[0]


def _trial(job: Job, state: TrialState | None, answer: Any) -> Trial:
    learner = learner_named(job.configuration.learner)
    library = "lightgbm" if learner.name == "lightgbm" else "scikit-learn"
    versions = {library: version(library)}
    if state is not None:
        seconds = job.limits.seconds if state is TrialState.TIMEOUT else 0.0
        return Trial(
            task=job.task,
            configuration=job.configuration,
            protocol=job.protocol,
            n_rows=0,
            state=state,
            origin=job.origin,
            fold_losses={},
            fit_seconds=seconds,
            reason=str(answer),
            versions=versions,
        )
    return Trial(
        task=job.task,
        configuration=job.configuration,
        protocol=job.protocol,
        n_rows=answer.n_rows,
        state=TrialState.COMPLETE,
        origin=job.origin,
        fold_losses=answer.fold_losses,
        curve=answer.curve,
        fit_seconds=round(answer.fit_seconds, 5),
        predict_seconds=round(answer.predict_seconds, 5),
        versions=versions,
    )
