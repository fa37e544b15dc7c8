"""Gradient-boosted trees (LightGBM), with its native treatment of categories and missing values."""

import re
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import lightgbm
import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_sample_weight

from metahp.core.configuration import Configuration, Value
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.base import Course, Learner, Split, fill_missing_classes, list_arguments, list_checkpoints
from metahp.learners.boosting import rename_first, transform_raw
from metahp.learners.expected import Expected
from metahp.learners.lightgbm_text import OBJECTIVES, check_text, count_trees_per_iteration

_OBJECTIVE = {TaskType.BINARY: "binary", TaskType.MULTICLASS: "multiclass", TaskType.REGRESSION: "regression"}

# LightGBM refuses some characters in the names of features, and changes others; these it keeps, also in its own text.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\-]+")

_SPACE = SearchSpace(
    "lightgbm",
    1,
    (
        Integer("n_estimators", 10, 1000, 100, is_log=True),
        Float("learning_rate", 0.01, 0.5, 0.1, is_log=True),
        Integer("num_leaves", 3, 256, 31, is_log=True),
        Integer("max_depth", 2, 12, -1, above=(-1,)),
        Integer("min_child_samples", 1, 200, 20, is_log=True),
        Float("min_child_weight", 1e-3, 20.0, 1e-3, is_log=True),
        Float("subsample", 0.4, 1.0, 1.0),
        Float("colsample_bytree", 0.2, 1.0, 1.0),
        Float("reg_alpha", 1e-3, 10.0, 0.0, is_log=True, below=(0.0,)),
        Float("reg_lambda", 1e-3, 100.0, 0.0, is_log=True, below=(0.0,)),
        Categorical("extra_trees", (False, True), False),
        Float("cat_smooth", 1.0, 100.0, 10.0, is_log=True),
    ),
    iteration_axis="n_estimators",
)

# Hyperparameters that a source does not give keep LightGBM's default. A `min_child_weight` of 1e-7 becomes 1e-3, the
# lower end of our range.
_TD = "pytabkit LGBM-TD (Holzmüller et al., 2024, arXiv 2407.04491)"
_PUBLISHED: dict[bool, dict[str, dict[str, Value]]] = {
    True: {
        _TD: {"n_estimators": 1000, "learning_rate": 0.04, "num_leaves": 50, "min_child_samples": 40, "subsample": 0.75}
    },
    False: {
        _TD: {"n_estimators": 1000, "learning_rate": 0.05, "num_leaves": 100, "min_child_samples": 3, "subsample": 0.7}
    },
}
_PUBLISHED_BOTH: dict[str, dict[str, Value]] = {
    "AutoGluon 1.x GBMLarge": {
        "n_estimators": 300,
        "learning_rate": 0.03,
        "num_leaves": 128,
        "colsample_bytree": 0.9,
        "min_child_samples": 3,
    },
    "AutoGluon 1.x GBM extra_trees": {"n_estimators": 200, "learning_rate": 0.05, "extra_trees": True},
}


# Parameters of LightGBM that its estimators pass on, with LightGBM's defaults. Those that name files or machines are
# not among them: configurations come from the knowledge bases of others too.
_PARAMETERS: dict[str, Value] = {
    "cat_l2": 10.0,
    "data_sample_strategy": "bagging",
    "drop_rate": 0.1,
    "feature_fraction_bynode": 1.0,
    "max_bin": 255,
    "max_cat_threshold": 32,
    "max_cat_to_onehot": 4,
    "max_delta_step": 0.0,
    "max_drop": 50,
    "min_data_in_bin": 3,
    "min_data_per_group": 100.0,
    "monotone_constraints": None,
    "monotone_constraints_method": "basic",
    "monotone_penalty": 0.0,
    "other_rate": 0.1,
    "path_smooth": 0.0,
    "skip_drop": 0.5,
    "top_rate": 0.2,
    "uniform_drop": False,
    "use_missing": True,
    "xgboost_dart_mode": False,
    "zero_as_missing": False,
}
_OF_CLASSES: dict[str, Value] = {
    "is_unbalance": False,
    "neg_bagging_fraction": 1.0,
    "pos_bagging_fraction": 1.0,
    "scale_pos_weight": 1.0,
}
_BOOSTING = ("gbdt", "dart", "goss")
# Arguments of the estimator that a booster does not know, or whose predictions are no sums over its trees.
_OF_ESTIMATOR = ("boosting_type", "objective")
# Parameters by which rows are binned.
_OF_BINS = ("max_bin", "min_data_in_bin", "subsample_for_bin", "use_missing", "zero_as_missing")
# By whether it is a classification: values of the arguments of which not every value gives a model that
# `lightgbm_text` accepts.
_ALLOWED: dict[bool, dict[str, tuple[Value, ...]]] = {
    True: {"boosting_type": _BOOSTING, "objective": (None,), "class_weight": (None, "balanced")},
    False: {"boosting_type": _BOOSTING, "objective": (None, *OBJECTIVES), "class_weight": (None,)},
}


