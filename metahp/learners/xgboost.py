"""Gradient-boosted trees (XGBoost), with its native treatment of categories and missing values."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from metahp.core.configuration import Configuration, Value
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.base import Course, Learner, Split, list_arguments, list_checkpoints
from metahp.learners.boosting import SeenClasses, find_distribution, load_library, rename_first
from metahp.learners.expected import Expected
from metahp.learners.xgboost_json import check_model, forget_names

# `gblinear` is left out: it has no categories and no missing values. `max_leaves` is 0, no limit, for a tree that grows
# by depth.
_SPACE = SearchSpace(
    "xgboost",
    1,
    (
        Integer("n_estimators", 10, 1000, 100, is_log=True),
        Float("learning_rate", 0.01, 0.5, 0.3, is_log=True),
        Integer("max_depth", 2, 12, 6),
        Categorical("grow_policy", ("depthwise", "lossguide"), "depthwise"),
        Integer("max_leaves", 4, 256, 0, is_log=True, above=(0,), only_if=("grow_policy", ("lossguide",))),
        Float("min_child_weight", 1e-3, 100.0, 1.0, is_log=True),
        Float("gamma", 1e-3, 10.0, 0.0, is_log=True, below=(0.0,)),
        Float("subsample", 0.4, 1.0, 1.0),
        Float("colsample_bytree", 0.2, 1.0, 1.0),
        Float("colsample_bylevel", 0.2, 1.0, 1.0),
        Float("reg_alpha", 1e-3, 10.0, 0.0, is_log=True, below=(0.0,)),
        Float("reg_lambda", 1e-3, 100.0, 1.0, is_log=True, below=(0.0,)),
        Integer("max_cat_to_onehot", 1, 64, 4, is_log=True),
    ),
    iteration_axis="n_estimators",
)
# pytabkit 1.8 and AutoGluon 1.6; a value outside our ranges becomes their end (`min_child_weight` 5e-6), and
# `colsample_bynode` is left out. AutoGluon stops its runs of up to 10,000 trees early: here they have 11 to 15 divided
# by `learning_rate`, at most 1,000.
_TD = "pytabkit XGB-TD (Holzmüller et al., 2024, arXiv 2407.04491)"
_PUBLISHED: dict[bool, dict[str, dict[str, Value]]] = {
    True: {
        _TD: {
            "n_estimators": 1000,
            "learning_rate": 0.08,
            "max_depth": 6,
            "min_child_weight": 1e-3,
            "reg_lambda": 0.0,
            "subsample": 0.65,
            "colsample_bylevel": 0.9,
        }
    },
    False: {
        _TD: {
            "n_estimators": 1000,
            "learning_rate": 0.05,
            "max_depth": 9,
            "min_child_weight": 2.0,
            "reg_lambda": 0.0,
            "subsample": 0.7,
        }
    },
}
_PUBLISHED_BOTH: dict[str, dict[str, Value]] = {
    "AutoGluon zeroshot 2023 XGB_r33": {
        "n_estimators": 600,
        "learning_rate": 0.018,
        "max_depth": 10,
        "min_child_weight": 0.603,
        "colsample_bytree": 0.692,
    },
    "AutoGluon zeroshot 2023 XGB_r89": {
        "n_estimators": 150,
        "learning_rate": 0.0878,
        "max_depth": 5,
        "min_child_weight": 0.629,
        "colsample_bytree": 0.663,
    },
    "AutoGluon zeroshot 2023 XGB_r194": {
        "n_estimators": 150,
        "learning_rate": 0.0929,
        "max_depth": 7,
        "min_child_weight": 0.804,
        "colsample_bytree": 0.909,
    },
    "AutoGluon zeroshot 2023 XGB_r49": {
        "n_estimators": 400,
        "learning_rate": 0.0384,
        "max_depth": 7,
        "min_child_weight": 0.556,
        "colsample_bytree": 0.745,
    },
    "AutoGluon zeroshot 2025 XGB_r40": {
        "n_estimators": 1000,
        "learning_rate": 0.0112,
        "max_depth": 10,
        "grow_policy": "lossguide",
        "max_leaves": 35,
        "min_child_weight": 0.14,
        "subsample": 0.695,
        "colsample_bylevel": 0.638,
        "reg_alpha": 3.5,
        "reg_lambda": 1.31,
        "max_cat_to_onehot": 33,
    },
}
# XGBoost's default of the bins of a feature.
MAX_BIN = 256
# XGBoost's own values of what it chooses itself where the constructor is given None.
_OBJECTIVE = {
    TaskType.BINARY: "binary:logistic",
    TaskType.MULTICLASS: "multi:softprob",
    TaskType.REGRESSION: "reg:squarederror",
}
# Arguments of the constructor that a configuration cannot have: they belong to the run or to the table, or the model
# would be of another kind than the file of a model allows.
_LEFT_OUT = (
    *("booster", "callbacks", "device", "early_stopping_rounds", "enable_categorical", "eval_metric", "feature_types"),
    *("importance_type", "missing", "multi_strategy", "num_parallel_tree", "objective", "validate_parameters"),
    *("base_score", "feature_weights", "interaction_constraints", "sampling_method"),
    *("tree_method", "verbosity"),
)


class XGBoost(Learner):
    """The `xgboost` learner; it saves the `Booster` of a fitted estimator as JSON."""

    name = "xgboost"
    libraries = (find_distribution("xgboost-cpu", "xgboost"),)
    extra = "xgboost"
    design_size = 40
    stops_early = True
    monotone_argument = "monotone_constraints"
    takes_labels = False
    suffix = "json"
    file_format = "XGBoost"

    def space(self, task_type: TaskType) -> SearchSpace:
        """Thirteen hyperparameters, the same for all task types."""
        return _SPACE

    def published(self, task_type: TaskType) -> Mapping[str, Mapping[str, Value]]:
        """Published defaults, by source."""
        return {**_PUBLISHED[task_type.is_classification], **_PUBLISHED_BOTH}

    def constructor_arguments(self, configuration: Configuration) -> dict[str, Any]:
        """Arguments of `XGBClassifier` and `XGBRegressor`."""
        arguments: dict[str, Any] = configuration.hyperparameters
        if isinstance(signs := arguments.get("monotone_constraints"), str):
            arguments["monotone_constraints"] = tuple(int(sign) for sign in signs.split(","))
        return arguments

    def further_arguments(self, task_type: TaskType) -> Mapping[str, Value]:
        """Arguments of `XGBClassifier` or `XGBRegressor`."""
        left_out = () if task_type is TaskType.BINARY else ("scale_pos_weight",)
        return list_arguments(load_library("xgboost").XGBModel, (*_SPACE.names, *_LEFT_OUT, *left_out))

    def takes(self, name: str, value: Value, task_type: TaskType) -> bool:
        """As `Learner.takes`, and 0 as `max_depth` or `max_leaves`, which is no limit."""
        return (name == "max_leaves" and value == 0) or super().takes(name, value, task_type)

    def estimator(
        self,
        configuration: Configuration,
        task_type: TaskType,
        *,
        numeric: Sequence[str | int],
        categorical: Sequence[str | int],
        seed: int,
        n_jobs: int = 1,
    ) -> Any:
        """`XGBClassifier` or `XGBRegressor`; categories are the frame's `category` columns.

        Where `fitted_names` are others, a `Pipeline` that first calls the columns by them. A classifier asks for codes
        of classes. Every tree has a seed of its own, so that runs in turn draw what each would draw alone.
        """
        xgboost = load_library("xgboost")
        kind = xgboost.XGBClassifier if task_type.is_classification else xgboost.XGBRegressor
        model = kind(
            **self.constructor_arguments(configuration),
            enable_categorical=True,
            random_state=seed,
            seed_per_iteration=True,
            n_jobs=n_jobs,
        )
        names = [name for name in (*numeric, *categorical) if isinstance(name, str)]
        return rename_first(model, names, self.fitted_names(names))

    def fit(self, configuration: Configuration, split: Split, *, seed: int) -> Course:
        """Predictions at every checkpoint of one booster."""
        run = self.start(configuration, split, seed=seed)
        checkpoints = list_checkpoints(int(cast(int, configuration.hyperparameters["n_estimators"])))
        predictions = [run.grow(checkpoint) for checkpoint in checkpoints]
        return Course(checkpoints, predictions, run.fit_seconds, run.predict_seconds)

    def can_stop(self, configuration: Configuration) -> bool:
        """Always."""
        return True

    def start(self, configuration: Configuration, split: Split, *, seed: int) -> "XGBoostRun":
        """A booster without trees."""
        arguments = self.constructor_arguments(configuration)
        del arguments["n_estimators"]
        return XGBoostRun(arguments, split, seed)

    def fitted_names(self, names: Sequence[str]) -> list[str]:
        """The same names, or names by position where XGBoost would refuse some."""
        is_plain = not any(set(name) & set("[]<") for name in names)
        return list(names) if is_plain else [f"feature_{index}" for index in range(len(names))]

    def adapting(self, names: Sequence[str], *, has_categories: bool) -> tuple[str, ...]:
        """Two lines that call the columns by `fitted_names`, where these are others."""
        if self.fitted_names(names) == list(names):
            return ()
        return (
            "# XGBoost refuses names with one of the characters [ ] <",
            'X.columns = [f"feature_{i}" for i in range(X.shape[1])]',
        )

    def extract_model(self, estimator: Any) -> Any:
        """The booster, which knows categories by their codes alone."""
        xgboost = load_library("xgboost")
        content = (estimator[-1] if hasattr(estimator, "steps") else estimator).get_booster().save_raw("json")
        return xgboost.Booster(model_file=bytearray(forget_names(bytes(content))))

    def read_importances(self, model: Any) -> np.ndarray:
        """Mean gain of the splits by each feature, as shares of their sum; XGBoost's own choice."""
        gains = model.get_score(importance_type="gain")
        values = np.array([gains.get(f"f{index}", 0.0) for index in range(model.num_features())])
        return values / max(float(values.sum()), np.finfo(float).tiny)

    def outputs(self, model: Any, features: pd.DataFrame, task_type: TaskType) -> np.ndarray:
        """As `Learner.outputs`; for two classes, a booster gives only the probability of the second."""
        is_categorical = [isinstance(dtype, pd.CategoricalDtype) for dtype in features.dtypes]
        output = np.asarray(model.predict(_make_matrix(encode(features), np.array(is_categorical))), dtype=float)
        is_second = task_type.is_classification and output.ndim == 1
        return np.column_stack([1.0 - output, output]) if is_second else output

    def dump(self, model: Any) -> bytes:
        """The booster as XGBoost's JSON."""
        return bytes(model.save_raw("json"))

    def load(self, content: bytes, expected: Expected) -> Any:
        """The booster in a text; XGBoost sees only the checked parts of the text."""
        return load_library("xgboost").Booster(model_file=bytearray(check_model(content, expected)))


