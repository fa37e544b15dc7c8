"""The journal: finished trials as immutable files, written without a lock by any number of processes."""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Trial
from metahp.knowledge.codec import trial_from_dict, trial_to_dict

SUFFIX = ".jsonl"


class Journal:
    """A folder of segments; a segment is a file of JSON lines, complete from the moment it has its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def append(self, trials: Sequence[Trial]) -> Path:
        """Write `trials` as one new segment: to disk first, then under its name in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}{SUFFIX}"
        unfinished = path.with_suffix(".tmp")
        with unfinished.open("w", encoding="utf-8") as file:
            for trial in trials:
                file.write(json.dumps(trial_to_dict(trial), separators=(",", ":")) + "\n")
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
            yield from read_segment(path)


def read_segment(path: Path) -> list[Trial]:
    """The trials of one segment.

    Raises:
        KnowledgeBaseError: the file is not a segment of this version.
    """
    try:
        return [trial_from_dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (ValueError, KeyError, TypeError) as error:
        raise KnowledgeBaseError(f"{path} is not a journal segment that this version of metahp can read ({error}). "
                                 "Move it aside to go on without its trials.") from error
