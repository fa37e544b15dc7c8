"""The DuckDB file: short opens with a bounded wait, creation in one step, and migrations."""

import contextlib
import errno
import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TypeVar

import duckdb

from metahp.core.checks import is_encodable
from metahp.core.errors import BusyError, KnowledgeBaseError
from metahp.files import HeldError, claim_name, hold_lock, make_unfinished_path, write_file

Result = TypeVar("Result")

# A file of this storage version is read by DuckDB 1.4 and later. Without access to anything but its own file, a
# knowledge base from elsewhere cannot make a query read or write another one.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.4.0",
    "enable_external_access": "false",
}
SCHEMA = resources.files("metahp.knowledge").joinpath("schema")
NO_SPACE = os.strerror(errno.ENOSPC)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25

# Inside one process DuckDB refuses to open a file both for reading and for writing; threads take turns.
_turn = threading.Lock()


@contextlib.contextmanager
def open_file(file: Path, *, read_only: bool, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an existing knowledge base, closed on leaving.

    Raises:
        BusyError: another process holds the file for longer than `wait_seconds`.
        KnowledgeBaseError: the file is none of ours, damaged, or of a newer version.
    """
    if not _turn.acquire(timeout=max(wait_seconds, 0.0)):
        raise BusyError(
            f"{file} is in use by another thread of this process; gave up after "
            f"{wait_seconds:g} s. Try again when it is done."
        )
    try:
        with (
            clear_errors(file),
            _make_reachable(file, read_only, wait_seconds) as path,
            contextlib.closing(_connect_migrated(path, file, read_only, wait_seconds)) as connection,
        ):
            yield connection
    finally:
        _turn.release()


def create(file: Path, fill: Callable[[duckdb.DuckDBPyConnection], Result]) -> tuple[bool, Result]:
    """Create a knowledge base that `fill` has filled; it appears under its name in one step.

    Two processes may do so at once: each file holds the same seed, and journals are ingested only after this step, so
    that nothing is lost whichever stands.

    Returns:
        Whether it is now ours (False: another process was first, and its file stands), and what `fill` returned.

    Raises:
        KnowledgeBaseError: it cannot be created.
    """
    folder = make_unfinished_path(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        try:
            unfinished = folder / file.name
            with (
                clear_errors(file),
                _make_reachable(unfinished, False, 0.0) as path,
                contextlib.closing(_connect(path, file, False, 0.0)) as connection,
            ):
                migrate(connection)
                result = fill(connection)
                # What closing leaves in a log beside it would stay behind.
                connection.execute("CHECKPOINT")
            return claim_name(unfinished, file), result
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise KnowledgeBaseError(
            f"The knowledge base {file} cannot be created ({error.strerror}: {error.filename}). "
            "Choose another place with `knowledge_base` or METAHP_HOME."
        ) from error


def list_migrations() -> list[tuple[int, str, str]]:
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
        current = read_version(connection)
        for number, name, statements in list_migrations():
            if number > current:
                connection.execute(statements)
                connection.execute("INSERT INTO migrations (version, name) VALUES (?, ?)", [number, name])
        return read_version(connection)


def read_version(connection: duckdb.DuckDBPyConnection) -> int:
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


def wal_path(file: Path) -> Path:
    """Where DuckDB keeps what it has not yet written into `file`."""
    return file.with_name(f"{file.name}.wal")


@contextlib.contextmanager
def _make_reachable(file: Path, read_only: bool, wait_seconds: float) -> Iterator[str]:
    """The path of a file as DuckDB takes it: where it would misread the path, that of a copy, written back in the end.

    DuckDB looks for its log elsewhere where a folder has a question mark, takes a backslash for a slash, and no name
    that is not UTF-8; it also follows links to such folders.
    """
    paths = os.path.abspath(file), os.path.realpath(file)
    if os.name != "posix" or not any(re.search(r"[?\\]", path) or not is_encodable(path) for path in paths):
        yield paths[0]
        return
    with tempfile.TemporaryDirectory(prefix="metahp-") as place, contextlib.ExitStack() as stack:
        copy = Path(place) / "kb.duckdb"
        if not read_only:
            _wait_for_lock(stack, file, wait_seconds)
        if file.exists():
            shutil.copyfile(file, copy)
        try:
            yield str(copy)
        finally:
            if not read_only and copy.exists():
                write_file(file, copy.read_bytes())


def _wait_for_lock(stack: contextlib.ExitStack, file: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            stack.enter_context(hold_lock(file.with_name(f"{file.name}.lock")))
            return
        except HeldError as error:
            if time.monotonic() >= deadline:
                raise _busy_error(file, str(error), wait_seconds) from error
        time.sleep(_FIRST_PAUSE)


def _busy_error(file: Path, holder: str, wait_seconds: float) -> BusyError:
    return BusyError(
        f"{file} is in use by {holder}; gave up after {wait_seconds:g} s. Try again when it is done, or "
        "end that process. Finished trials are safe in the journal."
    )


def _connect_migrated(path: str, file: Path, read_only: bool, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    """A connection to a file that is ours and has every migration."""
    connection = _connect(path, file, read_only, wait_seconds)
    try:
        if not _is_outdated(connection, file):
            return connection
        if read_only:
            connection.close()
            connection = _connect(path, file, False, wait_seconds)
        migrate(connection)
        if not read_only:
            return connection
        connection.close()
    except BaseException:
        connection.close()
        raise
    return _connect(path, file, read_only, wait_seconds)


def _connect(path: str, file: Path, read_only: bool, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    deadline, pause = time.monotonic() + wait_seconds, _FIRST_PAUSE
    while True:
        try:
            connection = duckdb.connect(path, read_only=read_only, config=SETTINGS)
            # Standard output is for data.
            connection.execute("SET enable_progress_bar = false")
            return connection
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            holder = _find_holder(str(error))
            if holder is None:
                raise
            if time.monotonic() >= deadline:
                raise _busy_error(file, holder, wait_seconds) from error
        # Uneven pauses, or processes that wait for one another meet again and again.
        time.sleep(min(pause * random.uniform(0.5, 1.5), max(deadline - time.monotonic(), 0.0)))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _find_holder(message: str) -> str | None:
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
        raise _foreign_error(file) from error
    if not isinstance(found, int) or content is None:
        raise _foreign_error(file)
    newest = list_migrations()[-1][0]
    if found > newest:
        raise KnowledgeBaseError(
            f"{file} was written by a newer metahp (schema {found}, this one knows {newest}). "
            "Upgrade with: pip install -U metahp"
        )
    return found < newest


def _foreign_error(file: Path) -> KnowledgeBaseError:
    return KnowledgeBaseError(
        f"{file} is a DuckDB file but not a knowledge base of metahp. "
        "Name another path with `knowledge_base` or METAHP_HOME."
    )


@contextlib.contextmanager
def clear_errors(file: Path) -> Iterator[None]:
    """What DuckDB finds wrong, as one line that names the file."""
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        # DuckDB raises some of its errors about damaged files as plain RuntimeError.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if NO_SPACE in reason:
            raise KnowledgeBaseError(
                f"The knowledge base {file} cannot be written ({NO_SPACE}). Free some space, or choose another place "
                "with `knowledge_base` or METAHP_HOME."
            ) from error
        raise KnowledgeBaseError(
            f"The knowledge base {file} cannot be used ({reason}). Check the file and its "
            "permissions, or move it away to start afresh."
        ) from error
