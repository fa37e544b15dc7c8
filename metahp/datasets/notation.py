"""How the numbers, times and dates of a text column are written; found from all its texts, one notation a column."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from metahp.datasets.portable import (
    parse_dates,
    parse_numbers,
    parse_seconds,
    parse_written_numbers,
    split_number,
)

# At most this share of the cells may be something else: they are missing values then.
MAX_ODD_SHARE = 0.05
# Fewer different numbers beside other texts are names.
MIN_DISTINCT = 3
# Notations are found on this many distinct texts first; only a column that fits them is parsed whole.
PEEK = 1000
# This many texts rule out numbers in most text columns.
FEW = 10
# A column that needs more formats than this holds no dates.
MAX_FORMATS = 8
# No date or written number is longer, and a search for its shape takes more than time in the length of the text.
MAX_LENGTH = 48
# Above this share of cells with <, > or a trailing +, the texts are names of ranges, such as `<=50K` and `>50K`.
MAX_BOUND_SHARE = 0.2
# Whole numbers from here on lose digits as floating-point numbers.
EXACT = 2**53

_CURRENCY = re.compile(
    r"[a-z]{1,3}\s*[$€£¥₹₽₩₺₫₴₦฿¢]|rs\b|kr\b|(?:usd|eur|gbp|jpy|chf|cad|aud|nzd|cny|inr|brl|mxn|rub|try|zar|sek|nok|dkk"
    r"|pln|czk|huf|krw|sgd|hkd)\b",
    re.IGNORECASE,
)
THOUSANDS = {"k": 1e3, "m": 1e6, "mn": 1e6, "mio": 1e6, "b": 1e9, "bn": 1e9, "t": 1e12}
# Spreadsheets show one number as 52% or as 0.52.
PERCENTS = ("%", "percent", "pct", "per cent")
# Units of which a column may have several, as multiples of the first.
SCALES: tuple[Mapping[str, float], ...] = (
    {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12},
    THOUSANDS,
    {"mg": 1e-3, "g": 1.0, "kg": 1e3, "t": 1e6},
    {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3},
    {"ml": 1e-3, "cl": 1e-2, "dl": 1e-1, "l": 1.0},
    {"w": 1.0, "kw": 1e3, "mw": 1e6},
    {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9},
    dict.fromkeys(PERCENTS, 1.0),
)
_BOUND = re.compile(r"[<>≤≥~≈]|\d\s*\+$")
_CODE = re.compile(r"[-+]?0\d+")
_PHONE = re.compile(r"\+\d{9,}")
_HAS_CLOCK = re.compile(r"\d:\d\d|\d\s*[ap]\.?m\b|\d\s*days?\b|\d\s*h.*\d\s*m|^pt?\d", re.IGNORECASE)
# Whole numbers, with points between the thousands where they have some.
GROUPS_OF_THREE = r"[-+]?[1-9]\d{0,2}(\.\d{3})+|[-+]?\d{1,3}"
_POINT_IS_DECIMAL = re.compile(r"\.\d{1,2}(?!\d)|\.\d{4,}|(?<!\d)0\.\d{3}(?!\d)")
_COMMA_IS_DECIMAL = re.compile(r"(?<!\d)[-+−]?0,\d{3}(?!\d)")

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:tember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY = re.compile(r"(mon|tue(?:s)?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(day)?\.?,?\s+", re.IGNORECASE)
_TIME = re.compile(
    r"(?P<gap>T|,?\s+|:)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>[.,]\d{1,9})?)?"
    r"(?P<half>\s*[ap]m)?(?P<zone>\s*(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))?$",
    re.IGNORECASE,
)
_ISO = re.compile(r"\d{4}-\d{2}(-\d{2})?$")
_PARTS = tuple(
    (re.compile(shape, re.IGNORECASE), orders)
    for shape, orders in (
        (r"(\d{4})([-/. ])(\d{1,2})\2(\d{1,2})", ("Y_m_d",)),
        (r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4})", ("d_m_Y", "m_d_Y")),
        (r"(\d{1,2})([-/.])(\d{1,2})\2(\d{2})", ("d_m_y", "m_d_y", "y_m_d")),
        (rf"(\d{{1,2}})((?:st|nd|rd|th)?[-/., ]*(?:of )?)({_MONTH})(?:([-/., ]+)(\d{{4}}))", ("d_b_Y",)),
        (rf"(\d{{1,2}})([-/., ]*)({_MONTH})(?:([-/., ]*)(\d{{2}}|\d{{4}}))", ("d_b_y",)),
        (rf"({_MONTH})([-/., ]+)(\d{{1,2}})((?:st|nd|rd|th)?[-/., ]+)(\d{{4}})", ("b_d_Y",)),
        (rf"(\d{{4}})([-/., ]*)({_MONTH})([-/., ]*)(\d{{1,2}})", ("Y_b_d",)),
        (rf"({_MONTH})([-/., ]*)(\d{{4}})", ("b_Y",)),
        (rf"({_MONTH})([-/.' ]+)(\d{{2}})", ("b_y",)),
        (rf"(\d{{4}})([-/., ]*)({_MONTH})", ("Y_b",)),
        (r"(\d{1,2})([-/.])(\d{4})", ("m_Y",)),
    )
)
_OF_A_LOG = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2} \d{2}:\d{2}:\d{2}( [+-]\d{4}| UTC| GMT)? \d{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """How a column of texts is written.

    Attributes:
        kind: number (as Python writes numbers), written (with units, separators, …), clock or date.
        decimal: Decimal mark of written numbers.
        units: Units of written numbers, in small letters, and the factor of each.
        formats: Formats of dates as `strptime` takes them, or `ISO8601`; the first that fits counts.
        is_ambiguous: Whether day and month could be the other way round in all texts.
    """

    kind: str
    decimal: str = ""
    units: Mapping[str, float] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    is_ambiguous: bool = False

    def parse(self, texts: np.ndarray) -> Any:
        """The texts as float64 or dates, NaN or NaT where a text is not written like this."""
        if self.kind == "number":
            return parse_numbers(texts)
        if self.kind == "written":
            return parse_written_numbers(texts, self.decimal, dict(self.units))
        if self.kind == "clock":
            return parse_seconds(texts)
        with warnings.catch_warnings():
            # pandas warns of time zones that it does not know; such a text is not a date here.
            warnings.simplefilter("ignore")
            return parse_dates(texts, self.formats)


ISO = "ISO8601"
PLAIN = Notation(kind="number")
# Whole numbers of eight digits that are dates. Where some are missing, programs write floating-point numbers.
DIGITS = Notation(kind="date", formats=("%Y%m%d", "%Y%m%d.0", ISO))
FIRST_DIGITS, LAST_DIGITS = 19000101, 21001231
# Fewer different numbers could be dates by chance.
MIN_DAYS = 10
CLOCK = Notation(kind="clock")


def are_dates(numbers: np.ndarray) -> bool:
    """Whether all numbers, none missing, are dates of this century or the last, such as 20260131, of many days."""
    if not len(numbers) or not ((numbers >= FIRST_DIGITS) & (numbers <= LAST_DIGITS)).all():
        return False
    distinct = np.unique(numbers)
    if len(distinct) < MIN_DAYS or (distinct != distinct.round()).any():
        return False
    return not DIGITS.parse(np.array([f"{number:.0f}" for number in distinct], dtype=object)).isna().any()


def find_forced_notation(texts: np.ndarray, counts: np.ndarray, *, decimal: str = "") -> Notation:
    """The notation in which most of the texts are numbers, however few these are; arguments as of `find_notation`."""
    mark = find_decimal_mark(texts) or decimal or "."
    units = _weigh_percents(_find_all_units(texts, counts, mark), texts, mark)
    written = Notation(kind="written", decimal=mark, units=units)
    # Of equals, the plainest.
    return min((PLAIN, written, CLOCK), key=lambda notation: _count_odd(notation.parse(texts), counts))


def _find_all_units(texts: np.ndarray, counts: np.ndarray, mark: str) -> dict[str, float]:
    by_unit: Counter[str] = Counter()
    for text, count in zip(texts, counts, strict=True):
        split = split_number(text, mark) if len(text) <= MAX_LENGTH else None
        if split is not None and not (text[:1].isalpha() and _CURRENCY.match(text) is None):
            by_unit[split[1]] += int(count)
    return _find_units(by_unit, float(sum(by_unit.values()))) or {"": 1.0}


def find_notation(
    texts: np.ndarray, counts: np.ndarray, *, day_first: bool | None = None, decimal: str = ""
) -> Notation | None:
    """The notation in which nearly all cells are written; None where the texts are names or codes.

    Args:
        texts: Distinct texts, none missing, shape (n,).
        counts: How often each is met, shape (n,).
        day_first: Whether the day comes first in dates that could be read both ways; None where that is not known.
        decimal: Decimal mark of the other columns; empty where they show none.
    """
    if not len(texts):
        return None
    sample, weights = texts[:PEEK], counts[:PEEK]
    if _are_codes(sample):
        return None
    best, fewest = None, MAX_ODD_SHARE * float(counts.sum())
    for notation in _find_candidates(sample, weights, day_first, decimal):
        # A later text may have the mark that decides, another unit or another format.
        whole: Notation | None = notation
        if len(texts) > PEEK and notation.kind == "written":
            whole = _find_written(texts, counts, decimal)
        elif len(texts) > PEEK and notation.kind == "date":
            whole = _find_dates(texts, counts, day_first)
        if whole is None or (whole.kind == "number" and _are_codes(texts)):
            continue
        parsed = whole.parse(texts)
        n_odd = _count_odd(parsed, counts)
        if (n_odd or whole.kind == "written") and len(pd.unique(parsed[~np.asarray(pd.isna(parsed))])) < MIN_DISTINCT:
            continue
        if n_odd == 0:
            return whole
        if n_odd < fewest or (best is None and n_odd <= fewest):
            best, fewest = whole, n_odd
    return best


def _find_candidates(
    sample: np.ndarray, weights: np.ndarray, day_first: bool | None, decimal: str
) -> Iterator[Notation]:
    # `1.234` beside `0,5` in other columns is a thousand and more.
    is_plain = not np.isnan(parse_numbers(sample[:FEW])).all() and _fits(parse_numbers(sample), weights)
    if is_plain and not (decimal == "," and are_groups_of_three(sample)):
        yield PLAIN
    if not any(character.isdigit() for text in sample[:FEW] for character in text):
        return
    if max(map(len, sample)) > 4 * MAX_LENGTH:
        return
    clocks = np.array([_HAS_CLOCK.search(text) is not None for text in sample])
    if np.average(clocks, weights=weights) >= 1 - MAX_ODD_SHARE and _fits(parse_seconds(sample), weights):
        yield CLOCK
    dates = _find_dates(sample, weights, day_first)
    if dates is not None:
        yield dates
    written = _find_written(sample, weights, decimal)
    if written is not None:
        yield written


def _fits(parsed: Any, counts: np.ndarray) -> bool:
    return _count_odd(parsed, counts) <= MAX_ODD_SHARE * float(counts.sum())


def _count_odd(parsed: Any, counts: np.ndarray) -> float:
    return float(counts[np.asarray(pd.isna(parsed))].sum())


def _are_codes(texts: np.ndarray) -> bool:
    """Whether some are codes: whole numbers with leading zeros, or with more digits than a number keeps."""
    return any(
        _CODE.fullmatch(text) is not None
        or _PHONE.fullmatch(text) is not None
        or (len(text) > 15 and text.lstrip("+-").isdecimal() and abs(int(text)) > EXACT)
        for text in texts
        if len(text) <= MAX_LENGTH
    )


def are_groups_of_three(texts: Sequence[str] | np.ndarray) -> bool:
    """Whether all points in the texts could separate thousands, and there are some."""
    return all(re.fullmatch(GROUPS_OF_THREE, text) for text in texts) and any("." in text for text in texts)


def _find_written(texts: np.ndarray, counts: np.ndarray, decimal: str) -> Notation | None:
    texts = np.array([text if len(text) <= MAX_LENGTH else "" for text in texts], dtype=object)
    mark = find_decimal_mark(texts) or decimal or "."
    split = [split_number(text, mark) for text in texts]
    total = float(counts.sum())
    is_split = np.array([each is not None for each in split])
    if float(counts[~is_split].sum()) > MAX_ODD_SHARE * total:
        return None
    is_bound = np.array([_BOUND.search(text) is not None for text in texts])
    if float(counts[is_bound & is_split].sum()) > MAX_BOUND_SHARE * total:
        return None
    by_unit: Counter[str] = Counter()
    for each, text, count in zip(split, texts, counts, strict=True):
        if each is not None:
            if text[:1].isalpha() and _CURRENCY.match(text) is None:
                return None
            by_unit[each[1]] += int(count)
    units = _find_units(by_unit, total)
    if units is None:
        return None
    return Notation(kind="written", decimal=mark, units=_weigh_percents(units, texts, mark))


def _weigh_percents(units: dict[str, float], texts: np.ndarray, mark: str) -> dict[str, float]:
    """The units; percents beside plain fractions are hundredths, since both are one number in two spellings."""
    if not set(units) <= {"", *PERCENTS}:
        return units
    split = [each for text in texts if (each := split_number(text, mark)) is not None]
    percents = {unit for _, unit in split if unit in PERCENTS}
    plain = [abs(number) for number, unit in split if unit == ""]
    is_mixed = bool(percents) and any(0 < number < 1 for number in plain) and max(plain) <= 1
    # Percents that are all below 1 may be on the scale of the plain numbers.
    if not is_mixed or max(abs(number) for number, unit in split if unit in PERCENTS) <= 1:
        return units
    return {"": 1.0} | dict.fromkeys(sorted(percents), 0.01)


def _find_units(by_unit: Counter[str], total: float) -> dict[str, float] | None:
    """The factor of each unit; None where some do not measure the same."""
    frequent = {unit: count for unit, count in by_unit.items() if count > MAX_ODD_SHARE * total or unit == ""}
    named = [unit for unit in frequent if unit]
    if any(not _is_unit(unit, by_unit) for unit in named):
        return None
    if len(named) > 1:
        scale = next((scale for scale in SCALES if set(named) <= scale.keys()), None)
        if scale is None:
            return None
        rare = [unit for unit in by_unit if unit in scale]
        base = 1.0 if scale is THOUSANDS else scale[max(named, key=lambda unit: by_unit[unit])]
        units = {unit: scale[unit] / base for unit in sorted({*named, *rare})}
        return units | {"": 1.0}
    if named and "" in frequent and named[0] in THOUSANDS:
        return {"": 1.0, named[0]: THOUSANDS[named[0]]}
    # New rows may come without the unit, such as amounts from a database.
    return dict.fromkeys(sorted({*frequent, ""}), 1.0)


def is_currency(unit: str) -> bool:
    """Whether a unit, in small letters, is a sign or a code of a currency."""
    return _CURRENCY.fullmatch(unit) is not None or re.search(r"[$€£¥₹₽₩₺₫₴₦฿¢]", unit) is not None


def _is_unit(unit: str, by_unit: Counter[str]) -> bool:
    """Whether a text is a unit: a usual one, or one that stands at most of the numbers."""
    is_usual = re.search(r"[%°]", unit) is not None or is_currency(unit) or any(unit in scale for scale in SCALES)
    return unit[0] != "_" and (is_usual or 2 * by_unit[unit] > sum(by_unit.values()))


def find_decimal_mark(texts: Sequence[str] | np.ndarray) -> str:
    """The decimal mark that the texts show; empty where they show none or both."""
    marks = find_decimal_marks(texts)
    return marks if len(marks) == 1 else ""


def find_decimal_marks(texts: Sequence[str] | np.ndarray) -> str:
    """The decimal marks that the texts show, none, one or both."""
    has_comma = has_point = False
    for text in texts:
        if ("," not in text and "." not in text) or len(text) > MAX_LENGTH:
            continue
        is_point = split_number(text, ".") is not None and _COMMA_IS_DECIMAL.search(text) is None
        is_comma = split_number(text, ",") is not None
        has_comma |= is_comma and not is_point
        has_point |= is_point and (not is_comma or _POINT_IS_DECIMAL.search(text) is not None)
    return "," * has_comma + "." * has_point


def _find_dates(texts: np.ndarray, counts: np.ndarray, day_first: bool | None) -> Notation | None:
    """The formats in which nearly all texts are dates; None where there are none."""
    by_order: dict[str, Counter[str]] = {"d": Counter(), "m": Counter(), "y": Counter()}
    n_without = 0
    for text, count in zip(texts, counts, strict=True):
        found = find_formats(text) if 6 <= len(text) <= MAX_LENGTH else {}
        if not found:
            n_without += int(count)
            if n_without > MAX_ODD_SHARE * float(counts.sum()):
                return None
        for order in by_order if found else ():
            form = found.get(order) or found.get("")
            if form:
                by_order[order][form] += int(count)
    best, n_best, best_span, is_ambiguous = None, -1, 0, False
    for order in _rank_orders(texts, day_first):
        formats = tuple(form for form, _ in by_order[order].most_common())
        if not formats or len(formats) > MAX_FORMATS or (best is not None and formats == best.formats):
            continue
        notation = Notation(kind="date", formats=formats)
        dates = pd.DatetimeIndex(notation.parse(texts))
        n_dates, span = int(counts[~np.asarray(dates.isna())].sum()), (dates.max() - dates.min()).days
        if n_dates == n_best and order in ("d", "m"):
            is_ambiguous = True
        # Years of two digits come first where the dates are much closer together then.
        if n_dates > n_best or (n_dates == n_best and order == "y" and span < best_span / 3):
            best, n_best, best_span, is_ambiguous = notation, n_dates, span, False
    if best is None or n_best < (1 - MAX_ODD_SHARE) * float(counts.sum()):
        return None
    # New rows may come from a program, which writes dates in one way only.
    formats = best.formats if ISO in best.formats else (*best.formats, ISO)
    return Notation(kind="date", formats=formats, is_ambiguous=is_ambiguous and day_first is None)


def _rank_orders(texts: np.ndarray, day_first: bool | None) -> tuple[str, ...]:
    """In which order to try what comes first: of two that read as many texts, the first counts."""
    if day_first is None:
        # Dots between the numbers are a habit of countries where the day comes first.
        day_first = re.match(r"\d{1,2}\.\d{1,2}\.", str(texts[0])) is not None
    return ("d", "m", "y") if day_first else ("m", "d", "y")


def find_formats(text: str) -> dict[str, str]:
    """Formats of a text by what comes first (d, m or y), under `""` where there is one only; empty if it is no date."""
    if _OF_A_LOG.fullmatch(text):
        zone = (
            " %z" if re.search(r" [+-]\d{4} ", text) else " UTC" if "UTC" in text else " GMT" if "GMT" in text else ""
        )
        return {"": f"%a %b %d %H:%M:%S{zone} %Y"}
    weekday, clock = "", ""
    if match := _WEEKDAY.match(text):
        weekday = ("%A" if match[2] else "%a") + text[len(match[1] + (match[2] or "")) : match.end()]
        text = text[match.end() :]
    if match := _TIME.search(text):
        clock, text = _write_clock(match), text[: match.start()]
    if not weekday and _ISO.fullmatch(text) and "%I" not in clock:
        return {"": ISO}
    if clock and re.fullmatch(r"\d{8}", text):
        return {"": f"{weekday}%Y%m%d{clock}"}
    for shape, orders in _PARTS:
        if match := shape.fullmatch(text):
            made = {order: weekday + _write_format(match, order) + clock for order in orders}
            return {order[0].lower() if len(orders) > 1 else "": form for order, form in made.items()}
    return {}


def _write_clock(match: re.Match[str]) -> str:
    hour = "%I" if match["half"] else "%H"
    seconds = f":%S{match['fraction'][0] + '%f' if match['fraction'] else ''}" if match["second"] else ""
    half = re.sub(r"[ap]m", "%p", match["half"], flags=re.IGNORECASE) if match["half"] else ""
    zone = match["zone"] or ""
    zone = zone if zone.strip().upper() in ("UTC", "GMT") else re.sub(r"\S+", "%z", zone)
    return f"{match['gap']}{hour}:%M{seconds}{half}{zone}"


def _write_format(match: re.Match[str], order: str) -> str:
    """The format of a matched date: `order` names its parts, and what stands between them stays."""
    codes = order.split("_")
    pieces = [piece for piece in match.groups() if piece is not None]
    # Parts and what is between them alternate; the shapes that repeat a separator match it once.
    if len(pieces) == len(codes) + 1 and len(codes) == 3:
        pieces = [pieces[0], pieces[1], pieces[2], pieces[1], pieces[3]]
    written = []
    for index, piece in enumerate(pieces):
        if index % 2:
            written.append(piece)
            continue
        code = codes[index // 2]
        if code == "b":
            code = "b" if len(piece) <= 3 else "B"
        elif code in "yY":
            code = "Y" if len(piece) == 4 else "y"
        written.append(f"%{code}")
    return "".join(written)
