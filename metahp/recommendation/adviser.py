"""The adviser: past tasks and a forecast; it turns a task's meta-features into k candidates and what to expect."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from metahp.core.task import Task
from metahp.recommendation.abstention import why_abstain
from metahp.recommendation.result import Neighbour, TrackRecord
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Forecast, Levels, compute_log_ratios
from metahp.surrogate.metamodel import MetaModel, to_bytes
from metahp.surrogate.prior import PastTasks, Prior
from metahp.surrogate.validation import (
    compute_batch_regret,
    compute_random_regret,
    compute_worth_in_random_trials,
    count_random,
    make_group_folds,
)

VALIDATION_FOLDS = 5
TRACK_RECORD_K = 5
INTERVAL = (0.1, 0.9)
N_NEIGHBOURS = 3
# A past task this nearly a copy is one.
IS_COPY = 0.5
N_REASONS = 3
# From fewer residuals the ends of an interval are luck.
LEAST_RESIDUALS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """One candidate of an advice: its column, and its expected loss, interval and default as losses."""

    column: int
    loss: float
    low: float
    high: float
    default_loss: float
    fit_seconds: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Advice:
    """The candidates to try first, with reasons, and the prior from which they come."""

    items: tuple[Advised, ...]
    neighbours: tuple[Neighbour, ...]
    reasons: tuple[str, ...]
    prior: Prior


@dataclass(frozen=True, eq=False, kw_only=True)
class Validation:
    """How well the advice for some learners did on past tasks, each left out with its group.

    `residuals` are errors of the forecast's log relative loss for the first candidates of a batch, shape
    (t, TRACK_RECORD_K), NaN where unknown; `learners` (t, TRACK_RECORD_K) are places in `names`, -1 where unknown.
    """

    names: tuple[str, ...]
    residuals: np.ndarray
    learners: np.ndarray
    track_record: TrackRecord | None

    @classmethod
    def nothing(cls) -> "Validation":
        """What there is before anything was validated: no interval and no track record."""
        shape = (0, TRACK_RECORD_K)
        return cls(names=(), residuals=np.zeros(shape), learners=np.zeros(shape, dtype=np.int8), track_record=None)

    def of(self, names: Iterable[str]) -> "Validation":
        """What of it holds for advice that is chosen from these learners only.

        Of too few residuals of theirs no interval could be made, and those of all learners stand for them.
        """
        wanted = frozenset(names)
        if wanted == frozenset(self.names):
            return self
        is_wanted = np.array([name in wanted for name in self.names] + [False])
        theirs = np.where(is_wanted[self.learners], self.residuals, np.nan)
        n_known = np.isfinite(theirs).sum(axis=0)
        is_enough = min(n_known[0], n_known[1:].sum()) >= LEAST_RESIDUALS
        return replace(self, residuals=theirs if is_enough else self.residuals, track_record=None)

    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles `INTERVAL` of the residuals, each (2,): of the first candidate of a batch, and of later ones.

        What a batch adds to its first is chosen for being unlike it, and its losses are told less well.
        """
        return _quantiles(self.residuals[:, :1]), _quantiles(self.residuals[:, 1:])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays; `from_arrays` reads them."""
        record = asdict(self.track_record) if self.track_record else None
        about = to_bytes(json.dumps({"names": self.names, "track_record": record}))
        return {"about": about, "residuals": self.residuals.astype(np.float32), "learners": self.learners}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Validation":
        """The validation that `to_arrays` wrote."""
        about = json.loads(arrays["about"].tobytes())
        record = about["track_record"]
        return cls(
            names=tuple(about["names"]),
            residuals=arrays["residuals"].astype(float),
            learners=arrays["learners"],
            track_record=TrackRecord(**record) if record else None,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Adviser:
    """Past tasks, a forecast, and how well both did on past tasks that were left out."""

    past: PastTasks
    forecast: Forecast
    validation: Validation

    @classmethod
    def of(cls, past: PastTasks, levels: Levels, validation: Validation | None = None) -> "Adviser":
        """The adviser of past tasks; without a validation no score has an interval."""
        return cls(past=past, forecast=Forecast.of(past, levels), validation=validation or Validation.nothing())

    def advise(
        self,
        task: Task,
        metafeatures: np.ndarray,
        names: tuple[str, ...],
        constant: float,
        k: int,
        *,
        among: np.ndarray | None = None,
    ) -> Advice:
        """The first `k` candidates for `task`, where a constant prediction has the loss `constant`.

        They are chosen from the candidates `among`, from all where it is None.
        """
        prior = self.prior(task, metafeatures, names, constant)
        batch = prior.batch(k, among)
        first, later = self.validation.intervals()
        items = []
        for rank, (column, (loss, default)) in enumerate(
            zip(batch, self.forecast.relative_loss(batch, metafeatures, prior), strict=True)
        ):
            low, high = later if rank else first
            items.append(
                Advised(
                    column=column,
                    loss=float(constant * np.exp(loss)),
                    low=float(constant * np.exp(loss + low)),
                    high=float(constant * np.exp(loss + high)),
                    default_loss=float(constant * np.exp(default)),
                    fit_seconds=self.forecast.fit_seconds(task, column),
                )
            )
        similar: dict[str, float] = {}
        for i in np.argsort(-prior.similarity, kind="stable"):
            past_task = self.past.evidence.tasks[i]
            # A task with several numbers of rows counts once.
            similar.setdefault(past_task.name or past_task.id, float(prior.similarity[i]))
        neighbours = tuple(Neighbour(*pair) for pair in list(similar.items())[:N_NEIGHBOURS])
        reasons = () if prior.abstained else self._reasons(metafeatures, names, batch[0])
        return Advice(items=tuple(items), neighbours=neighbours, reasons=reasons, prior=prior)

    def prior(self, task: Task, metafeatures: np.ndarray, names: tuple[str, ...], constant: float) -> Prior:
        """The prior of `task`, which abstains where past tasks are no guide; arguments as of `advise`."""
        has_copy = bool(self.past.copied(metafeatures).max() >= IS_COPY)
        abstained = why_abstain(task, self.past.evidence.tasks, metafeatures, names, has_copy=has_copy)
        if self.past.model.surrogate is None:
            abstained = abstained or "no model of them is trained"
        return self.past.prior(metafeatures, unit=constant, abstained=abstained)

    def _reasons(self, metafeatures: np.ndarray, names: tuple[str, ...], first: int) -> tuple[str, ...]:
        """The meta-features that speak most for the first candidate against its learner's default."""
        surrogate, evidence = self.past.model.surrogate, self.past.evidence
        default = evidence.defaults.get(evidence.candidates[first].learner, first)
        if default == first or surrogate is None:
            return ()
        chosen, other = surrogate.contributions(metafeatures, self.past.encoded[[first, default]])
        moved = chosen - other
        strongest = np.argsort(moved, kind="stable")[:N_REASONS]
        return tuple(f"{names[i]} = {metafeatures[i]:.3g}" for i in strongest if moved[i] < 0)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A meta-model that was trained without some groups of past tasks."""

    groups: frozenset[str]
    model: MetaModel


def split_groups(evidence: Evidence, *, seed: int) -> Iterator[tuple[Evidence, frozenset[str]]]:
    """The evidence without each of `VALIDATION_FOLDS` sets of groups, and that set."""
    groups = evidence.groups
    for train, test in make_group_folds(groups, VALIDATION_FOLDS, seed=seed):
        yield evidence.rows(train), frozenset(groups[row] for row in test)


def validate(evidence: Evidence, parts: Sequence[LeftOut], *, seed: int) -> Validation:
    """How well the advice does on past tasks whose groups the parts were trained without.

    `evidence` may be of another metric than the parts were trained for, and about some of their learners.
    """
    groups = np.array(evidence.groups)
    n, names = len(evidence.tasks), tuple(evidence.spaces)
    residuals = np.full((n, TRACK_RECORD_K), np.nan)
    learners = np.full((n, TRACK_RECORD_K), -1, dtype=np.int8)
    regret = np.full((n, 2), np.nan)
    # Others say nothing of how learners compare.
    whole = ~np.isnan(evidence.losses[:, list(evidence.defaults.values())]).any(axis=1)
    for part in parts:
        is_test = np.isin(groups, sorted(part.groups))
        test = np.flatnonzero(is_test)
        if is_test.all() or not test.size:
            continue
        known = evidence.rows(np.flatnonzero(~is_test))
        past = PastTasks.read(known, part.model)
        forecast = Forecast.of(past, Levels.fit(known, seed=seed))
        columns = evidence.columns_of(past.evidence)
        for row, prior in zip(test, past.priors(evidence.metafeatures[test]), strict=True):
            measured = np.flatnonzero(~np.isnan(evidence.losses[row, columns]))
            if not measured.size:
                continue
            batch = prior.batch(TRACK_RECORD_K, measured)
            losses = evidence.losses[row, columns[batch]]
            if whole[row]:
                regret[row] = compute_batch_regret(evidence, int(row), columns[batch].tolist(), (1, TRACK_RECORD_K))
            expected = forecast.relative_loss(batch, evidence.metafeatures[row], prior)
            found = compute_log_ratios(losses, evidence.constants[row])
            residuals[row, : len(batch)] = found - [loss for loss, _ in expected]
            learners[row, : len(batch)] = [names.index(prior.candidates[column].learner) for column in batch]
    # As a file has them: a model that was kept says the same as one that was just trained.
    residuals = residuals.astype(np.float32).astype(float)
    return Validation(
        names=names, residuals=residuals, learners=learners, track_record=_track_record(evidence, regret, names)
    )


def _quantiles(residuals: np.ndarray) -> np.ndarray:
    """The quantiles `INTERVAL`, corrected for their number: a further residual lies between with that probability.

    NaN where no residual is known.
    """
    known = residuals[np.isfinite(residuals)]
    return np.quantile(known, INTERVAL, method="weibull") if known.size else np.full(len(INTERVAL), np.nan)


def _track_record(evidence: Evidence, regret: np.ndarray, names: tuple[str, ...]) -> TrackRecord | None:
    flat = np.zeros(len(regret), dtype=bool) if evidence.flat is None else evidence.flat
    live = np.flatnonzero(~flat & ~np.isnan(regret[:, 0]))
    if not live.size:
        return None
    first = regret[live, 0]
    wins = float((first < 1).mean() + 0.5 * (first == 1).mean())
    worth = float("nan")
    if len(names) == 1:
        counts = range(1, min(count_random(evidence, int(row)) for row in live) + 1)
        curve = np.mean([compute_random_regret(evidence, int(row), counts) for row in live], axis=0)
        # At least so many: those that were counted may not reach it.
        worth = min(compute_worth_in_random_trials(curve, float(regret[live, 1].mean())), float(len(curve)))
    return TrackRecord(
        learner="+".join(names),
        metric=evidence.metric,
        n_tasks=len(live),
        k=TRACK_RECORD_K,
        win_rate=wins,
        random_trials=worth,
    )
