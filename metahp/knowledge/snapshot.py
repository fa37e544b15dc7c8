"""Snapshot: the content of a knowledge base at one moment, from one open of its file and one listing of its journal."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import duckdb
import numpy as np

from metahp.core.errors import KnowledgeBaseError
from metahp.core.task import TaskType
from metahp.core.trial import OBJECTIVE_SPLITS, Origin, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.knowledge import database, queries
from metahp.knowledge.journal import Pending
from metahp.knowledge.records import Tally, TaskRecord
from metahp.knowledge.warn_once import WarnOnce

# Long enough for another process to ingest a long journal; short enough to tell a person soon who holds the file.
WAIT_SECONDS = 10.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Content:
    """All readable tasks and trials, and the faults of other records."""

    tasks: list[TaskRecord]
    trials: list[Trial]
    faults: list[str]


class Snapshot:
    """Tasks and trials of the file `file` and of the journal `pending`, which was listed before the file is opened.

    The file stays open, in one read transaction, until the snapshot is closed; until then, other processes wait to
    write. A missing file is read as an empty one. A context manager; it may be closed twice.

    Each record is read separately: invalid ones are left out, and reported once in a logged warning.

    Attributes:
        folder: The folder of the knowledge base, which also contains trained models.

    Raises:
        BusyError: another process holds the file for longer than `WAIT_SECONDS`.
        KnowledgeBaseError: the file is not a knowledge base, is damaged, or is of a newer version.
    """

    def __init__(self, file: Path, pending: Pending, warn: WarnOnce) -> None:
        self.folder = file.parent
        self._file = file
        self._pending = pending
        self._warn = warn
        self._stack = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._exists = file.exists()
        if self._exists:
            opening = database.open_file(file, read_only=True, wait_seconds=WAIT_SECONDS)
            self._connection = self._stack.enter_context(opening)
            self._connection.execute("BEGIN")

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; values that were read stay valid."""
        self._connection = None
        self._stack.close()

    @cached_property
    def content_hash(self) -> str:
        """A hash of all trials and task records. Their order, and an ingest, do not change it."""
        stored = self._stored
        added = self._pending_trials.keys() - stored.known
        new = queries.unite_tasks(stored.tasks, self._pending.tasks)
        return f"{queries.sum_content(stored.total, added, stored.tasks, new):024x}"

    @cached_property
    def totals(self) -> dict[str, Any]:
        """Path, size, numbers of tasks by type and of trials by learner, state and origin, and the journal.

        `defaults_by_learner` counts trials of library defaults, which is nearly the number of tasks that a learner was
        tried on.
        """
        counts = self._read(queries.count_trials) or []
        counts += [
            (trial.configuration.learner, str(trial.state), str(trial.origin), 1)
            for key, trial in self._pending_trials.items()
            if key not in self._stored.known
        ]
        return {
            "path": str(self._file),
            "size_bytes": self._file.stat().st_size if self._exists else 0,
            "n_tasks": len(self._task_types),
            "tasks_by_type": _add_up((kind, 1) for kind in self._task_types.values()),
            "n_trials": sum(row[3] for row in counts),
            "trials_by_learner": _add_up((learner, n) for learner, _, _, n in counts),
            "defaults_by_learner": _add_up(
                (learner, n) for learner, _, origin, n in counts if origin == Origin.DEFAULT
            ),
            "trials_by_state": _add_up((state, n) for _, state, _, n in counts),
            "trials_by_origin": _add_up((origin, n) for _, _, origin, n in counts),
            "journal": str(self._pending.folder),
            "pending_segments": self._pending.n_segments,
            "schema_version": self._read(database.read_version) or 0,
            "content_hash": self.content_hash,
        }

    @cached_property
    def tasks(self) -> list[TaskRecord]:
        """All task records, sorted by id."""
        known = self._read_tasks()
        self._warn.warn_of_rows(self._file, known.faults, "task(s)")
        return [known.records[key] for key in sorted(known.records)]

    def read_task(self, id: str) -> TaskRecord | None:
        """The record of the task with this content hash; None if it is unknown."""
        known = self._read(lambda connection: queries.select_tasks(connection, [id]))
        records = known.records if known else {}
        return queries.unite_tasks(records, (record for record in self._pending.tasks if record.task.id == id)).get(id)

    def read_trials(self, *, task: str | None = None, learner: str | None = None) -> list[Trial]:
        """All trials, or those of one task or learner, sorted by id."""
        known = self._read_trials(task, learner)
        self._warn.warn_of_rows(self._file, known.faults, "trial(s)")
        return [known.records[key] for key in sorted(known.records)]

    def read_columns(self, learners: Sequence[str], tasks: Sequence[str] | None = None) -> TrialColumns:
        """The trials of some learners, and of some tasks if given, sorted by id."""
        wanted = None if tasks is None else set(tasks)
        pending = TrialColumns.of(
            trial
            for trial in self._pending_trials.values()
            if trial.configuration.learner in learners and (wanted is None or trial.task in wanted)
        )
        selected = self._read(lambda connection: queries.select_columns(connection, learners, tasks))
        if selected is not None:
            stored, faults = selected
            self._warn.warn_of_rows(self._file, faults, "trial(s)")
            known = set(stored.ids)
            pending = pending.take(np.array([key not in known for key in pending.ids], dtype=bool))
            pending = TrialColumns.join([stored, pending]) if len(pending) else stored
        return pending.take(np.argsort(pending.ids, kind="stable"))

    def sum_trials(self, learners: Sequence[str]) -> dict[str, str]:
        """For each task id, a text that changes with the task's record and with its trials of some learners."""
        counted = self._read(lambda connection: queries.sum_trials(connection, learners)) or {}
        for key, trial in self._pending_trials.items():
            if trial.configuration.learner in learners and key not in self._stored.known:
                count, total = counted.get(trial.task, (0, 0))
                counted[trial.task] = count + 1, total + int(key[: queries.SUMMED_DIGITS], 16)
        return {
            record.task.id: f"{record.fingerprint} {' '.join(map(str, counted.get(record.task.id, (0, 0))))}"
            for record in self.tasks
        }

    def read_content(self) -> Content:
        """All readable records, sorted by id, and the faults of the others, without logged warnings."""
        tasks, trials = self._read_tasks(), self._read_trials(None, None)
        faults = [message for _, message in self._pending.describe_faults()]
        faults += [f"task {key}: {reason}" for key, reason in tasks.faults.items()]
        faults += [f"trial {key}: {reason}" for key, reason in trials.faults.items()]
        return Content(
            [tasks.records[key] for key in sorted(tasks.records)],
            [trials.records[key] for key in sorted(trials.records)],
            faults,
        )

    def list_trial_ids(self) -> set[str]:
        """The ids of all trials."""
        return {*(self._read(queries.select_ids) or []), *self._pending_trials}

    def read_setting(self, key: str) -> str | None:
        """A setting that `KnowledgeBase.add` stored."""
        return self._read(lambda connection: queries.read_setting(connection, key))

    def count_configurations(self, metrics: Mapping[TaskType, str]) -> list[Tally]:
        """Numbers of trials on tables, by configuration and task type.

        Complete trials without a loss of the metric that `metrics` names for their type are also counted separately.
        """
        tallies = self._read(lambda connection: queries.count_configurations(connection, metrics)) or []
        for key, trial in self._pending_trials.items():
            if key in self._stored.known or trial.protocol.splits == OBJECTIVE_SPLITS:
                continue
            kind = queries.find_task_type(self._task_types.get(trial.task))
            is_measured = kind is None or metrics[kind] in trial.fold_losses
            is_unmeasured = trial.state is TrialState.COMPLETE and not is_measured
            tallies.append(Tally(trial.configuration, kind, 1, int(is_unmeasured)))
        return tallies

    @cached_property
    def _pending_trials(self) -> dict[str, Trial]:
        """The trials of the journal by id; of equal ids, the first."""
        trials: dict[str, Trial] = {}
        for trial in self._pending.trials:
            trials.setdefault(trial.id, trial)
        return trials

    @cached_property
    def _stored(self) -> "_Stored":
        """The part of the file's content that concerns the journal."""

        def look_up(connection: duckdb.DuckDBPyConnection) -> _Stored:
            trials = sorted(self._pending_trials)
            return _Stored(
                queries.read_content_sum(connection),
                queries.find_known_trials(connection, trials) if trials else set(),
                queries.select_tasks(connection, {record.task.id for record in self._pending.tasks}).records,
            )

        return self._read(look_up) or _Stored(0, set(), {})

    @cached_property
    def _task_types(self) -> dict[str, str]:
        """The type of each task, by id."""
        pending = {record.task.id: str(record.task.type) for record in self._pending.tasks}
        return {**pending, **(self._read(queries.select_task_types) or {})}

    def _read_tasks(self) -> "queries.Known[TaskRecord]":
        known = self._read(queries.select_tasks) or queries.Known({}, {})
        return queries.Known(queries.unite_tasks(known.records, self._pending.tasks), known.faults)

    def _read_trials(self, task: str | None, learner: str | None) -> "queries.Known[Trial]":
        known = self._read(lambda connection: queries.select_trials(connection, task, learner))
        trials = dict(known.records) if known else {}
        for key, trial in self._pending_trials.items():
            if task in (None, trial.task) and learner in (None, trial.configuration.learner):
                trials.setdefault(key, trial)
        return queries.Known(trials, known.faults if known else {})

    def _read(self, function: Callable[[duckdb.DuckDBPyConnection], Result]) -> Result | None:
        """The result of `function` for the open file; None if there is no file yet."""
        if not self._exists:
            return None
        if self._connection is None:
            raise KnowledgeBaseError(f"The snapshot of {self._file} is closed, so nothing more can be read from it.")
        with database.translate_errors(self._file):
            return function(self._connection)


@dataclass(frozen=True, slots=True)
class _Stored:
    """Sum of all ids in the file, and the journal's trials (ids) and tasks (by id) that the file contains too."""

    total: int
    known: set[str]
    tasks: dict[str, TaskRecord]


def _add_up(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, count in counts:
        totals[name] = totals.get(name, 0) + count
    return dict(sorted(totals.items()))
