"""The learners that a question is about: those that it names, or those that the knowledge base knows well."""

from collections.abc import Mapping, Sequence
from typing import Any

from metahp.core.errors import InputError
from metahp.learners.registry import LEARNERS, find_learner

# A learner is recommended only on request if it was measured on fewer tasks than this share of those of the most
# measured learner.
MIN_KNOWN_SHARE = 0.15


def choose_learners(names: str | Sequence[str] | None, totals: Mapping[str, Any]) -> tuple[str, ...]:
    """The distinct names of learners in `names`; without names, the well-known learners that are installed.

    Raises:
        UnknownNameError: no learner has one of the names.
        InputError: the library of one is not installed.
    """
    if not names:
        return tuple(name for name in find_known_learners(totals) if not find_learner(name).explain_missing())
    chosen = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in chosen:
        if missing := find_learner(name).explain_missing():
            raise InputError(missing, argument="learners")
    return chosen


def find_known_learners(totals: Mapping[str, Any]) -> tuple[str, ...]:
    """Learners measured on at least `MIN_KNOWN_SHARE` of the tasks of the most measured learner.

    `totals` are those of a snapshot. If nothing is measured, all learners: the caller then reports what is missing.
    """
    tasks = {name: totals["defaults_by_learner"].get(name, 0) for name in LEARNERS}
    return tuple(name for name in LEARNERS if tasks[name] >= MIN_KNOWN_SHARE * max(tasks.values()))
