"""The adviser: trained on past tasks, it turns a task's meta-features into k candidates and what to expect of them."""

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from metahp.core.space import SearchSpace
from metahp.core.task import Task, TaskType
from metahp.recommendation.abstention import why_abstain
from metahp.recommendation.result import Neighbour, TrackRecord
from metahp.recommendation.selection import greedy_batch
from metahp.surrogate.calibration import calibrated, unseen
from metahp.surrogate.encoding import Evidence
from metahp.surrogate.forecast import Forecast, relative
from metahp.surrogate.prior import Knowledge, Settings
from metahp.surrogate.validation import batch_regret, group_folds, n_random, random_regret, worth_in_random_trials

VALIDATION_FOLDS = 5
TRACK_RECORD_K = 5
INTERVAL = (0.1, 0.9)
N_NEIGHBOURS = 3
# A past task this nearly a copy is one.
IS_COPY = 0.5
N_REASONS = 3

_Learned = tuple[Knowledge, Forecast]


@dataclass(frozen=True, slots=True)
class Advised:
    """One candidate of an advice: its column, and its expected loss, interval and default as losses."""

    column: int
    loss: float
    low: float
    high: float
    default_loss: float
    fit_seconds: float


@dataclass(frozen=True, slots=True)
class Advice:
    """The candidates to try first, with reasons; `abstained` says why it is the portfolio, or is empty."""

    items: tuple[Advised, ...]
    neighbours: tuple[Neighbour, ...]
    reasons: tuple[str, ...]
    abstained: str


