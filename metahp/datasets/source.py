"""Open the bytes of a table from a file, a pipe or standard input, unpack gzip, and give its text as UTF-8."""

import codecs
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from metahp.core.errors import InputError
from metahp.datasets.limits import PYTHON_SHARE, compute_memory_bound, format_gibibytes
from metahp.datasets.paths import STANDARD_INPUT, find_mode, format_path, is_pipe, make_local_path

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device or terminal"),
    (stat.S_ISBLK, "a device"),
)
CHUNK_BYTES = 1 << 24
SNIFFED_BYTES = 1 << 16
# Text has almost no control characters; of random bytes read as Latin-1, a quarter are control characters.
MAX_CONTROL_SHARE = 0.1
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\r")) + bytes(range(127, 160))
_TEXT_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\r")) + b"\x7f"
# The longer mark first: UTF-32 in little-endian order begins like UTF-16.
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FOREIGN = {
    b"PK\x03\x04": "an Excel workbook or another zip archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"SQLite format 3": "an SQLite database; export one table as CSV",
    b"%PDF": "a PDF; export the table as CSV",
    b"BZh": "compressed with bzip2; unpack it, or compress it with gzip",
    b"\xfd7zXZ": "compressed with xz; unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it, or compress it with gzip",
    b"ARROW1": "a Feather (Arrow) file; save it as Parquet",
    b"\x89HDF": "an HDF5 file; save the table as Parquet",
    b"\x89PNG": "a picture",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the bytes of a table are: a plain file at `path`, or in memory as `data` (standard input, unpacked gzip).

    `label` is its name in messages; `suffix` is the lower-case suffix of the unpacked file.
    """

    label: str
    suffix: str
    path: Path | None = None
    data: bytes | None = None
    compression: str | None = None

    def open(self) -> BinaryIO:
        """The bytes from the start."""
        if self.path is not None:
            return self.path.open("rb")
        assert self.data is not None
        return io.BytesIO(self.data)

    def open_arrow(self) -> pa.NativeFile:
        """The bytes from the start as an Arrow file: reading it does not need Python's interpreter lock."""
        # As bytes, since Arrow accepts a name that is not UTF-8 only as bytes.
        return pa.BufferReader(self.data) if self.path is None else pa.OSFile(os.fsencode(self.path))

    def read_head(self, size: int = SNIFFED_BYTES) -> bytes:
        """The first `size` bytes."""
        with self.open() as stream:
            return stream.read(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The text of a source as UTF-8 bytes that begin at `start` (after a byte order mark).

    `encoding` is the encoding of the file itself; `has_quotes` says whether the text contains a double quote.
    """

    source: Source
    start: int
    encoding: str
    has_quotes: bool
    warnings: tuple[str, ...] = ()

    def open(self) -> BinaryIO:
        """The UTF-8 bytes from the start of the text."""
        stream = self.source.open()
        stream.seek(self.start)
        return stream

    def decode(self) -> str:
        """The whole text, for parsing in Python.

        Raises:
            InputError: the text is too large for that.
        """
        bound = compute_memory_bound() // PYTHON_SHARE
        with self.open() as stream:
            data = _join_chunks(_read_chunks(stream), bound, f"'{self.source.label}'", "Save it as CSV or as Parquet.")
        return data.decode("utf-8")


def open_source(name: str) -> Source:
    """The source `name`: a path, or `-` for standard input; gzip is unpacked.

    Raises:
        InputError: the file does not exist, is not a regular file, is empty, unreadable or too large, or is a broken
            gzip archive.
    """
    source = _unpack(_open_standard_input() if name == STANDARD_INPUT else _open_file(name))
    if not source.read_head().strip():
        raise InputError(f"'{source.label}' is empty; expected a header line and rows.")
    return source


def _open_standard_input() -> Source:
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("Expected a table on standard input, which is closed. Try: metahp … - < table.csv")
    if sys.stdin.isatty():
        raise InputError("Expected a table on standard input, found a terminal. Try: metahp … - < table.csv")
    if not hasattr(sys.stdin, "buffer"):
        raise InputError("Expected a table on standard input, found text without bytes. Pass a path or a frame.")
    try:
        return Source(label="standard input", suffix="", data=_read_pipe(sys.stdin.buffer, "standard input"))
    except OSError as error:
        raise InputError(
            f"Standard input cannot be read ({error.strerror or error}). Try: metahp … - < table.csv"
        ) from None


def _open_file(name: str) -> Source:
    path = Path(make_local_path(name))
    try:
        mode = find_mode(path)
        if stat.S_ISREG(mode):
            with path.open("rb"):
                return Source(label=format_path(path.name), suffix=path.suffix.lower(), path=path)
        if is_pipe(name):
            with path.open("rb") as stream:
                return Source(label=format_path(path), suffix="", data=_read_pipe(stream, f"'{format_path(path)}'"))
    except OSError as error:
        raise InputError(f"'{format_path(path)}' cannot be read ({error.strerror}); check its permissions.") from None
    kind = next((kind for test, kind in _KINDS if test(mode)), "no file")
    hint = f" Try: metahp … - < {format_path(path)}" if stat.S_ISFIFO(mode) else ""
    raise InputError(f"'{format_path(path)}' is {kind}, expected a file.{hint}")


def _read_pipe(stream: BinaryIO, what: str) -> bytes:
    return _join_chunks(
        _read_chunks(stream), compute_memory_bound(), what, "Save it to a file, or pass a part: head -n 1000000"
    )


def _unpack(source: Source) -> Source:
    """The source itself; for a gzip archive, its unpacked content."""
    if source.read_head(2) != b"\x1f\x8b":
        if source.suffix == ".gz" and source.read_head(1):
            raise InputError(
                f"'{source.label}' is not a gzip archive, despite its name; rename it, or compress it again."
            )
        return source
    hint = "Unpack it to a file, or take a part: zcat FILE | head -n 1000000"
    try:
        with source.open() as packed, gzip.GzipFile(fileobj=packed) as stream:
            data = _join_chunks(_read_chunks(stream), compute_memory_bound(), f"'{source.label}' unpacked", hint)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"'{source.label}' is a broken gzip archive ({error}); pack or download it again.") from None
    is_named = source.path is not None and source.suffix == ".gz"
    inner = source.path.with_suffix("").suffix.lower() if source.path is not None and is_named else ""
    return Source(label=source.label, suffix=inner, data=data, compression="gzip")


def _read_chunks(stream: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    return iter(lambda: stream.read(CHUNK_BYTES), b"")


def _join_chunks(chunks: Iterable[bytes], bound: int, what: str, hint: str) -> bytes:
    """Join the chunks, up to `bound` bytes."""
    buffer = io.BytesIO()
    for chunk in chunks:
        if buffer.tell() + len(chunk) > bound:
            raise InputError(
                f"{what} holds more than {format_gibibytes(bound)}, the limit for reading into memory. {hint}"
            )
        buffer.write(chunk)
    return buffer.getvalue()


def open_text(source: Source) -> Text:
    """The text of a source: in the encoding of its byte order mark, else UTF-8, else Latin-1 with a warning.

    Raises:
        InputError: the file is binary, or no encoding fits.
    """
    head = source.read_head()
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"'{source.label}' is not a text table but {what}.")
    for mark, encoding in _WIDE_MARKS:
        if head.startswith(mark):
            return _transcode(source, encoding, f"'{source.label}' is {encoding.upper()}, read as such")
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    is_utf8, has_quotes = _scan(source)
    controls = _TEXT_CONTROL_BYTES if is_utf8 else _CONTROL_BYTES
    if 1 - len(head.translate(None, controls)) / len(head) > MAX_CONTROL_SHARE:
        raise InputError(
            f"'{source.label}' is not UTF-8, and has too many control characters for another "
            "text encoding. Save it as UTF-8 CSV, or as Parquet."
        )
    if not is_utf8:
        return _transcode(
            source,
            "latin-1",
            f"'{source.label}' is not UTF-8, read as Latin-1; save it as UTF-8 if accented letters matter",
        )
    return Text(source=source, start=start, encoding="utf-8-sig" if start else "utf-8", has_quotes=has_quotes)


def _transcode(source: Source, encoding: str, warning: str) -> Text:
    what, hint = f"'{source.label}' as UTF-8", "Save it as UTF-8, or take a part of its rows."
    with source.open() as stream:
        try:
            data = _join_chunks(_encode_utf8(_read_chunks(stream), encoding), compute_memory_bound(), what, hint)
        except UnicodeError as error:
            raise InputError(
                f"'{source.label}' starts as {encoding.upper()} but is not valid "
                f"({getattr(error, 'reason', error)}); save it as UTF-8."
            ) from None
    if b"\0" in data:
        raise _make_binary_error(source, data.index(b"\0"))
    if not data.strip():
        raise InputError(f"'{source.label}' is empty; expected a header line and rows.")
    text = Source(label=source.label, suffix=source.suffix, data=data, compression=source.compression)
    return Text(source=text, start=0, encoding=encoding, has_quotes=b'"' in data, warnings=(warning,))


def _encode_utf8(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8")
    yield decoder.decode(b"", final=True).encode("utf-8")


def _scan(source: Source) -> tuple[bool, bool]:
    """Whether the bytes are UTF-8, and whether they hold a double quote; read in chunks, to save memory."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, has_quotes, position = True, False, 0
    with source.open() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            if (at := chunk.find(b"\0")) >= 0:
                raise _make_binary_error(source, position + at)
            position += len(chunk)
            has_quotes = has_quotes or b'"' in chunk
            if is_utf8 and not (chunk.isascii() and decoder.getstate()[0] == b""):
                is_utf8 = _can_decode(decoder, chunk)
    return is_utf8 and _can_decode(decoder, b"", final=True), has_quotes


def _can_decode(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _make_binary_error(source: Source, position: int) -> InputError:
    return InputError(
        f"'{source.label}' is a binary file, expected text (a NUL byte at position {position:,}). "
        "Save the table as UTF-8 CSV or as Parquet."
    )
