"""All losses of one set of predictions at once; agrees with scikit-learn's scorers, at a tenth of their time."""

from typing import NamedTuple

import numpy as np

from metahp.core.task import TaskType

# A percentage of a target of zero is taken of this, as scikit-learn does: finite and very large.
_SMALLEST = float(np.finfo(np.float64).eps)


def compute_losses(
    y: np.ndarray, predictions: np.ndarray, task_type: TaskType, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Losses by metric name (`metahp.core.metric`).

    Args:
        y: Class codes or numbers, shape (n,).
        predictions: Probabilities, shape (n, n_classes), or numbers, shape (n,).
        task_type: Decides which metrics there are.
        weights: Weights of the rows, shape (n,); None where all are equal.

    A metric that these rows do not define (ROC AUC of one class) is NaN. A curve has a dozen checkpoints in each of
    three folds, and scikit-learn's input validation alone would take as long as the training.
    """
    if weights is not None and not weights.any():
        # Without a weight above zero no mean is defined.
        undefined = compute_losses(y, predictions, task_type)
        return dict.fromkeys(undefined, float("nan"))
    if task_type is TaskType.REGRESSION:
        return _compute_losses_of_numbers(y, predictions, weights)
    n, n_classes = predictions.shape
    floor = np.finfo(predictions.dtype).eps
    total = predictions.sum(axis=1)
    own = np.clip(predictions[np.arange(n), y] / np.where(total > 0, total, 1.0), floor, 1.0 - floor)
    cells = y * n_classes + predictions.argmax(axis=1)
    confusion = np.bincount(cells, weights, minlength=n_classes**2).reshape(n_classes, n_classes).astype(float)
    hits, actual, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = hits[actual > 0] / actual[actual > 0]
    # As scikit-learn has it, a class counts that is there or predicted, whatever its weight.
    counts = confusion if weights is None else np.bincount(cells, minlength=n_classes**2).reshape(confusion.shape)
    met = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    f1 = 2 * hits[met] / np.maximum((actual + predicted)[met], np.finfo(float).tiny)
    losses = {
        "neg_log_loss": -_average(np.log(own), weights),
        "accuracy": 1.0 - float(hits.sum() / confusion.sum()),
        "balanced_accuracy": 1.0 - float(recall.mean()),
        "f1_macro": 1.0 - float(f1.mean()),
    }
    # The squared distance to the vector of the true class; of two classes its half, as scikit-learn has it.
    distance = (predictions**2).sum(axis=1) - 2.0 * predictions[np.arange(n), y] + 1.0
    losses["neg_brier_score"] = max(_average(distance, weights), 0.0) * (0.5 if n_classes < 3 else 1.0)
    if task_type is TaskType.BINARY:
        ranking = _Ranking.of(y == 1, predictions[:, 1], weights)
        losses["roc_auc"] = 1.0 - ranking.compute_auc()
        losses["average_precision"] = 1.0 - ranking.compute_average_precision()
        # Zero, as scikit-learn has it, where the second class is neither there nor predicted.
        f1_of_second = 2 * hits[1] / (actual[1] + predicted[1]) if actual[1] + predicted[1] > 0 else 0.0
        losses["f1"] = 1.0 - float(f1_of_second)
    else:
        rankings = [_Ranking.of(y == c, predictions[:, c], weights) for c in range(n_classes)]
        losses["roc_auc_ovr"] = 1.0 - float(np.mean([ranking.compute_auc() for ranking in rankings]))
        precisions = [ranking.compute_average_precision() for ranking in rankings]
        losses["average_precision"] = 1.0 - float(np.mean(precisions))
    return losses


def _compute_losses_of_numbers(y: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    error = y - predictions
    spread = _average((y - _average(y, weights)) ** 2, weights)
    squared = _average(error**2, weights)
    share = np.abs(error) / np.maximum(np.abs(y), _SMALLEST)
    return {
        "neg_root_mean_squared_error": float(np.sqrt(squared)),
        "neg_mean_absolute_error": _average(np.abs(error), weights),
        "neg_mean_absolute_percentage_error": _average(share, weights),
        "neg_root_mean_squared_log_error": _compute_log_error(y, predictions, weights),
        "r2": squared / spread if spread > 0 else float("nan"),
    }


def _compute_log_error(y: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> float:
    """Root mean squared error of log(1 + y); NaN where a target or a prediction is -1 or less."""
    if min(y.min(), predictions.min()) <= -1.0:
        return float("nan")
    return float(np.sqrt(_average((np.log1p(y) - np.log1p(predictions)) ** 2, weights)))


def is_defined(metric: str, y: np.ndarray) -> bool:
    """Whether a metric is defined for targets: a trial stores no logarithms of negative numbers."""
    return metric != "neg_root_mean_squared_log_error" or bool(y.min() > -1)


def _average(values: np.ndarray, weights: np.ndarray | None) -> float:
    return float(values.mean()) if weights is None else float(np.average(values, weights=weights))


class _Ranking(NamedTuple):
    """Weights of the positive and of the negative rows at or above each different score, from the highest score on."""

    positive: np.ndarray
    negative: np.ndarray

    @classmethod
    def of(cls, is_positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None) -> "_Ranking":
        """One sort of the scores, for all metrics of a ranking; shapes (n,)."""
        order = np.argsort(-score, kind="stable")
        ordered, is_positive = score[order], is_positive[order]
        weight = np.ones(len(order)) if weights is None else weights[order]
        lasts = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        return cls(np.cumsum(weight * is_positive)[lasts], np.cumsum(weight * ~is_positive)[lasts])

    def compute_auc(self) -> float:
        """Area under the ROC curve: ties count half. NaN where all rows with weight are of one kind."""
        pairs = self.positive[-1] * self.negative[-1]
        if not pairs > 0:
            return float("nan")
        below = np.append(0.0, self.positive[:-1])
        return float(np.sum(np.diff(self.negative, prepend=0.0) * (below + self.positive)) / (2.0 * pairs))

    def compute_average_precision(self) -> float:
        """Mean precision over the steps of the recall. NaN where no row with weight is positive."""
        n_positive = self.positive[-1]
        if not n_positive > 0:
            return float("nan")
        found = np.diff(self.positive, prepend=0.0)
        predicted = np.maximum(self.positive + self.negative, np.finfo(float).tiny)
        return min(float(np.sum(found * self.positive / predicted) / n_positive), 1.0)


def compute_constant_losses(
    y: np.ndarray, task_type: TaskType, n_classes: int, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Losses by metric of always predicting the class shares, or the mean (for the mean absolute error too)."""
    return compute_losses(y, make_constant_predictions(y, task_type, n_classes, weights), task_type, weights)


def make_constant_predictions(
    y: np.ndarray, task_type: TaskType, n_classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """The class shares, or the mean, for every row; shapes as of the predictions in `compute_losses`."""
    weights_of_shares = weights if weights is not None and weights.any() else None
    if task_type is TaskType.REGRESSION:
        return np.full(len(y), np.average(y, weights=weights_of_shares))
    shares = np.bincount(y, weights_of_shares, minlength=n_classes)
    return np.tile(shares / shares.sum(), (len(y), 1))
