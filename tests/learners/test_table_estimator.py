"""Estimators for the columns that were given: text, dates, dropped columns and arrays."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV, cross_val_score

from metahp.core.errors import InputError, UnknownHyperparameterError
from metahp.core.task import TaskType
from metahp.datasets.load import load
from metahp.learners.registry import LEARNERS, find_learner
from metahp.learners.table_estimator import TableEstimator

N = 120


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a b": rng.normal(size=N),
            "city": rng.choice(["Rome", "Oslo", None], N),
            "day": pd.date_range("2021-01-01", periods=N, freq="D"),
            "constant": 1,
            "flag": rng.random(N) > 0.5,
        }
    )


def make_estimator(frame: pd.DataFrame, y, learner: str = "lightgbm") -> TableEstimator:
    table = load(frame, y)
    default = find_learner(learner).space(table.task.type).default
    return TableEstimator(default, table.task.type, table.preparation)


@pytest.mark.parametrize("learner", list(LEARNERS))
@pytest.mark.parametrize("kind", ["int", "text", "bool", "category", "number", "missing", "list"])
def test_it_fits_what_was_given(frame: pd.DataFrame, learner: str, kind: str) -> None:
    is_high = (frame["a b"] > 0).to_numpy()
    y = {
        "int": is_high.astype(int),
        "text": pd.Series(np.where(is_high, "yes", "no")),
        "bool": pd.Series(is_high),
        "category": pd.Series(np.where(is_high, "yes", "no"), dtype="category"),
        "number": frame["a b"] * 3 + np.random.default_rng(1).normal(size=N),
        "missing": pd.Series(np.where(is_high, "yes", "no"), dtype=object).mask(np.arange(N) < 5),
        "list": np.where(is_high, "yes", "no").tolist(),
    }[kind]
    estimator = make_estimator(frame, y, learner).fit(frame, y)
    predicted = estimator.predict(frame)
    assert is_regressor(estimator) == (kind == "number")
    assert is_classifier(estimator) == (kind != "number")
    assert hasattr(estimator, "predict_proba") == (kind != "number")
    assert estimator.score(frame, y) > 0.8
    if kind != "number":
        assert set(predicted) == set(pd.Series(y).dropna())
        np.testing.assert_allclose(estimator.predict_proba(frame).sum(axis=1), 1)
    np.testing.assert_array_equal(estimator.predict(frame.to_numpy(dtype=object)), predicted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(frame), predicted)
    table = load(frame, y)
    np.testing.assert_array_equal(estimator.predict(table.features)[: len(table.y)].shape, table.y.shape)
    assert list(estimator.feature_names_in_) == list(frame)


def test_scikit_learn_can_search_its_arguments(frame: pd.DataFrame) -> None:
    y = (frame["a b"] > 0).astype(int)
    estimator = make_estimator(frame, y)
    assert estimator.get_params()["n_estimators"] == 100
    assert clone(estimator).get_params() == estimator.get_params()
    scores = cross_val_score(estimator, frame, y, cv=3, scoring="roc_auc")
    assert scores.mean() > 0.9
    search = GridSearchCV(estimator, {"n_estimators": [2, 1500], "class_weight": ["balanced"]}, cv=2).fit(frame, y)
    assert search.best_estimator_.get_params()["class_weight"] == "balanced"
    assert estimator.get_params()["n_estimators"] == 100
    with pytest.raises(UnknownHyperparameterError, match="Did you mean 'n_estimators'"):
        estimator.set_params(n_estimatorz=3)


def test_importances_belong_to_the_features(frame: pd.DataFrame) -> None:
    y = (frame["a b"] > 0).astype(int)
    for learner in ("lightgbm", "random_forest", "extra_trees"):
        estimator = make_estimator(frame, y, learner).fit(frame, y)
        values = estimator.feature_importances_
        assert len(values) == len(estimator.preparation.feature_names)
        assert estimator.preparation.feature_names[int(values.argmax())] == "a b"
    estimator = make_estimator(frame, y, "random_forest").set_params(categorical="onehot").fit(frame, y)
    assert estimator.feature_importances_.sum() == pytest.approx(1)
    with pytest.raises(AttributeError, match="permutation_importance"):
        _ = make_estimator(frame, y, "linear").fit(frame, y).feature_importances_


def test_rows_that_do_not_fit_are_refused(frame: pd.DataFrame) -> None:
    y = (frame["a b"] > 0).astype(int)
    estimator = make_estimator(frame, y)
    with pytest.raises(InputError, match="differ in length"):
        estimator.fit(frame, y[:-1])
    with pytest.raises(InputError, match="are missing: city"):
        estimator.fit(frame.drop(columns="city"), y)
    assert estimator.task_type is TaskType.BINARY
    assert "lightgbm" in repr(estimator)
    assert len(estimator._repr_html_()) > 0
