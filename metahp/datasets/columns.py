"""Find the type of a raw column from its cells: numbers, dates or text."""

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd

from metahp.core.errors import InputError
from metahp.datasets.portable import make_number_label, parse_categories, parse_dates, parse_numbers, read_texts

# No date is longer. The search for the shape of a date takes quadratic time in the length of the text.
MIN_DATE_LENGTH, MAX_DATE_LENGTH = 6, 100
_DATE_SHAPE = re.compile(r"\d.*[-/:.].*\d")
# This many values are tried first; a column is parsed as a whole only if all of them are numbers or all are dates.
PEEK = 1000
# Before that, these few values already rule out numbers for most text columns.
FEW = 10


def parse_column(column: pd.Series) -> pd.Series:
    """The column as float64, datetime64 or categories of text, whatever the file's format.

    In text columns the values in `portable.MISSING` are missing. A text column that holds only numbers (or only dates)
    becomes numeric (or datetime64). Each distinct value is parsed once.

    Raises:
        InputError: the column holds complex numbers.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(_find_dtype_with_missing(dtype.categories.dtype))
        dtype = column.dtype
    if dtype == np.float64 and isinstance(dtype, np.dtype):
        return column
    refuse_complex(column)
    if pd.api.types.is_bool_dtype(dtype):
        return _parse_text(column)
    if pd.api.types.is_numeric_dtype(dtype):
        return pd.Series(column.to_numpy(dtype=float, na_value=np.nan), index=column.index, name=column.name)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return column if column.dt.tz is None else column.dt.tz_localize(None)
    if pd.api.types.is_timedelta64_dtype(dtype):
        return column.dt.total_seconds().astype(float)
    return _parse_text(column)


def refuse_complex(column: pd.Series) -> None:
    """Refuse a column of complex numbers.

    Raises:
        InputError: the column holds complex numbers.
    """
    if pd.api.types.is_complex_dtype(column.dtype):
        raise InputError(f"Column '{column.name}' holds complex numbers; expected numbers, text, dates or booleans.")


def label_numbers(column: pd.Series) -> pd.Series:
    """A column of numbers as labels of classes or categories; any other column unchanged."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return column
    codes, values = pd.factorize(column)
    labels = np.array([*map(make_number_label, values), None], dtype=object)
    return pd.Series(labels[codes], index=column.index, name=column.name, dtype=object)


def read_labels(column: pd.Series) -> np.ndarray:
    """The cells as class names, None where a cell is missing."""
    texts, positions = read_texts(label_numbers(column))
    return texts[positions]


def parse_dates_quietly(texts: np.ndarray) -> pd.DatetimeIndex:
    """`parse_dates` without pandas' warnings about unknown time zones; a column with such cells stays text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_dates(texts)


def _find_dtype_with_missing(dtype: Any) -> Any:
    """A dtype that holds the same values and missing values."""
    if pd.api.types.is_bool_dtype(dtype):
        return object
    return float if pd.api.types.is_numeric_dtype(dtype) else dtype


def _parse_text(column: pd.Series) -> pd.Series:
    texts, positions = read_texts(column)
    present = texts[pd.notna(texts)]
    parsed: Any
    if not len(present):
        parsed = np.full(len(texts), np.nan)
    elif (numbers := _parse_all_numbers(texts, present)) is not None:
        parsed = numbers
    elif (dates := _parse_all_dates(texts, present)) is not None:
        parsed = dates
    else:
        parsed = parse_categories(texts)
    return pd.Series(parsed[positions], index=column.index, name=column.name)


def _parse_all_numbers(texts: np.ndarray, present: np.ndarray) -> np.ndarray | None:
    """The texts as numbers; None unless all of `present` are numbers."""
    if np.isnan(parse_numbers(present[:FEW])).any() or np.isnan(parse_numbers(present[:PEEK])).any():
        return None
    numbers = parse_numbers(texts)
    return numbers if np.count_nonzero(~np.isnan(numbers)) == len(present) else None


def _parse_all_dates(texts: np.ndarray, present: np.ndarray) -> pd.DatetimeIndex | None:
    """The texts as dates; None unless all of `present` are dates and the first ones look like dates."""
    sample = present[:PEEK]
    if not all(MIN_DATE_LENGTH <= len(text) <= MAX_DATE_LENGTH and _DATE_SHAPE.search(text) for text in sample):
        return None
    if parse_dates_quietly(sample).isna().any():
        return None
    dates = parse_dates_quietly(texts)
    return dates if np.count_nonzero(dates.notna()) == len(present) else None
