"""Fixed arguments from the call to the model: in every trial, on record as other trials, refused when they change."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metahp
from builders import make_frame
from metahp.core.configuration import FIXED
from metahp.core.errors import InputError
from metahp.core.trial import Origin, TrialState
from metahp.knowledge.store import KnowledgeBase

FIXED_HERE = {"monotone_constraints": {"b": 1}, "random_state": 7, "n_jobs": 2, "max_bin": 63, "num_leaves": 7}
OPTIONS: dict[str, Any] = {"target": "target", "learners": "lightgbm", "cv": 3}


def summarise(result: metahp.TuneResult) -> list[tuple[Any, ...]]:
    names = ("monotone_constraints", "random_state", "max_bin", "num_leaves")
    return [tuple(trial.configuration.values.get(name) for name in names) for trial in result.trials]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fixed") / "table.csv"
    make_frame(0, n_rows=200).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a knowledge base with the seed is made."""
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def tuned(path: Path, base: Path) -> tuple[metahp.TuneResult, Path]:
    """From past tasks, with a configuration of the user's own, which has an argument outside the search space."""
    out = path.parent / "result"
    with pytest.warns(metahp.MetahpWarning, match="has the fixed monotone_constraints, random_state, max_bin, num_lea"):
        result = metahp.tune(
            path,
            fixed=FIXED_HERE,
            configurations=["min_split_gain=0.1"],
            trials=8,
            knowledge_base=base,
            output=out,
            prune=False,
            **OPTIONS,
        )
    return result, out


def test_every_trial_has_them(tuned: tuple[metahp.TuneResult, Path]) -> None:
    result, _ = tuned
    assert summarise(result) == [([0, 1, 0], 7, 63, 7)] * 8
    assert {trial.state for trial in result.trials} == {TrialState.COMPLETE}
    origins = [trial.origin for trial in result.trials]
    assert origins[:1] == [Origin.USER]
    assert {Origin.DEFAULT, Origin.SURROGATE, Origin.POSTERIOR} <= set(origins)
    assert result.trials[0].configuration.values["min_split_gain"] == 0.1
    assert result.default_score_ is not None
    assert len({trial.configuration for trial in result.trials}) == 8


def test_their_boosters_are_stopped_early(tuned: tuple[metahp.TuneResult, Path]) -> None:
    result, _ = tuned
    searched = [trial for trial in result.trials if trial.origin is Origin.POSTERIOR]
    assert all(trial.curve.checkpoints[-1] > trial.configuration.values["n_estimators"] for trial in searched)


def test_the_model_obeys_and_is_the_same_after_loading(tuned: tuple[metahp.TuneResult, Path], path: Path) -> None:
    result, out = tuned
    rising = pd.DataFrame({"a": 0.1, "b": np.linspace(-3, 3, 50), "c": 0.2})
    model = metahp.load_result(out)
    assert (np.diff(model.predict_proba(rising)[:, 1]) >= -1e-12).all()
    frame = pd.read_csv(path)
    np.testing.assert_array_equal(model.predict_proba(frame), result.best_estimator_.predict_proba(frame))
    assert model.get_params()["random_state"] == 7
    best = json.loads((out / "best.json").read_text())
    assert best["fixed"] == {"lightgbm": FIXED_HERE}
    assert best["best"]["configuration"]["monotone_constraints"] == [0, 1, 0]
    clone = model.__sklearn_clone__()
    assert clone.set_params(learning_rate=0.2).get_params()["monotone_constraints"] == [0, 1, 0]


def test_the_script_has_them(tuned: tuple[metahp.TuneResult, Path]) -> None:
    result, out = tuned
    script = (out / "script.py").read_text()
    for line in ("monotone_constraints=[0, 1, 0]", "random_state=7", "n_jobs=2", "max_bin=63", "num_leaves=7"):
        assert line in script
    done = subprocess.run([sys.executable, out / "script.py"], capture_output=True, text=True, check=True)
    assert f"{result.best_score_:.4f}" in done.stdout


