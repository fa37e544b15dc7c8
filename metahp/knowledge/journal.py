"""The journal: finished trials and described tasks as immutable files, written without a lock by any process."""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Trial
from metahp.knowledge.codec import FORMAT_VERSION, task_from_dict, task_to_dict, trial_from_dict, trial_to_dict
from metahp.knowledge.records import TaskRecord

SUFFIX = ".jsonl"
# A segment that cannot be read keeps its content under this ending, which no reader looks at.
ASIDE = ".unreadable"


@dataclass(frozen=True, slots=True)
class Segment:
    """What one file of the journal holds."""

    tasks: tuple[TaskRecord, ...]
    trials: tuple[Trial, ...]


class Journal:
    """A folder of segments; a segment is a file of JSON lines, complete from the moment it has its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def append(self, trials: Sequence[Trial], tasks: Sequence[TaskRecord] = ()) -> Path:
        """Write `tasks` and `trials` as one new segment: to disk first, then under its name in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}{SUFFIX}"
        unfinished = path.with_suffix(".tmp")
        with unfinished.open("w", encoding="utf-8") as file:
            for values in (*map(task_to_dict, tasks), *map(trial_to_dict, trials)):
                file.write(json.dumps(values, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return path

    def segments(self) -> list[Path]:
        """Paths of the complete segments."""
        return sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []

    def trials(self) -> Iterator[Trial]:
        """All trials of all segments.

        Raises:
            KnowledgeBaseError: a segment that cannot be read, with its path.
        """
        for path in self.segments():
            yield from read_segment(path).trials


def read_segment(path: Path) -> Segment:
    """The tasks and trials of one segment.

    Raises:
        KnowledgeBaseError: the file is not a segment of this version.
        FileNotFoundError: it is gone, which means that another process has ingested it.
    """
    tasks, trials = [], []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line:
                continue
            values = json.loads(line)
            if values["format"] > FORMAT_VERSION:
                raise ValueError(f"format {values['format']} is newer than {FORMAT_VERSION}; upgrade metahp")
            if values.get("kind", "trial") == "task":
                tasks.append(task_from_dict(values))
            else:
                trials.append(trial_from_dict(values))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KnowledgeBaseError(
            f"{path} is not a journal segment that this version of metahp can read ({error}). "
            "Move it aside to go on without its trials."
        ) from error
    return Segment(tuple(tasks), tuple(trials))
