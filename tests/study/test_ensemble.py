import numpy as np
import pandas as pd
import pytest

import metahp
from builders import BOWL_SPACE, make_trial
from metahp.core.metric import METRICS
from metahp.core.trial import Protocol
from metahp.datasets.table import Table
from metahp.evaluation.backend import Outcome
from metahp.study import ensemble as ensemble_module
from metahp.study.ensemble import can_keep_predictions, choose_ensemble, explain_single
from metahp.study.trials import StudyTrials

N_ROWS = 60


@pytest.fixture(scope="module")
def table() -> Table:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=N_ROWS), "b": rng.normal(size=N_ROWS)})
    return metahp.load(frame.assign(target=frame["a"] + 3), target="target", task="regression")


def study_of(table: Table, *predictions: np.ndarray | None) -> StudyTrials:
    """One complete trial for each of the predictions, all with the same loss."""
    metric = METRICS["neg_root_mean_squared_error"]
    trials = StudyTrials("t", Protocol(folds=2), metric, [BOWL_SPACE], base=None, recorded=(), folder=None)
    for depth, values in enumerate(predictions, start=1):
        trial = make_trial(1.0, 1.0, metric=metric.name, configuration=BOWL_SPACE.configuration({"depth": depth}))
        trials.add(Outcome(trial, None if values is None else values.astype(np.float32)))
    return trials


def test_opposite_errors_cancel_and_what_is_only_worse_stays_out(table: Table) -> None:
    trials = study_of(table, table.y + 1, table.y - 1, table.y + 5)
    ensemble = choose_ensemble(trials, table, is_voting=False, seed=0)
    assert [configuration.values["depth"] for configuration, _ in ensemble.members] == [1, 2]
    assert [weight for _, weight in ensemble.members] == [0.5, 0.5]
    assert ensemble.gain.gain == pytest.approx(1.0, abs=1e-5)
    described = ensemble.to_dict()
    assert [member["weight"] for member in described["members"]] == [0.5, 0.5]
    assert described["gain"] == ensemble.gain.gain


def test_two_trials_with_predictions_of_these_rows_are_needed(table: Table) -> None:
    for others in ((), (None,), (np.zeros(3),)):
        trials = study_of(table, table.y, *others)
        assert choose_ensemble(trials, table, is_voting=False, seed=0) is None


def test_of_many_rows_a_sample_chooses(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble_module, "MAX_ROWS", 20)
    trials = study_of(table, table.y + 1, table.y - 1)
    ensemble = choose_ensemble(trials, table, is_voting=False, seed=0)
    assert [weight for _, weight in ensemble.members] == [0.5, 0.5]


def test_why_there_is_a_single_model_is_told(table: Table) -> None:
    assert explain_single(study_of(table, table.y, table.y)) == "nothing that was measured adds to it"
    assert explain_single(study_of(table, None, table.y)).startswith("predictions of 1 of 2 complete trials lie in")


def test_predictions_of_very_many_rows_are_not_kept(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_keep_predictions(table)
    monkeypatch.setattr(ensemble_module, "MAX_PREDICTIONS", N_ROWS - 1)
    assert not can_keep_predictions(table)
