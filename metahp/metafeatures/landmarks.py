"""Meta-features of cheap scikit-learn models (landmarks): their loss against the constant prediction and the probes."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metahp.core.task import TaskType
from metahp.metafeatures.probes import add_floor, compute_row_losses, predict_constant
from metahp.metafeatures.statistical import standardise
from metahp.metafeatures.view import Sample, Step, Values, View

MAX_ROWS = 1_000
# Most categories of a column that are one-hot-encoded (the frequent ones), and most encoded columns in total.
MAX_LEVELS = 10
MAX_ENCODED = 150
ITERATIONS = 50
# Weight of the class shares in each probability, in rows: a leaf or neighbourhood of one class must not be certain.
PRIOR_ROWS = 1.0
# Share of the class shares in the probabilities of naive Bayes, which are overconfident.
SMOOTHING = 0.02
TARGET_BINS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFold:
    """One fold with standardised and one-hot-encoded features: `X` (n, e) without missing values, `y` codes or numbers.

    `n_classes` is 0 for regression.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    n_classes: int
    seed: int


def _make_neighbours(count: int) -> Callable[[EncodedFold], np.ndarray]:
    def predict(fold: EncodedFold) -> np.ndarray:
        distance = (fold.X_train**2).sum(axis=1) - 2.0 * fold.X_test @ fold.X_train.T
        nearest = np.argpartition(distance, min(count, distance.shape[1]) - 1, axis=1)[:, :count]
        return _pool_targets(fold.y_train[nearest], fold)

    return predict


def _pool_targets(targets: np.ndarray, fold: EncodedFold) -> np.ndarray:
    """Prediction from the targets of k neighbours, shape (n_test, k)."""
    if not fold.n_classes:
        return targets.mean(axis=1)
    counts = (targets[:, :, None] == np.arange(fold.n_classes)).sum(axis=1)
    return _smooth_counts(counts, fold)


def _smooth_counts(counts: np.ndarray, fold: EncodedFold) -> np.ndarray:
    """Probabilities from class counts, shape (n_test, n_classes); the class shares count as `PRIOR_ROWS` more rows."""
    return (counts + PRIOR_ROWS * _compute_class_shares(fold)) / (counts.sum(axis=1, keepdims=True) + PRIOR_ROWS)


def _compute_class_shares(fold: EncodedFold) -> np.ndarray:
    return (np.bincount(fold.y_train, minlength=fold.n_classes) + 1.0) / (len(fold.y_train) + fold.n_classes)


def _make_tree(depth: int, min_leaf: int) -> Callable[[EncodedFold], np.ndarray]:
    def predict(fold: EncodedFold) -> np.ndarray:
        kind = DecisionTreeClassifier if fold.n_classes else DecisionTreeRegressor
        tree = kind(max_depth=depth, min_samples_leaf=min_leaf, random_state=fold.seed)
        tree.fit(fold.X_train, fold.y_train)
        if not fold.n_classes:
            return tree.predict(fold.X_test)
        nodes, n_nodes = tree.apply(fold.X_train), tree.tree_.node_count
        counts = np.bincount(nodes * fold.n_classes + fold.y_train, minlength=n_nodes * fold.n_classes)
        return _smooth_counts(counts.reshape(n_nodes, fold.n_classes)[tree.apply(fold.X_test)], fold)

    return predict


def _predict_naive_bayes(fold: EncodedFold) -> np.ndarray:
    """Gaussian naive Bayes; for regression, the mean of target bins weighted by their probabilities."""
    y = fold.y_train
    if (fold.X_train == fold.X_train[0]).all():  # no variance to fit
        n_test = len(fold.X_test)
        return np.tile(_compute_class_shares(fold), (n_test, 1)) if fold.n_classes else np.full(n_test, y.mean())
    if not fold.n_classes:
        edges = np.unique(np.quantile(y, np.linspace(0, 1, TARGET_BINS + 1)[1:-1]))
        y = np.searchsorted(edges, y)
    model = GaussianNB(var_smoothing=1e-3).fit(fold.X_train, y)
    probabilities = model.predict_proba(fold.X_test)
    if not fold.n_classes:
        return probabilities @ np.array([fold.y_train[y == c].mean() for c in model.classes_])
    full = np.zeros((len(fold.X_test), fold.n_classes))
    full[:, model.classes_] = probabilities
    return (1.0 - SMOOTHING) * full + SMOOTHING * _compute_class_shares(fold)


def _predict_linear(fold: EncodedFold) -> np.ndarray:
    if not fold.n_classes:
        return Ridge(alpha=1.0).fit(fold.X_train, fold.y_train).predict(fold.X_test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=1.0, max_iter=ITERATIONS, tol=1e-3).fit(fold.X_train, fold.y_train)
    full = np.zeros((len(fold.X_test), fold.n_classes))
    full[:, model.classes_] = model.predict_proba(fold.X_test)
    return full