def _find_class(task_type: TaskType) -> type:
    return lightgbm.LGBMClassifier if task_type.is_classification else lightgbm.LGBMRegressor


class LightGBM(Learner):
    """The `lightgbm` learner; it saves the `Booster` of a fitted estimator in LightGBM's text format."""

    name = "lightgbm"
    libraries = ("lightgbm",)
    design_size = 64
    stops_early = True
    monotone_argument = "monotone_constraints"
    suffix = "txt"
    file_format = "LightGBM"

    def space(self, task_type: TaskType) -> SearchSpace:
        """Twelve hyperparameters, the same for all task types."""
        return _SPACE

    def published(self, task_type: TaskType) -> Mapping[str, Mapping[str, Value]]:
        """Published defaults, by source."""
        return {**_PUBLISHED[task_type.is_classification], **_PUBLISHED_BOTH}

    def constructor_arguments(self, configuration: Configuration) -> dict[str, Any]:
        """Arguments of `LGBMClassifier` and `LGBMRegressor`; `subsample` has no effect without `subsample_freq`."""
        arguments: dict[str, Any] = configuration.hyperparameters
        if arguments["subsample"] != 1.0:
            arguments.setdefault("subsample_freq", 1)
        if isinstance(signs := arguments.get("monotone_constraints"), str):
            arguments["monotone_constraints"] = [int(sign) for sign in signs.split(",")]
        return arguments

    def further_arguments(self, task_type: TaskType) -> Mapping[str, Value]:
        """Arguments of `LGBMClassifier` or `LGBMRegressor`, and parameters of LightGBM that these pass on."""
        arguments = list_arguments(_find_class(task_type), (*_SPACE.names, "importance_type"))
        return {**arguments, **_PARAMETERS, **(_OF_CLASSES if task_type is TaskType.BINARY else {})}

    def takes(self, name: str, value: Value, task_type: TaskType) -> bool:
        """As `Learner.takes`; a model of other kinds of boosting or objectives could not be read from its file."""
        allowed = _ALLOWED[task_type.is_classification].get(name)
        return super().takes(name, value, task_type) if allowed is None else value in allowed

    def read_importances(self, model: lightgbm.Booster) -> np.ndarray:
        """How many splits of the model use each feature."""
        return np.asarray(model.feature_importance())

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
        """`LGBMClassifier` or `LGBMRegressor`; categories are the frame's `category` columns.

        Where `fitted_names` are others, a `Pipeline` that first calls the columns by them.
        """
        model = _find_class(task_type)(
            **self.constructor_arguments(configuration), random_state=seed, n_jobs=n_jobs, verbosity=-1
        )
        names = [name for name in (*numeric, *categorical) if isinstance(name, str)]
        return rename_first(model, names, self.fitted_names(names))

    def fit(self, configuration: Configuration, split: Split, *, seed: int) -> Course:
        """Predictions at every checkpoint of one booster: partial sums over its trees."""
        if not self.can_stop(configuration):
            return self._fit_outside(configuration, split, seed)
        run = self.start(configuration, split, seed=seed)
        checkpoints = list_checkpoints(int(cast(int, configuration.hyperparameters["n_estimators"])))
        predictions = [run.grow(checkpoint) for checkpoint in checkpoints]
        return Course(checkpoints, predictions, run.fit_seconds, run.predict_seconds)

    def can_stop(self, configuration: Configuration) -> bool:
        """Whether a booster knows all its arguments; others are those of the estimator, which trains at once."""
        return not any(name in configuration.hyperparameters for name in _OF_ESTIMATOR)

    def start(self, configuration: Configuration, split: Split, *, seed: int) -> "BoosterRun":
        """A booster without trees."""
        arguments = self.constructor_arguments(configuration)
        del arguments["n_estimators"]
        return BoosterRun(arguments, split, seed, class_weight=arguments.pop("class_weight", None))

    def _fit_outside(self, configuration: Configuration, split: Split, seed: int) -> Course:
        """One fit of the estimator itself, which knows arguments that a booster does not, such as `boosting_type`."""
        model = _find_class(split.task_type)(
            **self.constructor_arguments(configuration),
            random_state=seed,
            n_jobs=1,
            force_row_wise=True,
            verbosity=-1,
        )
        categorical = np.flatnonzero(split.is_categorical).tolist()
        start = time.perf_counter()
        model.fit(split.X_train, split.y_train, split.w_train, categorical_feature=categorical)
        fitted = time.perf_counter()
        with warnings.catch_warnings():
            # LightGBM names the columns of a matrix, and scikit-learn then expects names here too.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            if split.task_type is TaskType.REGRESSION:
                prediction = model.predict(split.X_test)
            else:
                prediction = model.predict_proba(split.X_test)
                prediction = fill_missing_classes(prediction, model.classes_, split.n_classes)
        n_trees = int(configuration.hyperparameters["n_estimators"] or 1)
        return Course((n_trees,), [np.asarray(prediction)], fitted - start, time.perf_counter() - fitted)

    def fitted_names(self, names: Sequence[str]) -> list[str]:
        """The same names, or names by position where LightGBM would refuse or change some."""
        is_plain = all(map(_PLAIN_NAME.fullmatch, names))
        return list(names) if is_plain else [f"feature_{index}" for index in range(len(names))]

    def extract_model(self, estimator: Any) -> lightgbm.Booster:
        """The booster."""
        return estimator.booster_

    def outputs(self, model: lightgbm.Booster, features: pd.DataFrame, task_type: TaskType) -> np.ndarray:
        """As `Learner.outputs`; for two classes, a booster gives only the probability of the second."""
        output = np.asarray(model.predict(features))
        is_second = task_type.is_classification and output.ndim == 1
        return np.column_stack([1.0 - output, output]) if is_second else output

    def dump(self, model: lightgbm.Booster) -> bytes:
        """The booster in LightGBM's text format."""
        return model.model_to_string().encode()

    def load(self, content: bytes, expected: Expected) -> lightgbm.Booster:
        """The booster in a text; LightGBM sees only the checked parts of the text."""
        booster = lightgbm.Booster(model_str=check_text(content, expected))
        n_features, n_trees = booster.num_feature(), booster.num_model_per_iteration()
        if (n_features, n_trees) != (len(expected.features), count_trees_per_iteration(expected)):
            raise ValueError(f"expected {len(expected.features)} features, found {n_features}")
        return booster

    def adapting(self, names: Sequence[str], *, has_categories: bool) -> tuple[str, ...]:
        """Two lines that call the columns by `fitted_names`, where these are others."""
        if self.fitted_names(names) == list(names):
            return ()
        return (
            "# LightGBM refuses or changes names with other characters than letters, digits and _.-",
            'X.columns = [f"feature_{i}" for i in range(X.shape[1])]',
        )


