"""A trial: a configuration that was run on a task, with its losses, time and state."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from metahp.core.checks import (
    MAX_INT32,
    MAX_INT64,
    check_integer,
    check_kind,
    check_seconds,
    check_text,
    check_texts,
    is_number,
    show,
)
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import METRICS
from metahp.core.space import SearchSpace

# `Protocol.splits` of a user's own objective; an objective decides how many losses it returns.
OBJECTIVE_SPLITS = "objective"
# What the words of `Protocol.splits` begin with that name weights of rows and a scorer.
WEIGHTS, _SCORER = "weights:", "scorer:"
# Metrics whose loss is at most 1; other losses have no upper bound.
BOUNDED_METRICS = frozenset(
    {"roc_auc", "roc_auc_ovr", "average_precision", "accuracy", "balanced_accuracy", "f1_macro", "f1"}
)
# A rounded score (the seed stores float32) may exceed the perfect score by this much.
ROUNDING = 1e-9

Record = TypeVar("Record")


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    PRUNED = "pruned"

    @property
    def words(self) -> str:
        """How it ended, in words for a person."""
        return _STATE_WORDS[self]


_STATE_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.FAILED: "failed",
    TrialState.TIMEOUT: "out of time",
    TrialState.OUT_OF_MEMORY: "out of memory",
    TrialState.PRUNED: "stopped early as hopeless",
}


class Origin(StrEnum):
    """Where a configuration came from."""

    DEFAULT = "default"
    DESIGN = "design"
    PUBLISHED = "published"
    PORTFOLIO = "portfolio"
    SURROGATE = "surrogate"
    POSTERIOR = "posterior"
    USER = "user"
    IMPORTED = "imported"

    @property
    def words(self) -> str:
        """Where it came from, in words for a person."""
        return _ORIGIN_WORDS[self]


_ORIGIN_WORDS = {
    Origin.DEFAULT: "library default",
    Origin.DESIGN: "random search",
    Origin.PUBLISHED: "published",
    Origin.PORTFOLIO: "all past tasks",
    Origin.SURROGATE: "similar tasks",
    Origin.POSTERIOR: "search",
    Origin.USER: "yours",
    Origin.IMPORTED: "imported",
}


def find_loss_fault(metric: str, losses: Sequence[float]) -> str:
    """Why `losses` cannot be losses of a metric, in one line; empty if they can.

    Losses of a known metric are at least 0, and at most 1 if the metric is bounded; losses of an objective may be any
    number. NaN means an unknown loss; infinity is allowed where the metric has no bound.
    """
    for loss in losses:
        if not is_number(loss):
            return f"a loss of {metric} is a number, got {show(loss)}"
        if loss == -math.inf or (metric in METRICS and loss < -ROUNDING):
            return f"a loss of {metric} is at least 0, got {loss:g}"
        if metric in BOUNDED_METRICS and loss > 1 + ROUNDING:
            return f"a loss of {metric} is at most 1, got {loss:g}"
    return ""


def _check_losses(by_metric: Mapping[str, tuple[float, ...]]) -> None:
    check_kind(by_metric, Mapping, "Losses by metric")
    for metric, losses in by_metric.items():
        check_text(metric, "The metric of a loss", is_required=True)
        check_kind(losses, tuple, f"The losses of {metric}")
        if fault := find_loss_fault(metric, losses):
            raise InputError(f"{fault[0].upper()}{fault[1:]}.")


def _find_setters(kind: type) -> tuple[Any, ...]:
    """Functions that set the fields of a frozen class without its checks."""
    return tuple(getattr(kind, entry.name).__set__ for entry in fields(kind))


def _fill(kind: type[Record], setters: tuple[Any, ...], values: Sequence[Any]) -> Record:
    record = object.__new__(kind)
    for setter, value in zip(setters, values, strict=True):
        setter(record, value)
    return record


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a configuration is measured.

    Attributes:
        folds: Number of cross-validation folds, at least 2.
        repeats: How often the cross-validation is repeated, at least 1.
        seed: Seed of the learner, and of the folds if `splits` is empty.
        max_rows: Largest number of rows that are used.
        splits: Empty for shuffled (stratified) folds. Otherwise words: the name of explicit splits from
            `metahp.evaluation.splits` (a kind and a hash of the row indices), the weights of the rows (`weights:` and a
            hash), and a scorer whose scores the trials have
            beside the metrics that all trials store (`scorer:precision`).
    """

    folds: int = 3
    repeats: int = 1
    seed: int = 0
    max_rows: int = 2500
    splits: str = ""

    def __post_init__(self) -> None:
        for what in ("folds", "repeats"):
            check_integer(getattr(self, what), f"{what} of a protocol", most=MAX_INT32)
        check_integer(self.seed, "seed of a protocol", least=-MAX_INT64)
        check_integer(self.max_rows, "max_rows of a protocol")
        check_text(self.splits, "splits of a protocol")
        if self.folds < 2 or self.repeats < 1 or self.max_rows < 2 * self.folds:
            raise InputError(
                f"A protocol needs at least 2 folds, 1 repeat and twice as many rows as folds, got {self}."
            )

    @property
    def split_name(self) -> str:
        """The name of explicit splits; empty without."""
        return " ".join(word for word in self.splits.split(" ") if not word.startswith(_SCORER))

    @property
    def is_weighted(self) -> bool:
        """Whether rows have weights."""
        return any(word.startswith(WEIGHTS) for word in self.splits.split(" "))

    @property
    def scorer(self) -> str:
        """The name of a scorer whose scores other trials do not have; empty without."""
        words = (word for word in self.splits.split(" ") if word.startswith(_SCORER))
        return next(words, "").removeprefix(_SCORER)

    def mark(self, *, scorer: str) -> "Protocol":
        """The protocol of trials with the scores of a scorer, which are other trials."""
        return replace(self, splits=" ".join(filter(None, (self.splits, _SCORER + scorer))))


