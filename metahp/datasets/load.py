"""Load a table from a path, a frame or arrays."""

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.text import name_column
from metahp.datasets.infer import build_table
from metahp.datasets.raw import RawTable
from metahp.datasets.read import make_raw_table, read_raw
from metahp.datasets.reading import AS_IT_IS, ReadingOptions
from metahp.datasets.table import Table


def read(source: Any, y: Any = None, *, target: Hashable | None = None, how: ReadingOptions = AS_IT_IS) -> RawTable:
    """The raw table from a path, `-` for standard input, a frame, or arrays `source` (n, d) and `y` (n,).

    A `RawTable` comes back as it is, but for the target and what `how` says.

    Raises:
        InputError: the file cannot be read, or the arrays are not a table.
        UnknownNameError: `how` names a column that the table does not have.
    """
    if isinstance(source, RawTable):
        if y is not None:
            raise InputError("A RawTable has its target among its columns; leave out y.", argument="y")
        raw = source if target is None else replace(source, target=name_column(target))
        return how.apply(raw) if how.given else raw
    if isinstance(source, str | Path):
        return read_raw(source, target=None if target is None else name_column(target), how=how)
    return make_raw_table(source, y, target=target, how=how)


def leave_out_weights(raw: RawTable, name: str) -> RawTable:
    """The same columns, of which the one with the weights of rows is no feature.

    Raises:
        UnknownNameError: there is no such column.
        InputError: it is the target.
    """
    names = [str(column) for column in raw.frame.columns]
    if name not in names:
        raise UnknownNameError(
            f"No column is called '{name}'. {did_you_mean(name, names[:50])}", argument="sample_weight"
        )
    if name == raw.target:
        raise InputError(f"'{name}' is the target; name another column with `sample_weight`.", argument="sample_weight")
    return raw if name in raw.drop else replace(raw, drop=(*raw.drop, name))


def load(
    source: Any,
    y: Any = None,
    *,
    target: Hashable | None = None,
    task: str | None = None,
    how: ReadingOptions = AS_IT_IS,
) -> Table:
    """A table from a path, `-` for standard input, a raw table, a frame, or arrays `source` (n, d) and `y` (n,).

    Raises:
        InputError, UnknownNameError: see `read` and `metahp.datasets.infer.build_table`.
    """
    if isinstance(source, Table):
        if y is not None or target is not None or task is not None or how.given:
            raise InputError("A Table has its target and its task type; leave out y, target, task and reading options.")
        return source
    return build_table(read(source, y, target=target, how=how), task_type=task)
