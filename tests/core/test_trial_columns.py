"""Trials as columns: what goes in comes out, and columns are upgraded as trials are."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.core.trial_columns import NumberLists, TrialColumns
from metahp.core.upgrade import upgrade_columns, upgrade_trials

SPACE = SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5), Categorical("kind", ("a", "b", "c"), "a")))
CURVE = Curve((5, 10), {"accuracy": (0.4, 0.2)})


def a_trial(loss: float, *, task: str = "t", origin: Origin = Origin.DESIGN, **values: object) -> Trial:
    losses = {"neg_log_loss": (loss,) * 3, "accuracy": (0.25, 0.5, 0.75)}
    return Trial(
        task=task,
        configuration=SPACE.configuration(values),
        protocol=Protocol(),
        n_rows=90,
        state=TrialState.COMPLETE,
        origin=origin,
        fold_losses=losses,
        curve=CURVE,
        fit_seconds=loss,
    )


TRIALS = [
    a_trial(0.1, origin=Origin.DEFAULT),
    a_trial(0.2, x=0.25),
    replace(a_trial(0.3, x=0.25, task="u"), fold_losses={"accuracy": (0.5,) * 3}, curve=Curve((), {})),
    replace(a_trial(0.4, kind="b"), state=TrialState.TIMEOUT, fold_losses={}, curve=Curve((), {}), reason="slow"),
    replace(a_trial(0.5, kind="c"), protocol=Protocol(folds=2), fold_losses={"accuracy": (0.5, 1.0)}),
]


def test_columns_name_tasks_configurations_and_protocols_once() -> None:
    columns = TrialColumns.of(TRIALS)
    assert len(columns) == 5
    assert columns.tasks == ("t", "u")
    assert columns.protocols == (Protocol(), Protocol(folds=2))
    assert [columns.configurations[i] for i in columns.configuration_of] == [trial.configuration for trial in TRIALS]
    assert len(columns.configurations) == 4
    assert columns.ids.tolist() == [trial.id for trial in TRIALS]
    assert columns.states.tolist() == [trial.state for trial in TRIALS]
    assert columns.fit_seconds.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    rows, places, checkpoints = columns.checkpoints.flatten()
    assert (rows.tolist(), places.tolist()) == ([0, 0, 1, 1, 4, 4], [0, 1, 0, 1, 0, 1])
    assert checkpoints.tolist() == [5, 10] * 3


def test_values_that_are_equal_but_not_the_same_are_two_configurations() -> None:
    whole, fraction = (replace(TRIALS[0], configuration=SPACE.configuration({"x": x})) for x in (1, 1.0))
    assert whole.configuration == fraction.configuration
    assert [each.values["x"] for each in TrialColumns.of([whole, fraction]).configurations] == [1, 1.0]
    assert TrialColumns.of([whole, fraction]).configuration_of.tolist() == [0, 1]


def test_the_losses_of_each_row_are_those_of_the_metric_that_is_chosen_for_it() -> None:
    losses = TrialColumns.of(TRIALS).fold_losses
    names, codes = ["neg_log_loss", "accuracy", "roc_auc"], np.array([0, 1, 0, 1, 2])
    lists = losses.choose(names, codes)
    assert lists.counts.tolist() == [3, 3, 0, 0, 0]
    np.testing.assert_allclose(lists.mean(), [0.1, 0.5, np.nan, np.nan, np.nan])
    assert lists.matrix(np.array([1]), 4).tolist()[0][:3] == [0.25, 0.5, 0.75]
    assert np.isnan(lists.matrix(np.array([1]), 4)[0, 3])


def test_means_are_those_of_numpy_to_the_bit(rng: np.random.Generator) -> None:
    lists = [tuple(rng.normal(size=n).tolist()) for n in (3, 1, 40, 3, 9, 3)]
    assert NumberLists.of(lists).mean().tolist() == [float(np.mean(each)) for each in lists]


@pytest.mark.parametrize("n_first", range(6))
def test_parts_that_are_joined_are_the_whole(n_first: int, listed) -> None:
    whole = TrialColumns.of(TRIALS)
    joined = TrialColumns.join([TrialColumns.of(TRIALS[:n_first]), TrialColumns.of(TRIALS[n_first:])])
    assert joined.ids.tolist() == whole.ids.tolist()
    assert listed(joined) == listed(whole)
    again = TrialColumns.join([whole.take(np.arange(n_first)), whole.take(np.arange(5) >= n_first)])
    assert listed(again) == listed(whole)


@pytest.mark.parametrize(
    "space",
    [
        SPACE,
        SearchSpace("toy", 2, (*SPACE.hyperparameters, Integer("depth", 1, 9, 4))),
        SearchSpace("toy", 2, (Float("x", 0.0, 0.6, 0.5), Categorical("kind", ("a", "b"), "a"))),
        SearchSpace("toy", 2, SPACE.hyperparameters[:1]),
        SearchSpace("another", 1, SPACE.hyperparameters),
    ],
    ids=["the same", "one more", "narrower", "one less", "another learner"],
)
def test_columns_are_upgraded_as_trials_are(space: SearchSpace, listed) -> None:
    trials = [*TRIALS[:4], a_trial(0.6, x=0.25, kind="b"), a_trial(0.7, x=0.25, kind="c", origin=Origin.DEFAULT)]
    for order in itertools.permutations(trials, 5):
        pairs = upgrade_trials(order, {space.learner: space})
        found = upgrade_columns(TrialColumns.of(order), {space.learner: space})
        # The ids of columns stay those of the trials as they were recorded.
        recorded = np.array([before.id for before, _ in pairs], dtype=object)
        assert listed(found) == listed(replace(TrialColumns.of([after for _, after in pairs]), ids=recorded))
        assert found.ids.tolist() == recorded.tolist()
