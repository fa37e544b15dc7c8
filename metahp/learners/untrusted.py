"""Files of unknown origin: their kind, size and nesting are checked before anything parses them."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from metahp.core.errors import InputError

# A forest of 300 trees, each grown to single rows, takes 8 GB of a million rows.
MAX_MODEL_BYTES = 1 << 34
# A description holds the names of all columns and categories: a million of 60 letters fit.
MAX_DESCRIPTION_BYTES = 1 << 26
# What metahp writes is nested at most 31 deep (a transformer in a pipeline in a column transformer in a pipeline).
MAX_NESTING = 100

_QUOTE = ord('"')
_MARKS = b'"[]{}'
_NO_MARKS = bytes(set(range(256)) - set(_MARKS))
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of a result directory.

    A link could lead anywhere on this machine, and a pipe or device never ends.

    Raises:
        InputError: it cannot be read, is a link or no regular file, or is larger than `max_bytes` or half of the memory
            that is available now.
    """
    most = min(max_bytes, psutil.virtual_memory().available // 2)
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            raise InputError(f"'{path}' is a symbolic link, expected the file itself; copy the file to that place.")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"'{path}' is not a regular file; restore it, or tune again.")
        if status.st_size > most:
            raise InputError(
                f"'{path}' has {status.st_size:,} bytes, expected at most {most:,}; restore it, or free some memory."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); restore it, or tune again.") from None


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ValueError: it is no JSON, or nested deeper than `MAX_NESTING`.
    """
    text = data.decode("utf-8")
    found = nesting(data)
    if found > MAX_NESTING:
        raise ValueError(f"nested {found:,} deep, expected at most {MAX_NESTING}")
    return json.loads(text, parse_constant=_refuse_constant)


def nesting(data: bytes) -> int:
    """How deep lists and objects of a JSON text are nested; brackets inside of strings do not count."""
    unescaped = data.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = np.frombuffer(unescaped.translate(None, _NO_MARKS), dtype=np.uint8)
    # The count of quotes may wrap around at 256: only whether it is even matters.
    is_outside = np.cumsum(marks == _QUOTE, dtype=np.uint8) % 2 == 0
    return int(np.cumsum(_STEPS[marks] * is_outside, dtype=np.int64).max(initial=0))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
