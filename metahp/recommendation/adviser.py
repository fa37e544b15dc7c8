"""The adviser: it turns the meta-features of a task into k candidates with their expected losses."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from metahp.core.task import Task
from metahp.recommendation.abstention import find_reason_to_abstain
from metahp.recommendation.reasons import explain_metafeature, find_subject
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
# A past task that is a copy of the task to at least this degree (1 for an exact copy) counts as a near copy.
COPY_THRESHOLD = 0.5
N_REASONS = 3
# With fewer residuals the ends of an interval are random.
LEAST_RESIDUALS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisedCandidate:
    """One candidate of an advice.

    Attributes:
        column: Place in `Prior.candidates`.
        loss: Expected loss.
        low: Lower end of the 80 % interval of the loss; NaN without a validation.
        high: Upper end of the 80 % interval of the loss; NaN without a validation.
        default_loss: Expected loss of the same learner's default.
        fit_seconds: Expected seconds of one training on all rows.
    """

    column: int
    loss: float
    low: float
    high: float
    default_loss: float
    fit_seconds: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Advice:
    """The candidates to try first, and why.

    Attributes:
        items: The candidates in order. The first has the best expected loss; the others hedge in this order.
        neighbours: The most similar past tasks, the most similar first.
        reasons: What speaks most for the first candidate, each in words.
        prior: The prior that chose the candidates.
        reference: The learner whose library default gains are over: the default with the best expected loss.
        reference_loss: Expected loss of that default; NaN where it is unknown.
    """

    items: tuple[AdvisedCandidate, ...]
    neighbours: tuple[Neighbour, ...]
    reasons: tuple[str, ...]
    prior: Prior
    reference: str
    reference_loss: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Validation:
    """How good the advice for some learners was on past tasks, each left out with its group.

    Attributes:
        names: Names of the learners.
        residuals: Measured minus forecast log relative loss of the first candidates of a batch, shape
            (t, TRACK_RECORD_K); NaN where it is unknown.
        learners: Learner of each of these candidates as its place in `names`, shape (t, TRACK_RECORD_K); -1 where it
            is unknown.
        track_record: Summary for the user; None where it is unknown.
    """

    names: tuple[str, ...]
    residuals: np.ndarray
    learners: np.ndarray
    track_record: TrackRecord | None

    @classmethod
    def make_empty(cls) -> "Validation":
        """A validation without results: no interval and no track record."""
        shape = (0, TRACK_RECORD_K)
        return cls(names=(), residuals=np.zeros(shape), learners=np.zeros(shape, dtype=np.int8), track_record=None)

    def restrict_to(self, names: Iterable[str]) -> "Validation":
        """The part of the validation that holds for advice from these learners only.

        Where they have too few residuals for an interval, the residuals of all learners are kept.
        """
        wanted = frozenset(names)
        if wanted == frozenset(self.names):
            return self
        is_wanted = np.array([name in wanted for name in self.names] + [False])
        wanted_residuals = np.where(is_wanted[self.learners], self.residuals, np.nan)
        n_known = np.isfinite(wanted_residuals).sum(axis=0)
        is_enough = min(n_known[0], n_known[1:].sum()) >= LEAST_RESIDUALS
        return replace(self, residuals=wanted_residuals if is_enough else self.residuals, track_record=None)

    def compute_intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles `INTERVAL` of the residuals, each (2,): for the first candidate of a batch, and for later ones.

        Later candidates are chosen to differ from the first, and their losses are forecast less well.
        """
        return _compute_quantiles(self.residuals[:, :1]), _compute_quantiles(self.residuals[:, 1:])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The validation as plain arrays; `from_arrays` reads them."""
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
    """Past tasks, a forecast of losses, and how good both were on left-out past tasks."""

    past: PastTasks
    forecast: Forecast
    validation: Validation

    @classmethod
    def of(cls, past: PastTasks, levels: Levels, validation: Validation | None = None) -> "Adviser":
        """The adviser made of past tasks; without a validation no score has an interval."""
        return cls(past=past, forecast=Forecast.of(past, levels), validation=validation or Validation.make_empty())

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
        """The `k` candidates to try first on a task.

        Args:
            task: The new task.
            metafeatures: Of the task, shape (m,).
            names: Names of the meta-features.
            constant: Loss of a constant prediction on the task.
            k: Number of candidates.
            among: Places of the candidates to choose from; None for all.
        """
        prior = self.make_prior(task, metafeatures, names, constant)
        batch = prior.batch(k, among)
        first, later = self.validation.compute_intervals()
        losses = self.forecast.predict_relative_losses([*batch, *self.forecast.defaults.values()], metafeatures, prior)
        items = []
        for rank, (column, (loss, default)) in enumerate(zip(batch, losses[: len(batch)], strict=True)):
            low, high = later if rank else first
            items.append(
                AdvisedCandidate(
                    column=column,
                    loss=float(constant * np.exp(loss)),
                    low=float(constant * np.exp(loss + low)),
                    high=float(constant * np.exp(loss + high)),
                    default_loss=float(constant * np.exp(default)),
                    fit_seconds=self.forecast.fit_seconds(task, column),
                )
            )
        items = [items[place] for place in find_order([item.loss for item in items])]
        similar: dict[str, float] = {}
        for i in np.argsort(-prior.similarity, kind="stable"):
            past_task = self.past.evidence.tasks[i]
            # A past task that was measured on several numbers of rows counts once.
            similar.setdefault(past_task.name or past_task.id, float(prior.similarity[i]))
        neighbours = tuple(Neighbour(*pair) for pair in list(similar.items())[:N_NEIGHBOURS])
        reasons = () if prior.abstained else self._find_reasons(metafeatures, names, items[0].column)
        # The hardest default to beat: a gain over a worse one would flatter.
        of_defaults = {
            learner: float(constant * np.exp(default))
            for learner, (_, default) in zip(self.forecast.defaults, losses[len(batch) :], strict=True)
            if not math.isnan(default)
        }
        reference = min(of_defaults, key=of_defaults.__getitem__, default=prior.candidates[items[0].column].learner)
        return Advice(
            items=tuple(items),
            neighbours=neighbours,
            reasons=reasons,
            prior=prior,
            reference=reference,
            reference_loss=of_defaults.get(reference, items[0].default_loss),
        )

    def make_prior(self, task: Task, metafeatures: np.ndarray, names: tuple[str, ...], constant: float) -> Prior:
        """The prior of `task`; it abstains where past tasks cannot be trusted. Arguments as in `advise`."""
        has_copy = bool(self.past.measure_copies(metafeatures).max() >= COPY_THRESHOLD)
        abstained = find_reason_to_abstain(task, self.past.evidence.tasks, metafeatures, names, has_copy=has_copy)
        if self.past.model.surrogate is None:
            abstained = abstained or "no model of them is trained"
        return self.past.prior(metafeatures, unit=constant, abstained=abstained)

    def _find_reasons(self, metafeatures: np.ndarray, names: tuple[str, ...], first: int) -> tuple[str, ...]:
        """The meta-features that speak most for the first candidate and against its learner's default."""
        surrogate, evidence = self.past.model.surrogate, self.past.evidence
        default = evidence.defaults.get(evidence.candidates[first].learner, first)
        if surrogate is None:
            return ()
        if default == first:
            return ("on past tables like this one, hardly any other configuration did better",)
        chosen, other = surrogate.compute_contributions(metafeatures, self.past.encoded[[first, default]])
        difference = chosen - other
        strongest = np.argsort(difference, kind="stable")
        reasons: dict[str, str] = {}
        for i in strongest[difference[strongest] < 0].tolist():
            words = explain_metafeature(names[i], metafeatures[i], evidence.metafeatures[:, i], evidence.tasks[0].type)
            if words:
                reasons.setdefault(find_subject(names[i]), words)
        return tuple(reasons.values())[:N_REASONS]


