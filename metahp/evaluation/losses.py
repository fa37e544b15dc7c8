"""All losses of one set of predictions at once; agrees with scikit-learn's scorers, at a tenth of their time."""

import numpy as np
from scipy.stats import rankdata

from metahp.core.task import TaskType

# A percentage of a target of zero is taken of this, as scikit-learn does: finite and very large.
_SMALLEST = float(np.finfo(np.float64).eps)


def compute_losses(y: np.ndarray, predictions: np.ndarray, task_type: TaskType) -> dict[str, float]:
    """Losses by metric name (`metahp.core.metric`).

    Args:
        y: Class codes or numbers, shape (n,).
        predictions: Probabilities, shape (n, n_classes), or numbers, shape (n,).
        task_type: Decides which metrics there are.

    A metric that these rows do not define (ROC AUC of one class) is NaN. A curve has a dozen checkpoints in each of
    three folds, and scikit-learn's input validation alone would take as long as the training.
    """
    if task_type is TaskType.REGRESSION:
        error = y - predictions
        spread = float(np.mean((y - y.mean()) ** 2))
        squared = float(np.mean(error**2))
        return {
            "neg_root_mean_squared_error": float(np.sqrt(squared)),
            "neg_mean_absolute_error": float(np.mean(np.abs(error))),
            "neg_mean_absolute_percentage_error": float(np.mean(np.abs(error) / np.maximum(np.abs(y), _SMALLEST))),
            "r2": squared / spread if spread > 0 else float("nan"),
        }
    n, n_classes = predictions.shape
    floor = np.finfo(predictions.dtype).eps
    total = predictions.sum(axis=1)
    own = np.clip(predictions[np.arange(n), y] / np.where(total > 0, total, 1.0), floor, 1.0 - floor)
    confusion = np.bincount(y * n_classes + predictions.argmax(axis=1), minlength=n_classes**2)
    confusion = confusion.reshape(n_classes, n_classes).astype(float)
    hits, actual, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = hits[actual > 0] / actual[actual > 0]
    met = (actual + predicted) > 0
    f1 = 2 * hits[met] / (actual + predicted)[met]
    losses = {
        "neg_log_loss": float(-np.log(own).mean()),
        "accuracy": 1.0 - float(hits.sum() / n),
        "balanced_accuracy": 1.0 - float(recall.mean()),
        "f1_macro": 1.0 - float(f1.mean()),
    }
    if task_type is TaskType.BINARY:
        losses["roc_auc"] = 1.0 - _compute_auc(y == 1, predictions[:, 1])
        # Zero, as scikit-learn has it, where the second class is neither there nor predicted.
        losses["f1"] = 1.0 - float(2 * hits[1] / max(actual[1] + predicted[1], 1.0))
    else:
        losses["roc_auc_ovr"] = 1.0 - float(
            np.mean([_compute_auc(y == c, predictions[:, c]) for c in range(n_classes)])
        )
    return losses


def _compute_auc(is_positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve from the rank sum (Mann and Whitney, 1947); ties count half."""
    n_positive = int(is_positive.sum())
    n_negative = is_positive.size - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    ranks = rankdata(score)[is_positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def compute_constant_losses(y: np.ndarray, task_type: TaskType, n_classes: int) -> dict[str, float]:
    """Losses by metric of always predicting the class shares, or the mean (for the mean absolute error too)."""
    if task_type is TaskType.REGRESSION:
        return compute_losses(y, np.full(len(y), y.mean()), task_type)
    shares = np.bincount(y, minlength=n_classes) / len(y)
    return compute_losses(y, np.tile(shares, (len(y), 1)), task_type)
