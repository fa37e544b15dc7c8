"""The pipeline in a skops file, built by a reader that knows only what a learner's fitted pipelines hold.

skops trusts types, not contents: it builds a tree whose children lead in a circle, and the first prediction never ends.
Here each state of the schema is built on its own, trees and splines through checks of their arrays, and a state of any
other type is refused. As nothing is built that was not checked, two readings of one file cannot differ.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from sklearn.tree._tree import NODE_DTYPE, TREE_LEAF, Tree

from metahp.learners.skops_archive import Archive

# Protocols 1 and 2 of skops write random generators differently, and nothing that a learner of ours holds.
PROTOCOLS = (1, 2)
MAX_INT = 2**31 - 1


def _by_name(kinds: Iterable[type]) -> dict[str, type]:
    return {f"{kind.__module__}.{kind.__qualname__}": kind for kind in kinds}


_CLASSES = _by_name(
    (
        *(Pipeline, ColumnTransformer, TransformedTargetRegressor),
        *(RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor),
        *(DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor),
        *(LogisticRegression, Ridge, ElasticNet),
        *(SimpleImputer, MissingIndicator, StandardScaler, QuantileTransformer, SplineTransformer, FunctionTransformer),
        *(OneHotEncoder, OrdinalEncoder, TargetEncoder, KFold, StratifiedKFold, BSpline),
    )
)
# What is not built but named: the types of dictionaries' keys, of encoded columns, and a function of each spline.
_NAMED: dict[str, Any] = {"builtins.int": int, "builtins.str": str, "numpy.float64": np.float64}
_FUNCTION = "scipy._lib.array_api_compat.numpy._aliases.asarray"
_NUMBERS = {"numpy.float64": np.float64, "numpy.int64": np.int64}
# Loader and type of every state that our learners' fitted pipelines consist of.
KNOWN_STATES = frozenset(
    {
        ("JsonNode", "builtins.str"),
        ("ListNode", "builtins.list"),
        ("TupleNode", "builtins.tuple"),
        ("DictNode", "builtins.dict"),
        ("SliceNode", "builtins.slice"),
        ("DTypeNode", "numpy.dtype"),
        ("NdArrayNode", "numpy.ndarray"),
        ("FunctionNode", _FUNCTION),
        ("TreeNode", f"{Tree.__module__}.{Tree.__qualname__}"),
        *(("NdArrayNode", name) for name in _NUMBERS),
        *(("TypeNode", name) for name in _NAMED),
        *(("ObjectNode", name) for name in _CLASSES),
    }
)
# The version is part of a warning where it is not the installed one.
_VERSION = re.compile(r"[0-9A-Za-z.+\-]{1,40}")

State = dict[str, Any]


class ForeignError(ValueError):
    """The file holds types that its learner does not use."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """An archive, and the classes of the objects that may be built from it, by name."""

    archive: Archive
    classes: Mapping[str, type]

    def knows(self, state: State) -> bool:
        loader, name = _key(state)
        return (loader, name) in KNOWN_STATES or (loader == "ObjectNode" and name in self.classes)


def read_skops(data: bytes, trusted_types: Iterable[type] = ()) -> Any:
    """The object in the skops file `data`.

    Args:
        data: The file's content.
        trusted_types: Classes whose objects may be in it, beside those of our own learners. No other is looked up.

    Raises:
        ForeignError: it holds types that are neither known nor trusted.
        ValueError: it is no skops file, or one that skops would not write of a fitted pipeline.
    """
    archive = Archive.of(data)
    schema = archive.schema()
    check_types(schema, trusted_types)
    if schema.get("protocol") not in PROTOCOLS:
        raise ValueError(f"expected protocol {PROTOCOLS} of skops, found {str(schema.get('protocol'))[:20]}")
    return _built(schema, _Reading(archive, {**_by_name(trusted_types), **_CLASSES}))


def check_types(schema: State, trusted_types: Iterable[type] = ()) -> None:
    """Check the loader and type of every state.

    Raises:
        ForeignError: a state is none of `KNOWN_STATES`, and no object of a trusted type.
    """
    known = KNOWN_STATES | {("ObjectNode", name) for name in _by_name(trusted_types)}
    foreign: set[str] = set()
    left: list[Any] = [schema]
    while left:
        state = left.pop()
        if isinstance(state, dict) and ("__loader__" in state or "__class__" in state) and _key(state) not in known:
            foreign.add(".".join(_key(state)[1].split(".")[-4:])[:100])
        left += state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    if foreign:
        raise ForeignError(", ".join(sorted(foreign)[:3]))


def _key(state: State) -> tuple[str, str]:
    return str(state.get("__loader__")), f"{state.get('__module__')}.{state.get('__class__')}"


def _built(state: State, reading: _Reading) -> Any:
    loader, name = _key(state)
    if not reading.knows(state):
        raise ForeignError(name[:100])
    return _BUILDERS[loader](state, reading)


def _scalar(state: State, _: _Reading) -> Any:
    value = json.loads(state["content"])
    if not isinstance(value, bool | int | float | str | None) or (isinstance(value, int) and abs(value) > 2**63):
        raise ValueError("expected a number or text")
    return value


def _list(state: State, reading: _Reading) -> list[Any]:
    return [_built(item, reading) for item in state["content"]]


def _dict(state: State, reading: _Reading) -> dict[Any, Any]:
    kinds = _built(state["key_types"], reading)
    if not all(kind in (int, str) for kind in kinds):
        raise ValueError("expected keys that are numbers or text")
    pairs = zip(kinds, state["content"].items(), strict=True)
    return {kind(key): _built(value, reading) for kind, (key, value) in pairs}


def _slice(state: State, _: _Reading) -> slice:
    bounds = [state["content"][name] for name in ("start", "stop", "step")]
    if not all(bound is None or (type(bound) is int and abs(bound) <= MAX_INT) for bound in bounds):
        raise ValueError("expected a slice of whole numbers")
    return slice(*bounds)


def _array(state: State, reading: _Reading) -> Any:
    if state["type"] == "json":
        return _object_array(_list(state, reading), _built(state["shape"], reading))
    array = reading.archive.array(state["file"])
    name = _key(state)[1]
    if name not in _NUMBERS:
        return array
    if array.shape or array.dtype != _NUMBERS[name]:
        raise ValueError(f"expected one {name}, found an array of {array.dtype}")
    return array[()]


def _object_array(items: list[Any], shape: Any) -> np.ndarray:
    """One axis of texts, missing values and numbers, which are what categories and names may be."""
    if shape != (len(items),) or not all(isinstance(item, bool | int | float | str | None) for item in items):
        raise ValueError("expected an array of texts with one axis")
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _tree(state: State, reading: _Reading) -> Tree:
    arguments = _built(state["__reduce__"]["args"], reading)
    values = _built(state["content"], reading)
    n_features, n_classes, n_outputs = arguments
    is_single = type(n_outputs) is int and n_outputs == 1 and np.shape(n_classes) == (1,)
    if not is_single or n_classes.dtype != np.intp or not 1 <= n_classes[0] <= MAX_INT:
        raise ValueError("expected a tree with one output")
    if type(n_features) is not int or not 1 <= n_features <= MAX_INT:
        raise ValueError("expected a tree with at least one feature")
    _check_nodes(values, n_features, int(n_classes[0]))
    tree = Tree(n_features, n_classes, n_outputs)
    tree.__setstate__(values)
    return tree


def _check_nodes(values: dict[str, Any], n_features: int, n_classes: int) -> None:
    """The nodes are a tree: children come after their parents, and each node but the first has one parent."""
    nodes, outputs, count, depth = (values[name] for name in ("nodes", "values", "node_count", "max_depth"))
    if nodes.dtype != NODE_DTYPE or nodes.shape != (count,) or type(count) is not int or not 0 < count <= MAX_INT:
        raise ValueError("expected as many nodes as a tree counts")
    if outputs.dtype != np.float64 or outputs.shape != (count, 1, n_classes) or not outputs.flags.c_contiguous:
        raise ValueError("expected a value of each class in each node of a tree")
    if type(depth) is not int or not 0 <= depth < count:
        raise ValueError("expected a tree that is less deep than it has nodes")
    left, right, features = nodes["left_child"], nodes["right_child"], nodes["feature"]
    parents = np.flatnonzero(left != TREE_LEAF)
    if (right[left == TREE_LEAF] != TREE_LEAF).any():
        raise ValueError("expected leaves without children")
    if (left[parents] <= parents).any() or (right[parents] <= parents).any():
        raise ValueError("expected that children come after their parents, found a circle")
    if not np.array_equal(np.sort(np.concatenate([left[parents], right[parents]])), np.arange(1, count)):
        raise ValueError("expected one parent for each node of a tree")
    if (features[parents] < 0).any() or (features[parents] >= n_features).any():
        raise ValueError(f"expected trees that split by {n_features} features")


def _object(state: State, reading: _Reading) -> Any:
    kind = reading.classes[_key(state)[1]]
    values = _built(state["content"], reading)
    if type(values) is not dict or not all(map(str.isidentifier, values)):
        raise ValueError(f"expected named values of {kind.__name__}")
    if kind is BSpline:
        return _spline(values)
    hidden = [name for name in values if name.startswith("__") or hasattr(kind, name)]
    if hidden:
        raise ValueError(f"expected values of {kind.__name__}, found its method {hidden[0][:40]}")
    version = values.get("_sklearn_version", "none")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError("expected a version of scikit-learn")
    made: Any = object.__new__(kind)
    if hasattr(kind, "__setstate__"):
        made.__setstate__(values)
    else:
        made.__dict__.update(values)
    return made


def _spline(values: dict[str, Any]) -> BSpline:
    """The spline of knots `t` and coefficients `c`.

    `BSpline` itself refuses knots that are all equal, which a column of few values has.
    """
    # Older versions of scipy have no underscore before the two names.
    knots, coefficients = (values[name] if name in values else values[f"_{name}"] for name in "tc")
    degree = values["k"]
    if type(degree) is not int or not 0 <= degree <= MAX_INT or values["axis"] != 0:
        raise ValueError("expected a spline along the first axis")
    if not all(isinstance(array, np.ndarray) and array.dtype == np.float64 for array in (knots, coefficients)):
        raise ValueError("expected knots and coefficients of a spline")
    n = len(coefficients) if coefficients.ndim == 2 else 0
    if n < degree + 1 or knots.shape != (n + degree + 1,):
        raise ValueError("expected as many knots of a spline as its coefficients and degree need")
    return BSpline.construct_fast(knots, np.ascontiguousarray(coefficients), degree, bool(values["extrapolate"]), 0)


_BUILDERS: dict[str, Callable[[State, _Reading], Any]] = {
    "JsonNode": _scalar,
    "ListNode": _list,
    "TupleNode": lambda state, reading: tuple(_list(state, reading)),
    "DictNode": _dict,
    "SliceNode": _slice,
    "TypeNode": lambda state, _: _NAMED[_key(state)[1]],
    "FunctionNode": lambda state, _: np.asarray,
    "DTypeNode": lambda state, reading: _built(state["content"], reading).dtype,
    "NdArrayNode": _array,
    "TreeNode": _tree,
    "ObjectNode": _object,
}
