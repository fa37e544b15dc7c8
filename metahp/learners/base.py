"""A learner: everything that metahp knows of a family of models and of the library behind it, in one place."""

import re
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from metahp.core.configuration import Configuration, Value
from metahp.core.errors import InputError
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.learners.expected import Expected
from metahp.learners.skops_pipeline import dump_pipeline, load_pipeline

# Iterations (trees) at which a learning curve is read, about geometric; only those below a trial's own are.
CHECKPOINTS = (5, 10, 20, 35, 50, 75, 100, 150, 250, 400, 600, 1000)
# Names of learners become parts of file names, of keys and of command lines.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One fold: `X` are float64 matrices with categories as codes and NaN for missing, `y_train` codes or numbers."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    is_categorical: np.ndarray
    task_type: TaskType
    n_classes: int


@dataclass(frozen=True, slots=True)
class Course:
    """Predictions for the test rows along one training run.

    `predictions[i]` belongs to `checkpoints[i]` iterations and the last entry to the finished model: shape
    (n_test, n_classes) probabilities, or (n_test,) numbers for regression.
    """

    checkpoints: tuple[int, ...]
    predictions: Sequence[np.ndarray]
    fit_seconds: float
    predict_seconds: float


class Learner(ABC):
    """A family of models with its search space, and the only place that knows the library behind it.

    A learner of your own names itself and gives a search space and a scikit-learn estimator. What is inherited fits
    that estimator, keeps it in skops' format and exports it as a scikit-learn pipeline.

    Attributes:
        name: Small letters, digits and underscores; the search space is called the same.
        libraries: Distributions whose versions a trial records, and that a script needs.
        design_size: How many configurations the seed measures on every task.
        iterations: What a finished model counts as, where the learner has no learning curve.
        stops_early: Fewer iterations than were run may be better, so that early stopping is worth its while.
        suffix: Of the file that a fitted model is kept in.
        file_format: What that file is, in words.
        trusted_types: Classes of fitted estimators that may be read from a file, beside those of scikit-learn that
            metahp's own learners use. They are made from their attributes alone; vouch only for classes whose code
            stands attributes of any content.
    """

    name: str
    libraries: tuple[str, ...] = ("scikit-learn",)
    design_size: int = 30
    iterations: int = 1
    stops_early: bool = False
    suffix: str = "skops"
    file_format: str = "skops"
    trusted_types: tuple[type, ...] = ()

    @abstractmethod
    def space(self, task_type: TaskType) -> SearchSpace:
        """The search space for tasks of this type; its version is the same for all types."""

    @abstractmethod
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
        """An unfitted scikit-learn estimator for frames (or matrices) with these columns.

        Numeric columns may hold NaN; categorical ones hold texts (codes in a matrix) or missing values.
        """

    def published(self, task_type: TaskType) -> Mapping[str, Mapping[str, Value]]:
        """Tuned defaults that others have published, by source; values not named are the library's defaults."""
        return {}

    def constructor_arguments(self, configuration: Configuration) -> dict[str, Any]:
        """The configuration as shown to a user: what the library's constructor takes, with every companion set."""
        return configuration.values

    def fit(self, configuration: Configuration, split: Split, *, seed: int) -> Course:
        """Fit once on a fold, on one thread, and predict its test rows at every checkpoint.

        Raises whatever the library raises.
        """
        estimator = self.estimator(
            configuration,
            split.task_type,
            numeric=np.flatnonzero(~split.is_categorical).tolist(),
            categorical=np.flatnonzero(split.is_categorical).tolist(),
            seed=seed,
        )
        start = time.perf_counter()
        fit_quietly(estimator, split.X_train, split.y_train)
        fitted = time.perf_counter()
        if split.task_type.is_classification:
            prediction = all_classes(estimator.predict_proba(split.X_test), estimator.classes_, split.n_classes)
        else:
            prediction = np.asarray(estimator.predict(split.X_test))
        return Course((self.iterations,), [prediction], fitted - start, time.perf_counter() - fitted)

    def fit_many(
        self, configurations: Iterable[Configuration], splits: Iterable[Split], seeds: Iterable[int]
    ) -> Iterator[Course]:
        """The courses of many fits, each of one configuration on one split with one seed, in their order.

        Here one after another, and each only when it is asked for; a learner that trains a population at once overrides
        it.

        Raises:
            ValueError: the three differ in length; or whatever the library raises.
        """
        for configuration, split, seed in zip(configurations, splits, seeds, strict=True):
            yield self.fit(configuration, split, seed=seed)

    def fitted_names(self, names: Sequence[str]) -> list[str]:
        """The names by which the fitted model knows features called `names`, in the same order."""
        return list(names)

    def kept(self, estimator: Any) -> Any:
        """The model that is kept of a fitted estimator; `dump`, `load` and `outputs` are of it."""
        return estimator

    def outputs(self, model: Any, features: pd.DataFrame, task_type: TaskType) -> np.ndarray:
        """Predictions of a kept model, for features called as it knows them.

        Returns:
            Probabilities of the classes that it was fitted on, shape (n, n_seen), or numbers, shape (n,).
        """
        return np.asarray((model.predict_proba if task_type.is_classification else model.predict)(features))

    def dump(self, model: Any) -> bytes:
        """A kept model as bytes that hold data only.

        Raises:
            InputError: the model holds types that `load` would refuse.
        """
        return dump_pipeline(model, self.name, self.trusted_types)

    def load(self, content: bytes, expected: Expected) -> Any:
        """The kept model in the content of a file, which may come from anybody.

        Raises:
            ForeignError: it holds types that this learner does not use.
            ValueError: it is damaged, or not the model that was expected; crafted content may raise any other error.
        """
        wanted = self.estimator(
            expected.configuration,
            expected.task_type,
            numeric=expected.numeric,
            categorical=expected.categorical,
            seed=0,
        )
        return load_pipeline(content, wanted, expected, self.trusted_types)

    def renaming(self, names: Sequence[str]) -> tuple[str, ...]:
        """Lines of a script that rename the columns of its `X`, where the estimator refuses `names`; often none."""
        return ()


