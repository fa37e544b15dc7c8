"""A learner's estimator for raw columns, as scikit-learn knows estimators."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags, Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.core.warn import warn_user
from metahp.datasets.cells import normalise_column, read_labels, replace_markers
from metahp.datasets.portable import respell
from metahp.datasets.preparation import Column, Preparation
from metahp.datasets.read import make_input_frame
from metahp.learners.arguments import make_arguments, read_arguments
from metahp.learners.base import fit_quietly
from metahp.learners.registry import find_learner


class TableEstimator(BaseEstimator):
    """The estimator of a configuration for the columns of a table as they were given to metahp.

    `fit` and `predict` prepare text, dates and missing values as metahp did when it read the table, and ignore columns
    that it left out. They also take the features of a `Table`. Beside its own parameters, `get_params` and
    `set_params` know the arguments of the library's constructor: `n_estimators` of LightGBM.

    Attributes:
        configuration: Learner and hyperparameters.
        task_type: Type of the task.
        preparation: How raw columns become features.
        seed: Seed of the model.
        n_jobs: Number of threads of the model.
        estimator_: The library's estimator, fitted on the prepared features.
        classes_: Classes as the target has them; of a classification alone.
    """

    def __init__(
        self,
        configuration: Configuration,
        task_type: TaskType,
        preparation: Preparation,
        seed: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.configuration = configuration
        self.task_type = task_type
        self.preparation = preparation
        self.seed = seed
        self.n_jobs = n_jobs

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in make_arguments(self.configuration).items())
        return f"TableEstimator({self.configuration.learner}: {arguments})"[:N_CHAR_MAX]

    def __sklearn_tags__(self) -> Tags:
        return make_tags(super().__sklearn_tags__(), self.task_type)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Its own parameters and, if `deep`, the arguments of the library's constructor."""
        own = {name: getattr(self, name) for name in self._get_param_names()}
        return {**make_arguments(self.configuration), **own} if deep else own

    def set_params(self, **parameters: Any) -> Self:
        """Change its own parameters and arguments of the library's constructor.

        Raises:
            UnknownHyperparameterError, OutOfRangeError, InputError: the constructor takes no such argument or value.
        """
        own = {name: value for name, value in parameters.items() if name in self._get_param_names()}
        for name, value in own.items():
            setattr(self, name, value)
        if changes := {name: value for name, value in parameters.items() if name not in own}:
            if self.configuration.seed is not None:
                self.seed = self.configuration.seed
            known = {k: v for k, v in make_arguments(self.configuration).items() if k != "random_state"}
            arguments = {**known, **changes}
            self.configuration = read_arguments(find_learner(self.configuration.learner), arguments, self.task_type)
        return self

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit on rows; those without a target are left out.

        Args:
            X: A frame with the columns of the table, or an array with all of them, shape (n, d).
            y: Target, shape (n,).
            sample_weight: Weights of the rows, shape (n,); None where all are equal.

        Raises:
            InputError: columns are missing, X and y differ in length, or no target is known. Errors of the library are
                passed on.
        """
        features = self._make_features(X)
        targets, is_known = read_target(y, self.task_type, self.preparation)
        if len(is_known) != len(features):
            raise InputError(f"X and y differ in length: {len(features):,} rows and {len(is_known):,} targets.")
        if not len(targets):
            raise InputError("No row has a target, so there is nothing to fit on.", argument="y")
        takes_labels = find_learner(self.configuration.learner).takes_labels
        if self.task_type.is_classification and not takes_labels:
            self.classes_, targets = np.unique(targets, return_inverse=True)
        self.estimator_ = fit_features(
            self.configuration,
            features[is_known],
            targets,
            self.task_type,
            seed=self.seed,
            n_jobs=self.n_jobs,
            weights=None if sample_weight is None else np.asarray(sample_weight, dtype=float)[is_known],
        )
        self.feature_names_in_ = np.array(list_inputs(self.preparation), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        if self.task_type.is_classification and takes_labels:
            self.classes_ = self.estimator_.classes_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, or its number; shape (n,).

        Raises:
            InputError: columns are missing.
        """
        check_is_fitted(self)
        predicted = np.asarray(self.estimator_.predict(self._name_features(self._make_features(X))))
        takes_labels = find_learner(self.configuration.learner).takes_labels
        return self.classes_[predicted] if self.task_type.is_classification and not takes_labels else predicted

    @available_if(lambda self: self.task_type.is_classification)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class in the order of `classes_`, shape (n, n_classes).

        Raises:
            InputError: columns are missing.
        """
        check_is_fitted(self)
        return np.asarray(self.estimator_.predict_proba(self._name_features(self._make_features(X))))

    def score(self, X: Any, y: Any) -> float:
        """Accuracy or R2, as every estimator of scikit-learn, on the rows whose target is known."""
        targets, is_known = read_target(y, self.task_type, self.preparation)
        score = accuracy_score if self.task_type.is_classification else r2_score
        return float(score(targets, self.predict(X)[is_known]))

    @property
    def feature_importances_(self) -> np.ndarray:
        """Importance of each feature (`preparation.feature_names`) in the library's unit, shape (d,)."""
        check_is_fitted(self)
        learner = find_learner(self.configuration.learner)
        return require_importances(learner.read_importances(learner.extract_model(self.estimator_)), learner.name)

    def _make_features(self, X: Any) -> pd.DataFrame:
        features, notes = make_features(make_input_frame(X, self.preparation.inputs), self.preparation)
        warn_user(notes)
        return features

    def _name_features(self, features: pd.DataFrame) -> pd.DataFrame:
        names = find_learner(self.configuration.learner).fitted_names(list(features.columns))
        return features.set_axis(names, axis=1)


