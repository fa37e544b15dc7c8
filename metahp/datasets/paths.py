"""Paths of tables: what is no file is refused with the names of files nearby, before anything heavy is imported."""

import contextlib
import difflib
import os
import stat
from pathlib import Path

from metahp.core.errors import InputError
from metahp.core.text import make_printable

STANDARD_INPUT = "-"
# Shells give these names to pipes of `<(command)` and to standard input. Other pipes may wait for a writer forever.
_PIPE_FOLDERS = ("/dev/fd/", "/proc/self/fd/")
_PIPES = ("/dev/stdin", "/proc/self/fd/0")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson", ".arff", ".gz")


def check_exists(name: str) -> None:
    """Refuse a name that is no file and no pipe; `-` is standard input.

    Raises:
        InputError: it is refused.
    """
    if name == STANDARD_INPUT:
        return
    # What cannot be looked at is refused when it is read, with its reason.
    with contextlib.suppress(OSError):
        find_mode(Path(make_local_path(name)))


def make_local_path(name: str) -> str:
    """A path that libraries cannot misread: `~` is expanded, and `s3:x` becomes `./s3:x`."""
    path = os.path.expanduser(name)
    if os.path.isabs(path) or os.path.splitdrive(path)[0]:
        return path
    return os.path.join(".", path) if path.startswith("~") or ":" in path.partition("/")[0] else path


def is_pipe(name: str) -> bool:
    """Whether `name` is standard input or the pipe of a `<(command)`, which can be read only once."""
    if name == STANDARD_INPUT:
        return True
    try:
        is_fifo = stat.S_ISFIFO(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False
    return is_fifo and (name in _PIPES or name.startswith(_PIPE_FOLDERS))


def find_mode(path: Path) -> int:
    """The mode of a file, or of what else is there; a missing file or a directory raises InputError."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise InputError(f"There is no file '{format_path(path)}'. {_suggest_path(path)}") from None
    if stat.S_ISDIR(mode):
        tables = _list_tables(path)
        raise InputError(
            f"'{format_path(path)}' is a directory, expected a file. "
            + (f"Try one of: {', '.join(map(format_path, tables[:5]))}." if tables else "It holds no table either.")
        )
    return mode


def format_path(path: str | Path) -> str:
    """The path as text for a one-line message."""
    return make_printable(str(path)).replace("\n", "\\n")


def _suggest_path(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder '{format_path(path.parent)}' does not exist either; check the path."
    close = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3)
    if close:
        return "Did you mean " + " or ".join(f"'{format_path(path.parent / name)}'" for name in close) + "?"
    tables = _list_tables(path.parent)
    if tables:
        return f"Tables beside it: {', '.join(map(format_path, tables[:5]))}."
    return "Check the path; no table is in that folder."


def _list_tables(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in TABLE_SUFFIXES)
