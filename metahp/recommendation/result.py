"""The value that `recommend` gives back: configurations in order, the expected score of each, and the reasons."""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.metric import Metric
from metahp.core.task import Task
from metahp.core.trial import Origin
from metahp.datasets.preparation import Preparation
from metahp.learners.arguments import make_arguments, show_arguments
from metahp.learners.table_estimator import TableEstimator

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """One recommended configuration.

    Scores are in the metric's own sign; greater is better. On a known table (`Recommendation.is_known_task`) scores and
    times are measured instead of expected.

    Attributes:
        rank: Place in the order in which to try the configurations; 1 is the first.
        configuration: The learner and its hyperparameters.
        score: Expected score; NaN where it is unknown.
        low: Lower end of the 80 % interval of `score`; NaN where it is unknown.
        high: Upper end of the 80 % interval of `score`; NaN where it is unknown.
        default_score: Expected score of the same learner's library default; NaN where it is unknown.
        reference_score: Expected score of the one library default that the gains of all items are over
            (`Recommendation.reference`); NaN where it is unknown.
        fit_seconds: Expected seconds of one training on all rows; NaN where they are unknown.
        origin: Where the configuration came from: `surrogate` for past tasks like this one, `portfolio` for what is
            good in general, `default` for the library default; on a known table the origin of the measured trial.
    """

    rank: int
    configuration: Configuration
    score: float
    low: float
    high: float
    default_score: float
    fit_seconds: float
    origin: Origin
    reference_score: float = math.nan

    def __post_init__(self) -> None:
        object.__setattr__(self, "configuration", show_arguments(self.configuration))

    @property
    def learner(self) -> str:
        """The learner's name."""
        return self.configuration.learner

    @property
    def gain(self) -> float:
        """Expected score minus `reference_score`; above zero is better, NaN where it is unknown."""
        return self.score - self.reference_score


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A past task that is similar to this one.

    Attributes:
        task: Name of the past task; its id where it has no name.
        similarity: From 0 to 1; 1 is the same task.
    """

    task: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How good the same advice was on past tasks, each left out with its group.

    Flat tasks do not count: on them the default is as good as the best known configuration, within the noise.

    Attributes:
        learner: Names of the learners, joined by `+`.
        metric: Name of the metric.
        n_tasks: Number of past tasks that count.
        k: Number of recommended configurations that `random_trials` is about.
        win_rate: Share of the tasks on which the first configuration beat the default, from 0 to 1; a tie counts half.
        random_trials: Number of random trials that reach the mean regret of `k` recommended ones. NaN for several
            learners, because a random trial is defined for one learner only.
    """

    learner: str
    metric: str
    n_tasks: int
    k: int
    win_rate: float
    random_trials: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Recommendation:
    """The `k` configurations to try first on a task, in order.

    Attributes:
        task: The task of the table: its type and size.
        target: Name of the target column.
        metric: The metric of all scores.
        items: The recommended configurations with their expected scores, the first to try first.
        neighbours: The most similar past tasks, the most similar first; empty for a known table.
        reasons: What speaks most for the first configuration, each in words. May be empty.
        track_record: How good the advice was on past tasks; None where that is unknown.
        abstained: Whether metahp does not trust the past tasks on this table; `items` are then configurations that are
            good in general, and `warnings` say why.
        is_known_task: Whether `items` are the best trials of this very table that the knowledge base has.
        n_past_tasks: Number of tasks in the knowledge base.
        n_past_trials: Number of trials in the knowledge base.
        preparation: How raw columns become features.
        warnings: What a user should know about the table and the advice, one sentence each.
        seed: Seed of the estimators that `estimators` makes.
    """

    task: Task
    target: str
    metric: Metric
    items: tuple[Recommended, ...]
    neighbours: tuple[Neighbour, ...]
    reasons: tuple[str, ...]
    track_record: TrackRecord | None
    abstained: bool
    is_known_task: bool
    n_past_tasks: int
    n_past_trials: int
    preparation: Preparation
    warnings: tuple[str, ...] = ()
    seed: int = 0

    def __repr__(self) -> str:
        best = self.best
        score = "" if math.isnan(best.score) else f", expected {self.metric.label} {self.metric.speak(best.score):.4g}"
        warned = f"; {len(self.warnings)} warning(s)" if self.warnings else ""
        return f"Recommendation({len(self.items)} for {self.target!r}, {self.task.type}: {best.learner}{score}{warned})"

    def _repr_html_(self) -> str:
        """A table for notebooks, with the warnings below it."""
        shown = self.frame().drop(columns=["low", "high"]).astype({"configuration": str})
        table = shown.to_html(index=False, float_format="{:.4g}".format, na_rep="–")
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.warnings)
        return f"<p>{html.escape(repr(self))}</p>{table}{lines}"

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the numeric features, in the order of the table."""
        return tuple(name for name in self.preparation.feature_names if name not in self.preparation.categorical)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical features, in the order of the table."""
        return self.preparation.categorical

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """The configurations in the order in which to try them."""
        return tuple(item.configuration for item in self.items)

    @property
    def reference(self) -> str:
        """The learner whose library default all gains are over; empty where no default's score is known."""
        return next((item.learner for item in self.items if not math.isnan(item.default_score)), "")

    @property
    def best(self) -> Recommended:
        """The first recommended configuration."""
        return self.items[0]

    def estimators(self) -> list[TableEstimator]:
        """Unfitted scikit-learn estimators in order, for the columns that the recommendation was asked with."""
        return [
            TableEstimator(item.configuration, self.task.type, self.preparation, seed=self.seed) for item in self.items
        ]

    def frame(self) -> pd.DataFrame:
        """One row per configuration: rank, learner, scores, seconds, origin and the hyperparameters as a dictionary."""
        return pd.DataFrame(
            [
                {
                    "rank": item.rank,
                    "learner": item.learner,
                    "score": item.score,
                    "low": item.low,
                    "high": item.high,
                    "default_score": item.default_score,
                    "gain": item.gain,
                    "fit_seconds": item.fit_seconds,
                    "origin": str(item.origin),
                    "configuration": item.configuration.values,
                }
                for item in self.items
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """The recommendation as JSON data; an unknown number is None."""
        return {
            "schema_version": SCHEMA_VERSION,
            "task": {
                "id": self.task.id,
                "type": str(self.task.type),
                "target": self.target,
                "n_rows": self.task.n_rows,
                "n_features": self.task.n_features,
                "metric": self.metric.name,
            },
            "recommendations": [
                {
                    "rank": item.rank,
                    "learner": item.learner,
                    "configuration": make_arguments(item.configuration),
                    "expected": {
                        "score": _round_known(item.score),
                        "low": _round_known(item.low),
                        "high": _round_known(item.high),
                    },
                    "default_score": _round_known(item.default_score),
                    "fit_seconds": _round_known(item.fit_seconds),
                    "origin": str(item.origin),
                }
                for item in self.items
            ],
            "neighbours": [{"task": n.task, "similarity": round(n.similarity, 4)} for n in self.neighbours],
            "abstained": self.abstained,
            "warnings": list(self.warnings),
        }


def set_reference(items: Iterable[Recommended]) -> tuple[Recommended, ...]:
    """The items with gains over one default: that of the first learner whose default has a known score."""
    items = tuple(items)
    known = (item.default_score for item in items if not math.isnan(item.default_score))
    reference = next(known, math.nan)
    return tuple(replace(item, reference_score=reference) for item in items)


def _round_known(number: float) -> float | None:
    """The number with six significant digits; None for NaN."""
    return None if number != number else float(f"{number:.6g}")
