"""JSON lines: one object a line, its keys the columns."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.json as pajson

from metahp.core.errors import InputError
from metahp.datasets.source import Text
from metahp.datasets.table import ReadOptions

BLOCK_BYTES = 1 << 23


def read_json_lines(text: Text) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    """The raw frame (a key that a line lacks is missing there), how it was read and with what warnings.

    Raises:
        InputError: a line is not a JSON object.
    """
    source = text.source
    options = ReadOptions("jsonl", encoding=text.encoding, compression=source.compression)
    if text.source.head().lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        raise InputError(
            f"'{source.label}' is one JSON array, expected JSON lines (one object a line). "
            "Try: jq -c '.[]' on it, or save it as CSV."
        )
    stream = pa.BufferReader(source.data) if source.path is None else pa.OSFile(str(source.path))
    with stream:
        stream.seek(text.start)
        try:
            table = pajson.read_json(stream, read_options=pajson.ReadOptions(block_size=BLOCK_BYTES))
            return table.to_pandas(split_blocks=True, self_destruct=True), options, text.warnings
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            # Arrow wants one type a column and no NaN; Python's slower parser takes both, and names a broken line.
            pass
    return pd.DataFrame(_records(text)), options, text.warnings


def _records(text: Text) -> list[dict[str, object]]:
    records = []
    for number, line in enumerate(text.decoded().split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"'{text.source.label}', line {number}: expected a JSON object, found broken JSON "
                f"({error}). One object a line, please."
            ) from None
        if not isinstance(record, dict):
            raise InputError(
                f"'{text.source.label}', line {number}: expected a JSON object, found "
                f'{type(record).__name__}. Write {{"column": value, …}} on each line.'
            )
        records.append(record)
    return records
