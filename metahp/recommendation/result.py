"""What a recommendation is: configurations in order, what to expect of each, and why."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.metric import Metric
from metahp.core.task import Task
from metahp.core.trial import Origin
from metahp.learners.registry import LEARNERS, find_learner

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """One recommended configuration.

    Scores are in the metric's own sign, greater is better: `score` is expected, and `low` to
    `high` is its 80 % interval; all three are NaN where nothing is known. `default_score` is what the learner's
    library default is expected to reach.
    """

    rank: int
    configuration: Configuration
    score: float
    low: float
    high: float
    default_score: float
    fit_seconds: float
    origin: Origin

    @property
    def learner(self) -> str:
        """The learner's name."""
        return self.configuration.learner

    @property
    def gain(self) -> float:
        """Expected score above the same learner's default."""
        return self.score - self.default_score


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A past task and its similarity to this one, 1 for the same."""

    task: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How the same advice did on past tasks, each left out with its group.

    `win_rate` is the share of tasks that are not flat on which the first configuration beat the default (ties half);
    `random_trials` is how many random trials reach the mean regret of `k` recommended ones (NaN across learners,
    where it is not defined what a random trial is).
    """

    learner: str
    metric: str
    n_tasks: int
    k: int
    win_rate: float
    random_trials: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The `k` configurations to try first on a task, in order."""

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
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    seed: int = 0

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """The configurations in the order in which to try them."""
        return tuple(item.configuration for item in self.items)

    @property
    def best(self) -> Recommended:
        """The first recommended configuration."""
        return self.items[0]

    def estimators(self) -> list[Any]:
        """Unfitted scikit-learn estimators in order, for a frame like `Table.features`."""
        return [
            find_learner(item.learner).estimator(
                item.configuration, self.task.type, numeric=self.numeric, categorical=self.categorical, seed=self.seed
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
        """The JSON form; a number that is not known is None."""
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


def make_arguments(configuration: Configuration) -> dict[str, Any]:
    """The configuration as shown to a user: what its learner's constructor takes; of an objective, its values."""
    if configuration.learner in LEARNERS:
        return find_learner(configuration.learner).constructor_arguments(configuration)
    return configuration.values


def _round_known(number: float) -> float | None:
    return None if number != number else float(f"{number:.6g}")
