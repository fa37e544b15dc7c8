"""Checks of the values of records; the error message says in one line what was expected and what came."""

from collections.abc import Mapping
from typing import Any

from metahp.core.errors import InputError

# No person and no error message writes a longer text. In characters.
MAX_TEXT = 65_536
# Largest integers of the database columns.
MAX_INT32, MAX_INT64 = 2**31 - 1, 2**63 - 1
# About thirty years.
MAX_SECONDS = 1e9
_SHOWN_CHARACTERS = 60


def check_text(value: object, what: str, *, is_required: bool = False) -> None:
    """Refuse a value that is not a text, not encodable as UTF-8 or too long, or is empty although `is_required`.

    Raises:
        InputError: the value is refused.
    """
    if not isinstance(value, str):
        raise InputError(f"{what} is a text, got {show(value)}.")
    if len(value) > MAX_TEXT:
        raise InputError(f"{what} has at most {MAX_TEXT:,} characters, got {len(value):,}.")
    if is_required and not value:
        raise InputError(f"{what} is not empty.")
    if not is_encodable(value):
        raise InputError(f"{what} is a text that can be written as UTF-8, got {show(value)}.")


def is_encodable(value: str) -> bool:
    """Whether a text can be written as UTF-8; a text with lone surrogates cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_integer(value: object, what: str, *, least: int = 0, most: int = MAX_INT64) -> None:
    """Refuse a value that is not an integer from `least` to `most`, both included.

    Raises:
        InputError: the value is refused.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{what} is a whole number from {least:,} to {most:,}, got {show(value)}.")


def is_number(value: object) -> bool:
    """Whether a value is a float (also NaN or infinity), or an integer of at most 64 bits."""
    if isinstance(value, float):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT64


def check_seconds(value: Any, what: str) -> None:
    """Refuse a value that is not a number from 0 to `MAX_SECONDS`.

    Raises:
        InputError: the value is refused.
    """
    if not is_number(value) or not 0 <= value <= MAX_SECONDS:
        raise InputError(f"{what} is a number from 0 to {MAX_SECONDS:,.0f}, got {show(value)}.")


def check_kind(value: object, kind: type, what: str) -> None:
    """Refuse a value that is not a `kind`.

    Raises:
        InputError: the value is refused.
    """
    if not isinstance(value, kind):
        raise InputError(f"{what} is a {kind.__name__}, got {show(value)}.")


def check_texts(value: object, what: str) -> None:
    """Refuse a value that is not a mapping from text to text.

    Raises:
        InputError: the value is refused.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{what} are texts by name, got {show(value)}.")
    for name, text in value.items():
        check_text(name, f"A name among {what.lower()}")
        check_text(text, f"Each of {what.lower()}")


def show(value: object) -> str:
    """A value as an error message shows it: short, on one line, and never an error itself."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}… ({type(value).__name__})"
