"""A user's own configurations outside the search space: measured as they are, kept, exported and given back."""

import json
import subprocess
import sys

import pandas as pd
import pytest

import metahp
from builders import make_frame
from metahp.core.configuration import OUTSIDE
from metahp.core.trial import TrialState
from metahp.knowledge.store import KnowledgeBase

OWN = [
    {"n_estimators": 1100, "learning_rate": 0.005, "class_weight": "balanced"},
    "lightgbm:subsample=0.8,max_bin=63",
    {"learner": "random_forest", "n_estimators": 310, "class_weight": "balanced"},
]
OPTIONS = {"learners": ["lightgbm", "random_forest"], "cv": 3, "cold": True, "strategy": "random"}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("outside")
    path = folder / "table.csv"
    make_frame(0).to_csv(path, index=False)
    base = KnowledgeBase(folder / "kb")
    result = metahp.tune(path, configurations=OWN, trials=3, knowledge_base=base, output=folder / "r", **OPTIONS)
    return path, base, folder / "r", result


def test_they_are_measured_as_they_are_and_on_record(tuned) -> None:
    _, base, _, result = tuned
    shown = [trial.configuration.values for trial in result.trials]
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE] * 3
    assert (shown[0]["n_estimators"], shown[0]["learning_rate"], shown[0]["class_weight"]) == (1100, 0.005, "balanced")
    assert (shown[1]["subsample"], shown[1]["subsample_freq"], shown[1]["max_bin"]) == (0.8, 1, 63)
    assert shown[2]["class_weight"] == "balanced"
    recorded = {trial.configuration for trial in base.trials()}
    assert recorded == {trial.configuration for trial in result.trials}
    assert all(each.is_outside for each in recorded)
    frame = result.trials_frame()
    assert OUTSIDE not in json.loads(frame["configuration"][0])


def test_the_next_call_counts_them_and_goes_on_inside(tuned) -> None:
    path, base, directory, result = tuned
    again = metahp.tune(path, configurations=OWN, trials=5, knowledge_base=base, output=directory, **OPTIONS)
    assert again.n_earlier == 3
    assert {trial.id for trial in again.trials[:3]} == {trial.id for trial in result.trials}
    assert [trial.configuration.is_outside for trial in again.trials[3:]] == [False, False]


def test_a_known_table_recommends_what_was_measured_on_it(tuned) -> None:
    path, base, _, result = tuned
    advice = metahp.recommend(path, learners=["lightgbm", "random_forest"], knowledge_base=base, k=2)
    scores = [result.score_of(trial) for trial in result.trials]
    assert advice.best.score >= max(scores)


def test_result_model_and_script_have_them(tuned, tmp_path) -> None:
    path, *_ = tuned
    own = {"n_estimators": 1100, "learning_rate": 0.02, "class_weight": "balanced"}
    result = metahp.tune(
        path, configurations=[own], trials=1, record=False, output=tmp_path / "r", **{**OPTIONS, "learners": "lightgbm"}
    )
    assert own.items() <= result.best_params_.items()
    model = metahp.load_result(tmp_path / "r")
    frame = pd.read_csv(path)
    assert (model.predict_proba(frame) == result.best_estimator_.predict_proba(frame)).all()
    script = (tmp_path / "r" / "script.py").read_text()
    assert 'class_weight="balanced"' in script
    assert "n_estimators=1100" in script
    ran = subprocess.run([sys.executable, tmp_path / "r" / "script.py"], capture_output=True, text=True, check=True)
    assert f"{result.best_score_:.1f}" in ran.stdout
    given_back = metahp.tune(
        path, configurations=[result.best_params_], trials=1, record=False, **{**OPTIONS, "learners": "lightgbm"}
    )
    assert given_back.best_trial_.configuration == result.best_trial_.configuration


@pytest.mark.parametrize("learner", ["lightgbm", "random_forest", "extra_trees", "linear"])
def test_best_params_can_be_given_back(learner: str) -> None:
    frame = make_frame(1)
    options = {"target": "target", "trials": 1, "record": False, "cv": 3, "cold": True}
    own = {"lightgbm": "subsample=0.8", "linear": "C=5"}.get(learner, "max_depth=4")
    best = metahp.tune(frame, learners=learner, configurations=[own], **options).best_params_
    again = metahp.tune(
        frame, learners=["lightgbm", "random_forest", "extra_trees", "linear"], configurations=[best], **options
    )
    assert again.best_learner_ == learner
    assert again.best_params_ == best
    # As JSON has it, without the learner.
    plain = metahp.tune(frame, learners=learner, configurations=[json.loads(json.dumps(best))], **options)
    assert plain.best_params_ == best
