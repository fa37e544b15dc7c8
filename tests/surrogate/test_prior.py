"""The prior and what it is made of, on small synthetic knowledge."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from metahp.recommendation.selection import greedy_batch
from metahp.surrogate.encoding import encode, evidence, normalised_losses
from metahp.surrogate.scenarios import feature_distances, near_width, similarities

from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import EMPTY_CURVE, Curve, Origin, Protocol, Trial, TrialState
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.calibration import unseen
from metahp.surrogate.forecast import Forecast, relative
from metahp.surrogate.prior import INTERPOLATED, Knowledge, Settings
from metahp.surrogate.validation import batch_regret, group_folds, random_regret

SPACE = SearchSpace(
    "toy",
    1,
    (Float("x", 0.0, 1.0, 0.5), Integer("n_estimators", 1, 100, 10, is_log=True)),
    iteration_axis="n_estimators",
)
METRIC = "neg_root_mean_squared_error"
N_FEATURES = 3


def _loss(centre: float, x: float, n_estimators: int) -> float:
    return 1.0 + (x - centre) ** 2 + 1.0 / n_estimators


def _knowledge(n_tasks: int, rng: np.random.Generator):
    """Tasks whose optimum lies where their first meta-feature says."""
    tasks, trials = [], []
    centres = rng.uniform(size=n_tasks)
    xs = [*np.linspace(0, 1, 12).round(3)]
    for index, centre in enumerate(centres):
        task = Task(f"t{index}", TaskType.REGRESSION, 100 + index, 5, 0, f"task {index}", f"g{index // 2}")
        tasks.append(task)
        for x in [0.5, *xs]:
            configuration = SPACE.configuration({"x": float(x), "n_estimators": 10})
            loss = _loss(centre, x, 10)
            noise = rng.normal(scale=1e-3, size=3)
            origin = Origin.DEFAULT if x == 0.5 else Origin.DESIGN
            trials.append(
                Trial(
                    task.id,
                    configuration,
                    Protocol(),
                    task.n_rows,
                    TrialState.COMPLETE,
                    origin,
                    {METRIC: tuple(loss + noise)},
                    Curve((5, 10), {METRIC: (_loss(centre, x, 5), loss)}),
                    0.1 * (1 + x),
                    0.01,
                )
            )
    metafeatures = np.column_stack([centres, rng.normal(size=(n_tasks, N_FEATURES - 1))])
    return tasks, metafeatures, trials


def _with_gaps(past, rng: np.random.Generator):
    """Every task lacks some of its trials, but never the default."""
    gaps = rng.random(past.losses.shape) < 0.3
    gaps[:, list(past.defaults.values())] = False
    return replace(past, losses=np.where(gaps, np.nan, past.losses))


@pytest.fixture(scope="module")
def past():
    tasks, metafeatures, trials = _knowledge(60, np.random.default_rng(0))
    return evidence(tasks, metafeatures, trials, metrics={"regression": METRIC}, spaces={"toy": SPACE})


@pytest.fixture(scope="module")
def adviser(past):
    return Adviser.learn(past, np.full(60, 2.0), {"toy": SPACE}, metric=METRIC, seed=0)


def test_evidence_is_dense_and_counts_checkpoints_as_candidates(past):
    assert past.losses.shape == (60, 26)
    assert np.isfinite(past.losses).all()
    assert past.is_final.sum() == 13
    checkpoints = [c for c, final in zip(past.candidates, past.is_final, strict=True) if not final]
    assert {c.values["n_estimators"] for c in checkpoints} == {5}
    assert past.candidates[past.defaults["toy"]] == SPACE.default


def test_evidence_leaves_out_tasks_without_the_default_and_marks_failures(rng):
    tasks, metafeatures, trials = _knowledge(4, rng)
    failed = Trial("t1", trials[1].configuration, Protocol(), 0, TrialState.TIMEOUT, Origin.DESIGN, {}, reason="slow")
    trials = [t for t in trials if not (t.task == "t0" and t.origin is Origin.DEFAULT)]
    trials = [t for t in trials if not (t.task == "t1" and t.configuration == failed.configuration)] + [failed]
    found = evidence(tasks, metafeatures, trials, metrics={"regression": METRIC}, spaces={"toy": SPACE})
    assert [task.id for task in found.tasks] == ["t1", "t2", "t3"]
    column = found.candidates.index(failed.configuration)
    assert np.isinf(found.losses[0, column])
    assert np.isfinite(found.losses[1:, column]).all()


def test_normalised_losses_put_best_at_zero_and_default_at_one():
    losses = np.array([[1.0, 2.0, 5.0, np.nan], [4.0, 3.0, np.inf, 3.5]])
    scaled, _ = normalised_losses(losses, [1], clip=2.0)
    assert scaled[0, :3] == pytest.approx([0.0, 1.0, 2.0])
    assert np.isnan(scaled[0, 3])
    assert scaled[1, 1] == 0.0
    assert scaled[1, 2] == 2.0


def test_normalised_losses_without_a_default_lie_between_median_and_worst_unless_it_diverged():
    losses = np.array([[1.0, 2.0, 5.0], [1.0, 2.0, 1e6]])
    scaled, unit = normalised_losses(losses, [], clip=2.0)
    assert unit == pytest.approx([2.0, 10.0])
    assert scaled == pytest.approx(np.array([[0.0, 0.5, 2.0], [0.0, 0.1, 2.0]]))


def test_encode_keeps_learners_apart():
    other = SearchSpace("other", 1, (Categorical("kind", ("a", "b"), "a"),))
    encoded = encode([SPACE.default, other.default], {"toy": SPACE, "other": other})
    assert encoded.shape == (2, 4)
    assert encoded[:, 0].tolist() == [0.0, 1.0]
    assert np.isnan(encoded[0, 3])
    assert np.isnan(encoded[1, 1:3]).all()


def test_similarities_prefer_the_world_that_looks_as_predicted():
    worlds = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    alike, equal, flat = np.zeros(2), np.ones(2) / 2, np.ones(3)
    weights = similarities(np.array([5.0, 6.0, 7.0]), worlds, alike, equal, temperature=0.3, near=1.0)
    assert weights[0] > 0.99
    assert weights.sum() == pytest.approx(1.0)
    assert similarities(worlds[0], worlds, alike, equal, temperature=np.inf, near=1.0) == pytest.approx([0.5, 0.5])
    apart = np.array([1.0, 2.0])
    weights = similarities(flat, worlds, apart, equal, temperature=0.3, near=1.5)
    assert weights[0] / weights[1] == pytest.approx(np.exp((4 - 1) / 1.5 / 2))
    assert similarities(flat, worlds, apart, equal, temperature=0.3, near=0.0) == pytest.approx([0.5, 0.5])
    shared = np.array([0.9, 0.1])
    weights = similarities(flat, worlds, alike, shared, temperature=0.3, near=1.5)
    assert weights[0] / weights[1] == pytest.approx(3.0)


def test_one_odd_meta_feature_does_not_rule_the_distance(rng):
    past = rng.normal(size=(40, 20))
    odd = past[0].copy()
    odd[3] = 1e6
    apart = feature_distances(odd, past)
    assert apart.argmin() == 0
    assert apart[0] == pytest.approx(4.0 / np.sqrt(20))
    assert feature_distances(past[0, :0], past[:, :0]) == pytest.approx(np.zeros(40))
    rounded = np.full((40, 1), 4.4) + rng.normal(size=(40, 1)) * 1e-15
    assert feature_distances(np.array([4.5]), rounded) == pytest.approx(np.zeros(40))
    assert near_width(past[:, :0]) == near_width(past[:1]) == 0.0
    assert 0 < near_width(past) < np.median(apart**2)


def test_scenarios_are_worlds_shifted_towards_what_the_surrogate_says(past):
    knowledge = Knowledge.learn(past, {"toy": SPACE}, seed=0, settings=Settings(shift=0.5))
    prior = knowledge.prior(past.metafeatures[3])
    assert prior.shift == pytest.approx(0.5 * (prior.mean - knowledge.average))
    assert prior.scenarios - knowledge.worlds == pytest.approx(prior.moved[:, None] * prior.shift)
    # The task itself is among the past ones, and what was measured on it is not moved.
    assert prior.moved[3] == 0
    assert np.delete(prior.moved, 3).mean() > 0.9


def test_greedy_batch_covers_worlds_instead_of_repeating_the_best():
    scenarios = np.array([[0.0, 0.1, 1.0], [0.5, 0.6, 0.0]])
    assert greedy_batch(scenarios, np.array([0.8, 0.2]), 2) == [0, 2]
    assert sorted(greedy_batch(scenarios, np.array([0.8, 0.2]), 9)) == [0, 1, 2]


def test_group_folds_never_split_a_group():
    groups = ["a", "a", "b", "c", "c", "d"]
    tested = []
    for train, test in group_folds(groups, 3, seed=1):
        assert not {groups[i] for i in train} & {groups[i] for i in test}
        tested += test.tolist()
    assert sorted(tested) == list(range(6))


def test_random_regret_is_the_mean_over_all_subsets(past):
    one, all_of_them = random_regret(past, 0, (1, 12))
    losses = past.losses[0, [past.origins[j] is Origin.DESIGN and past.is_final[j] for j in range(26)]]
    best, default = past.losses[0].min(), past.losses[0, past.defaults["toy"]]
    scaled = np.clip((losses - best) / (default - best), 0, 2)
    assert one == pytest.approx(scaled.mean())
    assert all_of_them == pytest.approx(scaled.min())


def test_knowledge_survives_a_round_trip_through_arrays(past):
    knowledge = Knowledge.learn(past, {"toy": SPACE}, seed=0)
    again = Knowledge.from_arrays(knowledge.to_arrays(), {"toy": SPACE})
    before, after = knowledge.prior(past.metafeatures[3]), again.prior(past.metafeatures[3])
    assert again.candidates == knowledge.candidates
    # Worlds are kept as half floats.
    assert after.weights == pytest.approx(before.weights, abs=5e-3)
    assert after.scenarios == pytest.approx(before.scenarios, abs=2e-3)


def test_drawn_scenarios_are_the_scenarios_with_a_local_term(past):
    knowledge = Knowledge.learn(past, {"toy": SPACE}, seed=0, settings=Settings(local=0.3 * np.sqrt(60)))
    prior = knowledge.prior(past.metafeatures[0] + 1.0)
    scenarios, weights = knowledge.drawn(prior)
    n_worlds, repeats = len(prior.weights), len(weights) // len(prior.weights)
    assert scenarios.shape == (n_worlds * repeats, len(knowledge.candidates))
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(weights.reshape(repeats, n_worlds).sum(axis=0), prior.weights)
    added = scenarios - np.tile(prior.scenarios, (repeats, 1))
    assert added.std() == pytest.approx(0.3, rel=0.2)
    assert not np.allclose(added[1], added[1 + n_worlds])
    np.testing.assert_allclose(knowledge.drawn(prior, np.array([3, 1]))[0], scenarios[:, [3, 1]])


def test_nothing_local_is_added_to_the_world_of_a_copy(past):
    knowledge = Knowledge.learn(past, {"toy": SPACE}, seed=0)
    prior = knowledge.prior(past.metafeatures[0])
    scenarios, weights = knowledge.drawn(prior)
    own = scenarios[weights.argmax()]
    np.testing.assert_allclose(own, knowledge.worlds[0], atol=1e-9)
    assert weights[weights == weights.max()].sum() > 0.9


def test_an_abstaining_prior_is_the_portfolio(past):
    knowledge = Knowledge.learn(past, {"toy": SPACE}, seed=0)
    one, other = (knowledge.prior(past.metafeatures[i], abstained="strange") for i in (0, 1))
    assert greedy_batch(*knowledge.drawn(one), 5) == greedy_batch(*knowledge.drawn(other), 5)
    np.testing.assert_array_equal(knowledge.drawn(one)[0], knowledge.worlds)
    assert one.weights == pytest.approx(1 / 60)


def test_recommendation_does_not_depend_on_the_order_of_trials(rng):
    tasks, metafeatures, trials = _knowledge(30, rng)
    order = np.random.default_rng(1).permutation(len(trials))
    batches = []
    for some in (trials, [trials[i] for i in order]):
        found = evidence(tasks, metafeatures, some, metrics={"regression": METRIC}, spaces={"toy": SPACE})
        knowledge = Knowledge.learn(found, {"toy": SPACE}, seed=0)
        prior = knowledge.prior(metafeatures[0])
        batches.append([knowledge.candidates[i].values for i in greedy_batch(*knowledge.drawn(prior), 3)])
    assert batches[0] == batches[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_advice_for_left_out_tasks_beats_random_search_by_a_half(seed):
    tasks, metafeatures, trials = _knowledge(60, np.random.default_rng(seed))
    past = evidence(tasks, metafeatures, trials, metrics={"regression": METRIC}, spaces={"toy": SPACE})

    regret = np.empty((len(past.tasks), 2))
    for train, test in group_folds([task.group for task in past.tasks], 5, seed=0):
        knowledge = Knowledge.learn(past.rows(train), {"toy": SPACE}, seed=0)
        for row in test:
            prior = knowledge.prior(past.metafeatures[row])
            batch = knowledge.columns[greedy_batch(*knowledge.drawn(prior), 3)]
            regret[row] = batch_regret(past, row, batch, (1, 3))
    live = np.flatnonzero(~past.flat)
    ours = regret[live].mean(axis=0)
    random = np.mean([random_regret(past, int(row), (1, 3)) for row in live], axis=0)
    assert ours[0] < random[0] / 2
    assert ours[1] < random[1] / 2


def test_batch_regret_never_grows_with_k(past):
    regret = batch_regret(past, 5, [0, 7, 3, 20], (1, 2, 4))
    assert regret == sorted(regret, reverse=True)


def test_forecast_knows_ratios_and_seconds(past):
    forecast = Forecast.fit(past, np.full(60, 2.0), np.zeros(past.losses.shape), seed=0)
    column = past.defaults["toy"]
    weights = np.full(60, 1 / 60)
    loss, default = forecast.relative_loss({column: SPACE.default}, past.metafeatures[0], weights, np.zeros(26))[column]
    assert loss == pytest.approx(default)
    assert default == pytest.approx(relative(past.losses[:, column], np.full(60, 2.0)).mean(), abs=0.1)
    # Three folds on two thirds of the rows took 0.15 s; one fit on all rows takes half of it.
    assert forecast.fit_seconds(past.tasks[0], column) == pytest.approx(0.075, rel=0.1)


def test_adviser_round_trip_and_interval(past, adviser):
    again = Adviser.from_arrays(adviser.to_arrays(), {"toy": SPACE})
    names = tuple(f"m{i}" for i in range(N_FEATURES))
    task = Task("new", TaskType.REGRESSION, 120, 5)
    advice = again.advise(task, past.metafeatures[0], names, 2.0, 3)
    before = adviser.advise(task, past.metafeatures[0], names, 2.0, 3)
    assert len(advice.items) == 3
    assert not advice.abstained
    assert advice.reasons == before.reasons
    for item, expected in zip(advice.items, before.items, strict=True):
        # The arrays hold scenarios and ratios as float32.
        assert asdict(item) == pytest.approx(asdict(expected), rel=1e-5)
    assert all(item.low <= item.loss * 1.01 and item.loss <= item.high * 1.01 for item in advice.items)
    assert adviser.track_record is not None
    assert adviser.track_record.win_rate > 0.8


def test_adviser_tells_the_interval_of_later_places_by_what_was_missed_there(past, adviser):
    assert adviser.residuals.shape == (60, 5)
    sign = np.where(np.arange(60) % 2, 1.0, -1.0)
    missing = replace(adviser, residuals=sign[:, None] * [0.1, 0.3, 0.3, np.nan, 0.3])
    task = Task("new", TaskType.REGRESSION, 120, 5)
    first, second, third = missing.advise(task, past.metafeatures[0], ("a", "b", "c"), 2.0, 3).items
    for item, missed in ((first, 0.1), (second, 0.3), (third, 0.3)):
        assert item.low == pytest.approx(item.loss * np.exp(-missed))
        assert item.high == pytest.approx(item.loss * np.exp(missed))


def test_adviser_abstains_outside_of_the_past(past, adviser):
    task = Task("new", TaskType.REGRESSION, 10_000_000, 5)
    advice = adviser.advise(task, past.metafeatures[0], ("a", "b", "c"), 2.0, 2)
    assert "10,000,000 rows" in advice.abstained
    assert advice.reasons == ()


def test_forecast_expects_less_loss_where_the_surrogate_does(past):
    forecast = Forecast.fit(past, np.full(60, 2.0), np.zeros(past.losses.shape), seed=0)
    weights, shift = np.full(60, 1 / 60), np.zeros(len(past.candidates))
    before = forecast.relative_loss({3: past.candidates[3]}, past.metafeatures[0], weights, shift)[3]
    shift[3] = -0.5
    after = forecast.relative_loss({3: past.candidates[3]}, past.metafeatures[0], weights, shift)[3]
    assert after[0] < before[0]
    assert after[1] == before[1]


def test_only_trials_of_one_protocol_are_compared_and_none_that_were_pruned(rng):
    tasks, metafeatures, trials = _knowledge(3, rng)
    other = replace(trials[1], protocol=Protocol(folds=5), fold_losses={METRIC: (9.0,) * 5})
    pruned = replace(
        trials[2], state=TrialState.PRUNED, reason="hopeless", fold_losses={METRIC: (0.0,)}, curve=EMPTY_CURVE
    )
    trials = [trial for trial in trials if trial.id != pruned.id]
    found = evidence(
        tasks, metafeatures, [other, *trials, pruned], metrics={"regression": METRIC}, spaces={"toy": SPACE}
    )
    assert np.nanmax(found.losses) < 9.0
    assert np.nanmin(found.losses) > 1.0


def test_each_number_of_rows_of_a_task_is_a_row_of_its_own(rng):
    tasks, metafeatures, trials = _knowledge(3, rng)
    large = [
        replace(trial, protocol=Protocol(max_rows=30), n_rows=30, fold_losses={METRIC: (7.0,) * 3})
        for trial in trials
        if trial.task == "t1" and trial.configuration in (SPACE.default, trials[1].configuration)
    ]
    found = evidence(tasks, metafeatures, [*large, *trials], metrics={"regression": METRIC}, spaces={"toy": SPACE})
    assert [(task.id, task.n_rows) for task in found.tasks][:3] == [("t0", 100), ("t1", 30), ("t1", 101)]
    np.testing.assert_array_equal(found.metafeatures[1], found.metafeatures[2])
    assert set(found.losses[1, ~np.isnan(found.losses[1]) & found.is_final]) == {7.0}
    assert np.nanmax(found.losses[[0, 2, 3]]) < 7.0


def test_a_learner_without_any_trial_on_a_task_has_there_the_losses_that_the_surrogate_expects(past):
    twin = replace(SPACE, learner="twin")
    spaces = {"toy": SPACE, "twin": twin}
    n_own = len(past.candidates)
    losses = np.hstack([past.losses, past.losses])
    losses[0, n_own:] = np.nan
    both = replace(
        past,
        candidates=(*past.candidates, *(twin.configuration(c.values) for c in past.candidates)),
        origins=past.origins * 2,
        is_final=np.tile(past.is_final, 2),
        losses=losses,
        fit_seconds=np.tile(past.fit_seconds, 2),
        defaults={"toy": past.defaults["toy"], "twin": past.defaults["toy"] + n_own},
    )
    knowledge = Knowledge.learn(both, spaces, seed=0)
    expected = knowledge.surrogate.predict(past.metafeatures[:1], knowledge.encoded)[0]
    np.testing.assert_allclose(knowledge.worlds[0, n_own:], expected[n_own:])
    assert np.abs(knowledge.worlds[0, :n_own] - expected[:n_own]).max() > 1e-3
    # How learners compare is asked of the others alone, where it is not a copy.
    assert knowledge.whole.tolist() == [False] + [True] * 59
    assert knowledge.prior(past.metafeatures[1]).weights[0] < 1e-9
    assert knowledge.prior(past.metafeatures[0]).weights[0] > 0.9
    assert len(list(unseen(knowledge, both, [0, 1]))) == 1


def test_what_a_search_found_on_one_task_is_a_candidate_but_not_where_that_task_is_left_out(rng):
    tasks, metafeatures, trials = _knowledge(20, rng)
    found_here = SPACE.configuration({"x": 0.123, "n_estimators": 10})
    extra = replace(
        trials[0],
        configuration=found_here,
        origin=Origin.POSTERIOR,
        fold_losses={METRIC: (0.5,) * 3},
        curve=EMPTY_CURVE,
    )
    past = evidence(tasks, metafeatures, [*trials, extra], metrics={"regression": METRIC}, spaces={"toy": SPACE})
    assert found_here in past.candidates
    assert found_here in Knowledge.learn(past, {"toy": SPACE}, seed=0).candidates
    others = past.rows(np.arange(1, len(past.tasks)))
    knowledge = Knowledge.learn(others, {"toy": SPACE}, seed=0)
    assert found_here not in knowledge.candidates
    assert [past.candidates[j] for j in knowledge.columns] == list(knowledge.candidates)


def test_knowledge_that_is_extended_tells_what_all_worlds_made_anew_would(past, rng):
    past = _with_gaps(past, rng)
    older = Knowledge.learn(past.rows(np.arange(50)), {"toy": SPACE}, seed=0)
    losses = past.losses.copy()
    # A task that was known has better trials than before.
    losses[3, np.flatnonzero(~np.isnan(losses[3]))[-4:]] -= 0.5
    past = replace(past, losses=losses)
    anew = older._of(past, older.surrogate, older.forest, older.kernel, older.settings, None, None, seed=0)
    for each in (older, Knowledge.from_arrays(older.to_arrays(), {"toy": SPACE})):
        extended = each.extended(past, seed=0)
        assert extended.candidates == anew.candidates
        np.testing.assert_allclose(extended.worlds, anew.worlds, atol=5e-3)
        told = each.told(past.metafeatures, anew.candidates, anew.worlds, ~np.isnan(losses[:, anew.columns]))
        assert set(np.flatnonzero(np.isnan(told).all(axis=1))) == {3, *range(50, 60)}


def test_a_task_whose_losses_are_all_the_same_does_not_change_the_scale(past):
    knowledge = Knowledge.learn(past, {"toy": SPACE}, seed=0)
    expected = knowledge.task_prior(None).log_scale
    units = knowledge.units.copy()
    units[5] = np.finfo(float).tiny
    np.testing.assert_allclose(replace(knowledge, units=units).task_prior(None).log_scale, expected, atol=0.1)
    assert replace(knowledge, units=np.full(60, np.finfo(float).tiny)).task_prior(None).log_scale == (0.0, 1.0)


def test_task_prior_gives_the_scenarios_at_any_configuration(past):
    knowledge = Knowledge.learn(past, {"toy": SPACE}, seed=0)
    prior, functions = knowledge.prior(past.metafeatures[0]), knowledge.task_prior(past.metafeatures[0])
    at_candidates = functions.scenarios_at(functions.kernel.inputs(knowledge.candidates))
    assert at_candidates.shape == prior.scenarios.shape
    assert np.abs(at_candidates - prior.scenarios).mean() < 0.1 * prior.scenarios.std()
    np.testing.assert_allclose(functions.weights, prior.weights)
    again = Knowledge.from_arrays(knowledge.to_arrays(), {"toy": SPACE}).task_prior(past.metafeatures[0])
    new = functions.kernel.inputs([SPACE.configuration({"x": 0.2345})])
    np.testing.assert_allclose(again.scenarios_at(new), functions.scenarios_at(new), atol=2e-3)
    assert knowledge.task_prior(None).weights.std() < 1e-12


def test_a_longer_design_of_few_tasks_is_kept_where_others_have_rows_for_several_numbers_of_rows(rng):
    tasks, metafeatures, trials = _knowledge(40, rng)
    longer = SPACE.configuration({"x": 0.123, "n_estimators": 10})
    trials += [replace(trial, configuration=longer) for trial in trials if trial.origin is Origin.DEFAULT][:2]
    trials += [replace(trial, protocol=Protocol(max_rows=50)) for trial in trials if trial.task != "t0"]
    found = evidence(tasks, metafeatures, trials, metrics={"regression": METRIC}, spaces={"toy": SPACE})
    assert len(found.tasks) > 60
    assert longer.replaced(n_estimators=5) in found.candidates


def test_interpolated_losses_count_for_less_beside_measured_ones(past):
    losses = past.losses.copy()
    order = np.argsort(losses.mean(axis=0))
    column = int(order[~np.isin(order, list(past.defaults.values()))][0])
    losses[1:, column] = np.nan
    knowledge = Knowledge.learn(replace(past, losses=losses), {"toy": SPACE}, seed=0)
    place = knowledge.columns.tolist().index(column)
    inputs = knowledge.kernel.inputs([past.candidates[column]])
    expected, nearer = knowledge.functions.at(inputs)[1:, 0], knowledge.worlds[1:, place]
    means = knowledge.functions.at(inputs, share=0.0)[1:, 0]
    np.testing.assert_allclose(nearer - means, INTERPOLATED * (expected - means))