def find_order(losses: Sequence[float]) -> list[int]:
    """The order of a batch with these expected losses, shape (k,): the lowest one first, then the others as they are.

    The others keep their order, because each was chosen for the case that those before it disappoint. Of the past tasks
    that `Forecast.predict_relative_losses` names, another one than the first moves on 2 to 8 %, and the mean regret of
    the first of five changes by -.000 ± .002, -.001 ± .014 and +.020 ± .016. Where only the learner's forecast decides,
    it moves on half of the tasks, and the regret by log loss rises by .092 ± .024.
    """
    known = [place for place, loss in enumerate(losses) if math.isfinite(loss)]
    if not known or not math.isfinite(losses[0]):
        return list(range(len(losses)))
    best = min(known, key=lambda place: losses[place])
    return [best, *(place for place in range(len(losses)) if place != best)]


@dataclass(frozen=True, eq=False)
class LeftOutModel:
    """A meta-model that was trained without some groups of past tasks."""

    groups: frozenset[str]
    model: MetaModel


def split_groups(evidence: Evidence, *, seed: int) -> Iterator[tuple[Evidence, frozenset[str]]]:
    """For each of `VALIDATION_FOLDS` sets of groups: the evidence without that set, and the set."""
    groups = evidence.groups
    for train, test in make_group_folds(groups, VALIDATION_FOLDS, seed=seed):
        yield evidence.rows(train), frozenset(groups[row] for row in test)


