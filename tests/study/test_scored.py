"""A study by a scorer that trials do not store: from the call to the written model, and on from there."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import fbeta_score, get_scorer, make_scorer

import metahp
from builders import make_frame
from metahp.core.errors import InputError

OPTIONS: dict[str, Any] = {"target": "target", "cv": 3, "cold": True, "trials": 3, "budget_seconds": 0.0}
pytestmark = pytest.mark.filterwarnings("ignore::metahp.MetahpWarning")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return make_frame(0, n_rows=160)


def weigh_recall(estimator: Any, X: pd.DataFrame, y: np.ndarray) -> float:
    hits = estimator.predict(X) == y
    return float(hits[(y == "yes") & (X["a"] > 0).to_numpy()].mean())


def test_a_made_scorer_from_tuning_to_a_loaded_model(frame: pd.DataFrame, tmp_path: Path) -> None:
    scorer = make_scorer(fbeta_score, beta=2, pos_label="yes")
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    options = {**OPTIONS, "learners": ["lightgbm", "linear"], "output": tmp_path / "out"}
    options |= {"knowledge_base": tmp_path / "kb"}
    result = metahp.tune(path, metric=scorer, ensemble=True, **options)
    assert result.metric.label == "fbeta score"
    assert 0.3 < result.best_score_ <= 1.0
    assert result.ensemble_ is not None
    assert set(result.trials[0].fold_losses) > {"fbeta_score", "roc_auc", "average_precision"}
    # A learning curve has it too.
    assert all("fbeta_score" in trial.curve.losses for trial in result.trials if trial.curve.checkpoints)
    model = result.best_estimator_
    assert model.score(frame) == pytest.approx(scorer(model, frame, frame["target"]))
    assert pickle.loads(pickle.dumps(result)).best_score_ == result.best_score_
    # The same call goes on, another function of that name does not.
    more = metahp.tune(path, metric=make_scorer(fbeta_score, beta=2, pos_label="yes"), **{**options, "trials": 4})
    assert (more.n_earlier, len(more.trials)) == (3, 4)
    with pytest.raises(InputError, match=r"scored by another function that is called fbeta_score too.*`output`"):
        metahp.tune(path, metric=make_scorer(fbeta_score, beta=0.5, pos_label="yes"), **options)
    loaded = metahp.load_result(tmp_path / "out")
    assert list(loaded.predict(frame)) == list(more.best_estimator_.predict(frame))
    with pytest.raises(InputError, match="a function of yours, which no result directory keeps"):
        loaded.score(frame)
    script = (tmp_path / "out" / "script.py").read_text()
    assert "metahp tuned by the scorer fbeta_score" in script
    # The trials are of no use to another metric: they have no such score.
    other = metahp.tune(path, metric="matthews_corrcoef", **{**options, "output": None, "trials": 1})
    assert other.n_earlier == 0
    plain = metahp.tune(path, **{**options, "output": None, "trials": 1})
    assert plain.n_earlier == 0
    found = metahp.recommend(
        path, metric=scorer, target="target", learners=["lightgbm", "linear"], k=2, knowledge_base=tmp_path / "kb"
    )
    assert found.is_known_task
    assert found.best.score == pytest.approx(more.best_score_)


@pytest.mark.parametrize("metric", ["precision", weigh_recall, lambda m, X, y: float((m.predict(X) == y).mean())])
def test_scorers_by_name_and_plain_callables(frame: pd.DataFrame, metric: Any, tmp_path: Path) -> None:
    result = metahp.tune(frame, metric=metric, learners="linear", record=False, output=tmp_path / "out", **OPTIONS)
    assert 0 < result.best_score_ <= 1.0
    assert any("X, and a stand-in" in line for line in result.warnings) == callable(metric)
    if metric == "precision":
        loaded, scorer = metahp.load_result(tmp_path / "out"), get_scorer("precision")
        scorer._kwargs["pos_label"] = "yes"
        assert loaded.score(frame) == pytest.approx(scorer(loaded, frame, frame["target"]))


def test_past_tasks_are_asked_and_the_output_says_by_what(frame: pd.DataFrame, tmp_path: Path) -> None:
    options = {**OPTIONS, "cold": False, "budget_seconds": 2.0, "learners": "lightgbm", "trials": 5}
    result = metahp.tune(frame, metric="matthews_corrcoef", knowledge_base=tmp_path / "kb", **options)
    assert result.n_past_tasks > 0
    assert len(result.trials) == 5
    assert "past tasks are asked by balanced accuracy, the nearest metric that they store" in result.warnings
    advice = metahp.recommend(
        frame.sample(120, random_state=0),
        target="target",
        metric="matthews_corrcoef",
        learners="lightgbm",
        knowledge_base=tmp_path / "kb",
    )
    assert "past tasks are asked by balanced accuracy, the nearest metric that they store" in advice.warnings
    assert np.isnan(advice.best.score)


def test_a_scorer_that_fails_in_a_worker_is_a_failed_trial_with_its_reason(frame: pd.DataFrame) -> None:
    def fail_for_models(estimator: Any, X: pd.DataFrame, y: np.ndarray) -> float:
        if len(np.unique(estimator.predict_proba(X)[:, 1])) > 10:
            raise KeyError("no such column")
        return 0.0

    with pytest.raises(metahp.MetahpError, match="KeyError: 'no such column'"):
        metahp.tune(frame, metric=fail_for_models, learners="linear", record=False, **OPTIONS)


def test_a_scorer_that_takes_no_weights_is_named(frame: pd.DataFrame) -> None:
    result = metahp.tune(
        frame, metric=weigh_recall, sample_weight=np.ones(len(frame)), learners="linear", record=False, **OPTIONS
    )
    assert any("weigh_recall" in line or "weigh recall takes no sample_weight" in line for line in result.warnings)
