"""Opening, creating and migrating the DuckDB file. Opening waits for other processes for a limited time."""

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

# DuckDB 1.4 and later can read this storage version. Without external access, a query on an untrusted knowledge base
# cannot read or write other files.
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.4.0",
    "enable_external_access": "false",
}
SCHEMA = resources.files("metahp.knowledge").joinpath("schema")
NO_SPACE = os.strerror(errno.ENOSPC)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25

# Within one process, DuckDB refuses to open a file for reading and for writing at the same time, so threads take turns.
_turn = threading.Lock()


@contextlib.contextmanager
def open_file(file: Path, *, read_only: bool, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an existing knowledge base, closed at the end of the body.

    Raises:
        BusyError: another process holds the file for longer than `wait_seconds`.
        KnowledgeBaseError: the file is not a knowledge base, is damaged, or is of a newer version.
    """
    if not _turn.acquire(timeout=max(wait_seconds, 0.0)):
        raise BusyError(
            f"{file} is in use by another thread of this process; gave up after "
            f"{wait_seconds:g} s. Try again when it is done."
        )
    try:
        with (
            translate_errors(file),
            _make_reachable(file, read_only, wait_seconds) as path,
            contextlib.closing(_connect_migrated(path, file, read_only, wait_seconds)) as connection,
        ):
            yield connection
    finally:
        _turn.release()


def create(file: Path, fill: Callable[[duckdb.DuckDBPyConnection], Result]) -> tuple[bool, Result]:
    """Create a knowledge base and fill it with `fill`. The file gets its name in one step.

    Two processes may do this at the same time. No trial is lost, whichever file is kept: both files hold the same seed,
    and journals are ingested only after this step.

    Returns:
        Whether the file of this process is kept (False: another process was first), and the result of `fill`.

    Raises:
        KnowledgeBaseError: the file cannot be created.
    """
    folder = make_unfinished_path(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        try:
            unfinished = folder / file.name
            with (
                translate_errors(file),
                _make_reachable(unfinished, False, 0.0) as path,
                contextlib.closing(_connect(path, file, False, 0.0)) as connection,
            ):
                migrate(connection)
                result = fill(connection)
                # Without a checkpoint, closing may leave changes in a log file, which would not be moved.
                connection.execute("CHECKPOINT")
            return claim_name(unfinished, file), result
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise KnowledgeBaseError(
            f"The knowledge base {file} cannot be created ({error.strerror}: {error.filename}). "
            "Choose another path with `knowledge_base` or METAHP_HOME."
        ) from error


def list_migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of every migration, in order."""
    migrations = [
        (int(match[1]), match[0], file.read_text(encoding="utf-8"))
        for file in SCHEMA.iterdir()
        if (match := re.fullmatch(r"(\d{4})_\w+\.sql", file.name))
    ]
    return sorted(migrations)


def migrate(connection: duckdb.DuckDBPyConnection) -> int:
    """Apply and record the missing migrations in one transaction; the new version of the file."""
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
    """Number of the last applied migration."""
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchall()[0][0])


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """A transaction: committed at the end of the body, rolled back if the body raises."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def make_wal_path(file: Path) -> Path:
    """Path of DuckDB's write-ahead log of `file`."""
    return file.with_name(f"{file.name}.wal")


@contextlib.contextmanager
def _make_reachable(file: Path, read_only: bool, wait_seconds: float) -> Iterator[str]:
    """A path of the file that DuckDB reads correctly: its own, or that of a copy, which is written back at the end.

    A copy is needed if the path, or the path that its links lead to, contains a question mark (DuckDB looks for its log
    elsewhere), a backslash (DuckDB reads it as a slash), or bytes that are not UTF-8 (DuckDB refuses them).
    """
    paths = os.path.abspath(file), os.path.realpath(file)
    if os.name != "posix" or not any(re.search(r"[?\\]", path) or not is_encodable(path) for path in paths):
        yield paths[0]
        return
    with tempfile.TemporaryDirectory(prefix="metahp-") as copy_folder, contextlib.ExitStack() as stack:
        copy = Path(copy_folder) / "kb.duckdb"
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
                raise _make_busy_error(file, str(error), wait_seconds) from error
        time.sleep(_FIRST_PAUSE)


def _make_busy_error(file: Path, holder: str, wait_seconds: float) -> BusyError:
    return BusyError(
        f"{file} is in use by {holder}; gave up after {wait_seconds:g} s. Try again when it is done, or "
        "end that process. Finished trials are safe in the journal."
    )


def _connect_migrated(path: str, file: Path, read_only: bool, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    """A connection to a knowledge base that has every migration."""
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
            # Standard output is reserved for data.
            connection.execute("SET enable_progress_bar = false")
            return connection
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            holder = _find_holder(str(error))
            if holder is None:
                raise
            if time.monotonic() >= deadline:
                raise _make_busy_error(file, holder, wait_seconds) from error
        # Random pauses: with equal ones, waiting processes would collide again and again.
        time.sleep(min(pause * random.uniform(0.5, 1.5), max(deadline - time.monotonic(), 0.0)))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _find_holder(message: str) -> str | None:
    """Who holds the file, from DuckDB's message; None for any other error."""
    if match := re.search(r"Conflicting lock is held in (.+?) \(PID (\d+)\)", message):
        return f"process {match[2]} ({match[1]})"
    if "Could not set lock" in message or "used by another process" in message:
        return "another process"
    if "different configuration" in message:
        return "another connection of this process"
    return None


def _is_outdated(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """Whether the file lacks a migration.

    Raises:
        KnowledgeBaseError: the file is not a knowledge base, or is of a newer version.
    """
    try:
        # One query only, because every open runs it. A missing table is a catalog error.
        version, content = connection.execute(
            "SELECT (SELECT max(version) FROM migrations), (SELECT value FROM meta WHERE key = 'content')"
        ).fetchall()[0]
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise _make_foreign_error(file) from error
    if not isinstance(version, int) or content is None:
        raise _make_foreign_error(file)
    newest = list_migrations()[-1][0]
    if version > newest:
        raise KnowledgeBaseError(
            f"{file} was written by a newer metahp (schema {version}, this one knows {newest}). "
            "Upgrade with: pip install -U metahp"
        )
    return version < newest


def _make_foreign_error(file: Path) -> KnowledgeBaseError:
    return KnowledgeBaseError(
        f"{file} is a DuckDB file but not a knowledge base of metahp. "
        "Name another path with `knowledge_base` or METAHP_HOME."
    )


@contextlib.contextmanager
def translate_errors(file: Path) -> Iterator[None]:
    """Turn an error of DuckDB into a `KnowledgeBaseError` that names the file."""
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        # DuckDB raises some of its errors about damaged files as plain RuntimeError.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if NO_SPACE in reason:
            raise KnowledgeBaseError(
                f"The knowledge base {file} cannot be written ({NO_SPACE}). Free some space, or choose another path "
                "with `knowledge_base` or METAHP_HOME."
            ) from error
        raise KnowledgeBaseError(
            f"The knowledge base {file} cannot be used ({reason}). Check the file and its "
            "permissions, or move it away to start afresh."
        ) from error
