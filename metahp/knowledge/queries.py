"""All SQL of the knowledge base, with bound parameters. Functions return domain values."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import duckdb
import pyarrow as pa

from metahp.core.task import TaskType
from metahp.core.trial import OBJECTIVE_SPLITS, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.knowledge.columns import tasks_to_table
from metahp.knowledge.records import Fault, Tally, TaskRecord, combine
from metahp.knowledge.rows import read_columns, read_configuration, read_tasks, read_trials

Count = tuple[str, str, str, int]
Record = TypeVar("Record")
# Hexadecimal digits of an id that `sum_trials` adds up; each number fits a 64-bit integer.
SUMMED_DIGITS = 12
# Content hashes have 96 bits.
_MODULUS = 1 << 96
_SELECT_TRIALS = "SELECT * REPLACE (configuration::VARCHAR AS configuration, versions::VARCHAR AS versions) FROM trials"


@dataclass(frozen=True, slots=True)
class Known(Generic[Record]):
    """Valid records by id, and the faults of invalid rows by id."""

    records: dict[str, Record]
    faults: dict[str, str]


def insert(connection: duckdb.DuckDBPyConnection, tasks: Sequence[TaskRecord], trials: pa.Table) -> set[str]:
    """Add tasks and trials (columns as `make_trial_schema`) in the caller's transaction; the ids of new trials."""
    total = read_content_sum(connection)
    old = select_tasks(connection, {record.task.id for record in tasks}).records
    new = unite_tasks(old, tasks)
    changed = [record for key, record in new.items() if record is not old.get(key)]
    if changed:
        _insert_table(
            connection, "INSERT OR REPLACE INTO tasks ({0}) SELECT {0} FROM incoming", tasks_to_table(changed)
        )
    added = set()
    if trials.num_rows:
        rows = _insert_table(
            connection, "INSERT INTO trials ({0}) SELECT {0} FROM incoming ON CONFLICT DO NOTHING RETURNING id", trials
        )
        added = {key for (key,) in rows}
    set_setting(connection, "content", f"{sum_content(total, added, old, new):x}")
    return added


