"""Find what a user should know of how a column of texts was read: what could have been meant otherwise."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from metahp.datasets.notation import (
    DIGITS,
    FEW,
    MAX_LENGTH,
    MAX_ODD_SHARE,
    MIN_DISTINCT,
    PEEK,
    PERCENTS,
    SCALES,
    Notation,
    find_decimal_mark,
    find_formats,
    is_currency,
)
from metahp.datasets.portable import parse_written_numbers, split_number

# Units that are seen in tables, beside currencies and those of `SCALES`; metahp converts none of them.
UNITS = frozenset(
    {"lb", "lbs", "oz", "st", "in", "inch", "inches", '"', "ft", "feet", "yd", "mi", "mile", "miles", "kgs"}
)
UNITS |= {
    "gal",
    "pt",
    "fl oz",
    "cc",
    "mph",
    "km/h",
    "kmh",
    "kph",
    "m/s",
    "kn",
    "kt",
    "mpg",
    "km/l",
    "l/100km",
    "hp",
    "ps",
    "bhp",
}
UNITS |= {"°c", "°f", "°", "c", "f", "k", "ms", "s", "sec", "min", "mins", "h", "hr", "hrs", "hour", "hours", "minutes"}
UNITS |= {"d", "day", "days", "wk", "week", "weeks", "mo", "month", "months", "y", "yr", "yrs", "year", "years"}
UNITS |= {
    "m2",
    "m²",
    "sqm",
    "sq m",
    "sqft",
    "sq ft",
    "ft2",
    "ft²",
    "ha",
    "acre",
    "acres",
    "km2",
    "km²",
    "mib",
    "gib",
    "kib",
}
UNITS |= {
    "kwh",
    "mwh",
    "wh",
    "kj",
    "j",
    "cal",
    "kcal",
    "v",
    "kv",
    "mv",
    "a",
    "ma",
    "bar",
    "psi",
    "pa",
    "hpa",
    "kpa",
    "mmhg",
}
UNITS |= {"mmol/l", "mg/dl", "g/dl", "g/l", "mg/l", "µg", "ug", "mcg", "iu", "ppm", "ppb", "‰", "bps", "pieces", "pcs"}
# Fewer cells with a unit are slips, which are quoted elsewhere.
MIN_UNIT_COUNT = 2
MAX_UNITS_QUOTED = 3
# What comes first and second in a date of numbers whose year comes last, and in a format of one.
_DAY_AND_MONTH = re.compile(r"(\d{1,2})[-/. ](\d{1,2})[-/. ]\d{2}")
_NUMBER_FORMAT = re.compile(r"%([dm])[-/. ]%[dm][-/. ]%[yY]")
LAST_MONTH = 12
POINTS_ARE_THOUSANDS = "reads points as separators of thousands"
# The digits of a number with its marks, and one that could have thousands.
_DIGITS = re.compile(r"\d[\d.,]*")
_GROUPS = re.compile(r"[1-9]\d{0,2}([.,]\d{3})+")
# Whole numbers from here on, beside numbers with a mark, are seldom decimals whose last digits are all zero.
MIN_WHOLE = 10


def find_doubts(
    texts: np.ndarray,
    counts: np.ndarray,
    notation: Notation | None,
    *,
    day_first: bool | None = None,
    is_decimal_given: bool = False,
) -> Iterator[str]:
    """Sentences that follow the name of a column, each with the cells that raise the doubt.

    Args:
        texts: Distinct texts of the column, none missing, shape (n,).
        counts: How often each is met, shape (n,).
        notation: How the column was read; None for categories.
        day_first: Whether the day was asked to come first in dates; None where nothing was asked.
        is_decimal_given: Whether the decimal mark was asked for.
    """
    if notation is None:
        yield from _doubt_names(texts[:PEEK], counts[:PEEK])
        return
    if notation == DIGITS:
        yield f"holds numbers such as {texts[0]} that are dates, and is read as dates; `numeric` keeps the numbers"
    elif notation.kind == "date" and day_first is not None:
        yield from _doubt_order(texts, notation, is_day_first=day_first)
    if set(PERCENTS) & set(notation.units):
        yield from _doubt_percents(texts, notation)
    if notation.kind in ("number", "written") and not is_decimal_given:
        yield from _doubt_thousands(texts, counts, notation)


def _doubt_names(texts: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    """Categories that seem to be amounts or dates."""
    if 2 * sum(any(map(str.isdigit, text)) for text in texts[:FEW]) < len(texts[:FEW]):
        return
    yield from _doubt_units(texts, counts)
    yield from _doubt_dates(texts, counts)


def _doubt_percents(texts: np.ndarray, notation: Notation) -> Iterator[str]:
    """Percents beside plain numbers other than 0, which is the same in both."""
    percent = plain = ""
    for text in texts:
        split = split_number(text, notation.decimal)
        if split is not None and split[0] and split[1] in PERCENTS:
            percent = percent or text
        elif split is not None and split[0] and split[1] == "":
            plain = plain or text
    if not percent or not plain:
        return
    if min(notation.units.values()) < 1:
        value = parse_written_numbers(np.array([percent], dtype=object), notation.decimal, dict(notation.units))[0]
        yield (
            f"mixes percents and plain numbers: '{percent}' is read as {value:g} beside '{plain}', since all plain "
            "numbers are fractions"
        )
    else:
        yield (
            f"mixes percents and plain numbers: '{percent}' and '{plain}' are read on one scale; where the plain "
            "numbers are no percents, write all cells in one way"
        )


def _doubt_units(texts: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    """Amounts in units that are not converted into each other."""
    mark = find_decimal_mark(texts) or "."
    by_unit: Counter[str] = Counter()
    example: dict[str, str] = {}
    numbers = set()
    for text, count in zip(texts, counts, strict=True):
        split = split_number(text, mark) if len(text) <= MAX_LENGTH else None
        is_name = text[:1].isalpha() and split is not None and not is_currency(split[1])
        if split is not None and not is_name and (split[1] == "" or _is_known_unit(split[1])):
            by_unit[split[1]] += int(count)
            example.setdefault(split[1], text)
            numbers.add(split[0])
    named = [unit for unit, count in by_unit.most_common() if unit and count >= MIN_UNIT_COUNT]
    is_amount = sum(by_unit.values()) >= (1 - MAX_ODD_SHARE) * float(counts.sum())
    # Letters alone are groups, such as 6m and 6f.
    is_word = any(len(unit) > 1 or is_currency(unit) for unit in named)
    if len(named) < 2 or not is_word or not is_amount or len(numbers) < MIN_DISTINCT:
        return
    quoted = ", ".join(f"'{example[unit]}'" for unit in named[:MAX_UNITS_QUOTED])
    yield (
        f"holds amounts in different units: cells such as {quoted} are read as names and not as numbers, since metahp "
        "does not convert them; write them in one unit"
    )


def _is_known_unit(unit: str) -> bool:
    return unit in UNITS or is_currency(unit) or any(unit in scale for scale in SCALES)


def _doubt_dates(texts: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    """Texts that look like dates, though no few formats fit nearly all of them."""
    is_date = np.array([len(text) <= MAX_LENGTH and bool(find_formats(text)) for text in texts])
    if np.average(is_date, weights=counts) < 1 - MAX_ODD_SHARE:
        return
    day, month = _find_evidence(texts, is_day_first=True), _find_evidence(texts, is_day_first=False)
    write = "all are read as names and not as dates; write them in one way, such as 2026-01-31"
    if day and month:
        yield f"holds dates in two orders: '{day}' has the day first and '{month}' the month, so {write}"
    else:
        yield f"holds dates in too many formats: cells such as '{texts[0]}' and '{texts[-1]}' differ, so {write}"


def _find_evidence(texts: np.ndarray, *, is_day_first: bool) -> str:
    """The first text in which only the day, or only the month, can come first; empty where there is none."""
    for text in texts:
        match = _DAY_AND_MONTH.match(text)
        if match is not None:
            first, second = int(match[1]), int(match[2])
            day, month = (first, second) if is_day_first else (second, first)
            if day > LAST_MONTH >= month:
                return str(text)
    return ""


def _doubt_order(texts: np.ndarray, notation: Notation, *, is_day_first: bool) -> Iterator[str]:
    """Dates that cannot be read in the order that was asked for."""
    match = _NUMBER_FORMAT.match(notation.formats[0])
    if match is None or (match[1] == "d") == is_day_first:
        return
    first = "month" if is_day_first else "day"
    evidence = _find_evidence(texts, is_day_first=not is_day_first) or texts[0]
    yield f"holds dates against `dayfirst`: in '{evidence}' the {first} comes first, so all are read like that"


def _doubt_thousands(texts: np.ndarray, counts: np.ndarray, notation: Notation) -> Iterator[str]:
    """Marks that are each followed by three digits: of decimals beside whole numbers, or points of thousands."""
    mark = notation.decimal or "."
    other = "." if mark == "," else ","
    numbers = []
    for text in texts:
        match = _DIGITS.search(text)
        numbers.append("" if match is None else match[0])
        if not numbers[-1].isdecimal() and numbers[-1] and _GROUPS.fullmatch(numbers[-1]) is None:
            return
    marked = np.array([mark in number or other in number for number in numbers])
    if len(set(np.array(numbers, dtype=object)[marked])) < MIN_DISTINCT:
        return
    index = int(np.flatnonzero(marked)[0])
    text, number = texts[index], numbers[index]
    if mark == "," and all("," not in number for number in numbers):
        yield (
            f"{POINTS_ARE_THOUSANDS}: '{text}' is {number.replace('.', '')}, as semicolons or decimal "
            "commas elsewhere say; `decimal='.'` reads decimals"
        )
        return
    is_whole = np.array([number.isdecimal() and int(number) >= MIN_WHOLE for number in numbers])
    too_large = any(int(number) >= 1000 for number, whole in zip(numbers, is_whole, strict=True) if whole)
    n_whole = len({number for number, whole in zip(numbers, is_whole, strict=True) if whole})
    if too_large or n_whole < MIN_DISTINCT or np.average(is_whole, weights=counts) < MAX_ODD_SHARE:
        return
    if any(other in number for number in numbers):
        return
    whole = texts[int(np.flatnonzero(is_whole)[0])]
    yield (
        f"could hold thousands: '{text}' beside '{whole}' is read as {number.replace(',', '.')}; if it stands for "
        f"{number.replace(mark, '')} every model is misled: `decimal='{other}'` reads thousands"
    )
