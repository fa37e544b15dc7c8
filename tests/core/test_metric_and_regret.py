import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metahp.core.errors import UnknownNameError
from metahp.core.metric import (
    ALIASES,
    DEFAULT_METRIC,
    METRICS,
    Metric,
    check_metric_name,
    find_canonical_metric,
    find_guiding_metric,
    find_kin_metrics,
    find_metric,
    find_metrics,
    find_stored_metrics,
)
from metahp.core.regret import compute_default_scaled_regret, compute_range_scaled_regret, is_flat, track_incumbent
from metahp.core.task import TaskType


@given(st.sampled_from(sorted(METRICS)), st.floats(-1e6, 1e6))
def test_score_inverts_loss(name: str, score: float) -> None:
    metric = METRICS[name]
    assert metric.score(metric.loss(score)) == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("best", [0.0, 1.0])
@pytest.mark.parametrize("score", [0.0, 0.3, -2.5])
def test_the_sign_of_a_metric_says_whether_more_is_better(sign: int, best: float, score: float) -> None:
    metric = Metric("m", best, (), sign=sign)
    assert metric.loss(score) == pytest.approx(sign * (best - score))
    assert metric.score(metric.loss(score)) == pytest.approx(score)
    assert metric.loss(best) == 0
    assert (metric.loss(score + 1) < metric.loss(score)) == (sign > 0)


def test_a_cost_without_a_best_score_is_its_own_loss() -> None:
    cost = Metric("cost", 0.0, (), sign=-1)
    for value in (0.0, 0.1, 3.5):
        assert repr(cost.loss(value)) == repr(cost.score(value)) == repr(value)


@pytest.mark.parametrize("task_type", TaskType)
def test_the_default_metric_belongs_to_its_task_type(task_type: TaskType) -> None:
    assert find_metric(task_type).name == DEFAULT_METRIC[task_type]
    assert find_metric(task_type) in find_metrics(task_type)


def test_a_metric_of_another_task_type_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"not a metric for a regression task.*r2"):
        find_metric(TaskType.REGRESSION, "accuracy")


@pytest.mark.parametrize(
    ("task_type", "name", "meant"),
    [
        (TaskType.REGRESSION, "rmse", "neg_root_mean_squared_error"),
        (TaskType.REGRESSION, "RMSE", "neg_root_mean_squared_error"),
        (TaskType.REGRESSION, "mean absolute error", "neg_mean_absolute_error"),
        (TaskType.REGRESSION, "mape", "neg_mean_absolute_percentage_error"),
        (TaskType.REGRESSION, "R2", "r2"),
        (TaskType.BINARY, "logloss", "neg_log_loss"),
        (TaskType.MULTICLASS, "log-loss", "neg_log_loss"),
        (TaskType.BINARY, "auc", "roc_auc"),
        (TaskType.MULTICLASS, "auc", "roc_auc_ovr"),
        (TaskType.BINARY, "F1", "f1"),
        (TaskType.MULTICLASS, "macro F1", "f1_macro"),
        (TaskType.BINARY, "Accuracy", "accuracy"),
    ],
)
def test_a_metric_is_found_by_the_name_that_people_use(task_type: TaskType, name: str, meant: str) -> None:
    assert find_metric(task_type, name) is METRICS[meant]
    # Before the task type is known too.
    check_metric_name(name)


def test_every_other_name_means_a_metric_and_is_no_name_of_one() -> None:
    assert all(meant in METRICS for all_meant in ALIASES.values() for meant in all_meant)
    assert not ALIASES.keys() & METRICS.keys()


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_a_metric_is_found_by_its_label_too(metric: Metric) -> None:
    if metric.name != "roc_auc_ovr":
        assert find_metric(metric.task_types[0], metric.label) is metric


def test_the_f1_of_one_class_is_not_that_of_several() -> None:
    with pytest.raises(UnknownNameError, match=r"'f1' is not a metric for a multiclass task.*f1_macro"):
        find_metric(TaskType.MULTICLASS, "f1")


def test_an_unknown_metric_names_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'rmse'"):
        find_metric(TaskType.REGRESSION, "mse")


