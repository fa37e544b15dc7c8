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
from metahp.learners.base import Course, Learner, Split, fill_missing_classes, list_checkpoints

_CLASSES = {
    ("random_forest", True): RandomForestClassifier,
    ("random_forest", False): RandomForestRegressor,
    ("extra_trees", True): ExtraTreesClassifier,
    ("extra_trees", False): ExtraTreesRegressor,
}
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
        values = configuration.values
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
        pipeline.fit(split.X_train, split.y_train)
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
