"""Read tables: CSV, TSV, Parquet, JSON lines and ARFF from a path or standard input, frames and arrays from Python."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.core.text import make_encodable, name_column
from metahp.datasets.arff import read_arff
from metahp.datasets.columns import FILE_RULES, FRAME_RULES
from metahp.datasets.delimited import read_delimited
from metahp.datasets.excel import SUFFIXES as EXCEL_SUFFIXES
from metahp.datasets.excel import read_excel
from metahp.datasets.footer import find_footer
from metahp.datasets.infer import build_table
from metahp.datasets.json_lines import read_json
from metahp.datasets.limits import check_cells, check_columns
from metahp.datasets.parquet import read_parquet
from metahp.datasets.paths import is_pipe
from metahp.datasets.raw import RawTable, ReadOptions
from metahp.datasets.reading import AS_IT_IS, ReadingOptions
from metahp.datasets.source import open_source, open_text
from metahp.datasets.table import Table

PARQUET_MAGIC = b"PAR1"
PARQUET_SUFFIXES = (".parquet", ".pq")
# Formats whose cells have no types, or few, and that people edit by hand.
UNTYPED_FORMATS = ("csv", "excel", "json", "jsonl")
# What computes the rows of a lazy frame: of Spark, DuckDB, polars, dask, Arrow's readers and Arrow's data sets.
LAZY_CALLS = ("toPandas", "fetchdf", "collect", "compute", "read_all", "to_table")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def read_raw(source: str | Path, *, target: str | None = None, how: ReadingOptions = AS_IT_IS) -> RawTable:
    """The raw table in a file: CSV, TSV, JSON or ARFF (plain or gzip), Parquet, or a sheet of a workbook.

    Args:
        source: A path, or `-` for standard input; content and suffix tell the format.
        target: Name of the target column; None to guess it.
        how: What a person says about the table.

    Raises:
        InputError: the file cannot be read.
    """
    frame, options, warnings = _read(str(source), separator=how.separator, sheet=how.sheet)
    rules = replace(FILE_RULES, decimal=options.decimal_hint, first_line=options.first_line)
    if options.format in UNTYPED_FORMATS:
        n_footer, notes = find_footer(frame, rules, target)
        frame = frame.iloc[: len(frame) - n_footer]
        options, warnings = replace(options, n_footer=n_footer), (*warnings, *notes)
        rules = replace(rules, is_untyped=True)
    raw = RawTable.of(frame, target=target, name=_find_stem(str(source)), read=options, warnings=warnings, rules=rules)
    return how.apply(raw)


def read_frame(
    path: str | Path,
    *,
    text_columns: Collection[str] = (),
    min_columns: int = 2,
    separator: str | None = None,
    sheet: str | None = None,
) -> pd.DataFrame:
    """The frame in a file of any format that `read_raw` takes, with the column names of the file.

    Args:
        path: A path, or `-` for standard input.
        text_columns: Columns of a CSV file to keep as text even if they look like numbers.
        min_columns: With fewer columns the separator of a CSV file counts as unknown.
        separator: See `ReadingOptions`.
        sheet: See `ReadingOptions`.

    Raises:
        InputError: the file cannot be read.
    """
    return _read(str(path), text_columns, min_columns, separator, sheet)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """Where to read a table; small enough to send to another process."""

    path: str
    target: str | None = None
    task_type: TaskType | None = None
    name: str = ""
    group: str = ""

    def load(self) -> Table:
        """Read and prepare the table."""
        raw = replace(read_raw(self.path, target=self.target), name=self.name)
        return build_table(raw, task_type=self.task_type, group=self.group)


def make_raw_table(
    X: Any, y: Any = None, *, target: Hashable | None = None, how: ReadingOptions = AS_IT_IS
) -> RawTable:
    """The raw table of a frame, an array or lists from Python.

    Args:
        X: Features, shape (n, d): a DataFrame, an array, a list of rows, or anything with `to_pandas`.
        y: Target, shape (n,), in the order of the rows of `X`; None if `X` holds the target column.
        target: Name of the target column in `X` (None to guess it), or the name for `y`.
        how: What a person says about the table.

    Raises:
        InputError: wrong shapes.
    """
    frame = make_frame(X)
    wanted = None if target is None else name_column(target)
    if y is None:
        return how.apply(RawTable.of(frame, target=wanted, rules=FRAME_RULES))
    values = _make_series(y)
    if len(values) != len(frame):
        raise InputError(f"X and y differ in length: {len(frame):,} rows and {len(values):,} targets.")
    if wanted is None:
        wanted = name_column(values.name) if values.name is not None else "target"
    name = make_encodable(wanted).strip() or "target"
    used_names = {make_encodable(name_column(column)).strip() for column in frame.columns}
    while name in used_names:
        name += "_"
    frame = frame.set_axis([name_column(column) for column in frame.columns], axis=1)
    frame = pd.concat([frame.reset_index(drop=True), values.reset_index(drop=True).rename(name)], axis=1)
    return how.apply(RawTable.of(frame, target=name, rules=FRAME_RULES))


def make_frame(X: Any) -> pd.DataFrame:
    """A frame of anything that `make_raw_table` takes as features; columns without a name become `x0`, `x1`, …."""
    if isinstance(X, pd.DataFrame):
        return X
    if hasattr(X, "to_pandas"):
        return make_frame(X.to_pandas())
    _refuse_lazy(X, "X")
    if hasattr(X, "toarray"):
        n_rows, n_columns = (*X.shape, 1)[:2]
        check_columns(n_columns, "The sparse matrix")
        check_cells(n_rows, n_columns, "The sparse matrix")
        X = X.toarray()
    try:
        frame = pd.DataFrame(X if isinstance(X, list | dict) else np.asarray(X))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"X cannot be read as rows and columns ({error}); "
            "expected a DataFrame, an array of shape (n, d) or a list of rows."
        ) from None
    if np.ndim(X) == 1 and frame.shape[1] == 1:
        raise InputError(f"Expected X of shape (n, d), found shape ({len(frame)},). Try X.reshape(-1, 1).")
    is_named = any(isinstance(name, str) for name in frame.columns)
    return frame if is_named else frame.set_axis([f"x{index}" for index in range(frame.shape[1])], axis=1)


def make_input_frame(X: Any, names: Sequence[str]) -> pd.DataFrame:
    """The frame of new rows; the columns of an array without names are called `names`, where there are as many.

    Raises:
        InputError: `X` has no rows and columns.
    """
    frame = make_frame(X)
    is_unnamed = not hasattr(X, "columns") and list(frame.columns) == [f"x{i}" for i in range(frame.shape[1])]
    return frame.set_axis(list(names), axis=1) if is_unnamed and len(names) == frame.shape[1] else frame


def _refuse_lazy(values: Any, name: str) -> None:
    """Refuse a query whose rows are not computed yet, as those of polars, dask, Spark, DuckDB and Arrow.

    Raises:
        InputError: `values` is one.
    """
    if isinstance(values, type) or (hasattr(values, "__array__") and not hasattr(values, "compute")):
        return
    call = next((call for call in LAZY_CALLS if callable(getattr(values, call, None))), None)
    if call is not None:
        package = type(values).__module__.partition(".")[0].strip("_")
        raise InputError(
            f"{name} is lazy ({type(values).__name__} of {package}): its rows are not computed yet; "
            f"pass `{name}.{call}()`.",
            argument=name,
        )


def _make_series(y: Any) -> pd.Series:
    if isinstance(y, pd.Series):
        return y
    _refuse_lazy(y, "y")
    if isinstance(y, pd.DataFrame) and y.shape[1] == 1:
        return y.iloc[:, 0]
    values = np.asarray(y, dtype=object if isinstance(y, list | tuple) else None)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InputError(f"Expected y of shape (n,), found shape {values.shape}; one target at a time.")
    # Text stays objects: pandas' text type does not accept lone surrogates.
    return pd.Series(values, dtype=object if values.dtype.kind in "OU" else None)


def _read(
    name: str,
    text_columns: Collection[str] = (),
    min_columns: int = 2,
    separator: str | None = None,
    sheet: str | None = None,
) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    source = open_source(name)
    if source.suffix in PARQUET_SUFFIXES or source.read_head(len(PARQUET_MAGIC)) == PARQUET_MAGIC:
        return read_parquet(source), ReadOptions(format="parquet"), ()
    if source.suffix in EXCEL_SUFFIXES:
        return read_excel(source, sheet)
    text = open_text(source)
    with text.open() as stream:
        start = stream.read(1 << 16).decode("utf-8", errors="ignore").lstrip()
    if source.suffix == ".arff" or _declares_relation(start):
        return read_arff(text)
    if source.suffix in JSON_SUFFIXES or start.startswith(('{"', '[{"')):
        return read_json(text)
    return read_delimited(text, text_columns, min_columns, separator)


def _declares_relation(start: str) -> bool:
    """Whether the first line that is not a comment is an ARFF `@relation`."""
    first = next((line for line in start.splitlines() if line.strip() and not line.startswith("%")), "")
    return first.lower().startswith("@relation")


def _find_stem(source: str) -> str:
    if is_pipe(source):
        return "stdin"
    path = Path(source)
    return path.with_suffix("").stem if path.suffix.lower() == ".gz" else path.stem
