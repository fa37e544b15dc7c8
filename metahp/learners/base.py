"""A learner: everything that metahp knows about a family of models and its library, in one place."""

import inspect
import re
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import has_fit_parameter

from metahp.core.configuration import Configuration, Value
from metahp.core.errors import InputError
from metahp.core.space import Hyperparameter, Number, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.expected import Expected
from metahp.learners.skops_pipeline import dump_pipeline, load_pipeline

# Iterations (trees) at which a learning curve is measured, roughly geometric; a trial uses those below its own number.
CHECKPOINTS = (5, 10, 20, 35, 50, 75, 100, 150, 250, 400, 600, 1000)
# A run with early stopping is measured at these too: the best number of iterations is found more closely, and a run
# that no longer improves ends sooner.
FINE_CHECKPOINTS = (5, 10, 15, 20, 27, 35, 42, 50, 62, 75, 87, 100, 125, 150, 200, 250, 325, 400, 500, 600, 800, 1000)
# Constructor arguments that belong to the run and not to a configuration.
_RUN_ARGUMENTS = ("random_state", "n_jobs", "verbose", "verbosity", "warm_start")
# Names of learners become parts of file names, keys and commands.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
# A sign for each feature: whether predictions rise or fall with it, or do either.
_SIGNS = re.compile(r"-?[01](,-?[01])*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Training and test rows of one fold.

    Attributes:
        X_train: Shape (n_train, d), float64, categories as codes and missing values as NaN.
        y_train: Shape (n_train,), class codes below `n_classes`, or numbers for regression.
        X_test: Shape (n_test, d), like `X_train`.
        is_categorical: Shape (d,).
        task_type: Type of the task.
        n_classes: Number of classes of the task; 0 for regression.
        n_threads: Number of threads that a fit may use.
        w_train: Weights of the training rows, shape (n_train,), at least 0 and not all 0; None where all are equal.
        memory: What a learner keeps of these rows for the next fit on them, such as binned features, by its own key.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    is_categorical: np.ndarray
    task_type: TaskType
    n_classes: int
    n_threads: int = 1
    w_train: np.ndarray | None = None
    memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Course:
    """Predictions for the test rows along one training run.

    `predictions[i]` are those after `checkpoints[i]` iterations; the last entry belongs to the finished model. Each has
    shape (n_test, n_classes), probabilities, or (n_test,), numbers for regression.
    """

    checkpoints: tuple[int, ...]
    predictions: Sequence[np.ndarray]
    fit_seconds: float
    predict_seconds: float


class Run(Protocol):
    """A fit that can be stopped and continued.

    Attributes:
        fit_seconds: Seconds of training so far.
        predict_seconds: Seconds of prediction so far.
    """

    fit_seconds: float
    predict_seconds: float

    def grow(self, n_iterations: int) -> np.ndarray:
        """Train up to `n_iterations` iterations, never fewer than before.

        Returns:
            Predictions for the test rows, as in `Course`.
        """


class Learner(ABC):
    """A family of models with its search space, and the only place that knows the library behind it.

    To add a learner, subclass this, set `name` and `hyperparameters` (or define `space`), and define `estimator`. The
    inherited methods fit the estimator, save it in skops' format and export it as a scikit-learn pipeline.

    Attributes:
        name: Lower-case letters, digits and underscores; its search spaces have the same name.
        hyperparameters: Those of the search space, where it is the same for all task types and `space` is inherited.
        space_version: Version of that space; raise it when you change the space.
        libraries: Distributions that an exported script needs; each trial records their versions.
        extra: The extra of metahp that installs them; empty where metahp itself does.
        design_size: Number of configurations that the seed measures on every task.
        relative_cost: How long the default takes to fit, as a multiple of LightGBM's; under a time limit the cheapest
            default is tried first.
        iterations: Number of iterations that a finished model reports, for a learner without a learning curve.
        stops_early: Whether fewer iterations may be better, so that early stopping is useful.
        takes_labels: Whether the estimator takes classes by any name; otherwise it takes codes from 0 on.
        monotone_argument: The constructor's argument that makes predictions rise (1) or fall (-1) with a feature; a
            configuration has it as text, such as "1,0,-1", with a sign for each feature. Empty where there is none.
        suffix: Suffix of the file of a fitted model.
        file_format: Name of the format of that file, for messages.
        trusted_types: Classes of fitted estimators that may be loaded from a file, in addition to the classes of
            scikit-learn that metahp's learners use. Their objects are built from attributes alone, which may have any
            content: trust only classes whose code is safe with that.
    """

    name: str
    hyperparameters: tuple[Hyperparameter, ...] = ()
    space_version: int = 1
    libraries: tuple[str, ...] = ("scikit-learn",)
    extra: str = ""
    design_size: int = 30
    relative_cost: float = 1.0
    iterations: int = 1
    stops_early: bool = False
    takes_labels: bool = True
    monotone_argument: str = ""
    suffix: str = "skops"
    file_format: str = "skops"
    trusted_types: tuple[type, ...] = ()

    def explain_missing(self) -> str:
        """What to install before the learner can train, in one line; empty if it can."""
        if missing := [library for library in self.libraries if not _is_installed(library)]:
            return (
                f"The learner '{self.name}' needs {' and '.join(missing)}, which is not installed: "
                f"pip install '{f'metahp[{self.extra}]' if self.extra else ' '.join(missing)}'"
            )
        return ""

    def space(self, task_type: TaskType) -> SearchSpace:
        """The search space for tasks of this type; its version is the same for all types."""
        return SearchSpace(self.name, self.space_version, self.hyperparameters)

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

        Numeric columns may hold NaN; categorical columns hold texts (codes in a matrix) or missing values.
        """

    def published(self, task_type: TaskType) -> Mapping[str, Mapping[str, Value]]:
        """Tuned defaults that others have published, by source; other hyperparameters keep the library's defaults."""
        return {}

    def constructor_arguments(self, configuration: Configuration) -> dict[str, Any]:
        """Arguments of the library's constructor, including those that a hyperparameter needs to have an effect."""
        return configuration.values

    def further_arguments(self, task_type: TaskType) -> Mapping[str, Value]:
        """Arguments that a user's own configuration may have beside the hyperparameters, with the library's defaults.

        The estimator of a configuration with such an argument passes it on to the library.
        """
        return {}

    def takes(self, name: str, value: Value, task_type: TaskType) -> bool:
        """Whether a user's own configuration may have this value outside the search space.

        Here: any number for a hyperparameter that is one, whole where the hyperparameter is, and any value of the
        `further_arguments`.
        """
        axis = next((axis for axis in self.space(task_type) if axis.name == name), None)
        if axis is None:
            is_known = name in self.further_arguments(task_type)
            return is_known and (name != self.monotone_argument or _SIGNS.fullmatch(str(value)) is not None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(axis, Number):
            return False
        return not axis.is_integer or float(value).is_integer()

    def read_importances(self, model: Any) -> np.ndarray | None:
        """Importance of each feature of a saved model, shape (d,), in the library's unit; None where it has none."""
        values = getattr(model, "feature_importances_", None)
        return None if values is None else np.asarray(values)

    def fit(self, configuration: Configuration, split: Split, *, seed: int) -> Course:
        """Predictions for the test rows of a fold at every checkpoint of one fit, in one thread.

        Errors of the library are passed on.
        """
        estimator = self.estimator(
            configuration,
            split.task_type,
            numeric=np.flatnonzero(~split.is_categorical).tolist(),
            categorical=np.flatnonzero(split.is_categorical).tolist(),
            seed=seed,
        )
        start = time.perf_counter()
        fit_quietly(estimator, split.X_train, split.y_train, split.w_train)
        fitted = time.perf_counter()
        if split.task_type.is_classification:
            prediction = fill_missing_classes(
                estimator.predict_proba(split.X_test), estimator.classes_, split.n_classes
            )
        else:
            prediction = np.asarray(estimator.predict(split.X_test))
        return Course((self.iterations,), [prediction], fitted - start, time.perf_counter() - fitted)

    def can_stop(self, configuration: Configuration) -> bool:
        """Whether a fit of `configuration` can be stopped and continued, so that `start` may be called."""
        return False

    def start(self, configuration: Configuration, split: Split, *, seed: int) -> Run:
        """A fit that has no iterations yet; grown to all of them, it gives the predictions of `fit`.

        Raises:
            NotImplementedError: a fit cannot be stopped before its end.
        """
        raise NotImplementedError(f"A fit of {self.name} cannot be stopped before its end.")

    def fit_many(
        self, configurations: Iterable[Configuration], splits: Iterable[Split], seeds: Iterable[int]
    ) -> Iterator[Course]:
        """The courses of many fits, in order; fit i uses configuration i, split i and seed i.

        Each fit runs when its course is requested. A learner that trains a population at once overrides this.

        Raises:
            ValueError: the three arguments differ in length. Errors of the library are passed on.
        """
        for configuration, split, seed in zip(configurations, splits, seeds, strict=True):
            yield self.fit(configuration, split, seed=seed)

    def fitted_names(self, names: Sequence[str]) -> list[str]:
        """The names that the fitted model gives to features called `names`, in the same order."""
        return list(names)

    def extract_model(self, estimator: Any) -> Any:
        """The part of a fitted estimator that is saved, for `dump` and `outputs`; `load` returns it."""
        return estimator

    def outputs(self, model: Any, features: pd.DataFrame, task_type: TaskType) -> np.ndarray:
        """Predictions of a saved model for features with its `fitted_names`.

        Returns:
            Probabilities of the classes that it was fitted on, shape (n, n_seen), or numbers, shape (n,).
        """
        return np.asarray((model.predict_proba if task_type.is_classification else model.predict)(features))

    def dump(self, model: Any) -> bytes:
        """A model from `extract_model` as bytes that hold data and no code.

        Raises:
            InputError: the model holds types that `load` would refuse.
        """
        return dump_pipeline(model, self.name, self.trusted_types)

    def load(self, content: bytes, expected: Expected) -> Any:
        """The model in the content of an untrusted file.

        Raises:
            ForeignError: the file holds types that this learner does not use.
            ValueError: the file is damaged, or holds another model than expected. Crafted content may raise any other
                error.
        """
        unfitted = self.estimator(
            expected.configuration,
            expected.task_type,
            numeric=expected.numeric,
            categorical=expected.categorical,
            seed=0,
        )
        return load_pipeline(content, unfitted, expected, self.trusted_types)

    def adapting(self, names: Sequence[str], *, has_categories: bool) -> tuple[str, ...]:
        """Lines of a script that make of its `X` what the estimator takes; often none.

        They do what the step `adapt` of a `Pipeline` of `estimator` does, which a script leaves out.

        Args:
            names: Of the columns.
            has_categories: Whether some columns are categorical.
        """
        return ()


def list_arguments(constructor: type, left_out: Collection[str]) -> dict[str, Value]:
    """Arguments of a constructor with their defaults, without those of the run and those `left_out`."""
    arguments = inspect.signature(constructor).parameters.values()
    return {
        argument.name: argument.default
        for argument in arguments
        if argument.kind is not argument.VAR_KEYWORD
        and argument.name not in (*_RUN_ARGUMENTS, *left_out)
        and (argument.default is None or isinstance(argument.default, bool | int | float | str))
    }


def make_learner(learner_or_class: object) -> Learner:
    """The given learner, or an instance of the given class, after a check of its name, spaces and libraries.

    Raises:
        InputError: the argument is no learner, its class cannot be called without arguments, or the check fails.
    """
    kind = learner_or_class if isinstance(learner_or_class, type) else type(learner_or_class)
    if not issubclass(kind, Learner):
        raise InputError(f"Expected a subclass of metahp.Learner or an instance of one, got {learner_or_class!r}.")
    try:
        learner = kind() if learner_or_class is kind else cast(Learner, learner_or_class)
    except TypeError as error:
        raise InputError(
            f"{kind.__qualname__}() fails ({error}); expected a class that takes no arguments and defines the "
            "method estimator()."
        ) from None
    _check_learner(learner)
    return learner


def _check_learner(learner: Learner) -> None:
    name = getattr(learner, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"Expected the name of a learner to have at most 60 lower-case letters, digits and underscores and "
            f"to begin with a letter; {type(learner).__qualname__} has the name {name!r}."
        )
    for task_type in TaskType:
        space = learner.space(task_type)
        if (space_name := space.learner) != name:
            raise InputError(
                f"Expected the search space of '{name}' for a {task_type} task to have the learner's name, "
                f"got '{space_name}'."
            )
        if not len(space):
            raise InputError(
                f"The learner '{name}' has no hyperparameters; set them in {type(learner).__qualname__}, as in "
                'hyperparameters = (metahp.Integer("n_neighbors", 1, 50, 5),), or define space().'
            )
    for library in learner.libraries:
        if not _is_installed(library):
            raise InputError(
                f"The learner '{name}' needs the library '{library}', but no distribution of this name is installed; "
                "install it, or give the name that `pip install` takes."
            )


def _is_installed(library: str) -> bool:
    try:
        version(library)
    except PackageNotFoundError:
        return False
    return True


def fit_quietly(estimator: Any, X: Any, y: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """The fitted estimator; warnings about convergence are ignored, as the score shows whether it is good enough.

    Raises:
        InputError: there are weights, and the estimator takes none.
    """
    arguments = {} if weights is None else {name_weights(estimator): weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # If there are fewer rows than quantiles, QuantileTransformer takes one quantile per row, as it should.
        warnings.filterwarnings("ignore", message="n_quantiles")
        return estimator.fit(X, y, **arguments)


def name_weights(estimator: Any) -> str:
    """The argument of an estimator's `fit` that takes weights of rows: of a `Pipeline`, that of its last step.

    Raises:
        InputError: it takes none.
    """
    steps = getattr(estimator, "steps", None)
    name, model = steps[-1] if steps else ("", estimator)
    taker = getattr(model, "regressor", None) or model
    if not has_fit_parameter(taker, "sample_weight"):
        raise InputError(
            f"{type(taker).__name__} takes no weights of rows (`sample_weight`) in its `fit`; choose other learners.",
            argument="learners",
        )
    return f"{name}__sample_weight" if steps else "sample_weight"


def fill_missing_classes(probabilities: np.ndarray, seen: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities of every class, shape (n, n_classes); zero for classes without training rows.

    `seen` has the codes of the columns of `probabilities`.
    """
    if len(seen) == n_classes:
        return np.asarray(probabilities)
    full = np.zeros((len(probabilities), n_classes))
    full[:, np.asarray(seen, dtype=int)] = probabilities
    return full


def list_checkpoints(n_estimators: int, among: Sequence[int] = CHECKPOINTS) -> tuple[int, ...]:
    """The checkpoints below `n_estimators`, then `n_estimators` itself."""
    return (*(c for c in among if c < n_estimators), n_estimators)
