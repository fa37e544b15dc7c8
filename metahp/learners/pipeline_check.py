"""The check that a fitted pipeline from a file is what the learner's unfitted estimator becomes.

Some parts run native code (trees, splines, one-hot columns as a sparse matrix), which uses fitted values as indices
without a check. So parameters must be those of the learner, and the sizes of all fitted arrays must agree.
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

# Most jobs that an estimator may ask for, as each job may start a thread.
MAX_JOBS = 1024
# Parameters that may differ: the seed and the number of jobs belong to the run, not to the configuration.
_RUN_PARAMETERS = ("random_state", "n_jobs")
# `steps` holds the fitted steps of a pipeline, which are checked one by one.
_NOT_COMPARED = (*_RUN_PARAMETERS, "steps")


def check_fitted(fitted: Any, unfitted: Any, expected: Expected) -> None:
    """Check that `fitted` is the learner's estimator `unfitted` after a fit on the expected features and classes.

    Raises:
        ValueError: `fitted` is another estimator, or its parts do not fit together.
    """
    if not _is_same(fitted, unfitted):
        raise ValueError(f"expected {type(unfitted).__name__} with the parameters of the learner")
    n_jobs = getattr(fitted, "n_jobs", None)
    _require(n_jobs is None or abs(n_jobs) <= MAX_JOBS, f"at most {MAX_JOBS} jobs")
    check = _CHECKS.get(type(unfitted))
    if check is not None:
        check(fitted, unfitted, expected)


def _is_same(value: Any, wanted: Any) -> bool:
    """Whether two values of a parameter are equal; for estimators, the type and all parameters that both have."""
    if type(value) is not type(wanted):
        return isinstance(value, int | float) and isinstance(wanted, int | float) and value == wanted
    if isinstance(wanted, list | tuple):
        return len(value) == len(wanted) and all(map(_is_same, value, wanted))
    if isinstance(wanted, BaseEstimator | BaseCrossValidator):
        return _has_same_parameters(vars(value), vars(wanted))
    # NaN marks missing values, and NaN does not equal itself.
    return bool(value == wanted or (value != value and wanted != wanted))


def _has_same_parameters(parameters: dict[str, Any], wanted: dict[str, Any]) -> bool:
    run_values = [parameters.get(name) for name in _RUN_PARAMETERS if name in wanted]
    return all(value is None or isinstance(value, str) or type(value) is int for value in run_values) and all(
        name in _NOT_COMPARED or name not in parameters or _is_same(parameters[name], value)
        for name, value in wanted.items()
    )


def _require(condition: object, expectation: str) -> None:
    if not condition:
        raise ValueError(f"expected {expectation}")


def _count_features(fitted: Any) -> int:
    count = vars(fitted).get("n_features_in_")
    _require(type(count) is int and count >= 0, f"the number of features of {type(fitted).__name__}")
    return int(count)


def _check_pipeline(fitted: Pipeline, unfitted: Pipeline, expected: Expected) -> None:
    names = [name for name, _ in unfitted.steps]
    _require([name for name, _ in fitted.steps] == names, f"a pipeline of {' and '.join(names)}")
    for (_, step), (_, unfitted_step) in zip(fitted.steps, unfitted.steps, strict=True):
        check_fitted(step, unfitted_step, expected)


def _check_columns(fitted: ColumnTransformer, unfitted: ColumnTransformer, expected: Expected) -> None:
    transformers = list(fitted.transformers_)
    if transformers[len(unfitted.transformers) :] == [("remainder", "drop", [])]:
        transformers.pop()
    columns_of = [(name, columns) for name, _, columns in transformers]
    wanted = [(name, columns) for name, _, columns in unfitted.transformers]
    _require(columns_of == wanted, "the columns of preparation.json")
    # ColumnTransformer finds the columns of a frame by the next two attributes.
    positions = {feature: index for index, feature in enumerate(expected.features)}
    indices = {name: [positions[column] for column in columns] for name, columns in columns_of}
    _require(list(fitted.feature_names_in_) == list(expected.features), "the features of preparation.json")
    _require(fitted._transformer_to_input_indices == {"remainder": []} | indices, "the columns of preparation.json")
    may_be_sparse = any(
        value is True for name, value in unfitted.get_params().items() if name.endswith("sparse_output")
    )
    _require(fitted.sparse_output_ is False or may_be_sparse, "a dense output of ColumnTransformer")
    for (_, transformer, columns), (_, unfitted_transformer, _) in zip(
        transformers, unfitted.transformers, strict=True
    ):
        if unfitted_transformer == "passthrough":
            is_identity = type(transformer) is FunctionTransformer and transformer.func is None
            _require(transformer == "passthrough" or is_identity, "columns that pass unchanged")
        elif columns:
            check_fitted(transformer, unfitted_transformer, expected)


def _check_forest(fitted: Any, unfitted: Any, expected: Expected) -> None:
    n_features, trees = _count_features(fitted), fitted.estimators_
    _require(type(trees) is list and len(trees) == fitted.n_estimators, "as many trees as n_estimators")
    _require(fitted.n_outputs_ == 1, "one output of a forest")
    n_classes = expected.n_classes or 1
    for tree in trees:
        _require(type(tree) is type(unfitted.estimator), f"trees of type {type(unfitted.estimator).__name__}")
        _require(type(tree.tree_) is Tree and tree.n_outputs_ == 1, "a fitted tree with one output")
        _require(n_features == _count_features(tree) == tree.tree_.n_features, f"trees of {n_features} features")
        _require(tree.tree_.max_n_classes == n_classes, f"trees of {n_classes} class(es)")
    if expected.n_classes:
        for model in (fitted, *trees):
            _require(_is_integer(model.n_classes_, n_classes), f"a forest of {n_classes} classes")
            _require(np.shape(model.classes_) == (n_classes,), f"the codes of {n_classes} classes")


def _is_integer(value: Any, wanted: int) -> bool:
    return isinstance(value, int | np.integer) and value == wanted


def _check_one_hot(fitted: OneHotEncoder, unfitted: OneHotEncoder, expected: Expected) -> None:
    """The codes of each encoded column are below its number of one-hot columns, as they index a sparse matrix."""
    n_features, limit = _count_features(fitted), unfitted.max_categories
    is_limited = limit is not None or unfitted.min_frequency is not None
    none = [None] * n_features
    infrequent = [fitted._infrequent_indices, fitted._default_to_infrequent_mappings] if is_limited else [none, none]
    lists = (fitted.categories_, fitted._n_features_outs, *infrequent)
    _require(
        all(type(values) is list and len(values) == n_features for values in lists),
        f"categories of {n_features} columns",
    )
    _require(fitted.drop_idx_ is None and fitted._drop_idx_after_grouping is None, "no dropped categories")
    _require(fitted._infrequent_enabled is is_limited, "a limit of one-hot columns")
    for categories, count, indices, mapping in zip(*lists, strict=True):
        _require(_are_texts(categories), "categories that are texts")
        most = limit or len(categories)
        _require(type(count) is int and 0 < count <= most, f"at most {most} columns")
        if mapping is None:
            _require(indices is None and count == len(categories), "a one-hot column for each category")
        else:
            _require(_are_codes(mapping, count) and len(mapping) == len(categories), "a code for each category")
            _require(_are_codes(indices, len(categories)), "indices of infrequent categories")


def _are_texts(values: Any) -> bool:
    """Whether all values are texts or missing; scikit-learn would find numbers by binary search, which can go wrong."""
    is_row = isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1
    return is_row and all(isinstance(value, str) or value is None or value != value for value in values)


def _are_codes(values: Any, count: int) -> bool:
    """Whether the values are integers from 0 to `count` - 1 along one axis, at least one."""
    is_whole = isinstance(values, np.ndarray) and values.dtype.kind == "i" and values.ndim == 1 and len(values)
    return bool(is_whole and 0 <= values.min() <= values.max() < count)


def _check_target_encoder(fitted: TargetEncoder, unfitted: TargetEncoder, expected: Expected) -> None:
    n_features = _count_features(fitted)
    is_multiclass = fitted.target_type_ == "multiclass"
    n_classes = len(fitted.classes_) if is_multiclass else 1
    _require(fitted.target_type_ == unfitted.target_type, f"an encoder of a {unfitted.target_type} target")
    _require(not is_multiclass or n_classes == expected.n_classes, f"an encoder of {expected.n_classes} classes")
    _require(len(fitted.categories_) == n_features, f"categories of {n_features} columns")
    _require(len(fitted.encodings_) == n_features * n_classes, "an encoding of each column and class")
    _require(all(map(_are_texts, fitted.categories_)), "categories that are texts")


def _check_splines(fitted: SplineTransformer, unfitted: SplineTransformer, expected: Expected) -> None:
    n_features, splines = _count_features(fitted), fitted.bsplines_
    n_columns = unfitted.n_knots + unfitted.degree - 1
    _require(type(splines) is list and len(splines) == n_features, f"splines of {n_features} columns")
    _require(fitted.n_features_out_ == n_features * n_columns, f"{n_columns} columns of each spline")
    for spline in splines:
        _require(type(spline) is BSpline and spline.k == unfitted.degree, f"splines of degree {unfitted.degree}")
        _require(spline.c.shape == (n_columns, n_columns), f"{n_columns} columns of each spline")


def _check_imputer(fitted: SimpleImputer, unfitted: SimpleImputer, expected: Expected) -> None:
    n_features = _count_features(fitted)
    _require(fitted.statistics_.shape == (n_features,), f"a median of each of {n_features} columns")
    if unfitted.add_indicator:
        _require(len(fitted.indicator_.features_) <= n_features, f"at most {n_features} indicators")
    else:
        _require(fitted.indicator_ is None, "no indicator")


def _check_logistic(fitted: LogisticRegression, unfitted: LogisticRegression, expected: Expected) -> None:
    n_rows = expected.n_classes if expected.n_classes > 2 else 1
    _require(fitted.coef_.shape == (n_rows, _count_features(fitted)), "a coefficient of each feature")
    _require(fitted.intercept_.shape == (n_rows,), "an intercept of each class")
    _require(fitted.classes_.shape == (expected.n_classes,), f"the codes of {expected.n_classes} classes")


def _check_target(fitted: TransformedTargetRegressor, unfitted: TransformedTargetRegressor, expected: Expected) -> None:
    _require(fitted._training_dim == 1, "one target")
    check_fitted(fitted.regressor_, unfitted.regressor, expected)
    check_fitted(fitted.transformer_, unfitted.transformer, expected)


def _check_regression(fitted: Ridge | ElasticNet, unfitted: Ridge | ElasticNet, expected: Expected) -> None:
    _require(fitted.coef_.shape == (_count_features(fitted),), "a coefficient of each feature")
    _require(np.shape(fitted.intercept_) == (), "one intercept")


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
