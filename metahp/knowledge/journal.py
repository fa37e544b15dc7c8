"""The journal: finished trials and described tasks as immutable files, written without a lock by any process."""

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metahp.core.errors import KnowledgeBaseError
from metahp.core.text import make_encodable
from metahp.core.trial import Trial
from metahp.files import sweep, sync_folder, write_file
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.segment import Segment, make_segments, read_bytes, read_segment, select_lines

SUFFIX = ".jsonl"
# Lines that cannot be read are kept under this ending, which no reader looks at.
ASIDE = ".unreadable"
# Segments that were ingested wait here until the database has been read back.
ARCHIVE = "archive"
OWNER = "owner.json"
# The name of a knowledge base in a folder of its own, whose journal is called `journal`.
FILE_NAME = "kb.duckdb"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What a journal held when it was listed: its segments by name, and why others could not be read then, by name."""

    folder: Path
    segments: Mapping[str, Segment]
    errors: Mapping[str, str]

    @property
    def tasks(self) -> list[TaskRecord]:
        """The readable task records."""
        return [record for segment in self.segments.values() for record in segment.tasks]

    @property
    def trials(self) -> list[Trial]:
        """The readable trials."""
        return [trial for segment in self.segments.values() for trial in segment.trials]

    @property
    def n_segments(self) -> int:
        """How many segments there are."""
        return sum(not segment.is_unfit for segment in self.segments.values())

    def describe_faults(self) -> Iterator[tuple[str, str]]:
        """A key and a line for each segment that is not read whole; all newer ones have the same key."""
        for name, segment in self.segments.items():
            if segment.n_lost or segment.newer:
                yield "newer" if segment.newer else name, describe_faults(self.folder / name, segment)


class Journal:
    """A folder of segments; a segment is a file of JSON lines, complete from the moment it has its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.archive = self.folder / ARCHIVE

    def append(self, trials: Sequence[Trial], tasks: Sequence[TaskRecord] = ()) -> None:
        """Write `tasks` and `trials` as a new segment (several where they are many), each to disk in one step.

        Raises:
            OSError: they cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for content in make_segments(trials, tasks):
            write_file(self._new_path(), content)

    def segments(self) -> list[Path]:
        """Paths of the complete segments."""
        return _list_segments(self.folder)

    def archived(self) -> list[Path]:
        """Paths of the segments that were ingested and are kept until that has been read back."""
        return _list_segments(self.archive)

    def read(self, known: Mapping[str, Segment] | None = None) -> Pending:
        """What it holds now; segments that are `known` by name are not read again, as a segment never changes."""
        segments: dict[str, Segment] = {}
        errors: dict[str, str] = {}
        for path in self.segments():
            try:
                segments[path.name] = (known or {}).get(path.name) or read_segment(path)
            except FileNotFoundError:
                # Another process has ingested it.
                continue
            except OSError as error:
                errors[path.name] = describe_error(path, error)
        return Pending(folder=self.folder, segments=segments, errors=errors)

    def trials(self) -> list[Trial]:
        """All readable trials of all segments; one logged warning for each segment in which some are not."""
        pending = self.read()
        for message in (*pending.errors.values(), *(line for _, line in pending.describe_faults())):
            _log.warning("%s", message)
        return pending.trials

    def set_aside(self, path: Path, segment: Segment) -> Path | None:
        """Keep the lines of a segment that cannot be read, byte for byte, under another name; None where all are gone.

        What is no segment at all gets that name itself.

        Raises:
            OSError: that name cannot be given.
        """
        aside = path.with_suffix(ASIDE)
        if segment.is_unfit:
            while os.path.lexists(aside):
                aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}{ASIDE}")
            path.rename(aside)
        elif lines := select_lines(read_bytes(path), (fault.place for fault in segment.faults)):
            write_file(aside, lines)
        else:
            return None
        return aside

    def put_away(self, path: Path, kept: set[int] | None = None) -> None:
        """Move an ingested segment to the archive: only the lines `kept` where they are given, nothing for none.

        Raises:
            OSError: it cannot be moved.
        """
        with contextlib.suppress(FileNotFoundError):
            if kept is None:
                self.archive.mkdir(exist_ok=True)
                path.replace(self.archive / path.name)
                return
            if kept:
                self.archive.mkdir(exist_ok=True)
                write_file(self.archive / path.name, select_lines(read_bytes(path), kept))
            path.unlink()

    def bring_back(self, path: Path) -> None:
        """Move an archived segment into the journal, under a new name: the old one counts as ingested.

        Raises:
            OSError: it cannot be moved.
        """
        with contextlib.suppress(FileNotFoundError):
            path.rename(self._new_path())

    def sync(self) -> None:
        """Make moves between journal and archive durable."""
        for folder in (self.archive, self.folder):
            if folder.is_dir():
                sync_folder(folder)

    def sweep(self) -> None:
        """Remove what processes that have ended left unfinished."""
        for folder in (self.folder, self.archive):
            sweep(folder)

    def check_owner(self, file: Path) -> None:
        """Refuse the journal of another knowledge base than `file`; one that was moved or copied here is ours.

        Raises:
            KnowledgeBaseError: it belongs to another existing database, whose journal is this very folder.
        """
        owner = self._owner()
        if owner is None or _is_same(owner, file) or not owner.is_file():
            return
        # A link or another name for one folder may hide that it is the same.
        if _is_same(journal_folder(owner), self.folder):
            raise KnowledgeBaseError(
                f"The journal {self.folder} belongs to the knowledge base {owner}, and {file} would share it, so that "
                "trials of one would end up in the other. Name another path with `knowledge_base` or METAHP_HOME."
            )

    def claim(self, file: Path) -> None:
        """Note that this is the journal of the knowledge base `file`.

        Raises:
            OSError: the folder cannot be written.
        """
        owner = self._owner() if self.folder.is_dir() else file
        if owner is None or not _is_same(owner, file):
            write_file(self.folder / OWNER, (json.dumps({"file": os.path.abspath(file)}) + "\n").encode())

    def _owner(self) -> Path | None:
        """The database that this journal belongs to; None where that is not noted, or cannot be read."""
        try:
            return Path(json.loads(read_bytes(self.folder / OWNER))["file"])
        except Exception as error:
            _log.debug("No owner of %s: %s", self.folder, error)
            return None

    def _new_path(self) -> Path:
        return self.folder / f"{uuid.uuid4().hex}{SUFFIX}"


def journal_folder(file: Path) -> Path:
    """The folder of the journal of a database file; two databases in one folder keep theirs apart."""
    return file.parent / ("journal" if file.name == FILE_NAME else f"{file.stem}.journal")


def describe_faults(path: Path, segment: Segment) -> str:
    """What a reader says of a segment that it cannot read whole."""
    name = f"The journal segment {make_encodable(str(path))}"
    if segment.newer:
        return f"{name} was written by a newer metahp and is left alone. Upgrade with: pip install -U metahp"
    if segment.is_unfit:
        return f"{name} is no segment and is left out: {segment.first_fault}."
    return f"{name} has {segment.n_lost} record(s) that cannot be read and are left out; {segment.first_fault}."


def describe_error(path: Path, error: OSError) -> str:
    """What is said of a segment that the system does not give at present."""
    return f"The journal segment {make_encodable(str(path))} cannot be read ({error.strerror}) and is left where it is."


def _is_same(one: Path, other: Path) -> bool:
    if os.path.abspath(one) == os.path.abspath(other):
        return True
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def _list_segments(folder: Path) -> list[Path]:
    return sorted(path for path in _list_folder(folder) if path.suffix == SUFFIX and not path.name.startswith("."))


def _list_folder(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise KnowledgeBaseError(
            f"The folder {folder} cannot be read ({error.strerror}). Check its permissions, or name another knowledge "
            "base with `knowledge_base` or METAHP_HOME."
        ) from error