def remove_unreadable(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> None:
    """Remove stored rows with these ids that are not valid trials, so that valid ones can be added.

    Runs in the caller's transaction.
    """
    known = find_known_trials(connection, ids)
    if known and (faults := select_trials(connection, None, None, sorted(known)).faults):
        total = (read_content_sum(connection) - sum(map(_parse_id, faults))) % _MODULUS
        connection.execute("DELETE FROM trials WHERE id IN (SELECT unnest(?::VARCHAR[]))", [sorted(faults)])
        set_setting(connection, "content", f"{total:x}")


def unite_tasks(old: Mapping[str, TaskRecord], added: Iterable[TaskRecord]) -> dict[str, TaskRecord]:
    """Records by task id, combined with the `added` records."""
    new = dict(old)
    for record in added:
        key = record.task.id
        new[key] = combine(new[key], record) if key in new else record
    return new


def read_content_sum(connection: duckdb.DuckDBPyConnection) -> int:
    """The stored sum of the ids of all trials and tasks; computed again if the stored text is not a number."""
    stored = read_setting(connection, "content") or "0"
    try:
        return int(stored, 16)
    except ValueError:
        everything = select_tasks(connection).records
        return sum_content(0, select_ids(connection), {}, everything)


def sum_content(
    total: int, new_trials: Iterable[str], old: Mapping[str, TaskRecord], new: Mapping[str, TaskRecord]
) -> int:
    """The sum of all ids after trials and tasks were added. Order and batches make no difference."""
    change = sum(map(_parse_id, new_trials)) + sum(_parse_id(record.fingerprint) for record in new.values())
    return (total + change - sum(_parse_id(record.fingerprint) for record in old.values())) % _MODULUS


def read_setting(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """A value of the table `meta`."""
    rows = connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchall()
    return rows[0][0] if rows else None


def set_setting(connection: duckdb.DuckDBPyConnection, key: str, value: str) -> None:
    """Set a value of the table `meta`."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])


def find_ingested(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> set[str]:
    """The names of these segments that were ingested before."""
    rows = connection.execute("SELECT name FROM segments WHERE name IN (SELECT unnest(?::VARCHAR[]))", [list(names)])
    return {name for (name,) in rows.fetchall()}


def mark_ingested(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
    """Store the names of ingested segments."""
    connection.execute("INSERT INTO segments SELECT unnest(?::VARCHAR[]) ON CONFLICT DO NOTHING", [list(names)])


def select_tasks(connection: duckdb.DuckDBPyConnection, ids: Iterable[str] | None = None) -> Known[TaskRecord]:
    """Task records: those with these `ids`, or all."""
    if ids is None:
        rows = connection.sql("SELECT * FROM tasks")
    else:
        wanted = list(ids)
        if not wanted:
            return Known({}, {})
        rows = connection.sql("SELECT * FROM tasks WHERE id IN (SELECT unnest(?::VARCHAR[]))", params=[wanted])
    table = rows.to_arrow_table()
    return _gather_records(table, *read_tasks(table))


def find_known_trials(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> set[str]:
    """The ids of these trials that are stored."""
    rows = connection.execute("SELECT id FROM trials WHERE id IN (SELECT unnest(?::VARCHAR[]))", [list(ids)])
    return {key for (key,) in rows.fetchall()}


def select_trials(
    connection: duckdb.DuckDBPyConnection, task: str | None, learner: str | None, ids: Sequence[str] | None = None
) -> Known[Trial]:
    """Trials of one task, of one learner or with these `ids`; None selects all."""
    wanted: dict[str, Any] = {
        name: value for name, value in (("task", task), ("learner", learner)) if value is not None
    }
    conditions = [f"{name} = ${name}" for name in wanted]
    if ids is not None:
        wanted["ids"] = list(ids)
        conditions.append("id IN (SELECT unnest($ids::VARCHAR[]))")
    table = connection.sql(
        f"{_SELECT_TRIALS} {'WHERE ' + ' AND '.join(conditions) if conditions else ''}", params=wanted
    ).to_arrow_table()
    return _gather_records(table, *read_trials(table))


def select_columns(
    connection: duckdb.DuckDBPyConnection, learners: Sequence[str], tasks: Sequence[str] | None = None
) -> tuple[TrialColumns, dict[str, str]]:
    """Trials of some learners, and of some tasks if given; also the faults of invalid rows by id."""
    wanted = {"learners": list(learners)} if tasks is None else {"learners": list(learners), "tasks": list(tasks)}
    of_tasks = "" if tasks is None else "AND task IN (SELECT unnest($tasks::VARCHAR[]))"
    table = connection.sql(
        f"{_SELECT_TRIALS} WHERE learner IN (SELECT unnest($learners::VARCHAR[])) {of_tasks}", params=wanted
    ).to_arrow_table()
    trials, faults = read_columns(table)
    return trials, _name_faults(table, faults)


def sum_trials(connection: duckdb.DuckDBPyConnection, learners: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Number of trials of some learners by task, and the sum of the first digits of their ids."""
    rows = connection.execute(
        f"SELECT task, count(*), sum(TRY_CAST('0x' || substr(id, 1, {SUMMED_DIGITS}) AS BIGINT)) FROM trials "
        "WHERE learner IN (SELECT unnest(?::VARCHAR[])) GROUP BY task",
        [list(learners)],
    ).fetchall()
    return {task: (count, int(total or 0)) for task, count, total in rows}


def count_trials(connection: duckdb.DuckDBPyConnection) -> list[Count]:
    """Rows of learner, state, origin, and number of trials."""
    return connection.execute("SELECT learner, state, origin, count(*) FROM trials GROUP BY ALL").fetchall()


def count_configurations(connection: duckdb.DuckDBPyConnection, metrics: Mapping[TaskType, str]) -> list[Tally]:
    """Trials on tables by configuration and task type; `metrics` names the expected metric of complete trials.

    Rows with an invalid configuration are not counted; functions that read trials report them.
    """
    rows = connection.execute(
        """
        SELECT learner, any_value(configuration)::VARCHAR, type, count(*),
            count(*) FILTER (state = $complete AND NOT map_contains(fold_losses, metric))
        FROM trials
            LEFT JOIN tasks ON tasks.id = trials.task
            LEFT JOIN (SELECT unnest($types) AS type, unnest($metrics) AS metric) USING (type)
        WHERE splits <> $objective
        GROUP BY learner, configuration_id, type
        """,
        {
            "complete": str(TrialState.COMPLETE),
            "types": [str(kind) for kind in metrics],
            "metrics": list(metrics.values()),
            "objective": OBJECTIVE_SPLITS,
        },
    ).fetchall()
    tallies = []
    for learner, text, kind, n_trials, n_unmeasured in rows:
        with contextlib.suppress(Exception):
            tallies.append(Tally(read_configuration(learner, text), find_task_type(kind), n_trials, n_unmeasured))
    return tallies


def find_task_type(name: str | None) -> TaskType | None:
    """The task type with this name; None if there is none."""
    return TaskType(name) if name in set(TaskType) else None


def select_task_types(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Type of every task, by id."""
    return dict(connection.execute("SELECT id, type FROM tasks").fetchall())


def select_ids(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The id of every trial."""
    return [key for (key,) in connection.execute("SELECT id FROM trials").fetchall()]


def read_everything(connection: duckdb.DuckDBPyConnection) -> None:
    """Read every value of every table, so that DuckDB verifies the checksum of every page with values."""
    columns = connection.execute(
        "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE NOT internal GROUP BY table_name"
    ).fetchall()
    for table, names in columns:
        hashes = ", ".join(f"bit_xor(hash({_quote(name)}))" for name in names)
        connection.execute(f"SELECT {hashes} FROM {_quote(table)}").fetchall()


def count_blocks(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Number of blocks of the file, and number of free blocks."""
    rows = connection.execute("SELECT total_blocks, free_blocks FROM pragma_database_size()").fetchall()
    return int(rows[0][0]), int(rows[0][1])


def _gather_records(table: pa.Table, records: Sequence[Record | None], faults: Sequence[Fault]) -> Known[Record]:
    ids = table["id"].to_pylist()
    readable = {key: record for key, record in zip(ids, records, strict=True) if record is not None}
    return Known(readable, _name_faults(table, faults))


def _name_faults(table: pa.Table, faults: Sequence[Fault]) -> dict[str, str]:
    """Reasons of faults by id of the row."""
    return {str(table["id"][fault.position].as_py()): fault.reason for fault in faults}


def _insert_table(connection: duckdb.DuckDBPyConnection, statement: str, table: pa.Table) -> list[tuple[Any, ...]]:
    connection.register("incoming", table)
    try:
        return connection.execute(statement.format(", ".join(f'"{name}"' for name in table.column_names))).fetchall()
    finally:
        # `unregister` fails after a failed statement, and would hide its error.
        with contextlib.suppress(duckdb.Error):
            connection.unregister("incoming")


def _parse_id(key: str) -> int:
    """An id as a number; 0 for an id that is not hexadecimal, which then has no effect on the sum."""
    try:
        return int(key, 16)
    except ValueError:
        return 0


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
