"""The column names of a plain CSV file, without anything heavy, so that a wrong name is refused at once."""

import codecs
import csv
import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from metahp.core.text import make_encodable
from metahp.datasets.paths import is_pipe, make_local_path

SAMPLE_BYTES = 1 << 16
SAMPLE_LINES = 20
_SEPARATORS = (",", ";", "\t", "|")
_SUFFIXES = (".csv", ".tsv", ".txt", "")
# What a file begins with that has another format, or more than a header before its rows.
_OTHER_STARTS = ("{", "[", "@", "#", "%", "PAR1")


def read_plain_header(name: str) -> tuple[str, ...] | None:
    """The column names of the CSV file `name`; None unless they are beyond doubt.

    They are where one separator alone splits the first lines into equally many fields, the names are distinct texts,
    and a number stands in the line below them: a title, a second line of names or another format leave doubt.
    """
    lines = _read_first_lines(name)
    if lines is None or lines[0].lstrip().startswith(_OTHER_STARTS):
        return None
    found = [rows for separator in _SEPARATORS if (rows := _split(lines, separator))]
    if len(found) != 1:
        return None
    header, first = [make_encodable(cell).strip() for cell in found[0][0]], found[0][1]
    is_plain = all(header) and len(set(header)) == len(header) and not any(map(_is_number, header))
    return tuple(header) if is_plain and any(map(_is_number, first)) else None


def _read_first_lines(name: str) -> list[str] | None:
    """The first lines of a text file; None where it has fewer than two, or is no text in UTF-8."""
    path = Path(make_local_path(name))
    if is_pipe(name) or path.suffix.lower() not in _SUFFIXES:
        return None
    try:
        with path.open("rb") as stream:
            sample = stream.read(SAMPLE_BYTES)
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(sample)
    except (OSError, UnicodeDecodeError):
        return None
    lines = text.splitlines(keepends=True)
    # The last line of the sample may be cut.
    lines = lines[:-1] if len(sample) == SAMPLE_BYTES else lines
    return lines[:SAMPLE_LINES] if len(lines) > 1 and "\0" not in text else None


def _split(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The rows of some lines; empty where they have not equally many fields, or fewer than two."""
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator, skipinitialspace=True)
    try:
        rows = list(islice(reader, SAMPLE_LINES))
    except csv.Error:
        return []
    is_even = len(rows) > 1 and len(rows[0]) > 1 and all(len(row) == len(rows[0]) for row in rows)
    return rows if is_even else []


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
