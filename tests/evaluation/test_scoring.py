"""Scorers on predictions agree with scikit-learn's on a fitted estimator, whatever the classes are called."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import fbeta_score, get_scorer, get_scorer_names, log_loss, make_scorer, roc_auc_score

from metahp.core.errors import InputError, UnknownNameError
from metahp.core.metric import METRICS, SCORERS, Metric, find_metric
from metahp.core.task import TaskType
from metahp.core.trial import Protocol
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.evaluation.protocol import check_metric
from metahp.evaluation.scoring import Scorer, compute_reference_loss, find_scorer

NAMES = {TaskType.BINARY: ["no", "yes"], TaskType.MULTICLASS: [9, 10, 11], TaskType.REGRESSION: []}


def make_table(task_type: TaskType, names: list[Any], n: int = 90) -> tuple[Table, np.ndarray]:
    """A table, and its target as the user has it."""
    rng = np.random.default_rng(5)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))
    y = np.exp(X["a"] + 0.3 * rng.normal(size=n)).to_numpy()
    if names:
        y = np.array(names)[np.digitize(X["a"] + 0.5 * rng.normal(size=n), np.linspace(-0.4, 0.4, len(names) - 1))]
    return build_table(X.assign(target=y), target="target", task_type=task_type), y


def fit(table: Table, y: np.ndarray) -> tuple[Any, np.ndarray]:
    """A fitted estimator of scikit-learn, and its predictions in the order of the table's classes."""
    kind = RandomForestClassifier if table.classes else RandomForestRegressor
    model = kind(n_estimators=20, max_depth=2, random_state=0).fit(table.features, y)
    if not table.classes:
        return model, model.predict(table.features)
    order = [list(map(str, model.classes_)).index(name) for name in table.classes]
    return model, model.predict_proba(table.features)[:, order]


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "task_type"), [(m.name, kind) for m in (*METRICS.values(), *SCORERS.values()) for kind in m.task_types]
)
def test_a_named_scorer_gives_what_scikit_learn_gives(name: str, task_type: TaskType, is_weighted: bool) -> None:
    table, y = make_table(task_type, NAMES[task_type])
    model, predictions = fit(table, y)
    metric, scorer = find_scorer(name, table)
    assert metric.name == name
    assert (scorer is None) == (name in METRICS)
    if scorer is None:
        return
    reference = get_scorer(name)
    if task_type is TaskType.BINARY and name in ("precision", "recall", "jaccard", "d2_brier_score"):
        reference._kwargs["pos_label"] = "yes"
    w = np.random.default_rng(0).random(len(y)) if is_weighted else None
    more = {"sample_weight": w} if is_weighted and scorer.takes_weights else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(model, table.features, y, **more)
    assert scorer.score(table.y, predictions, w) == pytest.approx(expected, abs=1e-9)
    assert metric.score(scorer.compute_loss(table.y, predictions, w)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("names", [["no", "yes"], [0, 1], [False, True], ["9", "10"]])
@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_a_scorer_of_ones_own_sees_classes_as_the_target_has_them(names: list[Any], method: str) -> None:
    table, y = make_table(TaskType.BINARY, names)
    model, predictions = fit(table, y)
    last = sorted({"9": 9, "10": 10}.get(name, name) for name in names)[-1]
    options = {"pos_label": last, "beta": 2.0} if method == "predict" else {}
    function = fbeta_score if method == "predict" else roc_auc_score
    scorer = make_scorer(function, response_method=method, **options)
    _, found = find_scorer(scorer, table)
    assert found is not None
    # Texts of whole numbers are numbers, as the model of metahp predicts them.
    is_text = isinstance(names[0], str) and names[0].isdigit()
    expected = function(
        y.astype(int) if is_text else y, _predict(model, method, table, last, is_text=is_text), **options
    )
    assert found.score(table.y, predictions) == pytest.approx(expected)


def _predict(model: Any, method: str, table: Table, last: Any, *, is_text: bool) -> np.ndarray:
    if method == "predict":
        labels = model.predict(table.features)
        return labels.astype(int) if is_text else labels
    return model.predict_proba(table.features)[:, [str(name) for name in model.classes_].index(str(last))]


def test_a_plain_callable_gets_features_and_a_stand_in() -> None:
    table, y = make_table(TaskType.REGRESSION, [])
    _, predictions = fit(table, y)

    def score_of_low(estimator: Any, X: pd.DataFrame, y: np.ndarray) -> float:
        low = X[X["a"] < 0]
        return -float(np.abs(estimator.predict(low) - y[(X["a"] < 0).to_numpy()]).mean())

    metric, scorer = find_scorer(score_of_low, table)
    assert scorer is not None
    assert scorer.looks_at_rows
    assert metric.stand_in == "neg_root_mean_squared_error"
    rows = np.arange(10, 60)
    low = table.features["a"].to_numpy()[rows] < 0
    expected = np.abs(predictions[rows] - table.y[rows])[low].mean()
    assert scorer.compute_loss(table.y[rows], predictions[rows], None, rows) == pytest.approx(expected)


def test_identities_tell_scorers_apart_and_outlive_a_process() -> None:
    table, _ = make_table(TaskType.BINARY, ["no", "yes"])

    def identify(scorer: Any) -> str:
        found = find_scorer(scorer, table)[1]
        assert found is not None
        return found.identity

    two, half = (make_scorer(fbeta_score, beta=beta, pos_label="yes") for beta in (2, 0.5))
    assert identify(two) == identify(make_scorer(fbeta_score, beta=2, pos_label="yes"))
    assert identify(two) != identify(half)
    assert identify(lambda m, X, y: 1.0) != identify(lambda m, X, y: 2.0)
    assert identify("precision") == "precision"
    # Fixed, so that a study goes on in another process.
    assert identify(two) == "fbeta_score-" + identify(two).rpartition("-")[2]
    assert " " not in identify(lambda m, X, y: 1.0)


@pytest.mark.parametrize(
    ("scorer", "stand_in"),
    [
        (make_scorer(log_loss, greater_is_better=False, response_method="predict_proba"), "neg_log_loss"),
        (make_scorer(roc_auc_score, response_method="predict_proba"), "roc_auc"),
        (make_scorer(fbeta_score, beta=2), "balanced_accuracy"),
        (lambda estimator, X, y: 0.0, "roc_auc"),
    ],
)
def test_past_tasks_are_asked_by_a_near_metric(scorer: Any, stand_in: str) -> None:
    table, _ = make_table(TaskType.BINARY, ["no", "yes"])
    metric, _ = find_scorer(scorer, table)
    assert metric.past_name == stand_in
    assert METRICS[stand_in]


def test_every_scorer_of_scikit_learn_is_known_or_left_out_for_a_reason() -> None:
    clustering = {"adjusted_mutual_info_score", "adjusted_rand_score", "completeness_score", "fowlkes_mallows_score"}
    clustering |= {"homogeneity_score", "mutual_info_score", "normalized_mutual_info_score", "rand_score"}
    clustering |= {"v_measure_score"}
    several_labels = {f"{name}_samples" for name in ("f1", "precision", "recall", "jaccard")}
    assert set(get_scorer_names()) - clustering - several_labels == METRICS.keys() | SCORERS.keys()


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ("neg_max_error", UnknownNameError, "'neg_max_error' is not a metric for a binary task.*matthews_corrcoef"),
        ("adjusted_rand_score", UnknownNameError, "not a metric for a binary task"),
        (fbeta_score, InputError, r"not a scorer: give sklearn.metrics.make_scorer\(fbeta_score\)"),
        (lambda y, p: 0.0, InputError, r"called as `scorer\(estimator, X, y\)`, which lambda does not take"),
        (["f1"], InputError, "got a list"),
    ],
)
def test_what_is_no_scorer_for_the_task_is_refused(given: Any, error: type[Exception], match: str) -> None:
    table, _ = make_table(TaskType.BINARY, ["no", "yes"])
    with pytest.raises(error, match=match) as caught:
        find_scorer(given, table)
    assert len(str(caught.value).splitlines()) == 1


