"""What the boosted trees of XGBoost and CatBoost share: optional libraries, and folds that lack a class."""

from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.learners.base import Split, fill_missing_classes


def find_distribution(*names: str) -> str:
    """The first of these distributions that is installed, else the first one."""
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    return names[0]


@lru_cache
def load_library(name: str) -> ModuleType:
    """The module of an optional library; a learner's search space is known without it.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"The library {name} cannot be imported ({error}): pip install 'metahp[{name}]'", argument="learners"
        ) from None


def rename_first(model: Any, names: list[str], fitted_names: list[str]) -> Any:
    """The model, or a `Pipeline` that first calls the columns of its frame by other names."""
    if fitted_names == names:
        return model
    rename = FunctionTransformer(pd.DataFrame.set_axis, kw_args={"labels": fitted_names, "axis": 1})
    return Pipeline([("adapt", rename), ("model", model)])


class SeenClasses:
    """The classes of the training rows of a fold, as codes without a gap, which these libraries ask for.

    Attributes:
        y: Targets of the training rows; codes below `count` for a classification.
        count: Number of classes with training rows; 0 for a regression.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        self.y, self.count = split.y_train, 0
        if split.task_type.is_classification:
            self._seen, self.y = np.unique(split.y_train, return_inverse=True)
            self.count = len(self._seen)

    @property
    def constant(self) -> np.ndarray | None:
        """The predictions where all training rows have one target, shape as in `Course`; else None."""
        n_test = len(self._split.X_test)
        if self.count == 1:
            return self.fill(np.ones((n_test, 1)))
        is_constant = self.count == 0 and np.ptp(self.y) == 0
        return np.full(n_test, float(self.y[0])) if is_constant else None

    def fill(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions of the fitted model as `Course` has them; classes without training rows have probability zero."""
        if self._split.task_type is TaskType.REGRESSION:
            return np.asarray(predictions, dtype=float)
        if predictions.ndim == 1:
            predictions = np.column_stack([1.0 - predictions, predictions])
        return fill_missing_classes(np.asarray(predictions, dtype=float), self._seen, self._split.n_classes)


def transform_raw(raw: np.ndarray, task_type: TaskType) -> np.ndarray:
    """Probabilities, shape (n, n_classes), or numbers, shape (n,), from raw scores (n, n_classes) or (n,)."""
    if task_type is TaskType.REGRESSION:
        return raw.copy()
    # One score of a row stands for two classes, also where these are all that is left of more.
    if raw.ndim == 1:
        positive = 1.0 / (1.0 + np.exp(-np.clip(raw, -500, 500)))
        return np.column_stack([1.0 - positive, positive])
    weights = np.exp(raw - raw.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
