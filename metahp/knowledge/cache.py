"""Trained surrogates, kept beside the knowledge base they were trained on; arrays only, never pickles."""

import logging
import re
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.knowledge.seed import seed_folder

FOLDER_NAME = "surrogate"
# One per metric, task type and learner set that a person uses, and some to spare.
NEWEST_KEPT = 24
_log = logging.getLogger(__name__)


def cache_path(folder: Path, key: str) -> Path:
    """Where the surrogate of `key` is kept, in the folder of a knowledge base or seed.

    `key` names everything the training depends on: content hash of the knowledge base, format version, metric, ….

    Raises:
        InputError: the key cannot be a file name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", key):
        raise InputError(f"A cache key is made of letters, digits, '.', '_', '+' and '-', got {key!r}.")
    return Path(folder) / FOLDER_NAME / f"{key}.npz"


def load(folder: Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays kept under `key`, from the folder of the knowledge base, else from the seed; None where neither has.

    A file that cannot be read counts as missing, with a logged warning: it is trained again.
    """
    for place in _places(folder):
        path = cache_path(place, key)
        if path.is_file() and (arrays := _read(path)) is not None:
            return arrays
    return None


def newest(folder: Path, pattern: str) -> dict[str, np.ndarray] | None:
    """The newest arrays whose key matches the shell pattern, searched as `load` does; None where there are none."""
    for place in _places(folder):
        paths = (place / FOLDER_NAME).glob(f"{pattern}.npz")
        for path in sorted(paths, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            if (arrays := _read(path)) is not None:
                return arrays
    return None


def _places(folder: Path) -> list[Path]:
    try:
        return [folder, seed_folder()]
    except KnowledgeBaseError:
        _log.debug("No seed, so no surrogate that came with it.")
        return [folder]


def _read(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        _log.warning("The cached surrogate %s cannot be read (%s) and will be trained again.", path, error)
        return None


def save(folder: Path, key: str, arrays: Mapping[str, np.ndarray], newest_kept: int = NEWEST_KEPT) -> Path | None:
    """Keep `arrays` under `key`, in one step, and remove all but the newest few files.

    Where the folder cannot be written, a logged warning says so and None is returned: the answer that needed the
    training stands, the next one trains again.

    Raises:
        InputError: the key cannot be a file name, or an array holds Python objects, which only a pickle could keep.
    """
    path = cache_path(folder, key)
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise InputError(f"'{name}' holds Python objects; a cache file holds numbers and texts only.")
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        unfinished.replace(path)
    except OSError as error:
        _log.warning(
            "The trained surrogate cannot be kept in %s (%s); the next call trains again.", path.parent, error.strerror
        )
        return None
    files = sorted(path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for old in files[newest_kept:]:
        old.unlink(missing_ok=True)
    return path