class BoosterRun:
    """A booster that grows; its binned training rows are kept in the memory of the split.

    Args:
        arguments: Constructor's arguments without the number of trees.
        split: Training and test rows.
        seed: Seed of the booster.
        class_weight: "balanced" where all classes count the same, as the estimator has it; else None.
    """

    def __init__(
        self, arguments: Mapping[str, Any], split: Split, seed: int, *, class_weight: str | None = None
    ) -> None:
        self._split = split
        # Without force_row_wise LightGBM times two memory layouts, and its choice would depend on the machine.
        parameters = {
            **arguments,
            "verbosity": -1,
            "objective": _OBJECTIVE[split.task_type],
            "seed": seed,
            "num_threads": split.n_threads,
            "force_row_wise": True,
        }
        if split.task_type is TaskType.MULTICLASS:
            parameters["num_class"] = split.n_classes
        start = time.perf_counter()
        self._booster = lightgbm.Booster(parameters, _find_bins(split, arguments, class_weight))
        self.fit_seconds, self.predict_seconds = time.perf_counter() - start, 0.0
        self._raw: np.ndarray | float = 0.0
        self._n_predicted = 0
        self._n_asked = 0

    def grow(self, n_iterations: int) -> np.ndarray:
        """As `Run.grow`; trees without a split are left out."""
        start = time.perf_counter()
        for _ in range(n_iterations - self._n_asked):
            # Says whether no split was found; of a sample of the features the next tree may find one.
            self._booster.update()
        self._n_asked = n_iterations
        grown = time.perf_counter()
        n_trees = self._booster.current_iteration()
        # Only the new trees are evaluated, and never with a count of zero, which LightGBM takes for all trees.
        if (n_new := n_trees - self._n_predicted) > 0:
            self._raw = self._raw + np.asarray(
                self._booster.predict(
                    self._split.X_test,
                    raw_score=True,
                    start_iteration=self._n_predicted,
                    num_iteration=n_new,
                    num_threads=self._split.n_threads,
                )
            )
            self._n_predicted = n_trees
        predictions = transform_raw(np.asarray(self._raw), self._split.task_type)
        self.fit_seconds += grown - start
        self.predict_seconds += time.perf_counter() - grown
        return predictions


