"""Greedy ensemble selection with replacement from out-of-fold predictions, and its cross-fitted gain.

Source: Caruana et al., 2004, "Ensemble Selection from Libraries of Models" (ICML); bags of models as in section 2.4.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.statistics import compute_mean_difference
from metahp.core.task import TaskType
from metahp.evaluation.losses import compute_losses

# Losses of many predictions at once: y (n,) and predictions (q, n, classes) or (q, n) give (q,). Where rows have
# weights, these are a third argument, shape (n,).
Loss = Callable[..., np.ndarray]

# Numbers in memory while candidates are compared: 1 MB fits a core's cache and takes half the time of 32 MB.
BLOCK = 2**17
# Share of the models in a bag, as in the paper.
BAG_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """The gain of an ensemble over the best single model. Both are measured on rows that chose neither.

    Attributes:
        gain: Mean over the parts of single loss minus ensemble loss; above zero where the ensemble is better.
        standard_error: Standard error of the mean of these paired differences. It is a little too small, because the
            rows that choose overlap between parts.
        ensemble_loss: Mean loss of the ensemble over the parts.
        single_loss: Mean loss of the best single model over the parts.
        parts: Number of parts on which the loss is defined.
    """

    gain: float
    standard_error: float
    ensemble_loss: float
    single_loss: float
    parts: int


def select_ensemble(
    predictions: np.ndarray,
    y: np.ndarray,
    loss: Loss,
    *,
    sample_weight: np.ndarray | None = None,
    size: int = 50,
    n_initial: int = 5,
    bags: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """Weights of the models, shape (models,), at least zero, sum one.

    The search starts from the best few models and repeatedly adds the model that lowers the loss most. The result is
    the best ensemble of all steps, so on these rows it is never worse than the best single model. A tie goes to the
    smaller ensemble and to the better single model.

    Args:
        predictions: Out-of-fold probabilities (models, n, classes) or numbers (models, n). Rows with NaN in any model
            are left out.
        y: Class codes or numbers, shape (n,).
        loss: From `make_batch_loss`, or a function of the same form.
        sample_weight: Weights of the rows, shape (n,); None where all are equal.
        size: Largest number of members, the initial ones included; a model may be a member several times.
        n_initial: The search starts from the average of the best 1, 2, … or `n_initial` single models, whichever has
            the lowest loss.
        bags: Above zero, the result is the mean of so many ensembles, each chosen from a random half of the models.
            This overfits less with few rows. The best single model is returned where it is better on these rows.
        seed: For the choice of the bags.

    Raises:
        InputError: no model, no row without NaN, or a loss that these rows do not define.
    """
    predictions, rows = _keep_complete_rows(predictions, y, sample_weight)
    single = _compute_losses(loss, rows, predictions)
    order = np.argsort(single, kind="stable")
    if not np.isfinite(single[order[0]]):
        raise InputError(
            f"The loss is not defined on these {len(rows.y)} rows for any of the {len(predictions)} models."
        )
    if bags == 0:
        return _select_greedily(predictions, rows, loss, order, size, n_initial)
    rng = np.random.default_rng(seed)
    weights = np.zeros(len(predictions))
    for _ in range(bags):
        bag = rng.permutation(len(predictions))[: max(1, round(BAG_SHARE * len(predictions)))]
        weights += _select_greedily(predictions, rows, loss, order[np.isin(order, bag)], size, n_initial) / bags
    if _compute_losses(loss, rows, combine(predictions, weights)[None])[0] > single[order[0]]:
        weights = np.zeros(len(predictions))
        weights[order[0]] = 1.0
    return weights


def compute_cross_fitted_gain(
    predictions: np.ndarray,
    y: np.ndarray,
    loss: Loss,
    *,
    sample_weight: np.ndarray | None = None,
    strata: np.ndarray | None = None,
    singles: np.ndarray | None = None,
    parts: int = 5,
    size: int = 50,
    n_initial: int = 5,
    bags: int = 0,
    seed: int = 0,
) -> Gain:
    """The gain of `select_ensemble` over the best single model, on rows that chose neither.

    The rows are cut into `parts`, each with its share of every class or range of `y`. Ensemble and single model are
    chosen on all parts but one, and measured on that one. Where `predictions` are votes, `singles` are the predictions
    of the models themselves; where `y` are no targets, `strata` are. Other arguments as in `select_ensemble`.

    Raises:
        InputError: as in `select_ensemble`, or the loss is defined on fewer than two parts.
    """
    singles = _keep_complete_rows(predictions if singles is None else singles, y)[0]
    strata = _keep_complete_rows(predictions, y if strata is None else strata)[1].y
    predictions, rows = _keep_complete_rows(predictions, y, sample_weight)
    y = rows.y
    rng = np.random.default_rng(seed)
    part = np.empty(len(y), dtype=int)
    blocks = np.tile(np.arange(parts), (-(-len(y) // parts), 1))
    part[np.lexsort((rng.random(len(y)), strata))] = rng.permuted(blocks, axis=1).ravel()[: len(y)]
    pairs = []
    for held in range(parts):
        chosen_on, held_out = part != held, part == held
        if not chosen_on.any() or not held_out.any():
            continue
        library, of_library = predictions[:, chosen_on], rows.take(chosen_on)
        weights = select_ensemble(
            library,
            of_library.y,
            loss,
            sample_weight=of_library.weights,
            size=size,
            n_initial=n_initial,
            bags=bags,
            seed=seed,
        )
        best = int(np.argmin(_compute_losses(loss, of_library, singles[:, chosen_on])))
        compared = np.stack([combine(predictions[:, held_out], weights), singles[best, held_out]])
        pairs.append(_compute_losses(loss, rows.take(held_out), compared))
    measured = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    if len(measured) < 2:
        raise InputError(f"The loss is defined on {len(measured)} of {parts} parts of {len(y)} rows; two are needed.")
    ensemble, single = measured.T
    gain, error = compute_mean_difference(single, ensemble)
    return Gain(
        gain=gain,
        standard_error=error,
        ensemble_loss=float(ensemble.mean()),
        single_loss=float(single.mean()),
        parts=len(measured),
    )


def combine(predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the models, shape (n, classes) or (n,); models without weight may have NaN."""
    used = np.flatnonzero(weights)
    return np.tensordot(weights[used], predictions[used], axes=1)


