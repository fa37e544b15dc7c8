"""Check how deep JSON lines are nested before a parser reads them: parsers recurse at every level."""

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from metahp.core.errors import InputError
from metahp.datasets.limits import MAX_DEPTH, MAX_LINE_BYTES, format_gibibytes
from metahp.datasets.source import CHUNK_BYTES, Text

# A line break also ends a string, here as in the parsers: brackets after it count.
_STRING = re.compile(rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}\n"))
_OPENERS, _CLOSERS, _LINE_END = b"[{", b"]}", ord("\n")


def read_line_blocks(stream: BinaryIO, size: int, label: str) -> Iterator[bytes]:
    """Yield blocks of about `size` bytes that end at the end of a line.

    Raises:
        InputError: a line is longer than `MAX_LINE_BYTES`.
    """
    while block := stream.read(size):
        end = stream.readline(MAX_LINE_BYTES)
        if len(end) == MAX_LINE_BYTES:
            raise InputError(
                f"'{label}' has a line of more than {format_gibibytes(MAX_LINE_BYTES)}; expected one row on a line. "
                "Is it a table at all?"
            )
        yield block + end


def check_depth(text: Text) -> int:
    """Refuse JSON lines that are nested deeper than `MAX_DEPTH`.

    Returns:
        An upper bound of the number of objects.

    Raises:
        InputError: a line is nested too deep, or is too long.
    """
    label, n_lines, n_further, depth = text.source.label, 0, 0, 0
    with text.open() as stream:
        for block in read_line_blocks(stream, CHUNK_BYTES, label):
            if depth == 0 and _is_tidy(block):
                too_deep = _find_deep_line_if_tidy(block)
            else:
                too_deep, depth = _find_deep_line(block, depth)
            if too_deep is not None:
                raise InputError(
                    f"'{label}', line {n_lines + too_deep + 1}: nested deeper than {MAX_DEPTH} levels; expected a "
                    "JSON object with a value for each column. Write deeper values as text."
                )
            n_lines += block.count(b"\n") + (not block.endswith(b"\n"))
            # Several objects may stand on a line, or in a list.
            n_further += block.translate(None, _NO_BRACKETS).count(b"}{")
    return n_lines + n_further


def _is_tidy(block: bytes) -> bool:
    """Whether every line begins with `{` and ends with `}`.

    Each such line starts at level 0: inside of an array, a parser expects a comma between `}` and `{`.
    """
    n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
    n_ends = block.count(b"}\n") + block.count(b"}\r\n") + block.endswith(b"}")
    return n_ends == n_lines and block.startswith(b"{") and block.count(b"\n{") == n_lines - 1


def _find_deep_line_if_tidy(block: bytes) -> int | None:
    """Index of the first line that is nested too deep; None for none. Only lines with many brackets are parsed."""
    brackets = np.frombuffer(block.translate(None, _NO_BRACKETS), dtype=np.uint8)
    opened = np.cumsum(np.isin(brackets, list(_OPENERS)))
    n_opened = np.diff(opened[brackets == _LINE_END], prepend=0, append=opened[-1])
    suspicious = np.flatnonzero(n_opened > MAX_DEPTH)
    if len(suspicious) == 0:
        return None
    lines = block.split(b"\n")
    return next((int(index) for index in suspicious if _find_deep_line(lines[index], 0)[0] is not None), None)


def _find_deep_line(block: bytes, depth: int) -> tuple[int | None, int]:
    """Index of the first line that is nested too deep (None for none), and the level at the end.

    The block starts at level `depth`. Closing brackets without an opening one do not count, so a parser that starts at
    any line never gets deeper than this.
    """
    brackets = np.frombuffer(_STRING.sub(b"", block).translate(None, _NO_BRACKETS), dtype=np.uint8)
    if len(brackets) == 0:
        return None, depth
    steps = np.isin(brackets, list(_OPENERS)).astype(np.int64) - np.isin(brackets, list(_CLOSERS))
    levels = depth + np.cumsum(steps)
    levels -= np.minimum(np.minimum.accumulate(levels), 0)
    if levels.max() <= MAX_DEPTH:
        return None, int(levels[-1])
    first = int(np.argmax(levels > MAX_DEPTH))
    return int(np.count_nonzero(brackets[:first] == _LINE_END)), int(levels[-1])
