"""The knowledge base: tasks and trials in one DuckDB file, and a journal that is written without a lock."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Trial
from metahp.files import sweep
from metahp.knowledge import database, ingest, pages, queries
from metahp.knowledge.journal import FILE_NAME, Journal, find_journal_folder
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.segment import Segment
from metahp.knowledge.snapshot import WAIT_SECONDS, Content, Snapshot
from metahp.knowledge.warn_once import WarnOnce

Result = TypeVar("Result")


class KnowledgeBase:
    """Tasks and trials in `path` (a folder, or a `.duckdb` file), with the journal in the same folder.

    `record` writes only to the journal and never waits. Methods that read combine the file and the journal. They open
    the file briefly, and wait for a limited time if another process writes to it. For several reads take a snapshot,
    which opens the file once. The constructor does not access the disk. A knowledge base that does not exist yet is
    read as empty.

    Every record is read separately: invalid ones are left out, and reported once in a logged warning. Every method that
    reads or writes the journal raises `KnowledgeBaseError` if the journal belongs to another knowledge base.
    """

    def __init__(self, path: Path) -> None:
        path = Path(path).expanduser()
        is_file = path.suffix in (".duckdb", ".db") or path.is_file()
        self.file = path if is_file else path / FILE_NAME
        self.folder = self.file.parent
        self.journal = Journal(find_journal_folder(self.file))
        self._segments: Mapping[str, Segment] = {}
        self._warn = WarnOnce()

    def take_snapshot(self) -> Snapshot:
        """Current content of the file and the journal; the file is open until the snapshot is closed.

        Raises:
            BusyError: another process holds the file (the message names it).
            KnowledgeBaseError: the file or the journal cannot be used.
        """
        return self._take_snapshot()

    def record(self, trials: Sequence[Trial] = (), tasks: Sequence[TaskRecord] = ()) -> None:
        """Write trials and tasks to the journal: immediately, without a lock, and safe from a later kill.

        Raises:
            KnowledgeBaseError: the folder cannot be written.
        """
        if not trials and not tasks:
            return
        self.journal.check_owner(self.file)
        with self._translate_errors():
            self.journal.append(trials, tasks)
            self.journal.claim(self.file)

    def ingest(self, wait_seconds: float = WAIT_SECONDS) -> int:
        """Move the journal into the file; the number of new trials.

        Repeating it, also after a kill, changes nothing. Unreadable records are moved to separate files, with one
        logged warning for each segment; segments of a newer version stay. Ingested segments are archived; a later
        ingest deletes them when their records are found in the file.

        Raises:
            BusyError: another process holds the file for longer than `wait_seconds` (the message names it).
            KnowledgeBaseError: the file or the journal cannot be used.
        """
        self.journal.check_owner(self.file)
        count = 0
        with self._translate_errors():
            self.sweep()
            if not self.file.exists():
                ingest.bring_back(self.journal, self.journal.list_archived())
            waiting = self.journal.list_segments()
            batches = list(ingest.split_batches(waiting))
            if self._can_read_back():
                # Open the file once for both steps, and only for reading if there is nothing to write.
                with self._open(read_only=not waiting, wait_seconds=wait_seconds) as connection:
                    ingest.read_back(connection, self.journal)
                    batches = list(ingest.split_batches(self.journal.list_segments()))
                    if waiting and batches:
                        count += self._take_in(connection, batches.pop(0))
            for batch in batches:
                if not self.file.exists():
                    # Create it empty, then ingest: another process may create the file too, and trials must be added to
                    # the file that is kept.
                    database.create(self.file, lambda connection: None)
                with self._open(read_only=False, wait_seconds=wait_seconds) as connection:
                    count += self._take_in(connection, batch)
        return count

    def sweep(self) -> None:
        """Remove unfinished files of processes that have ended, from the folder and the journal."""
        sweep(self.folder, self.file.name)
        self.journal.sweep()

    def add(
        self,
        tasks: Sequence[TaskRecord],
        trials: pa.Table,
        settings: Mapping[str, str] | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> int:
        """Add tasks and a table of trials directly to the file, without the journal; the number of new trials.

        Tasks, trials (columns as `columns.make_trial_schema`) and `settings` are written in one transaction.

        Raises:
            KnowledgeBaseError: another process holds the file for longer than `wait_seconds`.
        """

        def fill(connection: duckdb.DuckDBPyConnection) -> int:
            with database.transaction(connection):
                for key, value in (settings or {}).items():
                    queries.set_setting(connection, key, value)
                return len(queries.insert(connection, tasks, trials))

        return self._write(fill, wait_seconds)

    def tasks(self) -> list[TaskRecord]:
        """All task records, sorted by id."""
        with self.take_snapshot() as snapshot:
            return snapshot.tasks

    def task(self, id: str) -> TaskRecord | None:
        """The record of the task with this content hash; None if it is unknown."""
        with self.take_snapshot() as snapshot:
            return snapshot.read_task(id)

    def trials(self, *, task: str | None = None, learner: str | None = None) -> list[Trial]:
        """All trials, or those of one task or learner, sorted by id."""
        with self.take_snapshot() as snapshot:
            return snapshot.read_trials(task=task, learner=learner)

    def content(self) -> Content:
        """All readable records, sorted by id, and the faults of the others, without logged warnings."""
        with self._take_snapshot(has_warnings=False) as snapshot:
            return snapshot.read_content()

    def trial_ids(self) -> set[str]:
        """The ids of all trials."""
        with self.take_snapshot() as snapshot:
            return snapshot.list_trial_ids()

    def content_hash(self) -> str:
        """A hash of all trials and task records. Their order, and an ingest, do not change it."""
        with self.take_snapshot() as snapshot:
            return snapshot.content_hash

    def info(self) -> dict[str, Any]:
        """Path, size and numbers of tasks and trials, as `Snapshot.totals`."""
        with self.take_snapshot() as snapshot:
            return snapshot.totals

    def verify(self) -> list[str]:
        """Descriptions of the damage in the file, after reading every page; empty if there is none.

        Without damage, archived segments are compared with the file and deleted.

        Raises:
            BusyError: another process holds the file.
            KnowledgeBaseError: the file is not a knowledge base, or is of a newer version.
        """
        if not self.file.exists():
            return []
        damage = pages.find_damage(self.file, WAIT_SECONDS)
        if not damage:
            self.journal.check_owner(self.file)
            with self._translate_errors():
                if self._can_read_back():
                    with self._open(read_only=True, wait_seconds=WAIT_SECONDS) as connection:
                        ingest.read_back(connection, self.journal)
        return damage

    def _write(self, function: Callable[[duckdb.DuckDBPyConnection], Result], wait_seconds: float) -> Result:
        if not self.file.exists():
            is_kept, result = database.create(self.file, function)
            if is_kept:
                return result
        with self._open(read_only=False, wait_seconds=wait_seconds) as connection:
            return function(connection)

    def _take_snapshot(self, *, has_warnings: bool = True) -> Snapshot:
        """A snapshot; with `has_warnings`, a warning names each segment with unreadable records."""
        self.journal.check_owner(self.file)
        # Read the journal before the file: a segment that disappears meanwhile is then in the file.
        pending = self.journal.read(self._segments)
        self._segments = pending.segments
        for key, message in (*pending.errors.items(), *(pending.describe_faults() if has_warnings else ())):
            self._warn(key, message)
        return Snapshot(self.file, pending, self._warn)

    def _open(self, *, read_only: bool, wait_seconds: float) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return database.open_file(self.file, read_only=read_only, wait_seconds=wait_seconds)

    def _take_in(self, connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> int:
        self.journal.claim(self.file)
        return ingest.take_in(connection, self.journal, paths, self._warn)

    def _can_read_back(self) -> bool:
        """Whether there is an archive that can be compared with the file: the file must have no write-ahead log."""
        return bool(self.journal.list_archived()) and not database.make_wal_path(self.file).exists()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn an error of the system into a `KnowledgeBaseError` that names the journal."""
        try:
            yield
        except OSError as error:
            raise KnowledgeBaseError(
                f"The journal {self.journal.folder} cannot be written ({error.strerror}). "
                "Choose another knowledge base with `knowledge_base` or METAHP_HOME."
            ) from error
