"""Cache of trained surrogates, beside the knowledge base that trained them. Files hold arrays only, never pickles."""

import io
import logging
import math
import re
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.core.text import make_encodable
from metahp.files import sweep, write_file
from metahp.knowledge.seed import find_seed_folder

FOLDER_NAME = "surrogate"
# Training makes four models per learner and four for all learners together, half a megabyte each. 64 files are enough
# for a dozen learners.
NEWEST_KEPT = 64
# Largest unpacked size of a valid file. The measurements of the seed take about 20 MiB unpacked.
MAX_BYTES = 2**30
# Largest expected difference between the clocks of machines that share a folder.
CLOCK_SECONDS = 60.0
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_log = logging.getLogger(__name__)


def make_cache_path(folder: Path, key: str) -> Path:
    """Path of the surrogate of `key`, in the folder of a knowledge base or seed.

    `key` names everything that the training depends on: content hash of the knowledge base, format version, metric, ….

    Raises:
        InputError: the key is not a valid file name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", key):
        raise InputError(f"A cache key is made of letters, digits, '.', '_', '+' and '-', got {key!r}.")
    return Path(folder) / FOLDER_NAME / f"{key}.npz"


def find(folder: Path, key: str) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Paths and arrays of the files of `key`: first in the folder of the knowledge base, then in the seed.

    An unreadable file counts as missing, with a logged warning. The caller trains again.
    """
    yield from _read_files(make_cache_path(parent, key) for parent in _list_folders(folder))


def read(paths: Iterable[Path]) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Paths and arrays of the files; an unreadable file is left out, with a logged warning."""
    yield from _read_files(paths)


def list_newest(folder: Path, pattern: str) -> list[Path]:
    """Files whose key matches the shell pattern: first in the folder of the knowledge base, then in the seed.

    Within a folder, the newest file comes first.
    """
    return [
        path for parent in _list_folders(folder) for path in _sort_by_age((parent / FOLDER_NAME).glob(f"{pattern}.npz"))
    ]


def find_newest(folder: Path, pattern: str, besides: str = "") -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Paths and arrays of the files whose key matches the shell pattern, in the order of `list_newest`.

    The key `besides` is left out.
    """
    for parent in _list_folders(folder):
        paths = _sort_by_age((parent / FOLDER_NAME).glob(f"{pattern}.npz"))
        yield from _read_files(path for path in paths if path.stem != besides)


def save(folder: Path, key: str, arrays: Mapping[str, np.ndarray], newest_kept: int = NEWEST_KEPT) -> Path | None:
    """Save `arrays` under `key` in one step; keep only the `newest_kept` newest files.

    Returns:
        The path; None, with a logged warning, if the folder cannot be written. The current answer stays valid, and the
        next call trains again.

    Raises:
        InputError: the key is not a valid file name, or an array holds Python objects, which only a pickle can store.
    """
    path = make_cache_path(folder, key)
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise InputError(f"'{name}' holds Python objects; a cache file can hold numbers and texts only.")
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        write_file(path, content.getvalue())
    except OSError as error:
        _log.warning(
            "What was learned cannot be kept in %s (%s), so each call takes as long; make that folder writable.",
            path.parent,
            error.strerror,
        )
        return None
    others = [file for file in _sort_by_age(path.parent.glob("*.npz")) if file != path]
    for old in others[max(newest_kept - 1, 0) :]:
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            _log.debug("%s cannot be removed: %s", old, error)
    return path


def _list_folders(folder: Path) -> list[Path]:
    try:
        return [folder, find_seed_folder()]
    except KnowledgeBaseError:
        _log.debug("No seed, so no trained surrogates from it.")
        return [folder]


def _sort_by_age(paths: Iterable[Path]) -> list[Path]:
    """Files by the time of their last change, newest first; a file dated in the future has no known age and is last."""
    now = time.time()
    changed = {}
    for path in paths:
        try:
            at = path.stat().st_mtime
        except OSError:
            continue
        changed[path] = at if at <= now + CLOCK_SECONDS else 0.0
    return sorted(changed, key=lambda path: (changed[path], path.name), reverse=True)


def _read_files(paths: Iterable[Path]) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    for path in paths:
        if not path.is_file():
            continue
        try:
            arrays = _read(path)
        except Exception as error:
            _log.warning(
                "The cached file %s cannot be read (%s) and is not used: this call takes longer.",
                make_encodable(str(path)),
                " ".join(make_encodable(str(error)).split()),
            )
            continue
        yield path, arrays


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise InputError(f"unpacked it would take more than {MAX_BYTES:,} bytes")
        arrays = {}
        for member in archive.infolist():
            with archive.open(member) as file:
                arrays[member.filename.removesuffix(".npy")] = _read_array(file, member.file_size)
        return arrays


def _read_array(file: IO[bytes], n_bytes: int) -> np.ndarray:
    """An array in numpy's format; the header's shape is checked before memory is allocated."""
    content = file.read(n_bytes + 1)
    header = io.BytesIO(content)
    shape, _, dtype = _HEADER_READERS[np.lib.format.read_magic(header)](header)
    if dtype.hasobject or header.tell() + dtype.itemsize * math.prod(shape) != len(content):
        raise InputError("an array has another size than its header says, or holds Python objects")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
