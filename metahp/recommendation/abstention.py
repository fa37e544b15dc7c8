"""When not to trust past tasks: the task is far larger or smaller than all of them, or no cheap model has skill."""

from collections.abc import Sequence

import numpy as np

from metahp.core.task import Task

# With fewer past tasks nothing can be said about similarity.
MIN_PAST_TASKS = 10
# Factors by which a count may exceed the past tasks' range. Rows get the larger one, because a larger table only
# changes how much of it is sampled.
ROWS_FACTOR, OTHER_FACTOR = 4.0, 2.0
# A cheap model has skill when its loss is lower than that of a constant prediction by at least this share. On white
# noise of 300 to 3,000 rows the best cheap model gets -.01 to .06; 98 % of the past tasks get more than .02.
LEAST_SKILL = 0.02

# Meta-features: log ratios of a cheap model's loss to that of a constant prediction.
_SKILLS = (
    "probe_skill",
    "landmark_linear",
    "landmark_neighbours",
    "landmark_stump",
    "landmark_shallow_tree",
    "landmark_naive_bayes",
)
# Meta-features of the probes that overfit least: log ratios of their loss to that of the reference probe.
_CAUTIOUS = ("probe_quarter", "probe_slow", "probe_four_leaves", "probe_ridge")


def find_reason_to_abstain(
    task: Task, past: Sequence[Task], metafeatures: np.ndarray, names: Sequence[str], *, has_copy: bool = False
) -> str:
    """The reason not to trust the past tasks, in words for the user; empty where they can be trusted.

    The distance of the meta-features to those of past tasks is not used: white noise lies among the past tasks, no
    farther from its nearest neighbour than they are from each other.

    Args:
        task: The new task.
        past: The past tasks.
        metafeatures: Of the new task, shape (m,).
        names: Names of the meta-features.
        has_copy: Whether a past task is a near copy; the skill of cheap models then does not matter.
    """
    if len(past) < MIN_PAST_TASKS:
        return f"only {len(past)} past tasks are known"
    for what, factor, value, past_values in (
        ("rows", ROWS_FACTOR, task.n_rows, [other.n_rows for other in past]),
        ("features", OTHER_FACTOR, task.n_features, [other.n_features for other in past]),
        ("classes", OTHER_FACTOR, max(task.n_classes, 1), [max(other.n_classes, 1) for other in past]),
        ("rows per class", ROWS_FACTOR, _count_rows_per_class(task), [_count_rows_per_class(other) for other in past]),
    ):
        lowest, highest = min(past_values), max(past_values)
        if not lowest / factor <= value <= highest * factor:
            return f"{value:,} {what} lie outside of what the past tasks have ({lowest:,} to {highest:,})"
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
    """Lowest log ratio of a cheap model's loss to that of a constant prediction; NaN where no cheap model was run."""
    reference = values.get("probe_skill", np.nan)
    ratios = [values.get(name, np.nan) for name in _SKILLS]
    ratios += [reference + values.get(name, np.nan) for name in _CAUTIOUS]
    return float(np.fmin.reduce(ratios))
