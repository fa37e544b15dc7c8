"""The check of the text of a LightGBM model before LightGBM parses it.

LightGBM's parser trusts every number: it uses them as array indices, follows the children of a tree in circles, and
reads past the end of a line without `=`. So only text that our learner writes is accepted, key by key in LightGBM's
order. LightGBM gets only checked parts; importances and parameters are left out, as predictions do not need them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np

from metahp.learners.expected import Expected
from metahp.learners.untrusted import parse_json

# Sixteen times the maximum of the search space. This also limits the depth, as each split adds one leaf.
MAX_LEAVES = 4096
MAX_INT = 2**31 - 1
# Bits of a split's decision type: bit 1 is set for a split by category, bit 2 if missing values go left; bits 3 and 4
# encode which values are missing (none, zero or NaN). A split by category sends missing values to the right.
IS_CATEGORICAL = 1
DECISION_TYPES = (0, 2, 4, 6, 8, 10, 1, 5, 9)

_HEADER = (
    *("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective"),
    *("feature_names", "feature_infos", "tree_sizes"),
)
# After the names of the features comes a line that only a model with monotone constraints has.
_MONOTONE = _HEADER.index("feature_infos")
_SPLITS = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
_NODES = ("internal_value", "internal_weight", "internal_count")
_CATEGORIES = ("cat_boundaries", "cat_threshold")
# Numbers of any value: only their count and format are checked here. Thresholds of splits by category are indices, and
# `_check_categorical` checks them.
_FLOATS = ("split_gain", "threshold", "internal_value", "internal_weight")

_INTEGER = rb"-?\d{1,10}"
_NUMBER = rb"[-+]?(?:\d{1,20}(?:\.\d{1,25})?(?:e[-+]?\d{1,3})?|inf|nan)"
# Possessive quantifiers (`*+`) refuse a long line with an error at its end without backtracking.
_INTEGERS_LINE = re.compile(rb"%b(?: %b)*+" % (_INTEGER, _INTEGER))
_NUMBERS_LINE = re.compile(rb"%b(?: %b)*+" % (_NUMBER, _NUMBER))
_FEATURE_INFO = re.compile(rb"none|\[%b:%b\]|%b(?::%b)*+" % (_NUMBER, _NUMBER, _INTEGER, _INTEGER))
_IMPORTANCE = re.compile(rb"[^=]+=\d{1,10}")
_PARAMETER = re.compile(rb"\[([a-z_0-9]{1,60}): (.*)\]")
# Values of parameters that our learner may give; others would need other checks.
_PARAMETERS = {b"boosting": (b"gbdt", b"dart"), b"linear_tree": (b"0",)}
# Objectives of a regression, which the text has under the same names.
OBJECTIVES = ("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie")


def check_text(data: bytes, expected: Expected) -> str:
    """A text that LightGBM can load safely; its booster predicts exactly as a booster from `data` would.

    Raises:
        ValueError: our learner does not write such a text for the expected model.
    """
    head, blank, trees = data.partition(b"\n\n")
    first_line, _, fields = head.partition(b"\n")
    if first_line != b"tree" or not blank:
        raise ValueError("expected a first line 'tree' and a header")
    signs = expected.configuration.hyperparameters.get("monotone_constraints")
    names = _HEADER if signs is None else (*_HEADER[:_MONOTONE], "monotone_constraints", *_HEADER[_MONOTONE:])
    header = _parse_fields(fields.split(b"\n"), names, "header")
    if signs is not None:
        if header["monotone_constraints"] != str(signs).replace(",", " ").encode():
            raise ValueError(f"expected the monotone constraints {signs}, found others")
        _parse_integers(header, "monotone_constraints", len(expected.features), -1, 1)
    n_trees_per_iteration = _check_header(header, expected)
    n_trees = header["tree_sizes"].count(b" ") + 1 if header["tree_sizes"] else 0
    sizes = _parse_integers(header, "tree_sizes", n_trees, lowest=1).tolist()
    if n_trees % n_trees_per_iteration:
        raise ValueError(f"expected a multiple of {n_trees_per_iteration} trees, found {n_trees}")
    end = 0
    for index, size in enumerate(sizes):
        try:
            _check_tree(trees[end : end + size], index, len(expected.features))
        except ValueError as error:
            raise ValueError(f"tree {index}: {error}") from None
        end += size
    categories = [list(expected.categories[name]) for name in expected.categorical]
    if _parse_categories(trees[end:]) != categories:
        raise ValueError("expected the categories of preparation.json, found others")
    checked = data[: len(head) + len(blank) + end].decode()
    return f"{checked}end of trees\n\npandas_categorical:{json.dumps(categories)}\n"


def count_trees_per_iteration(expected: Expected) -> int:
    """Number of trees of one iteration: one per class if there are three or more, else one."""
    return expected.n_classes if expected.n_classes > 2 else 1


def _format_objective(expected: Expected) -> str:
    if expected.n_classes > 2:
        return f"multiclass num_class:{expected.n_classes}"
    if expected.n_classes:
        return "binary sigmoid:1"
    given = expected.configuration.hyperparameters.get("objective")
    return given if isinstance(given, str) and given in OBJECTIVES else OBJECTIVES[0]


def _check_header(header: Mapping[str, bytes], expected: Expected) -> int:
    count = count_trees_per_iteration(expected)
    required = {
        "version": "v4",
        "num_class": str(count),
        "num_tree_per_iteration": str(count),
        "label_index": "0",
        "max_feature_idx": str(len(expected.features) - 1),
        "objective": _format_objective(expected),
        "feature_names": " ".join(expected.features),
    }
    for name, value in required.items():
        if header[name] != value.encode():
            raise ValueError(f"expected {name}={value[:60]}, found {_abbreviate(header[name])}")
    infos = header["feature_infos"].split(b" ")
    if len(infos) != len(expected.features) or not all(map(_FEATURE_INFO.fullmatch, infos)):
        raise ValueError(f"expected feature_infos of {len(expected.features)} features")
    return count


def _check_tree(block: bytes, index: int, n_features: int) -> None:
    head, *lines = block.split(b"\n")
    if head != b"Tree=%d" % index or lines[-3:] != [b"", b"", b""]:
        raise ValueError(f"expected a tree of the size in tree_sizes, found {_abbreviate(head)}")
    counts = _parse_fields(lines[:2], ("num_leaves", "num_cat"), "tree")
    n_leaves = int(_parse_integers(counts, "num_leaves", 1, 1, MAX_LEAVES)[0])
    n_categorical = int(_parse_integers(counts, "num_cat", 1, 0, n_leaves - 1)[0])
    names = (*_SPLITS, *_LEAVES, *_NODES, *(_CATEGORIES if n_categorical else ()), "is_linear", "shrinkage")
    fields = _parse_fields(lines[2:-3], names, "tree")
    if fields["is_linear"] != b"0":
        raise ValueError("expected is_linear=0, a tree without linear models")
    _check_numbers(fields, "shrinkage", 1)
    _check_leaves(fields, n_leaves)
    _parse_integers(fields, "internal_count", n_leaves - 1)
    for name in _FLOATS:
        _check_numbers(fields, name, n_leaves - 1)
    _parse_integers(fields, "split_feature", n_leaves - 1, 0, n_features - 1)
    _check_children(fields, n_leaves)
    _check_categorical(fields, n_leaves, n_categorical)


def _check_leaves(fields: Mapping[str, bytes], n_leaves: int) -> None:
    _check_numbers(fields, "leaf_value", n_leaves)
    _parse_integers(fields, "leaf_count", n_leaves)
    # A tree without a split may have no weight.
    _check_numbers(fields, "leaf_weight", n_leaves if n_leaves > 1 or fields["leaf_weight"] else 0)


def _check_children(fields: Mapping[str, bytes], n_leaves: int) -> None:
    """Each child must come after its parent and have only one; nodes are numbered from 0, leaves from -1 downwards."""
    n_nodes = n_leaves - 1
    children = [
        _parse_integers(fields, name, n_nodes, -n_leaves, n_nodes - 1) for name in ("left_child", "right_child")
    ]
    nodes = np.arange(n_nodes)
    if any(((side >= 0) & (side <= nodes)).any() for side in children):
        raise ValueError("expected that children come after their parents, found a circle")
    all_but_root = np.concatenate([np.arange(-n_leaves, 0), np.arange(1, n_nodes)])
    if n_nodes and not np.array_equal(np.sort(np.concatenate(children)), all_but_root):
        raise ValueError("expected one parent for each node and leaf")


def _check_categorical(fields: Mapping[str, bytes], n_leaves: int, n_categorical: int) -> None:
    """The threshold of a split by category must be its number among such splits, which selects its bit set."""
    decisions = _parse_integers(fields, "decision_type", n_leaves - 1)
    if not np.isin(decisions, DECISION_TYPES).all():
        raise ValueError(f"expected decision_type to be one of {DECISION_TYPES}")
    thresholds = fields["threshold"].split(b" ")
    numbers = [thresholds[node] for node in np.flatnonzero(decisions & IS_CATEGORICAL)]
    if numbers != [b"%d" % number for number in range(n_categorical)]:
        raise ValueError(f"expected {n_categorical} splits by category with thresholds counted from 0")
    if n_categorical:
        sets = fields["cat_threshold"]
        n_words = sets.count(b" ") + 1
        _parse_integers(fields, "cat_threshold", n_words, 0, 2**32 - 1)
        boundaries = _parse_integers(fields, "cat_boundaries", n_categorical + 1)
        if boundaries[0] != 0 or boundaries[-1] != n_words or (np.diff(boundaries) <= 0).any():
            raise ValueError(f"expected cat_boundaries that rise from 0 to {n_words}")


def _parse_categories(tail: bytes) -> object:
    """The categories at the end of the text after the trees; all other lines of it are checked too."""
    lines = tail.split(b"\n")
    if lines[:3] != [b"end of trees", b"", b"feature_importances:"]:
        raise ValueError(f"expected the end of trees, found {_abbreviate(lines[0])}")
    importances, parameters = lines[3:-3], []
    if b"parameters:" in importances:
        start = importances.index(b"parameters:")
        importances, parameters = importances[: start - 1], importances[start + 1 :]
        if lines[2 + start] or parameters[-2:] != [b"", b"end of parameters"]:
            raise ValueError("expected a blank line, parameters and their end")
    if not all(map(_IMPORTANCE.fullmatch, importances)):
        raise ValueError("expected a number for each feature importance")
    _check_parameters(parameters[:-2])
    blank, last, end = lines[-3:]
    name, _, value = last.partition(b":")
    if blank or end or name != b"pandas_categorical":
        raise ValueError("expected a last line pandas_categorical")
    return parse_json(value)


def _check_parameters(lines: Sequence[bytes]) -> None:
    for line in lines:
        match = _PARAMETER.fullmatch(line)
        if match is None or match[2] not in _PARAMETERS.get(match[1], (match[2],)):
            raise ValueError(f"expected parameters of our learner, found {_abbreviate(line)}")


def _parse_fields(lines: Sequence[bytes], names: Sequence[str], part: str) -> dict[str, bytes]:
    """The values of the `name=value` lines, which must have exactly these names in this order."""
    values = {}
    for name, line in zip_longest(names, lines):
        key, equals, value = (line or b"").partition(b"=")
        if name is None or key != name.encode() or not equals:
            raise ValueError(f"expected {name or 'the end'} in the {part}, found {_abbreviate(line or b'the end')}")
        values[name] = value
    return values


def _parse_integers(
    fields: Mapping[str, bytes], name: str, count: int, lowest: int = -MAX_INT, highest: int = MAX_INT
) -> np.ndarray:
    """The integers of a line, shape (count,), all within the bounds."""
    _check_tokens(fields, name, count, _INTEGERS_LINE)
    numbers = np.array(fields[name].split(), dtype=np.int64)
    if count and not lowest <= numbers.min() <= numbers.max() <= highest:
        raise ValueError(f"expected {name} from {lowest} to {highest}, found {numbers.min()} to {numbers.max()}")
    return numbers


def _check_numbers(fields: Mapping[str, bytes], name: str, count: int) -> None:
    _check_tokens(fields, name, count, _NUMBERS_LINE)


def _check_tokens(fields: Mapping[str, bytes], name: str, count: int, line: re.Pattern[bytes]) -> None:
    value = fields[name]
    if not (line.fullmatch(value) and value.count(b" ") == count - 1 if count else value == b""):
        raise ValueError(f"expected {count} number(s) as {name}, found {_abbreviate(value)}")


def _abbreviate(value: bytes) -> str:
    return repr(value[:40].decode(errors="replace"))
