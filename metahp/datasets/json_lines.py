"""Read JSON lines: each line is an object, and its keys are the columns."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.json as pajson

from metahp.core.errors import InputError
from metahp.core.text import make_encodable
from metahp.datasets.limits import check_cells, check_columns
from metahp.datasets.nesting import check_depth, read_line_blocks
from metahp.datasets.raw import ReadOptions
from metahp.datasets.source import Text

BLOCK_BYTES = 1 << 23
PROBE_BYTES = 1 << 20
# Arrow takes time and memory for every key in every line of a block, also for keys that most lines lack.
MAX_PROBE_CELLS = 1 << 22
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def read_json(text: Text) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    """The raw frame (a key that a line lacks is a missing value), the read options, and warnings.

    Raises:
        InputError: a line is not a JSON object or nested too deep, or there are too many keys.
    """
    source = text.source
    options = ReadOptions(format="jsonl", encoding=text.encoding, compression=source.compression)
    n_rows = check_depth(text)
    if text.source.read_head().lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return _read_array(text, replace(options, format="json"))
    table = _read_with_arrow(text, n_rows)
    if table is not None and table.num_rows > 1:
        options = replace(options, is_nested=any(pa.types.is_struct(kind) for kind in table.schema.types))
        while any(pa.types.is_struct(kind) for kind in table.schema.types):
            table = table.flatten()
            check_columns(table.num_columns, f"'{source.label}'")
        return table.to_pandas(split_blocks=True, self_destruct=True), options, text.warnings
    # Arrow needs one type per column and no NaN. Python's slower parser accepts both, and names a broken line.
    records = _read_with_python(text)
    _refuse_columns(records, f"'{source.label}'")
    frame, is_nested = _make_frame(records, f"'{source.label}'")
    return frame, replace(options, is_nested=is_nested), text.warnings


def _refuse_columns(records: list[dict[str, Any]], label: str) -> None:
    """Refuse one object whose values are lists, which are columns or rows and not a row."""
    if len(records) == 1 and any(isinstance(value, list | dict) and len(value) > 1 for value in records[0].values()):
        raise InputError(
            f"{label} is one JSON object that holds lists; expected one object for each row, on a line of its own or "
            "in an array. In Python: frame.to_json(path, orient='records')."
        )


def _read_array(text: Text, options: ReadOptions) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    """The same of one JSON array of objects, as pandas' `to_json(orient="records")` writes it."""
    label = f"'{text.source.label}'"
    try:
        records = json.loads(text.decode())
    except ValueError as error:
        raise InputError(f"{label} is not a JSON array ({error}); is it cut off?") from None
    odd = next((index for index, record in enumerate(records) if not isinstance(record, dict)), None)
    if odd is not None:
        raise InputError(
            f"{label}, item {odd + 1}: expected a JSON object, found {type(records[odd]).__name__}. "
            'Write [{"column": value, …}, …].'
        )
    frame, is_nested = _make_frame(list(map(_make_encodable, records)), label)
    return frame, replace(options, is_nested=is_nested), text.warnings


def _make_frame(records: list[dict[str, Any]], label: str) -> tuple[pd.DataFrame, bool]:
    """The frame of objects, those inside of them as columns named by their path, and whether there are any."""
    is_nested = any(isinstance(value, dict) for record in records for value in record.values())
    flat = list(map(_flatten, records)) if is_nested else records
    names = dict.fromkeys(name for record in flat for name in record)
    check_columns(len(names), label)
    check_cells(len(flat), len(names), label)
    return pd.DataFrame(flat), is_nested


def _flatten(record: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in _flatten(value).items()}
        else:
            flat[name] = value
    return flat


