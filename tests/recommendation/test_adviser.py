"""The adviser on small synthetic evidence: what it advises, expects and was worth on past tasks."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from metahp.core.space import Float, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.recommendation import adviser as adviser_module
from metahp.recommendation.adviser import (
    TRACK_RECORD_K,
    Adviser,
    LeftOutModel,
    Validation,
    find_order,
    split_groups,
    validate,
)
from metahp.recommendation.result import TrackRecord
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Levels
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks

N_TASKS = 40
SPACES = {name: SearchSpace(name, 1, (Float("x", 0.0, 1.0, 0.0),)) for name in ("first", "second")}
NAMES = ("m0", "m1", "m2")
NEW = Task(id="new", type=TaskType.REGRESSION, n_rows=120, n_features=5)


@pytest.fixture(scope="module")
def past() -> Evidence:
    """Forty tasks whose best x lies where their first meta-feature says, for both learners; the second is worse."""
    rng = np.random.default_rng(0)
    xs = np.linspace(0.0, 1.0, 11).round(2).tolist()
    metafeatures = rng.normal(size=(N_TASKS, 3))
    metafeatures[:, 0] = rng.uniform(0.2, 1.0, size=N_TASKS)
    one = 1.0 + (np.array(xs) - metafeatures[:, :1]) ** 2
    losses = np.hstack([one, one + 0.05]) + rng.normal(scale=1e-3, size=(N_TASKS, 22))
    return Evidence(
        metric="neg_root_mean_squared_error",
        spaces=SPACES,
        tasks=tuple(
            Task(
                id=f"t{i}",
                type=TaskType.REGRESSION,
                n_rows=100 + i,
                n_features=5,
                n_classes=0,
                name=f"t{i}",
                group=f"g{i // 2}",
            )
            for i in range(N_TASKS)
        ),
        metafeatures=metafeatures,
        constants=np.full(N_TASKS, 2.0),
        candidates=tuple(SPACES[name].configuration({"x": float(x)}) for name in SPACES for x in xs),
        origins=tuple(Origin.DEFAULT if x == 0.0 else Origin.DESIGN for _ in SPACES for x in xs),
        is_final=np.ones(22, dtype=bool),
        losses=losses,
        fit_seconds=np.full((N_TASKS, 22), 0.1),
        defaults={"first": 0, "second": 11},
        flat=np.zeros(N_TASKS, dtype=bool),
    )


@pytest.fixture(scope="module")
def parts(past) -> list[LeftOutModel]:
    return [LeftOutModel(groups, MetaModel.fit(part, seed=0)) for part, groups in split_groups(past, seed=0)]


@pytest.fixture(scope="module")
def adviser(past, parts) -> Adviser:
    learned = PastTasks.read(past, MetaModel.fit(past, seed=0))
    return Adviser.of(learned, Levels.fit(past, seed=0), validate(past, parts, seed=0))


def test_parts_leave_each_group_out_once(past):
    parts = list(split_groups(past, seed=0))
    assert sorted(name for _, groups in parts for name in groups) == sorted(set(past.groups))
    for part, groups in parts:
        assert not groups & set(part.groups)


def test_advice_is_as_good_as_it_is_expected_to_be(past, adviser):
    advice = adviser.advise(NEW, past.metafeatures[0] + [0.0, 0.5, 0.5], NAMES, 2.0, 3)
    assert len(advice.items) == 3
    assert not advice.prior.abstained
    assert len(advice.neighbours) == 3
    # There are no words for these meta-features.
    assert advice.reasons == ()
    assert all(item.low <= item.loss * 1.01 and item.loss <= item.high * 1.01 for item in advice.items)
    assert adviser.past.evidence.candidates[advice.items[0].column].learner == "first"
    assert advice.items[0].loss < advice.items[0].default_loss
    record = adviser.validation.track_record
    assert record is not None
    assert (record.learner, record.n_tasks, record.k) == ("first+second", N_TASKS, TRACK_RECORD_K)
    assert record.win_rate > 0.8
    # It is not defined what a random trial across learners is.
    assert np.isnan(record.random_trials)


def test_advice_is_chosen_among_some_candidates(past, adviser):
    among = np.arange(11, 22)
    advice = adviser.advise(NEW, past.metafeatures[0] + 1.0, NAMES, 2.0, 2, among=among)
    assert {item.column for item in advice.items} <= set(among.tolist())


def test_gains_are_over_the_default_that_is_expected_to_be_the_best(past, adviser):
    for k in (1, 3):
        advice = adviser.advise(NEW, past.metafeatures[3] + 0.5, NAMES, 2.0, k)
        assert advice.reference in past.defaults
        assert np.isfinite(advice.reference_loss)
        assert all(advice.reference_loss <= item.default_loss + 1e-12 for item in advice.items)
        own = [item.default_loss for item in advice.items if past.candidates[item.column].learner == advice.reference]
        assert own == pytest.approx([advice.reference_loss] * len(own))


def test_a_table_that_is_known_is_its_own_neighbour(past, adviser):
    advice = adviser.advise(NEW, past.metafeatures[7], NAMES, 2.0, 1)
    assert (advice.neighbours[0].task, advice.neighbours[0].similarity) == ("t7", 1.0)


def test_an_untrained_model_abstains_and_gives_the_portfolio(past):
    adviser = Adviser.of(PastTasks.read(past, MetaModel.make_untrained(past)), Levels.fit(past, seed=0))
    advice = adviser.advise(NEW, past.metafeatures[0] + 1.0, NAMES, 2.0, 3)
    assert advice.prior.abstained == "no model of them is trained"
    assert advice.prior.weights == pytest.approx(1 / N_TASKS)
    assert advice.reasons == ()
    assert all(np.isnan([item.low, item.high]).all() and np.isfinite(item.loss) for item in advice.items)


def test_it_abstains_outside_of_the_past(past, adviser):
    advice = adviser.advise(replace(NEW, n_rows=10_000_000), past.metafeatures[0], NAMES, 2.0, 2)
    assert "10,000,000 rows" in advice.prior.abstained
    assert advice.reasons == ()


def test_the_interval_of_later_places_is_told_by_what_was_missed_there(past, adviser):
    assert adviser.validation.residuals.shape == (N_TASKS, TRACK_RECORD_K)
    sign = np.where(np.arange(N_TASKS) % 2, 1.0, -1.0)
    missed = replace(adviser.validation, residuals=sign[:, None] * [0.1, 0.3, 0.3, np.nan, 0.3])
    items = replace(adviser, validation=missed).advise(NEW, past.metafeatures[0], NAMES, 2.0, 3).items
    for item, by in zip(items, (0.1, 0.3, 0.3), strict=True):
        assert item.low == pytest.approx(item.loss * np.exp(-by))
        assert item.high == pytest.approx(item.loss * np.exp(by))


def test_a_validation_of_some_learners_has_the_residuals_of_their_candidates_alone(monkeypatch):
    monkeypatch.setattr(adviser_module, "LEAST_RESIDUALS", 1)
    record = TrackRecord(learner="first+second", metric="r2", n_tasks=2, k=5, win_rate=0.7, random_trials=float("nan"))
    validation = Validation(
        names=("first", "second"),
        residuals=np.array([[0.1, 0.2, 0.3, np.nan, np.nan], [0.4, 0.5, 0.6, 0.7, 0.8]]),
        learners=np.array([[0, 1, 0, -1, -1], [1, 1, 1, 0, 0]], dtype=np.int8),
        track_record=record,
    )
    assert validation.restrict_to(["second", "first"]) is validation
    first = validation.restrict_to(["first"])
    np.testing.assert_array_equal(
        first.residuals, [[0.1, np.nan, 0.3, np.nan, np.nan], [np.nan, np.nan, np.nan, 0.7, 0.8]]
    )
    # How the advice of all did says nothing of the advice of one.
    assert first.track_record is None
    np.testing.assert_array_equal(first.compute_intervals()[0], [0.1, 0.1])
    # Of too few no interval can be made: those of all stand for them.
    np.testing.assert_array_equal(validation.restrict_to(["third"]).residuals, validation.residuals)
    monkeypatch.setattr(adviser_module, "LEAST_RESIDUALS", 2)
    np.testing.assert_array_equal(validation.restrict_to(["first"]).residuals, validation.residuals)


def test_nothing_validated_is_no_interval():
    nothing = Validation.make_empty()
    assert nothing.track_record is None
    assert np.isnan(nothing.compute_intervals()).all()
    assert np.isnan(nothing.restrict_to(["first"]).compute_intervals()).all()


def test_an_interval_holds_four_of_five_further_residuals():
    residuals = np.linspace(-1.0, 1.0, 9)[:, None] * np.ones(5)
    low, high = replace(Validation.make_empty(), residuals=residuals).compute_intervals()[0]
    # The first and the last but one of ten gaps that nine residuals leave are outside.
    assert (low, high) == (pytest.approx(-1.0), pytest.approx(1.0))


def test_a_validation_comes_back_from_its_arrays(adviser):
    for validation in (adviser.validation, Validation.make_empty()):
        arrays = validation.to_arrays()
        assert not any(array.dtype.hasobject for array in arrays.values())
        again = Validation.from_arrays(arrays)
        assert again.names == validation.names
        np.testing.assert_array_equal(again.residuals, validation.residuals)
        np.testing.assert_array_equal(again.learners, validation.learners)
        assert again.track_record == validation.track_record or np.isnan(again.track_record.random_trials)
        for name, array in again.to_arrays().items():
            np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_parts_validate_the_advice_for_one_of_their_learners_and_for_another_metric(past, parts):
    first = past.columns(np.arange(11))
    alone = replace(first, metric="neg_mean_absolute_error", spaces={"first": SPACES["first"]}, losses=2 * first.losses)
    found = validate(alone, parts, seed=0)
    assert found.names == ("first",)
    assert set(found.learners.ravel().tolist()) == {0}
    assert np.isfinite(found.residuals).all()
    record = found.track_record
    assert (record.learner, record.metric) == ("first", "neg_mean_absolute_error")
    # Chosen from ten design points, five are worth more than five at random.
    assert 2 < record.random_trials <= 10


def test_a_task_without_trials_of_all_learners_has_residuals_but_no_part_in_the_track_record(past, parts):
    losses = past.losses.copy()
    losses[:4, 11:] = np.nan
    found = validate(replace(past, losses=losses), parts, seed=0)
    assert found.track_record.n_tasks == N_TASKS - 4
    assert np.isfinite(found.residuals[:4, 0]).all()


def test_flat_tasks_have_no_part_in_the_track_record(past, parts):
    flat = np.arange(N_TASKS) < 30
    assert validate(replace(past, flat=flat), parts, seed=0).track_record.n_tasks == 10
    assert validate(replace(past, flat=np.ones(N_TASKS, dtype=bool)), parts, seed=0).track_record is None


def test_advice_says_the_same_twice(past, adviser):
    one, other = (adviser.advise(NEW, past.metafeatures[0] + 1.0, NAMES, 2.0, 3) for _ in range(2))
    assert [asdict(item) for item in one.items] == [asdict(item) for item in other.items]
    assert one.reasons == other.reasons


@pytest.mark.parametrize(
    ("losses", "order"),
    [
        ([1.0, 2.0, 3.0], [0, 1, 2]),
        ([2.0, 3.0, 1.0], [2, 0, 1]),
        ([2.0, 2.0, 2.0], [0, 1, 2]),
        ([2.0, np.nan, 1.0], [2, 0, 1]),
        ([np.nan, 1.0], [0, 1]),
        ([], []),
    ],
)
def test_the_best_expected_candidate_comes_first_and_the_others_keep_their_order(
    losses: list[float], order: list[int]
) -> None:
    assert find_order(losses) == order


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 5])
def test_no_candidate_is_expected_to_do_better_than_the_first(past, adviser, seed: int, k: int) -> None:
    row = np.random.default_rng(seed).integers(N_TASKS)
    advice = adviser.advise(NEW, past.metafeatures[row] + 0.2, NAMES, 2.0, k)
    assert advice.items[0].loss == min(item.loss for item in advice.items)
    chosen = {item.column for item in advice.items}
    assert chosen == set(advice.prior.batch(k))
