"""The tuned model: fitted configurations behind one `predict` that takes raw columns."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.task import TaskType
from metahp.core.text import make_encodable
from metahp.datasets.columns import normalise_column, read_labels, replace_markers
from metahp.datasets.portable import make_number_label, parse_numbers
from metahp.datasets.preparation import Column, Preparation
from metahp.datasets.read import make_frame, read_frame
from metahp.datasets.table import Table
from metahp.evaluation.losses import compute_losses
from metahp.learners.base import fill_missing_classes, fit_quietly
from metahp.learners.registry import find_learner
from metahp.results.formats import describe_error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Member:
    """A fitted configuration and its weight.

    `model` is what the learner keeps of its fitted estimator; `seen` are the codes of the classes it was fitted on.
    """

    configuration: Configuration
    weight: float
    model: Any
    seen: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class TunedModel:
    """One fitted configuration, or several with weights, for frames and files with the columns of the training table.

    Where `is_voting`, each member gives its whole weight to one class, and probabilities are shares of votes; numbers
    are always averaged.

    `best_params_` and `best_score_` are those of the best single configuration of the run that found it, as in a
    `TuneResult`: the score is cross-validated in the metric's own sign, and selected on. Both are None where the model
    was fitted outside of a run.
    """

    task_type: TaskType
    target: str
    classes: tuple[str, ...]
    metric: Metric
    preparation: Preparation
    members: tuple[Member, ...]
    is_voting: bool = False
    best_params_: Mapping[str, Any] | None = None
    best_score_: float | None = None

    def __post_init__(self) -> None:
        if not self.members or not all(0 < member.weight < np.inf for member in self.members):
            raise InputError("A tuned model has at least one member, and every weight is above zero.")

    @property
    def classes_(self) -> np.ndarray:
        """The classes in the order of the columns of `predict_proba`: numbers or booleans where they read as such."""
        labels = _convert_labels(self.classes)
        return labels[np.argsort(labels, kind="stable")]

    def read(self, X: Any) -> pd.DataFrame:
        """The raw frame of a path (`-` for standard input), a frame, or an array or rows as the model was fitted on.

        Raises:
            InputError: the file cannot be read, or `X` has no rows and columns.
        """
        if isinstance(X, str | Path):
            return read_frame(X, text_columns=self.preparation.text_names, min_columns=1)
        return make_frame(X)

    def features(self, X: Any) -> pd.DataFrame:
        """Features of a path or frame; what became missing on the way is logged."""
        features, notes = self.preparation.transform(self.read(X))
        for note in notes:
            logger.warning(note)
        return features

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row of a path or frame, or its number; shape (n,).

        Raises:
            InputError: `X` cannot be read, or columns are missing.
        """
        return self.decided(self.outputs(self.features(X)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class in the order of `classes_`, shape (n, n_classes).

        Raises:
            InputError: `X` cannot be read, columns are missing, or the task is a regression.
        """
        if not self.task_type.is_classification:
            raise InputError("A regression has no probabilities; use predict.")
        return self.outputs(self.features(X))

    def outputs(self, features: pd.DataFrame) -> np.ndarray:
        """Probabilities of `classes_`, shape (n, n_classes), or numbers, shape (n,), for prepared features."""
        if features.empty:
            raise InputError("Expected at least one row to predict, found none.")
        total = sum(member.weight for member in self.members)
        combined: np.ndarray | float = 0.0
        for member in self.members:
            output = self._predict_with(member, features)
            if self.is_voting and self.task_type.is_classification:
                output = np.eye(len(self.classes))[output.argmax(axis=1)]
            combined = combined + (member.weight / total) * output
        combined = np.asarray(combined)
        return combined[:, np.argsort(_convert_labels(self.classes), kind="stable")] if self.classes else combined

    def decided(self, outputs: np.ndarray) -> np.ndarray:
        """What `outputs` gave as predictions, shape (n,)."""
        return self.classes_[outputs.argmax(axis=1)] if self.classes else outputs

    def score(self, X: Any, y: Any = None) -> float:
        """Score of the model's metric on the rows of `X` that have a target; greater is better.

        Args:
            X: A path or frame.
            y: Target, shape (n,); where None, `X` has the target column.

        Raises:
            InputError: no target, or none of its values is known.
        """
        frame = self.read(X)
        return self.score_of(self.outputs(self.features(frame)), frame, y)[0]

    def score_of(self, outputs: np.ndarray, frame: pd.DataFrame, y: Any = None) -> tuple[float, int]:
        """Score of `outputs` on the rows whose target is known, and how many these are."""
        if y is None:
            names = {make_encodable(str(name)).strip(): name for name in frame.columns}
            if self.target not in names:
                raise InputError(f"A score needs the target, and there is no column '{self.target}'.")
            y = frame[names[self.target]]
        y = replace_markers(pd.Series(y), self.preparation.missing)
        if self.classes:
            texts = read_labels(y, self.preparation.missing)
            labels = [text if text in self.classes else _normalise_label(text) for text in texts]
            sorted_classes = np.array(self.classes, dtype=object)[
                np.argsort(_convert_labels(self.classes), kind="stable")
            ]
            actual = pd.Index(sorted_classes).get_indexer(pd.Index(labels, dtype=object))
            known = actual >= 0
        else:
            column = self.preparation.target or Column(name=self.target, kind="number")
            actual = column.make_features(normalise_column(y))[column.name]
            known = np.isfinite(actual)
        if not known.any():
            raise InputError(f"No value of the target '{self.target}' is one that the model knows.")
        loss = compute_losses(actual[known], outputs[known], self.task_type)[self.metric.name]
        return self.metric.score(loss), int(known.sum())

    def _predict_with(self, member: Member, features: pd.DataFrame) -> np.ndarray:
        try:
            output = find_learner(member.configuration.learner).outputs(member.model, features, self.task_type)
        except Exception as error:
            # A loaded model may be of another version of its library, or damaged where no check looks.
            raise InputError(
                f"The {member.configuration.learner} model cannot predict ({describe_error(error)}); "
                "use the versions in best.json, or tune again."
            ) from error
        expected = (len(features), len(member.seen)) if self.classes else (len(features),)
        if output.shape != expected:
            raise InputError(
                f"The {member.configuration.learner} model gives an output of shape {output.shape}, expected "
                f"{expected}; tune again."
            )
        return fill_missing_classes(output, np.array(member.seen), len(self.classes)) if self.classes else output


def fit_final(table: Table, configuration: Configuration, seed: int, *, n_jobs: int = 1) -> Any:
    """The learner's scikit-learn estimator fitted on all rows of a table; classes are codes into `table.classes`."""
    learner = find_learner(configuration.learner)
    names = learner.fitted_names(list(map(str, table.features)))
    is_category = table.is_categorical.tolist()
    features = table.features.set_axis(names, axis=1)
    estimator = learner.estimator(
        configuration,
        table.task.type,
        numeric=[name for name, category in zip(names, is_category, strict=True) if not category],
        categorical=[name for name, category in zip(names, is_category, strict=True) if category],
        seed=seed,
        n_jobs=n_jobs,
    )
    return fit_quietly(estimator, features, table.y)


def fit_model(
    table: Table,
    members: Sequence[tuple[Configuration, float]],
    metric: Metric,
    *,
    seed: int,
    is_voting: bool = False,
    n_jobs: int = 1,
) -> TunedModel:
    """The tuned model of (configuration, weight) members, each fitted on all rows of a table."""
    fitted = []
    for configuration, weight in members:
        estimator = fit_final(table, configuration, seed, n_jobs=n_jobs)
        seen = tuple(map(int, estimator.classes_)) if table.classes else ()
        model = find_learner(configuration.learner).extract_model(estimator)
        fitted.append(Member(configuration, float(weight), model, seen))
    return TunedModel(
        task_type=table.task.type,
        target=table.target,
        classes=table.classes,
        metric=metric,
        preparation=table.preparation,
        members=tuple(fitted),
        is_voting=is_voting,
    )


def _normalise_label(text: str | None) -> str | None:
    """The class that a target's text stands for: `1.0` and `1` are one."""
    if text is None:
        return None
    number = parse_numbers(np.array([text], dtype=object))[0]
    return make_number_label(number) if np.isfinite(number) else text


def _convert_labels(classes: tuple[str, ...]) -> np.ndarray:
    """The classes as numbers or booleans where all of them are what such a target is called by, else as text."""
    if set(classes) == {"False", "True"}:
        return np.array([name == "True" for name in classes])
    numbers = parse_numbers(np.array(classes, dtype=object))
    if not np.isfinite(numbers).all() or any(
        make_number_label(number) != name for number, name in zip(numbers, classes, strict=True)
    ):
        return np.array(classes, dtype=object)
    is_whole = (numbers == numbers.round()).all() and np.abs(numbers).max() < 2**53
    return numbers.astype(np.int64) if is_whole else numbers
