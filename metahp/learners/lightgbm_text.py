"""The text of a LightGBM model, checked before LightGBM's own parser sees it, which trusts every number.

That parser indexes arrays by what it reads, follows the children of a tree in circles, and runs past the end of a line
that lacks `=`. So only what our learner writes is accepted, key by key in LightGBM's own order, and LightGBM gets the
parts that were checked and no others: importances and parameters are left out, as no prediction needs them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np

from metahp.learners.expected import Expected
from metahp.learners.untrusted import parse_json

# Sixteen times what the search space allows; it also bounds the depth, as each split adds one leaf.
MAX_LEAVES = 4096
MAX_INT = 2**31 - 1
# Of a split: bit 1 says that it is one of categories, bit 2 that missing values go left, bits 3 and 4 what is missing
# (nothing, zero or NaN). A split of categories sends missing values right.
IS_CATEGORICAL = 1
DECISION_TYPES = (0, 2, 4, 6, 8, 10, 1, 5, 9)

_HEADER = (
    *("version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective"),
    *("feature_names", "feature_infos", "tree_sizes"),
)
_SPLITS = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
_NODES = ("internal_value", "internal_weight", "internal_count")
_CATEGORIES = ("cat_boundaries", "cat_threshold")
# Not needed to predict, so they need no more than the right number of tokens that are numbers.
_FLOATS = ("split_gain", "threshold", "internal_value", "internal_weight")

_INTEGER = rb"-?\d{1,10}"
_NUMBER = rb"[-+]?(?:\d{1,20}(?:\.\d{1,25})?(?:e[-+]?\d{1,3})?|inf|nan)"
# Possessive (`*+`): a long line that is wrong at its end is refused at once.
_INTEGERS_LINE = re.compile(rb"%b(?: %b)*+" % (_INTEGER, _INTEGER))
_NUMBERS_LINE = re.compile(rb"%b(?: %b)*+" % (_NUMBER, _NUMBER))
_FEATURE_INFO = re.compile(rb"none|\[%b:%b\]|%b(?::%b)*+" % (_NUMBER, _NUMBER, _INTEGER, _INTEGER))
_IMPORTANCE = re.compile(rb"[^=]+=\d{1,10}")
_PARAMETER = re.compile(rb"\[([a-z_0-9]{1,60}): (.*)\]")
# What the learner leaves at LightGBM's default, and other trees would need another check.
_PARAMETERS = {b"boosting": b"gbdt", b"linear_tree": b"0"}


def checked_text(data: bytes, expected: Expected) -> str:
    """The text that LightGBM may load; a booster of it predicts exactly what one of `data` does.

    Raises:
        ValueError: it is no text that our learner writes for a model as `expected`.
    """
    head, blank, rest = data.partition(b"\n\n")
    first, _, fields = head.partition(b"\n")
    if first != b"tree" or not blank:
        raise ValueError("expected a first line 'tree' and a header")
    header = _fields(fields.split(b"\n"), _HEADER, "header")
    n_trees_per_iteration = _check_header(header, expected)
    n_trees = header["tree_sizes"].count(b" ") + 1 if header["tree_sizes"] else 0
    sizes = _integers(header, "tree_sizes", n_trees, lowest=1).tolist()
    if n_trees % n_trees_per_iteration:
        raise ValueError(f"expected a multiple of {n_trees_per_iteration} trees, found {n_trees}")
    end = 0
    for index, size in enumerate(sizes):
        try:
            _check_tree(rest[end : end + size], index, len(expected.features))
        except ValueError as error:
            raise ValueError(f"tree {index}: {error}") from None
        end += size
    categories = [list(expected.categories[name]) for name in expected.categorical]
    if _categories(rest[end:]) != categories:
        raise ValueError("expected the categories of preparation.json, found others")
    kept = data[: len(head) + len(blank) + end].decode()
    return f"{kept}end of trees\n\npandas_categorical:{json.dumps(categories)}\n"


def n_models(expected: Expected) -> int:
    """The number of trees of one iteration: one for each of three or more classes, else one."""
    return expected.n_classes if expected.n_classes > 2 else 1


def _objective(expected: Expected) -> str:
    if expected.n_classes > 2:
        return f"multiclass num_class:{expected.n_classes}"
    return "binary sigmoid:1" if expected.n_classes else "regression"


def _check_header(header: Mapping[str, bytes], expected: Expected) -> int:
    count = n_models(expected)
    wanted = {
        "version": "v4",
        "num_class": str(count),
        "num_tree_per_iteration": str(count),
        "label_index": "0",
        "max_feature_idx": str(len(expected.features) - 1),
        "objective": _objective(expected),
        "feature_names": " ".join(expected.features),
    }
    for name, value in wanted.items():
        if header[name] != value.encode():
            raise ValueError(f"expected {name}={value[:60]}, found {_shown(header[name])}")
    infos = header["feature_infos"].split(b" ")
    if len(infos) != len(expected.features) or not all(map(_FEATURE_INFO.fullmatch, infos)):
        raise ValueError(f"expected feature_infos of {len(expected.features)} features")
    return count


def _check_tree(block: bytes, index: int, n_features: int) -> None:
    head, *lines = block.split(b"\n")
    if head != b"Tree=%d" % index or lines[-3:] != [b"", b"", b""]:
        raise ValueError(f"expected a tree of the size in tree_sizes, found {_shown(head)}")
    counts = _fields(lines[:2], ("num_leaves", "num_cat"), "tree")
    n_leaves = int(_integers(counts, "num_leaves", 1, 1, MAX_LEAVES)[0])
    n_categorical = int(_integers(counts, "num_cat", 1, 0, n_leaves - 1)[0])
    names = (*_SPLITS, *_LEAVES, *_NODES, *(_CATEGORIES if n_categorical else ()), "is_linear", "shrinkage")
    fields = _fields(lines[2:-3], names, "tree")
    if fields["is_linear"] != b"0":
        raise ValueError("expected is_linear=0, a tree without linear models")
    _check_numbers(fields, "shrinkage", 1)
    _check_leaves(fields, n_leaves)
    _integers(fields, "internal_count", n_leaves - 1)
    for name in _FLOATS:
        _check_numbers(fields, name, n_leaves - 1)
    _integers(fields, "split_feature", n_leaves - 1, 0, n_features - 1)
    _check_children(fields, n_leaves)
    _check_categorical(fields, n_leaves, n_categorical)


def _check_leaves(fields: Mapping[str, bytes], n_leaves: int) -> None:
    _check_numbers(fields, "leaf_value", n_leaves)
    _integers(fields, "leaf_count", n_leaves)
    # A tree without a split has no weight.
    _check_numbers(fields, "leaf_weight", n_leaves if n_leaves > 1 or fields["leaf_weight"] else 0)


def _check_children(fields: Mapping[str, bytes], n_leaves: int) -> None:
    """Nodes are numbered from 0, leaves from -1 down; a child comes after its parent, and has no other."""
    n_nodes = n_leaves - 1
    children = [_integers(fields, name, n_nodes, -n_leaves, n_nodes - 1) for name in ("left_child", "right_child")]
    nodes = np.arange(n_nodes)
    if any(((of_nodes >= 0) & (of_nodes <= nodes)).any() for of_nodes in children):
        raise ValueError("expected that children come after their parents, found a circle")
    others = np.concatenate([np.arange(-n_leaves, 0), np.arange(1, n_nodes)])
    if n_nodes and not np.array_equal(np.sort(np.concatenate(children)), others):
        raise ValueError("expected one parent for each node and leaf")


def _check_categorical(fields: Mapping[str, bytes], n_leaves: int, n_categorical: int) -> None:
    """A split of categories has its number among such splits as threshold, which is where its bit set starts."""
    decisions = _integers(fields, "decision_type", n_leaves - 1)
    if not np.isin(decisions, DECISION_TYPES).all():
        raise ValueError(f"expected decision_type to be of {DECISION_TYPES}")
    thresholds = fields["threshold"].split(b" ")
    found = [thresholds[node] for node in np.flatnonzero(decisions & IS_CATEGORICAL)]
    if found != [b"%d" % number for number in range(n_categorical)]:
        raise ValueError(f"expected {n_categorical} splits of categories with thresholds counted from 0")
    if n_categorical:
        sets = fields["cat_threshold"]
        n_words = sets.count(b" ") + 1
        _integers(fields, "cat_threshold", n_words, 0, 2**32 - 1)
        boundaries = _integers(fields, "cat_boundaries", n_categorical + 1)
        if boundaries[0] != 0 or boundaries[-1] != n_words or (np.diff(boundaries) <= 0).any():
            raise ValueError(f"expected cat_boundaries that rise from 0 to {n_words}")


def _categories(tail: bytes) -> object:
    """The categories at the end of what follows the trees."""
    lines = tail.split(b"\n")
    if lines[:3] != [b"end of trees", b"", b"feature_importances:"]:
        raise ValueError(f"expected the end of trees, found {_shown(lines[0])}")
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
        if match is None or _PARAMETERS.get(match[1], match[2]) != match[2]:
            raise ValueError(f"expected parameters of our learner, found {_shown(line)}")


def _fields(lines: Sequence[bytes], names: Sequence[str], where: str) -> dict[str, bytes]:
    """The value of each `name=value` line; there are these names in this order, and no others."""
    values = {}
    for name, line in zip_longest(names, lines):
        found, equals, value = (line or b"").partition(b"=")
        if name is None or found != name.encode() or not equals:
            raise ValueError(f"expected {name or 'the end'} in the {where}, found {_shown(line or b'the end')}")
        values[name] = value
    return values


def _integers(
    fields: Mapping[str, bytes], name: str, count: int, lowest: int = -MAX_INT, highest: int = MAX_INT
) -> np.ndarray:
    """The numbers of a line, of which there are `count`, none outside of the bounds."""
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
        raise ValueError(f"expected {count} number(s) as {name}, found {_shown(value)}")


def _shown(value: bytes) -> str:
    return repr(value[:40].decode(errors="replace"))
