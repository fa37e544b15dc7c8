"""Find categories that differ only by case and blanks, and how they are usually written."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from metahp.core.text import join_names
from metahp.datasets.portable import fold_text

MAX_QUOTED = 3


def find_spellings(texts: np.ndarray, counts: np.ndarray) -> dict[str, list[str]]:
    """All spellings of each category, the most frequent one as key and first; empty where each has one.

    Args:
        texts: Texts, none missing, shape (n,).
        counts: How often each is met, shape (n,).
    """
    totals: Counter[str] = Counter()
    for text, count in zip(texts, counts, strict=True):
        totals[str(text)] += int(count)
    groups: dict[str, list[str]] = defaultdict(list)
    for text in totals:
        groups[fold_text(text)].append(text)
    if len(groups) == len(totals):
        return {}
    spellings = [sorted(group, key=lambda text: (-totals[text], text)) for group in groups.values()]
    return {group[0]: group for group in spellings}


def are_usual(spellings: dict[str, list[str]]) -> bool:
    """Whether all are small letters, capitals or words with a capital: in `hId` beside `hid`, case has a meaning."""
    several = (text for group in spellings.values() if len(group) > 1 for text in group)
    return all(text in (text.lower(), text.upper(), text.title(), text.capitalize()) for text in several)


def describe_merged(spellings: dict[str, list[str]]) -> str:
    """A sentence that follows the name of a column whose spellings were merged."""
    read = [
        f"{join_names(map(repr, others), MAX_QUOTED)} as {usual!r}"
        for usual, (_, *others) in spellings.items()
        if others
    ]
    return f"holds categories in several spellings: {_join(read)}; `categorical` keeps them apart"


def describe_apart(spellings: dict[str, list[str]]) -> str:
    """A sentence that follows the name of a column whose spellings are categories of their own."""
    alike = [join_names(map(repr, group), MAX_QUOTED) for group in spellings.values() if len(group) > 1]
    return (
        f"holds categories that differ only by case or blanks: {_join(alike)} are read as different ones; where they "
        "mean the same, write them in one way"
    )


def _join(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - MAX_QUOTED} more" if len(parts) > MAX_QUOTED else ""
    return "; ".join(parts[:MAX_QUOTED]) + more