def make_features(frame: pd.DataFrame, preparation: Preparation) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Features of raw rows, or of rows that are features already, and what a user should know of them.

    Raises:
        InputError: columns are missing.
    """
    names = set(map(str, frame.columns))
    is_prepared = names.issuperset(preparation.feature_names) and not names.issuperset(
        column.name for column in preparation.columns
    )
    if is_prepared:
        return frame[list(preparation.feature_names)].reset_index(drop=True), ()
    return preparation.transform(frame)


def list_inputs(preparation: Preparation) -> list[str]:
    """Names of the raw columns, in order: all of them, or the used ones where a description has no others."""
    return list(preparation.inputs or (column.name for column in preparation.columns))


def fit_features(
    configuration: Configuration,
    features: pd.DataFrame,
    y: np.ndarray,
    task_type: TaskType,
    *,
    seed: int,
    n_jobs: int = 1,
    weights: np.ndarray | None = None,
) -> Any:
    """The learner's estimator fitted on prepared features, which it knows by its `fitted_names`.

    `weights` are those of the rows, shape (n,); None where all are equal.
    """
    learner = find_learner(configuration.learner)
    names = learner.fitted_names(list(map(str, features)))
    is_category = [isinstance(dtype, pd.CategoricalDtype) for dtype in features.dtypes]
    estimator = learner.estimator(
        configuration.with_arguments(None),
        task_type,
        numeric=[name for name, category in zip(names, is_category, strict=True) if not category],
        categorical=[name for name, category in zip(names, is_category, strict=True) if category],
        seed=seed if configuration.seed is None else configuration.seed,
        n_jobs=n_jobs,
    )
    return fit_quietly(estimator, features.set_axis(names, axis=1), y, weights)


def read_target(y: Any, task_type: TaskType, preparation: Preparation) -> tuple[np.ndarray, np.ndarray]:
    """The known targets, shape (n_known,), and which rows have one, shape (n,).

    Classes keep the type that they have; where types are mixed, they are texts.
    """
    column = y if isinstance(y, pd.Series) else pd.Series(_flatten(y))
    column = replace_markers(column, preparation.missing)
    if not task_type.is_classification:
        target = preparation.target or Column(name="target", kind="number")
        numbers = target.make_features(normalise_column(column))[target.name]
        is_known = np.isfinite(numbers)
        return numbers[is_known], is_known
    labels = read_labels(column, preparation.missing)
    is_known = pd.notna(labels)
    if preparation.target is not None and preparation.target.is_respelled:
        return np.array(list(respell(labels[is_known], preparation.target.spellings))), is_known
    classes = column[is_known].astype(object).infer_objects().to_numpy()
    return (np.array(list(map(str, classes))) if classes.dtype == object else classes), is_known


def _flatten(y: Any) -> np.ndarray:
    return np.asarray(y, dtype=object if isinstance(y, list | tuple) else None).reshape(-1)


def require_importances(values: np.ndarray | None, learner: str) -> np.ndarray:
    """Importances that there are.

    Raises:
        AttributeError: there are none, as scikit-learn has it.
    """
    if values is None:
        raise AttributeError(
            f"A {learner} model has no feature_importances_; use sklearn.inspection.permutation_importance."
        )
    return values


def make_tags(tags: Tags, task_type: TaskType) -> Tags:
    """scikit-learn's tags of an estimator for raw columns of any kind."""
    tags.target_tags.required = True
    tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
    if task_type.is_classification:
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags(multi_class=task_type is TaskType.MULTICLASS)
    else:
        tags.estimator_type = "regressor"
        tags.regressor_tags = RegressorTags()
    return tags