def validate(evidence: Evidence, parts: Sequence[LeftOutModel], *, seed: int) -> Validation:
    """How good the advice is on past tasks whose groups the models were not trained on.

    Args:
        evidence: Past tasks; it may have another metric than the models, and only some of their learners.
        parts: Models, each trained without some groups.
        seed: For the forecasts' models.
    """
    groups = np.array(evidence.groups)
    n, names = len(evidence.tasks), tuple(evidence.spaces)
    residuals = np.full((n, TRACK_RECORD_K), np.nan)
    learners = np.full((n, TRACK_RECORD_K), -1, dtype=np.int8)
    regret = np.full((n, 2), np.nan)
    # Only tasks on which the default of every learner was measured say how learners compare.
    whole = ~np.isnan(evidence.losses[:, list(evidence.defaults.values())]).any(axis=1)
    for part in parts:
        is_test = np.isin(groups, sorted(part.groups))
        test = np.flatnonzero(is_test)
        if is_test.all() or not test.size:
            continue
        known = evidence.rows(np.flatnonzero(~is_test))
        past = PastTasks.read(known, part.model)
        forecast = Forecast.of(past, Levels.fit(known, seed=seed))
        columns = evidence.find_columns(past.evidence)
        for row, prior in zip(test, past.make_priors(evidence.metafeatures[test]), strict=True):
            measured = np.flatnonzero(~np.isnan(evidence.losses[row, columns]))
            if not measured.size:
                continue
            batch = prior.batch(TRACK_RECORD_K, measured)
            losses = evidence.losses[row, columns[batch]]
            expected = [loss for loss, _ in forecast.predict_relative_losses(batch, evidence.metafeatures[row], prior)]
            if whole[row]:
                ordered = columns[batch][find_order(expected)].tolist()
                regret[row] = compute_batch_regret(evidence, int(row), ordered, (1, TRACK_RECORD_K))
            measured_loss = compute_log_ratios(losses, evidence.constants[row])
            residuals[row, : len(batch)] = measured_loss - expected
            learners[row, : len(batch)] = [names.index(prior.candidates[column].learner) for column in batch]
    # Rounded as in a file, so that a stored model gives the same advice as one that was just trained.
    residuals = residuals.astype(np.float32).astype(float)
    return Validation(
        names=names, residuals=residuals, learners=learners, track_record=_make_track_record(evidence, regret, names)
    )


def _compute_quantiles(residuals: np.ndarray) -> np.ndarray:
    """The quantiles `INTERVAL` of the residuals, shape (2,); NaN where no residual is known.

    They are corrected for the number of residuals, so that a further one lies between them with that probability.
    """
    known = residuals[np.isfinite(residuals)]
    return np.quantile(known, INTERVAL, method="weibull") if known.size else np.full(len(INTERVAL), np.nan)


def _make_track_record(evidence: Evidence, regret: np.ndarray, names: tuple[str, ...]) -> TrackRecord | None:
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
        # The curve may end above the regret of the advice; the number of trials is then a lower bound.
        worth = min(compute_worth_in_random_trials(curve, float(regret[live, 1].mean())), float(len(curve)))
    return TrackRecord(
        learner="+".join(names),
        metric=evidence.metric,
        n_tasks=len(live),
        k=TRACK_RECORD_K,
        win_rate=wins,
        random_trials=worth,
    )
