"""What the knowledge base keeps of a task: its description, never its rows, values or column names."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from metahp.core.errors import InputError
from metahp.core.task import Task

# Prefix of the entries of `TaskRecord.metafeatures` that hold a constant prediction's loss, by metric.
BASELINE = "baseline:"


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task with its meta-features, where its table came from and under which licence.

    `metafeatures` may hold NaN (a group that was skipped); `metafeatures_version` is that of the code that made
    them, 0 where there are none. `source` is a repository and path, or empty for a user's own table.
    """

    task: Task
    metafeatures: Mapping[str, float] = field(default_factory=dict)
    metafeatures_version: int = 0
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if not self.task.id:
            raise InputError("A task record needs the content hash of its table as its id; this one is empty.")
        if self.metafeatures_version < 0:
            raise InputError(f"Expected a version of the meta-features of 0 or more, got {self.metafeatures_version}.")

    @property
    def fingerprint(self) -> str:
        """Hash of what makes this record another one: the task and the version of its meta-features."""
        text = f"{self.task.id} {self.metafeatures_version}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def combined(old: TaskRecord, new: TaskRecord) -> TaskRecord:
    """One record of two that describe the same task.

    The newer meta-features win, and blank names, groups, sources and licences are filled from the other one, so that
    a user's description of a known table does not wipe out where it came from. Returns `old` itself where `new` adds
    nothing.
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
