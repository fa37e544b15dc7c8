"""Merging: the trials and tasks of another knowledge base, or of a seed folder, join this one."""

import logging
from pathlib import Path

from metahp.core.errors import KnowledgeBaseError
from metahp.core.text import make_encodable
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.seed import TASKS_FILE, read_seed_rows
from metahp.knowledge.store import Content, KnowledgeBase

_log = logging.getLogger(__name__)


def merge(kb: KnowledgeBase, other_path: Path) -> int:
    """Add what `other_path` holds (a knowledge base, its folder, or a seed folder) to `kb`; how many trials were new.

    A set union: merging twice, or in another order, ends in the same set. The other side is not trusted: its columns
    are checked and every value passes through the classes of the domain before anything is written. A record that is
    not valid is left out, and one logged warning says how many there are and what is wrong with the first. Its journal
    counts, and is left as it is.

    Raises:
        KnowledgeBaseError: there is no knowledge base at `other_path`, or its columns are others.
    """
    content = _content(Path(other_path).expanduser())
    if content.faults:
        _log.warning(
            "%d record(s) of %s are not valid and are left out; the first: %s.",
            len(content.faults),
            make_encodable(str(other_path)),
            content.faults[0].rstrip("."),
        )
    # What this knowledge base measured itself comes first, also where it still waits in the journal.
    kb.ingest()
    return kb.add(content.tasks, trials_to_table(content.trials))


def _content(path: Path) -> Content:
    if (path / TASKS_FILE).is_file():
        return Content(*read_seed_rows(path))
    other = KnowledgeBase(path)
    if not other.file.is_file() and not other.journal.segments():
        raise KnowledgeBaseError(
            f"There is no knowledge base at {path}: expected a DuckDB file, a folder with "
            f"{other.file.name}, or a seed folder with {TASKS_FILE}."
        )
    return other.content()