# Each gives probabilities, shape (n_test, n_classes), or numbers, shape (n_test,).
_LANDMARKS: dict[str, Callable[[EncodedFold], np.ndarray]] = {
    "linear": _predict_linear,
    "nearest": _make_neighbours(1),
    "neighbours": _make_neighbours(10),
    "stump": _make_tree(1, 1),
    "shallow_tree": _make_tree(5, 5),
    "naive_bayes": _predict_naive_bayes,
}
SECONDS_PER_FIT = 2e-3
SECONDS_PER_CELL = 6e-8
# Cost of the distance between a training row and a test row, for the two landmarks of neighbours.
SECONDS_PER_PAIR = 1e-8

# Landmarks that are also compared with the reference probe; the comparison of the others follows from these.
_COMPARED = ("linear", "neighbours", "shallow_tree")


def _name_features(landmark: str) -> tuple[str, ...]:
    return (f"landmark_{landmark}", *((f"landmark_{landmark}_to_probe",) if landmark in _COMPARED else ()))


NAMES: tuple[str, ...] = tuple(name for landmark in _LANDMARKS for name in _name_features(landmark))


def plan_steps(view: View) -> list[Step]:
    """One step per landmark."""
    landmarks = _Landmarks(view)
    n, d, n_targets, folds = view.model_shape
    n = min(n, MAX_ROWS)
    fits = folds * (SECONDS_PER_FIT + n * d * SECONDS_PER_CELL)
    distances = n * n * (1 - 1 / folds) * SECONDS_PER_PAIR
    expected = {"linear": n_targets * fits, "nearest": distances, "neighbours": distances}

    def plan_step(landmark: str) -> Step:
        return Step(
            names=_name_features(landmark),
            expected_seconds=expected.get(landmark, fits),
            run=lambda values: landmarks.run(landmark, values),
        )

    return [plan_step(landmark) for landmark in _LANDMARKS]


class _Landmarks:
    """The landmarks of one table, on at most `MAX_ROWS` rows of the probes' sample, encoded once for all."""

    def __init__(self, view: View) -> None:
        self._view = view

    @cached_property
    def _sample(self) -> Sample:
        probe_sample = self._view.model_sample
        if len(probe_sample.y) <= MAX_ROWS:
            return probe_sample
        # Every k-th row in target order keeps the share of each class.
        positions = np.round(np.linspace(0, len(probe_sample.y) - 1, MAX_ROWS)).astype(int)
        kept = np.sort(np.argsort(probe_sample.y, kind="stable")[positions])
        y = probe_sample.y[kept]
        fold = np.empty(MAX_ROWS, dtype=np.int64)
        fold[np.argsort(y, kind="stable")] = np.arange(MAX_ROWS) % (probe_sample.fold.max() + 1)
        return replace(probe_sample, X=probe_sample.X[kept], y=y, fold=fold)

    @cached_property
    def _encoded(self) -> np.ndarray:
        return encode(self._sample)

    def run(self, landmark: str, values: Values) -> Values:
        """Log ratio of the loss to the constant prediction's loss; if compared, also this ratio minus the probe's."""
        sample, losses, constant_losses = self._sample, [], []
        for k in range(sample.fold.max() + 1):
            train, test = np.flatnonzero(sample.fold != k), np.flatnonzero(sample.fold == k)
            fold = EncodedFold(
                X_train=self._encoded[train],
                y_train=sample.y[train],
                X_test=self._encoded[test],
                n_classes=sample.n_classes,
                seed=self._view.seed,
            )
            losses.append(compute_row_losses(sample, test, _to_raw(_LANDMARKS[landmark](fold), sample.task_type)))
            constant_losses.append(compute_row_losses(sample, test, predict_constant(sample, train, len(test))))
        constant_loss = float(np.concatenate(constant_losses).mean())
        loss = float(np.concatenate(losses).mean())
        skill = math.log(add_floor(loss, constant_loss) / add_floor(constant_loss, constant_loss))
        return dict(zip(_name_features(landmark), (skill, skill - values["probe_skill"]), strict=False))


def encode(sample: Sample) -> np.ndarray:
    """Standardised numbers (missing as the mean) and one-hot columns of the frequent categories, shape (n, e)."""
    columns = [standardise(sample.X[:, ~sample.is_categorical])]
    n_left = MAX_ENCODED - columns[0].shape[1]
    for column in sample.X[:, sample.is_categorical].T:
        levels, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        frequent = levels[np.argsort(-counts, kind="stable")][: min(MAX_LEVELS, n_left)]
        n_left -= frequent.size
        columns.append((column[:, None] == frequent).astype(float))
    return np.hstack(columns)


def _to_raw(prediction: np.ndarray, task_type: TaskType) -> np.ndarray:
    """Raw scores as `compute_row_losses` takes them, from probabilities or numbers."""
    if task_type is TaskType.REGRESSION:
        return prediction
    logarithms = np.log(np.maximum(prediction, np.finfo(float).tiny))
    return logarithms[:, 1] - logarithms[:, 0] if task_type is TaskType.BINARY else logarithms
