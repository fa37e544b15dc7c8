"""Records of the knowledge base. A task record describes a table, without its rows, values or column names."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Real

from metahp.core.checks import MAX_INT32, check_integer, check_kind, check_text, show
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, MetahpError
from metahp.core.task import Task, TaskType
from metahp.core.text import make_encodable

# Prefix of the entries of `TaskRecord.metafeatures` that hold a constant prediction's loss, by metric.
BASELINE = "baseline:"
_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record cannot be read; `position` is its line in a segment, from 1, or its row in a table, from 0."""

    position: int
    reason: str

    @classmethod
    def of(cls, position: int, error: Exception) -> "Fault":
        """The fault for an error; the reason is one short line."""
        text = " ".join(make_encodable(str(error)).split())[:_REASON_LENGTH]
        if isinstance(error, KeyError):
            text = f"it lacks {text}"
        elif not isinstance(error, MetahpError):
            text = f"{type(error).__name__}: {text}"
        return cls(position, text.rstrip("."))


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of trials of a configuration on tables of one task type; the type is None if unknown.

    `n_unmeasured` of the trials are complete, but have no loss of the requested metric.
    """

    configuration: Configuration
    task_type: TaskType | None
    n_trials: int
    n_unmeasured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """A task with its meta-features, and the source and licence of its table.

    `metafeatures` may contain NaN (skipped groups). `metafeatures_version` is the version of the code that computed
    them, 0 if there are none. `source` is a repository and path, or empty for a user's own table.

    Raises:
        InputError: a value has another type or is out of range.
    """

    task: Task
    metafeatures: Mapping[str, float] = field(default_factory=dict)
    metafeatures_version: int = 0
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        check_kind(self.task, Task, "The task of a task record")
        if not self.task.id:
            raise InputError("A task record needs the content hash of its table as its id; this one is empty.")
        check_kind(self.metafeatures, Mapping, "The meta-features of a task record")
        for name, value in self.metafeatures.items():
            check_text(name, "The name of a meta-feature")
            if not _is_real(value):
                raise InputError(f"The meta-feature '{name}' must be a number, got {show(value)}.")
        check_integer(self.metafeatures_version, "The version of the meta-features", most=MAX_INT32)
        check_text(self.source, "The source of a task record")
        check_text(self.licence, "The licence of a task record")

    @property
    def fingerprint(self) -> str:
        """Hash of the task and the version of its meta-features."""
        text = f"{self.task.id} {self.metafeatures_version}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def combine(old: TaskRecord, new: TaskRecord) -> TaskRecord:
    """One record from two records of the same task.

    The newer meta-features are kept. Empty names, groups, sources and licences are filled from the other record, so
    that a user's description of a known table does not remove its source. Returns `old` itself if `new` adds nothing.
    """
    kept, other = (new, old) if new.metafeatures_version > old.metafeatures_version else (old, new)
    names = {
        key: getattr(other.task, key)
        for key in ("name", "group")
        if not getattr(kept.task, key) and getattr(other.task, key)
    }
    blanks = {
        key: getattr(other, key) for key in ("source", "licence") if not getattr(kept, key) and getattr(other, key)
    }
    if not names and not blanks:
        return kept
    return replace(kept, task=replace(kept.task, **names), **blanks)


def _is_real(value: object) -> bool:
    """Whether the value is a real number of any type that fits a float."""
    try:
        return isinstance(value, Real) and isinstance(float(value), float)
    except OverflowError:
        return False
