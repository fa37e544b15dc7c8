"""Read Parquet files, after a check of what they declare."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metahp.core.errors import InputError
from metahp.core.text import make_printable
from metahp.datasets.limits import MAX_DEPTH, check_cells, check_columns
from metahp.datasets.source import Source

# Arrow's threads take 0.1 MB for each column, and do not help where columns are short.
MAX_THREADED_COLUMNS = 1000


def read_parquet(source: Source) -> pd.DataFrame:
    """The frame of a Parquet file; lists and structs in cells become Python objects.

    Raises:
        InputError: the file is damaged, gzipped, nested too deep, or has too many columns or cells.
    """
    if source.compression:
        raise InputError(f"'{source.label}' is a Parquet file inside gzip; unpack it, Parquet is compressed already.")
    # From an open file: Arrow would read a path as an address or a pattern.
    with source.open_arrow() as stream:
        try:
            file = pq.ParquetFile(stream)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _make_damage_error(source, error) from None
        n_columns = file.metadata.num_columns
        check_columns(n_columns, f"'{source.label}'")
        check_cells(file.metadata.num_rows, n_columns, f"'{source.label}'")
        try:
            _check_depth(source.label, file.schema_arrow)
            table = file.read(use_threads=n_columns <= MAX_THREADED_COLUMNS)
            table.validate(full=True)
            return table.to_pandas(split_blocks=True, self_destruct=True)
        except InputError:
            raise
        except Exception as error:  # Damaged pandas metadata in a file raises errors of any class.
            raise _make_damage_error(source, error) from None


def _check_depth(label: str, schema: pa.Schema) -> None:
    for field in schema:
        if _count_levels(field.type) > MAX_DEPTH:
            raise InputError(
                f"'{label}' has values nested deeper than {MAX_DEPTH} levels in the column '{field.name}'; "
                "leave that column out, or write its values as text."
            )


def _count_levels(kind: Any) -> int:
    """Levels of lists and structs in an Arrow type; 0 for a plain value."""
    children = [kind.field(index).type for index in range(kind.num_fields)]
    return 1 + max(map(_count_levels, children)) if children else 0


def _make_damage_error(source: Source, error: Exception) -> InputError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return InputError(
        f"'{source.label}' is not a readable Parquet file ({make_printable(reason).rstrip('.')}). "
        "Is it cut off, or another format under that name?"
    )
