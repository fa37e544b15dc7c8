"""Cells as pandas has them: columns of any type as one of a few usual types, and what marks a missing value."""

import datetime
import decimal
import functools
import numbers
from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, cast

import numpy as np
import pandas as pd

from metahp.core.errors import InputError
from metahp.datasets.notation import PEEK
from metahp.datasets.portable import MISSING, make_number_label, parse_numbers, read_texts

# Cells that hold several values, and their name in messages.
NESTED: Mapping[type, str] = {
    list: "lists",
    tuple: "tuples",
    dict: "dictionaries",
    set: "sets",
    frozenset: "sets",
    np.ndarray: "arrays",
}


def describe_nested(column: pd.Series) -> str:
    """A sentence that follows the name of a column whose cells hold several values; empty where they do not."""
    if column.dtype != object and not isinstance(column.dtype, pd.ArrowDtype):
        return ""
    cells = column if column.dtype == object else column.head(PEEK)
    cell = next((cell for cell in cells if isinstance(cell, tuple(NESTED))), None)
    if cell is None:
        return ""
    kind = next(name for nested, name in NESTED.items() if isinstance(cell, nested))
    quoted = shorten(_write_object(cell) or "", 40, placeholder=" …")
    return (
        f"holds {kind}: cells such as {quoted} are read as text, each "
        "different one as a category; make a column of each item first, or `drop` it"
    )


def normalise_column(column: pd.Series) -> pd.Series:
    """The column with one of numpy's types or pandas' text and categories, the same cells and no time zone.

    Raises:
        InputError: the column holds complex numbers.
    """
    dtype: Any = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        column = _convert_arrow(column)
    elif isinstance(dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    elif isinstance(dtype, pd.SparseDtype):
        column = pd.Series(np.asarray(column), index=column.index, name=column.name)
    if pd.api.types.is_complex_dtype(column.dtype):
        raise InputError(f"Column '{column.name}' holds complex numbers; expected numbers, text, dates or booleans.")
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        if getattr(column.dtype, "tz", None) is not None:
            return column.dt.tz_convert("UTC").dt.tz_localize(None)
        return column
    return _convert_objects(column) if column.dtype == object else column


def _convert_arrow(column: pd.Series) -> pd.Series:
    import pyarrow as pa  # noqa: PLC0415 - of frames from Arrow alone

    kind = cast(pd.ArrowDtype, column.dtype).pyarrow_dtype
    if pa.types.is_nested(kind):
        return _convert_objects(column.astype(object))
    if pa.types.is_decimal(kind):
        return pd.Series(column.to_numpy(dtype=float, na_value=np.nan), index=column.index, name=column.name)
    if pa.types.is_date(kind):
        return column.astype("datetime64[s]")
    if pa.types.is_timestamp(kind):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None) if kind.tz is not None else column
        return column.astype(np.dtype(f"datetime64[{kind.unit}]"))
    if pa.types.is_duration(kind):
        return column.astype(np.dtype(f"timedelta64[{kind.unit}]"))
    if pa.types.is_dictionary(kind):
        return pd.Series(pd.Categorical(column.astype(object)), index=column.index, name=column.name)
    if pa.types.is_integer(kind) and column.isna().any():
        return column.astype("Int64")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pd.Series(column.to_numpy(na_value=np.nan), index=column.index, name=column.name)
    return column.astype(object)


def _convert_objects(column: pd.Series) -> pd.Series:
    """A column of Python's objects: all numbers, all dates or all durations as such, bytes as text."""
    kinds = {type(cell) for cell, gone in zip(column, column.isna(), strict=True) if not gone}
    if not kinds or kinds == {str}:
        return column
    if any(issubclass(kind, tuple(NESTED)) for kind in kinds):
        return pd.Series([_write_object(cell) for cell in column], index=column.index, name=column.name, dtype=object)
    if all(issubclass(kind, numbers.Real | decimal.Decimal) and not issubclass(kind, bool) for kind in kinds):
        if all(issubclass(kind, numbers.Integral) for kind in kinds) and not column.isna().any():
            try:
                return column.astype("int64")
            except OverflowError:
                return column.astype(str).astype(object)
        return pd.Series([np.nan if pd.isna(cell) else float(cell) for cell in column], column.index, name=column.name)
    if all(issubclass(kind, datetime.date) for kind in kinds):
        dates = pd.to_datetime(column.to_numpy(), utc=True, errors="coerce")
        return pd.Series(dates.tz_localize(None), index=column.index, name=column.name)
    if all(issubclass(kind, datetime.timedelta) for kind in kinds):
        return pd.Series(pd.to_timedelta(column.to_numpy()), index=column.index, name=column.name)
    if bytes in kinds:
        decoded = [cell.decode("utf-8", "backslashreplace") if isinstance(cell, bytes) else cell for cell in column]
        return pd.Series(decoded, index=column.index, name=column.name, dtype=object)
    return column


def _write_object(cell: Any) -> str | None:
    """A list or another object as text; None where the cell is missing."""
    if isinstance(cell, set | frozenset):
        # The order of a set differs from process to process.
        return str(sorted(cell, key=str))
    return None if not isinstance(cell, tuple(NESTED)) and pd.isna(cell) else str(cell)


def label_numbers(column: pd.Series) -> pd.Series:
    """A column of numbers as labels of classes or categories; any other column unchanged."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return column
    codes, values = pd.factorize(column)
    make_label = str if pd.api.types.is_integer_dtype(column.dtype) else make_number_label
    labels = np.array([*(make_label(value) for value in values), None], dtype=object)
    return pd.Series(labels[codes], index=column.index, name=column.name, dtype=object)


def read_labels(column: pd.Series, missing: Sequence[str] = MISSING) -> np.ndarray:
    """The cells as names of classes, shape (n,), None where a cell is missing."""
    column = normalise_column(column)
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
        column = column if any(isinstance(cell, str) for cell in column) else column.infer_objects()
    texts, positions = read_texts(label_numbers(column), tuple(missing))
    return texts[positions]


def replace_markers(column: pd.Series, markers: Sequence[str]) -> pd.Series:
    """The column; cells that equal a marker are missing: numbers by value, other cells by text."""
    if pd.api.types.is_bool_dtype(column.dtype) or not markers:
        return column
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = _parse_markers(tuple(markers))
        is_marker = column.isin(values) if values else None
        return column if is_marker is None or not is_marker.any() else column.astype(float).mask(is_marker)
    # Texts are compared as texts later; here only those that read as numbers matter.
    if _parse_markers(tuple(markers)) and (column.dtype == object or pd.api.types.is_string_dtype(column.dtype)):
        is_marker = column.isin([*markers, *_parse_markers(tuple(markers))])
        return column.mask(is_marker) if is_marker.any() else column
    return column


@functools.cache
def _parse_markers(markers: tuple[str, ...]) -> list[float]:
    values = parse_numbers(np.array(markers, dtype=object))
    return [float(value) for value in values if np.isfinite(value)]
