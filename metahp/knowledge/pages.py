"""Whether a DuckDB file is whole: every page against the checksum that is stored with it.

DuckDB compares a page with its checksum only when it reads it, so that damage stays unseen until somebody needs the
page. The file has three headers of 4096 bytes and then blocks of equal size; each begins with a checksum of its other
bytes. The second and third header say, among other things, how many blocks there are and where the list of free ones
is, whose content means nothing; that with the higher count of checkpoints holds.

Found by experiment with DuckDB 1.4.0 and 2.0.1: on healthy files, also after hundreds of ingests with kills in between,
every block that is not free fits its checksum, and the numbers of blocks and of free ones are those that DuckDB gives.
Where they are not, this version of DuckDB writes in another way, and only what DuckDB says itself counts.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from metahp.core.errors import BusyError, KnowledgeBaseError
from metahp.knowledge import database, queries

_HEADER_BYTES = 4096
_N_HEADERS = 3
_MAGIC = b"DUCK"
_CHECKSUM_BYTES = 8
# Start and factor of DuckDB's checksum: words of 64 bits, each multiplied, joined by exclusive or.
_START, _FACTOR = 5381, np.uint64(0xBF58476D1CE4E5B9)
# Lists are kept in parts of a block, each of which begins with a pointer to the next: a block in the low 56 bits, a
# part in the high 8.
_PARTS = 64
_NO_POINTER = 2**64 - 1
# More damaged blocks than this are counted, not listed.
_MOST_LISTED = 10
# What DuckDB says where the headers, the catalogue or the list of free blocks is damaged, or the file is cut.
_IS_DAMAGE = re.compile("[Cc]orrupt|not a valid DuckDB|[Cc]ould not read")


class _UnknownLayoutError(Exception):
    """The file is not laid out as described above."""


def find_damage(file: Path, wait_seconds: float) -> list[str]:
    """What is damaged in an existing knowledge base, every page of it read; empty where nothing is.

    Raises:
        BusyError: another process holds the file for longer than `wait_seconds`.
        KnowledgeBaseError: the file is none of ours, or of a newer version.
    """
    if not file.is_file():
        raise KnowledgeBaseError(
            f"{file} is a folder or another thing that is no file; expected a knowledge base. Move it away, or name "
            "another path with `knowledge_base` or METAHP_HOME."
        )
    # Opened before DuckDB does and closed after it: on some systems, closing gives up all locks of this process.
    with file.open("rb") as raw:
        try:
            with database.open_file(file, read_only=True, wait_seconds=wait_seconds) as connection:
                bad = _find_bad_blocks(raw, queries.count_blocks(connection))
                if bad:
                    return bad
                queries.read_everything(connection)
        except BusyError:
            raise
        except KnowledgeBaseError as error:
            if not _IS_DAMAGE.search(str(error)):
                raise
            return [str(error.__cause__).splitlines()[0]]
    return []


def _find_bad_blocks(raw: BinaryIO, counts: tuple[int, int]) -> list[str]:
    """Blocks in use that do not fit their checksum; none where the layout is not the known one."""
    try:
        n_blocks, size, free_list = _read_header(raw)
        free = set(_read_free_blocks(raw, n_blocks, size, free_list))
        if (n_blocks, len(free)) != counts:
            raise _UnknownLayoutError
    except _UnknownLayoutError:
        return []
    bad = [
        block for block in range(n_blocks) if block not in free and not _is_whole(_read_block(raw, block, size), size)
    ]
    listed = [
        f"block {block} of {n_blocks}, from byte {_start(block, size):,}: its bytes do not fit their checksum"
        for block in bad[:_MOST_LISTED]
    ]
    return [*listed, f"and {len(bad) - _MOST_LISTED} more blocks"] if len(bad) > _MOST_LISTED else listed


def _read_header(raw: BinaryIO) -> tuple[int, int, int]:
    """Number of blocks, bytes of each, and pointer to the list of free ones."""
    raw.seek(0)
    headers = [raw.read(_HEADER_BYTES) for _ in range(_N_HEADERS)]
    if not all(_is_whole(header, _HEADER_BYTES) for header in headers) or headers[0][8:12] != _MAGIC:
        raise _UnknownLayoutError
    # The checksum, then: count of checkpoints, pointer to the catalogue, pointer to the free list, blocks, bytes.
    _, _, free_list, n_blocks, size = max(struct.unpack_from("<5Q", header, _CHECKSUM_BYTES) for header in headers[1:])
    if not _HEADER_BYTES <= size <= 2**24 or size % 8:
        raise _UnknownLayoutError
    return n_blocks, size, free_list


def _read_free_blocks(raw: BinaryIO, n_blocks: int, size: int, pointer: int) -> Iterator[int]:
    words = _read_list(raw, n_blocks, size, pointer)
    for _ in range(next(words, 0)):
        block = next(words, n_blocks)
        if block >= n_blocks:
            raise _UnknownLayoutError
        yield block


def _read_list(raw: BinaryIO, n_blocks: int, size: int, pointer: int) -> Iterator[int]:
    """The numbers of a list, part after part."""
    part_bytes = (size - _CHECKSUM_BYTES) // _PARTS // 8 * 8
    seen = set()
    while pointer != _NO_POINTER:
        block, part = pointer & (2**56 - 1), pointer >> 56
        if pointer in seen or block >= n_blocks or part >= _PARTS:
            raise _UnknownLayoutError
        seen.add(pointer)
        start = _CHECKSUM_BYTES + part * part_bytes
        content = _read_block(raw, block, size)[start : start + part_bytes]
        if len(content) < part_bytes:
            raise _UnknownLayoutError
        pointer, *words = struct.unpack(f"<{part_bytes // 8}Q", content)
        yield from words


def _read_block(raw: BinaryIO, block: int, size: int) -> bytes:
    raw.seek(_start(block, size))
    return raw.read(size)


def _start(block: int, size: int) -> int:
    return _N_HEADERS * _HEADER_BYTES + block * size


def _is_whole(content: bytes, size: int) -> bool:
    if len(content) < size:
        return False
    words = np.frombuffer(content, dtype="<u8")
    return int(np.bitwise_xor.reduce(words[1:] * _FACTOR)) ^ _START == int(words[0])
