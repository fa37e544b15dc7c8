"""The prior of a task: past tasks as scenarios of its losses, on small synthetic evidence."""

from dataclasses import replace

import numpy as np
import pytest

from metahp.core.trial import EMPTY_CURVE, Origin
from metahp.surrogate.calibration import predict_unseen
from metahp.surrogate.evidence import normalise_losses
from metahp.surrogate.metamodel import INTERPOLATED, MetaModel, PriorSettings
from metahp.surrogate.prior import PastTasks, Scenarios, draw_scenarios
from metahp.surrogate.selection import choose_greedy_batch
from metahp.surrogate.validation import compute_batch_regret, compute_random_regret, make_group_folds


@pytest.fixture(scope="module")
def model(past):
    return MetaModel.fit(past, seed=0, settings=PriorSettings(shift=0.5))


@pytest.fixture(scope="module")
def learned(past, model):
    return PastTasks.read(past, model)


def _with_settings(learned, **settings):
    return replace(learned, model=replace(learned.model, settings=PriorSettings(**settings)))


def test_scenarios_are_past_losses_shifted_towards_what_the_surrogate_says(past, learned):
    prior = learned.prior(past.metafeatures[3])
    [shift] = learned.model.compute_shifts(past.metafeatures[3:4], past.candidates, learned.encoded)
    np.testing.assert_allclose(prior.shift, 0.5 * shift)
    np.testing.assert_allclose(prior.values - learned.values, prior.moved[:, None] * prior.shift, atol=1e-12)
    # The task itself is among the past ones, and what was measured on it is not moved.
    assert prior.moved[3] == 0
    assert np.delete(prior.moved, 3).mean() > 0.9
    assert prior.weights.sum() == pytest.approx(1.0)
    assert prior.weights[3] > 0.9
    assert prior.similarity[3] == 1.0


def test_priors_of_several_tasks_are_those_of_each(past, learned):
    for one, other in zip(
        learned.make_priors(past.metafeatures[:9]), map(learned.prior, past.metafeatures[:9]), strict=True
    ):
        np.testing.assert_allclose(one.values, other.values, atol=1e-9)
        np.testing.assert_allclose(one.weights, other.weights)


def test_scenarios_at_measured_candidates_are_close_to_what_was_measured(past, learned, toy):
    prior = learned.prior(past.metafeatures[0] + 1.0)
    found = prior.at(prior.candidates)
    assert found.values.shape == prior.values.shape
    assert np.abs(found.values - prior.values).mean() < 0.1 * prior.values.std()
    np.testing.assert_allclose(found.inputs, prior.inputs)
    np.testing.assert_array_equal(found.weights, prior.weights)
    # Without noise a Gaussian process goes through what it learned from.
    exact = PastTasks.read(past, replace(learned.model, kernel=replace(learned.model.kernel, noise=1e-8)))
    prior = exact.prior(past.metafeatures[0] + 1.0)
    np.testing.assert_allclose(prior.at(prior.candidates).values, prior.values, atol=1e-2)
    one = prior.at([toy.space.configuration({"x": 0.2345})])
    assert one.values.shape == (60, 1)
    assert np.isfinite(one.values).all()


def test_a_batch_comes_from_those_that_it_is_chosen_among(past, learned):
    prior = learned.prior(past.metafeatures[0] + 1.0)
    every = prior.batch(4)
    assert len(set(every)) == 4
    others = np.array([j for j in range(26) if j not in every])
    chosen = prior.batch(4, others)
    assert set(chosen) <= set(others.tolist())
    assert sorted(prior.batch(9, others[:3])) == others[:3].tolist()


