"""One file of the journal: JSON lines, each with a checksum over its own bytes, each read on its own.

A line of format 2 says which of how many it is, and ends in `,"check":"…"}`, a hash of all bytes before. Lines of
format 1, which older versions wrote, have neither.
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
from metahp.knowledge.codec import FORMAT_VERSION, task_from_dict, task_to_dict, trial_from_dict, trial_to_dict
from metahp.knowledge.records import Fault, TaskRecord

# A larger file is none that metahp wrote, and would need many times its size in memory.
MAX_BYTES = 128 * 2**20
# More records than this many bytes make several segments.
BYTES_AT_ONCE = 16 * 2**20
_CHECK = re.compile(rb',"check":"([0-9a-f]{32})"}')
_CHECK_LENGTH = len(b',"check":""}') + 32


@dataclass(frozen=True, slots=True)
class Entry:
    """A record and the line that it was read from, counted from 1."""

    line: int
    record: Trial | TaskRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What one file of the journal holds: its readable records, and what is wrong with the other lines.

    `n_missing` counts lines that were cut off. `newer` is the format of a segment that a newer version wrote, which has
    no entries then; 0 elsewhere. `is_unfit` says that there is no segment at all under this name.
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
        """How many records cannot be read."""
        return len(self.faults) + self.n_missing

    @property
    def first_fault(self) -> str:
        """Where the first fault is, and what; empty where there is none."""
        if self.faults:
            place, reason = self.faults[0].place, self.faults[0].reason
            return reason if self.is_unfit else f"line {place}: {reason}"
        return f"{self.n_missing} lines at its end or among them are gone" if self.n_missing else ""


def make_segments(trials: Sequence[Trial], tasks: Sequence[TaskRecord] = ()) -> Iterator[bytes]:
    """The contents of the segments that hold `tasks` and `trials`: one, or several where they are large."""
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
    """The readable records of one segment, and what is wrong with the others.

    Raises:
        FileNotFoundError: it is gone, which means that another process has ingested it.
        OSError: it cannot be read at present.
    """
    try:
        content = read_bytes(path)
    except InputError as error:
        return Segment(faults=(Fault.of(0, error),), is_unfit=True)
    return parse_segment(content)


def parse_segment(content: bytes) -> Segment:
    """The readable records in the content of a segment, and what is wrong with the others."""
    entries, faults, newest, n_unplaced = [], [], 0, 0
    numbers: dict[int, set[int]] = {}
    for place, line in split_lines(content):
        values: dict[str, Any] = {}
        is_checked = False
        try:
            values, is_checked = _parse_line(line)
            newest = max(newest, _check_format(values, is_checked))
            if newest > FORMAT_VERSION:
                return Segment(newer=newest)
            if is_checked:
                numbers.setdefault(int(values["lines"]), set()).add(int(values["line"]))
            entries.append(Entry(place, _build_record(values)))
        except MemoryError:
            raise
        except Exception as error:
            faults.append(Fault.of(place, error))
            n_unplaced += not is_checked
    # Damaged lines cannot say which they are: they are some of those that were not seen.
    n_missing = sum(expected - len(seen) for expected, seen in numbers.items()) - n_unplaced
    return Segment(entries=tuple(entries), faults=tuple(faults), n_missing=max(0, n_missing))


def read_bytes(path: Path) -> bytes:
    """The content of a segment.

    Raises:
        InputError: what has this name cannot be a segment.
        OSError: it cannot be read at present.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError("it is a link, a folder or another thing that is no file")
    if status.st_size > MAX_BYTES:
        raise InputError(f"it has {status.st_size:,} bytes, more than the {MAX_BYTES:,} that a segment may have")
    # Should a pipe or a link take the place of the file meanwhile, this neither waits nor follows.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        content = file.read(MAX_BYTES)
    if not content.strip(b"\n"):
        raise InputError("it is empty")
    return content


def split_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers from 1."""
    for place, line in enumerate(content.split(b"\n"), start=1):
        if line:
            yield place, line


def select_lines(content: bytes, places: Iterable[int]) -> bytes:
    """Some of the lines, byte for byte, each with a line break."""
    wanted = set(places)
    return b"".join(line + b"\n" for place, line in split_lines(content) if place in wanted)


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
    """What a line says, and whether it has a checksum, which is then right."""
    start, end = line[:-_CHECK_LENGTH], line[-_CHECK_LENGTH:]
    match = _CHECK.fullmatch(end)
    if match is not None and match[1] != _hash(start):
        raise InputError("its checksum does not fit, so that some of its bytes have changed")
    values = json.loads(line.decode("utf-8"))
    if not isinstance(values, dict):
        raise InputError("it is no object of names and values")
    return values, match is not None


def _check_format(values: dict[str, Any], is_checked: bool) -> int:
    number = values["format"]
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError("its format is no number of one")
    if not is_checked and 1 < number <= FORMAT_VERSION:
        raise InputError("its checksum is gone, so that some of its bytes have changed")
    return number


def _build_record(values: dict[str, Any]) -> Trial | TaskRecord:
    if values.get("kind", "trial") == "task":
        return task_from_dict(values)
    trial = trial_from_dict(values)
    if trial.id != values["id"]:
        raise InputError("its id does not follow from its content, so that some of its bytes have changed")
    return trial
