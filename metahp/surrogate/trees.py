"""Fast predictions of a LightGBM ensemble for all pairs of many tasks and many candidates.

A pair of task and candidate reaches a leaf if the task passes all tests of meta-features on the path to it, and the
candidate passes all tests of hyperparameters. Let A (t, l) say which leaves each task can reach, B (l, c) which leaves
each candidate can reach, and let v be the leaves' values. Then a tree predicts A diag(v) B; no pair has to be walked
through the tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Bits of LightGBM's `decision_type`: whether missing values go left, and whether NaN is missing; otherwise NaN is 0.
_DEFAULT_LEFT, _MISSING_TYPE, _IS_NAN = 2, 12, 8
# Lines of the model text that no prediction needs, lines that only Shapley values need, and digits kept in others.
_UNUSED = frozenset({"tree_sizes", "split_gain", "leaf_weight", "internal_value", "internal_weight"})
_COUNTS = frozenset({"leaf_count", "internal_count"})
_DIGITS = {"threshold": 8, "leaf_value": 6}
# A threshold closer to zero than this is LightGBM's own constant between zero and positive values.
_TINY = 1e-30
# Large enough that one matrix product outweighs its overhead, small enough for a processor's cache.
TREES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tree:
    """A decision tree; parents come before their children.

    Attributes:
        features: Index of the tested feature, one per test.
        thresholds: A value up to this goes left, one per test.
        nan_goes_left: Whether a missing value goes left, one per test.
        left: Left child, one per test: the index of a test, or below zero a leaf (-1 is the first).
        right: Right child, in the same form.
        values: Values of the leaves, shape (l,).
    """

    features: np.ndarray
    thresholds: np.ndarray
    nan_goes_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    values: np.ndarray


def compact_text(text: str, *, has_counts: bool) -> str:
    """The text of a model without unneeded lines and digits: half as long, and as fast to read.

    With `has_counts` it keeps the number of rows at each node, which Shapley values need.
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
    """Predictions of the ensemble for every task and candidate, shape (t, c).

    Args:
        trees: Trees whose first m features are meta-features and whose others describe candidates.
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
    """Sums of the predictions over tasks, weighted by `weights` (s, t), shape (s, c)."""
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
    """1 where a row passes all tests of features from `first` on before a leaf, else 0, (l, n); `columns` (p, n)."""
    passed = np.ones((2 * len(tree.values) - 1, columns.shape[1]))
    # Tests fill rows from the start, leaves from the end backwards, so that a child's number is its row.
    for test, (feature, left, right) in enumerate(zip(tree.features, tree.left, tree.right, strict=True)):
        passed[left] = passed[right] = passed[test]
        if first <= feature < first + len(columns):
            values = columns[feature - first]
            goes_left = np.where(np.isnan(values), tree.nan_goes_left[test], values <= tree.thresholds[test])
            passed[left] *= goes_left
            passed[right] *= ~goes_left
    return passed[: -len(tree.values) - 1 : -1]