def test_a_scorer_with_an_open_file_is_refused(tmp_path: Any) -> None:
    table, _ = make_table(TaskType.BINARY, ["no", "yes"])
    with (tmp_path / "x").open("w") as file, pytest.raises(InputError, match="cannot be sent to worker processes"):
        find_scorer(lambda estimator, X, y: file.write(""), table)


def _check(scorer: Any, task_type: TaskType = TaskType.BINARY) -> None:
    table, _ = make_table(task_type, NAMES[task_type])
    metric, found = find_scorer(scorer, table)
    check_metric(table, metric.name, Protocol(), None, found)


def test_a_scorer_that_fails_on_every_prediction_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="not defined on the test rows of fold 1: ValueError: pos_label=1 is not"):
        _check(make_scorer(fbeta_score, beta=2))
    with pytest.raises(InputError, match="TypeError: expected a number as the score of lambda, got dict"):
        _check(lambda estimator, X, y: {"a": 1.0})
    with pytest.raises(InputError, match="it gives no number"):
        _check(lambda estimator, X, y: float("nan"))


def test_a_scorer_that_is_not_defined_for_constants_is_taken() -> None:
    def correlate(estimator: Any, X: pd.DataFrame, y: np.ndarray) -> float:
        return float(np.corrcoef(estimator.predict(X), y)[0, 1])

    _check(correlate, TaskType.REGRESSION)
    table, _ = make_table(TaskType.REGRESSION, [])
    metric, scorer = find_scorer(correlate, table)
    # In its place stands the loss of the near metric, which is above zero.
    assert compute_reference_loss(table, metric, scorer) == pytest.approx(float(np.std(table.y)))
    assert isinstance(metric, Metric)
    assert isinstance(scorer, Scorer)
    assert find_metric(TaskType.REGRESSION) != metric
