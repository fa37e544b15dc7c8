"""The value that `recommend` gives back: configurations in order, the expected score of each, and the reasons."""

import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.metric import Metric
from metahp.core.task import Task
from metahp.core.text import format_count, format_number, format_seconds
from metahp.core.trial import Origin, Protocol
from metahp.datasets.preparation import Preparation
from metahp.learners.arguments import make_arguments, show_arguments
from metahp.learners.table_estimator import TableEstimator

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
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

    def __repr__(self) -> str:
        names = ("score", "low", "high", "default_score", "gain", "fit_seconds")
        known = {name: getattr(self, name) for name in names if not math.isnan(getattr(self, name))}
        numbers = "".join(f", {name}={number:.4g}" for name, number in known.items())
        return f"Recommended(rank={self.rank}, {self.configuration!r}{numbers}, origin='{self.origin}')"

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

    @property
    def reference(self) -> str:
        """The learner whose library default the first configuration is compared with: the first of the learners."""
        return self.learner.partition("+")[0]


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
        protocol: How scores are measured: on most past tasks where they are expected, on this one where it is known.
        reference_learner: The learner whose library default all gains are over; empty for that of the first
            configuration whose default has a known score.
        warnings: What a user should know about the table and the advice, one sentence each.
        seed: Seed of the estimators that `estimators` makes.
        n_jobs: Number of their threads by learner, where the user fixed it.
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
    protocol: Protocol = field(default_factory=Protocol)
    reference_learner: str = ""
    warnings: tuple[str, ...] = ()
    seed: int = 0
    n_jobs: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Recommendation({self._summarise()})"

    def _summarise(self) -> str:
        best, kind = self.best, "measured" if self.is_known_task else "expected"
        score = "" if math.isnan(best.score) else f", {kind} {self.metric.label} {self.metric.speak(best.score):.4g}"
        warned = f"; {format_count(len(self.warnings), 'warning')}" if self.warnings else ""
        n = format_count(len(self.items), "configuration")
        return f"{n} for {self.target!r} ({self.task.type}), first {best.learner}{score}{warned}"

    def _repr_html_(self) -> str:
        """A table for notebooks, with what its scores are and the warnings below it."""
        table = pd.DataFrame(self._make_rows()).to_html(index=False)
        gains = f"Gains are over the library default of {self.reference}." if self.reference else ""
        lines = (self.score_words, gains, *(f"Warning: {line}" for line in self.warnings))
        below = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
        return f"<p>{html.escape(self._summarise())}</p>{table}{below}"

    def _make_rows(self) -> list[dict[str, Any]]:
        """The rows of the table for notebooks; a column without any number is left out."""
        speak, kind = self.metric.speak, "measured" if self.is_known_task else "expected"
        rows = []
        for item in self.items:
            row: dict[str, Any] = {"#": item.rank, "learner": item.learner}
            if self.score_words:
                low, high = sorted((speak(item.low), speak(item.high)))
                row[f"{kind} {self.metric.label}"] = format_number(speak(item.score))
                row["80 % interval"] = "–" if math.isnan(low) else f"{low:.4g} to {high:.4g}"
            if self.reference:
                row["gain"] = format_number(item.gain, "+.2g")
            changes = ", ".join(f"{name}={value!r}" for name, value in item.configuration.values.items())
            rows.append(
                {
                    **row,
                    "fit time": format_seconds(item.fit_seconds),
                    "origin": item.origin.words,
                    "hyperparameters": changes,
                }
            )
        return rows

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
        if all(math.isnan(item.reference_score) for item in self.items):
            return ""
        return self.reference_learner or next(item.learner for item in self.items if not math.isnan(item.default_score))

    @property
    def best(self) -> Recommended:
        """The first recommended configuration."""
        return self.items[0]

    @property
    def score_words(self) -> str:
        """What the scores are, in one sentence for a person; empty where no score is known."""
        if all(math.isnan(item.score) for item in self.items):
            return ""
        rows = min(self.protocol.max_rows, self.task.n_rows) if self.is_known_task else self.protocol.max_rows
        most = "on" if self.is_known_task else "mostly on at most"
        kind = "Measured" if self.is_known_task else "Expected"
        return (
            f"{kind} scores are those of {self.protocol.folds}-fold cross-validation, {most} {rows:,} rows, with their "
            "80 % interval; a model trained on all rows usually does better."
        )

    def estimators(self) -> list[TableEstimator]:
        """Unfitted scikit-learn estimators in order, for the columns that the recommendation was asked with."""
        return [
            TableEstimator(
                item.configuration,
                self.task.type,
                self.preparation,
                seed=self.seed,
                n_jobs=self.n_jobs.get(item.learner, 1),
            )
            for item in self.items
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


def set_reference(items: Iterable[Recommended], score: float = math.nan) -> tuple[Recommended, ...]:
    """The items with gains over one default.

    It is the default with this `score`; where that is NaN, the default of the first learner whose default has a known
    score.
    """
    items = tuple(items)
    known = (item.default_score for item in items if not math.isnan(item.default_score))
    reference = next(known, math.nan) if math.isnan(score) else score
    return tuple(replace(item, reference_score=reference) for item in items)


def _round_known(number: float) -> float | None:
    """The number with six significant digits; None for NaN."""
    return None if number != number else float(f"{number:.6g}")
