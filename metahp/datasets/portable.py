"""Raw columns as texts, numbers, categories and parts of dates: the one rule, for tables and for exported scripts.

The scripts carry these functions as source code (`inspect.getsource`). So a function here uses numpy, pandas, `MISSING`
and functions of this file alone, and its docstring speaks to the reader of a script too.
"""

import numpy as np
import pandas as pd

# What counts as a missing value in every text column, whatever the file's format.
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "?")


def read_texts(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Texts of a column without the spaces around them, each once, and the position among them of each cell's text.

    The last one is None, for cells that are empty or say so (MISSING).
    """
    if column.dtype == object:
        # Cell by cell, since 1, True and 1.0 are equal.
        cells = [None if gone else str(cell) for cell, gone in zip(column, column.isna(), strict=True)]
        column = pd.Series(cells, dtype=object)
    positions, values = pd.factorize(column)
    # Half characters, which no encoding can write, become escapes.
    texts = [str(value).encode("utf-8", "backslashreplace").decode().strip() for value in np.asarray(values, object)]
    return np.array([None if text in MISSING else text for text in [*texts, ""]], dtype=object), positions


def parse_numbers(texts: np.ndarray) -> np.ndarray:
    """Texts as numbers; NaN where a text is none."""
    return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=float)


def read_numbers(column: pd.Series) -> np.ndarray:
    """Cells as numbers, durations as seconds; NaN where a cell is no number, or infinite."""
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
    """Texts as categories, in alphabetical order; where some are `known`, all other texts are missing."""
    categories = sorted(set(texts) - {None}) if known is None else known
    code_of = {text: code for code, text in enumerate(categories)}
    codes = [code_of.get(text, -1) for text in texts]
    return pd.Categorical.from_codes(codes, categories=pd.Index(categories, dtype="str"))


def read_categories(column: pd.Series, known: tuple[str, ...] | None = None) -> pd.Categorical:
    """Cells as categories, as `parse_categories` makes them."""
    texts, positions = read_texts(column)
    return parse_categories(texts, known)[positions]


def parse_dates(texts: np.ndarray) -> pd.DatetimeIndex:
    """Texts as dates, in universal time where a text names a zone; NaT where a text is no date."""
    return pd.DatetimeIndex(pd.to_datetime(texts, errors="coerce", format="mixed", utc=True)).tz_localize(None)


def read_date_parts(column: pd.Series) -> dict[str, np.ndarray]:
    """Parts of dates as numbers: days since 1970, month, day of the week and hour; NaN where a cell is no date."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        texts, positions = read_texts(column)
        column = pd.Series(parse_dates(texts)[positions])
    column = column.dt.tz_localize(None)
    # In seconds, since nanoseconds end in 2262.
    days = (column - pd.Timestamp(0).as_unit("s")) / pd.Timedelta(days=1)
    parts = {"days": days, "month": column.dt.month, "weekday": column.dt.day_of_week, "hour": column.dt.hour}
    return {part: values.to_numpy(dtype=float) for part, values in parts.items()}


def make_number_label(value: float) -> str:
    """The class or category that a number stands for: 1.0 and 1 are one, and so are -0.0 and 0.0."""
    value = float(value) + 0.0
    return f"{value:.0f}" if abs(value) < 2**53 and value == round(value) else repr(value)