def make_learner(given: object) -> Learner:
    """The learner that is given, or one of the class that is given, once it is known to fit together.

    Raises:
        InputError: it is no learner, cannot be made, or its name, spaces and libraries do not fit together.
    """
    kind = given if isinstance(given, type) else type(given)
    if not issubclass(kind, Learner):
        raise InputError(f"Expected a subclass of metahp.Learner or an instance of one, got {given!r}.")
    try:
        learner = kind() if given is kind else cast(Learner, given)
    except TypeError as error:
        raise InputError(f"{kind.__qualname__} cannot be made without arguments ({error}).") from None
    _check(learner)
    return learner


def _check(learner: Learner) -> None:
    name = getattr(learner, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"The name of a learner begins with a small letter and has up to 60 small letters, digits and underscores; "
            f"{type(learner).__qualname__} has {name!r}."
        )
    for task_type in TaskType:
        if (found := learner.space(task_type).learner) != name:
            raise InputError(
                f"The search space of '{name}' for a {task_type} task is called '{found}'; expected the learner's name."
            )
    for library in learner.libraries:
        try:
            version(library)
        except PackageNotFoundError:
            raise InputError(
                f"The learner '{name}' names the library '{library}', and no distribution of this name is installed; "
                "expected the name that `pip install` takes."
            ) from None


def fit_quietly(estimator: Any, X: Any, y: np.ndarray) -> Any:
    """The estimator fitted, without the warnings that its score already answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # On few rows QuantileTransformer takes as many quantiles as there are rows, which is what we want.
        warnings.filterwarnings("ignore", message="n_quantiles")
        return estimator.fit(X, y)


def all_classes(probabilities: np.ndarray, seen: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities of every class, shape (n, n_classes); zero for classes that the training rows lacked."""
    if len(seen) == n_classes:
        return np.asarray(probabilities)
    full = np.zeros((len(probabilities), n_classes))
    full[:, np.asarray(seen, dtype=int)] = probabilities
    return full


def checkpoints_below(n_estimators: int) -> tuple[int, ...]:
    """The checkpoints below `n_estimators`, then `n_estimators` itself."""
    return (*(c for c in CHECKPOINTS if c < n_estimators), n_estimators)
