"""A process of our own that answers messages: it runs no module of the working folder and ends with its parent.

It is started with `-P`, so that a `random.py` beside a table is never imported; it talks over a pair of sockets that
has no place in the file system; and it ends at once, in the midst of native code too, when its standard input closes,
since its parent holds the other end for as long as it lives.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection, Listener, Pipe
from pathlib import Path
from typing import Any

import psutil

from metahp.core.errors import WorkerError

START_SECONDS = 120.0
POLL_SECONDS = 0.02
MIB = 2**20
READY = "ready"
# Its last argument is where metahp lies, for a metahp that is not installed; it comes after everything else.
_PROGRAM = "import sys; sys.path.append(sys.argv[-1]); from metahp.evaluation.worker import main; main()"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerProcess:
    """A worker that is being started, and computes on one thread; `await_ready` before the first message."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[2])
        options: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.DEVNULL,
            "env": _make_environment(),
            # In a session of its own, an interrupt from the keyboard reaches the parent alone, which decides.
            "start_new_session": True,
        }
        command = [sys.executable, "-P", "-c", _PROGRAM]
        if os.name == "posix":
            self._connection, theirs = Pipe()
            with theirs:
                number = theirs.fileno()
                self._process = subprocess.Popen([*command, str(number), root], pass_fds=[number], **options)
        else:
            self._process = subprocess.Popen([*command, "listener", root], **options)
            self._connection = _accept(self._process)
        self._watched = psutil.Process(self._process.pid)
        self._is_ready = False

    def await_ready(self) -> None:
        """Wait until it answers; returns at once where it has answered before.

        Raises:
            WorkerError: it does not start.
        """
        if self._is_ready:
            return
        deadline = time.monotonic() + START_SECONDS
        with contextlib.suppress(EOFError, OSError):
            while time.monotonic() < deadline:
                if self._connection.poll(POLL_SECONDS):
                    if self._connection.recv() == READY:
                        self._is_ready = True
                        return
                    break
        raise WorkerError(
            f"The worker process did not start (exit code {self.close()}); "
            f"try `{sys.executable} -c 'import metahp.evaluation.worker'`."
        )

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, message: object) -> None:
        """Send a message; a memory view goes as it lies there, without a copy."""
        if isinstance(message, memoryview):
            self._connection.send_bytes(message)
        else:
            self._connection.send(message)

    def has_answer(self, seconds: float) -> bool:
        """Whether an answer has come within so many seconds."""
        return self._connection.poll(seconds)

    def receive(self) -> Any:
        """The next answer.

        Raises:
            EOFError: it has died.
        """
        return self._connection.recv()

    def measure_resident_mib(self) -> float:
        """Its resident memory in MiB; 0 where it has ended."""
        try:
            return float(self._watched.memory_info().rss / MIB)
        except psutil.NoSuchProcess:
            return 0.0

    def measure_processor_seconds(self) -> float:
        """Seconds that its threads have computed so far; 0 where it has ended."""
        try:
            times = self._watched.cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def kill(self) -> None:
        """Kill it, from any thread."""
        self._process.kill()

    def close(self) -> int:
        """Kill it, wait for its end and give up what it was reached by; its exit code."""
        self._process.kill()
        code = self._process.wait()
        self._connection.close()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        return code

    def await_exit(self) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait()


def _make_environment() -> dict[str, str]:
    """The environment of a worker: one thread, and the user's own PYTHONPATH without empty parts.

    An empty part stands for the working folder, and is there by accident (`PYTHONPATH=$PYTHONPATH:/my/code`).
    """
    environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONSAFEPATH": "1"}
    if path := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))
    return environment


def _accept(process: subprocess.Popen[bytes]) -> Connection:
    """The connection where there are no sockets to hand on; `accept` has no time limit, so it waits in a thread."""
    key = secrets.token_bytes(16)
    box: list[Connection] = []
    with Listener(authkey=key) as listener:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{listener.address}\n{key.hex()}\n".encode())
            process.stdin.flush()
        thread = threading.Thread(target=lambda: box.append(listener.accept()), daemon=True)
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while thread.is_alive() and time.monotonic() < deadline and process.poll() is None:
            thread.join(POLL_SECONDS)
    if not box:
        process.kill()
        raise WorkerError(f"The worker process did not start (exit code {process.wait()}).")
    return box[0]
