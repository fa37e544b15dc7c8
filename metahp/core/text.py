"""Make foreign texts safe to show: names of files, columns, classes and learners, and error messages."""

import re
from collections.abc import Iterable

# Control characters except tab and line feed, characters that control terminals or the writing direction, line
# separators, invisible characters that change how a name looks, and lone surrogates, which no encoding can write.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def make_printable(text: str) -> str:
    r"""The text with all characters that control a terminal written as escapes, such as `\x1b`."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape", "backslashreplace").decode(), text)


def make_encodable(text: str) -> str:
    r"""The text with lone surrogates (from file names that are not UTF-8) written as escapes, such as `\udc80`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def join_names(names: Iterable[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def format_count(n: int, noun: str) -> str:
    """A number of things: `1 trial`, `1,797 rows`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def format_number(number: float, form: str = ".4g") -> str:
    """A number for a person; a dash for NaN."""
    return "–" if number != number else format(number, form)


def format_seconds(seconds: float) -> str:
    """Training time in seconds, minutes or hours; a dash for NaN."""
    if seconds != seconds:
        return "–"
    if seconds < 0.1:
        return "<0.1 s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def name_column(label: object) -> str:
    """The name of a column in a frame, whose labels may be numbers or tuples; those of a tuple are joined by `_`."""
    if isinstance(label, tuple):
        return "_".join(str(part) for part in label if str(part))
    return str(label)