def test_people_know_errors_as_positive_numbers() -> None:
    rmse, auc = METRICS["neg_root_mean_squared_error"], METRICS["roc_auc"]
    assert (rmse.label, rmse.speak(-2.5), repr(rmse.speak(0.0))) == ("RMSE", 2.5, "0.0")
    assert (auc.label, auc.speak(0.75)) == ("ROC AUC", 0.75)
    own = Metric("neg_cost", 0.0, ())
    assert (own.label, own.speak(-3.0)) == ("neg_cost", -3.0)


# By name: under which name its losses are kept, and the metric whose model serves it.
SERVED = {
    "roc_auc": ("roc_auc", "roc_auc"),
    "roc_auc_ovr": ("roc_auc", "roc_auc"),
    "neg_log_loss": ("neg_log_loss", "neg_log_loss"),
    "accuracy": ("accuracy", "accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "accuracy"),
    "f1_macro": ("f1_macro", "accuracy"),
    "f1": ("f1_macro", "accuracy"),
    "average_precision": ("roc_auc", "roc_auc"),
    "neg_brier_score": ("neg_log_loss", "neg_log_loss"),
    "neg_root_mean_squared_error": ("neg_root_mean_squared_error", "neg_root_mean_squared_error"),
    "neg_mean_absolute_error": ("neg_mean_absolute_error", "neg_root_mean_squared_error"),
    "neg_mean_absolute_percentage_error": ("neg_mean_absolute_error", "neg_root_mean_squared_error"),
    "neg_root_mean_squared_log_error": ("neg_mean_absolute_error", "neg_root_mean_squared_error"),
    "r2": ("r2", "neg_root_mean_squared_error"),
}


def test_each_metric_is_kept_and_guided_by_a_known_one() -> None:
    assert set(SERVED) == set(METRICS)
    for name, (canonical, guiding) in SERVED.items():
        assert (find_canonical_metric(name), find_guiding_metric(name)) == (canonical, guiding), name
        # A guide is kept under its own name and guides itself.
        assert find_canonical_metric(guiding) == find_guiding_metric(guiding) == guiding


def test_stored_metrics_are_the_canonical_ones_of_a_kind_each_once() -> None:
    classes, numbers = (find_stored_metrics(is_classification=each) for each in (True, False))
    assert classes == ("neg_log_loss", "roc_auc", "accuracy", "balanced_accuracy", "f1_macro")
    assert numbers == ("neg_root_mean_squared_error", "neg_mean_absolute_error", "r2")


@pytest.mark.parametrize("task_type", TaskType)
def test_every_task_of_a_kind_has_each_stored_metric_by_a_name_of_its_own(task_type: TaskType) -> None:
    own = {metric.name for metric in find_metrics(task_type)}
    for name in find_stored_metrics(is_classification=task_type.is_classification):
        kin = find_kin_metrics(name)[task_type]
        assert kin in own
        assert find_canonical_metric(kin) == name


def test_default_scaled_regret_by_hand() -> None:
    regret = compute_default_scaled_regret(np.array([0.1, 0.2, 0.3, 0.9, np.nan, 0.0]), best=0.1, default=0.3)
    np.testing.assert_allclose(regret, [0.0, 0.5, 1.0, 2.0, 2.0, 0.0])


def test_range_scaled_regret_by_hand() -> None:
    np.testing.assert_allclose(
        compute_range_scaled_regret(np.array([1.0, 2.0, 5.0]), best=1.0, worst=5.0), [0.0, 0.25, 1.0]
    )
    np.testing.assert_allclose(compute_range_scaled_regret(np.array([1.0, 1.0]), best=1.0, worst=1.0), [0.0, 0.0])


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ([0.5, 0.6, 0.4], False),  # gains .1 .1 .1: no noise
        ([0.4, 0.5, 0.3], True),  # no gain
        ([0.7, 0.4, 0.3], True),  # gains .3 -.1 0: mean .067 below its error .12
    ],
)
def test_a_task_is_flat_when_the_gain_is_within_the_noise_of_the_folds(default: list[float], expected: bool) -> None:
    assert is_flat(np.array([0.4, 0.5, 0.3]), np.array(default)) is expected


def test_the_incumbent_ignores_missing_losses_and_never_worsens() -> None:
    np.testing.assert_array_equal(
        track_incumbent(np.array([np.nan, 0.5, 0.7, np.nan, 0.4])), [np.inf, 0.5, 0.5, 0.5, 0.4]
    )
