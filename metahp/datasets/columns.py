"""Find what a raw column holds: numbers, dates or categories, and how they are written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd

from metahp.core.text import join_names
from metahp.datasets.cells import describe_nested, label_numbers, normalise_column, replace_markers
from metahp.datasets.doubts import POINTS_ARE_THOUSANDS, find_doubts
from metahp.datasets.notation import (
    DIGITS,
    EXACT,
    FIRST_DIGITS,
    LAST_DIGITS,
    PEEK,
    PLAIN,
    Notation,
    are_dates,
    find_forced_notation,
    find_notation,
)
from metahp.datasets.portable import (
    MISSING,
    parse_categories,
    read_texts,
    respell,
)
from metahp.datasets.spelling import are_usual, describe_apart, describe_merged, find_spellings

# A text column with more distinct values than this share of its cells holds names, not categories.
ID_UNIQUE_SHARE = 0.9
MIN_UNIQUE = 20
# Odd cells are quoted up to this many.
MAX_QUOTED = 3
# Values that instruments and surveys write for a missing one, and how often one has to be met.
SENTINELS = (-9999.0, -999.0, -99.0, -9.0, -1.0, -200.0, -1000.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)
MIN_SENTINEL_SHARE = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRules:
    """How cells become values.

    Attributes:
        is_typed: Whether the types of the columns are meant, as in a frame: text is categories, and what is not missing
            there is not missing. In a file everything is text.
        is_untyped: Whether the file has no types, as CSV: categories that differ only by case are one there.
        missing: Texts that are missing values.
        day_first: Whether the day comes first in dates that could be read both ways; None where that is not known.
        decimal: Decimal mark of columns that do not show one; empty where it is not known.
        is_decimal_given: Whether a person said so.
        categorical: Columns that are categories, whatever they look like.
        numeric: Columns that are numbers; other cells are missing.
        first_line: Line of the file where the first row is; 0 where there is no file.
    """

    is_typed: bool = False
    is_untyped: bool = False
    missing: tuple[str, ...] = MISSING
    day_first: bool | None = None
    decimal: str = ""
    is_decimal_given: bool = False
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    first_line: int = 0


FILE_RULES = ColumnRules()
FRAME_RULES = ColumnRules(is_typed=True, missing=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedColumn:
    """A raw column as values.

    Attributes:
        cells: float64, datetime64 or categories of text, shape (n,).
        notation: How the texts were written; None for categories and for columns that were no text.
        odd: Texts that became missing values since they are written differently, each with its row.
        example: One of the texts; empty for columns that were no text.
        is_forced: Whether a text column was read as numbers though its type says text.
        is_typed: Whether categories are what the type of the column, or the user, says.
        is_respelled: Whether texts that differ only by case and blanks are one category.
        date: A date among the cells, where dates were read as classes; empty elsewhere.
        doubts: What could have been read otherwise, as sentences that follow the name of the column.
    """

    cells: pd.Series
    notation: Notation | None = None
    odd: tuple[tuple[str, int], ...] = ()
    example: str = ""
    is_forced: bool = False
    is_typed: bool = False
    is_respelled: bool = False
    date: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the column."""
        return str(self.cells.name)

    @property
    def is_number(self) -> bool:
        """Whether the values are numbers."""
        return pd.api.types.is_numeric_dtype(self.cells.dtype)


def parse_column(column: pd.Series, rules: ColumnRules = FILE_RULES) -> ParsedColumn:
    """The column as values, whatever the format of its file. Each distinct text is parsed once.

    Raises:
        InputError: the column holds complex numbers.
    """
    nested = describe_nested(column)
    parsed = _parse_cells(replace_markers(normalise_column(column), rules.missing), rules)
    return replace(parsed, doubts=(nested, *parsed.doubts)) if nested else parsed


