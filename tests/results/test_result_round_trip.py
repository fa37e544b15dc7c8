"""A model predicts after loading what it did before, bit for bit, from frames and files in any order."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import metahp
from metahp.core.configuration import Configuration
from metahp.core.metric import Metric, find_metric
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.load import load
from metahp.datasets.preparation import Preparation
from metahp.datasets.table import Table
from metahp.learners.registry import LEARNERS, find_learner
from metahp.results.content import ResultContent
from metahp.results.directory import write_result
from metahp.results.model import TunedModel, fit_model
from metahp.results.predict import load_result

KINDS = ("binary", "multiclass", "regression")
Make = Callable[..., ResultContent]


def outputs(model: TunedModel, X: object) -> np.ndarray:
    return model.predict_proba(X) if model.classes else model.predict(X)


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_the_training_file_are_those_of_the_table(kind: str, make_table: Callable[[str], Table], tmp_path):
    table = make_table(kind)
    preparation = Preparation.from_dict(json.loads(json.dumps(table.preparation.to_dict())))
    assert preparation == table.preparation
    raw = pd.read_csv(tmp_path / f"{kind}.csv", dtype={"zone": "str"}, keep_default_na=False, na_values=[""])
    features, notes = preparation.transform(raw)
    assert_frame_equal(features, table.features)
    assert notes == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learner", list(LEARNERS))
def test_predictions_after_loading_equal_those_before(kind: str, learner: str, make_content: Make, tmp_path: Path):
    content = make_content(kind, learner)
    write_result(tmp_path / "result", content)
    loaded = load_result(tmp_path / "result")
    path = tmp_path / f"{kind}.csv"
    np.testing.assert_array_equal(outputs(loaded, path), outputs(content.model, path))
    np.testing.assert_array_equal(loaded.predict(path), content.model.predict(path))
    estimator_features = content.table.features
    np.testing.assert_array_equal(loaded.outputs(estimator_features), outputs(content.model, path))


@pytest.mark.parametrize(
    ("learner", "values"),
    [
        ("linear", {"numeric": "spline", "n_knots": 4, "categorical": "target"}),
        ("linear", {"numeric": "quantile"}),
        ("random_forest", {"categorical": "onehot", "max_samples": 0.5}),
    ],
)
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_every_preprocessing_is_trusted(kind: str, learner: str, values: dict, make_content: Make, tmp_path: Path):
    content = make_content(kind, learner, **values)
    write_result(tmp_path / "result", content)
    path = tmp_path / f"{kind}.csv"
    np.testing.assert_array_equal(outputs(load_result(tmp_path / "result"), path), outputs(content.model, path))


def test_an_elastic_net_and_a_sparse_logistic_regression_come_back(make_table: Callable[[str], Table], tmp_path: Path):
    for kind, values in (("regression", {"model": "elasticnet"}), ("binary", {"l1_ratio": 0.5})):
        table = make_table(kind)
        configuration = find_learner("linear").space(table.task.type).configuration(values)
        model = fit_model(table, [(configuration, 1.0)], _metric(table), seed=0)
        write_result(tmp_path / kind, _content(table, model, configuration))
        path = tmp_path / f"{kind}.csv"
        np.testing.assert_array_equal(outputs(load_result(tmp_path / kind), path), outputs(model, path))


def test_an_ensemble_is_the_weighted_mean_of_its_members(make_content: Make, tmp_path: Path):
    content = make_content("multiclass", "lightgbm", "linear")
    write_result(tmp_path / "result", content)
    path = tmp_path / "multiclass.csv"
    features = content.model.features(path)
    first, second = content.model.members
    expected = 2 / 3 * np.asarray(first.model.predict(features)) + 1 / 3 * np.asarray(
        second.model.predict_proba(features)
    )
    np.testing.assert_allclose(load_result(tmp_path / "result").predict_proba(path), expected, atol=1e-15)
    assert sorted(file.name for file in (tmp_path / "result" / "models").iterdir()) == ["0.txt", "1.skops"]


def test_votes_are_whole_and_weighted(make_content: Make, tmp_path: Path):
    content = make_content("multiclass", "lightgbm", "linear", "extra_trees", is_voting=True)
    write_result(tmp_path / "result", content)
    shares = load_result(tmp_path / "result").predict_proba(tmp_path / "multiclass.csv")
    np.testing.assert_allclose(shares * 4, np.round(shares * 4), atol=1e-12)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)


def test_column_order_more_columns_and_the_target_change_nothing(make_content: Make, tmp_path: Path):
    model = make_content("binary", "lightgbm").model
    frame = pd.read_csv(tmp_path / "binary.csv", dtype={"zone": "str"})
    other = frame.drop(columns="y").iloc[:, ::-1].assign(note="x")
    np.testing.assert_array_equal(model.predict_proba(other), model.predict_proba(frame))


def test_categories_that_look_like_numbers_stay_text_in_a_new_file(make_content: Make, tmp_path: Path, caplog):
    model = make_content("binary", "linear").model
    frame = pd.read_csv(tmp_path / "binary.csv", dtype={"zone": "str"})
    only = frame[frame["zone"].isin(["01", "02"])]
    only.to_csv(tmp_path / "new.csv", index=False)
    np.testing.assert_array_equal(model.predict_proba(tmp_path / "new.csv"), model.predict_proba(only))
    assert caplog.text == ""


def test_values_unknown_to_training_are_missing_and_said(make_content: Make, tmp_path: Path):
    model = make_content("binary", "lightgbm").model
    frame = pd.read_csv(tmp_path / "binary.csv", dtype={"zone": "str"}).head(4).astype({"mean radius": object})
    odd = frame.assign(zone=["mars", "01", "mars", None], day=["never", *frame["day"][1:]])
    odd.loc[0, "mean radius"] = "big"
    with pytest.warns(metahp.MetahpWarning) as warned:
        features = model.features(odd)
    assert features["zone"].isna().tolist() == [True, False, True, True]
    assert features["mean radius"].isna().tolist() == [True, False, False, False]
    assert np.isnan(features["day.days"][0])
    lines = [str(each.message) for each in warned]
    assert "column 'zone': 2 unknown value(s) read as missing ('mars')" in lines
    assert "column 'mean radius': 1 unknown value(s) read as missing ('big')" in lines
    model.predict(odd)


@pytest.mark.parametrize("learner", list(LEARNERS))
def test_gaps_where_training_had_none_can_be_predicted(learner: str, make_content: Make, tmp_path: Path):
    model = make_content("regression", learner).model
    frame = pd.read_csv(tmp_path / "regression.csv", dtype={"zone": "str"}).head(3)
    assert np.isfinite(model.predict(frame.assign(**{"size, in mm": np.nan}))).all()


def test_columns_without_a_name_are_found_without_the_target(tmp_path: Path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 3)), columns=["y", "", "b"])
    frame.to_csv(tmp_path / "train.csv", index=False)
    table = load(tmp_path / "train.csv", target="y")
    new, _ = table.preparation.transform(frame.drop(columns="y"))
    np.testing.assert_array_equal(new.to_numpy(), table.features.to_numpy())


def test_a_file_with_the_only_feature_can_be_predicted(tmp_path: Path):
    frame = pd.DataFrame({"x": np.arange(40) ** 1.5, "y": np.arange(40) % 2})
    table = load(frame, target="y")
    configuration = find_learner("lightgbm").space(table.task.type).configuration({"n_estimators": 10})
    model = fit_model(table, [(configuration, 1.0)], _metric(table), seed=0)
    frame[["x"]].to_csv(tmp_path / "new.csv", index=False)
    np.testing.assert_array_equal(model.predict(tmp_path / "new.csv"), model.predict(frame))


@pytest.mark.parametrize("learner", list(LEARNERS))
def test_a_class_that_the_rows_lacked_has_probability_zero(learner: str, make_table: Callable[[str], Table], tmp_path):
    table = make_table("multiclass")
    kept = table.y != 1
    part = replace(table, features=table.features[kept].reset_index(drop=True), y=table.y[kept])
    configuration = find_learner(learner).space(table.task.type).default
    write_result(
        tmp_path / "result",
        _content(part, fit_model(part, [(configuration, 1.0)], _metric(part), seed=0), configuration),
    )
    loaded = load_result(tmp_path / "result")
    probabilities = loaded.predict_proba(tmp_path / "multiclass.csv")
    assert probabilities.shape == (90, 3)
    assert (probabilities[:, 1] == 0).all()
    assert (loaded.classes_[probabilities.argmax(axis=1)][kept] == loaded.classes_[table.y[kept]]).mean() > 0.9


def test_arrays_and_booleans_are_read_as_in_training():
    X = np.random.default_rng(0).normal(size=(60, 3)).round(2)
    X[:, 2] = X[:, 2] > 0
    table = load(X, X[:, 0] > 0)
    configuration = find_learner("lightgbm").space(table.task.type).configuration({"n_estimators": 10})
    model = fit_model(table, [(configuration, 1.0)], _metric(table), seed=0)
    frame = pd.DataFrame(X, columns=["x0", "x1", "x2"]).astype({"x2": bool})
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(frame))
    assert model.features(frame)["x2"].notna().all()


@pytest.mark.parametrize(
    ("target", "expected"),
    [([1, 2, 10], np.array([1, 2, 10])), ([False, True], np.array([False, True])), (["b", "a"], np.array(["a", "b"]))],
)
def test_classes_come_back_as_what_they_were(target: list, expected: np.ndarray):
    y = np.resize(target, 60)
    # Not a copy of the target, which would be left out.
    X = pd.DataFrame({"x": np.resize(range(len(target)), 60) + np.arange(60) % 7 / 20, "z": np.arange(60) ** 2.0})
    table = load(X, y)
    configuration = find_learner("random_forest").space(table.task.type).configuration({"n_estimators": 10})
    model = fit_model(table, [(configuration, 1.0)], _metric(table), seed=0)
    np.testing.assert_array_equal(model.classes_, expected)
    assert (model.predict(X) == y).mean() > 0.9
    assert model.score(X, y) > -0.5


def test_a_result_of_the_first_release_predicts_what_it_did():
    folder = Path(__file__).parent / "first_release"
    model = load_result(folder)
    assert model.preparation.dropped == {}
    expected = json.loads((folder / "predictions.json").read_text())
    np.testing.assert_allclose(model.predict_proba(folder / "table.csv")[:, 1], expected, rtol=1e-12)


def test_the_script_runs_as_it_stands_and_gives_a_score(make_content: Make, tmp_path: Path):
    write_result(tmp_path / "result", make_content("binary", "lightgbm"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(tmp_path / "result" / "script.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path / "result",
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ROC AUC: 0.8" in done.stdout


def _metric(table: Table) -> Metric:
    return find_metric(table.task.type)


def _content(table: Table, model: TunedModel, configuration: Configuration) -> ResultContent:
    losses = {model.metric.name: (0.1, 0.2, 0.3)}
    trial = Trial(
        task=table.task.id,
        configuration=configuration,
        protocol=Protocol(),
        n_rows=90,
        state=TrialState.COMPLETE,
        origin=Origin.USER,
        fold_losses=losses,
        fit_seconds=1.0,
    )
    return ResultContent(
        table=table, metric=model.metric, best=configuration, model=model, trials=[trial], protocol=Protocol(), seed=0
    )
