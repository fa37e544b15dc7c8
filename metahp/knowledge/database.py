"""The DuckDB file: short opens with a bounded wait, migrations, and all the SQL of the knowledge base."""

import contextlib
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from metahp.core.errors import KnowledgeBaseError
from metahp.knowledge.columns import tasks_from_table, tasks_to_table
from metahp.knowledge.records import TaskRecord, combined

Result = TypeVar("Result")
Count = tuple[str, str, str, int]

# A file of this storage version is read by DuckDB 1.4 and later. Without access to anything but its own file, a
# knowledge base from elsewhere cannot make a query read or write another one.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.4.0",
    "enable_external_access": "false",
}
SCHEMA = resources.files("metahp.knowledge").joinpath("schema")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25

# Inside one process DuckDB refuses to open a file both for reading and for writing; threads take turns.
_turn = threading.Lock()


@contextlib.contextmanager
def opened(file: Path, *, read_only: bool, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an existing knowledge base, closed on leaving.

    Raises:
        KnowledgeBaseError: another process holds the file for longer than `wait_seconds`, or the file is none of
            ours, damaged, or of a newer version.
    """
    if not _turn.acquire(timeout=max(wait_seconds, 0.0)):
        raise KnowledgeBaseError(
            f"{file} is in use by another thread of this process; gave up after "
            f"{wait_seconds:g} s. Try again when it is done."
        )
    try:
        with _clear_errors(file), contextlib.closing(_current(file, read_only, wait_seconds)) as connection:
            yield connection
    finally:
        _turn.release()


def create(file: Path, fill: Callable[[duckdb.DuckDBPyConnection], Result]) -> tuple[bool, Result]:
    """Create a knowledge base that `fill` has filled; it appears under its name in one step.

    Returns:
        Whether it is now ours (False: another process was first, and its file stands), and what `fill` returned.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            unfinished = Path(folder) / file.name
            with _clear_errors(file), contextlib.closing(_connected(unfinished, False, 0.0)) as connection:
                migrate(connection)
                result = fill(connection)
            return _named(unfinished, file), result
    except OSError as error:
        raise KnowledgeBaseError(
            f"The knowledge base {file} cannot be created ({error.strerror}: {error.filename}). "
            "Choose another place with --kb PATH or METAHP_HOME."
        ) from error


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of every migration, in order."""
    found = [
        (int(match[1]), match[0], file.read_text(encoding="utf-8"))
        for file in SCHEMA.iterdir()
        if (match := re.fullmatch(r"(\d{4})_\w+\.sql", file.name))
    ]
    return sorted(found)


def migrate(connection: duckdb.DuckDBPyConnection) -> int:
    """Apply the migrations that this file lacks, and record them, in one transaction; the version it now has."""
    with transaction(connection):
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, "
            "applied TIMESTAMP NOT NULL DEFAULT current_timestamp)"
        )
        current = version(connection)
        for number, name, statements in migrations():
            if number > current:
                connection.execute(statements)
                connection.execute("INSERT INTO migrations (version, name) VALUES (?, ?)", [number, name])
        return version(connection)


def version(connection: duckdb.DuckDBPyConnection) -> int:
    """Number of the last migration that was applied."""
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchall()[0][0])


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def insert(connection: duckdb.DuckDBPyConnection, tasks: Sequence[TaskRecord], trials: pa.Table) -> int:
    """Add tasks and trials (columns as `trial_schema`) inside the caller's transaction; how many trials were new."""
    old = known_tasks(connection, {record.task.id for record in tasks})
    new = united(old, tasks)
    changed = [record for key, record in new.items() if record is not old.get(key)]
    if changed:
        _insert_table(
            connection, "INSERT OR REPLACE INTO tasks ({0}) SELECT {0} FROM incoming", tasks_to_table(changed)
        )
    added = []
    if trials.num_rows:
        added = _insert_table(
            connection, "INSERT INTO trials ({0}) SELECT {0} FROM incoming ON CONFLICT DO NOTHING RETURNING id", trials
        )
    total = content_sum(int(setting(connection, "content") or "0", 16), [key for (key,) in added], old, new)
    set_setting(connection, "content", f"{total:x}")
    return len(added)


def united(old: Mapping[str, TaskRecord], added: Iterable[TaskRecord]) -> dict[str, TaskRecord]:
    """Records by task id after `added` joined them."""
    new = dict(old)
    for record in added:
        key = record.task.id
        new[key] = combined(new[key], record) if key in new else record
    return new


def content_sum(
    total: int, new_trials: Iterable[str], old: Mapping[str, TaskRecord], new: Mapping[str, TaskRecord]
) -> int:
    """The sum of all ids after some trials and tasks were added: the same for any order and any batches."""
    change = sum(int(key, 16) for key in new_trials) + sum(int(record.fingerprint, 16) for record in new.values())
    return (total + change - sum(int(record.fingerprint, 16) for record in old.values())) % (1 << 96)


def setting(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """A value of the table `meta`."""
    rows = connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchall()
    return rows[0][0] if rows else None


def set_setting(connection: duckdb.DuckDBPyConnection, key: str, value: str) -> None:
    """Set a value of the table `meta`."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])


def ingested(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> set[str]:
    """Which of these segments were ingested before."""
    rows = connection.execute("SELECT name FROM segments WHERE name IN (SELECT unnest(?::VARCHAR[]))", [list(names)])
    return {name for (name,) in rows.fetchall()}


def mark_ingested(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
    """Remember these segments."""
    connection.execute("INSERT INTO segments SELECT unnest(?::VARCHAR[]) ON CONFLICT DO NOTHING", [list(names)])


def known_tasks(connection: duckdb.DuckDBPyConnection, ids: Iterable[str] | None = None) -> dict[str, TaskRecord]:
    """Task records by id: those with these `ids`, or all."""
    if ids is None:
        rows = connection.sql("SELECT * FROM tasks")
    else:
        wanted = list(ids)
        if not wanted:
            return {}
        rows = connection.sql("SELECT * FROM tasks WHERE id IN (SELECT unnest(?::VARCHAR[]))", params=[wanted])
    return {record.task.id: record for record in tasks_from_table(rows.to_arrow_table())}


def known_trials(connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> set[str]:
    """Which of these trials it has."""
    rows = connection.execute("SELECT id FROM trials WHERE id IN (SELECT unnest(?::VARCHAR[]))", [list(ids)])
    return {key for (key,) in rows.fetchall()}


def select_trials(connection: duckdb.DuckDBPyConnection, task: str | None, learner: str | None) -> pa.Table:
    """All columns of the trials of one task or learner, or of all."""
    wanted = {name: value for name, value in (("task", task), ("learner", learner)) if value is not None}
    where = " AND ".join(f"{name} = ${name}" for name in wanted)
    return connection.sql(
        "SELECT * REPLACE (configuration::VARCHAR AS configuration, versions::VARCHAR AS versions) "
        f"FROM trials {'WHERE ' + where if where else ''}",
        params=wanted,
    ).to_arrow_table()


def count_trials(connection: duckdb.DuckDBPyConnection) -> list[Count]:
    """Learner, state and origin of trials, and how many have them."""
    return connection.execute("SELECT learner, state, origin, count(*) FROM trials GROUP BY ALL").fetchall()


def task_types(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Type of every task, by id."""
    return dict(connection.execute("SELECT id, type FROM tasks").fetchall())


def select_ids(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The id of every trial."""
    return [key for (key,) in connection.execute("SELECT id FROM trials").fetchall()]


def _insert_table(connection: duckdb.DuckDBPyConnection, statement: str, table: pa.Table) -> list[tuple[Any, ...]]:
    connection.register("incoming", table)
    try:
        return connection.execute(statement.format(", ".join(f'"{name}"' for name in table.column_names))).fetchall()
    finally:
        connection.unregister("incoming")


def _current(file: Path, read_only: bool, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    """A connection to a file that is ours and has every migration."""
    connection = _connected(file, read_only, wait_seconds)
    try:
        if not _is_outdated(connection, file):
            return connection
        if read_only:
            connection.close()
            connection = _connected(file, False, wait_seconds)
        migrate(connection)
        if not read_only:
            return connection
        connection.close()
    except BaseException:
        connection.close()
        raise
    return _connected(file, read_only, wait_seconds)


def _connected(file: Path, read_only: bool, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    deadline, pause = time.monotonic() + wait_seconds, _FIRST_PAUSE
    while True:
        try:
            connection = duckdb.connect(str(file), read_only=read_only, config=SETTINGS)
            # Standard output is for data.
            connection.execute("SET enable_progress_bar = false")
            return connection
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            holder = _holder(str(error))
            if holder is None:
                raise
            if time.monotonic() >= deadline:
                raise KnowledgeBaseError(
                    f"{file} is in use by {holder}; gave up after {wait_seconds:g} s. Try again when it is done, or "
                    "end that process. Finished trials are safe in the journal."
                ) from error
        # Uneven pauses, or processes that wait for one another meet again and again.
        time.sleep(min(pause * random.uniform(0.5, 1.5), max(deadline - time.monotonic(), 0.0)))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _holder(message: str) -> str | None:
    """Who holds the file, from DuckDB's own words; None where the trouble is another one."""
    if match := re.search(r"Conflicting lock is held in (.+?) \(PID (\d+)\)", message):
        return f"process {match[2]} ({match[1]})"
    if "Could not set lock" in message or "used by another process" in message:
        return "another process"
    if "different configuration" in message:
        return "another connection of this process"
    return None


def _is_outdated(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """Whether it lacks a migration; an error where it is no knowledge base, or a newer one."""
    try:
        # One query, because every open pays for it; naming a table that is missing is a catalog error.
        found, content = connection.execute(
            "SELECT (SELECT max(version) FROM migrations), (SELECT value FROM meta WHERE key = 'content')"
        ).fetchall()[0]
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise _foreign(file) from error
    if not isinstance(found, int) or content is None:
        raise _foreign(file)
    newest = migrations()[-1][0]
    if found > newest:
        raise KnowledgeBaseError(
            f"{file} was written by a newer metahp (schema {found}, this one knows {newest}). "
            "Upgrade with: pip install -U metahp"
        )
    return found < newest


def _foreign(file: Path) -> KnowledgeBaseError:
    return KnowledgeBaseError(
        f"{file} is a DuckDB file but not a knowledge base of metahp. Name another path with --kb or METAHP_HOME."
    )


@contextlib.contextmanager
def _clear_errors(file: Path) -> Iterator[None]:
    """What DuckDB finds wrong, as one line that names the file."""
    try:
        yield
    except duckdb.Error as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KnowledgeBaseError(
            f"The knowledge base {file} cannot be used ({reason}). Check the file and its "
            "permissions, or move it away to start afresh."
        ) from error


def _named(unfinished: Path, file: Path) -> bool:
    """Give a finished file its name unless that is taken; whether it was free."""
    try:
        os.link(unfinished, file)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: rename, which two processes at once could both do. Each file holds the
        # same seed, and journals are ingested only after this step, so nothing is lost.
        if file.exists():
            return False
        unfinished.rename(file)
    return True