def _parse_cells(column: pd.Series, rules: ColumnRules) -> ParsedColumn:
    if rules.is_untyped and (found := _parse_digits(column, rules)) is not None:
        return found
    dtype = column.dtype
    if str(column.name) in rules.categorical:
        return _parse_categories(label_numbers(column), rules)
    if isinstance(dtype, pd.CategoricalDtype):
        return _parse_category_type(column, rules)
    if dtype == np.float64 and isinstance(dtype, np.dtype):
        return ParsedColumn(cells=column)
    if pd.api.types.is_bool_dtype(dtype):
        return _parse_categories(column, rules)
    if pd.api.types.is_integer_dtype(dtype) and _is_beyond_exact(column):
        return _parse_categories(label_numbers(column), rules)
    if pd.api.types.is_numeric_dtype(dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        return ParsedColumn(cells=pd.Series(values, index=column.index, name=column.name))
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return ParsedColumn(cells=column)
    if pd.api.types.is_timedelta64_dtype(dtype):
        return ParsedColumn(cells=column.dt.total_seconds().astype(float))
    return _parse_text(column, rules)


def _is_beyond_exact(column: pd.Series) -> bool:
    present = column.dropna()
    return len(present) > 0 and (int(present.max()) > EXACT or int(present.min()) < -EXACT)


def _parse_categories(column: pd.Series, rules: ColumnRules) -> ParsedColumn:
    texts, positions = read_texts(column, rules.missing)
    parsed = parse_categories(texts)[positions]
    cells = pd.Series(parsed, index=column.index, name=column.name)
    return ParsedColumn(cells=cells, is_typed=True, doubts=_find_apart(parsed) if rules.is_typed else ())


def _parse_category_type(column: pd.Series, rules: ColumnRules) -> ParsedColumn:
    """Categories of a frame; ordered ones keep their order."""
    values = cast(pd.Categorical, column.array)
    labels = label_numbers(pd.Series(values.categories.to_numpy(), dtype=values.categories.dtype))
    names, positions = read_texts(pd.Series(labels.to_numpy(dtype=object), dtype=object), rules.missing)
    used = set(values.codes[values.codes >= 0].tolist())
    texts = [names[position] if code in used else None for code, position in enumerate(positions)]
    if values.ordered:
        known = tuple(dict.fromkeys(text for text in texts if text is not None))
        parsed = parse_categories(np.array([*texts, None], dtype=object), known)
    else:
        parsed = parse_categories(np.array([*texts, None], dtype=object))
    parsed = parsed[values.codes]
    cells = pd.Series(parsed, index=column.index, name=column.name)
    return ParsedColumn(cells=cells, is_typed=True, doubts=_find_apart(parsed))


def _parse_digits(column: pd.Series, rules: ColumnRules) -> ParsedColumn | None:
    """A column of numbers such as 20260131 as dates; None for any other one."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or str(column.name) in (*rules.categorical, *rules.numeric):
        return None
    # The first cell rules out nearly all columns.
    if not len(column) or not (pd.isna(column.iloc[0]) or FIRST_DIGITS <= column.iloc[0] <= LAST_DIGITS):
        return None
    if not are_dates(column.dropna().to_numpy(dtype=float)):
        return None
    return _parse_text(column.astype("Int64").astype(object).map(str, na_action="ignore"), rules)


def _parse_text(column: pd.Series, rules: ColumnRules) -> ParsedColumn:
    texts, positions = read_texts(column, rules.missing)
    is_present = np.array([text is not None for text in texts])
    present = texts[is_present]
    if not len(present):
        return ParsedColumn(cells=pd.Series(np.nan, index=column.index, name=column.name, dtype=float))
    counts = np.bincount(positions[positions >= 0], minlength=len(texts))[is_present]
    notation = _find_notation(str(column.name), present, counts, rules)
    is_typed_text = rules.is_typed and notation == PLAIN and str(column.name) not in rules.numeric
    # Text that holds numbers is categories, as its type says, unless nearly every value is different.
    if notation is None or (is_typed_text and _are_texts(column) and not _are_ids(counts)):
        doubts = () if is_typed_text else tuple(find_doubts(present, counts, None))
        return _parse_names(column, texts, positions, counts, rules, doubts)
    values = notation.parse(texts)
    is_odd = is_present & np.asarray(pd.isna(values))
    rows = np.flatnonzero(is_odd[positions]).tolist() if is_odd.any() else []
    return ParsedColumn(
        cells=pd.Series(values[positions], index=column.index, name=column.name),
        notation=notation,
        odd=tuple((str(texts[positions[row]]), int(row)) for row in rows),
        example=str(next((text for text, odd in zip(texts, is_odd, strict=True) if text is not None and not odd), "")),
        is_forced=is_typed_text,
        doubts=tuple(
            find_doubts(present, counts, notation, day_first=rules.day_first, is_decimal_given=rules.is_decimal_given)
        ),
    )


def _find_notation(name: str, texts: np.ndarray, counts: np.ndarray, rules: ColumnRules) -> Notation | None:
    """How a column is written; texts and counts are those of `find_notation`."""
    notation = find_notation(texts, counts, day_first=rules.day_first, decimal=rules.decimal)
    if name in rules.numeric:
        if notation is None or notation.kind == "date":
            return find_forced_notation(texts, counts, decimal=rules.decimal)
    elif rules.is_untyped and notation == PLAIN:
        numbers = PLAIN.parse(texts)
        return DIGITS if are_dates(numbers[~np.isnan(numbers)]) else PLAIN
    return notation


def _parse_names(
    column: pd.Series,
    texts: np.ndarray,
    positions: np.ndarray,
    counts: np.ndarray,
    rules: ColumnRules,
    doubts: tuple[str, ...],
) -> ParsedColumn:
    """Texts as categories; `texts` and `positions` are those of the column, `counts` of the texts that are present."""
    spellings = {} if _are_ids(counts) else find_spellings(texts[[text is not None for text in texts]], counts)
    is_respelled = rules.is_untyped and len(spellings) > 1 and are_usual(spellings)
    if is_respelled:
        texts = respell(texts, tuple(spellings))
        doubts = (*doubts, describe_merged(spellings))
    elif spellings:
        doubts = (*doubts, describe_apart(spellings))
    cells = pd.Series(parse_categories(texts)[positions], index=column.index, name=column.name)
    return ParsedColumn(cells=cells, is_typed=rules.is_typed, is_respelled=is_respelled, doubts=doubts)


def _are_ids(counts: np.ndarray) -> bool:
    """Whether nearly every cell has a text of its own; `counts` are those of the distinct texts."""
    return len(counts) > max(MIN_UNIQUE, ID_UNIQUE_SHARE * float(counts.sum()))


def _find_apart(parsed: pd.Categorical) -> tuple[str, ...]:
    """What to say of categories that differ only by case or blanks."""
    counts = np.bincount(parsed.codes[parsed.codes >= 0], minlength=len(parsed.categories))
    if _are_ids(counts):
        return ()
    spellings = find_spellings(parsed.categories.to_numpy(dtype=object), counts)
    return (describe_apart(spellings),) if spellings else ()


def _are_texts(column: pd.Series) -> bool:
    return column.dtype != object or all(isinstance(cell, str) for cell in column.dropna())


def settle_day_first(columns: Sequence[ParsedColumn]) -> bool | None:
    """Whether the day comes first in the dates that show it; None where none does, or not all agree."""
    shown = set()
    for column in columns:
        if column.notation is not None and column.notation.kind == "date" and not column.notation.is_ambiguous:
            shown |= {
                form.startswith("%d")
                for form in column.notation.formats
                if form[:3] in ("%d/", "%m/", "%d-", "%m-", "%d.", "%m.")
            }
    return shown.pop() if len(shown) == 1 else None


def describe_columns(columns: Sequence[ParsedColumn], rules: ColumnRules) -> Iterator[str]:
    """What a user should know of how the columns were read, one line each."""
    for column in columns:
        if column.odd:
            yield _describe_odd(column, rules)
        for doubt in column.doubts:
            yield f"column '{column.name}' {doubt}"
    written = [
        f"{column.name} ({column.example})"
        for column in columns
        if column.notation is not None
        and column.notation.kind == "written"
        and (column.notation.decimal, set(column.notation.units)) != (",", {""})
    ]
    if written:
        yield f"read as numbers: {join_names(written)}"
    has_commas = (column.notation is not None and column.notation.decimal == "," for column in columns)
    has_points = (any(doubt.startswith(POINTS_ARE_THOUSANDS) for doubt in column.doubts) for column in columns)
    if any(comma and not point for comma, point in zip(has_commas, has_points, strict=True)):
        yield "decimal commas read as decimal points"
    forced = [column.name for column in columns if column.is_forced]
    if forced:
        yield f"text read as numbers, since nearly every value is different: {join_names(forced)}"
    for column in columns:
        if column.notation is not None and column.notation.is_ambiguous:
            first = "day" if column.notation.formats[0].startswith("%d") else "month"
            yield (
                f"column '{column.name}': nothing shows whether day or month comes first in dates such as "
                f"{column.example}; read with the {first} first, `dayfirst` decides"
            )
    for column in columns:
        if column.is_number and (sentinel := find_sentinel(column.cells.to_numpy())) is not None:
            value, count = sentinel
            yield (
                f"column '{column.name}': {value:g} is far from all other values and appears {count:,} times; if it "
                f"stands for a missing value it misleads every model: `na={value:g}` makes it missing"
            )


def _describe_odd(column: ParsedColumn, rules: ColumnRules) -> str:
    kind = "dates" if column.notation is not None and column.notation.kind == "date" else "numbers"
    quoted: dict[str, int] = {}
    for text, row in column.odd:
        quoted.setdefault(text, row)
    where = [
        f"'{text}' in {'line' if rules.first_line else 'row'} {row + (rules.first_line or 1)}"
        for text, row in list(quoted.items())[:MAX_QUOTED]
    ]
    more = f" and {len(quoted) - MAX_QUOTED} other texts" if len(quoted) > MAX_QUOTED else ""
    count = f"{len(column.odd):,} cell{'s' if len(column.odd) > 1 else ''}"
    return f"column '{column.name}' holds {kind} but for {count}, read as missing: {', '.join(where)}{more}"


def find_sentinel(values: np.ndarray) -> tuple[float, int] | None:
    """A value that seems to stand for a missing one, and how often it is met; None where there is none.

    It is one of `SENTINELS`, the lowest or highest value, met often, and further from the next value than all others
    are from each other.
    """
    present = values[np.isfinite(values)]
    if len(present) < MIN_UNIQUE:
        return None
    for sentinel in {float(present.min()), float(present.max())} & set(SENTINELS):
        is_it = present == sentinel
        others = present[~is_it]
        if is_it.sum() < max(2, MIN_SENTINEL_SHARE * len(present)) or len(np.unique(others[:PEEK])) < 3:
            continue
        spread = float(np.ptp(others))
        gap = float(np.abs(others - sentinel).min())
        if gap > spread or (sentinel < -1 and others.min() >= 0 and gap > 0.1 * spread):
            return sentinel, int(is_it.sum())
    return None
