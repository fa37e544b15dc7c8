"""CatBoost models as JSON, and the check of such a text before CatBoost parses it.

CatBoost uses the numbers of a model as indices without a check. So its model is built anew from the parts that
predictions and importances need, each of which is checked; names and the parameters of the training are left out.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from metahp.learners.boosting import load_library
from metahp.learners.expected import Expected
from metahp.learners.untrusted import parse_json

MAX_DEPTH, MAX_TREES, MAX_BORDERS = 16, 1 << 20, 1 << 16
_MAX_HASH, _MAX_COUNT = 2**64 - 1, 2**31 - 1
_FLOAT_MAX = float(np.finfo(np.float32).max)
# How missing values compare with every border, and kinds of statistics of categories that our learner's models have.
_MISSING = ("AsIs", "AsFalse", "AsTrue")
_STATISTICS = ("Borders", "Counter")


def write_json(model: Any) -> bytes:
    """The parts of a fitted model that `read_json` needs; without names of features, and without `model_info`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        content = json.loads(path.read_bytes())
    features = content["features_info"]
    for feature in (*features.get("float_features", ()), *features.get("categorical_features", ())):
        feature["feature_id"] = ""
    parts = ("ctr_data", "features_info", "oblivious_trees", "scale_and_bias")
    return json.dumps({name: content[name] for name in parts if name in content}).encode()


def read_json(content: bytes) -> Any:
    """The model in a text of `write_json`, which CatBoost loads from a file alone."""
    model = load_library("catboost").CatBoost()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        path.write_bytes(content)
        model.load_model(str(path), format="json")
    return model


def check_model(content: bytes, expected: Expected) -> bytes:
    """JSON that CatBoost can load safely; its model predicts exactly as a model from `content` would.

    Raises:
        ValueError: our learner does not write such a model for the expected features and classes.
    """
    model = parse_json(content)
    features = _get(model, "features_info", dict)
    checked: dict[str, Any] = {
        "float_features": _check_numeric(features, expected),
        "categorical_features": _check_categorical(features, expected),
    }
    borders = [np.array(feature["borders"], dtype=np.float32) for feature in checked["float_features"]]
    one_hot = [feature.get("values", []) for feature in checked["categorical_features"]]
    statistics, checked["ctrs"] = _check_statistics(model, features, borders, one_hot)
    n_splits = [len(each) for each in (*borders, *one_hot)] + [len(ctr["borders"]) for ctr in checked["ctrs"]]
    n_outputs = expected.n_classes if expected.n_classes > 2 else 1
    trees = _get(model, "oblivious_trees", list)
    if not 1 <= len(trees) <= MAX_TREES:
        raise ValueError(f"expected 1 to {MAX_TREES} trees, found {len(trees)}")
    if not checked["ctrs"]:
        del checked["ctrs"]
    return json.dumps(
        {
            "features_info": checked,
            "oblivious_trees": [_check_tree(tree, index, sum(n_splits), n_outputs) for index, tree in enumerate(trees)],
            "scale_and_bias": _check_scale(model, n_outputs),
            **({"ctr_data": statistics} if statistics else {}),
        }
    ).encode()


def _check_numeric(features: Mapping[str, Any], expected: Expected) -> list[dict[str, Any]]:
    given = features.get("float_features", [])
    places = [place for place, name in enumerate(expected.features) if name not in expected.categories]
    _check_places(given, places, "numeric")
    checked = []
    for index, (feature, place) in enumerate(zip(given, places, strict=True)):
        borders = _get_numbers(feature, "borders", None)
        if len(borders) > MAX_BORDERS or not all(low < high for low, high in pairwise(borders)):
            raise ValueError(f"expected at most {MAX_BORDERS} borders in order")
        missing = feature.get("nan_value_treatment", "AsIs")
        if missing not in _MISSING or type(feature.get("has_nans", False)) is not bool:
            raise ValueError(f"expected nan_value_treatment as one of {', '.join(_MISSING)}")
        checked.append(
            {
                "borders": borders,
                "feature_id": "",
                "feature_index": index,
                "flat_feature_index": place,
                "has_nans": feature.get("has_nans", False),
                "nan_value_treatment": missing,
            }
        )
    return checked