class _Bins(NamedTuple):
    """Binned rows, the `min_child_samples` that they were binned for, and the bins of each feature (0: left out)."""

    fewest: int
    data: lightgbm.Dataset
    n_bins: tuple[int, ...]


def _find_bins(split: Split, arguments: Mapping[str, Any], class_weight: str | None) -> lightgbm.Dataset:
    """The weighted training rows, binned as LightGBM does for trees with at least `min_child_samples` rows in a leaf.

    LightGBM leaves out a feature that no such tree can split, so that `colsample_bytree` draws from the others. What
    is left out for two numbers of rows is left out for every number between: its bins are those of the smaller one.
    """
    fewest = int(arguments["min_child_samples"])
    binning = {name: arguments[name] for name in _OF_BINS if name in arguments}
    # Rows that are kept keep their weights.
    key = " ".join(map(str, filter(None, ("lightgbm bins", binning, class_weight))))
    kept: list[_Bins] = split.memory.setdefault(key, [])
    below = max((each for each in kept if each.fewest <= fewest), key=lambda each: each.fewest, default=None)
    above = min((each for each in kept if each.fewest >= fewest), key=lambda each: each.fewest, default=None)
    if below is not None and above is not None and below.n_bins == above.n_bins:
        return below.data
    data = lightgbm.Dataset(
        split.X_train,
        split.y_train,
        weight=_find_weights(split, class_weight),
        free_raw_data=True,
        categorical_feature=np.flatnonzero(split.is_categorical).tolist(),
        params={**binning, "min_data_in_leaf": fewest, "num_threads": split.n_threads, "verbosity": -1},
    ).construct()
    n_bins = tuple(data.feature_num_bin(i) for i in range(split.X_train.shape[1]))
    kept.append(_Bins(fewest, data, n_bins))
    return data


def _find_weights(split: Split, class_weight: str | None) -> np.ndarray | None:
    """Weights of the training rows, those of their classes included."""
    if class_weight is None:
        return split.w_train
    of_classes = compute_sample_weight(class_weight, split.y_train)
    return of_classes if split.w_train is None else split.w_train * of_classes
