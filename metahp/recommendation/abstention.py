"""When past tasks are no guide: a task outside of what they have, or one on which nothing cheap has any skill."""

from collections.abc import Sequence

import numpy as np

from metahp.core.task import Task

# With fewer past tasks there is no telling which of them are similar.
MIN_PAST_TASKS = 10
# How far beyond the past tasks' range a number may lie. Rows get more: what changes is how much of them is sampled.
ROWS_FACTOR, OTHER_FACTOR = 4.0, 2.0
# A cheap model has skill when its loss is lower than that of a constant prediction by at least this share. White noise
# of 300 to 3,000 rows gets -.01 to .06 at best of them all, where 98 % of the past tasks get more than .02 of skill.
LEAST_SKILL = 0.02

# Meta-features that are a log ratio to the loss of a constant prediction.
_SKILLS = (
    "probe_skill",
    "landmark_linear",
    "landmark_neighbours",
    "landmark_stump",
    "landmark_shallow_tree",
    "landmark_naive_bayes",
)
# Log ratios to the reference probe, of the probes that overfit least.
_CAUTIOUS = ("probe_quarter", "probe_slow", "probe_four_leaves", "probe_ridge")


def find_reason_to_abstain(
    task: Task, past: Sequence[Task], metafeatures: np.ndarray, names: Sequence[str], *, has_copy: bool = False
) -> str:
    """Why the `past` tasks are no guide for `task`, as words for the user; empty where they are.

    Where a past task is a near copy of it (`has_copy`), that nothing cheap has any skill is no reason.

    That its meta-features (m,) called `names` lie far from those of all past tasks is no such reason: white noise lies
    in their midst, no farther from its nearest past task than these from each other.
    """
    if len(past) < MIN_PAST_TASKS:
        return f"only {len(past)} past tasks are known"
    for what, factor, value, seen in (
        ("rows", ROWS_FACTOR, task.n_rows, [other.n_rows for other in past]),
        ("features", OTHER_FACTOR, task.n_features, [other.n_features for other in past]),
        ("classes", OTHER_FACTOR, max(task.n_classes, 1), [max(other.n_classes, 1) for other in past]),
        ("rows per class", ROWS_FACTOR, _count_rows_per_class(task), [_count_rows_per_class(other) for other in past]),
    ):
        if not min(seen) / factor <= value <= max(seen) * factor:
            return f"{value:,} {what} lie outside of what the past tasks have ({min(seen):,} to {max(seen):,})"
    if has_copy:
        return ""
    best = _find_best_log_ratio(dict(zip(names, metafeatures.tolist(), strict=True)))
    if best > np.log1p(-LEAST_SKILL):
        return (
            "no cheap model predicts the target better than a constant does "
            f"(the best loss is {np.exp(best):.2f} times as high), so that nothing tells which past tasks are similar"
        )
    return ""


def _count_rows_per_class(task: Task) -> int:
    return task.n_rows // max(task.n_classes, 1)


def _find_best_log_ratio(values: dict[str, float]) -> float:
    """Lowest log ratio of a cheap model's loss to that of a constant prediction; NaN where none was run."""
    reference = values.get("probe_skill", np.nan)
    ratios = [values.get(name, np.nan) for name in _SKILLS]
    ratios += [reference + values.get(name, np.nan) for name in _CAUTIOUS]
    return float(np.fmin.reduce(ratios))
