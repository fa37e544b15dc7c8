"""A trial: a configuration that was run on a task, with its losses, time and state."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.space import ITERATIONS


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    PRUNED = "pruned"


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


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a configuration is measured: cross-validation folds, repeats, seed and the largest number of rows used.

    `splits` names the parts where they are not shuffled (stratified) folds but explicit ones, as
    `metahp.evaluation.splits` makes them: a kind and a hash of the row indices. `seed` is the learner's then too.
    """

    folds: int = 3
    repeats: int = 1
    seed: int = 0
    max_rows: int = 2500
    splits: str = ""

    def __post_init__(self) -> None:
        if self.folds < 2 or self.repeats < 1 or self.max_rows < 2 * self.folds:
            raise InputError(
                f"A protocol needs at least 2 folds, 1 repeat and twice as many rows as folds, got {self}."
            )


@dataclass(frozen=True, slots=True)
class Curve:
    """Fold-averaged losses at iteration or epoch checkpoints: `losses[metric][i]` belongs to `checkpoints[i]`."""

    checkpoints: tuple[int, ...]
    losses: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if any(len(values) != len(self.checkpoints) for values in self.losses.values()):
            raise InputError("A learning curve has one loss per checkpoint and metric.")


EMPTY_CURVE = Curve((), {})


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration that was run on a task.

    `fold_losses[metric]` has one loss per fold and repeat (of the folds that were run where the trial was pruned, empty
    unless complete or pruned); `curve` is empty unless complete; `fit_seconds` and
    `predict_seconds` are sums over the folds. `id` hashes task, configuration and protocol: the same trial measured
    twice is one trial.

    Where early stopping kept fewer iterations than were run, `configuration`, losses and seconds are of those that were
    kept, and the curve goes on to the end of the run.
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
        if self.state is TrialState.COMPLETE and not self.fold_losses:
            raise InputError(f"A complete trial has losses; the one of {self.configuration} has none.")
        if self.state not in (TrialState.COMPLETE, TrialState.PRUNED) and not self.reason:
            raise InputError(f"A trial that is {self.state} says why; the one of {self.configuration} does not.")

    @property
    def id(self) -> str:
        """Content hash of task, configuration and protocol."""
        return trial_id(self.task, self.configuration, self.protocol)

    @property
    def run(self) -> Configuration:
        """The configuration that was run: `configuration`, with all iterations where early stopping kept fewer."""
        if ITERATIONS not in self.configuration.values or not self.curve.checkpoints:
            return self.configuration
        return self.configuration.replaced(**{ITERATIONS: self.curve.checkpoints[-1]})

    def loss(self, metric: str) -> float:
        """Mean loss over the folds; NaN where the trial has none."""
        losses = self.fold_losses.get(metric)
        return float(np.mean(losses)) if losses else float("nan")


def trial_id(task: str, configuration: Configuration, protocol: Protocol) -> str:
    """The id that a trial of `configuration` on `task` under `protocol` has, known before it is run."""
    values = [task, configuration.id, protocol.folds, protocol.repeats, protocol.seed, protocol.max_rows]
    # Only where there is one: trials of the default folds keep the ids that they had before splits had names.
    if protocol.splits:
        values.append(protocol.splits)
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=12).hexdigest()