def test_the_next_call_goes_on_and_refuses_other_ones(
    tuned: tuple[metahp.TuneResult, Path], path: Path, base: Path
) -> None:
    _, out = tuned
    options = {**OPTIONS, "knowledge_base": base, "trials": 8, "cold": True}
    again = metahp.tune(path, fixed={**FIXED_HERE, "n_jobs": 1}, output=out, **options)
    assert again.n_earlier == 8
    for other in ({}, {"max_bin": 63}, {**FIXED_HERE, "monotone_constraints": {"b": -1}}):
        with pytest.raises(InputError, match="Give the same `fixed`, or another `output`"):
            metahp.tune(path, fixed=other, output=out, **options)
    # Nor are the trials of the knowledge base mistaken for others.
    plain = metahp.tune(path, **{**options, "trials": 1})
    assert (plain.n_earlier, plain.best_trial_.configuration.is_outside) == (0, False)
    assert metahp.tune(path, fixed={"max_bin": 63}, **{**options, "trials": 1}).n_earlier == 0
    assert metahp.tune(path, fixed=FIXED_HERE, **options).n_earlier == 8


def test_they_teach_no_other_task_and_tell_no_name(
    tuned: tuple[metahp.TuneResult, Path], path: Path, base: Path
) -> None:
    task = metahp.load(path, target="target").task.id
    recorded = [trial for trial in KnowledgeBase(base).trials(task=task) if FIXED in trial.configuration.stored]
    assert recorded
    assert all(trial.configuration.is_outside for trial in recorded)
    assert not any("b:" in str(value) for trial in recorded for value in trial.configuration.stored.values())


def test_a_recommendation_has_them(path: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "target": "target",
        "learners": ["lightgbm", "linear"],
        "knowledge_base": tmp_path / "kb",
    }
    plain = metahp.recommend(path, **options)
    with pytest.warns(metahp.MetahpWarning, match="has the fixed monotone_constraints; past tasks ran without"):
        given = metahp.recommend(path, fixed={"lightgbm": {"monotone_constraints": {"b": 1}, "n_jobs": 2}}, **options)
    assert [item.gain for item in given.items] == [item.gain for item in plain.items]
    for item, before in zip(given.items, plain.items, strict=True):
        further = {"monotone_constraints": [0, 1, 0]} if item.learner == "lightgbm" else {}
        assert item.configuration.values == {**before.configuration.values, **further}
    estimators = dict(zip((item.learner for item in given.items), given.estimators(), strict=True))
    assert estimators["lightgbm"].n_jobs == 2
    frame = pd.read_csv(path)
    fitted = estimators["lightgbm"].fit(frame[["a", "b", "c"]], frame["target"])
    rising = pd.DataFrame({"a": 0.1, "b": np.linspace(-3, 3, 50), "c": 0.2})
    assert (np.diff(fitted.predict_proba(rising)[:, 1]) >= -1e-12).all()


@pytest.mark.parametrize("strategy", ["random", "grid", "tpe", "gp", "cmaes", "nsga2"])
def test_no_strategy_searches_a_fixed_hyperparameter(strategy: str) -> None:
    fixed = {"lightgbm": {"n_estimators": 20, "learning_rate": 0.9}, "random_forest": {"bootstrap": False}}
    result = metahp.tune(
        make_frame(1, n_rows=90),
        target="target",
        learners=["lightgbm", "random_forest"],
        fixed=fixed,
        strategy=strategy,
        cold=True,
        trials=6,
        cv=2,
        prune=False,
        record=False,
    )
    assert len(result.trials) == 6
    for trial in result.trials:
        assert fixed[trial.configuration.learner].items() <= trial.configuration.values.items()


def test_a_limited_time_and_an_ensemble_have_them(tmp_path: Path) -> None:
    frame = make_frame(2, n_rows=150)
    with pytest.warns(metahp.MetahpWarning, match="fixed max_bin"):
        result = metahp.tune(
            frame,
            target="target",
            learners=["lightgbm", "extra_trees"],
            fixed={"lightgbm": {"max_bin": 31, "num_leaves": 5}, "extra_trees": {"random_state": 3}},
            timeout=12,
            trials=10,
            ensemble=True,
            cv=3,
            record=False,
            output=tmp_path / "r",
        )
    for trial in result.trials:
        wanted = {"max_bin": 31, "num_leaves": 5} if trial.configuration.learner == "lightgbm" else {"random_state": 3}
        assert wanted.items() <= trial.configuration.values.items()
    model = metahp.load_result(tmp_path / "r")
    np.testing.assert_array_equal(model.predict(frame), result.best_estimator_.predict(frame))


