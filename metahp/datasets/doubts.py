"""Find what a user should know of how a column of texts was read: what could have been meant otherwise."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from metahp.datasets.notation import (
    FEW,
    MAX_LENGTH,
    MAX_ODD_SHARE,
    MIN_DISTINCT,
    PEEK,
    PERCENTS,
    SCALES,
    Notation,
    find_decimal_mark,
    is_currency,
)
from metahp.datasets.portable import split_number

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
_DAY_AND_MONTH = re.compile(r"(\d{1,2})[-/. ](\d{1,2})[-/. ]\d{2}")


def find_doubts(texts: np.ndarray, counts: np.ndarray, notation: Notation | None) -> Iterator[str]:
    """Sentences that follow the name of a column, each with the cells that raise the doubt.

    Args:
        texts: Distinct texts of the column, none missing, shape (n,).
        counts: How often each is met, shape (n,).
        notation: How the column was read; None for categories.
    """
    if notation is None:
        yield from _doubt_names(texts[:PEEK], counts[:PEEK])
    elif set(PERCENTS) & set(notation.units):
        yield from _doubt_percents(texts, notation)


def _doubt_names(texts: np.ndarray, counts: np.ndarray) -> Iterator[str]:
    """Categories that seem to be amounts or dates."""
    if 2 * sum(any(map(str.isdigit, text)) for text in texts[:FEW]) < len(texts[:FEW]):
        return
    yield from _doubt_units(texts, counts)


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
    mixed = f"mixes percents such as '{percent}' and plain numbers such as '{plain}'"
    if min(notation.units.values()) < 1:
        yield f"{mixed}: all plain numbers are fractions, so percents are divided by 100"
    else:
        yield f"{mixed}: read as if the plain numbers were percents too; where they are not, write all cells in one way"


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
        f"holds amounts in different units, such as {quoted}, which metahp does not convert: read as names and not as "
        "numbers; convert them to one unit first"
    )


def _is_known_unit(unit: str) -> bool:
    return unit in UNITS or is_currency(unit) or any(unit in scale for scale in SCALES)
