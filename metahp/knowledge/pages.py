"""Damage check of a DuckDB file: every block is compared with its stored checksum.

DuckDB checks a page only when it reads it, so damage in a page that is rarely read stays undetected. The file consists
of three headers of 4096 bytes, then blocks of equal size; each begins with a checksum of its other bytes. The second
and third header contain the number of blocks and a pointer to the list of free blocks; the header with the higher count
of checkpoints is valid. The content of a free block has no meaning.

Found by experiment with DuckDB 1.4.0 and 2.0.1: in undamaged files, even after hundreds of ingests with kills, every
used block fits its checksum, and the numbers of blocks and of free blocks equal those that DuckDB reports. If the
numbers differ, this version of DuckDB has another layout, and only DuckDB's own errors count as damage.
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
# DuckDB's checksum: multiply each 64-bit word by the factor, combine the products and the start by exclusive or.
_START, _FACTOR = 5381, np.uint64(0xBF58476D1CE4E5B9)
# A list is stored in parts of blocks. Each part begins with a pointer to the next one: the block in the low 56 bits,
# the part in the high 8 bits.
_PARTS = 64
_NO_POINTER = 2**64 - 1
# Most damaged blocks that are listed; further ones are only counted.
_MOST_LISTED = 10
# Messages of DuckDB if the headers, the catalogue or the list of free blocks is damaged, or the file is truncated.
_IS_DAMAGE = re.compile("[Cc]orrupt|not a valid DuckDB|[Cc]ould not read")


class _UnknownLayoutError(Exception):
    """The file has another layout than the one described above."""


def find_damage(file: Path, wait_seconds: float) -> list[str]:
    """Descriptions of the damage in an existing knowledge base, after reading every page; empty if there is none.

    Raises:
        BusyError: another process holds the file for longer than `wait_seconds`.
        KnowledgeBaseError: the file is not a knowledge base, or is of a newer version.
    """
    if not file.is_file():
        raise KnowledgeBaseError(
            f"{file} is not a regular file; expected a knowledge base. Move it away, or name "
            "another path with `knowledge_base` or METAHP_HOME."
        )
    # Open before DuckDB, close after it: on some systems, closing a file releases all locks of this process on it.
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
    """Descriptions of used blocks that do not fit their checksum; empty if the layout is unknown."""
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
        f"block {block} of {n_blocks}, from byte {_find_start(block, size):,}: its bytes do not fit their checksum"
        for block in bad[:_MOST_LISTED]
    ]
    return [*listed, f"and {len(bad) - _MOST_LISTED} more blocks"] if len(bad) > _MOST_LISTED else listed


def _read_header(raw: BinaryIO) -> tuple[int, int, int]:
    """Number of blocks, bytes per block, and pointer to the list of free blocks."""
    raw.seek(0)
    headers = [raw.read(_HEADER_BYTES) for _ in range(_N_HEADERS)]
    if not all(_is_whole(header, _HEADER_BYTES) for header in headers) or headers[0][8:12] != _MAGIC:
        raise _UnknownLayoutError
    # After the checksum: count of checkpoints, pointer to the catalogue, pointer to the free list, blocks, bytes.
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
    """The numbers of a list."""
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
    raw.seek(_find_start(block, size))
    return raw.read(size)


def _find_start(block: int, size: int) -> int:
    return _N_HEADERS * _HEADER_BYTES + block * size


def _is_whole(content: bytes, size: int) -> bool:
    if len(content) < size:
        return False
    words = np.frombuffer(content, dtype="<u8")
    return int(np.bitwise_xor.reduce(words[1:] * _FACTOR)) ^ _START == int(words[0])
