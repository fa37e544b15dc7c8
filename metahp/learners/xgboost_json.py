"""The check of the JSON of an XGBoost model before XGBoost parses it.

XGBoost uses the numbers of a model as indices without a check. So its model is built anew from the parts that
predictions need, each of which is checked; names, attributes and statistics of the training are left out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metahp.learners.expected import Expected
from metahp.learners.untrusted import parse_json

# Eight times the nodes of a tree of the deepest kind in the search space.
MAX_NODES = 1 << 16
MAX_TREES = 1 << 20
# What stands for the parent of the root, and for "no child".
_NO_PARENT, _NO_CHILD = 2**31 - 1, -1
_FLOAT_MAX = float(np.finfo(np.float32).max)
_NO_CATEGORIES: dict[str, list[int]] = {"enc": [], "feature_segments": [], "sorted_idx": []}
# Values of each node that predictions use (thresholds, and leaf values) and that XGBoost asks for besides.
_FLOATS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")


def forget_names(content: bytes) -> bytes:
    """The JSON of a model without names of features and categories: it then knows columns by their order alone.

    XGBoost keeps the categories of a frame since 3.1, and refuses matrices of codes where it does.
    """
    model = json.loads(content)
    learner = model["learner"]
    # Of a frame there are more types of numbers.
    types = ["c" if name == "c" else "q" for name in learner["feature_types"]]
    learner |= {"attributes": {}, "feature_names": [], "feature_types": types}
    if "cats" in (trees := learner["gradient_booster"]["model"]):
        trees["cats"] = _NO_CATEGORIES
    return json.dumps(model).encode()


def check_model(content: bytes, expected: Expected) -> bytes:
    """JSON that XGBoost can load safely; its booster predicts exactly as a booster from `content` would.

    Raises:
        ValueError: our learner does not write such a model for the expected features and classes.
    """
    model = parse_json(content)
    learner = _get(model, "learner", dict)
    n_groups = expected.n_classes if expected.n_classes > 2 else 1
    booster = _get(learner, "gradient_booster", dict)
    if booster.get("name") != "gbtree":
        raise ValueError("expected a booster of the kind gbtree")
    grown = _get(booster, "model", dict)
    trees = _get(grown, "trees", list)
    if not trees or len(trees) > MAX_TREES or len(trees) % n_groups:
        raise ValueError(f"expected a multiple of {n_groups} trees, found {len(trees)}")
    if _get(grown, "tree_info", list) != [index % n_groups for index in range(len(trees))]:
        raise ValueError(f"expected the trees of {n_groups} output(s) in turn")
    if "cats" in grown and grown["cats"] != _NO_CATEGORIES:
        raise ValueError("expected categories as codes, without names")
    types = ["c" if name in expected.categories else "q" for name in expected.features]
    if learner.get("feature_types") != types:
        raise ValueError(f"expected the types of {len(types)} features of preparation.json")
    n_categories = [len(expected.categories.get(name, ())) for name in expected.features]
    checked = {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": types,
            "gradient_booster": {
                "model": {
                    "cats": _NO_CATEGORIES,
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
                    "iteration_indptr": list(range(0, len(trees) + 1, n_groups)),
                    "tree_info": grown["tree_info"],
                    "trees": [_check_tree(tree, index, n_categories) for index, tree in enumerate(trees)],
                },
                "name": "gbtree",
            },
            "learner_model_param": _check_parameters(learner, expected, n_groups),
            "objective": _make_objective(expected),
        },
        "version": _check_version(model),
    }
    return json.dumps(checked).encode()


def _check_version(model: Any) -> list[int]:
    version = _get(model, "version", list)
    if len(version) != 3 or not all(type(part) is int and 0 <= part < 1000 for part in version):
        raise ValueError(f"expected a version of three numbers, found {str(version)[:40]}")
    return version


def _check_parameters(learner: Mapping[str, Any], expected: Expected, n_groups: int) -> dict[str, str]:
    given = _get(learner, "learner_model_param", dict)
    text = given.get("base_score")
    # Since 3.1 one score for each output, as a list; before that a number.
    scores = parse_json(text.encode()) if isinstance(text, str) and len(text) < 1 << 20 else None
    listed = scores if isinstance(scores, list) else [scores]
    if len(listed) not in (1, n_groups) or not all(_is_number(score) for score in listed):
        raise ValueError(f"expected a base_score of {n_groups} number(s)")
    wanted = {
        "num_class": str(n_groups if n_groups > 1 else 0),
        "num_feature": str(len(expected.features)),
        "num_target": "1",
    }
    for name, value in wanted.items():
        if given.get(name) != value:
            raise ValueError(f"expected {name}={value}, found {str(given.get(name))[:40]}")
    return {**wanted, "base_score": str(text), "boost_from_average": "1"}


def _make_objective(expected: Expected) -> dict[str, Any]:
    if expected.n_classes > 2:
        return {"name": "multi:softprob", "softmax_multiclass_param": {"num_class": str(expected.n_classes)}}
    name = "binary:logistic" if expected.n_classes else "reg:squarederror"
    return {"name": name, "reg_loss_param": {"scale_pos_weight": "1"}}


def _check_tree(tree: Any, index: int, n_categories: Sequence[int]) -> dict[str, Any]:
    try:
        return _rebuild_tree(tree, index, np.array(n_categories))
    except ValueError as error:
        raise ValueError(f"tree {index}: {error}") from None


def _rebuild_tree(tree: Any, index: int, n_categories: np.ndarray) -> dict[str, Any]:
    left = _get_integers(tree, "left_children", None, _NO_CHILD, MAX_NODES)
    n = len(left)
    if not 1 <= n <= MAX_NODES:
        raise ValueError(f"expected 1 to {MAX_NODES} nodes, found {n}")
    right = _get_integers(tree, "right_children", n, _NO_CHILD, n - 1)
    is_split = left != _NO_CHILD
    children = np.concatenate([left[is_split], right[is_split]])
    # No node but the root is without a parent or has two, so a walk from the root never meets a node twice.
    if children.size and not 1 <= children.min() <= children.max() < n:
        raise ValueError("expected children among its nodes, without the root")
    if ((right != _NO_CHILD) != is_split).any() or len(np.unique(children)) != len(children):
        raise ValueError("expected two children of its own at each split")
    parents = np.full(n, _NO_PARENT)
    parents[left[is_split]] = parents[right[is_split]] = np.flatnonzero(is_split)
    features = _get_integers(tree, "split_indices", n, 0, _NO_PARENT)
    if (features[is_split] >= len(n_categories)).any():
        raise ValueError(f"expected splits by one of {len(n_categories)} features")
    by_category = _get_integers(tree, "split_type", n, 0, 1) == 1
    if ((n_categories[features[is_split]] > 0) != by_category[is_split]).any() or (by_category & ~is_split).any():
        raise ValueError("expected splits by category for categorical features, and for no other")
    return {
        "id": index,
        "left_children": left.tolist(),
        "right_children": right.tolist(),
        "parents": parents.tolist(),
        "split_indices": np.where(is_split, features, 0).tolist(),
        "split_type": by_category.astype(int).tolist(),
        "default_left": _get_integers(tree, "default_left", n, 0, 1).tolist(),
        **{name: _get_numbers(tree, name, n) for name in _FLOATS},
        **_check_categories(tree, np.flatnonzero(by_category), n_categories[features[by_category]]),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(len(n_categories)),
            "num_nodes": str(n),
            "size_leaf_vector": "1",
        },
    }


def _check_categories(tree: Any, nodes: np.ndarray, n_categories: np.ndarray) -> dict[str, list[int]]:
    """The codes that go right at each of the nodes that split by category."""
    if _get_integers(tree, "categories_nodes", len(nodes), 0, MAX_NODES).tolist() != nodes.tolist():
        raise ValueError("expected the categories of each split by category")
    sizes = _get_integers(tree, "categories_sizes", len(nodes), 1, MAX_NODES)
    ends = np.cumsum(sizes)
    segments = _get_integers(tree, "categories_segments", len(nodes), 0, 2**31 - 1)
    if (segments != ends - sizes).any():
        raise ValueError("expected the categories of its splits one after another")
    codes = _get_integers(tree, "categories", int(ends[-1]) if len(ends) else 0, 0, 2**31 - 1)
    if (codes >= np.repeat(n_categories, sizes)).any():
        raise ValueError("expected the codes of the categories of preparation.json")
    return {
        "categories": codes.tolist(),
        "categories_nodes": nodes.tolist(),
        "categories_segments": segments.tolist(),
        "categories_sizes": sizes.tolist(),
    }


def _get(values: Any, name: str, kind: type) -> Any:
    if not isinstance(values, dict) or type(values.get(name)) is not kind:
        raise ValueError(f"expected {name}, found {str(values)[:40]}")
    return values[name]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _FLOAT_MAX


def _get_integers(tree: Any, name: str, count: int | None, lowest: int, highest: int) -> np.ndarray:
    """The integers of a list, shape (count,), all within the bounds."""
    values = _get(tree, name, list)
    if not all(type(value) is int and lowest <= value <= highest for value in values):
        raise ValueError(f"expected {name} from {lowest} to {highest}")
    if count is not None and len(values) != count:
        raise ValueError(f"expected {count} number(s) as {name}, found {len(values)}")
    return np.array(values, dtype=np.int64)


def _get_numbers(tree: Any, name: str, count: int) -> list[float]:
    values = _get(tree, name, list)
    if len(values) != count or not all(map(_is_number, values)):
        raise ValueError(f"expected {count} number(s) as {name}")
    return list(values)
