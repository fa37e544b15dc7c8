"""Weights of rows, from the argument to the exported script."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import get_scorer

import metahp
from metahp.core.errors import InputError, UnknownNameError
from metahp.datasets.load import load
from metahp.evaluation.protocol import measure
from metahp.evaluation.splits import weigh
from metahp.learners.registry import find_learner

QUICK: dict[str, Any] = {"trials": 2, "cold": True, "record": False, "cv": 3, "learners": "linear"}


@pytest.fixture
def frame(rng: np.random.Generator) -> pd.DataFrame:
    X = pd.DataFrame(rng.normal(size=(240, 3)), columns=list("abc"))
    noise = rng.normal(size=240)
    return X.assign(y=np.where(X.a + noise > 0, "yes", "no"), w=rng.integers(1, 5, 240))


def test_a_column_of_weights_is_no_feature_and_gives_what_the_array_gives(frame: pd.DataFrame) -> None:
    by_name = metahp.tune(frame, target="y", sample_weight="w", **QUICK)
    by_value = metahp.tune(frame.drop(columns="w"), target="y", sample_weight=frame.w.to_numpy(), **QUICK)
    assert by_name.best_score_ == by_value.best_score_
    assert list(by_name.best_estimator_.preparation.feature_names) == ["a", "b", "c"]
    plain = metahp.tune(frame.drop(columns="w"), target="y", **QUICK)
    assert plain.best_score_ != by_name.best_score_


def test_a_weighted_trial_is_never_taken_for_another_one(frame: pd.DataFrame) -> None:
    weighted, other, plain = (
        metahp.tune(frame.drop(columns="w"), target="y", sample_weight=weights, **QUICK).trials
        for weights in (frame.w, frame.w + 1, None)
    )
    ids = [{trial.id for trial in trials} for trials in (weighted, other, plain)]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]


def test_a_score_is_that_of_scikit_learns_weighted_scorer(frame: pd.DataFrame) -> None:
    table = load(frame.drop(columns="w"), target="y")
    splits = weigh(table, frame.w, None, 3, 0)
    learner = find_learner("linear")
    default = learner.space(table.task.type).default
    measured = measure(table, learner, default, splits.make_protocol(), splits=splits)
    model = learner.estimator(default, table.task.type, numeric=["a", "b", "c"], categorical=[], seed=0)
    for loss, (train, test) in zip(measured.fold_losses["roc_auc"], splits.parts, strict=True):
        fitted = model.fit(table.features.iloc[train], table.y[train], model__sample_weight=frame.w.to_numpy()[train])
        part = table.features.iloc[test], table.y[test]
        assert 1 - loss == pytest.approx(get_scorer("roc_auc")(fitted, *part, sample_weight=frame.w.to_numpy()[test]))


def test_outer_rows_and_the_exported_script_are_weighted_too(frame: pd.DataFrame, tmp_path: Path) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "t.metahp"
    frame.to_csv(path, index=False)
    result = metahp.tune(path, target="y", sample_weight="w", output=out, test_size=0.25, ensemble=True, **QUICK)
    assert 0 < result.test_score_ < 1
    script = (out / "script.py").read_text()
    assert "model__sample_weight=weights" in script
    done = subprocess.run([sys.executable, out / "script.py"], capture_output=True, text=True, check=True)
    assert "weighted" in done.stdout


def test_a_column_of_weights_is_left_out_of_description_and_advice(frame: pd.DataFrame) -> None:
    described = metahp.describe(frame, target="y", sample_weight="w", budget_seconds=0.1)
    without = metahp.describe(frame.drop(columns="w"), target="y", budget_seconds=0.1)
    assert described.values == pytest.approx(without.values, nan_ok=True)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), "for each of 240 rows"),
        (np.zeros(240), "All 240 weights are 0"),
        (-np.ones(240), "finite and at least 0; 240 of 240"),
        (np.full(240, np.inf), "finite and at least 0"),
        (np.full(240, np.nan), "finite numbers of at least 0"),
        ("y", "is the target"),
        ("words", "in the column 'words'"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_in_one_line(frame: pd.DataFrame, weights: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        metahp.tune(frame.assign(words="many"), target="y", sample_weight=weights, **QUICK)
    assert caught.value.argument == "sample_weight"


def test_an_unknown_column_of_weights_is_named(frame: pd.DataFrame) -> None:
    with pytest.raises(UnknownNameError, match="No column is called 'ww'"):
        metahp.tune(frame, target="y", sample_weight="ww", **QUICK)
