import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, TargetTags

from metahp.core.metric import METRICS, find_metrics
from metahp.core.task import TaskType
from metahp.evaluation.losses import compute_losses


def test_losses_of_two_classes_agree_with_scikit_learn(rng: np.random.Generator) -> None:
    y = rng.integers(0, 2, 200)
    positive = np.round(rng.random(200), 1)  # rounded: ties must count half
    probabilities = np.column_stack([1 - positive, positive])
    label = probabilities.argmax(axis=1)
    expected = {
        "neg_log_loss": -sk.log_loss(y, probabilities),
        "roc_auc": sk.roc_auc_score(y, positive),
        "accuracy": sk.accuracy_score(y, label),
        "balanced_accuracy": sk.balanced_accuracy_score(y, label),
        "f1_macro": sk.f1_score(y, label, average="macro"),
        "f1": sk.f1_score(y, label),
        "average_precision": sk.average_precision_score(y, positive),
        "neg_brier_score": -sk.brier_score_loss(y, positive),
    }
    _agree(compute_losses(y, probabilities, TaskType.BINARY), expected, TaskType.BINARY)


def test_losses_of_several_classes_agree_with_scikit_learn(rng: np.random.Generator) -> None:
    y = rng.integers(0, 4, 300)
    probabilities = rng.dirichlet(np.ones(4), size=300)
    label = probabilities.argmax(axis=1)
    expected = {
        "neg_log_loss": -sk.log_loss(y, probabilities),
        "roc_auc_ovr": sk.roc_auc_score(y, probabilities, multi_class="ovr"),
        "average_precision": sk.average_precision_score(y, probabilities),
        "accuracy": sk.accuracy_score(y, label),
        "balanced_accuracy": sk.balanced_accuracy_score(y, label),
        "f1_macro": sk.f1_score(y, label, average="macro"),
        "neg_brier_score": -sk.brier_score_loss(y, probabilities),
    }
    _agree(compute_losses(y, probabilities, TaskType.MULTICLASS), expected, TaskType.MULTICLASS)


def test_losses_of_numbers_agree_with_scikit_learn(rng: np.random.Generator) -> None:
    y = rng.exponential(size=100)
    predicted = y + rng.random(100)
    expected = {
        "neg_root_mean_squared_error": -sk.root_mean_squared_error(y, predicted),
        "neg_mean_absolute_error": -sk.mean_absolute_error(y, predicted),
        "neg_mean_absolute_percentage_error": -sk.mean_absolute_percentage_error(y, predicted),
        "neg_root_mean_squared_log_error": -sk.root_mean_squared_log_error(y, predicted),
        "r2": sk.r2_score(y, predicted),
    }
    _agree(compute_losses(y, predicted, TaskType.REGRESSION), expected, TaskType.REGRESSION)


def test_the_percentage_of_a_target_of_zero_is_large_and_finite() -> None:
    y, predicted = np.array([0.0, 2.0]), np.array([1.0, 1.0])
    loss = compute_losses(y, predicted, TaskType.REGRESSION)["neg_mean_absolute_percentage_error"]
    assert loss == pytest.approx(sk.mean_absolute_percentage_error(y, predicted))
    assert np.isfinite(loss)


@pytest.mark.parametrize("y", [[0, 0], [0, 1], [1, 1]])
@pytest.mark.parametrize("label", [[0, 0], [1, 0], [1, 1]])
def test_f1_is_that_of_the_second_class(y: list[int], label: list[int]) -> None:
    loss = compute_losses(np.array(y), np.eye(2)[label], TaskType.BINARY)["f1"]
    assert loss == pytest.approx(1.0 - sk.f1_score(y, label, zero_division=0.0))


def _agree(losses: dict[str, float], scores: dict[str, float], task_type: TaskType) -> None:
    assert set(losses) == set(scores) == {metric.name for metric in find_metrics(task_type)}
    for name, loss in losses.items():
        assert METRICS[name].score(loss) == pytest.approx(scores[name], abs=1e-9), name


def test_the_ranking_of_a_single_class_is_undefined() -> None:
    losses = compute_losses(np.ones(4, dtype=int), np.full((4, 2), 0.5), TaskType.BINARY)
    assert np.isnan(losses["roc_auc"])
    assert losses["neg_log_loss"] == pytest.approx(np.log(2))


def test_a_log_error_of_values_of_minus_one_or_less_is_undefined() -> None:
    losses = compute_losses(np.array([0.0, 2.0]), np.array([-1.0, 1.0]), TaskType.REGRESSION)
    assert np.isnan(losses["neg_root_mean_squared_log_error"])
    assert np.isfinite(losses["neg_root_mean_squared_error"])


def test_a_certain_mistake_has_a_finite_log_loss() -> None:
    losses = compute_losses(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), TaskType.BINARY)
    assert np.isfinite(losses["neg_log_loss"])


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("zero", [False, True])
def test_weighted_losses_agree_with_scikit_learns_scorers(
    rng: np.random.Generator, task_type: TaskType, zero: bool
) -> None:
    weights = rng.exponential(size=300)
    weights[::3] = 0.0 if zero else weights[::3]
    if task_type is TaskType.REGRESSION:
        y = rng.exponential(size=300)
        predictions = np.round(y + 0.3 * rng.random(300), 1)
        classes = None
    else:
        classes = np.arange(2 if task_type is TaskType.BINARY else 4)
        y = rng.choice(classes, 300)
        predictions = rng.dirichlet(np.ones(len(classes)), size=300)
    losses = compute_losses(y, predictions, task_type, weights)
    stand_in = _Predictor(predictions, classes)
    for name, loss in losses.items():
        score = sk.get_scorer(name)(stand_in, np.zeros((300, 1)), y, sample_weight=weights)
        assert METRICS[name].score(loss) == pytest.approx(score, abs=1e-9), name


@pytest.mark.parametrize("task_type", TaskType)
def test_rows_without_any_weight_define_no_loss(task_type: TaskType) -> None:
    predictions = np.array([0.0, 1.0]) if task_type is TaskType.REGRESSION else np.eye(2)
    losses = compute_losses(np.array([0, 1]), predictions, task_type, np.zeros(2))
    assert np.isnan(list(losses.values())).all()


class _Predictor(BaseEstimator):
    """Gives these predictions for whatever rows."""

    def __init__(self, predictions: np.ndarray, classes: np.ndarray | None) -> None:
        self.predictions, self.classes_ = predictions, classes
        self._estimator_type = "regressor" if classes is None else "classifier"

    def __sklearn_tags__(self) -> Tags:
        return Tags(estimator_type=self._estimator_type, target_tags=TargetTags(required=True))

    def fit(self, X: np.ndarray, y: np.ndarray) -> "_Predictor":
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predictions if self.classes_ is None else self.classes_[self.predictions.argmax(axis=1)]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return self.predictions
