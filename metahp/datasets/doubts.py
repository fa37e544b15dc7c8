"""Find what a user should know of how a column of texts was read: what could have been meant otherwise."""

from collections.abc import Iterator

import numpy as np

from metahp.datasets.notation import PERCENTS, Notation
from metahp.datasets.portable import split_number


def find_doubts(texts: np.ndarray, counts: np.ndarray, notation: Notation | None) -> Iterator[str]:
    """Sentences that follow the name of a column, each with the cells that raise the doubt.

    Args:
        texts: Distinct texts of the column, none missing, shape (n,).
        counts: How often each is met, shape (n,).
        notation: How the column was read; None for categories.
    """
    if notation is not None and set(PERCENTS) & set(notation.units):
        yield from _doubt_percents(texts, notation)


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