@dataclass(frozen=True, slots=True)
class Curve:
    """Fold-averaged losses at checkpoints of a training run.

    Attributes:
        checkpoints: Numbers of iterations or epochs, at least 1, increasing.
        losses: Losses by metric: `losses[metric][i]` belongs to `checkpoints[i]`.
    """

    checkpoints: tuple[int, ...]
    losses: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        check_kind(self.checkpoints, tuple, "The checkpoints of a curve")
        for checkpoint in self.checkpoints:
            check_integer(checkpoint, "A checkpoint of a curve", least=1, most=MAX_INT32)
        if any(later <= earlier for earlier, later in pairwise(self.checkpoints)):
            raise InputError(f"The checkpoints of a curve increase, got {show(self.checkpoints)}.")
        _check_losses(self.losses)
        if any(len(values) != len(self.checkpoints) for values in self.losses.values()):
            raise InputError("A learning curve has one loss per checkpoint and metric.")

    @classmethod
    def make_unchecked(cls, *values: Any) -> "Curve":
        """A curve with these fields, in their order, without checks: for callers that have checked many at once."""
        return _fill(cls, _CURVE_SETTERS, values)


_CURVE_SETTERS = _find_setters(Curve)
EMPTY_CURVE = Curve((), {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A configuration that was run on a task.

    `id` hashes task, configuration and protocol: the same trial measured twice is one trial.

    If early stopping kept fewer iterations than were run, then `configuration`, losses and seconds describe the kept
    iterations, and the curve continues to the end of the run.

    Attributes:
        task: Id of the task.
        configuration: The configuration, with the iterations that were kept.
        protocol: How it was measured.
        n_rows: Number of rows that were used.
        state: How the trial ended.
        origin: Where the configuration came from.
        fold_losses: Losses by metric, one per fold and repeat. A pruned trial has those of its finished folds; a trial
            that is neither complete nor pruned has none.
        curve: Losses at checkpoints; empty unless the trial is complete.
        fit_seconds: Seconds of training, summed over the folds.
        predict_seconds: Seconds of prediction, summed over the folds.
        reason: Why the trial is not complete; required unless it is complete or pruned.
        space_version: Version of the search space from which the configuration came; `SearchSpace.upgraded` converts
            the configuration to another version.
        versions: Versions of libraries by their names.
        device: Device of training, such as `cpu`.

    Raises:
        InputError: a value has the wrong type or is out of range. Examples: a loss outside the range of its metric,
            negative seconds, or a complete trial without one loss per fold and repeat. An objective may have any
            number of losses.
    """

    task: str
    configuration: Configuration
    protocol: Protocol
    n_rows: int
    state: TrialState
    origin: Origin
    fold_losses: Mapping[str, tuple[float, ...]]
    curve: Curve = EMPTY_CURVE
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0
    reason: str = ""
    space_version: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_text(self.task, "The task of a trial", is_required=True)
        check_kind(self.configuration, Configuration, "The configuration of a trial")
        check_kind(self.protocol, Protocol, "The protocol of a trial")
        check_integer(self.n_rows, "n_rows of a trial")
        check_kind(self.state, TrialState, "The state of a trial")
        check_kind(self.origin, Origin, "The origin of a trial")
        check_kind(self.curve, Curve, "The curve of a trial")
        check_seconds(self.fit_seconds, "fit_seconds of a trial")
        check_seconds(self.predict_seconds, "predict_seconds of a trial")
        check_text(self.reason, "The reason of a trial")
        check_integer(self.space_version, "space_version of a trial", most=MAX_INT32)
        check_texts(self.versions, "The versions of a trial")
        check_text(self.device, "The device of a trial")
        _check_losses(self.fold_losses)
        self._check_folds()
        if self.state is TrialState.COMPLETE and not self.fold_losses:
            raise InputError(f"A complete trial has losses; the one of {self.configuration} has none.")
        if self.state not in (TrialState.COMPLETE, TrialState.PRUNED) and not self.reason:
            raise InputError(f"A trial that is {self.state} says why; the one of {self.configuration} does not.")

    def _check_folds(self) -> None:
        is_complete, n_folds = self.state is TrialState.COMPLETE, self.protocol.folds * self.protocol.repeats
        for metric, losses in self.fold_losses.items():
            if self.protocol.splits == OBJECTIVE_SPLITS:
                is_right = bool(losses) or not is_complete
            else:
                is_right = len(losses) == n_folds if is_complete else len(losses) <= n_folds
            if not is_right:
                raise InputError(
                    f"A {self.state} trial has {'' if is_complete else 'at most '}{n_folds} losses of {metric}, "
                    f"one per fold and repeat; got {len(losses)}."
                )

    @classmethod
    def make_unchecked(cls, *values: Any) -> "Trial":
        """A trial with these fields, in their order, without checks: for callers that have checked them."""
        return _fill(cls, _TRIAL_SETTERS, values)

    @property
    def id(self) -> str:
        """Content hash of task, configuration and protocol."""
        return compute_trial_id(self.task, self.configuration, self.protocol)

    def asked(self, space: SearchSpace) -> Configuration:
        """The configuration that was run, with all its iterations even if early stopping kept fewer."""
        if space.iterations_of(self.configuration) is None or not self.curve.checkpoints:
            return self.configuration
        return space.with_iterations(self.configuration, self.curve.checkpoints[-1])

    def loss(self, metric: str) -> float:
        """Mean loss over the folds; NaN if the trial has no loss of `metric`."""
        losses = self.fold_losses.get(metric)
        if not losses:
            return float("nan")
        with np.errstate(over="ignore"):
            return float(np.mean(losses))


def compute_trial_id(task: str, configuration: Configuration, protocol: Protocol) -> str:
    """The id of a trial of `configuration` on `task` under `protocol`; it is known before the trial runs."""
    values = [task, configuration.id, protocol.folds, protocol.repeats, protocol.seed, protocol.max_rows]
    # Only if not empty: trials with default folds keep the ids that they had before splits had names.
    if protocol.splits:
        values.append(protocol.splits)
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=12).hexdigest()


_TRIAL_SETTERS = _find_setters(Trial)
