"""Read raw columns as texts, numbers, categories and parts of dates, in tables and in exported scripts alike.

Scripts contain the source code of these functions (`inspect.getsource`). So a function here uses only `re`, numpy,
pandas, `MISSING` and functions of this file, and its docstring has to make sense to the reader of a script.
"""

import re

import numpy as np
import pandas as pd

# Texts that count as missing values in files, whatever the format: what pandas takes for one, and what spreadsheets,
# statistics programs and instruments write. A frame from Python says itself what is missing.
_OF_PANDAS = "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null|NaT"
_OF_PROGRAMS = "?|-|--|.|N.A.|n.a.|NONE|Null|missing|Missing|MISSING"
_OF_SPREADSHEETS = "#DIV/0!|#VALUE!|#REF!|#NAME?|#NULL!|#NUM!"
MISSING = tuple(f"|{_OF_PANDAS}|{_OF_PROGRAMS}|{_OF_SPREADSHEETS}".split("|"))


def read_texts(column: pd.Series, missing: tuple[str, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The distinct texts of a column without surrounding spaces, and for each cell the position of its text.

    Empty cells and texts in `missing` (MISSING by default) become None; the last text is always None.
    """
    markers = MISSING if missing is None else missing
    if column.dtype == object:
        # Cell by cell, since 1, True and 1.0 are equal but have different texts.
        cells = [None if is_missing else str(cell) for cell, is_missing in zip(column, column.isna(), strict=True)]
        column = pd.Series(cells, dtype=object)
    positions, values = pd.factorize(column)
    # Lone surrogates, which no encoding can write, become escapes.
    texts = [str(value).encode("utf-8", "backslashreplace").decode().strip() for value in np.asarray(values, object)]
    return np.array([*(None if text in markers else text for text in texts), None], dtype=object), positions


def parse_numbers(texts: np.ndarray) -> np.ndarray:
    """Texts as numbers; NaN where a text is not a number."""
    return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=float)


def read_numbers(column: pd.Series) -> np.ndarray:
    """Cells as numbers, durations as seconds, flags as 1 and 0; NaN where a cell is infinite or not a number."""
    if pd.api.types.is_timedelta64_dtype(column):
        column = column.dt.total_seconds()
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        numbers = np.asarray(column, dtype=float)
    else:
        texts, positions = read_texts(column)
        numbers = parse_numbers(texts)
        if np.isnan(numbers).all():
            # As a table has them whose flags are not text.
            numbers = np.array([{"true": 1.0, "false": 0.0}.get(str(text).lower(), np.nan) for text in texts])
        numbers = numbers[positions]
    infinite = np.isinf(numbers)
    return np.where(infinite, np.nan, numbers) if infinite.any() else numbers


def split_number(text: str, decimal: str = ".") -> tuple[float, str] | None:
    """The number in a text such as `$1,234.50`, `(1,200)`, `+3 kg` or `<1.0`, and its unit; None where there is none.

    Brackets and a trailing minus mean a negative number. Signs of a bound (<, >, ~, a trailing +) do not count.
    """
    marks = "[,'’ \\u00a0\\u202f]" if decimal == "." else "[.'’ \\u00a0\\u202f]"
    digits = rf"(?:\d{{1,3}}(?:{marks}\d{{2,3}})*{marks}\d{{3}}(?!\d)|\d+)(?:[{decimal}]\d*)?|[{decimal}]\d+"
    before, after = r"[^\W\d_]{0,4}\.?\s*[$€£¥₹₽₩₺₫₴₦฿¢]|[^\W\d_]{1,4}\.?", r"[^\d\s()<>+-][^\d()<>+-]{0,15}[²³23]?"
    match = re.fullmatch(
        rf"(\()?\s*(?:[<>≤≥~≈]=?)?\s*([-−–+])?\s*({before})?\s*([-−–+])?\s*({digits})([eE][-+]?\d+)?"
        rf"\s*({after})?\s*([-−–+])?\s*(\))?",
        text,
    )
    if match is None:
        return None
    opened, sign, unit, inner_sign, number, exponent, unit_after, last, closed = match.groups(default="")
    if bool(opened) != bool(closed) or (sign and inner_sign):
        return None
    value = float(re.sub(marks, "", number).replace(decimal, ".") + exponent)
    is_negative = bool(opened) or sign + inner_sign in ("-", "−", "–") or last in ("-", "−", "–")
    return (-value if is_negative else value), (unit + unit_after).casefold().strip(". ")


def parse_written_numbers(texts: np.ndarray, decimal: str, units: dict[str, float]) -> np.ndarray:
    """Texts as numbers (see `split_number`), times the factor of their unit; NaN where number or unit are unknown."""
    numbers = np.full(len(texts), np.nan)
    for index, text in enumerate(texts):
        split = None if text is None else split_number(text, decimal)
        if split is not None and split[1] in units:
            numbers[index] = split[0] * units[split[1]]
    return numbers


def read_written_numbers(column: pd.Series, decimal: str, units: dict[str, float]) -> np.ndarray:
    """Cells as numbers, as `parse_written_numbers` reads them."""
    if pd.api.types.is_numeric_dtype(column):
        return read_numbers(column)
    texts, positions = read_texts(column)
    return parse_written_numbers(texts, decimal, units)[positions]


def parse_seconds(texts: np.ndarray) -> np.ndarray:
    """Clock times and durations (`12:30:00`, `10:15 AM`, `1 day, 2:00:00`, `2h 30m`) as seconds; NaN for others."""
    days = r"(?:(-)?(\d+)\s*(?:days?|d)\b,?\s*)"
    clock = r"([-+])?(\d{1,4}):(\d{2})(?::(\d{2}(?:[.,]\d+)?))?\s*(?:([ap])\.?m\.?)?"
    spoken = r"(?:(\d+)\s*h(?:ours?|rs?)?)?\s*(?:(\d+)\s*m(?:in(?:utes?|s)?)?)?"
    spoken += r"\s*(?:(\d+(?:[.,]\d+)?)\s*s(?:ec(?:onds?|s)?)?)?"
    hour_only = r"(\d{1,2})\s*([ap])\.?m\.?"
    pattern = re.compile(rf"{days}?(?:{clock}|{hour_only}|p?t?{spoken})", re.IGNORECASE)
    seconds = np.full(len(texts), np.nan)
    for index, text in enumerate(texts):
        match = None if text is None else pattern.fullmatch(text)
        if match is None or not any(match.groups()):
            continue
        day_sign, n_days, sign, hour, minute, second, half, hour_alone, half_alone, *rest = match.groups()
        hours = float(hour or hour_alone or rest[0] or 0)
        if half or half_alone:
            hours = hours % 12 + (12 if (half or half_alone).lower() == "p" else 0)
        value = 3600 * hours + 60 * float(minute or rest[1] or 0)
        value += float((second or rest[2] or "0").replace(",", "."))
        whole_days = 86400 * float(n_days or 0)
        seconds[index] = (-value if sign == "-" else value) + (-whole_days if day_sign else whole_days)
    return seconds


def read_seconds(column: pd.Series) -> np.ndarray:
    """Cells as seconds, as `parse_seconds` reads them; where none is written like that, plain numbers are seconds."""
    if pd.api.types.is_timedelta64_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return read_numbers(column)
    texts, positions = read_texts(column)
    seconds = parse_seconds(texts)
    return read_numbers(column) if np.isnan(seconds).all() else seconds[positions]


def parse_categories(texts: np.ndarray, known: tuple[str, ...] | None = None) -> pd.Categorical:
    """Texts as categories: `known` ones, all other texts missing; without `known`, all texts in alphabetical order."""
    categories = sorted(set(texts) - {None}) if known is None else known
    code_of = {text: code for code, text in enumerate(categories)}
    codes = [code_of.get(text, -1) for text in texts]
    return pd.Categorical.from_codes(codes, categories=pd.Index(categories, dtype="str"))


def fold_text(text: str) -> str:
    """The text without what case and blanks make different: `Yes` and `YES ` have the same."""
    return " ".join(text.split()).casefold()


def respell(texts: np.ndarray, spellings: tuple[str, ...]) -> np.ndarray:
    """Texts that differ from one of `spellings` only by case and blanks are written like it; others stay."""
    known = {fold_text(spelling): spelling for spelling in spellings}
    respelled = [None if text is None else known.get(fold_text(text), text) for text in texts]
    return np.array(respelled, dtype=object)


def read_categories(
    column: pd.Series, known: tuple[str, ...] | None = None, spellings: tuple[str, ...] = ()
) -> pd.Categorical:
    """Cells as categories, in the order that `parse_categories` gives them; `spellings` as `respell` takes them."""
    texts, positions = read_texts(column)
    texts = respell(texts, spellings) if len(spellings) else texts
    return parse_categories(texts, known)[positions]


def parse_dates(texts: np.ndarray, formats: tuple[str, ...] = ("mixed",)) -> pd.DatetimeIndex:
    """Texts as dates by the first of `formats` that fits, in UTC where a text names a zone; NaT for other texts."""
    dates = pd.Series(pd.NaT, index=range(len(texts)), dtype="datetime64[us]")
    for form in formats:
        gaps = dates.isna().to_numpy()
        parsed = pd.DatetimeIndex(pd.to_datetime(texts[gaps], errors="coerce", format=form, utc=True))
        dates[gaps] = parsed.tz_localize(None).as_unit("us")
    return pd.DatetimeIndex(dates)


def read_date_parts(column: pd.Series, formats: tuple[str, ...] = ("mixed",)) -> dict[str, np.ndarray]:
    """Parts of dates as numbers: days since 1970, month, day of the week and hour; NaN where a cell is not a date."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        texts, positions = read_texts(column)
        column = pd.Series(parse_dates(texts, formats)[positions])
    if column.dt.tz is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    # In seconds, since nanoseconds only reach the year 2262.
    days = (column - pd.Timestamp(0).as_unit("s")) / pd.Timedelta(days=1)
    parts = {"days": days, "month": column.dt.month, "weekday": column.dt.day_of_week, "hour": column.dt.hour}
    return {part: values.to_numpy(dtype=float) for part, values in parts.items()}


def make_number_label(value: float) -> str:
    """The class or category name of a number: 1.0 and 1 have the same name, and so do -0.0 and 0.0."""
    value = float(value) + 0.0
    return f"{value:.0f}" if abs(value) < 2**53 and value == round(value) else repr(value)
