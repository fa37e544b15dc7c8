"""A table from whatever a user has."""

from pathlib import Path
from typing import Any

from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.datasets.read import load_table, table_from
from metahp.datasets.table import Table


def load(source: Any, y: Any = None, *, target: str | None = None, task: str | None = None) -> Table:
    """A table from a path, `-` for standard input, a frame, or arrays `source` (n, d) and `y` (n,).

    Raises:
        InputError, UnknownNameError: see `metahp.datasets.infer.build_table`.
    """
    if isinstance(source, Table):
        if y is not None or target is not None or task is not None:
            raise InputError("A Table has its target and its task type; leave out y, target and task.")
        return source
    if isinstance(source, str | Path):
        return load_table(source, target=target, task_type=task_type_named(task))
    return table_from(source, y, target=target, task_type=task_type_named(task))


def task_type_named(name: str | None) -> TaskType | None:
    """The task type called `name`; None stays None.

    Raises:
        InputError: no such task type.
    """
    if name is None:
        return None
    if name not in set(TaskType):
        raise InputError(f"`task` is one of {', '.join(TaskType)}, got '{name}'.", argument="task")
    return TaskType(name)
