"""Finding the user's knowledge base, and creating it on first use."""

import logging
import os
from pathlib import Path

import platformdirs

from metahp.core.errors import KnowledgeBaseError
from metahp.knowledge.seed import SEED_KEY, find_seed_folder, hash_seed, import_seed
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase

VARIABLE = "METAHP_HOME"
_log = logging.getLogger(__name__)


def find_knowledge_base_path(path: Path | None = None) -> Path:
    """`path` if given, else the environment variable METAHP_HOME, else the user's data folder."""
    return Path(path or os.environ.get(VARIABLE) or platformdirs.user_data_dir("metahp", appauthor=False)).expanduser()


def open_snapshot(source: str | Path | KnowledgeBase | None = None) -> tuple[KnowledgeBase, Snapshot]:
    """A knowledge base and a snapshot of it, which opens its file once.

    A `KnowledgeBase` is used unchanged. A path (None: that of `find_knowledge_base_path`) is created on first use, in
    one step, with the seed of this installation; two processes may do this at the same time. After an upgrade of metahp
    the new seed is added; if that fails, a warning is logged.

    Raises:
        KnowledgeBaseError: it cannot be created or read, or the file is not a knowledge base.
    """
    if isinstance(source, KnowledgeBase):
        return source, source.take_snapshot()
    base = KnowledgeBase(find_knowledge_base_path(Path(source) if source else None))
    base.sweep()
    try:
        seed = find_seed_folder()
    except KnowledgeBaseError as error:
        _log.warning("%s Until then, advice rests on your own trials only.", error)
        return base, base.take_snapshot()
    if not base.file.exists():
        import_seed(base, seed)
        return base, base.take_snapshot()
    snapshot = base.take_snapshot()
    try:
        if snapshot.read_setting(SEED_KEY) == hash_seed(seed):
            return base, snapshot
    except BaseException:
        snapshot.close()
        raise
    snapshot.close()
    try:
        import_seed(base, seed)
    except KnowledgeBaseError as error:
        _log.warning(
            "Advice rests on the past tasks of an older metahp: those of this version could not be added. %s", error
        )
    return base, base.take_snapshot()
