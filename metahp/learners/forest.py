"""Random forests and extremely randomised trees (scikit-learn)."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from metahp.core.configuration import Configuration, Value
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.base import (
    Course,
    Learner,
    Split,
    fill_missing_classes,
    fit_quietly,
    list_arguments,
    list_checkpoints,
)

_CLASSES = {
    ("random_forest", True): RandomForestClassifier,
    ("random_forest", False): RandomForestRegressor,
    ("extra_trees", True): ExtraTreesClassifier,
    ("extra_trees", False): ExtraTreesRegressor,
}
# Values that scikit-learn takes and that are no numbers, or no choices of the search space.
_ALLOWED: dict[str, tuple[Value, ...]] = {
    "class_weight": (None, "balanced", "balanced_subsample"),
    "max_features": ("sqrt", "log2", None),
    "max_samples": (None,),
}
_CRITERIA = {
    True: ("gini", "entropy", "log_loss"),
    False: ("squared_error", "absolute_error", "friedman_mse", "poisson"),
}
# A share of the rows may stand for a number of rows.
_SHARES = ("min_samples_split", "min_samples_leaf")
# Most one-hot columns of a categorical column: more would leave a split with many features that say little.
MAX_ONE_HOT = 30
# Median of the time of the default over that of LightGBM, on the 420 tasks of the seed that all learners finished.
_COSTS = {"random_forest": 12.4, "extra_trees": 8.6}


class ForestLearner(Learner):
    """The learners `random_forest` and `extra_trees`: a column encoder, then the forest."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.relative_cost = _COSTS[name]

    def space(self, task_type: TaskType) -> SearchSpace:
        """Eight or nine hyperparameters; `max_samples` is active only if trees see a bootstrap sample."""
        is_forest = self.name == "random_forest"
        # For regression no other criterion is as fast as the default and allows any target.
        criterion = (Categorical("criterion", ("gini", "entropy"), "gini"),) if task_type.is_classification else ()
        return SearchSpace(
            self.name,
            1,
            (
                Integer("n_estimators", 10, 300, 100, is_log=True),
                *criterion,
                Integer("max_depth", 3, 30, None, is_log=True, above=(None,)),
                Integer("min_samples_split", 2, 60, 2, is_log=True),
                Integer("min_samples_leaf", 1, 60, 1, is_log=True),
                Float("max_features", 0.05, 1.0, "sqrt" if task_type.is_classification else 1.0, below=("sqrt",)),
                Categorical("bootstrap", (True, False), is_forest),
                Float("max_samples", 0.3, 0.95, None, above=(None,), only_if=("bootstrap", (True,))),
                Categorical("categorical", ("ordinal", "onehot"), "ordinal"),
            ),
            iteration_axis="n_estimators",
        )

    def published(self, task_type: TaskType) -> Mapping[str, Mapping[str, Value]]:
        """Published defaults, by source."""
        return {
            "AutoGluon 1.x RF/XT entropy, 300 trees": {"n_estimators": 300, "criterion": "entropy"}
            if task_type.is_classification
            else {"n_estimators": 300}
        }

    def further_arguments(self, task_type: TaskType) -> Mapping[str, Value]:
        """The other arguments of the forest's constructor."""
        return list_arguments(_CLASSES[self.name, task_type.is_classification], self.space(task_type).names)

    def takes(self, name: str, value: Value, task_type: TaskType) -> bool:
        """As `Learner.takes`, and what scikit-learn takes in the place of a number or of a choice."""
        if name == "criterion":
            return value in _CRITERIA[task_type.is_classification]
        if name in _ALLOWED and value in _ALLOWED[name]:
            return True
        is_share = name in _SHARES and isinstance(value, float) and 0 < value < 1
        return is_share or (name != "class_weight" and super().takes(name, value, task_type))

    def read_importances(self, model: Pipeline) -> np.ndarray:
        """The forest's importances, summed over the one-hot columns of a feature."""
        encode, values = model[0], np.asarray(model[-1].feature_importances_)
        places = {name: place for place, name in enumerate(encode.feature_names_in_)}
        importances = np.zeros(len(places))
        for name, transformer, columns in encode.transformers_:
            part = values[encode.output_indices_[name]]
            if name == "remainder" or not len(columns):
                continue
            widths = [1] * len(columns) if len(part) == len(columns) else transformer._n_features_outs
            for column, of_column in zip(columns, np.split(part, np.cumsum(widths)[:-1]), strict=True):
                importances[places[column]] = of_column.sum()
        return importances

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
        """A `Pipeline` with the steps `encode` and `model`."""
        values = configuration.hyperparameters
        encoder: OrdinalEncoder | OneHotEncoder
        if values.pop("categorical") == "onehot":
            encoder = OneHotEncoder(
                handle_unknown="infrequent_if_exist", max_categories=MAX_ONE_HOT, sparse_output=False
            )
        else:
            encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
        encode = ColumnTransformer(
            [("numeric", "passthrough", list(numeric)), ("categorical", encoder, list(categorical))]
        )
        model = _CLASSES[self.name, task_type.is_classification](**values, random_state=seed, n_jobs=n_jobs)
        return Pipeline([("encode", encode), ("model", model)])

    def fit(self, configuration: Configuration, split: Split, *, seed: int) -> Course:
        """Predictions at every checkpoint of one forest: the means over its first trees."""
        pipeline = self.estimator(
            configuration,
            split.task_type,
            numeric=np.flatnonzero(~split.is_categorical).tolist(),
            categorical=np.flatnonzero(split.is_categorical).tolist(),
            seed=seed,
        )
        start = time.perf_counter()
        fit_quietly(pipeline, split.X_train, split.y_train, split.w_train)
        fitted = time.perf_counter()
        X = np.asarray(pipeline[0].transform(split.X_test), dtype=np.float32)
        model = pipeline[1]
        checkpoints = list_checkpoints(len(model.estimators_))
        total: np.ndarray | float = 0.0
        predictions = []
        for count, tree in enumerate(model.estimators_, start=1):
            if split.task_type.is_classification:
                total = total + tree.predict_proba(X, check_input=False)
            else:
                total = total + tree.predict(X, check_input=False)
            if count in checkpoints:
                mean = np.asarray(total) / count
                is_class = split.task_type.is_classification
                predictions.append(fill_missing_classes(mean, model.classes_, split.n_classes) if is_class else mean)
        return Course(checkpoints, predictions, fitted - start, time.perf_counter() - fitted)


RANDOM_FOREST, EXTRA_TREES = ForestLearner("random_forest"), ForestLearner("extra_trees")
