"""Seconds of trials: what past tasks say, and what the trials of the task itself correct."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from metahp.core.configuration import Configuration
from metahp.core.space import Float, Integer, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.surrogate.cost import CostModel, TaskCost
from metahp.surrogate.evidence import Evidence

SPACE = SearchSpace("toy", 1, (Integer("n_trees", 10, 1000, 100, is_log=True), Float("share", 0.1, 1.0, 1.0)))
OTHER = SearchSpace("other", 1, (Float("share", 0.1, 1.0, 1.0),))
# Of the log seconds: a level, what a row and the number of trees add, and the noise of a trial.
LEVEL, PER_LOG_ROW, PER_UNIT, NOISE = -8.0, 0.9, 2.0, 0.05


def make_task(number: int, n_rows: int) -> Task:
    return Task(id=f"t{number}", type=TaskType.BINARY, n_rows=n_rows, n_features=10, n_classes=2, name=f"t{number}")


def compute_log_seconds(task: Task, configurations: list[Configuration]) -> np.ndarray:
    return LEVEL + PER_LOG_ROW * math.log(task.n_rows) + PER_UNIT * SPACE.to_unit(configurations)[:, 0]


@dataclass(frozen=True)
class Past:
    """Past tasks on which the log seconds are linear, but for some noise and an offset for each task."""

    n_tasks: int = 200
    offset: float = 0.2
    n_candidates: int = 30

    def make_evidence(self) -> Evidence:
        rng = np.random.default_rng(0)
        candidates = SPACE.from_unit(rng.random((self.n_candidates, 2)))
        rows = np.exp(rng.uniform(5, 10, self.n_tasks)).astype(int)
        tasks = tuple(make_task(number, n_rows) for number, n_rows in enumerate(rows.tolist()))
        log_seconds = np.stack([compute_log_seconds(task, candidates) for task in tasks])
        log_seconds += rng.normal(scale=self.offset, size=(self.n_tasks, 1)) + rng.normal(
            scale=NOISE, size=log_seconds.shape
        )
        # A part of the trials is missing.
        log_seconds[rng.random(log_seconds.shape) < 0.2] = np.nan
        return Evidence(
            metric="roc_auc",
            spaces={"toy": SPACE, "other": OTHER},
            tasks=tasks,
            metafeatures=np.zeros((self.n_tasks, 1)),
            constants=np.ones(self.n_tasks),
            candidates=tuple(candidates),
            origins=(Origin.DESIGN,) * self.n_candidates,
            is_final=np.ones(self.n_candidates, dtype=bool),
            losses=np.where(np.isfinite(log_seconds), 0.5, np.nan),
            fit_seconds=np.exp(log_seconds),
            defaults={},
        )


@pytest.fixture(scope="module")
def model() -> CostModel:
    return CostModel.fit(Past().make_evidence())


NEW = make_task(99, 3000)
POINTS = SPACE.from_unit(np.random.default_rng(1).random((50, 2)))


def on_new(model: CostModel, **options: float) -> TaskCost:
    """The cost on the new task with the folds of past trials."""
    return model.on(NEW, **{"folds": 3, **options})


def predict(cost: TaskCost, configurations: list[Configuration] = POINTS) -> tuple[np.ndarray, np.ndarray]:
    return cost.predict(cost.prepare(configurations))


def test_costs_whose_log_is_linear_are_recovered(model: CostModel) -> None:
    learned = model.learners["toy"]
    assert learned.size[1] == pytest.approx(PER_LOG_ROW, abs=0.1)
    assert learned.slopes[0] == pytest.approx(PER_UNIT, abs=0.1)
    assert learned.slopes[1] == pytest.approx(0.0, abs=0.05)
    assert learned.noise == pytest.approx(NOISE, abs=0.03)
    assert learned.offset == pytest.approx(0.2, abs=0.1)
    mean, _ = predict(on_new(model))
    np.testing.assert_allclose(mean, compute_log_seconds(NEW, POINTS), atol=0.2)


def test_few_past_tasks_have_the_widths_that_are_given() -> None:
    learned = CostModel.fit(Past(n_tasks=5).make_evidence()).learners["toy"]
    assert (learned.offset, learned.noise, set(learned.spread.tolist())) == (0.5, 0.3, {0.3})


def test_more_folds_take_longer_and_fewer_rows_less(model: CostModel) -> None:
    mean, _ = predict(on_new(model))
    # Three folds train on two thirds of the rows each, five on four fifths.
    np.testing.assert_allclose(predict(on_new(model, folds=5))[0] - mean, math.log(5 * 4 / 5 / (3 * 2 / 3)))
    fewer, _ = predict(on_new(model, most_rows=300))
    np.testing.assert_allclose(fewer - mean, model.learners["toy"].size[1] * math.log(300 / 3000))
    np.testing.assert_array_equal(predict(on_new(model, most_rows=10**9))[0], mean)


@pytest.mark.parametrize("slower", [0.2, 1.0, 6.0])
def test_own_trials_correct_a_wrong_speed_of_the_machine(model: CostModel, slower: float) -> None:
    cost = on_new(model)
    truth = compute_log_seconds(NEW, POINTS) + math.log(slower)
    before = np.abs(predict(cost)[0] - truth).mean()
    errors = []
    for configuration, seconds in zip(POINTS[:6], np.exp(truth[:6]).tolist(), strict=True):
        cost.tell(configuration, seconds)
        errors.append(np.abs(predict(cost)[0] - truth).mean())
    # One trial tells nearly all: speed is common to all configurations.
    assert errors[0] < 0.15
    assert errors[-1] < max(0.1, before)


def test_own_trials_of_one_learner_tell_the_speed_for_another() -> None:
    evidence = Past().make_evidence()
    both = np.tile(evidence.fit_seconds, (1, 2))
    others = OTHER.from_unit(np.random.default_rng(2).random((len(evidence.candidates), 1)))
    n = both.shape[1]
    joined = Evidence(
        metric=evidence.metric,
        spaces=evidence.spaces,
        tasks=evidence.tasks,
        metafeatures=evidence.metafeatures,
        constants=evidence.constants,
        candidates=(*evidence.candidates, *others),
        origins=(Origin.DESIGN,) * n,
        is_final=np.ones(n, dtype=bool),
        losses=np.full((len(evidence.tasks), n), 0.5),
        fit_seconds=both,
        defaults={},
    )
    cost = CostModel.fit(joined).on(NEW, folds=3)
    before, wide = predict(cost, others[:5])
    for configuration in POINTS[:4]:
        cost.tell(configuration, float(np.exp(compute_log_seconds(NEW, [configuration])[0] + math.log(5.0))))
    after, narrow = predict(cost, others[:5])
    assert (after - before > 1.2).all()
    assert (narrow < wide).all()


def test_the_interval_covers_what_trials_take_and_becomes_narrower(model: CostModel) -> None:
    rng = np.random.default_rng(3)
    hits, widths = [], []
    for _ in range(40):
        cost = on_new(model)
        moved = rng.normal(scale=math.hypot(1.0, 0.2))
        truth = compute_log_seconds(NEW, POINTS) + moved + rng.normal(scale=NOISE, size=len(POINTS))
        for n, k in ((0, 3), (3, 10)):
            for i in range(n):
                cost.tell(POINTS[i], float(np.exp(truth[i])))
            mean, deviation = predict(cost)
            hits.append(np.abs(truth[k:] - mean[k:]) < 1.6449 * deviation[k:])
            widths.append(deviation.mean())
    # Nine of ten, as far as 40 tasks tell.
    assert 0.8 < np.mean(np.concatenate(hits)) < 0.99
    assert max(widths[1::2]) < min(widths[::2]) / 3


def test_a_learner_without_past_trials_has_no_cost_and_teaches_none(model: CostModel) -> None:
    assert list(model.learners) == ["toy"]
    cost = on_new(model)
    before = predict(cost)
    cost.tell(OTHER.default, 1000.0)
    mean, deviation = predict(cost, [OTHER.default, SPACE.default])
    assert np.isnan([mean[0], deviation[0]]).all()
    assert np.isfinite([mean[1], deviation[1]]).all()
    np.testing.assert_array_equal(predict(cost), before)


@pytest.mark.parametrize("seconds", [0.0, math.nan, -1.0])
def test_seconds_that_are_none_teach_nothing(model: CostModel, seconds: float) -> None:
    cost = on_new(model)
    before = predict(cost)
    cost.tell(SPACE.default, seconds)
    np.testing.assert_array_equal(predict(cost), before)


def test_a_trial_outside_the_space_is_passed_over(model: CostModel) -> None:
    cost = on_new(model)
    before = predict(cost)
    outside = Configuration.outside("toy", {"n_trees": 5000, "share": 1.0})
    cost.tell(outside, 1000.0)
    np.testing.assert_array_equal(predict(cost), before)


def test_prepared_points_are_predicted_as_fresh_ones_after_every_trial(model: CostModel) -> None:
    cost = on_new(model)
    prepared = cost.prepare(POINTS)
    for configuration in POINTS[:3]:
        cost.tell(configuration, 2.5)
        np.testing.assert_array_equal(cost.predict(prepared), predict(cost))


def test_the_order_of_trials_does_not_matter(model: CostModel) -> None:
    one, other = on_new(model), on_new(model)
    told = [(configuration, 0.5 + i) for i, configuration in enumerate(POINTS[:6])]
    for configuration, seconds in told:
        one.tell(configuration, seconds)
    for configuration, seconds in reversed(told):
        other.tell(configuration, seconds)
    np.testing.assert_allclose(predict(one), predict(other), rtol=1e-9)


def test_without_any_past_trial_nothing_is_known() -> None:
    evidence = Past(n_tasks=3).make_evidence()
    empty = evidence.columns(np.array([], dtype=int))
    model = CostModel.fit(empty)
    mean, _ = predict(on_new(model), [SPACE.default])
    assert model.learners == {}
    assert np.isnan(mean).all()
