"""A fitted pipeline, compared with the unfitted one that its configuration stands for.

The parts that end in native code (trees, splines, one-hot columns as a sparse matrix) index by what they were fitted
with. Their parameters are those of the learner, and the sizes of what was fitted agree with each other.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.model_selection import BaseCrossValidator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, TargetEncoder
from sklearn.tree._tree import Tree

from metahp.learners.expected import Expected

# A forest predicts with as many threads as jobs, and so do others; more than this helps nobody.
MAX_JOBS = 1024
# Parameters that may differ: the seed and the number of jobs are of the run, and not of the configuration.
_OF_THE_RUN = ("random_state", "n_jobs")
# The steps of a pipeline are fitted, and checked one by one.
_NOT_COMPARED = (*_OF_THE_RUN, "steps")


def check_fitted(found: Any, wanted: Any, expected: Expected) -> None:
    """Check that `found` is `wanted`, the learner's unfitted estimator, fitted on the features and classes.

    Raises:
        ValueError: it is another estimator, or its parts do not fit together.
    """
    if not _is_same(found, wanted):
        raise ValueError(f"expected {type(wanted).__name__} with the parameters of the learner")
    n_jobs = getattr(found, "n_jobs", None)
    _require(n_jobs is None or abs(n_jobs) <= MAX_JOBS, f"at most {MAX_JOBS} jobs")
    check = _CHECKS.get(type(wanted))
    if check is not None:
        check(found, wanted, expected)


def _is_same(found: Any, wanted: Any) -> bool:
    """Whether two values of a parameter are equal; of estimators, the types and all parameters that both have."""
    if type(found) is not type(wanted):
        return isinstance(found, int | float) and isinstance(wanted, int | float) and found == wanted
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(_is_same, found, wanted))
    if isinstance(wanted, BaseEstimator | BaseCrossValidator):
        return _has_same_parameters(vars(found), vars(wanted))
    # What is missing is written as a number that does not equal itself.
    return bool(found == wanted or (found != found and wanted != wanted))


def _has_same_parameters(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    runs = [found.get(name) for name in _OF_THE_RUN if name in wanted]
    return all(run is None or isinstance(run, str) or type(run) is int for run in runs) and all(
        name in _NOT_COMPARED or name not in found or _is_same(found[name], value) for name, value in wanted.items()
    )


def _require(is_so: object, what: str) -> None:
    if not is_so:
        raise ValueError(f"expected {what}")


def _n_features(found: Any) -> int:
    count = vars(found).get("n_features_in_")
    _require(type(count) is int and count >= 0, f"the number of features of {type(found).__name__}")
    return int(count)


def _check_pipeline(found: Pipeline, wanted: Pipeline, expected: Expected) -> None:
    names = [name for name, _ in wanted.steps]
    _require([name for name, _ in found.steps] == names, f"a pipeline of {' and '.join(names)}")
    for (_, step), (_, unfitted) in zip(found.steps, wanted.steps, strict=True):
        check_fitted(step, unfitted, expected)


def _check_columns(found: ColumnTransformer, wanted: ColumnTransformer, expected: Expected) -> None:
    fitted = list(found.transformers_)
    if fitted[len(wanted.transformers) :] == [("remainder", "drop", [])]:
        fitted.pop()
    names = [(name, columns) for name, _, columns in fitted]
    _require(names == [(name, columns) for name, _, columns in wanted.transformers], "the columns of preparation.json")
    # By these two it finds the columns in a frame.
    places = {feature: index for index, feature in enumerate(expected.features)}
    indices = {name: [places[column] for column in columns] for name, columns in names}
    _require(list(found.feature_names_in_) == list(expected.features), "the features of preparation.json")
    _require(found._transformer_to_input_indices == {"remainder": []} | indices, "the columns of preparation.json")
    may_be_sparse = any(value is True for name, value in wanted.get_params().items() if name.endswith("sparse_output"))
    _require(found.sparse_output_ is False or may_be_sparse, "a dense output of ColumnTransformer")
    for (_, transformer, columns), (_, unfitted, _) in zip(fitted, wanted.transformers, strict=True):
        if unfitted == "passthrough":
            is_identity = type(transformer) is FunctionTransformer and transformer.func is None
            _require(transformer == "passthrough" or is_identity, "columns that pass unchanged")
        elif columns:
            check_fitted(transformer, unfitted, expected)


def _check_forest(found: Any, wanted: Any, expected: Expected) -> None:
    n_features, trees = _n_features(found), found.estimators_
    _require(type(trees) is list and len(trees) == found.n_estimators, "as many trees as n_estimators")
    _require(found.n_outputs_ == 1, "one output of a forest")
    n_classes = expected.n_classes or 1
    for tree in trees:
        _require(type(tree) is type(wanted.estimator), f"trees of type {type(wanted.estimator).__name__}")
        _require(type(tree.tree_) is Tree and tree.n_outputs_ == 1, "a fitted tree with one output")
        _require(n_features == _n_features(tree) == tree.tree_.n_features, f"trees of {n_features} features")
        _require(tree.tree_.max_n_classes == n_classes, f"trees of {n_classes} class(es)")
    if expected.n_classes:
        for one in (found, *trees):
            _require(_is_number(one.n_classes_, n_classes), f"a forest of {n_classes} classes")
            _require(np.shape(one.classes_) == (n_classes,), f"the codes of {n_classes} classes")


def _is_number(found: Any, wanted: int) -> bool:
    return isinstance(found, int | np.integer) and found == wanted


def _check_one_hot(found: OneHotEncoder, wanted: OneHotEncoder, expected: Expected) -> None:
    """Every code that an encoded column may have is below its number of columns: they index a sparse matrix."""
    n_features, most = _n_features(found), wanted.max_categories
    is_limited = most is not None or wanted.min_frequency is not None
    none = [None] * n_features
    infrequent = [found._infrequent_indices, found._default_to_infrequent_mappings] if is_limited else [none, none]
    lists = (found.categories_, found._n_features_outs, *infrequent)
    _require(all(type(one) is list and len(one) == n_features for one in lists), f"categories of {n_features} columns")
    _require(found.drop_idx_ is None and found._drop_idx_after_grouping is None, "no dropped categories")
    _require(found._infrequent_enabled is is_limited, "a limit of one-hot columns")
    for categories, count, indices, mapping in zip(*lists, strict=True):
        _require(_are_texts(categories), "categories that are texts")
        _require(
            type(count) is int and 0 < count <= (most or len(categories)), f"at most {most or len(categories)} columns"
        )
        if mapping is None:
            _require(indices is None and count == len(categories), "a one-hot column for each category")
        else:
            _require(_are_codes(mapping, count) and len(mapping) == len(categories), "a code for each category")
            _require(_are_codes(indices, len(categories)), "indices of infrequent categories")


def _are_texts(values: Any) -> bool:
    """Whether these are texts and missing values, which are looked up one by one; numbers would be searched for."""
    is_row = isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1
    return is_row and all(isinstance(value, str) or value is None or value != value for value in values)


def _are_codes(values: Any, count: int) -> bool:
    """Whether these are whole numbers from 0 to below `count`, along one axis."""
    is_whole = isinstance(values, np.ndarray) and values.dtype.kind == "i" and values.ndim == 1 and len(values)
    return bool(is_whole and 0 <= values.min() <= values.max() < count)


def _check_target_encoder(found: TargetEncoder, wanted: TargetEncoder, expected: Expected) -> None:
    n_features = _n_features(found)
    is_multiclass = found.target_type_ == "multiclass"
    n_classes = len(found.classes_) if is_multiclass else 1
    _require(found.target_type_ == wanted.target_type, f"an encoder of a {wanted.target_type} target")
    _require(not is_multiclass or n_classes == expected.n_classes, f"an encoder of {expected.n_classes} classes")
    _require(len(found.categories_) == n_features, f"categories of {n_features} columns")
    _require(len(found.encodings_) == n_features * n_classes, "an encoding of each column and class")
    _require(all(map(_are_texts, found.categories_)), "categories that are texts")


def _check_splines(found: SplineTransformer, wanted: SplineTransformer, expected: Expected) -> None:
    n_features, splines = _n_features(found), found.bsplines_
    n_columns = wanted.n_knots + wanted.degree - 1
    _require(type(splines) is list and len(splines) == n_features, f"splines of {n_features} columns")
    _require(found.n_features_out_ == n_features * n_columns, f"{n_columns} columns of each spline")
    for spline in splines:
        _require(type(spline) is BSpline and spline.k == wanted.degree, f"splines of degree {wanted.degree}")
        _require(spline.c.shape == (n_columns, n_columns), f"{n_columns} columns of each spline")


def _check_imputer(found: SimpleImputer, wanted: SimpleImputer, expected: Expected) -> None:
    n_features = _n_features(found)
    _require(found.statistics_.shape == (n_features,), f"a median of each of {n_features} columns")
    if wanted.add_indicator:
        _require(len(found.indicator_.features_) <= n_features, f"at most {n_features} indicators")
    else:
        _require(found.indicator_ is None, "no indicator")


def _check_logistic(found: LogisticRegression, wanted: LogisticRegression, expected: Expected) -> None:
    n_rows = expected.n_classes if expected.n_classes > 2 else 1
    _require(found.coef_.shape == (n_rows, _n_features(found)), "a coefficient of each feature")
    _require(found.intercept_.shape == (n_rows,), "an intercept of each class")
    _require(found.classes_.shape == (expected.n_classes,), f"the codes of {expected.n_classes} classes")


def _check_target(found: TransformedTargetRegressor, wanted: TransformedTargetRegressor, expected: Expected) -> None:
    _require(found._training_dim == 1, "one target")
    check_fitted(found.regressor_, wanted.regressor, expected)
    check_fitted(found.transformer_, wanted.transformer, expected)


def _check_regression(found: Ridge | ElasticNet, wanted: Ridge | ElasticNet, expected: Expected) -> None:
    _require(found.coef_.shape == (_n_features(found),), "a coefficient of each feature")
    _require(np.shape(found.intercept_) == (), "one intercept")


_CHECKS: dict[type, Callable[[Any, Any, Expected], None]] = {
    Pipeline: _check_pipeline,
    ColumnTransformer: _check_columns,
    **dict.fromkeys(
        (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor), _check_forest
    ),
    OneHotEncoder: _check_one_hot,
    TargetEncoder: _check_target_encoder,
    SplineTransformer: _check_splines,
    SimpleImputer: _check_imputer,
    LogisticRegression: _check_logistic,
    TransformedTargetRegressor: _check_target,
    Ridge: _check_regression,
    ElasticNet: _check_regression,
}