class XGBoostRun:
    """A booster that grows; its binned training rows are kept in the memory of the split.

    Args:
        arguments: Constructor's arguments without the number of trees.
        split: Training and test rows.
        seed: Seed of the booster.
    """

    def __init__(self, arguments: Mapping[str, Any], split: Split, seed: int) -> None:
        self._classes = SeenClasses(split)
        self.fit_seconds = self.predict_seconds = 0.0
        self._n_grown = 0
        if self._classes.constant is not None:
            return
        start = time.perf_counter()
        self._train, self._test = _find_matrices(split, self._classes, arguments.get("max_bin") or MAX_BIN)
        task_type = split.task_type
        parameters = {
            **{name: value for name, value in arguments.items() if value is not None},
            "objective": _OBJECTIVE[task_type],
            "seed": seed,
            "seed_per_iteration": True,
            "nthread": split.n_threads,
        }
        if task_type is TaskType.MULTICLASS:
            parameters["num_class"] = self._classes.count
        self._booster = load_library("xgboost").Booster(parameters, cache=[self._train, self._test])
        self.fit_seconds = time.perf_counter() - start

    def grow(self, n_iterations: int) -> np.ndarray:
        """As `Run.grow`."""
        if (constant := self._classes.constant) is not None:
            return constant
        start = time.perf_counter()
        for iteration in range(self._n_grown, n_iterations):
            self._booster.update(self._train, iteration)
        self._n_grown = n_iterations
        grown = time.perf_counter()
        # The booster keeps the sums of these rows, and adds only the trees that are new.
        predictions = self._classes.fill(self._booster.predict(self._test))
        self.fit_seconds += grown - start
        self.predict_seconds += time.perf_counter() - grown
        return predictions