def _read_with_arrow(text: Text, n_rows: int) -> pa.Table | None:
    """The table; None where Python's parser has to read it or to name its error.

    Arrow reads only keys that were counted before: those of the first lines, or else those of all lines.
    """
    keys = _Keys(n_rows, f"'{text.source.label}'")
    with text.open() as stream:
        block = next(read_line_blocks(stream, PROBE_BYTES, text.source.label), b"")
    try:
        n_probed = keys.add(block)
        if n_probed == 0 or n_probed * len(keys.paths) > MAX_PROBE_CELLS:
            return None
        schema = _parse_stream(pa.BufferReader(block)).schema
        try:
            return _parse_all(text, explicit_schema=schema, unexpected_field_behavior="error")
        except pa.ArrowInvalid:
            # A later line has another key, or a value of another type.
            with text.open() as stream:
                for block in read_line_blocks(stream, PROBE_BYTES, text.source.label):
                    keys.add(block)
            return _parse_all(text)
    except (_NotAnObjectError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _parse_all(text: Text, **options: Any) -> pa.Table:
    with text.source.open_arrow() as stream:
        stream.seek(text.start)
        return _parse_stream(stream, **options)


def _parse_stream(stream: pa.NativeFile, **options: Any) -> pa.Table:
    read_options = pajson.ReadOptions(block_size=BLOCK_BYTES)
    return pajson.read_json(stream, read_options=read_options, parse_options=pajson.ParseOptions(**options))


@dataclass
class _Keys:
    """The keys of JSON objects; a nested key counts by its path. Arrow keeps a column of `n_rows` cells for each."""

    n_rows: int
    label: str
    names: set[str] = field(default_factory=set)
    paths: set[str | tuple[str, ...]] = field(default_factory=set)

    def add(self, block: bytes) -> int:
        """Add the keys in a block of lines, and count its objects."""
        count = 0
        for record in _decode_objects(block.decode("utf-8")):
            count += 1
            self.names.update(record)
            for key, value in record.items():
                if type(value) in (dict, list):
                    self.paths.update(_walk_paths(value, (key,)))
        self.paths.update(self.names)
        check_columns(len(self.names), self.label)
        check_cells(self.n_rows, len(self.paths), self.label)
        return count


def _walk_paths(value: Any, parent: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            path = (*parent, key)
            yield path
            yield from _walk_paths(item, path)
    elif isinstance(value, list):
        for item in value:
            yield from _walk_paths(item, (*parent, "[]"))


class _NotAnObjectError(Exception):
    """The text at `position` is not a JSON object; `found` says what it is."""

    def __init__(self, position: int, found: str) -> None:
        super().__init__(found)
        self.position, self.found = position, found


def _decode_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text."""
    has_surrogates = _SURROGATE.search(text) is not None
    position = _skip_space(text, 0)
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except ValueError as error:
            raise _NotAnObjectError(position, f"broken JSON ({getattr(error, 'msg', error)})") from None
        if not isinstance(value, dict):
            raise _NotAnObjectError(position, type(value).__name__)
        yield _make_encodable(value) if has_surrogates else value
        position = _skip_space(text, end)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _read_with_python(text: Text) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    names: set[str] = set()
    content, label = text.decode(), f"'{text.source.label}'"
    try:
        for record in _decode_objects(content):
            records.append(record)
            names.update(record)
            check_columns(len(names), label)
    except _NotAnObjectError as error:
        number = content.count("\n", 0, error.position) + 1
        raise InputError(
            f"{label}, line {number}: expected a JSON object, found {error.found}. "
            'Write {"column": value, …}, one object a line.'
        ) from None
    check_cells(len(records), len(names), label)
    return records


def _make_encodable(value: Any) -> Any:
    r"""The value, in whose texts and keys each lone surrogate, such as JSON's `"\ud800"`, is written as an escape."""
    if isinstance(value, str):
        return make_encodable(value)
    if isinstance(value, list):
        return [_make_encodable(item) for item in value]
    if isinstance(value, dict):
        return {make_encodable(key): _make_encodable(item) for key, item in value.items()}
    return value