def test_drawn_scenarios_are_the_scenarios_with_a_local_term(past, learned):
    prior = _with_settings(learned, local=0.3 * np.sqrt(60)).prior(past.metafeatures[0] + 1.0)
    scenarios = Scenarios(prior.values, prior.weights, prior.inputs)
    drawn, weights = draw_scenarios(scenarios, local=prior.local, moved=prior.moved)
    n, repeats = len(prior.weights), len(weights) // len(prior.weights)
    assert drawn.shape == (n * repeats, 26)
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(weights.reshape(repeats, n).sum(axis=0), prior.weights)
    added = drawn - np.tile(prior.values, (repeats, 1))
    assert added.std() == pytest.approx(0.3, rel=0.2)
    assert not np.allclose(added[1], added[1 + n])
    part = Scenarios(prior.values[:, [3, 1]], prior.weights, prior.inputs[[3, 1]])
    np.testing.assert_allclose(draw_scenarios(part, local=prior.local, moved=prior.moved)[0], drawn[:, [3, 1]])


def test_scenarios_without_weight_are_not_drawn_from(learned, past):
    prior = learned.prior(past.metafeatures[0] + 1.0)
    weights = np.zeros(60)
    weights[[4, 7]] = 0.25, 0.75
    drawn, drawn_weights = draw_scenarios(Scenarios(prior.values, weights, prior.inputs), local=0.0)
    assert len(np.unique(drawn, axis=0)) == 2
    assert drawn_weights.sum() == pytest.approx(1.0)


def test_nothing_local_is_added_to_the_scenario_of_a_copy(past, learned):
    prior = learned.prior(past.metafeatures[0])
    drawn, weights = draw_scenarios(
        Scenarios(prior.values, prior.weights, prior.inputs), local=prior.local, moved=prior.moved
    )
    np.testing.assert_allclose(drawn[weights.argmax()], learned.values[0], atol=1e-9)
    assert weights[weights == weights.max()].sum() > 0.9


def test_an_abstaining_prior_is_the_portfolio(past, learned):
    one, other = (learned.prior(past.metafeatures[i], abstained="strange") for i in (0, 1))
    assert one.abstained == "strange"
    assert one.batch(5) == other.batch(5) == choose_greedy_batch(learned.values, np.full(60, 1 / 60), 5)
    np.testing.assert_array_equal(one.values, learned.values)
    assert one.weights == pytest.approx(1 / 60)
    assert not one.shift.any()


def test_a_task_without_meta_features_has_the_portfolio_and_says_why(learned):
    prior = learned.prior(None, unit=0.5)
    assert prior.abstained == "no meta-features"
    assert prior.unit == 0.5
    assert prior.n_tasks == 60
    assert prior.weights == pytest.approx(1 / 60)


