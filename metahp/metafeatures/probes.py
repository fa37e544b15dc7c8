"""Meta-features of tiny LightGBM fits: how the loss answers when one hyperparameter moves.

One reference fit and contrasts that each change one thing, cross-validated on a small sample. A difference between two
of them says which way the search space slopes on this table, which no description of its columns does.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import lightgbm
import numpy as np
from scipy.stats import rankdata

from metahp.core.task import TaskType
from metahp.metafeatures.view import Sample, Step, Values, View

# Iterations at which probes are compared; the reference goes on to twice as many. Several classes grow as many trees
# per iteration.
ITERATIONS = 40
MULTICLASS_ITERATIONS = 20
# A quarter of LightGBM's default: with a thousand rows the bins, not the rows, are what a split costs.
MAX_BIN = 63
# A row whose class was all but ruled out; more would let one row decide a feature.
MAX_ROW_LOSS = 10.0
# Folds that are fitted side by side: LightGBM lets go of Python's lock, and a fold shares nothing with another.
THREADS = 2
# Losses are compared after adding this share of the constant prediction's loss: a perfect fit has a finite logarithm.
FLOOR = 1e-3
# Of every leaf, and of every column that is searched for its split.
SECONDS_PER_LEAF = 6e-6
SECONDS_PER_SEARCH = 3e-7

_REFERENCE: dict[str, Any] = {"learning_rate": 0.1, "num_leaves": 31, "min_data_in_leaf": 20}
_CONTRASTS: dict[str, dict[str, Any]] = {
    "four_leaves": {"num_leaves": 4},
    "large_trees": {"num_leaves": 64, "min_data_in_leaf": 5},
    "fast": {"learning_rate": 0.3},
    "slow": {"learning_rate": 0.03},
    "ten_leaves": {"num_leaves": 10},
    "large_leaves": {"min_data_in_leaf": 60},
    "ridge": {"lambda_l2": 30.0},
    "few_columns": {"feature_fraction": 0.3},
    "few_rows": {"bagging_fraction": 0.5, "bagging_freq": 1},
    "random_splits": {"extra_trees": True},
}
# Contrasts that are also read by how well they order or hit, since an overconfident model may still do that best.
_ORDERED = ("four_leaves", "large_trees", "fast", "random_splits")
_CURVE = {"quarter": 0.25, "half": 0.5, "double": 2.0}

_REFERENCE_NAMES = (
    "probe_skill",
    "probe_order_skill",
    *(f"probe_{stage}" for stage in _CURVE),
    "probe_best_iteration",
    "probe_train_gap",
    "probe_fold_spread",
)


_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def names_of(contrast: str) -> tuple[str, ...]:
    """The meta-features that the fit of a contrast gives."""
    extra = (f"probe_order_{contrast}",) if contrast in _ORDERED else ()
    return (f"probe_{contrast}", *extra, *(("probe_noise",) if contrast == "large_trees" else ()))


CONTRASTS: tuple[str, ...] = tuple(_CONTRASTS)
NAMES: tuple[str, ...] = (*_REFERENCE_NAMES, *(name for contrast in _CONTRASTS for name in names_of(contrast)))


def steps(view: View) -> list[Step]:
    """One step per fit (of all its folds), the most telling contrasts first."""
    bench = Bench(view)
    return [
        Step(names=_REFERENCE_NAMES, expected_seconds=bench.expected_seconds({}, 2.0), run=lambda _: bench.reference()),
        *(_contrast_step(bench, contrast) for contrast in _CONTRASTS),
    ]


def _contrast_step(bench: "Bench", contrast: str) -> Step:
    seconds = bench.expected_seconds(_CONTRASTS[contrast])
    return Step(
        names=names_of(contrast), expected_seconds=seconds, run=lambda _: bench.contrast(contrast), needs="probe_skill"
    )


class Bench:
    """The folds of a sample, binned once for all probes, and the losses of the probes run on them."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._iterations = MULTICLASS_ITERATIONS if view.is_multiclass else ITERATIONS
        self._row_losses: dict[str, np.ndarray] = {}

    def expected_seconds(self, change: dict[str, Any], times: float = 1.0) -> float:
        """Expected seconds of a probe over all folds, for `times` as many iterations as usual."""
        n, d, classes, folds = self._view.model_shape
        options = {**_REFERENCE, **change}
        n_train = n * (1 - 1 / folds) * options.get("bagging_fraction", 1.0)
        leaves = min(options["num_leaves"], 1 + n_train / options["min_data_in_leaf"])
        columns = d * options.get("feature_fraction", 1.0)
        trees = times * folds * self._iterations * classes
        return trees * leaves * (SECONDS_PER_LEAF + columns * SECONDS_PER_SEARCH)

    @cached_property
    def _sample(self) -> Sample:
        return self._view.models

    @cached_property
    def _options(self) -> dict[str, Any]:
        objective = {TaskType.BINARY: "binary", TaskType.MULTICLASS: "multiclass", TaskType.REGRESSION: "regression"}
        options: dict[str, Any] = {
            "objective": objective[self._sample.task_type],
            "max_bin": MAX_BIN,
            "feature_pre_filter": False,
            "num_threads": 1,
            "force_row_wise": True,
            "deterministic": True,
            "seed": self._view.seed,
            "verbosity": -1,
        }
        if self._sample.task_type is TaskType.MULTICLASS:
            options["num_class"] = self._sample.n_classes
        return options

    @cached_property
    def _folds(self) -> list[tuple[np.ndarray, np.ndarray, lightgbm.Dataset]]:
        sample = self._sample
        # The bins see the test rows' features, never their targets.
        data = lightgbm.Dataset(
            sample.X, sample.y, params=self._options, categorical_feature=np.flatnonzero(sample.is_categorical).tolist()
        ).construct()
        folds = []
        for k in range(sample.fold.max() + 1):
            train, test = np.flatnonzero(sample.fold != k), np.flatnonzero(sample.fold == k)
            folds.append((train, test, data.subset(train.tolist(), params=self._options).construct()))
        return folds

    @cached_property
    def _prior(self) -> tuple[np.ndarray, float]:
        """Row losses, shape (n,), and order loss of the constant prediction."""
        sample = self._sample
        raw = [constant_raw(sample, train, len(test)) for train, test, _ in self._folds]
        return self._losses(raw)

    def _losses(self, raw: list[np.ndarray]) -> tuple[np.ndarray, float]:
        rows = np.empty(len(self._sample.y))
        orders = []
        for (_, test, _), prediction in zip(self._folds, raw, strict=True):
            rows[test] = row_losses(self._sample, test, prediction)
            orders.append(order_loss(self._sample, test, prediction))
        return rows, float(np.mean(orders))

    def _train(self, change: dict[str, Any], iterations: int) -> list[lightgbm.Booster]:
        options = {**self._options, **_REFERENCE, **change}
        return _side_by_side(
            lambda fold: lightgbm.train(options, fold[2], num_boost_round=iterations, keep_training_booster=True),
            self._folds,
        )

    def _predict(self, boosters: list[lightgbm.Booster], iterations: int) -> list[np.ndarray]:
        parts = [(booster, self._sample.X[test]) for booster, (_, test, _) in zip(boosters, self._folds, strict=True)]
        return _side_by_side(lambda part: _raw(*part, iterations), parts)

    def reference(self) -> Values:
        """Skill of the reference probe against the constant prediction, its course, and its noise."""
        usual = self._iterations
        boosters = self._train({}, 2 * usual)
        losses, order = self._losses(self._predict(boosters, usual))
        prior, prior_order = self._prior
        self._row_losses["reference"] = losses
        self._order = order
        loss = losses.mean()
        course = {
            share: self._losses(self._predict(boosters, int(usual * share)))[0].mean()
            for share in (0.125, *_CURVE.values())
        }
        train_loss = np.mean(
            [
                row_losses(self._sample, train, _raw(booster, self._sample.X[train], usual)).mean()
                for booster, (train, _, _) in zip(boosters, self._folds, strict=True)
            ]
        )
        by_fold = [math.log(floored(losses[test].mean(), prior.mean())) for _, test, _ in self._folds]
        best = min((*course.items(), (1.0, loss)), key=lambda item: item[1])[0]
        return {
            "probe_skill": self._log_ratio(loss, prior.mean()),
            "probe_order_skill": _log_order_ratio(order, prior_order, prior_order),
            **{f"probe_{stage}": self._log_ratio(course[share], loss) for stage, share in _CURVE.items()},
            "probe_best_iteration": math.log2(best),
            "probe_train_gap": self._log_ratio(train_loss, loss),
            "probe_fold_spread": float(np.std(by_fold)),
        }

    def contrast(self, name: str) -> Values:
        """Log ratio of the loss of a contrast to that of the reference probe, which must have been run."""
        losses, order = self._losses(self._predict(self._train(_CONTRASTS[name], self._iterations), self._iterations))
        self._row_losses[name] = losses
        values = {f"probe_{name}": self._log_ratio(losses.mean(), self._row_losses["reference"].mean())}
        if name in _ORDERED:
            values[f"probe_order_{name}"] = _log_order_ratio(order, self._order, self._prior[1])
        if name == "large_trees":
            values["probe_noise"] = self._noise("four_leaves", name)
        return values

    def _noise(self, first: str, second: str) -> float:
        """Standard error of the difference of two probes in units of the constant prediction's loss; NaN if unknown."""
        if first not in self._row_losses:
            return float("nan")
        difference = self._row_losses[first] - self._row_losses[second]
        return float(difference.std() / math.sqrt(difference.size) / self._prior[0].mean())

    def _log_ratio(self, loss: float, other: float) -> float:
        scale = float(self._prior[0].mean())
        return math.log(floored(loss, scale) / floored(other, scale))


