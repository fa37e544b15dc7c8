"""The tuned model: fitted configurations behind one `predict` that takes raw columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Never, Self, TypeVar

import numpy as np
import pandas as pd
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.utils import Tags, TargetTags

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.task import TaskType
from metahp.core.text import make_encodable
from metahp.core.warn import warn_user
from metahp.datasets.cells import normalise_column, read_labels, replace_markers
from metahp.datasets.portable import make_number_label, parse_numbers, respell
from metahp.datasets.preparation import Column, Preparation
from metahp.datasets.read import make_input_frame, read_frame
from metahp.datasets.table import Table
from metahp.datasets.target import convert_labels
from metahp.evaluation.losses import compute_losses
from metahp.evaluation.scoring import Scorer
from metahp.learners.arguments import make_arguments, show_arguments
from metahp.learners.base import fill_missing_classes
from metahp.learners.registry import find_learner
from metahp.learners.table_estimator import (
    TableEstimator,
    fit_features,
    list_inputs,
    make_tags,
    require_importances,
)
from metahp.results.formats import describe_error

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Member:
    """A fitted configuration and its weight.

    `model` is what the learner keeps of its fitted estimator; `seen` are the codes of the classes it was fitted on.
    """

    configuration: Configuration
    weight: float
    model: Any
    seen: tuple[int, ...] = ()


@dataclass(eq=False, kw_only=True, repr=False)
class TunedModel:
    """One fitted configuration, or several with weights, for frames and files with the columns of the training table.

    Where `is_voting`, each member gives its whole weight to one class, and probabilities are shares of votes; numbers
    are always averaged.

    `best_params_` and `best_score_` are those of the best single configuration of the run that found it, as in a
    `TuneResult`: the score is cross-validated in the metric's own sign, and selected on. Both are None where the model
    was fitted outside of a run.

    It is a scikit-learn estimator: `fit` fits the same configurations on other rows, and `sklearn.base.clone` gives an
    unfitted `TableEstimator`, or a voting estimator of several, which `cross_val_score` and the like use.
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
    seed: int = 0
    scorer: Scorer | None = None

    def __post_init__(self) -> None:
        if not self.members or not all(0 < member.weight < np.inf for member in self.members):
            raise InputError("A tuned model has at least one member, and every weight is above zero.")

    def __repr__(self) -> str:
        learners = ", ".join(dict.fromkeys(member.configuration.learner for member in self.members))
        of = learners if len(self.members) == 1 else f"{len(self.members)} of {learners}"
        return f"TunedModel({of}; {self.task_type}, target {self.target!r}, {len(self.feature_names_in_)} columns)"

    def __sklearn_tags__(self) -> Tags:
        return make_tags(Tags(estimator_type=None, target_tags=TargetTags(required=True)), self.task_type)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Any:
        parts = [
            TableEstimator(show_arguments(member.configuration), self.task_type, self.preparation, seed=self.seed)
            for member in self.members
        ]
        if len(parts) == 1:
            return parts[0]
        named, weights = self._name_members(parts), [member.weight for member in self.members]
        if not self.task_type.is_classification:
            return VotingRegressor(named, weights=weights)
        return VotingClassifier(named, voting="hard" if self.is_voting else "soft", weights=weights)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments of the library's constructor; of an ensemble with a prefix for each member, if `deep`."""
        if len(self.members) == 1:
            return make_arguments(self.members[0].configuration)
        arguments = self._name_members([make_arguments(member.configuration) for member in self.members])
        return {f"{name}__{key}": value for name, values in arguments for key, value in values.items()} if deep else {}

    def set_params(self, **parameters: Any) -> Never:
        """Refuse to change what is fitted.

        Raises:
            InputError: always; a clone has parameters to set.
        """
        raise InputError(
            "The parameters of a tuned model are those that it was fitted with; change those of a clone: "
            "sklearn.base.clone(model).set_params(…).fit(X, y)."
        )

    def _name_members(self, values: Sequence[Value]) -> list[tuple[str, Value]]:
        """The values of all members with the members' names, which are different."""
        learners = [member.configuration.learner for member in self.members]
        return [(f"{learner}_{i}", value) for i, (learner, value) in enumerate(zip(learners, values, strict=True))]

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns of the training table in their order, without the target."""
        return np.array(list_inputs(self.preparation), dtype=object)

    @property
    def n_features_in_(self) -> int:
        """Number of the columns of the training table, without the target."""
        return len(self.feature_names_in_)

    @property
    def feature_importances_(self) -> np.ndarray:
        """Importance of each feature (`preparation.feature_names`), shape (d,).

        In the library's unit; of an ensemble the weighted mean of the members' shares.

        Raises:
            AttributeError: a member is of a learner without importances, such as a linear model.
        """
        values = [self._read_importances(member) for member in self.members]
        if len(values) == 1:
            return values[0]
        shares = [each / max(each.sum(), np.finfo(float).tiny) for each in values]
        return np.average(shares, axis=0, weights=[member.weight for member in self.members])

    def _read_importances(self, member: Member) -> np.ndarray:
        learner = find_learner(member.configuration.learner)
        return require_importances(learner.read_importances(member.model), learner.name)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the same configurations, weights and columns on other rows; the model itself changes.

        Args:
            X: A path, a frame or an array.
            y: Target, shape (n,), of the classes that the model knows; where None, `X` has the target column.
            sample_weight: Weights of the rows, shape (n,); None where all are equal.

        Raises:
            InputError: `X` cannot be read, columns are missing, or no target is one that the model knows.
        """
        frame = self.read(X)
        features = self.features(frame)
        actual, is_known = self._read_actual(frame, y)
        if self.classes:
            # In the order of `classes`, which is that of the members.
            actual = np.argsort(convert_labels(self.classes), kind="stable")[actual]
        self.members = tuple(
            _fit_member(
                member.configuration,
                member.weight,
                features[is_known],
                actual[is_known],
                self.task_type,
                seed=self.seed,
                sample_weight=None if sample_weight is None else np.asarray(sample_weight, dtype=float)[is_known],
            )
            for member in self.members
        )
        return self

    @property
    def classes_(self) -> np.ndarray:
        """The classes in the order of the columns of `predict_proba`: numbers or booleans where they read as such."""
        labels = convert_labels(self.classes)
        return labels[np.argsort(labels, kind="stable")]

    def read(self, X: Any, *, separator: str | None = None, sheet: str | None = None) -> pd.DataFrame:
        """The raw frame of a path (`-` for standard input), a frame, or an array or rows as the model was fitted on.

        Raises:
            InputError: the file cannot be read, or `X` has no rows and columns.
        """
        if isinstance(X, str | Path):
            return read_frame(
                X,
                text_columns=(*self.preparation.text_names, self.preparation.id_column),
                min_columns=1,
                separator=separator,
                sheet=sheet,
            )
        return make_input_frame(X, self.preparation.inputs)

    def features(self, X: Any) -> pd.DataFrame:
        """Features of a path or frame; a `MetahpWarning` names what became missing on the way."""
        features, notes = self.preparation.transform(self.read(X))
        warn_user(notes)
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
        return combined[:, np.argsort(convert_labels(self.classes), kind="stable")] if self.classes else combined

    def decided(self, outputs: np.ndarray) -> np.ndarray:
        """What `outputs` gave as predictions, shape (n,)."""
        return self.classes_[outputs.argmax(axis=1)] if self.classes else outputs

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Score of the model's metric on the rows of `X` that have a target; greater is better.

        Args:
            X: A path or frame.
            y: Target, shape (n,); where None, `X` has the target column.
            sample_weight: Weights of the rows, shape (n,); None where all are equal.

        Raises:
            InputError: no target, or none of its values is known.
        """
        frame = self.read(X)
        return self.score_of(self.outputs(self.features(frame)), frame, y, sample_weight)[0]

    def score_of(
        self, outputs: np.ndarray, frame: pd.DataFrame, y: Any = None, sample_weight: np.ndarray | None = None
    ) -> tuple[float, int]:
        """Score of `outputs` on the rows whose target is known, and how many these are; weights of shape (n,)."""
        actual, is_known = self._read_actual(frame, y)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=float)[is_known]
        loss = self._compute_loss(actual[is_known], outputs[is_known], frame[is_known], weights)
        return self.metric.score(loss), int(is_known.sum())

    def _compute_loss(
        self, actual: np.ndarray, outputs: np.ndarray, frame: pd.DataFrame, weights: np.ndarray | None
    ) -> float:
        if self.scorer is None:
            losses = compute_losses(actual, outputs, self.task_type, weights)
            if self.metric.name not in losses:
                raise InputError(
                    f"The scorer '{self.metric.name}' is a function of yours, which no result directory keeps; score "
                    "with it itself, as in scorer(model, X, y)."
                )
            return losses[self.metric.name]
        # Outputs are in the order of `classes_`, and the scorer takes them in that of `classes`.
        order = np.argsort(convert_labels(self.classes), kind="stable") if self.classes else None
        if order is not None:
            actual, outputs = order[actual], outputs[:, np.argsort(order)]
        return self.metric.loss(self.scorer.score(actual, outputs, weights, frame))

    def _read_actual(self, frame: pd.DataFrame, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Numbers, or codes into `classes_`, of each row, and which rows have a known one; both of shape (n,)."""
        if y is None:
            names = {make_encodable(str(name)).strip(): name for name in frame.columns}
            if self.target not in names:
                raise InputError(f"The target is needed here, and there is no column '{self.target}'.")
            y = frame[names[self.target]]
        y = replace_markers(pd.Series(y), self.preparation.missing)
        if len(y) != len(frame):
            raise InputError(f"X and y differ in length: {len(frame):,} rows and {len(y):,} targets.")
        if self.classes:
            texts = read_labels(y, self.preparation.missing)
            if self.preparation.target is not None:
                texts = respell(texts, self.preparation.target.spellings)
            labels = [text if text in self.classes else _normalise_label(text) for text in texts]
            order = np.argsort(convert_labels(self.classes), kind="stable")
            sorted_classes = np.array(self.classes, dtype=object)[order]
            actual = pd.Index(sorted_classes).get_indexer(pd.Index(labels, dtype=object))
            is_known = actual >= 0
        else:
            column = self.preparation.target or Column(name=self.target, kind="number")
            actual = column.make_features(normalise_column(y))[column.name]
            is_known = np.isfinite(actual)
        if not is_known.any():
            raise InputError(f"No value of the target '{self.target}' is one that the model knows.")
        return actual, is_known

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


