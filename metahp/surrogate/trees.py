"""A LightGBM ensemble taken apart: many tasks with many candidates, for what both cost instead of their product.

A leaf is reached by a task and a candidate together: the task passes the tests of meta-features on the way to it, and
the candidate those of hyperparameters. With A (t, l) for what the tasks pass, B (l, c) for the candidates and the
leaves' values v, a tree says A diag(v) B, where walking it takes as many steps as there are pairs of the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Bits of LightGBM's `decision_type`: whether missing values go left, and whether NaN is one of them; else it is 0.
_DEFAULT_LEFT, _MISSING_TYPE, _IS_NAN = 2, 12, 8
# Lines of the text that no prediction needs, those that Shapley values need, and the digits of others that are kept.
_UNUSED = frozenset({"tree_sizes", "split_gain", "leaf_weight", "internal_value", "internal_weight"})
_COUNTS = frozenset({"leaf_count", "internal_count"})
_DIGITS = {"threshold": 8, "leaf_value": 6}
# LightGBM's threshold between zero and what is above it.
_TINY = 1e-30
# Enough for one product of matrices to be worth its call, few enough to stay in a processor's cache.
TREES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tree:
    """Tests in an order in which parents come first; children below zero are leaves, -1 being the first.

    `nan_goes_left` says where a missing value goes; all arrays but `values` (l,) have one entry per test.
    """

    features: np.ndarray
    thresholds: np.ndarray
    nan_goes_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    values: np.ndarray


def compact_text(text: str, *, has_counts: bool) -> str:
    """The text of a model without what no prediction needs, and with fewer digits: half as long, and read as fast.

    Shapley values need the counts of rows that came by each test.
    """
    lines = []
    for line in text.splitlines():
        key, _, numbers = line.partition("=")
        if key in _UNUSED or (key in _COUNTS and not has_counts):
            continue
        if key in _DIGITS:
            shortened = (
                number if abs(float(number)) < _TINY else f"{float(number):.{_DIGITS[key]}g}"
                for number in numbers.split()
            )
            line = f"{key}={' '.join(shortened)}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def read_trees(text: str) -> list[Tree]:
    """The trees of a model in LightGBM's text format, all of whose features are numbers."""
    return [_read_tree(block) for block in text.split("\nTree=")[1:]]


def _read_tree(block: str) -> Tree:
    lines = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)

    def column(name: str, kind: type) -> np.ndarray:
        return np.array(lines.get(name, "").split(), dtype=kind)

    thresholds, decisions = column("threshold", float), column("decision_type", int)
    by_default = (decisions & _DEFAULT_LEFT) > 0
    nan_goes_left = np.where((decisions & _MISSING_TYPE) == _IS_NAN, by_default, thresholds >= 0)
    return Tree(
        features=column("split_feature", int),
        thresholds=thresholds,
        nan_goes_left=nan_goes_left,
        left=column("left_child", int),
        right=column("right_child", int),
        values=column("leaf_value", float),
    )


def predict_trees(trees: Sequence[Tree], metafeatures: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """What the ensemble predicts for every task with every candidate, shape (t, c).

    Args:
        trees: Their first m features are meta-features, the others those of the candidates.
        metafeatures: Shape (t, m); NaN where unknown.
        encoded: Candidates, shape (c, d).
    """
    return _sum_predictions(trees, metafeatures, encoded, np.eye(len(metafeatures)))


def average_trees(trees: Sequence[Tree], metafeatures: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """The mean of `predict_trees` over the tasks, shape (c,)."""
    return _sum_predictions(trees, metafeatures, encoded, np.full((1, len(metafeatures)), 1 / len(metafeatures)))[0]


def _sum_predictions(
    trees: Sequence[Tree], metafeatures: np.ndarray, encoded: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Sums of the predictions over the tasks, with `weights` (s, t), shape (s, c)."""
    n_metafeatures = metafeatures.shape[1]
    tasks, candidates = np.ascontiguousarray(metafeatures.T), np.ascontiguousarray(encoded.T)
    total = np.zeros((len(weights), len(encoded)))
    for start in range(0, len(trees), TREES_AT_ONCE):
        block = trees[start : start + TREES_AT_ONCE]
        values = np.concatenate([tree.values for tree in block])
        passed = np.concatenate([_find_passed(tree, tasks, 0) for tree in block])
        reached = np.concatenate([_find_passed(tree, candidates, n_metafeatures) for tree in block])
        total += (weights @ passed.T * values) @ reached
    return total


def _find_passed(tree: Tree, columns: np.ndarray, first: int) -> np.ndarray:
    """Which rows pass all tests of features `first` and up on the way to each leaf, (l, n), for `columns` (p, n)."""
    passed = np.ones((2 * len(tree.values) - 1, columns.shape[1]))
    # Tests from the first row on, leaves from the last row back: their places are those that children are known by.
    for test, (feature, left, right) in enumerate(zip(tree.features, tree.left, tree.right, strict=True)):
        passed[left] = passed[right] = passed[test]
        if first <= feature < first + len(columns):
            values = columns[feature - first]
            goes_left = np.where(np.isnan(values), tree.nan_goes_left[test], values <= tree.thresholds[test])
            passed[left] *= goes_left
            passed[right] *= ~goes_left
    return passed[: -len(tree.values) - 1 : -1]
