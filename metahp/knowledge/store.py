"""The knowledge base: tasks and trials in one DuckDB file, with a journal beside it that needs no lock."""

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
from metahp.knowledge.journal import FILE_NAME, Journal, journal_folder
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.segment import Segment
from metahp.knowledge.snapshot import WAIT_SECONDS, Content, Snapshot
from metahp.knowledge.warn_once import WarnOnce

Result = TypeVar("Result")


class KnowledgeBase:
    """Tasks and trials, in `path` (a folder, or a `.duckdb` file), with the journal beside it.

    Recording writes to the journal only and never waits. Reading sees the file and the journal together, opens the
    file for a moment, and waits a bounded time where a writer has it; what needs several answers takes a snapshot,
    which opens it once. Nothing is touched until a method is called, and a knowledge base that does not exist yet reads
    as empty.

    Every record is read on its own: one that is not valid is left out, and named once in a logged warning. A journal
    that belongs to another knowledge base is refused by every method that reads or writes it (KnowledgeBaseError).
    """

    def __init__(self, path: Path) -> None:
        path = Path(path).expanduser()
        is_file = path.suffix in (".duckdb", ".db") or path.is_file()
        self.file = path if is_file else path / FILE_NAME
        self.folder = self.file.parent
        self.journal = Journal(journal_folder(self.file))
        self._segments: Mapping[str, Segment] = {}
        self._warn = WarnOnce()

    def take_snapshot(self) -> Snapshot:
        """What the file and the journal hold now; the file is open until the snapshot is closed.

        Raises:
            BusyError: another process holds the file (the message says who).
            KnowledgeBaseError: the file or the journal cannot be used.
        """
        return self._take_snapshot()

    def record(self, trials: Sequence[Trial] = (), tasks: Sequence[TaskRecord] = ()) -> None:
        """Write trials and tasks to the journal: at once, without a lock, safe after a kill.

        Raises:
            KnowledgeBaseError: the folder cannot be written.
        """
        if not trials and not tasks:
            return
        self.journal.check_owner(self.file)
        with self._clear_errors():
            self.journal.append(trials, tasks)
            self.journal.claim(self.file)

    def ingest(self, wait_seconds: float = WAIT_SECONDS) -> int:
        """Move the journal into the file; how many trials were new.

        Doing it twice, or a second time after a kill, changes nothing. What cannot be read is set aside, with one
        logged warning for each segment, and the rest goes on; a segment of a newer version stays. What was taken in is
        archived, and deleted by a later ingest that finds it in the file.

        Raises:
            BusyError: another process holds the file for longer than `wait_seconds` (the message says who).
            KnowledgeBaseError: the file or the journal cannot be used.
        """
        self.journal.check_owner(self.file)
        count = 0
        with self._clear_errors():
            self.sweep()
            if not self.file.exists():
                ingest.bring_back(self.journal, self.journal.archived())
            waiting = self.journal.segments()
            batches = list(ingest.split_batches(waiting))
            if self._can_read_back():
                # The file is opened once for both, and for reading only where nothing is to be written.
                with self._open(read_only=not waiting, wait_seconds=wait_seconds) as connection:
                    ingest.read_back(connection, self.journal)
                    batches = list(ingest.split_batches(self.journal.segments()))
                    if waiting and batches:
                        count += self._take_in(connection, batches.pop(0))
            for batch in batches:
                if not self.file.exists():
                    # Empty at first: what is moved out of the journal has to be in the file that stands in the end.
                    database.create(self.file, lambda connection: None)
                with self._open(read_only=False, wait_seconds=wait_seconds) as connection:
                    count += self._take_in(connection, batch)
        return count

    def sweep(self) -> None:
        """Remove what processes that have ended left unfinished in the folder and the journal."""
        sweep(self.folder, self.file.name)
        self.journal.sweep()

    def add(
        self,
        tasks: Sequence[TaskRecord],
        trials: pa.Table,
        settings: Mapping[str, str] | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> int:
        """Add tasks and a table of trials (columns as `columns.trial_schema`) past the journal, in one transaction.

        `settings` are kept in the same transaction. Returns how many trials were new.

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
        """All task records, in the order of their ids."""
        with self.take_snapshot() as snapshot:
            return snapshot.tasks

    def task(self, id: str) -> TaskRecord | None:
        """The record of one task, by its content hash; None where it is unknown."""
        with self.take_snapshot() as snapshot:
            return snapshot.read_task(id)

    def trials(self, *, task: str | None = None, learner: str | None = None) -> list[Trial]:
        """All trials, or those of one task or learner, in the order of their ids."""
        with self.take_snapshot() as snapshot:
            return snapshot.read_trials(task=task, learner=learner)

    def content(self) -> Content:
        """Everything that can be read, in the order of ids, and why the rest cannot, which no warning says then."""
        with self._take_snapshot(is_told=False) as snapshot:
            return snapshot.read_content()

    def trial_ids(self) -> set[str]:
        """The ids of all trials."""
        with self.take_snapshot() as snapshot:
            return snapshot.list_trial_ids()

    def content_hash(self) -> str:
        """A hash of which trials and task descriptions there are: the same for any order, before and after ingest."""
        with self.take_snapshot() as snapshot:
            return snapshot.content_hash

    def info(self) -> dict[str, Any]:
        """What there is, as `Snapshot.totals`."""
        with self.take_snapshot() as snapshot:
            return snapshot.totals

    def verify(self) -> list[str]:
        """What is damaged in the file, every page of it read; empty where nothing is.

        What was ingested before is then read back, so that the archive of the journal can go.

        Raises:
            BusyError: another process holds the file.
            KnowledgeBaseError: it is none of ours, or of a newer version.
        """
        if not self.file.exists():
            return []
        damage = pages.find_damage(self.file, WAIT_SECONDS)
        if not damage:
            self.journal.check_owner(self.file)
            with self._clear_errors():
                if self._can_read_back():
                    with self._open(read_only=True, wait_seconds=WAIT_SECONDS) as connection:
                        ingest.read_back(connection, self.journal)
        return damage

    def _write(self, function: Callable[[duckdb.DuckDBPyConnection], Result], wait_seconds: float) -> Result:
        if not self.file.exists():
            is_ours, result = database.create(self.file, function)
            if is_ours:
                return result
        with self._open(read_only=False, wait_seconds=wait_seconds) as connection:
            return function(connection)

    def _take_snapshot(self, *, is_told: bool = True) -> Snapshot:
        """A snapshot; a warning names the segments of which some records cannot be read, where it `is_told`."""
        self.journal.check_owner(self.file)
        # Before the file is opened: a segment that goes away meanwhile is then in the file.
        pending = self.journal.read(self._segments)
        self._segments = pending.segments
        for key, message in (*pending.errors.items(), *(pending.describe_faults() if is_told else ())):
            self._warn(key, message)
        return Snapshot(self.file, pending, self._warn)

    def _open(self, *, read_only: bool, wait_seconds: float) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return database.open_file(self.file, read_only=read_only, wait_seconds=wait_seconds)

    def _take_in(self, connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> int:
        self.journal.claim(self.file)
        return ingest.take_in(connection, self.journal, paths, self._warn)

    def _can_read_back(self) -> bool:
        """Whether the archive can be compared with the file: no log may be beside it before it is opened."""
        return bool(self.journal.archived()) and not database.wal_path(self.file).exists()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Turn what the system says of the journal into one line that names it."""
        try:
            yield
        except OSError as error:
            raise KnowledgeBaseError(
                f"The journal {self.journal.folder} cannot be written ({error.strerror}). "
                "Choose another knowledge base with `knowledge_base` or METAHP_HOME."
            ) from error
