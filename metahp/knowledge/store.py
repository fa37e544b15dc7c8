"""The knowledge base: tasks and trials in one DuckDB file, with a journal beside it that needs no lock."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from metahp.core.errors import KnowledgeBaseError
from metahp.core.task import TaskType
from metahp.core.text import encodable
from metahp.core.trial import OBJECTIVE_SPLITS, Origin, Trial, TrialState
from metahp.files import sweep
from metahp.knowledge import database, ingest, pages, queries
from metahp.knowledge.journal import FILE_NAME, Journal, describe_error, describe_faults, journal_folder
from metahp.knowledge.records import Tally, TaskRecord
from metahp.knowledge.segment import Segment, read_segment

# Long enough for another process to ingest a long journal, short enough that a person learns who holds the file.
WAIT_SECONDS = 10.0

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Content:
    """All tasks and trials that can be read, and what is wrong with the records that cannot."""

    tasks: list[TaskRecord]
    trials: list[Trial]
    faults: list[str]


class KnowledgeBase:
    """Tasks and trials, in `path` (a folder, or a `.duckdb` file), with the journal beside it.

    Recording writes to the journal only and never waits. Reading sees the file and the journal together, opens the
    file for a moment, and waits a bounded time where a writer has it. Nothing is touched until a method is called,
    and a knowledge base that does not exist yet reads as empty.

    Every record is read on its own: one that is not valid is left out, and named once in a logged warning. A journal
    that belongs to another knowledge base is refused by every method that reads or writes it (KnowledgeBaseError).
    """

    def __init__(self, path: Path) -> None:
        path = Path(path).expanduser()
        is_file = path.suffix in (".duckdb", ".db") or path.is_file()
        self.file = path if is_file else path / FILE_NAME
        self.folder = self.file.parent
        self.journal = Journal(journal_folder(self.file))
        self._segments: dict[str, Segment] = {}
        self._named: set[str] = set()

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
            self._read_back(wait_seconds)
            if paths := self.journal.segments():
                self.journal.claim(self.file)
            for batch in ingest.split_batches(paths):
                count += self._ingest(batch, wait_seconds)
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
        records, faults = self._tasks(self._pending())
        self._warn_of_rows(faults, "task(s)")
        return [records[key] for key in sorted(records)]

    def task(self, id: str) -> TaskRecord | None:
        """The record of one task, by its content hash; None where it is unknown."""
        pending = self._pending()
        known = self._read(partial(queries.known_tasks, ids=[id]))
        records = known.records if known else {}
        return queries.united(records, (record for record in pending.tasks if record.task.id == id)).get(id)

    def trials(self, *, task: str | None = None, learner: str | None = None) -> list[Trial]:
        """All trials, or those of one task or learner, in the order of their ids."""
        trials, faults = self._trials(self._pending(), task, learner)
        self._warn_of_rows(faults, "trial(s)")
        return [trials[key] for key in sorted(trials)]

    def trials_of(self, tasks: Sequence[str], learners: Sequence[str]) -> list[Trial]:
        """All trials of some tasks and learners, in the order of their ids."""
        pending = self._pending()
        known = self._read(partial(queries.select_trials_of, tasks=tasks, learners=learners))
        trials = dict(known.records) if known else {}
        for trial in pending.trials:
            if trial.task in tasks and trial.configuration.learner in learners:
                trials.setdefault(trial.id, trial)
        self._warn_of_rows(known.faults if known else {}, "trial(s)")
        return [trials[key] for key in sorted(trials)]

    def sums(self, learners: Sequence[str]) -> dict[str, str]:
        """By task a text that changes with its description and with its trials of some learners."""
        pending = self._pending()
        trials = {trial.id: trial for trial in pending.trials if trial.configuration.learner in learners}

        def look_up(connection: duckdb.DuckDBPyConnection) -> tuple[dict[str, tuple[int, int]], set[str]]:
            return queries.sum_trials(connection, learners), queries.known_trials(connection, sorted(trials))

        counted, known = self._read(look_up) or ({}, set())
        for key, trial in trials.items():
            if key not in known:
                count, total = counted.get(trial.task, (0, 0))
                counted[trial.task] = count + 1, total + int(key[: queries.SUMMED_DIGITS], 16)
        return {
            record.task.id: f"{record.fingerprint} {' '.join(map(str, counted.get(record.task.id, (0, 0))))}"
            for record in self.tasks()
        }

    def content(self) -> Content:
        """Everything that can be read, in the order of ids, and why the rest cannot, which no warning says then."""
        pending = self._pending(is_told=False)
        tasks, wrong_tasks = self._tasks(pending)
        trials, wrong_trials = self._trials(pending, None, None)
        faults = [describe_faults(self.journal.folder / name, segment) for name, segment in self._find_faulty()]
        faults += [f"task {key}: {reason}" for key, reason in wrong_tasks.items()]
        faults += [f"trial {key}: {reason}" for key, reason in wrong_trials.items()]
        return Content([tasks[key] for key in sorted(tasks)], [trials[key] for key in sorted(trials)], faults)

    def trial_ids(self) -> set[str]:
        """The ids of all trials."""
        pending = self._pending()
        return {*(self._read(queries.select_ids) or []), *(trial.id for trial in pending.trials)}

    def content_hash(self) -> str:
        """A hash of which trials and task descriptions there are: the same for any order, before and after ingest."""
        pending = self._pending()
        return _hash_content(pending, self._read(partial(_read_content, pending=pending)))

    def setting(self, key: str) -> str | None:
        """A value that `add` kept."""
        return self._read(partial(queries.setting, key=key))

    def info(self) -> dict[str, Any]:
        """What there is: path, size, counts of tasks by type and of trials by learner, state and origin, journal.

        `defaults_by_learner` counts trials of library defaults: those of nearly every task that a learner was tried on.
        """
        pending = self._pending()
        trials = {trial.id: trial for trial in pending.trials}

        def look_up(
            connection: duckdb.DuckDBPyConnection,
        ) -> tuple[list[queries.Count], dict[str, str], int, _Stored]:
            return (
                queries.count_trials(connection),
                queries.task_types(connection),
                database.version(connection),
                _read_content(connection, pending),
            )

        counts, types, version, stored = self._read(look_up) or ([], {}, 0, _Stored(0, set(), {}))
        known = stored.known
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
            "pending_segments": sum(not segment.is_unfit for segment in self._segments.values()),
            "schema_version": version,
            "content_hash": _hash_content(pending, stored),
        }

    def tallies(self, metrics: Mapping[TaskType, str]) -> list[Tally]:
        """How many trials of tables there are of each configuration on each type of task.

        Complete ones without a loss of the metric that `metrics` names for their type are counted too.
        """
        pending = self._pending()
        trials = {trial.id: trial for trial in pending.trials if trial.protocol.splits != OBJECTIVE_SPLITS}

        def look_up(connection: duckdb.DuckDBPyConnection) -> tuple[list[Tally], set[str], dict[str, str]]:
            return (
                queries.count_configurations(connection, metrics),
                queries.known_trials(connection, sorted(trials)),
                queries.task_types(connection),
            )

        tallies, known, types = self._read(look_up) or ([], set(), {})
        types = {**{record.task.id: str(record.task.type) for record in pending.tasks}, **types}
        for trial in (trial for key, trial in trials.items() if key not in known):
            kind = queries.task_type_of(types.get(trial.task))
            is_measured = kind is None or metrics[kind] in trial.fold_losses
            is_unmeasured = trial.state is TrialState.COMPLETE and not is_measured
            tallies.append(Tally(trial.configuration, kind, 1, int(is_unmeasured)))
        return tallies

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
                self._read_back(WAIT_SECONDS)
        return damage

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

    def _tasks(self, pending: Segment) -> tuple[dict[str, TaskRecord], dict[str, str]]:
        known: queries.Known[TaskRecord] = self._read(queries.known_tasks) or queries.Known({}, {})
        return queries.united(known.records, pending.tasks), known.faults

    def _trials(
        self, pending: Segment, task: str | None, learner: str | None
    ) -> tuple[dict[str, Trial], dict[str, str]]:
        known = self._read(partial(queries.select_trials, task=task, learner=learner))
        trials = dict(known.records) if known else {}
        for trial in pending.trials:
            if task in (None, trial.task) and learner in (None, trial.configuration.learner):
                trials.setdefault(trial.id, trial)
        return trials, known.faults if known else {}

    def _pending(self, *, is_told: bool = True) -> Segment:
        """What the journal holds. Read before the file: a segment that goes away meanwhile is then in the file."""
        self.journal.check_owner(self.file)
        found = {}
        for path in self.journal.segments():
            try:
                # Read once: a segment never changes.
                found[path.name] = self._segments.get(path.name) or read_segment(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._warn_once(path.name, describe_error(path, error))
        self._segments = found
        if is_told:
            for name, segment in self._find_faulty():
                self._warn_once(
                    "newer" if segment.newer else name, describe_faults(self.journal.folder / name, segment)
                )
        return Segment(tuple(entry for segment in found.values() for entry in segment.entries))

    def _find_faulty(self) -> list[tuple[str, Segment]]:
        return [(name, segment) for name, segment in self._segments.items() if segment.n_lost or segment.newer]

    def _ingest(self, paths: Sequence[Path], wait_seconds: float) -> int:
        if not self.file.exists():
            # Empty at first: what is moved out of the journal has to be in the file that stands in the end.
            database.create(self.file, lambda connection: None)
        with database.opened(self.file, read_only=False, wait_seconds=wait_seconds) as connection:
            return ingest.take_in(connection, self.journal, paths, self._warn_once)

    def _read_back(self, wait_seconds: float) -> None:
        """Compare the archive with the file, if that is a new start: no log was beside it before it is opened."""
        paths = self.journal.archived()
        if not self.file.exists():
            ingest.bring_back(self.journal, paths)
        elif paths and not database.wal_path(self.file).exists():
            with database.opened(self.file, read_only=True, wait_seconds=wait_seconds) as connection:
                ingest.read_back(connection, self.journal)

    def _warn_of_rows(self, faults: Mapping[str, str], what: str) -> None:
        """Warn of rows of the file that are no records, of each once."""
        fresh = {key: reason for key, reason in faults.items() if f"{what} {key}" not in self._named}
        if fresh:
            self._named |= {f"{what} {key}" for key in fresh}
            key, reason = next(iter(fresh.items()))
            _log.warning(
                "%d %s of %s are not valid and are left out; the first is %s: %s.",
                len(fresh),
                what,
                self.file,
                encodable(key),
                reason,
            )

    def _warn_once(self, key: str, message: str) -> None:
        """Warn of something once."""
        if key not in self._named:
            self._named.add(key)
            _log.warning("%s", message)

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


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the file has of a journal: the sum of all its ids, the trials that it knows, and the tasks by id."""

    total: int
    known: set[str]
    tasks: dict[str, TaskRecord]


def _read_content(connection: duckdb.DuckDBPyConnection, pending: Segment) -> _Stored:
    trials = sorted({trial.id for trial in pending.trials})
    return _Stored(
        queries.content(connection),
        queries.known_trials(connection, trials) if trials else set(),
        queries.known_tasks(connection, {record.task.id for record in pending.tasks}).records,
    )


def _hash_content(pending: Segment, stored: _Stored | None) -> str:
    stored = stored or _Stored(0, set(), {})
    added = {trial.id for trial in pending.trials} - stored.known
    total = queries.content_sum(stored.total, added, stored.tasks, queries.united(stored.tasks, pending.tasks))
    return f"{total:024x}"


def _totals(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, count in counts:
        totals[name] = totals.get(name, 0) + count
    return dict(sorted(totals.items()))
