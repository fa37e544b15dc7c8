"""Load and describe a table, and make a record of it."""

import time
from pathlib import Path
from typing import Any

from metahp.core.errors import InputError
from metahp.core.metric import metrics_for
from metahp.core.task import TaskType
from metahp.datasets.read import load_table, table_from
from metahp.datasets.table import Table
from metahp.evaluation.losses import constant_losses
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.metafeatures.extract import MetaFeatures, extract


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


def describe(
    X: Any,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    budget_seconds: float = 2.0,
    seed: int = 0,
) -> MetaFeatures:
    """The meta-features of a table, within `budget_seconds` of work; the rest is NaN and named in `warnings`."""
    table = load(X, y, target=target, task=task)
    return extract(table, budget_seconds=budget_seconds, clock=time.process_time, seed=seed)


def record_of(table: Table, metafeatures: MetaFeatures, *, source: str = "", licence: str = "") -> TaskRecord:
    """What the knowledge base keeps of a table: its meta-features, and the losses of a constant prediction."""
    constant = constant_losses(table.y, table.task.type, table.task.n_classes)
    baselines = {BASELINE + metric.name: constant[metric.name] for metric in metrics_for(table.task.type)}
    return TaskRecord(
        task=table.task,
        metafeatures={**metafeatures.values, **baselines},
        metafeatures_version=metafeatures.version,
        source=source,
        licence=licence,
    )
