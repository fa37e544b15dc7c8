"""The journal: trials and task records in immutable files, which any process can write without a lock."""

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
# Suffix of files with unreadable lines; no reader opens them.
ASIDE = ".unreadable"
# Folder of ingested segments, until the database has been read back.
ARCHIVE = "archive"
OWNER = "owner.json"
# Default file name of a knowledge base; the folder of its journal is then called `journal`.
FILE_NAME = "kb.duckdb"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Content of a journal when it was listed: segments by name, and read errors of other segments by name."""

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
        """Number of valid segments."""
        return sum(not segment.is_unfit for segment in self.segments.values())

    def describe_faults(self) -> Iterator[tuple[str, str]]:
        """A key and a message for each segment with unreadable records; all newer segments share one key."""
        for name, segment in self.segments.items():
            if segment.n_lost or segment.newer:
                yield "newer" if segment.newer else name, describe_faults(self.folder / name, segment)


class Journal:
    """A folder of segments. A segment is a file of JSON lines, which gets its name only when it is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.archive = self.folder / ARCHIVE

    def append(self, trials: Sequence[Trial], tasks: Sequence[TaskRecord] = ()) -> None:
        """Write `tasks` and `trials` to a new segment (or several, if they are large), each in one step.

        Raises:
            OSError: the segment cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for content in make_segments(trials, tasks):
            write_file(self._make_path(), content)

    def list_segments(self) -> list[Path]:
        """Paths of the complete segments."""
        return _list_segments(self.folder)

    def list_archived(self) -> list[Path]:
        """Paths of the ingested segments that have not been read back yet."""
        return _list_segments(self.archive)

    def read(self, known: Mapping[str, Segment] | None = None) -> Pending:
        """Current content; segments in `known` (by name) are not read again, because a segment never changes."""
        segments: dict[str, Segment] = {}
        errors: dict[str, str] = {}
        for path in self.list_segments():
            try:
                segments[path.name] = (known or {}).get(path.name) or read_segment(path)
            except FileNotFoundError:
                # Another process has ingested it.
                continue
            except OSError as error:
                errors[path.name] = describe_error(path, error)
        return Pending(folder=self.folder, segments=segments, errors=errors)

    def read_trials(self) -> list[Trial]:
        """All readable trials of all segments, with one logged warning for each segment with unreadable records."""
        pending = self.read()
        for message in (*pending.errors.values(), *(line for _, line in pending.describe_faults())):
            _log.warning("%s", message)
        return pending.trials

    def set_aside(self, path: Path, segment: Segment) -> Path | None:
        """Copy the unreadable lines of a segment, byte for byte, to a new file. A file that is no segment is renamed.

        Returns:
            The path of the new file; None if no unreadable line is left to copy.

        Raises:
            OSError: the file cannot be written or renamed.
        """
        aside = path.with_suffix(ASIDE)
        if segment.is_unfit:
            while os.path.lexists(aside):
                aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}{ASIDE}")
            path.rename(aside)
        elif lines := select_lines(read_bytes(path), (fault.position for fault in segment.faults)):
            write_file(aside, lines)
        else:
            return None
        return aside

    def put_away(self, path: Path, kept: set[int] | None = None) -> None:
        """Move an ingested segment to the archive.

        Args:
            path: Path of the segment.
            kept: Numbers of the lines to archive; None for all. If empty, the segment is deleted.

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
        """Move an archived segment into the journal, under a new name, because the old name counts as ingested.

        Raises:
            OSError: it cannot be moved.
        """
        with contextlib.suppress(FileNotFoundError):
            path.rename(self._make_path())

    def sync(self) -> None:
        """Make moves between journal and archive durable."""
        for folder in (self.archive, self.folder):
            if folder.is_dir():
                sync_folder(folder)

    def sweep(self) -> None:
        """Remove unfinished files of processes that have ended."""
        for folder in (self.folder, self.archive):
            sweep(folder)

    def check_owner(self, file: Path) -> None:
        """Refuse the journal of another knowledge base than `file`. A moved or copied journal is accepted.

        Raises:
            KnowledgeBaseError: another existing database uses this folder as its journal.
        """
        owner = self._read_owner()
        if owner is None or _is_same(owner, file) or not owner.is_file():
            return
        # The same folder may have two names, for example through a link.
        if _is_same(find_journal_folder(owner), self.folder):
            raise KnowledgeBaseError(
                f"The journal {self.folder} belongs to the knowledge base {owner}, and {file} would share it: trials "
                "of one would be added to the other. Name another path with `knowledge_base` or METAHP_HOME."
            )

    def claim(self, file: Path) -> None:
        """Record in the folder that this is the journal of the knowledge base `file`.

        Raises:
            OSError: the folder cannot be written.
        """
        owner = self._read_owner() if self.folder.is_dir() else file
        if owner is None or not _is_same(owner, file):
            write_file(self.folder / OWNER, (json.dumps({"file": os.path.abspath(file)}) + "\n").encode())

    def _read_owner(self) -> Path | None:
        """The database of this journal; None if it is not recorded or cannot be read."""
        try:
            return Path(json.loads(read_bytes(self.folder / OWNER))["file"])
        except Exception as error:
            _log.debug("No owner of %s: %s", self.folder, error)
            return None

    def _make_path(self) -> Path:
        return self.folder / f"{uuid.uuid4().hex}{SUFFIX}"


def find_journal_folder(file: Path) -> Path:
    """The folder of a database file's journal. Two databases in one folder have separate journals."""
    return file.parent / ("journal" if file.name == FILE_NAME else f"{file.stem}.journal")


def describe_faults(path: Path, segment: Segment) -> str:
    """Message about a segment with unreadable records."""
    name = f"The journal segment {make_encodable(str(path))}"
    if segment.newer:
        return f"{name} is of a newer metahp, so advice does not learn from it. Upgrade with: pip install -U metahp"
    if segment.is_unfit:
        return f"{name} is not a valid segment, so advice does not learn from it: {segment.first_fault}."
    lost = f"{segment.n_lost} record(s) that cannot be read and that advice does not learn from"
    return f"{name} has {lost}; {segment.first_fault}."


def describe_error(path: Path, error: OSError) -> str:
    """Message about a segment that the system cannot read at present."""
    name = f"The journal segment {make_encodable(str(path))}"
    return f"{name} cannot be read ({error.strerror}), so advice does not learn from it."


def _is_same(first: Path, second: Path) -> bool:
    if os.path.abspath(first) == os.path.abspath(second):
        return True
    with contextlib.suppress(OSError):
        return first.samefile(second)
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
