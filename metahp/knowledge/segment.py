"""One file of the journal: JSON lines, each with its own checksum, each read separately.

A line of format 2 contains its number and the number of lines, and ends in `,"check":"…"}`, a hash of all bytes before
it. Lines of format 1, which older versions wrote, have none of these.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metahp.core.errors import InputError
from metahp.core.trial import Trial
from metahp.knowledge.codec import FORMAT_VERSION, make_task_from_dict, task_to_dict, trial_from_dict, trial_to_dict
from metahp.knowledge.records import Fault, TaskRecord

# metahp writes no larger segments. A larger file would need many times its size in memory.
MAX_BYTES = 128 * 2**20
# Records with more bytes than this are written to several segments.
BYTES_AT_ONCE = 16 * 2**20
_CHECK = re.compile(rb',"check":"([0-9a-f]{32})"}')
_CHECK_LENGTH = len(b',"check":""}') + 32


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and the number of its line, from 1."""

    line: int
    record: Trial | TaskRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Content of one file of the journal: its readable records, and the faults of other lines.

    `n_missing` is the number of lines that are absent. `newer` is the format of a segment of a newer version, which has
    no entries; else 0. `is_unfit` marks a file that is no segment.
    """

    entries: tuple[Entry, ...] = ()
    faults: tuple[Fault, ...] = ()
    n_missing: int = 0
    newer: int = 0
    is_unfit: bool = False

    @property
    def tasks(self) -> list[TaskRecord]:
        """The task records."""
        return [entry.record for entry in self.entries if isinstance(entry.record, TaskRecord)]

    @property
    def trials(self) -> list[Trial]:
        """The trials."""
        return [entry.record for entry in self.entries if isinstance(entry.record, Trial)]

    @property
    def n_lost(self) -> int:
        """Number of records that cannot be read."""
        return len(self.faults) + self.n_missing

    @property
    def first_fault(self) -> str:
        """Line and reason of the first fault; empty if there is none."""
        if self.faults:
            number, reason = self.faults[0].position, self.faults[0].reason
            return reason if self.is_unfit else f"line {number}: {reason}"
        return f"{self.n_missing} line(s) are missing" if self.n_missing else ""


def make_segments(trials: Sequence[Trial], tasks: Sequence[TaskRecord] = ()) -> Iterator[bytes]:
    """The contents of new segments with `tasks` and `trials`: one segment, or several if they are large."""
    batch: list[dict[str, Any]] = []
    size = 0
    for values in (*map(task_to_dict, tasks), *map(trial_to_dict, trials)):
        batch.append(values)
        size += len(_to_json(values))
        if size >= BYTES_AT_ONCE:
            yield _sign_lines(batch)
            batch, size = [], 0
    if batch:
        yield _sign_lines(batch)


def read_segment(path: Path) -> Segment:
    """The readable records of one segment, and the faults of the others.

    Raises:
        FileNotFoundError: the segment does not exist, because another process has ingested it.
        OSError: it cannot be read at present.
    """
    try:
        content = read_bytes(path)
    except InputError as error:
        return Segment(faults=(Fault.of(0, error),), is_unfit=True)
    return parse_segment(content)


def parse_segment(content: bytes) -> Segment:
    """The readable records in the content of a segment, and the faults of the others."""
    entries, faults, newest, n_unplaced = [], [], 0, 0
    numbers: dict[int, set[int]] = {}
    for number, line in split_lines(content):
        values: dict[str, Any] = {}
        is_checked = False
        try:
            values, is_checked = _parse_line(line)
            newest = max(newest, _check_format(values, is_checked))
            if newest > FORMAT_VERSION:
                return Segment(newer=newest)
            if is_checked:
                numbers.setdefault(int(values["lines"]), set()).add(int(values["line"]))
            entries.append(Entry(number, _build_record(values)))
        except MemoryError:
            raise
        except Exception as error:
            faults.append(Fault.of(number, error))
            n_unplaced += not is_checked
    # A damaged line has no readable number, so it is one of the absent numbers; do not count it twice.
    n_missing = sum(expected - len(seen) for expected, seen in numbers.items()) - n_unplaced
    return Segment(entries=tuple(entries), faults=tuple(faults), n_missing=max(0, n_missing))


def read_bytes(path: Path) -> bytes:
    """The content of a segment.

    Raises:
        InputError: the file cannot be a segment.
        OSError: it cannot be read at present.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError("it is not a regular file")
    if status.st_size > MAX_BYTES:
        raise InputError(f"it has {status.st_size:,} bytes; a segment has at most {MAX_BYTES:,}")
    # If a pipe or a link has replaced the file meanwhile, these flags neither wait for the pipe nor follow the link.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        content = file.read(MAX_BYTES)
    if not content.strip(b"\n"):
        raise InputError("it is empty")
    return content


def split_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers, from 1, and bytes of the lines that are not empty."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line:
            yield number, line


def select_lines(content: bytes, numbers: Iterable[int]) -> bytes:
    """The lines with these numbers, byte for byte, each with a line break."""
    wanted = set(numbers)
    return b"".join(line + b"\n" for number, line in split_lines(content) if number in wanted)


def _sign_lines(records: Sequence[dict[str, Any]]) -> bytes:
    lines = []
    for number, values in enumerate(records, start=1):
        start = _to_json({"format": FORMAT_VERSION, "line": number, "lines": len(records), **values})[:-1].encode()
        lines.append(start + b',"check":"' + _hash(start) + b'"}\n')
    return b"".join(lines)


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def _parse_line(line: bytes) -> tuple[dict[str, Any], bool]:
    """The values of a line, and whether it has a checksum; a wrong checksum raises `InputError`."""
    start, end = line[:-_CHECK_LENGTH], line[-_CHECK_LENGTH:]
    match = _CHECK.fullmatch(end)
    if match is not None and match[1] != _hash(start):
        raise InputError("its checksum does not fit, so some of its bytes have changed")
    values = json.loads(line.decode("utf-8"))
    if not isinstance(values, dict):
        raise InputError("it is not a JSON object")
    return values, match is not None


def _check_format(values: dict[str, Any], is_checked: bool) -> int:
    number = values["format"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError("its format is not a positive integer")
    if not is_checked and 1 < number <= FORMAT_VERSION:
        raise InputError("its checksum is missing, so some of its bytes have changed")
    return number


def _build_record(values: dict[str, Any]) -> Trial | TaskRecord:
    if values.get("kind", "trial") == "task":
        return make_task_from_dict(values)
    trial = trial_from_dict(values)
    if trial.id != values["id"]:
        raise InputError("its id does not fit its content, so some of its bytes have changed")
    return trial