def test_best_params_of_a_study_with_them_can_be_given_back(tuned: tuple[metahp.TuneResult, Path], path: Path) -> None:
    result, _ = tuned
    options = {**OPTIONS, "cold": True, "trials": 1, "record": False}
    again = metahp.tune(path, configurations=[result.best_params_], **options)
    assert again.best_params_ == {k: v for k, v in result.best_params_.items() if k != "random_state"}
    with pytest.raises(InputError, match="`configurations` has num_leaves=9, and `fixed` has num_leaves=7"):
        metahp.tune(path, configurations=["num_leaves=9"], fixed={"num_leaves": 7}, **options)


@pytest.mark.parametrize("learner", ["xgboost", "catboost"])
def test_other_boosters_obey_are_stopped_early_and_loaded(learner: str, tmp_path: Path) -> None:
    pytest.importorskip(learner)
    frame = make_frame(3, n_rows=150)
    with pytest.warns(metahp.MetahpWarning, match="left out, because of the fixed monotone_constraints"):
        result = metahp.tune(
            frame,
            target="target",
            fixed={"monotone_constraints": {"b": 1}, "scale_pos_weight": 2.0, "random_state": 7},
            configurations=[{"learner": learner, "learning_rate": 0.2}],
            cold=True,
            strategy="random",
            trials=8,
            cv=2,
            prune=False,
            knowledge_base=KnowledgeBase(tmp_path / "kb"),
            output=tmp_path / "r",
        )
    tried = {trial.configuration.learner for trial in result.trials}
    assert learner in tried
    assert tried <= {"lightgbm", "xgboost", "catboost"}
    assert {trial.state for trial in result.trials} == {TrialState.COMPLETE}
    only = metahp.tune(
        frame,
        target="target",
        learners=learner,
        fixed={"monotone_constraints": {"b": 1}},
        cold=True,
        strategy="random",
        trials=3,
        cv=2,
        prune=False,
        record=False,
        output=tmp_path / "only",
    )
    iterations = {"xgboost": "n_estimators", "catboost": "iterations"}[learner]
    searched = [trial for trial in only.trials if trial.origin is not Origin.DEFAULT]
    assert any(trial.curve.checkpoints[-1] > trial.configuration.values[iterations] for trial in searched)
    model = metahp.load_result(tmp_path / "only")
    np.testing.assert_allclose(model.predict_proba(frame), only.best_estimator_.predict_proba(frame), rtol=1e-9)
    rising = pd.DataFrame({"a": 0.1, "b": np.linspace(-3, 3, 50), "c": 0.2})
    assert (np.diff(model.predict_proba(rising)[:, 1]) >= -1e-9).all()
    given = {name: value for name, value in only.best_params_.items() if name != "random_state"}
    again = metahp.tune(
        frame, target="target", learners=learner, configurations=[given], cold=True, trials=1, cv=2, record=False
    )
    assert again.best_params_ == only.best_params_


@pytest.mark.parametrize(
    ("learner", "name", "value"),
    [
        ("lightgbm", "class_weight", "balanced"),
        ("lightgbm", "scale_pos_weight", 5.0),
        ("linear", "class_weight", "balanced"),
        ("random_forest", "class_weight", "balanced"),
        ("xgboost", "scale_pos_weight", 5.0),
        ("catboost", "scale_pos_weight", 5.0),
    ],
)
def test_weights_of_classes_move_the_probabilities(learner: str, name: str, value: Any) -> None:
    """A rare class becomes more probable; learning curves are there all the same."""
    frame = make_frame(0, n_rows=300)
    rare = (frame["a"] + np.random.default_rng(0).normal(size=300) > 1.6).map({True: "yes", False: "no"})
    frame = frame.assign(target=rare)
    small = {"n_estimators": 60} if learner == "random_forest" else {}
    small |= {"iterations": 60} if learner == "catboost" else {}
    options = {**OPTIONS, "learners": learner, "trials": 1, "record": False, "cold": True, "strategy": "random"}
    found = []
    for fixed in (small, {**small, name: value}):
        result = metahp.tune(frame, fixed=fixed or None, **options)
        found.append(result.best_estimator_.predict_proba(frame)[:, 1].mean())
        assert len(result.trials[0].curve.checkpoints) > 1 or learner == "linear"
    assert found[1] > found[0]
