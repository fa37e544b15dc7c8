"""Where the user's knowledge base is, and its first use."""

import logging
import os
from pathlib import Path

import platformdirs

from metahp.core.errors import KnowledgeBaseError
from metahp.knowledge.seed import SEED_KEY, import_seed, seed_folder, seed_hash
from metahp.knowledge.store import KnowledgeBase

VARIABLE = "METAHP_HOME"
_log = logging.getLogger(__name__)


def knowledge_base_path(path: Path | None = None) -> Path:
    """`path`, else the environment's METAHP_HOME, else the user's data folder."""
    return Path(path or os.environ.get(VARIABLE) or platformdirs.user_data_dir("metahp", appauthor=False)).expanduser()


def open_knowledge_base(path: Path | None = None) -> KnowledgeBase:
    """The knowledge base at `path` (or where `knowledge_base_path` says), holding the seed of this installation.

    It is created on first use, in one step, so that two first uses at once do no harm. After an upgrade of metahp the
    new seed joins what is there; where that cannot be written, a logged warning says so.

    Raises:
        KnowledgeBaseError: it cannot be created or read, or the file is no knowledge base.
    """
    kb = KnowledgeBase(knowledge_base_path(path))
    kb.sweep()
    try:
        seed = seed_folder()
    except KnowledgeBaseError as error:
        _log.warning("%s Until then the knowledge base holds your own trials only.", error)
        return kb
    if not kb.file.exists():
        import_seed(kb, seed)
    elif kb.setting(SEED_KEY) != seed_hash(seed):
        try:
            import_seed(kb, seed)
        except KnowledgeBaseError as error:
            _log.warning("The knowledge that came with this version of metahp could not be added: %s", error)
    return kb
