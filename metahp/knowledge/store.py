"""The knowledge base: tasks and trials in one DuckDB file, with a journal beside it that needs no lock."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Origin, Trial
from metahp.knowledge import database
from metahp.knowledge.columns import trials_from_table, trials_to_table
from metahp.knowledge.journal import ASIDE, Journal, Segment, read_segment
from metahp.knowledge.records import TaskRecord

FILE_NAME = "kb.duckdb"
# Long enough for another process to ingest a long journal, short enough that a person learns who holds the file.
WAIT_SECONDS = 10.0
# Segments that one transaction takes in: a journal of any length needs bounded memory, and a kill repeats little.
SEGMENTS_AT_ONCE = 5000

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class KnowledgeBase:
    """Tasks and trials, in `path` (a folder, or a `.duckdb` file), with the journal beside it.

    Recording writes to the journal only and never waits. Reading sees the file and the journal together, opens the
    file for a moment, and waits a bounded time where a writer has it. Nothing is touched until a method is called,
    and a knowledge base that does not exist yet reads as empty.
    """

    def __init__(self, path: Path) -> None:
        path = Path(path).expanduser()
        is_file = path.suffix in (".duckdb", ".db") or path.is_file()
        self.file = path if is_file else path / FILE_NAME
        self.folder = self.file.parent
        # Two knowledge bases in one folder keep their journals apart.
        name = "journal" if self.file.name == FILE_NAME else f"{self.file.stem}.journal"
        self.journal = Journal(self.folder / name)
        self._segments: dict[str, Segment | None] = {}

    def record(self, trials: Sequence[Trial] = (), tasks: Sequence[TaskRecord] = ()) -> None:
        """Write trials and tasks to the journal: at once, without a lock, safe after a kill.

        Raises:
            KnowledgeBaseError: the folder cannot be written.
        """
        if not trials and not tasks:
            return
        try:
            self.journal.append(trials, tasks)
        except OSError as error:
            raise KnowledgeBaseError(
                f"The journal {self.journal.folder} cannot be written ({error.strerror}). "
                "Choose another knowledge base with --kb PATH or METAHP_HOME."
            ) from error

    def ingest(self, wait_seconds: float = WAIT_SECONDS) -> int:
        """Move the journal into the file; how many trials were new.

        Doing it twice, or a second time after a kill, changes nothing. A segment that cannot be read is renamed, with
        a logged warning, and the rest goes on.

        Raises:
            KnowledgeBaseError: another process holds the file for longer than `wait_seconds` (the message says who).
        """
        count, paths = 0, self.journal.segments()
        for start in range(0, len(paths), SEGMENTS_AT_ONCE):
            count += self._ingest(paths[start : start + SEGMENTS_AT_ONCE], wait_seconds)
        return count

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
                    database.set_setting(connection, key, value)
                return database.insert(connection, tasks, trials)

        return self._write(fill, wait_seconds)

    def tasks(self) -> list[TaskRecord]:
        """All task records, in the order of their ids."""
        pending = self._pending()
        records = database.united(self._read(database.known_tasks) or {}, pending.tasks)
        return [records[key] for key in sorted(records)]

    def task(self, id: str) -> TaskRecord | None:
        """The record of one task, by its content hash; None where it is unknown."""
        pending = self._pending()
        known = self._read(partial(database.known_tasks, ids=[id])) or {}
        return database.united(known, (record for record in pending.tasks if record.task.id == id)).get(id)

    def trials(self, *, task: str | None = None, learner: str | None = None) -> list[Trial]:
        """All trials, or those of one task or learner, in the order of their ids."""
        pending = self._pending()
        table = self._read(partial(database.select_trials, task=task, learner=learner))
        trials = {} if table is None else dict(zip(table["id"].to_pylist(), trials_from_table(table), strict=True))
        for trial in pending.trials:
            if task in (None, trial.task) and learner in (None, trial.configuration.learner):
                trials.setdefault(trial.id, trial)
        return [trials[key] for key in sorted(trials)]

    def trial_ids(self) -> set[str]:
        """The ids of all trials."""
        pending = self._pending()
        return {*(self._read(database.select_ids) or []), *(trial.id for trial in pending.trials)}

    def content_hash(self) -> str:
        """A hash of which trials and task descriptions there are: the same for any order, before and after ingest."""
        pending = self._pending()
        trials, tasks = {trial.id for trial in pending.trials}, pending.tasks

        def look_up(connection: duckdb.DuckDBPyConnection) -> tuple[str, set[str], dict[str, TaskRecord]]:
            total = database.setting(connection, "content") or "0"
            known = database.known_trials(connection, sorted(trials)) if trials else set()
            return total, known, database.known_tasks(connection, {record.task.id for record in tasks})

        total, known, old = self._read(look_up) or ("0", set(), {})
        return f"{database.content_sum(int(total, 16), trials - known, old, database.united(old, tasks)):024x}"

    def setting(self, key: str) -> str | None:
        """A value that `add` kept."""
        return self._read(partial(database.setting, key=key))

    def info(self) -> dict[str, Any]:
        """What there is: path, size, counts of tasks by type and of trials by learner, state and origin, journal.

        `defaults_by_learner` counts trials of library defaults: those of nearly every task that a learner was tried on.
        """
        pending = self._pending()
        trials = {trial.id: trial for trial in pending.trials}

        def look_up(
            connection: duckdb.DuckDBPyConnection,
        ) -> tuple[list[database.Count], set[str], dict[str, str], int]:
            return (
                database.count_trials(connection),
                database.known_trials(connection, sorted(trials)),
                database.task_types(connection),
                database.version(connection),
            )

        counts, known, types, version = self._read(look_up) or ([], set(), {}, 0)
        counts += [
            (t.configuration.learner, str(t.state), str(t.origin), 1) for t in trials.values() if t.id not in known
        ]
        types = {**{record.task.id: str(record.task.type) for record in pending.tasks}, **types}
        return {
            "path": str(self.file),
            "size_bytes": self.file.stat().st_size if self.file.exists() else 0,
            "n_tasks": len(types),
            "tasks_by_type": _totals((kind, 1) for kind in types.values()),
            "n_trials": sum(row[3] for row in counts),
            "trials_by_learner": _totals((learner, n) for learner, _, _, n in counts),
            "defaults_by_learner": _totals(
                (learner, n) for learner, _, origin, n in counts if origin == Origin.DEFAULT
            ),
            "trials_by_state": _totals((state, n) for _, state, _, n in counts),
            "trials_by_origin": _totals((origin, n) for _, _, origin, n in counts),
            "journal": str(self.journal.folder),
            "pending_segments": len(self._segments),
            "schema_version": version,
            "content_hash": self.content_hash(),
        }

    def _read(self, function: Callable[[duckdb.DuckDBPyConnection], Result]) -> Result | None:
        """What `function` finds in the file; None where there is no file yet."""
        if not self.file.exists():
            return None
        with database.opened(self.file, read_only=True, wait_seconds=WAIT_SECONDS) as connection:
            return function(connection)

    def _write(self, function: Callable[[duckdb.DuckDBPyConnection], Result], wait_seconds: float) -> Result:
        if not self.file.exists():
            is_ours, result = database.create(self.file, function)
            if is_ours:
                return result
        with database.opened(self.file, read_only=False, wait_seconds=wait_seconds) as connection:
            return function(connection)

    def _pending(self) -> Segment:
        """What the journal holds. Read before the file: a segment that goes away meanwhile is then in the file."""
        paths = self.journal.segments()
        found = {path.name: self._segment(path) for path in paths}
        self._segments = found
        return _joined(segment for segment in found.values() if segment)

    def _segment(self, path: Path) -> Segment | None:
        """A segment, read once (it never changes); None where it is gone or cannot be read."""
        if path.name in self._segments:
            return self._segments[path.name]
        try:
            return read_segment(path)
        except FileNotFoundError:
            return None
        except KnowledgeBaseError as error:
            _log.warning("%s", error)
            return None

    def _ingest(self, paths: Sequence[Path], wait_seconds: float) -> int:
        unreadable: list[Path] = []

        def fill(connection: duckdb.DuckDBPyConnection) -> int:
            # Under the lock: what another process has just ingested is either gone or known by its name.
            done = database.ingested(connection, [path.name for path in paths])
            segments, unreadable[:] = _read_all([path for path in paths if path.name not in done])
            content = _joined(segments.values())
            with database.transaction(connection):
                count = database.insert(connection, content.tasks, trials_to_table(_distinct(content.trials)))
                database.mark_ingested(connection, [path.name for path in segments])
            return count

        count = self._write(fill, wait_seconds)
        for path in unreadable:
            aside = path.with_suffix(ASIDE)
            path.replace(aside)
            _log.warning("Set %s aside: this version of metahp cannot read it.", aside)
        for path in set(paths) - set(unreadable):
            path.unlink(missing_ok=True)
        return count


def _read_all(paths: Sequence[Path]) -> tuple[dict[Path, Segment], list[Path]]:
    segments, unreadable = {}, []
    for path in paths:
        try:
            segments[path] = read_segment(path)
        except FileNotFoundError:
            continue
        except KnowledgeBaseError as error:
            _log.warning("%s", error)
            unreadable.append(path)
    return segments, unreadable


def _totals(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, count in counts:
        totals[name] = totals.get(name, 0) + count
    return dict(sorted(totals.items()))


def _joined(segments: Iterable[Segment]) -> Segment:
    segments = list(segments)
    return Segment(
        tuple(chain.from_iterable(s.tasks for s in segments)), tuple(chain.from_iterable(s.trials for s in segments))
    )


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    """Each trial once, the first that came, in an order that compresses well."""
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.id, trial)
    return sorted(first.values(), key=lambda t: (t.task, t.configuration.learner, t.configuration.id))
