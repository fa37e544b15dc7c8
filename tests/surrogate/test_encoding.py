"""Evidence from trials of older versions of a search space."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from metahp.surrogate.encoding import Evidence, evidence

from metahp.core.space import Float, Hyperparameter, Integer, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState

METRIC = "neg_root_mean_squared_error"
X, TREES, GONE = Float("x", 0.0, 1.0, 0.5), Integer("trees", 1, 100, 10, is_log=True), Float("gone", 0.0, 1.0, 0.5)
SPACE = SearchSpace("toy", 1, (X, TREES, GONE), iteration_axis="trees")
TASKS = [Task(f"t{i}", TaskType.REGRESSION, 100, 5, 0) for i in range(3)]
POINTS = [{}, {"x": 0.25}, {"x": 0.75, "trees": 20}, {"x": 1.0, "gone": 0.25}]


def trial(task: Task, values: dict, loss: float, origin: Origin = Origin.DESIGN) -> Trial:
    configuration = SPACE.configuration(values)
    trees = int(configuration.values["trees"])
    curve = Curve((5, trees), {METRIC: (loss + 1, loss)})
    losses = {METRIC: (loss, loss + 0.01, loss - 0.01)}
    return Trial(task.id, configuration, Protocol(), 100, TrialState.COMPLETE, origin, losses, curve, 1.0)


TRIALS = [
    trial(task, values, 1.0 + place + i / 10, Origin.DESIGN if values else Origin.DEFAULT)
    for place, task in enumerate(TASKS)
    for i, values in enumerate(POINTS)
]


def evidence_of(space: SearchSpace, trials: Sequence[Trial] = TRIALS) -> Evidence:
    return evidence(TASKS, np.zeros((3, 1)), trials, metrics={"regression": METRIC}, spaces={"toy": space})


def changed(*axes: Hyperparameter, counted: str | None = "trees") -> SearchSpace:
    return SearchSpace("toy", 2, axes, iteration_axis=counted)


@pytest.mark.parametrize(
    "space",
    [
        changed(X, TREES, GONE, Float("added", 0.0, 1.0, 0.5)),
        changed(X, TREES),
        changed(Float("added", 0.0, 1.0, 0.5), X, TREES),
        changed(replace(X, high=2.0), TREES, GONE),
    ],
    ids=["one more", "one less", "another instead", "wider"],
)
def test_all_trials_stay_where_the_space_changes(space: SearchSpace, caplog: pytest.LogCaptureFixture) -> None:
    before, after = evidence_of(SPACE), evidence_of(space)
    assert not caplog.records
    assert after.tasks == before.tasks
    # In another order of candidates: their ids are others.
    for values in POINTS:
        old, new = SPACE.configuration(values), space.upgraded(SPACE.configuration(values))
        columns = before.candidates.index(old), after.candidates.index(new)
        np.testing.assert_array_equal(before.losses[:, columns[0]], after.losses[:, columns[1]])
    assert after.losses.shape == before.losses.shape
    assert after.candidates[after.defaults["toy"]] == space.default
    assert all(space.upgraded(candidate) == candidate for candidate in after.candidates)


def test_a_narrower_space_sets_aside_the_trials_outside_and_counts_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        past = evidence_of(changed(replace(X, high=0.8), replace(TREES, high=15), GONE))
    [record] = caplog.records
    assert record.getMessage().startswith("6 trial(s) of past tasks are left out")
    finals = [each for each, final in zip(past.candidates, past.is_final, strict=True) if final]
    assert {each.values["x"] for each in finals} == {0.5, 0.25}
    assert len(past.tasks) == 3


def test_trials_that_become_the_same_count_once_whatever_their_order(caplog: pytest.LogCaptureFixture) -> None:
    # Better than the default, and one configuration with it once `gone` is.
    twins = [trial(task, {"gone": 0.9}, 0.5) for task in TASKS]
    orders = [[*TRIALS, *twins], [*twins, *reversed(TRIALS)]]
    with caplog.at_level(logging.WARNING):
        first, second = (evidence_of(changed(X, TREES), order) for order in orders)
    assert [record.getMessage().partition(" of ")[0] for record in caplog.records] == ["3 trial(s)"] * 2
    assert first.candidates == second.candidates
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_allclose(first.losses[:, first.defaults["toy"]], [1.0, 2.0, 3.0])


def test_checkpoints_are_values_of_the_iteration_axis_that_the_space_names() -> None:
    counted, plain = evidence_of(changed(X, TREES, GONE)), evidence_of(changed(X, TREES, GONE, counted=None))
    assert (~counted.is_final).sum() == len(POINTS)
    assert {each.values["trees"] for each in itertools.compress(counted.candidates, ~counted.is_final)} == {5}
    assert plain.is_final.all()