def _check_categorical(features: Mapping[str, Any], expected: Expected) -> list[dict[str, Any]]:
    given = features.get("categorical_features", [])
    places = [place for place, name in enumerate(expected.features) if name in expected.categories]
    _check_places(given, places, "categorical")
    checked = []
    for index, (feature, place) in enumerate(zip(given, places, strict=True)):
        entry = {"feature_id": "", "feature_index": index, "flat_feature_index": place}
        if "values" in feature:
            # Hashes of the categories that a split may ask for one by one.
            entry["values"] = _get_integers(feature, "values", None, -(2**31), _MAX_COUNT)
        checked.append(entry)
    return checked


def _check_places(given: Any, places: Sequence[int], kind: str) -> None:
    found = [(each.get("feature_index"), each.get("flat_feature_index")) for each in _require_dicts(given, kind)]
    if found != list(enumerate(places)):
        raise ValueError(f"expected the {kind} features of preparation.json")


def _check_statistics(
    model: Mapping[str, Any], features: Mapping[str, Any], borders: Sequence[np.ndarray], one_hot: Sequence[list[int]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Tables of statistics of categories by their identifier, and the features that are made of them."""
    tables = {}
    for identifier, table in _require_dict(model.get("ctr_data", {}), "ctr_data").items():
        kind = _check_identifier(identifier, borders, one_hot)
        tables[identifier] = _check_table(table, kind)
    checked = []
    for ctr in _require_dicts(features.get("ctrs", []), "ctrs"):
        identifier = str(ctr.get("identifier"))
        if identifier not in tables or ctr.get("ctr_type") != _parse_identifier(identifier)["type"]:
            raise ValueError("expected a table of each statistic of categories")
        elements = _parse_identifier(identifier)["identifier"]
        if not _are_near(ctr.get("elements"), elements):
            raise ValueError("expected the elements of the identifier")
        # A counter has one number for each category, the others one for each class of the target.
        n_targets = max(tables[identifier]["hash_stride"] - 2, 1)
        [target] = _get_integers({"target": [ctr.get("target_border_idx")]}, "target", 1, 0, n_targets - 1)
        names = ("prior_numerator", "prior_denomerator", "scale", "shift")
        numbers = _get_numbers({"numbers": [ctr.get(name) for name in names]}, "numbers", len(names))
        checked.append(
            {
                "borders": _get_numbers(ctr, "borders", None),
                "ctr_type": ctr["ctr_type"],
                "elements": elements,
                "identifier": identifier,
                "target_border_idx": target,
                **dict(zip(names, numbers, strict=True)),
            }
        )
    return tables, checked


def _parse_identifier(identifier: str) -> Any:
    return parse_json(identifier.encode())


def _check_identifier(identifier: str, borders: Sequence[np.ndarray], one_hot: Sequence[list[int]]) -> str:
    """The kind of a statistic whose identifier names features and borders of this model."""
    parsed = _require_dict(_parse_identifier(identifier), "an identifier")
    elements = _require_dicts(parsed.get("identifier"), "elements of an identifier")
    if parsed.get("type") not in _STATISTICS or set(parsed) != {"identifier", "type"} or not 1 <= len(elements) <= 64:
        raise ValueError(f"expected a statistic of the kind {' or '.join(_STATISTICS)}")
    for element in elements:
        kind = element.get("combination_element")
        if kind == "float_feature":
            [index] = _get_integers({"i": [element.get("float_feature_index")]}, "i", 1, 0, len(borders) - 1)
            [border] = _get_numbers({"border": [element.get("border")]}, "border", 1)
            is_known, keys = np.float32(border) in borders[index], {"border", "float_feature_index"}
        elif kind in ("cat_feature_value", "cat_feature_exact_value"):
            [index] = _get_integers({"i": [element.get("cat_feature_index")]}, "i", 1, 0, len(one_hot) - 1)
            is_exact = kind == "cat_feature_exact_value"
            is_known = not is_exact or (type(element.get("value")) is int and element["value"] in one_hot[index])
            keys = {"cat_feature_index", *(["value"] if is_exact else [])}
        else:
            raise ValueError(f"expected an element of an identifier, found {str(kind)[:40]}")
        if not is_known or set(element) != {"combination_element", *keys}:
            raise ValueError("expected a border or a value of this model in an identifier")
    return str(parsed["type"])


def _are_near(elements: Any, wanted: Any) -> bool:
    """Whether two lists of elements are equal; borders have fewer digits in one of them."""
    if not isinstance(elements, list) or len(elements) != len(wanted):
        return False
    for element, other in zip(elements, wanted, strict=True):
        if not isinstance(element, dict) or set(element) != set(other):
            return False
        for name, value in element.items():
            is_border = name == "border" and _is_number(value)
            if np.float32(value) != np.float32(other[name]) if is_border else value != other[name]:
                return False
    return True


def _check_table(table: Any, kind: str) -> dict[str, Any]:
    """A table that has, for each hash of categories, one count or a count of each class of the target."""
    [stride] = _get_integers({"stride": [_require_dict(table, kind).get("hash_stride")]}, "stride", 1, 2, 1 << 16)
    [total] = _get_integers({"n": [table.get("counter_denominator")]}, "n", 1, 0, _MAX_COUNT)
    values = _get(table, "hash_map", list)
    if len(values) % stride or (kind == "Counter" and stride != 2) or (kind == "Borders" and stride < 3):
        raise ValueError(f"expected a table of {stride} numbers for each category")
    hashes, counts = values[::stride], [value for place, value in enumerate(values) if place % stride]
    is_hash = all(isinstance(one, str) and one.isascii() and one.isdigit() and len(one) <= 20 for one in hashes)
    if not is_hash or len(set(hashes)) != len(hashes) or any(int(one) > _MAX_HASH for one in hashes):
        raise ValueError("expected different hashes of categories")
    _get_integers({"counts": counts}, "counts", None, 0, _MAX_COUNT)
    return {"counter_denominator": total, "hash_map": values, "hash_stride": stride}


def _check_tree(tree: Any, index: int, n_splits: int, n_outputs: int) -> dict[str, Any]:
    try:
        splits = _require_dicts(_require_dict(tree, "a tree").get("splits") or [], "splits")
        if len(splits) > MAX_DEPTH:
            raise ValueError(f"expected at most {MAX_DEPTH} splits, found {len(splits)}")
        places = _get_integers(
            {"split_index": [split.get("split_index") for split in splits]}, "split_index", None, 0, n_splits - 1
        )
        n_leaves = 1 << len(splits)
        weights = _get_numbers(tree, "leaf_weights", n_leaves)
        return {
            "leaf_values": _get_numbers(tree, "leaf_values", n_leaves * n_outputs),
            "leaf_weights": weights,
            # Its number among all splits is what CatBoost reads of a split.
            "splits": [{"split_index": place} for place in places],
        }
    except ValueError as error:
        raise ValueError(f"tree {index}: {error}") from None


def _check_scale(model: Mapping[str, Any], n_outputs: int) -> list[Any]:
    given = _get(model, "scale_and_bias", list)
    if len(given) != 2 or not _is_number(given[0]) or not isinstance(given[1], list):
        raise ValueError("expected a scale and biases")
    return [given[0], _get_numbers({"biases": given[1]}, "biases", n_outputs)]


def _require_dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected {what}, found {str(value)[:40]}")
    return value


def _require_dicts(values: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"expected {what} as a list, found {str(values)[:40]}")
    return values


def _get(values: Any, name: str, kind: type) -> Any:
    if not isinstance(values, dict) or type(values.get(name)) is not kind:
        raise ValueError(f"expected {name}, found {str(values)[:40]}")
    return values[name]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _FLOAT_MAX * (1 + 1e-6)


def _get_integers(values: Any, name: str, count: int | None, lowest: int, highest: int) -> list[int]:
    """The integers of a list, all within the bounds."""
    listed = _get(values, name, list)
    if not all(type(value) is int and lowest <= value <= highest for value in listed):
        raise ValueError(f"expected {name} from {lowest} to {highest}")
    if count is not None and len(listed) != count:
        raise ValueError(f"expected {count} number(s) as {name}, found {len(listed)}")
    return list(listed)


def _get_numbers(values: Any, name: str, count: int | None) -> list[float]:
    listed = _get(values, name, list)
    if not all(map(_is_number, listed)) or (count is not None and len(listed) != count):
        raise ValueError(f"expected {'' if count is None else count} number(s) as {name}")
    return list(listed)