def fit_model(
    table: Table,
    members: Sequence[tuple[Configuration, float]],
    metric: Metric,
    *,
    seed: int,
    is_voting: bool = False,
    n_jobs: int = 1,
    fixed_n_jobs: Mapping[str, int] = MappingProxyType({}),
    sample_weight: np.ndarray | None = None,
    scorer: Scorer | None = None,
) -> TunedModel:
    """The tuned model of (configuration, weight) members, each fitted on all rows of a table.

    `fixed_n_jobs` has the number of threads by learner, in place of `n_jobs`. `sample_weight` are the weights of the
    rows, shape (n,); None where all are equal. `scorer` is that of a metric that trials do not store by themselves.
    """
    fitted = (
        _fit_member(
            configuration,
            float(weight),
            table.features,
            table.y,
            table.task.type,
            seed=seed,
            n_jobs=fixed_n_jobs.get(configuration.learner, n_jobs),
            sample_weight=sample_weight,
        )
        for configuration, weight in members
    )
    return TunedModel(
        task_type=table.task.type,
        target=table.target,
        classes=table.classes,
        metric=metric,
        preparation=table.preparation,
        members=tuple(fitted),
        is_voting=is_voting,
        seed=seed,
        scorer=None if scorer is None else scorer.forget_rows(),
    )


def _fit_member(
    configuration: Configuration,
    weight: float,
    features: pd.DataFrame,
    y: np.ndarray,
    task_type: TaskType,
    *,
    seed: int,
    n_jobs: int = 1,
    sample_weight: np.ndarray | None = None,
) -> Member:
    """The member fitted on features and numbers, or codes of classes."""
    seen: tuple[int, ...] = ()
    if task_type.is_classification:
        # Codes without a gap, which some learners ask for where the rows lack a class.
        codes, y = np.unique(y, return_inverse=True)
        seen = tuple(map(int, codes))
    estimator = fit_features(configuration, features, y, task_type, seed=seed, n_jobs=n_jobs, weights=sample_weight)
    return Member(configuration, weight, find_learner(configuration.learner).extract_model(estimator), seen)


def _normalise_label(text: str | None) -> str | None:
    """The class that a target's text stands for: `1.0` and `1` are one."""
    if text is None:
        return None
    number = parse_numbers(np.array([text], dtype=object))[0]
    return make_number_label(number) if np.isfinite(number) else text
