"""What is trained on past tasks, and what a file brings back of it."""

from dataclasses import replace

import numpy as np
import pytest

from metahp.core.space import Float
from metahp.surrogate import metamodel
from metahp.surrogate.evidence import encode
from metahp.surrogate.gaussian_process import Kernel
from metahp.surrogate.metamodel import MetaModel, PriorSettings, find_unknown_learners, find_whole_tasks
from metahp.surrogate.prior import PastTasks


@pytest.fixture(scope="module")
def model(past):
    return MetaModel.fit(past, seed=0, settings=PriorSettings(shift=0.3, trust=0.7, local=0.9))


def _kept(model, spaces):
    return MetaModel.from_arrays({name: values.copy() for name, values in model.to_arrays().items()}, spaces)


def test_a_kept_model_gives_the_same_prior_to_the_bit(past, model, toy):
    arrays = model.to_arrays()
    assert not any(np.asarray(array).dtype.hasobject for array in arrays.values())
    again = _kept(model, {"toy": toy.space, "other": replace(toy.space, learner="other")})
    assert again.settings == model.settings
    assert again.metric == toy.metric
    for name, array in again.to_arrays().items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    for metafeatures in (past.metafeatures[3], past.metafeatures[3] + 1.0):
        before, after = (PastTasks.read(past, each).prior(metafeatures) for each in (model, again))
        for name in ("values", "weights", "shift", "moved", "similarity", "inputs"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
        assert after.batch(5) == before.batch(5)
        new = [toy.space.configuration({"x": 0.2345})]
        np.testing.assert_array_equal(after.at(new).values, before.at(new).values)


def test_a_model_of_another_space_or_of_one_that_is_not_here_is_refused(model, toy):
    changed = replace(toy.space, hyperparameters=(Float("x", 0.0, 2.0, 0.5), toy.space.hyperparameters[1]))
    with pytest.raises(ValueError, match="another search space of toy"):
        _kept(model, {"toy": changed})
    with pytest.raises(KeyError, match="toy"):
        _kept(model, {})


def test_an_array_that_is_missing_is_an_error(model, toy):
    arrays = model.to_arrays()
    for name in arrays:
        with pytest.raises((KeyError, ValueError, TypeError)):
            MetaModel.from_arrays({key: values for key, values in arrays.items() if key != name}, {"toy": toy.space})


def test_an_untrained_model_finds_all_past_tasks_alike(past, toy):
    model = MetaModel.make_untrained(past)
    prior = PastTasks.read(past, model).prior(past.metafeatures[0] + 5.0)
    assert prior.weights == pytest.approx(1 / 60)
    assert not prior.shift.any()
    assert not model.compute_shifts(past.metafeatures[:2], past.candidates, encode(past.candidates, past.spaces)).any()
    again = _kept(model, {"toy": toy.space})
    assert again.surrogate is None
    np.testing.assert_array_equal(PastTasks.read(past, again).prior(past.metafeatures[0] + 5.0).values, prior.values)


def test_shifts_are_how_far_a_task_is_expected_from_the_average_one(past, model):
    encoded = encode(past.candidates, past.spaces)
    shifts = model.compute_shifts(past.metafeatures, past.candidates, encoded)
    assert shifts.mean(axis=0) == pytest.approx(np.zeros(26), abs=1e-9)
    assert shifts.std() > 0.05
    # The average of what it was not trained on is worked out.
    forgetful = replace(model, averages={})
    np.testing.assert_allclose(forgetful.compute_shifts(past.metafeatures, past.candidates, encoded), shifts, atol=1e-9)


def test_a_model_serves_candidates_of_one_of_its_learners(past, toy):
    twin = replace(toy.space, learner="twin")
    both = _twinned(past, twin)
    model = MetaModel.fit(both, seed=0)
    alone = PastTasks.read(past, model)
    assert set(alone.evidence.candidates) == set(past.candidates)
    prior = alone.prior(past.metafeatures[0] + 1.0)
    assert {prior.candidates[column].learner for column in prior.batch(3)} == {"toy"}
    assert prior.inputs.shape == (26, len(model.kernel.length_scales))


def _twinned(past, twin):
    return replace(
        past,
        spaces={**past.spaces, "twin": twin},
        candidates=(*past.candidates, *(twin.configuration(c.values) for c in past.candidates)),
        origins=past.origins * 2,
        is_final=np.tile(past.is_final, 2),
        losses=np.tile(past.losses, 2),
        fit_seconds=np.tile(past.fit_seconds, 2),
        defaults={"toy": past.defaults["toy"], "twin": past.defaults["toy"] + len(past.candidates)},
    )


def test_tasks_are_whole_where_they_have_trials_of_every_learner(monkeypatch):
    encoded = np.array([[0.0], [0.0], [1.0]])
    losses = np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, 2.0], [1.0, 1.0, np.nan]])
    assert find_unknown_learners(losses, encoded).tolist() == [[False] * 3, [True, True, False], [False, False, True]]
    assert find_whole_tasks(losses, encoded).all()
    monkeypatch.setattr(metamodel, "MIN_WHOLE", 1)
    assert find_whole_tasks(losses, encoded).tolist() == [True, False, False]


def test_of_very_many_candidates_a_sample_stands_for_all(past, toy, monkeypatch):
    monkeypatch.setattr(metamodel, "MOST_CANDIDATES", 20)
    monkeypatch.setattr(metamodel, "N_REFERENCE", 15)
    model = MetaModel.fit(past, seed=0)
    assert len(model.averages) == 15
    one, same, other = (PastTasks.read(past, model, seed=seed) for seed in (0, 0, 1))
    assert len(one.evidence.candidates) == 15
    assert one.evidence.candidates == same.evidence.candidates != other.evidence.candidates


def test_candidates_that_nobody_measured_are_none_of_a_model(past, rng):
    losses = past.losses.copy()
    gone = [column for column in range(26) if column != past.defaults["toy"]][:2]
    losses[:, gone] = np.nan
    model = MetaModel.fit(replace(past, losses=losses), seed=0)
    assert set(model.averages) == {c.id for j, c in enumerate(past.candidates) if j not in gone}
    assert isinstance(model.kernel, Kernel)
