"""Merging the trials and tasks of another knowledge base, or of a seed folder, into this one."""

import logging
from pathlib import Path

from metahp.core.errors import KnowledgeBaseError
from metahp.core.text import make_encodable
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.seed import TASKS_FILE, read_seed_rows
from metahp.knowledge.store import Content, KnowledgeBase

_log = logging.getLogger(__name__)


def merge(kb: KnowledgeBase, other_path: Path) -> int:
    """Add the content of `other_path` (a knowledge base, its folder, or a seed folder) to `kb`; number of new trials.

    The result is a set union: repetition and order make no difference. The other side is not trusted: columns and every
    value are checked before anything is written. Invalid records are left out; one logged warning says how many, and
    what is wrong with the first. The other journal is read too, and not changed.

    Raises:
        KnowledgeBaseError: there is no knowledge base at `other_path`, or it has other columns.
    """
    content = _read_content(Path(other_path).expanduser())
    if content.faults:
        _log.warning(
            "%d record(s) of %s are not valid and are left out; the first: %s.",
            len(content.faults),
            make_encodable(str(other_path)),
            content.faults[0].rstrip("."),
        )
    # This knowledge base's journal is ingested first: of two trials with one id, the first is kept.
    kb.ingest()
    return kb.add(content.tasks, trials_to_table(content.trials))


def _read_content(path: Path) -> Content:
    if (path / TASKS_FILE).is_file():
        return Content(*read_seed_rows(path))
    other = KnowledgeBase(path)
    if not other.file.is_file() and not other.journal.list_segments():
        raise KnowledgeBaseError(
            f"There is no knowledge base at {path}: expected a DuckDB file, a folder with "
            f"{other.file.name}, or a seed folder with {TASKS_FILE}."
        )
    return other.content()
