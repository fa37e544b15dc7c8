"""The tuned model as an estimator of scikit-learn, and the result of a study in a pickle."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.inspection import permutation_importance
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import metahp
from builders import make_frame
from metahp.core.errors import InputError

OPTIONS = {"record": False, "cv": 3, "cold": True, "strategy": "random"}


def make_columns(seed: int) -> tuple[pd.DataFrame, pd.Series]:
    frame = make_frame(seed)
    rng = np.random.default_rng(seed)
    frame["town"] = rng.choice(["Rome", "Oslo"], len(frame))
    frame["nothing"] = 3
    return frame.drop(columns="target"), frame["target"]


@pytest.fixture(scope="module")
def results() -> dict[str, metahp.TuneResult]:
    X, y = make_columns(0)
    one = metahp.tune(X, y, trials=2, learners="lightgbm", **OPTIONS)
    both = metahp.tune(X, y, trials=8, learners=["random_forest", "lightgbm"], ensemble=True, seed=1, **OPTIONS)
    return {"one": one, "ensemble": both}


@pytest.mark.parametrize("which", ["one", "ensemble"])
def test_scikit_learn_can_use_the_model(results, which: str) -> None:
    X, y = make_columns(0)
    model = results[which].best_estimator_
    assert is_classifier(model)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.6
    assert cross_val_predict(model, X, y, cv=3, method="predict_proba").shape == (len(X), 2)
    assert permutation_importance(model, X, y, n_repeats=1).importances.shape == (5, 1)
    fresh = clone(model)
    assert not hasattr(fresh, "classes_")
    assert set(model.get_params()) <= set(fresh.get_params())
    name = next(name for name in model.get_params() if name.endswith("n_estimators"))
    assert fresh.set_params(**{name: 7}).get_params()[name] == 7
    fitted = clone(model).fit(X, y)
    np.testing.assert_allclose(fitted.predict_proba(X), model.predict_proba(X), atol=1e-9)
    assert model.feature_importances_.shape == (len(model.preparation.feature_names),)
    np.testing.assert_array_equal(model.predict(X.to_numpy()), model.predict(X))
    assert len(repr(model)) < 200
    with pytest.raises(InputError, match="clone"):
        model.set_params(n_estimators=3)


def test_a_fit_changes_the_model_in_place(results) -> None:
    X, y = make_columns(0)
    for result in results.values():
        model = copy.deepcopy(result.best_estimator_)
        before = model.predict_proba(X)
        assert model.fit(X, y) is model
        np.testing.assert_allclose(model.predict_proba(X), before)
        make_pipeline(FunctionTransformer(), model).fit(X[:100], y[:100])
        assert not np.allclose(model.predict_proba(X), before)


def test_a_result_can_be_pickled_before_and_after_the_fit(results) -> None:
    X, y = make_columns(0)
    before = metahp.tune(X, y, trials=1, learners="lightgbm", **OPTIONS)
    for result in (before, *results.values()):
        loaded = pickle.loads(pickle.dumps(result))
        np.testing.assert_array_equal(loaded.best_estimator_.predict(X), result.best_estimator_.predict(X))
        assert loaded.best_params_ == result.best_params_
        assert loaded.best_trial_ == result.best_trial_
        pd.testing.assert_frame_equal(loaded.trials_frame(), result.trials_frame())
        assert len(pickle.dumps(copy.deepcopy(result))) > 0


def test_a_result_from_a_directory_does_the_same(tmp_path) -> None:
    X, y = make_columns(2)
    metahp.tune(X, y, trials=2, learners="random_forest", output=tmp_path / "r", seed=3, **OPTIONS)
    model = metahp.load_result(tmp_path / "r")
    assert model.seed == 3
    np.testing.assert_array_equal(model.predict(X.to_numpy()), model.predict(X))
    np.testing.assert_array_equal(clone(model).fit(X, y).predict(X), model.predict(X))
    assert model.feature_importances_.sum() == pytest.approx(1)
