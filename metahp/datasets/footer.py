"""Find lines of totals and notes at the end of a file, which are no rows."""

import re
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

from metahp.datasets.columns import ColumnRules, parse_column
from metahp.datasets.portable import MISSING

_AGGREGATES = {
    "sum": r"totals?|sums?|totale|totaal|totaux|gesamt(?:summe)?|insgesamt|summe|somme|suma|somma|итого",
    "mean": r"averages?|avg|means?|mittelwert|durchschnitt|moyenne|promedio|gemiddelde|среднее",
    "median": r"median",
    "min": r"min(?:imum)?",
    "max": r"max(?:imum)?",
    "std": r"std\.?(?: ?dev\.?)?|stdev|standard deviation",
    "count": r"counts?",
}
_LABEL = re.compile(
    r"(?:(?:grand|sub|over ?all|column|general|final|net)[ -]?)*"
    rf"(?:{'|'.join(f'(?P<{name}>{words})' for name, words in _AGGREGATES.items())})"
    r"(?:\s*[:(=].*|\s+(?:of\s.{0,20}|all|overall|general|rows?|records?|sales|amount|value))?",
    re.IGNORECASE,
)
_NOTE = re.compile(
    r"(?:sources?|notes?|generated|exported|created|copyright|legend|quelle|remarks?|footnotes?|end of"
    r"|\d+ (?:rows|records))\b"
    r"|[*†©]|\[\d\]|\(\d\)",
    re.IGNORECASE,
)
MAX_LINES = 5
# With fewer rows above it nothing shows that a line is none of them.
MIN_ROWS_ABOVE = 5
# A column is full where at least this share of its cells holds something, and numbers where this share are some.
MOST = 0.9
# Totals are rounded.
TOLERANCE = 0.005


def looks_like_footer(row: Sequence[object]) -> bool:
    """Whether the first cell that is not empty says that the line is a total or a note."""
    first = next((text for cell in row if (text := _write(cell))), "")
    return _LABEL.fullmatch(first) is not None or _NOTE.match(first) is not None


def find_footer(frame: pd.DataFrame, rules: ColumnRules, target: str | None = None) -> tuple[int, tuple[str, ...]]:
    """How many lines at the end are no rows, and a line for the user.

    A line counts where it is called a total, a mean or a note as no other row is, and where it does not fit: most
    of its cells are empty, it has a word among numbers, no target, or the sums or means of the columns.

    Args:
        frame: The raw frame of a file, names unchanged.
        rules: How its cells become values.
        target: Name of the target; None where it is not known.
    """
    start = len(frame)
    while start > len(frame) - MAX_LINES and start > MIN_ROWS_ABOVE and _could_be_footer(frame.iloc[start - 1]):
        start -= 1
    above = frame.iloc[:start]
    while start < len(frame) and not _is_footer(above, frame.iloc[start], frame, rules, target):
        start += 1
    lines = [frame.iloc[index].tolist() for index in range(start, len(frame))]
    lines = [line for line in lines if any(map(_write, line))]
    if not lines:
        return 0, ()
    quoted = shorten(", ".join(_write(cell) for cell in lines[0]), 60, placeholder=" …")
    count = "line is" if len(lines) == 1 else f"{len(lines)} lines are"
    return len(frame) - start, (f"the last {count} left out as totals or notes, which are no rows: '{quoted}'",)


def _write(cell: Any) -> str:
    """The text of a cell; empty where it is missing."""
    if not isinstance(cell, str):
        return "" if pd.api.types.is_scalar(cell) and pd.isna(cell) else str(cell)
    text = cell.strip()
    return "" if text in MISSING else text


def _could_be_footer(row: pd.Series) -> bool:
    texts = [text for cell in row.tolist() if (text := _write(cell))]
    return not texts or looks_like_footer(texts) or any(isinstance(x, str) and _LABEL.fullmatch(x) for x in texts)


def _is_footer(
    above: pd.DataFrame, row: pd.Series, frame: pd.DataFrame, rules: ColumnRules, target: str | None
) -> bool:
    cells = [_write(cell) for cell in row.tolist()]
    filled = [index for index, text in enumerate(cells) if text]
    if not filled:
        return True
    label = next((index for index in filled if _LABEL.fullmatch(cells[index])), None)
    if label is None:
        return len(filled) == 1 and len(cells) > 2 and _NOTE.match(cells[filled[0]]) is not None
    column = above.iloc[:, label]
    if any(_write(cell).casefold() == cells[label].casefold() for cell in column.tolist()):
        return False
    is_full = above.notna().mean().to_numpy() >= MOST
    expected = [index for index in range(len(cells)) if is_full[index] and index != label]
    n_empty = sum(not cells[index] for index in expected)
    if expected and 2 * n_empty >= len(expected):
        return True
    if target is not None and target in frame.columns and not _write(row[target]):
        return True
    # A word among numbers; the numbers may be read as text because of this very word.
    parsed = parse_column(column.reset_index(drop=True), rules)
    if not isinstance(parsed.cells.dtype, pd.CategoricalDtype) and parsed.cells.notna().mean() >= MOST:
        return True
    return _has_aggregates(above, row, label, rules)


def _has_aggregates(above: pd.DataFrame, row: pd.Series, label: int, rules: ColumnRules) -> bool:
    """Whether at least half of the numbers of a line are what its label says of the numbers above them."""
    match = _LABEL.fullmatch(_write(row.iloc[label]))
    assert match is not None
    names = {match.lastgroup} | ({"mean"} if match.lastgroup == "sum" else set())
    n_same = n_numbers = 0
    for index in range(above.shape[1]):
        cells = pd.concat([above.iloc[:, index], row.iloc[[index]]], ignore_index=True)
        parsed = parse_column(cells, rules) if index != label else None
        if parsed is None or not parsed.is_number:
            continue
        values = parsed.cells.to_numpy(dtype=float)
        present = values[:-1][np.isfinite(values[:-1])]
        if not np.isfinite(values[-1]) or not len(present) or np.ptp(present) == 0:
            continue
        n_numbers += 1
        results = [float(getattr(pd.Series(present), str(name))()) for name in names]
        n_same += any(np.isclose(values[-1], result, rtol=TOLERANCE, atol=0) for result in results)
    return 0 < n_numbers <= 2 * n_same
