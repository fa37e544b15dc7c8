"""Which trials of a knowledge base this installation has no use for: counted, by learner, and never an error."""

import functools
from collections import Counter
from typing import Any

from metahp.core.metric import DEFAULT_METRIC
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.knowledge.snapshot import Snapshot
from metahp.learners.registry import LEARNERS


def count_unused(snapshot: Snapshot) -> dict[str, Any]:
    """Numbers of trials on tables by learner, for what `Snapshot.totals` cannot tell.

    `trials_of_unknown_learners` are of learners that this installation does not know, `trials_set_aside` of
    configurations that no version of a learner's search space makes one of today's, and `trials_without_metric` are
    complete without a loss of the default metric of their task's type. A user's own objectives take no part: their
    spaces are not kept.
    """
    # Asked for thousands of configurations; kept no longer than that.
    spaces = functools.cache(_spaces)
    unknown, aside, unmeasured = Counter[str](), Counter[str](), Counter[str]()
    for tally in snapshot.count_configurations(DEFAULT_METRIC):
        learner = tally.configuration.learner
        if learner not in LEARNERS:
            unknown[learner] += tally.n_trials
        elif all(space.upgraded(tally.configuration) is None for space in spaces(learner, tally.task_type)):
            aside[learner] += tally.n_trials
        else:
            unmeasured[learner] += tally.n_unmeasured
    counts = {
        "trials_of_unknown_learners": unknown,
        "trials_set_aside": aside,
        "trials_without_metric": unmeasured,
    }
    return {name: {learner: n for learner, n in sorted(count.items()) if n} for name, count in counts.items()}


def _spaces(learner: str, task_type: TaskType | None) -> tuple[SearchSpace, ...]:
    """The learner's search space for the task type, those for all types where that is unknown."""
    return tuple(LEARNERS[learner].space(kind) for kind in (TaskType if task_type is None else [task_type]))
