"""Meta-features of cheap scikit-learn models: how neighbours, single splits and linear models do against the probes."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metahp.core.task import TaskType
from metahp.metafeatures.probes import constant_raw, floored, row_losses
from metahp.metafeatures.statistical import standardised
from metahp.metafeatures.view import Sample, Step, Values, View

MAX_ROWS = 1_000
# Frequent categories of a column that become columns of zeros and ones, and the columns altogether.
MAX_LEVELS = 10
MAX_ENCODED = 150
ITERATIONS = 50
# Weight of the class shares in every probability, in rows: a leaf or neighbourhood of one class is not certain of it.
PRIOR_ROWS = 1.0
# Probabilities of naive Bayes are far too sure of themselves; mixed with this share of the class shares.
SMOOTHING = 0.02
TARGET_BINS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One split of standardised and one-hot-encoded features: `X` (n, e) without gaps, `y` codes or numbers."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    n_classes: int
    seed: int


def _neighbours(count: int) -> Callable[[Fold], np.ndarray]:
    def predict(fold: Fold) -> np.ndarray:
        distance = (fold.X_train**2).sum(axis=1) - 2.0 * fold.X_test @ fold.X_train.T
        nearest = np.argpartition(distance, min(count, distance.shape[1]) - 1, axis=1)[:, :count]
        return _pooled(fold.y_train[nearest], fold)

    return predict


def _pooled(targets: np.ndarray, fold: Fold) -> np.ndarray:
    """Prediction from the targets of neighbours, shape (n_test, k)."""
    if not fold.n_classes:
        return targets.mean(axis=1)
    counts = (targets[:, :, None] == np.arange(fold.n_classes)).sum(axis=1)
    return _shrunk(counts, fold)


def _shrunk(counts: np.ndarray, fold: Fold) -> np.ndarray:
    """Probabilities from class counts, shape (n_test, n_classes), with the weight of `PRIOR_ROWS` on class shares."""
    return (counts + PRIOR_ROWS * _shares(fold)) / (counts.sum(axis=1, keepdims=True) + PRIOR_ROWS)


def _shares(fold: Fold) -> np.ndarray:
    return (np.bincount(fold.y_train, minlength=fold.n_classes) + 1.0) / (len(fold.y_train) + fold.n_classes)


def _tree(depth: int, min_leaf: int) -> Callable[[Fold], np.ndarray]:
    def predict(fold: Fold) -> np.ndarray:
        kind = DecisionTreeClassifier if fold.n_classes else DecisionTreeRegressor
        tree = kind(max_depth=depth, min_samples_leaf=min_leaf, random_state=fold.seed)
        tree.fit(fold.X_train, fold.y_train)
        if not fold.n_classes:
            return tree.predict(fold.X_test)
        leaf_of, n_leaves = tree.apply(fold.X_train), tree.tree_.node_count
        counts = np.bincount(leaf_of * fold.n_classes + fold.y_train, minlength=n_leaves * fold.n_classes)
        return _shrunk(counts.reshape(n_leaves, fold.n_classes)[tree.apply(fold.X_test)], fold)

    return predict


def _naive_bayes(fold: Fold) -> np.ndarray:
    """Gaussian naive Bayes; a numeric target is cut into bins, whose means are weighted by their probabilities."""
    y = fold.y_train
    if (fold.X_train == fold.X_train[0]).all():  # no variance to fit
        return np.tile(_shares(fold), (len(fold.X_test), 1)) if fold.n_classes else np.full(len(fold.X_test), y.mean())
    if not fold.n_classes:
        edges = np.unique(np.quantile(y, np.linspace(0, 1, TARGET_BINS + 1)[1:-1]))
        y = np.searchsorted(edges, y)
    model = GaussianNB(var_smoothing=1e-3).fit(fold.X_train, y)
    probabilities = model.predict_proba(fold.X_test)
    if not fold.n_classes:
        return probabilities @ np.array([fold.y_train[y == c].mean() for c in model.classes_])
    everywhere = np.zeros((len(fold.X_test), fold.n_classes))
    everywhere[:, model.classes_] = probabilities
    return (1.0 - SMOOTHING) * everywhere + SMOOTHING * _shares(fold)


def _linear(fold: Fold) -> np.ndarray:
    if not fold.n_classes:
        return Ridge(alpha=1.0).fit(fold.X_train, fold.y_train).predict(fold.X_test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=1.0, max_iter=ITERATIONS, tol=1e-3).fit(fold.X_train, fold.y_train)
    everywhere = np.zeros((len(fold.X_test), fold.n_classes))
    everywhere[:, model.classes_] = model.predict_proba(fold.X_test)
    return everywhere


_LANDMARKS: dict[str, Callable[[Fold], np.ndarray]] = {
    "linear": _linear,
    "nearest": _neighbours(1),
    "neighbours": _neighbours(10),
    "stump": _tree(1, 1),
    "shallow_tree": _tree(5, 5),
    "naive_bayes": _naive_bayes,
}
SECONDS_PER_FIT = 2e-3
SECONDS_PER_CELL = 6e-8
# Of a training row and a test row, whose distance two of the landmarks take.
SECONDS_PER_PAIR = 1e-8

# Those that are also set against the reference probe; how the others compare follows from these.
_COMPARED = ("linear", "neighbours", "shallow_tree")


def _names(landmark: str) -> tuple[str, ...]:
    return (f"landmark_{landmark}", *((f"landmark_{landmark}_to_probe",) if landmark in _COMPARED else ()))


NAMES: tuple[str, ...] = tuple(name for landmark in _LANDMARKS for name in _names(landmark))


def steps(view: View) -> list[Step]:
    """One step per landmark."""
    course = _LandmarkRun(view)
    n, d, classes, folds = view.model_shape
    n = min(n, MAX_ROWS)
    fits = folds * (SECONDS_PER_FIT + n * d * SECONDS_PER_CELL)
    distances = n * n * (1 - 1 / folds) * SECONDS_PER_PAIR
    expected = {"linear": classes * fits, "nearest": distances, "neighbours": distances}

    def step(landmark: str) -> Step:
        return Step(
            names=_names(landmark),
            expected_seconds=expected.get(landmark, fits),
            run=lambda values: course.run(landmark, values),
        )

    return [step(landmark) for landmark in _LANDMARKS]


class _LandmarkRun:
    """The folds that all landmarks run on: the first rows of the probes' sample, encoded once."""

    def __init__(self, view: View) -> None:
        self._view = view

    @cached_property
    def _sample(self) -> Sample:
        whole = self._view.models
        if len(whole.y) <= MAX_ROWS:
            return whole
        # Every k-th row in target order keeps the share of each class.
        place = np.round(np.linspace(0, len(whole.y) - 1, MAX_ROWS)).astype(int)
        kept = np.sort(np.argsort(whole.y, kind="stable")[place])
        y = whole.y[kept]
        fold = np.empty(MAX_ROWS, dtype=np.int64)
        fold[np.argsort(y, kind="stable")] = np.arange(MAX_ROWS) % (whole.fold.max() + 1)
        return Sample(
            X=whole.X[kept],
            y=y,
            is_categorical=whole.is_categorical,
            task_type=whole.task_type,
            n_classes=whole.n_classes,
            fold=fold,
        )

    @cached_property
    def _encoded(self) -> np.ndarray:
        return encoded(self._sample)

    def run(self, landmark: str, values: Values) -> Values:
        """Log ratio of the loss to that of the constant prediction, and how that compares with the reference probe."""
        sample, losses, prior = self._sample, [], []
        for k in range(sample.fold.max() + 1):
            train, test = np.flatnonzero(sample.fold != k), np.flatnonzero(sample.fold == k)
            fold = Fold(
                X_train=self._encoded[train],
                y_train=sample.y[train],
                X_test=self._encoded[test],
                n_classes=sample.n_classes,
                seed=self._view.seed,
            )
            losses.append(row_losses(sample, test, _as_raw(_LANDMARKS[landmark](fold), sample.task_type)))
            prior.append(row_losses(sample, test, constant_raw(sample, train, len(test))))
        constant = float(np.concatenate(prior).mean())
        loss = float(np.concatenate(losses).mean())
        skill = math.log(floored(loss, constant) / floored(constant, constant))
        return dict(zip(_names(landmark), (skill, skill - values["probe_skill"]), strict=False))


def encoded(sample: Sample) -> np.ndarray:
    """Standardised numbers (missing as the mean) and 0/1 columns of the frequent categories, shape (n, e)."""
    columns = [standardised(sample.X[:, ~sample.is_categorical])]
    room = MAX_ENCODED - columns[0].shape[1]
    for column in sample.X[:, sample.is_categorical].T:
        levels, counts = np.unique(column[~np.isnan(column)], return_counts=True)
        frequent = levels[np.argsort(-counts, kind="stable")][: min(MAX_LEVELS, room)]
        room -= frequent.size
        columns.append((column[:, None] == frequent).astype(float))
    return np.hstack(columns)


def _as_raw(prediction: np.ndarray, task_type: TaskType) -> np.ndarray:
    if task_type is TaskType.REGRESSION:
        return prediction
    logarithm = np.log(np.maximum(prediction, np.finfo(float).tiny))
    return logarithm[:, 1] - logarithm[:, 0] if task_type is TaskType.BINARY else logarithm