def cast_votes(probabilities: np.ndarray) -> np.ndarray:
    """1 for the most likely class of each model and 0 for the others, same shape; NaN where there is no prediction.

    `select_ensemble` and `combine` give a weighted majority vote of these.
    """
    is_missing = np.isnan(probabilities).any(axis=-1)
    chosen = np.where(is_missing, 0, np.argmax(probabilities, axis=-1))
    votes = np.eye(probabilities.shape[-1])[chosen]
    votes[is_missing] = np.nan
    return votes


def make_batch_loss(metric: str, task_type: TaskType) -> Loss:
    """A function that computes the loss `metric` of many predictions at once, as `compute_losses` does for one.

    Raises:
        UnknownNameError: no such metric for this task type.
    """
    small = np.array([0.0, 1.0]) if task_type is TaskType.REGRESSION else np.eye(2)
    known = compute_losses(np.array([0, 1]), small, task_type)
    if metric not in known:
        raise UnknownNameError(f"'{metric}' is not a metric of {task_type} tasks. {did_you_mean(metric, list(known))}")

    def compute(y: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        if metric in _VECTORISED and weights is None:
            return _VECTORISED[metric](y, predictions)
        return np.array([compute_losses(y, each, task_type, weights)[metric] for each in predictions])

    return compute


class _Scored(NamedTuple):
    """Targets of rows and their weights, shape (n,); None where all are equal."""

    y: np.ndarray
    weights: np.ndarray | None

    def take(self, chosen: np.ndarray) -> "_Scored":
        """The chosen ones."""
        return _Scored(self.y[chosen], None if self.weights is None else self.weights[chosen])


def _select_greedily(
    predictions: np.ndarray, rows: _Scored, loss: Loss, order: np.ndarray, size: int, n_initial: int
) -> np.ndarray:
    """Weights of the best ensemble of the models in `order`, which has the best single model first."""
    first = order[: max(1, min(n_initial, size))]
    counts = np.arange(1, len(first) + 1).reshape(-1, *[1] * (predictions.ndim - 1))
    starts = _compute_losses(loss, rows, np.cumsum(predictions[first], axis=0) / counts)
    n = int(np.argmin(starts)) + 1
    members = list(order[:n])
    best, best_loss = list(members), starts[n - 1]
    total = predictions[members].sum(axis=0)
    while len(members) < size:
        added = _compute_losses(loss, rows, predictions, order, total, len(members) + 1)
        pick = int(np.argmin(added))
        members.append(order[pick])
        total = total + predictions[order[pick]]
        if added[pick] < best_loss:
            best, best_loss = list(members), added[pick]
    return np.bincount(best, minlength=len(predictions)) / len(best)


def _compute_losses(
    loss: Loss,
    rows: _Scored,
    predictions: np.ndarray,
    order: np.ndarray | None = None,
    total: np.ndarray | float = 0.0,
    count: int = 1,
) -> np.ndarray:
    """Loss of `(total + predictions[i]) / count` for each i of `order`; infinite where the loss is not defined."""
    order = np.arange(len(predictions)) if order is None else order
    step = max(1, BLOCK // max(1, predictions[0].size))
    blocks = [order[at : at + step] for at in range(0, len(order), step)]
    known = (rows.weights,) if rows.weights is not None else ()
    values = np.concatenate([loss(rows.y, (predictions[block] + total) / count, *known) for block in blocks])
    return np.where(np.isnan(values), np.inf, values)


def _keep_complete_rows(
    predictions: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, _Scored]:
    predictions = np.asarray(predictions, dtype=float)
    if predictions.ndim not in (2, 3) or len(predictions) == 0 or predictions.shape[1] != len(y):
        raise InputError(
            f"Expected predictions of shape (models, {len(y)}) or (models, {len(y)}, classes) of at least one model, "
            f"got {predictions.shape}."
        )
    is_missing = np.isnan(predictions).any(axis=tuple(i for i in range(predictions.ndim) if i != 1))
    if is_missing.all():
        raise InputError(f"No row of {len(y)} has a prediction of all {len(predictions)} models.")
    return predictions[:, ~is_missing], _Scored(np.asarray(y), weights).take(~is_missing)


def _compute_root_mean_squared_error(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return np.sqrt(((predictions - y) ** 2).mean(axis=1))


def _compute_mean_absolute_error(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return np.abs(predictions - y).mean(axis=1)


def _compute_unexplained_variance(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    spread = float(np.mean((y - y.mean()) ** 2))
    squared = ((predictions - y) ** 2).mean(axis=1)
    return squared / spread if spread > 0 else np.full(len(predictions), np.nan)


def _compute_log_loss(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    floor = np.finfo(float).eps
    n_classes = predictions.shape[2]
    # `take` and a matrix product are several times faster than two index arrays and a sum over this short axis.
    total = predictions @ np.ones(n_classes)
    true_class = predictions.reshape(len(predictions), -1).take(np.arange(len(y)) * n_classes + y, axis=1)
    true_class /= np.where(total > 0, total, 1.0)
    return -np.log(np.clip(true_class, floor, 1.0 - floor)).mean(axis=1)


def _compute_error(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return (predictions.argmax(axis=2) != y).mean(axis=1)


def _compute_balanced_error(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    is_hit = predictions.argmax(axis=2) == y
    return 1.0 - np.mean([is_hit[:, y == label].mean(axis=1) for label in np.unique(y)], axis=0)


def _compute_one_minus_auc(y: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    is_positive = y == 1
    n_pairs = int(is_positive.sum()) * int((~is_positive).sum())
    if n_pairs == 0:
        return np.full(len(predictions), np.nan)
    positive = np.sort(predictions[:, is_positive, 1], axis=1)
    negative = np.sort(predictions[:, ~is_positive, 1], axis=1)
    # Twice the number of pairs in the right order, where a tie counts half.
    twice = [
        np.searchsorted(low, high, "left").sum() + np.searchsorted(low, high, "right").sum()
        for low, high in zip(negative, positive, strict=True)
    ]
    return 1.0 - np.array(twice) / (2.0 * n_pairs)


_VECTORISED: dict[str, Loss] = {
    "neg_root_mean_squared_error": _compute_root_mean_squared_error,
    "neg_mean_absolute_error": _compute_mean_absolute_error,
    "r2": _compute_unexplained_variance,
    "neg_log_loss": _compute_log_loss,
    "accuracy": _compute_error,
    "balanced_accuracy": _compute_balanced_error,
    "roc_auc": _compute_one_minus_auc,
}
