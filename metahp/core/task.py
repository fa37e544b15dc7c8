"""A task: a table with a target and a task type, identified by its content."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metahp.core.checks import check_integer, check_kind, check_text
from metahp.core.errors import InputError, UnknownNameError, did_you_mean


class TaskType(StrEnum):
    """What is predicted: one of two classes, one of several, or a number."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class."""
        return self is not TaskType.REGRESSION


def find_task_type(name: str | None) -> TaskType | None:
    """The task type called `name`; None stays None.

    Raises:
        UnknownNameError: no such task type.
    """
    if name is None:
        return None
    known = [str(kind) for kind in TaskType]
    if name not in known:
        raise UnknownNameError(f"No `task` is called '{name}'. {did_you_mean(name, known)}", argument="task")
    return TaskType(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A table, its target and its task type, without the rows.

    Attributes:
        id: Hash of the table's content (see `metahp.datasets.fingerprint`).
        type: Binary or multiclass classification, or regression.
        n_rows: Number of rows that have a target.
        n_features: Number of feature columns in use.
        n_classes: Number of classes; 0 for regression.
        name: Name of the table; may be empty.
        group: Tasks with the same group are left out together in validation; empty: the task is its own group.

    Raises:
        InputError: a value has the wrong type or is out of range, or the number of classes does not fit the task type.
    """

    id: str
    type: TaskType
    n_rows: int
    n_features: int
    n_classes: int = 0
    name: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        check_text(self.id, "The id of a task")
        check_kind(self.type, TaskType, "The type of a task")
        for what in ("n_rows", "n_features", "n_classes"):
            check_integer(getattr(self, what), f"{what} of a task")
        check_text(self.name, "The name of a task")
        check_text(self.group, "The group of a task")
        if self.type is TaskType.BINARY and self.n_classes != 2:
            raise InputError(
                f"A binary task has 2 classes, this one has {self.n_classes}. Try `task='multiclass'`.", argument="task"
            )
        if self.type is TaskType.MULTICLASS and self.n_classes < 2:
            raise InputError(f"A multiclass task needs at least 2 classes, this one has {self.n_classes}.")
        if self.type is TaskType.REGRESSION and self.n_classes != 0:
            raise InputError("A regression task has no classes.")


def make_task_from_dict(values: Mapping[str, Any]) -> Task:
    """The task whose fields are `values`."""
    return Task(**{**values, "type": TaskType(str(values["type"]))})
