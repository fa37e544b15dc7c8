"""The bytes of a table, from a file or from standard input: found, unpacked, and its text as UTF-8."""

import codecs
import difflib
import gzip
import io
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from metahp.core.errors import InputError

STANDARD_INPUT = "-"
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson", ".arff", ".gz")
CHUNK_BYTES = 1 << 24
SNIFFED_BYTES = 1 << 16
# Text has next to no control characters; in random bytes read as Latin-1 a quarter of them are.
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


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of a table are: a plain file at `path`, or in memory as `data` (standard input, unpacked gzip).

    `label` is what the user called it; `suffix` is that of the unpacked file, in lower case.
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

    def head(self, size: int = SNIFFED_BYTES) -> bytes:
        """The first `size` bytes."""
        with self.open() as stream:
            return stream.read(size)


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a source as UTF-8 bytes that begin at `start` (after a byte order mark).

    `encoding` is what the file itself is written in; `has_quotes` tells whether a double quote occurs anywhere.
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

    def decoded(self) -> str:
        """The whole text."""
        with self.open() as stream:
            return stream.read().decode("utf-8")


def open_source(name: str) -> Source:
    """The source that the user calls `name`: a path, or `-` for standard input; gzip is unpacked.

    Raises:
        InputError: there is no such file, it is a directory, empty, unreadable or a broken gzip archive.
    """
    if name == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError("Expected a table on standard input, found a terminal. Try: metahp … - < table.csv")
        source = Source("standard input", "", data=sys.stdin.buffer.read())
    else:
        path = Path(name).expanduser()
        _check_file(path)
        source = Source(path.name, path.suffix.lower(), path=path)
    if source.head(2) == b"\x1f\x8b":
        try:
            with source.open() as packed:
                data = gzip.decompress(packed.read())
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"'{source.label}' is a broken gzip archive ({error}); pack or download it again."
            ) from None
        inner = Path(name).with_suffix("").suffix.lower() if source.suffix == ".gz" else ""
        source = Source(source.label, inner, data=data, compression="gzip")
    elif source.suffix == ".gz" and source.head(1):
        raise InputError(
            f"'{source.label}' is not a gzip archive in spite of its name; "
            "rename it after what it is, or pack it again."
        )
    if not source.head().strip():
        raise InputError(f"'{source.label}' is empty; expected a header line and rows.")
    return source


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            tables = _tables_in(path)
            raise InputError(
                f"'{path}' is a directory, expected a file. "
                + (f"Try one of: {', '.join(tables[:5])}." if tables else "It holds no table either.")
            )
        if not path.exists():
            raise InputError(f"There is no file '{path}'. {_closest(path)}")
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); check its permissions.") from None


def _tables_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in TABLE_SUFFIXES)


def _closest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder '{path.parent}' does not exist either; check the path."
    close = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3)
    if close:
        return "Did you mean " + " or ".join(f"'{path.parent / name}'" for name in close) + "?"
    tables = _tables_in(path.parent)
    return f"Tables beside it: {', '.join(tables[:5])}." if tables else "Check the path; no table is in that folder."


def as_text(source: Source) -> Text:
    """The text of a source, its encoding found from a byte order mark, else UTF-8, else Latin-1 with a warning.

    Raises:
        InputError: it is a binary file, or no encoding fits.
    """
    head = source.head()
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"'{source.label}' is not a text table but {what}.")
    for mark, encoding in _WIDE_MARKS:
        if head.startswith(mark):
            return _transcoded(source, encoding, f"'{source.label}' is {encoding.upper()}, read as such")
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    is_utf8, has_quotes = _scan(source)
    controls = _TEXT_CONTROL_BYTES if is_utf8 else _CONTROL_BYTES
    if 1 - len(head.translate(None, controls)) / len(head) > MAX_CONTROL_SHARE:
        raise InputError(
            f"'{source.label}' is neither UTF-8 nor any other text that can be guessed: too many control "
            "characters. Save it as UTF-8 CSV, or as Parquet."
        )
    if not is_utf8:
        return _transcoded(
            source,
            "latin-1",
            f"'{source.label}' is not UTF-8, read as Latin-1; save it as UTF-8 if accented letters matter",
        )
    return Text(source, start, "utf-8-sig" if start else "utf-8", has_quotes)


def _transcoded(source: Source, encoding: str, warning: str) -> Text:
    with source.open() as stream:
        try:
            data = stream.read().decode(encoding).encode("utf-8")
        except UnicodeError as error:
            raise InputError(
                f"'{source.label}' starts as {encoding.upper()} but is not valid "
                f"({getattr(error, 'reason', error)}); save it as UTF-8."
            ) from None
    if b"\0" in data:
        raise _binary(source, data.index(b"\0"))
    if not data.strip():
        raise InputError(f"'{source.label}' is empty; expected a header line and rows.")
    text = Source(source.label, source.suffix, data=data, compression=source.compression)
    return Text(text, 0, encoding, b'"' in data, (warning,))


def _scan(source: Source) -> tuple[bool, bool]:
    """Whether the bytes are UTF-8, and whether they hold a double quote; in chunks, so that a large file stays out."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, has_quotes, position = True, False, 0
    with source.open() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            if (at := chunk.find(b"\0")) >= 0:
                raise _binary(source, position + at)
            position += len(chunk)
            has_quotes = has_quotes or b'"' in chunk
            if is_utf8 and not (chunk.isascii() and decoder.getstate()[0] == b""):
                is_utf8 = _decodes(decoder, chunk)
    return is_utf8 and _decodes(decoder, b"", final=True), has_quotes


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _binary(source: Source, position: int) -> InputError:
    return InputError(
        f"'{source.label}' is a binary file, expected text (a NUL byte at position {position:,}). "
        "Save the table as UTF-8 CSV or as Parquet."
    )
