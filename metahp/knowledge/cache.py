"""Trained surrogates, kept beside the knowledge base they were trained on; arrays only, never pickles."""

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
from metahp.knowledge.seed import seed_folder

FOLDER_NAME = "surrogate"
# Training makes four models of each learner and four between all, of half a megabyte: enough for a dozen learners.
NEWEST_KEPT = 64
# Unpacked, the measurements of the seed take some 20 MiB; what says that it needs more than this is none.
MAX_BYTES = 2**30
# Clocks of machines that share a folder differ by so much.
CLOCK_SECONDS = 60.0
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
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


def find(folder: Path, key: str) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Files kept under `key` and their arrays: in the folder of the knowledge base, then in the seed.

    A file that cannot be read counts as missing, with a logged warning: it is trained again.
    """
    yield from _read_files(cache_path(place, key) for place in _places(folder))


def read(paths: Iterable[Path]) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Files and their arrays; one that cannot be read is left out with a logged warning."""
    yield from _read_files(paths)


def list_newest(folder: Path, pattern: str) -> list[Path]:
    """Files whose key matches the shell pattern: in the folder of the knowledge base, then in the seed.

    In each the newest come first.
    """
    return [path for place in _places(folder) for path in _sort_by_age((place / FOLDER_NAME).glob(f"{pattern}.npz"))]


def find_newest(folder: Path, pattern: str, besides: str = "") -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Files whose key matches the shell pattern and their arrays, the newest first, searched as `find` does.

    The key `besides` is left out.
    """
    for place in _places(folder):
        paths = _sort_by_age((place / FOLDER_NAME).glob(f"{pattern}.npz"))
        yield from _read_files(path for path in paths if path.stem != besides)


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
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        write_file(path, content.getvalue())
    except OSError as error:
        _log.warning(
            "What was read and trained cannot be kept in %s (%s); the next call does it again.",
            path.parent,
            error.strerror,
        )
        return None
    others = [file for file in _sort_by_age(path.parent.glob("*.npz")) if file != path]
    for old in others[max(newest_kept - 1, 0) :]:
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            _log.debug("%s stays: %s", old, error)
    return path


def _places(folder: Path) -> list[Path]:
    try:
        return [folder, seed_folder()]
    except KnowledgeBaseError:
        _log.debug("No seed, so no surrogate that came with it.")
        return [folder]


def _sort_by_age(paths: Iterable[Path]) -> list[Path]:
    """Files by the time of their last change; one dated in the future is older than all, for nobody knows its age."""
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
                "The kept file %s cannot be read (%s) and is not used.",
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
    """An array in numpy's own format, after a look at how much memory its header asks for."""
    content = file.read(n_bytes + 1)
    header = io.BytesIO(content)
    shape, _, dtype = _HEADER_READERS[np.lib.format.read_magic(header)](header)
    if dtype.hasobject or header.tell() + dtype.itemsize * math.prod(shape) != len(content):
        raise InputError("an array in it is of another size than it says, or holds Python objects")
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