@dataclass(frozen=True, eq=False)
class Adviser:
    """Knowledge, forecast, and how well both did on past tasks that were left out.

    `residuals` are errors of the forecast's log relative loss for the first candidates of a batch, each past task left
    out with its group, shape (t, TRACK_RECORD_K), NaN where unknown. `n_learned` counts the tasks that the surrogate
    was trained on; `extended` adds others to them.
    """

    knowledge: Knowledge
    forecast: Forecast
    tasks: tuple[Task, ...]
    residuals: np.ndarray
    track_record: TrackRecord | None
    n_learned: int

    @classmethod
    def learn(
        cls,
        past: Evidence,
        baselines: np.ndarray,
        spaces: Mapping[str, SearchSpace],
        *,
        metric: str,
        seed: int,
        settings: Settings | None = None,
        run: Callable[[Callable[[np.ndarray], _Learned], Sequence[np.ndarray]], Iterable[_Learned]] = map,
    ) -> "Adviser":
        """Train on past tasks, `baselines` (t,) being their constant predictions' losses, and validate by groups.

        The prior's settings are calibrated on the tasks left out in turn, unless they are given. `run` trains: it calls
        a function with each of some arguments, side by side if it likes, and gives the results in their order.
        """
        residuals = np.full((len(past.tasks), TRACK_RECORD_K), np.nan)
        regret = np.full((len(past.tasks), 2), np.nan)
        groups = [task.group or task.id for task in past.tasks]
        trains, tests = zip(*group_folds(groups, VALIDATION_FOLDS, seed=seed), strict=True)
        everyone = np.arange(len(past.tasks))
        *parts, (everything, forecast_of_all) = run(
            functools.partial(_learned, past, baselines, spaces, seed=seed), [*trains, everyone]
        )
        settings = settings or calibrated(
            [each for test, (part, _) in zip(tests, parts, strict=True) for each in unseen(part, past, test.tolist())]
        )
        # Others say nothing of how learners compare.
        whole = ~np.isnan(past.losses[:, list(past.defaults.values())]).any(axis=1)
        for test, (learned, forecast) in zip(tests, parts, strict=True):
            part = replace(learned, settings=settings)
            for row, prior in zip(test, part.priors(past.metafeatures[test]), strict=True):
                measured = np.flatnonzero(~np.isnan(past.losses[row, part.columns]))
                if not measured.size:
                    continue
                batch = measured[greedy_batch(*part.drawn(prior, measured), TRACK_RECORD_K)]
                if whole[row]:
                    regret[row] = batch_regret(past, int(row), part.columns[batch].tolist(), (1, TRACK_RECORD_K))
                expected = forecast.relative_loss(
                    {column: part.candidates[column] for column in batch},
                    past.metafeatures[row],
                    prior.weights,
                    prior.shift,
                )
                found = relative(past.losses[row, part.columns[batch]], baselines[row])
                residuals[row, : len(batch)] = found - [expected[column][0] for column in batch]
        return cls(
            replace(everything, settings=settings),
            forecast_of_all,
            past.tasks,
            residuals,
            _track_record(past, regret, tuple(spaces), metric),
            len(past.tasks),
        )

    def extended(self, past: Evidence, baselines: np.ndarray, *, seed: int) -> "Adviser":
        """The same surrogate and track record with the worlds of `past`; `baselines` as for `learn`."""
        knowledge = self.knowledge.extended(past, seed=seed, baselines=baselines)
        forecast = _forecast(past, baselines, knowledge, seed=seed)
        return replace(self, knowledge=knowledge, forecast=forecast, tasks=past.tasks)

    def advise(
        self,
        task: Task,
        metafeatures: np.ndarray,
        names: tuple[str, ...],
        baseline: float,
        k: int,
        *,
        among: np.ndarray | None = None,
    ) -> Advice:
        """The first `k` candidates for `task`, whose constant prediction has the loss `baseline`.

        They are chosen from the candidates `among`, from all where it is None.
        """
        has_copy = bool(self.knowledge.copied(metafeatures).max() >= IS_COPY)
        abstained = why_abstain(task, self.tasks, metafeatures, names, has_copy=has_copy)
        prior = self.knowledge.prior(metafeatures, abstained=abstained)
        among = np.arange(len(self.knowledge.candidates)) if among is None else among
        batch = among[greedy_batch(*self.knowledge.drawn(prior, among), k)].tolist()
        expected = self.forecast.relative_loss(
            {column: self.knowledge.candidates[column] for column in batch}, metafeatures, prior.weights, prior.shift
        )
        # What a batch adds to its first is chosen for being unlike it, and its losses are told less well.
        first, later = _quantiles(self.residuals[:, :1]), _quantiles(self.residuals[:, 1:])
        items = []
        for place, column in enumerate(batch):
            loss, default = expected[column]
            low, high = later if place else first
            items.append(
                Advised(
                    column=column,
                    loss=float(baseline * np.exp(loss)),
                    low=float(baseline * np.exp(loss + low)),
                    high=float(baseline * np.exp(loss + high)),
                    default_loss=float(baseline * np.exp(default)),
                    fit_seconds=self.forecast.fit_seconds(task, column),
                )
            )
        similar: dict[str, float] = {}
        for i in np.argsort(-prior.similarity):
            # A task with several numbers of rows counts once.
            similar.setdefault(self.tasks[i].name or self.tasks[i].id, float(prior.similarity[i]))
        neighbours = tuple(Neighbour(*pair) for pair in list(similar.items())[:N_NEIGHBOURS])
        reasons = () if abstained else self._reasons(metafeatures, names, batch[0])
        return Advice(tuple(items), neighbours, reasons, abstained)

    def _reasons(self, metafeatures: np.ndarray, names: tuple[str, ...], first: int) -> tuple[str, ...]:
        """The meta-features that speak most for the first candidate against its learner's default."""
        default = self.knowledge.defaults[self.knowledge.candidates[first].learner]
        if default == first:
            return ()
        chosen, other = self.knowledge.surrogate.contributions(metafeatures, self.knowledge.encoded[[first, default]])
        moved = chosen - other
        strongest = np.argsort(moved)[:N_REASONS]
        return tuple(f"{names[i]} = {metafeatures[i]:.3g}" for i in strongest if moved[i] < 0)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, without objects, for a cache file."""
        tasks = [{**asdict(task), "type": str(task.type)} for task in self.tasks]
        record = asdict(self.track_record) if self.track_record else None
        return {
            **{f"knowledge.{name}": array for name, array in self.knowledge.to_arrays().items()},
            **{f"forecast.{name}": array for name, array in self.forecast.to_arrays().items()},
            "residuals": self.residuals,
            "n_learned": np.array(self.n_learned),
            "about": np.frombuffer(json.dumps({"tasks": tasks, "track_record": record}).encode(), dtype=np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], spaces: Mapping[str, SearchSpace]) -> "Adviser":
        """The adviser that `to_arrays` wrote; `spaces` are those it was trained with."""
        about = json.loads(arrays["about"].tobytes())
        return cls(
            Knowledge.from_arrays(_part(arrays, "knowledge."), spaces),
            Forecast.from_arrays(_part(arrays, "forecast.")),
            tuple(task_from_dict(task) for task in about["tasks"]),
            arrays["residuals"],
            TrackRecord(**about["track_record"]) if about["track_record"] else None,
            int(arrays["n_learned"]),
        )


def _learned(
    past: Evidence, baselines: np.ndarray, spaces: Mapping[str, SearchSpace], rows: np.ndarray, *, seed: int
) -> _Learned:
    """What the tasks `rows` teach."""
    part, baselines = past.rows(rows), baselines[rows]
    knowledge = Knowledge.learn(part, spaces, seed=seed, baselines=baselines)
    return knowledge, _forecast(part, baselines, knowledge, seed=seed)


def _forecast(past: Evidence, baselines: np.ndarray, knowledge: Knowledge, *, seed: int) -> Forecast:
    return Forecast.fit(past.columns(knowledge.columns), baselines, knowledge.worlds, seed=seed)


def task_from_dict(values: Mapping[str, Any]) -> Task:
    """The task whose fields are `values`."""
    return Task(**{**values, "type": TaskType(str(values["type"]))})


def _quantiles(residuals: np.ndarray) -> np.ndarray:
    """The quantiles `INTERVAL`, corrected for their number: a further residual lies between with that probability.

    NaN where no residual is known.
    """
    known = residuals[np.isfinite(residuals)]
    return np.quantile(known, INTERVAL, method="weibull") if known.size else np.full(len(INTERVAL), np.nan)


def _track_record(past: Evidence, regret: np.ndarray, learners: tuple[str, ...], metric: str) -> TrackRecord | None:
    live = np.flatnonzero(~past.flat & ~np.isnan(regret[:, 0]))
    if not live.size:
        return None
    first = regret[live, 0]
    wins = float((first < 1).mean() + 0.5 * (first == 1).mean())
    worth = float("nan")
    if len(learners) == 1:
        counts = range(1, min(n_random(past, int(row)) for row in live) + 1)
        curve = np.mean([random_regret(past, int(row), counts) for row in live], axis=0)
        # At least so many: those that were counted may not reach it.
        worth = min(worth_in_random_trials(curve, float(regret[live, 1].mean())), float(len(curve)))
    return TrackRecord("+".join(learners), metric, len(live), TRACK_RECORD_K, wins, worth)


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
