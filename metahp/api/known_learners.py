"""The learners that a question is about: those that it names, or those that the knowledge base knows well."""

from collections.abc import Mapping, Sequence
from typing import Any

from metahp.learners.registry import LEARNERS, find_learner

# A learner is recommended only on request if it was measured on fewer tasks than this share of those of the most
# measured learner.
MIN_KNOWN_SHARE = 0.15


def choose_learners(names: str | Sequence[str] | None, totals: Mapping[str, Any]) -> tuple[str, ...]:
    """The distinct names of learners in `names`; without names, the well-known learners.

    Raises:
        UnknownNameError: no learner has one of the names.
    """
    if not names:
        return find_known_learners(totals)
    chosen = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in chosen:
        find_learner(name)
    return chosen


def find_known_learners(totals: Mapping[str, Any]) -> tuple[str, ...]:
    """Learners measured on at least `MIN_KNOWN_SHARE` of the tasks of the most measured learner.

    `totals` are those of a snapshot. If nothing is measured, all learners: the caller then reports what is missing.
    """
    tasks = {name: totals["defaults_by_learner"].get(name, 0) for name in LEARNERS}
    return tuple(name for name in LEARNERS if tasks[name] >= MIN_KNOWN_SHARE * max(tasks.values()))
