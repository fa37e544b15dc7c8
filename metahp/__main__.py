"""`metahp` and `python -m metahp`: what has to be in place before anything heavy is imported."""

import gc
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line and end with its exit code."""
    _leave_working_folder()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_at_once)
    from metahp.cli.main import main

    code = main()
    # What is left is freed without looking at it once more.
    gc.freeze()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            # All that is left is to give back memory.
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _leave_working_folder() -> None:
    """Take the working folder off the path of modules, where `python -m metahp` puts it.

    Tables come from anywhere, and a `random.py` beside one is not ours to run.
    """
    try:
        folder = os.getcwd()
    except OSError:
        folder = ""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", folder):
        del sys.path[0]


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Nothing has begun yet, so there is nothing to clean up."""
    os.write(2, b"metahp: interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    run()