def test_a_recommendation_does_not_depend_on_the_order_of_trials(toy, rng):
    tasks, metafeatures, trials = toy.past(30, rng)
    order = np.random.default_rng(1).permutation(len(trials))
    batches = []
    for some in (trials, [trials[i] for i in order]):
        found = toy.evidence(tasks, metafeatures, some)
        prior = PastTasks.read(found, MetaModel.fit(found, seed=0)).prior(metafeatures[0] + 0.5)
        batches.append([prior.candidates[i].values for i in prior.batch(3)])
    assert batches[0] == batches[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_advice_for_left_out_tasks_beats_random_search_by_a_half(toy, seed):
    past = toy.evidence(*toy.past(60, np.random.default_rng(seed)))
    regret = np.empty((len(past.tasks), 2))
    for train, test in make_group_folds(past.groups, 5, seed=0):
        part = past.rows(train)
        learned = PastTasks.read(part, MetaModel.fit(part, seed=0))
        assert learned.evidence.candidates == past.candidates
        for row, prior in zip(test, learned.make_priors(past.metafeatures[test]), strict=True):
            regret[row] = compute_batch_regret(past, int(row), prior.batch(3), (1, 3))
    live = np.flatnonzero(~past.flat)
    ours = regret[live].mean(axis=0)
    random = np.mean([compute_random_regret(past, int(row), (1, 3)) for row in live], axis=0)
    assert ours[0] < random[0] / 2
    assert ours[1] < random[1] / 2


def test_a_learner_without_any_trial_on_a_task_has_there_the_average_of_the_tasks_that_know_all(past, toy):
    twin = replace(toy.space, learner="twin")
    n_own = len(past.candidates)
    losses = np.hstack([past.losses, past.losses])
    losses[0, n_own:] = np.nan
    both = replace(
        past,
        spaces={"toy": toy.space, "twin": twin},
        candidates=(*past.candidates, *(twin.configuration(c.values) for c in past.candidates)),
        origins=past.origins * 2,
        is_final=np.tile(past.is_final, 2),
        losses=losses,
        fit_seconds=np.tile(past.fit_seconds, 2),
        defaults={"toy": past.defaults["toy"], "twin": past.defaults["toy"] + n_own},
    )
    learned = PastTasks.read(both, MetaModel.fit(both, seed=0))
    np.testing.assert_allclose(learned.values[0, n_own:], learned.values[1:, n_own:].mean(axis=0))
    # How learners compare is asked of the others alone, where it is not a copy.
    assert learned.whole.tolist() == [False] + [True] * 59
    assert learned.prior(past.metafeatures[1]).weights[0] < 1e-9
    assert learned.prior(past.metafeatures[0]).weights[0] > 0.9
    assert learned.prior(past.metafeatures[1], abstained="strange").weights[0] == 0.0
    assert len(list(predict_unseen(learned, both, [0, 1]))) == 1


def test_what_a_search_found_on_one_task_is_a_candidate_but_not_where_that_task_is_left_out(toy, rng):
    tasks, metafeatures, trials = toy.past(20, rng)
    found_here = toy.space.configuration({"x": 0.123, "n_estimators": 10})
    extra = replace(
        trials[0],
        configuration=found_here,
        origin=Origin.POSTERIOR,
        fold_losses={toy.metric: (0.5,) * 3},
        curve=EMPTY_CURVE,
    )
    past = toy.evidence(tasks, metafeatures, [*trials, extra])
    assert found_here in past.candidates
    model = MetaModel.make_untrained(past)
    assert found_here in PastTasks.read(past, model).evidence.candidates
    assert found_here not in PastTasks.read(past.rows(np.arange(1, 20)), model).evidence.candidates


def test_new_tasks_are_scenarios_of_a_model_that_was_trained_without_them(past):
    model = MetaModel.fit(past.rows(np.arange(50)), seed=0)
    learned = PastTasks.read(past, model)
    losses, _ = normalise_losses(past.losses, list(past.defaults.values()), clip=2.0)
    np.testing.assert_array_equal(learned.values, losses)
    prior = learned.prior(past.metafeatures[55])
    assert prior.n_tasks == 60
    assert prior.weights[55] > 0.9


def test_a_task_whose_losses_are_all_the_same_does_not_change_the_scale(learned):
    expected = learned.prior(None).log_scale
    units = learned.units.copy()
    units[5] = np.finfo(float).tiny
    np.testing.assert_allclose(replace(learned, units=units).prior(None).log_scale, expected, atol=0.1)
    assert replace(learned, units=np.full(60, np.finfo(float).tiny)).prior(None).log_scale == (0.0, 1.0)


def test_a_unit_is_told_in_losses_of_a_constant_prediction(past, model):
    tenfold = replace(past, constants=np.full(60, 10.0))
    one, ten = (PastTasks.read(each, model).prior(None) for each in (past, tenfold))
    assert ten.log_scale[0] == pytest.approx(one.log_scale[0] - np.log(10.0))
    assert ten.log_scale[1] == pytest.approx(one.log_scale[1])


def test_interpolated_losses_count_for_less_beside_measured_ones(past, model):
    losses = past.losses.copy()
    order = np.argsort(losses.mean(axis=0))
    column = int(order[~np.isin(order, list(past.defaults.values()))][0])
    losses[1:, column] = np.nan
    learned = PastTasks.read(replace(past, losses=losses), model)
    inputs = model.kernel.inputs([past.candidates[column]])
    expected, nearer = learned.interpolation.at(inputs)[1:, 0], learned.values[1:, column]
    means = learned.interpolation.at(inputs, share=0.0)[1:, 0]
    np.testing.assert_allclose(nearer - means, INTERPOLATED * (expected - means))
