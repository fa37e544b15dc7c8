"""JSON lines: one object a line, its keys the columns."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.json as pajson

from metahp.core.errors import InputError
from metahp.core.text import make_encodable
from metahp.datasets.limits import check_cells, check_columns
from metahp.datasets.nesting import check_depth, line_blocks
from metahp.datasets.raw import ReadOptions
from metahp.datasets.source import Text

BLOCK_BYTES = 1 << 23
PROBE_BYTES = 1 << 20
# Where each line has keys of its own, Arrow takes time and memory for every key in every line of a block.
MAX_PROBE_CELLS = 1 << 22
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def read_json_lines(text: Text) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    """The raw frame (a key that a line lacks is missing there), how it was read and with what warnings.

    Raises:
        InputError: a line is not a JSON object or nested too deep, or there are too many keys.
    """
    source = text.source
    options = ReadOptions(format="jsonl", encoding=text.encoding, compression=source.compression)
    if text.source.head().lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        raise InputError(
            f"'{source.label}' is one JSON array, expected JSON lines (one object a line). "
            "Try: jq -c '.[]' on it, or save it as CSV."
        )
    n_rows = check_depth(text)
    table = _read_with_arrow(text, n_rows)
    if table is not None:
        return table.to_pandas(split_blocks=True, self_destruct=True), options, text.warnings
    # Arrow wants one type a column and no NaN; Python's slower parser takes both, and names a broken line.
    return pd.DataFrame(_read_with_python(text)), options, text.warnings


def _read_with_arrow(text: Text, n_rows: int) -> pa.Table | None:
    """The table; None where it takes Python's parser to read it, or to say what is wrong with it.

    Arrow reads what it has seen to be harmless: the keys of the first lines, or else those of all lines.
    """
    keys = _Keys(n_rows, f"'{text.source.label}'")
    with text.open() as stream:
        block = next(line_blocks(stream, PROBE_BYTES, text.source.label), b"")
    try:
        n_probed = keys.add(block)
        if n_probed == 0 or n_probed * len(keys.paths) > MAX_PROBE_CELLS:
            return None
        schema = _parsed(pa.BufferReader(block)).schema
        try:
            return _parsed_whole(text, explicit_schema=schema, unexpected_field_behavior="error")
        except pa.ArrowInvalid:
            # A later line has another key, or a value of another type.
            with text.open() as stream:
                for block in line_blocks(stream, PROBE_BYTES, text.source.label):
                    keys.add(block)
            return _parsed_whole(text)
    except (_NoObjectError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _parsed_whole(text: Text, **options: Any) -> pa.Table:
    with text.source.open_arrow() as stream:
        stream.seek(text.start)
        return _parsed(stream, **options)


def _parsed(stream: pa.NativeFile, **options: Any) -> pa.Table:
    read_options = pajson.ReadOptions(block_size=BLOCK_BYTES)
    return pajson.read_json(stream, read_options=read_options, parse_options=pajson.ParseOptions(**options))


@dataclass
class _Keys:
    """The keys of JSON objects, those inside of others by their path. Arrow keeps a column of `n_rows` for each."""

    n_rows: int
    label: str
    names: set[str] = field(default_factory=set)
    paths: set[str | tuple[str, ...]] = field(default_factory=set)

    def add(self, block: bytes) -> int:
        """Add the keys in a block of lines; the number of its objects."""
        count = 0
        for record in _decoded(block.decode("utf-8")):
            count += 1
            self.names.update(record)
            for key, value in record.items():
                if type(value) in (dict, list):
                    self.paths.update(_paths(value, (key,)))
        self.paths.update(self.names)
        check_columns(len(self.names), self.label)
        check_cells(self.n_rows, len(self.paths), self.label)
        return count


def _paths(value: Any, parent: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            path = (*parent, key)
            yield path
            yield from _paths(item, path)
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, (*parent, "[]"))


class _NoObjectError(Exception):
    """What stands at `position` of a text is no JSON object but what `found` says."""

    def __init__(self, position: int, found: str) -> None:
        super().__init__(found)
        self.position, self.found = position, found


def _decoded(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text, one after the other."""
    has_half_characters = _HALF_CHARACTER.search(text) is not None
    position = _end_of_space(text, 0)
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except ValueError as error:
            raise _NoObjectError(position, f"broken JSON ({getattr(error, 'msg', error)})") from None
        if not isinstance(value, dict):
            raise _NoObjectError(position, type(value).__name__)
        yield _with_encodable_texts(value) if has_half_characters else value
        position = _end_of_space(text, end)


def _end_of_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _read_with_python(text: Text) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    names: set[str] = set()
    decoded, label = text.decoded(), f"'{text.source.label}'"
    try:
        for record in _decoded(decoded):
            records.append(record)
            names.update(record)
            check_columns(len(names), label)
    except _NoObjectError as error:
        number = decoded.count("\n", 0, error.position) + 1
        raise InputError(
            f"{label}, line {number}: expected a JSON object, found {error.found}. "
            'Write {"column": value, …}, one object a line.'
        ) from None
    check_cells(len(records), len(names), label)
    return records


def _with_encodable_texts(value: Any) -> Any:
    r"""The value with half characters, such as JSON's `"\ud800"`, written as escapes in all its texts and keys."""
    if isinstance(value, str):
        return make_encodable(value)
    if isinstance(value, list):
        return [_with_encodable_texts(item) for item in value]
    if isinstance(value, dict):
        return {make_encodable(key): _with_encodable_texts(item) for key, item in value.items()}
    return value
