"""Find where the header of a table stands among the first rows of a file, and the names of the columns."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten

from metahp.datasets.portable import MISSING, split_number

_COMMENT = re.compile(r"\s*(#|%|//|;;)")
# At least this share of the rows has the usual number of fields, or the file is no table.
MIN_USUAL_SHARE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The header of a table.

    Attributes:
        names: Names of the columns as they stand in the file.
        first: Index of the first row of values among the rows that were looked at.
        is_plain: Whether the first row is the header and the second holds values.
        warnings: One line for each thing that a user should know.
    """

    names: tuple[str, ...]
    first: int
    is_plain: bool = True
    warnings: tuple[str, ...] = ()


def find_usual_width(rows: Sequence[Sequence[str]]) -> tuple[int, float]:
    """The most frequent number of fields, and the share of the rows that have it; of equals the larger number."""
    if not rows:
        return 0, 0.0
    width, count = max(Counter(map(len, rows)).items(), key=lambda item: (item[1], item[0]))
    return width, count / len(rows)


def find_layout(rows: Sequence[Sequence[str]]) -> Layout:
    """The layout of a table from its first rows, which are not blank.

    Lines of a title and comments before the header are left out, and so is a second header row (questions of a survey,
    units). A header that lacks the name of the first column (as R writes it) or of a last empty one gets a name more.
    """
    width, share = find_usual_width(rows[1:] or rows)
    start = 0
    if share >= MIN_USUAL_SHARE and width > 1:
        while start < len(rows) - 2 and _is_title(rows[start], width):
            start += 1
    header, warnings = [cell.strip() for cell in rows[start]], []
    if start:
        quoted = shorten(" ".join(" ".join(rows[0]).split()), 40, placeholder=" …")
        warnings.append(f"{start} line{'s' if start > 1 else ''} before the header left out, such as '{quoted}'")
    first = start + 1
    if first + 1 < len(rows) and _is_second_header(rows[first], rows[first + 1 :], len(header)):
        second = [cell.strip() for cell in rows[first]]
        quoted = shorten(", ".join(second), 40, placeholder=" …")
        if len(set(header)) == len(header) and all(header):
            warnings.append(f"the second row is read as a second header and left out: {quoted}")
        else:
            header = _join_headers(header, second)
            warnings.append(f"two header rows are read as one: {shorten(', '.join(header), 40, placeholder=' …')}")
        first += 1
    values = rows[first:]
    if len(header) == width - 1 and values and share >= MIN_USUAL_SHARE and all(len(row) == width for row in values):
        if all(not row[-1].strip() for row in values):
            header = [*header, ""]
        elif len({row[0] for row in values}) == len(values):
            header = ["row_name", *header]
            warnings.append("the header names one column less than the rows have, so the first is called row_name")
    is_plain = first == 1 and len(header) == len(rows[0])
    return Layout(names=tuple(header), first=first, is_plain=is_plain, warnings=tuple(warnings))


def _is_title(row: Sequence[str], width: int) -> bool:
    n_full = sum(bool(cell.strip()) for cell in row)
    if _COMMENT.match(row[0]) and (len(row) != width or n_full < width):
        return True
    return n_full <= max(1, width // 3) and (len(row) != width or n_full == 1) and len(row) != width - 1


def _is_second_header(row: Sequence[str], values: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a row holds words where all rows below it hold numbers."""
    if len(row) != width or any(re.fullmatch(r"[-+]?[\d.,]+", cell.strip()) for cell in row):
        return False
    n_numeric = n_words = 0
    for index, cell in enumerate(row):
        below = [line[index].strip() for line in values if index < len(line)]
        present = [text for text in below if text not in MISSING]
        if len(present) > 1 and all(_is_number(text) for text in present):
            n_numeric += 1
            n_words += cell.strip() not in MISSING and not _is_number(cell.strip())
    return n_words >= 2 and 2 * n_words >= n_numeric


def _is_number(text: str) -> bool:
    return any(mark.isdigit() for mark in text) and (
        split_number(text) is not None or split_number(text, ",") is not None
    )


def _join_headers(top: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names of two header rows: the lower ones where they differ, else with the upper ones before them."""
    if len(set(names)) == len(names) and all(names):
        return list(names)
    joined, last = [], ""
    for upper, lower in zip(top, names, strict=True):
        last = upper or last
        joined.append("_".join(part for part in (last, lower) if part))
    return joined
