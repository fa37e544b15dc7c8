"""Read raw columns as texts, numbers, categories and parts of dates, in tables and in exported scripts alike.

Scripts contain the source code of these functions (`inspect.getsource`). So a function here uses only numpy, pandas,
`MISSING` and functions of this file, and its docstring has to make sense to the reader of a script.
"""

import numpy as np
import pandas as pd

# Texts that count as missing values, whatever the file's format.
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "?")


def read_texts(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The distinct texts of a column without surrounding spaces, and for each cell the position of its text.

    Empty cells and texts in MISSING become None; the last text is always None.
    """
    if column.dtype == object:
        # Cell by cell, since 1, True and 1.0 are equal but have different texts.
        cells = [None if is_missing else str(cell) for cell, is_missing in zip(column, column.isna(), strict=True)]
        column = pd.Series(cells, dtype=object)
    positions, values = pd.factorize(column)
    # Lone surrogates, which no encoding can write, become escapes.
    texts = [str(value).encode("utf-8", "backslashreplace").decode().strip() for value in np.asarray(values, object)]
    return np.array([None if text in MISSING else text for text in [*texts, ""]], dtype=object), positions


def parse_numbers(texts: np.ndarray) -> np.ndarray:
    """Texts as numbers; NaN where a text is not a number."""
    return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=float)


def read_numbers(column: pd.Series) -> np.ndarray:
    """Cells as numbers, durations as seconds; NaN where a cell is infinite or not a number."""
    if pd.api.types.is_timedelta64_dtype(column):
        column = column.dt.total_seconds()
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        numbers = np.asarray(column, dtype=float)
    else:
        texts, positions = read_texts(column)
        numbers = parse_numbers(texts)[positions]
    infinite = np.isinf(numbers)
    return np.where(infinite, np.nan, numbers) if infinite.any() else numbers


def parse_categories(texts: np.ndarray, known: tuple[str, ...] | None = None) -> pd.Categorical:
    """Texts as categories: `known` ones, all other texts missing; without `known`, all texts in alphabetical order."""
    categories = sorted(set(texts) - {None}) if known is None else known
    code_of = {text: code for code, text in enumerate(categories)}
    codes = [code_of.get(text, -1) for text in texts]
    return pd.Categorical.from_codes(codes, categories=pd.Index(categories, dtype="str"))


def read_categories(column: pd.Series, known: tuple[str, ...] | None = None) -> pd.Categorical:
    """Cells as categories, in the order that `parse_categories` gives them."""
    texts, positions = read_texts(column)
    return parse_categories(texts, known)[positions]


def parse_dates(texts: np.ndarray) -> pd.DatetimeIndex:
    """Texts as dates, in UTC where a text names a time zone; NaT where a text is not a date."""
    return pd.DatetimeIndex(pd.to_datetime(texts, errors="coerce", format="mixed", utc=True)).tz_localize(None)


def read_date_parts(column: pd.Series) -> dict[str, np.ndarray]:
    """Parts of dates as numbers: days since 1970, month, day of the week and hour; NaN where a cell is not a date."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        texts, positions = read_texts(column)
        column = pd.Series(parse_dates(texts)[positions])
    column = column.dt.tz_localize(None)
    # In seconds, since nanoseconds only reach the year 2262.
    days = (column - pd.Timestamp(0).as_unit("s")) / pd.Timedelta(days=1)
    parts = {"days": days, "month": column.dt.month, "weekday": column.dt.day_of_week, "hour": column.dt.hour}
    return {part: values.to_numpy(dtype=float) for part, values in parts.items()}


def make_number_label(value: float) -> str:
    """The class or category name of a number: 1.0 and 1 have the same name, and so do -0.0 and 0.0."""
    value = float(value) + 0.0
    return f"{value:.0f}" if abs(value) < 2**53 and value == round(value) else repr(value)