def _side_by_side(run: Callable[[_Part], _Result], parts: list[_Part]) -> list[_Result]:
    """`run` of each part, in their order; the number of threads changes no value, as each part has one to itself."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, parts))


def floored(loss: float, scale: float) -> float:
    """A loss kept away from zero by a share of `scale`."""
    return float(loss) + FLOOR * float(scale)


def _log_order_ratio(loss: float, other: float, prior: float) -> float:
    return math.log(floored(loss, prior) / floored(other, prior))


def _raw(booster: lightgbm.Booster, X: np.ndarray, iterations: int) -> np.ndarray:
    # A booster may stop growing early; it then has fewer iterations than asked for, and gives what it has.
    return np.asarray(booster.predict(X, raw_score=True, num_iteration=iterations, num_threads=1))


def constant_raw(sample: Sample, train: np.ndarray, n_test: int) -> np.ndarray:
    """Raw scores of predicting the class shares or the mean of the training rows, shape (n_test,) or (n_test, c)."""
    y = sample.y[train]
    if sample.task_type is TaskType.REGRESSION:
        return np.full(n_test, y.mean())
    shares = (np.bincount(y, minlength=sample.n_classes) + 1.0) / (len(y) + sample.n_classes)
    if sample.task_type is TaskType.BINARY:
        return np.full(n_test, math.log(shares[1] / shares[0]))
    return np.tile(np.log(shares), (n_test, 1))


def row_losses(sample: Sample, rows: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Log loss or squared error of each of `rows`, shape (len(rows),), from raw scores."""
    y = sample.y[rows]
    if sample.task_type is TaskType.REGRESSION:
        return (y - raw) ** 2
    if sample.task_type is TaskType.BINARY:
        return np.minimum(np.logaddexp(0.0, np.where(y == 1, -raw, raw)), MAX_ROW_LOSS)
    top = raw.max(axis=1)
    total = top + np.log(np.exp(raw - top[:, None]).sum(axis=1))
    return np.minimum(total - raw[np.arange(len(rows)), y], MAX_ROW_LOSS)


def order_loss(sample: Sample, rows: np.ndarray, raw: np.ndarray) -> float:
    """1 − ROC AUC (binary), error rate (multiclass) or mean absolute error (regression) on `rows`."""
    y = sample.y[rows]
    if sample.task_type is TaskType.REGRESSION:
        return float(np.abs(y - raw).mean())
    if sample.task_type is TaskType.MULTICLASS:
        return float((raw.argmax(axis=1) != y).mean())
    n_positive = int(y.sum())
    n_pairs = n_positive * (len(y) - n_positive)
    if n_pairs == 0:
        return 0.5
    return 1.0 - float((rankdata(raw)[y == 1].sum() - n_positive * (n_positive + 1) / 2) / n_pairs)
