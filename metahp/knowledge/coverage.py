"""Counts, by learner, of the trials that this installation cannot use. They are never an error."""

import functools
from collections import Counter
from typing import Any

from metahp.core.metric import DEFAULT_METRIC
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.knowledge.snapshot import Snapshot
from metahp.learners.registry import LEARNERS


def count_unused(snapshot: Snapshot) -> dict[str, Any]:
    """Numbers of unusable trials on tables, by reason and learner.

    Reasons:
        trials_of_unknown_learners: This installation does not know the learner.
        trials_set_aside: The configuration cannot be converted to the current version of the learner's search space.
        trials_without_metric: The trial is complete, but has no loss of the default metric of its task's type.

    Trials of a user's own objectives are not counted: their search spaces are not stored.
    """
    # Cached for this call only: there are thousands of configurations.
    spaces = functools.cache(_find_spaces)
    unknown, aside, unmeasured = Counter[str](), Counter[str](), Counter[str]()
    for tally in snapshot.count_configurations(DEFAULT_METRIC):
        learner = tally.configuration.learner
        if learner not in LEARNERS:
            unknown[learner] += tally.n_trials
        elif not tally.configuration.is_outside and all(
            space.upgraded(tally.configuration) is None for space in spaces(learner, tally.task_type)
        ):
            aside[learner] += tally.n_trials
        else:
            unmeasured[learner] += tally.n_unmeasured
    counts = {
        "trials_of_unknown_learners": unknown,
        "trials_set_aside": aside,
        "trials_without_metric": unmeasured,
    }
    return {name: {learner: n for learner, n in sorted(count.items()) if n} for name, count in counts.items()}


def _find_spaces(learner: str, task_type: TaskType | None) -> tuple[SearchSpace, ...]:
    """The learner's search space for the task type; its spaces for all types if the type is None."""
    return tuple(LEARNERS[learner].space(kind) for kind in (TaskType if task_type is None else [task_type]))
