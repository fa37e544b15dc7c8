"""A reader for the pipeline in a skops file; it knows only the types that fitted pipelines of learners hold.

skops itself checks types, but not contents: it would build a tree whose children lead in a circle, and the first
prediction would never end. Here each state of the schema has a builder. Builders of trees and splines check their
arrays, and a state of any other type is refused. Every part is checked as it is built, so checker and builder cannot
read the file differently.
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

# Protocols 1 and 2 of skops differ only for random generators, which our learners do not hold.
PROTOCOLS = (1, 2)
MAX_INT = 2**31 - 1


def _index_by_name(kinds: Iterable[type]) -> dict[str, type]:
    return {f"{kind.__module__}.{kind.__qualname__}": kind for kind in kinds}


_CLASSES = _index_by_name(
    (
        *(Pipeline, ColumnTransformer, TransformedTargetRegressor),
        *(RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor),
        *(DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor),
        *(LogisticRegression, Ridge, ElasticNet),
        *(SimpleImputer, MissingIndicator, StandardScaler, QuantileTransformer, SplineTransformer, FunctionTransformer),
        *(OneHotEncoder, OrdinalEncoder, TargetEncoder, KFold, StratifiedKFold, BSpline),
    )
)
# Types and one function that a schema names without building them: types of dictionary keys and of encoded columns, and
# the function that each spline holds.
_NAMED: dict[str, Any] = {"builtins.int": int, "builtins.str": str, "numpy.float64": np.float64}
_FUNCTION = "scipy._lib.array_api_compat.numpy._aliases.asarray"
_NUMBERS = {"numpy.float64": np.float64, "numpy.int64": np.int64}
# Loader and type of every state in the fitted pipelines of our learners.
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
# scikit-learn quotes the version in a warning if it is not the installed one, so its format is checked.
_VERSION = re.compile(r"[0-9A-Za-z.+\-]{1,40}")

State = dict[str, Any]


class ForeignError(ValueError):
    """The file holds types that its learner does not use."""


@dataclass(frozen=True, slots=True)
class _Context:
    """An archive, and the classes whose objects may be built from it, by name."""

    archive: Archive
    classes: Mapping[str, type]

    def allows(self, state: State) -> bool:
        """Whether the state has a known type or a trusted class."""
        loader, name = _identify(state)
        return (loader, name) in KNOWN_STATES or (loader == "ObjectNode" and name in self.classes)


def read_skops(data: bytes, trusted_types: Iterable[type] = ()) -> Any:
    """The object in the skops file `data`.

    Args:
        data: Content of the file.
        trusted_types: Classes whose objects are allowed in addition to those of our learners. No other
            class is looked up.

    Raises:
        ForeignError: the file holds types that are neither known nor trusted.
        ValueError: it is no skops file, or skops would not write it for a fitted pipeline.
    """
    archive = Archive.open(data)
    schema = archive.read_schema()
    check_types(schema, trusted_types)
    if schema.get("protocol") not in PROTOCOLS:
        raise ValueError(f"expected protocol {PROTOCOLS} of skops, found {str(schema.get('protocol'))[:20]}")
    return _build(schema, _Context(archive, {**_index_by_name(trusted_types), **_CLASSES}))


def check_types(schema: State, trusted_types: Iterable[type] = ()) -> None:
    """Check the loader and type of every state.

    Raises:
        ForeignError: a state is neither in `KNOWN_STATES` nor an object of a trusted type.
    """
    known = KNOWN_STATES | {("ObjectNode", name) for name in _index_by_name(trusted_types)}
    foreign: set[str] = set()
    pending: list[Any] = [schema]
    while pending:
        state = pending.pop()
        is_typed = isinstance(state, dict) and ("__loader__" in state or "__class__" in state)
        if is_typed and _identify(state) not in known:
            foreign.add(".".join(_identify(state)[1].split(".")[-4:])[:100])
        pending += state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    if foreign:
        raise ForeignError(", ".join(sorted(foreign)[:3]))


def _identify(state: State) -> tuple[str, str]:
    """Loader and name of the type of a state."""
    return str(state.get("__loader__")), f"{state.get('__module__')}.{state.get('__class__')}"


def _build(state: State, context: _Context) -> Any:
    loader, name = _identify(state)
    if not context.allows(state):
        raise ForeignError(name[:100])
    return _BUILDERS[loader](state, context)


def _build_scalar(state: State, _: _Context) -> Any:
    value = json.loads(state["content"])
    if not isinstance(value, bool | int | float | str | None) or (isinstance(value, int) and abs(value) > 2**63):
        raise ValueError("expected a number or text")
    return value


def _build_list(state: State, context: _Context) -> list[Any]:
    return [_build(item, context) for item in state["content"]]


def _build_dict(state: State, context: _Context) -> dict[Any, Any]:
    kinds = _build(state["key_types"], context)
    if not all(kind in (int, str) for kind in kinds):
        raise ValueError("expected keys that are numbers or text")
    pairs = zip(kinds, state["content"].items(), strict=True)
    return {kind(key): _build(value, context) for kind, (key, value) in pairs}


def _build_slice(state: State, _: _Context) -> slice:
    bounds = [state["content"][name] for name in ("start", "stop", "step")]
    if not all(bound is None or (type(bound) is int and abs(bound) <= MAX_INT) for bound in bounds):
        raise ValueError("expected a slice with integer bounds")
    return slice(*bounds)


def _build_array(state: State, context: _Context) -> Any:
    if state["type"] == "json":
        return _build_object_array(_build_list(state, context), _build(state["shape"], context))
    array = context.archive.read_array(state["file"])
    name = _identify(state)[1]
    if name not in _NUMBERS:
        return array
    if array.shape or array.dtype != _NUMBERS[name]:
        raise ValueError(f"expected one {name}, found an array of {array.dtype}")
    return array[()]


def _build_object_array(items: list[Any], shape: Any) -> np.ndarray:
    """An array with one axis of texts, missing values and numbers, such as categories or names."""
    if shape != (len(items),) or not all(isinstance(item, bool | int | float | str | None) for item in items):
        raise ValueError("expected an array of texts with one axis")
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _build_tree(state: State, context: _Context) -> Tree:
    arguments = _build(state["__reduce__"]["args"], context)
    values = _build(state["content"], context)
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
    """Check that the nodes form a tree: children come after parents, and each node except the first has one parent."""
    nodes, outputs, count, depth = (values[name] for name in ("nodes", "values", "node_count", "max_depth"))
    if nodes.dtype != NODE_DTYPE or nodes.shape != (count,) or type(count) is not int or not 0 < count <= MAX_INT:
        raise ValueError("expected as many nodes as a tree counts")
    if outputs.dtype != np.float64 or outputs.shape != (count, 1, n_classes) or not outputs.flags.c_contiguous:
        raise ValueError("expected a value of each class in each node of a tree")
    if type(depth) is not int or not 0 <= depth < count:
        raise ValueError("expected a tree with more nodes than levels of depth")
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


def _build_object(state: State, context: _Context) -> Any:
    kind = context.classes[_identify(state)[1]]
    values = _build(state["content"], context)
    if type(values) is not dict or not all(map(str.isidentifier, values)):
        raise ValueError(f"expected named values of {kind.__name__}")
    if kind is BSpline:
        return _build_spline(values)
    of_class = [name for name in values if name.startswith("__") or hasattr(kind, name)]
    if of_class:
        raise ValueError(f"expected values of {kind.__name__}, found its method {of_class[0][:40]}")
    version = values.get("_sklearn_version", "none")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ValueError("expected a version of scikit-learn")
    instance: Any = object.__new__(kind)
    if hasattr(kind, "__setstate__"):
        instance.__setstate__(values)
    else:
        instance.__dict__.update(values)
    return instance


def _build_spline(values: dict[str, Any]) -> BSpline:
    """The spline with knots `t` and coefficients `c`.

    The constructor of `BSpline` is not used, as it refuses equal knots, which a column with few values has.
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


_BUILDERS: dict[str, Callable[[State, _Context], Any]] = {
    "JsonNode": _build_scalar,
    "ListNode": _build_list,
    "TupleNode": lambda state, context: tuple(_build_list(state, context)),
    "DictNode": _build_dict,
    "SliceNode": _build_slice,
    "TypeNode": lambda state, _: _NAMED[_identify(state)[1]],
    "FunctionNode": lambda state, _: np.asarray,
    "DTypeNode": lambda state, context: _build(state["content"], context).dtype,
    "NdArrayNode": _build_array,
    "TreeNode": _build_tree,
    "ObjectNode": _build_object,
}
