"""Where the user's knowledge base is, and its first use."""

import logging
import os
from pathlib import Path

import platformdirs

from metahp.core.errors import KnowledgeBaseError
from metahp.knowledge.seed import SEED_KEY, import_seed, seed_folder, seed_hash
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase

VARIABLE = "METAHP_HOME"
_log = logging.getLogger(__name__)


def knowledge_base_path(path: Path | None = None) -> Path:
    """`path`, else the environment's METAHP_HOME, else the user's data folder."""
    return Path(path or os.environ.get(VARIABLE) or platformdirs.user_data_dir("metahp", appauthor=False)).expanduser()


def open_knowledge_base(path: Path | None = None) -> KnowledgeBase:
    """The knowledge base at `path` (or where `knowledge_base_path` says), holding the seed of this installation.

    Errors and warnings are those of `open_snapshot`.
    """
    base, snapshot = open_snapshot(path)
    snapshot.close()
    return base


def open_snapshot(source: str | Path | KnowledgeBase | None = None) -> tuple[KnowledgeBase, Snapshot]:
    """A knowledge base and a snapshot of it, which opens its file once.

    The one at a path (or where `knowledge_base_path` says) is created on first use, in one step, so that two first uses
    at once do no harm, and holds the seed of this installation. After an upgrade of metahp the new seed joins what is
    there; where that cannot be written, a logged warning says so. A `KnowledgeBase` is taken as it is.

    Raises:
        KnowledgeBaseError: it cannot be created or read, or the file is no knowledge base.
    """
    if isinstance(source, KnowledgeBase):
        return source, source.take_snapshot()
    base = KnowledgeBase(knowledge_base_path(Path(source) if source else None))
    base.sweep()
    try:
        seed = seed_folder()
    except KnowledgeBaseError as error:
        _log.warning("%s Until then the knowledge base holds your own trials only.", error)
        return base, base.take_snapshot()
    if not base.file.exists():
        import_seed(base, seed)
        return base, base.take_snapshot()
    snapshot = base.take_snapshot()
    try:
        if snapshot.read_setting(SEED_KEY) == seed_hash(seed):
            return base, snapshot
    except BaseException:
        snapshot.close()
        raise
    snapshot.close()
    try:
        import_seed(base, seed)
    except KnowledgeBaseError as error:
        _log.warning("The knowledge that came with this version of metahp could not be added: %s", error)
    return base, base.take_snapshot()