def _find_matrices(split: Split, classes: SeenClasses, max_bin: int) -> tuple[Any, Any]:
    """The training rows in at most `max_bin` bins of a feature, and the test rows."""
    key, n_threads = f"xgboost rows in {max_bin} bins", split.n_threads
    if key not in split.memory:
        binned = {"max_bin": max_bin, "label": classes.y, "weight": split.w_train, "nthread": n_threads}
        train = _make_matrix(split.X_train, split.is_categorical, "QuantileDMatrix", **binned)
        split.memory[key] = train, _make_matrix(split.X_test, split.is_categorical, nthread=n_threads)
    return cast(tuple[Any, Any], split.memory[key])


def _make_matrix(X: np.ndarray, is_categorical: np.ndarray, kind: str = "DMatrix", **arguments: Any) -> Any:
    """Rows as XGBoost takes them; its default of `enable_categorical` changed in 3.3."""
    types = np.where(is_categorical, "c", "q").tolist()
    matrix = getattr(load_library("xgboost"), kind)
    return matrix(X, feature_types=types, enable_categorical=True, **arguments)


def encode(features: pd.DataFrame) -> np.ndarray:
    """Features as numbers, shape (n, d): categories as codes, missing values as NaN."""
    X = np.empty(features.shape)
    for index, (_, column) in enumerate(features.items()):
        is_category = isinstance(column.dtype, pd.CategoricalDtype)
        X[:, index] = np.where(column.isna(), np.nan, column.cat.codes) if is_category else column
    return X
