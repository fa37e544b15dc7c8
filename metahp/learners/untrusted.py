"""Untrusted files: their kind, size and nesting are checked before they are parsed."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from metahp.core.errors import InputError

# 16 GiB: a forest of 300 trees on a million rows, with one row in each leaf, takes 8 GB.
MAX_MODEL_BYTES = 1 << 34
# 64 MiB: a description holds the names of all columns and categories, and a million names of 60 letters fit.
MAX_DESCRIPTION_BYTES = 1 << 26
# metahp writes at most 31 levels (a transformer in a pipeline in a column transformer in a pipeline).
MAX_NESTING = 100

_QUOTE = ord('"')
_MARKS = b'"[]{}'
_NO_MARKS = bytes(set(range(256)) - set(_MARKS))
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1


def read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of a result directory.

    Links are refused because they could point to any file, and pipes and devices because they may never end.

    Raises:
        InputError: the file cannot be read, is a link or not a regular file, or is larger than `max_bytes` or half of
            the memory that is available now.
    """
    limit = min(max_bytes, psutil.virtual_memory().available // 2)
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            raise InputError(f"'{path}' is a symbolic link, expected the file itself; replace the link by the file.")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"'{path}' is not a regular file; restore it, or tune again.")
        if status.st_size > limit:
            raise InputError(
                f"'{path}' has {status.st_size:,} bytes, expected at most {limit:,}; restore it, or free some memory."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); restore it, or tune again.") from None


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ValueError: the text is no JSON, or is nested deeper than `MAX_NESTING`.
    """
    text = data.decode("utf-8")
    depth = measure_nesting(data)
    if depth > MAX_NESTING:
        raise ValueError(f"nested {depth:,} deep, expected at most {MAX_NESTING}")
    return json.loads(text, parse_constant=_refuse_constant)


def measure_nesting(data: bytes) -> int:
    """Depth to which lists and objects of a JSON text are nested; brackets in strings do not count."""
    unescaped = data.replace(rb"\\", b"").replace(rb"\"", b"")
    marks = np.frombuffer(unescaped.translate(None, _NO_MARKS), dtype=np.uint8)
    # The count of quotes may overflow at 256, as only its parity matters.
    is_outside = np.cumsum(marks == _QUOTE, dtype=np.uint8) % 2 == 0
    return int(np.cumsum(_STEPS[marks] * is_outside, dtype=np.int64).max(initial=0))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")
