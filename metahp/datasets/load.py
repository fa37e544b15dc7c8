"""Load a table from a path, a frame or arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from metahp.core.errors import InputError
from metahp.datasets.infer import build_table
from metahp.datasets.raw import RawTable
from metahp.datasets.read import make_raw_table, read_raw
from metahp.datasets.table import Table


def read(source: Any, y: Any = None, *, target: str | None = None) -> RawTable:
    """The raw table from a path, `-` for standard input, a frame, or arrays `source` (n, d) and `y` (n,).

    A `RawTable` comes back unchanged, except that `target` replaces its target.

    Raises:
        InputError: the file cannot be read, or the arrays are not a table.
    """
    if isinstance(source, RawTable):
        if y is not None:
            raise InputError("A RawTable has its target among its columns; leave out y.", argument="y")
        return source if target is None else replace(source, target=target)
    if isinstance(source, str | Path):
        return read_raw(source, target=target)
    return make_raw_table(source, y, target=target)


def load(source: Any, y: Any = None, *, target: str | None = None, task: str | None = None) -> Table:
    """A table from a path, `-` for standard input, a raw table, a frame, or arrays `source` (n, d) and `y` (n,).

    Raises:
        InputError, UnknownNameError: see `read` and `metahp.datasets.infer.build_table`.
    """
    if isinstance(source, Table):
        if y is not None or target is not None or task is not None:
            raise InputError("A Table has its target and its task type; leave out y, target and task.")
        return source
    return build_table(read(source, y, target=target), task_type=task)
