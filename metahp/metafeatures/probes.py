"""Meta-features of tiny LightGBM fits (probes): how the loss changes when one hyperparameter changes.

The probes are one reference fit and several contrasts, cross-validated on a small sample; each contrast changes one
thing. The difference between two of them shows which values of a hyperparameter are better on this table, which
statistics of its columns cannot show.
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

# Iterations at which probes are compared; the reference runs twice as many. A multiclass probe runs fewer, as it grows
# one tree per class in each iteration.
ITERATIONS = 40
MULTICLASS_ITERATIONS = 20
# A quarter of LightGBM's default: with a thousand rows the cost of a split depends on the bins, not on the rows.
MAX_BIN = 63
# Upper bound on the log loss of a row, so that one row with a probability near 0 does not decide a feature.
MAX_ROW_LOSS = 10.0
# Folds that are fitted at the same time: LightGBM releases Python's lock, and folds share nothing.
THREADS = 2
# This share of the constant prediction's loss is added to each loss, so that the logarithm of a perfect fit is finite.
FLOOR = 1e-3
# Cost of each leaf, and of each column that LightGBM searches for the split of a leaf.
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
# Contrasts that are also compared by `order_loss`, as an overconfident model may still be best by that.
_ORDERED = ("four_leaves", "large_trees", "fast", "random_splits")
# Stages of the reference fit by the share of the usual iterations.
_CURVE = {"quarter": 0.25, "half": 0.5, "double": 2.0}

_REFERENCE_NAMES = (
    "probe_skill",
    "probe_order_skill",
    *(f"probe_{stage}" for stage in _CURVE),
    "probe_best_iteration",
    "probe_train_gap",
    "probe_fold_spread",
)


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def name_features(contrast: str) -> tuple[str, ...]:
    """Names of the meta-features that the fit of a contrast gives."""
    extra = (f"probe_order_{contrast}",) if contrast in _ORDERED else ()
    return (f"probe_{contrast}", *extra, *(("probe_noise",) if contrast == "large_trees" else ()))


CONTRASTS: tuple[str, ...] = tuple(_CONTRASTS)
NAMES: tuple[str, ...] = (*_REFERENCE_NAMES, *(name for contrast in _CONTRASTS for name in name_features(contrast)))


def plan_steps(view: View) -> list[Step]:
    """One step per fit (of all its folds), the most informative contrasts first."""
    probes = _Probes(view)
    reference = Step(
        names=_REFERENCE_NAMES,
        expected_seconds=probes.estimate_seconds({}, 2.0),
        run=lambda _: probes.run_reference(),
    )
    return [reference, *(_plan_contrast(probes, contrast) for contrast in _CONTRASTS)]


def _plan_contrast(probes: "_Probes", contrast: str) -> Step:
    return Step(
        names=name_features(contrast),
        expected_seconds=probes.estimate_seconds(_CONTRASTS[contrast]),
        run=lambda _: probes.run_contrast(contrast),
        needs="probe_skill",
    )


class _Probes:
    """The probes of one table: the folds of its sample, binned once for all, and the losses of the probes that ran."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._iterations = MULTICLASS_ITERATIONS if view.is_multiclass else ITERATIONS
        self._row_losses: dict[str, np.ndarray] = {}

    def estimate_seconds(self, change: dict[str, Any], times: float = 1.0) -> float:
        """Expected seconds of a probe over all folds, for `times` as many iterations as usual."""
        n, d, trees_per_iteration, folds = self._view.model_shape
        options = {**_REFERENCE, **change}
        n_train = n * (1 - 1 / folds) * options.get("bagging_fraction", 1.0)
        leaves = min(options["num_leaves"], 1 + n_train / options["min_data_in_leaf"])
        columns = d * options.get("feature_fraction", 1.0)
        trees = times * folds * self._iterations * trees_per_iteration
        return trees * leaves * (SECONDS_PER_LEAF + columns * SECONDS_PER_SEARCH)

    @cached_property
    def _sample(self) -> Sample:
        return self._view.model_sample

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
        # The bins depend on the features of the test rows too, but never on their targets.
        data = lightgbm.Dataset(
            sample.X, sample.y, params=self._options, categorical_feature=np.flatnonzero(sample.is_categorical).tolist()
        ).construct()
        folds = []
        for k in range(sample.fold.max() + 1):
            train, test = np.flatnonzero(sample.fold != k), np.flatnonzero(sample.fold == k)
            folds.append((train, test, data.subset(train.tolist(), params=self._options).construct()))
        return folds

    @cached_property
    def _constant_losses(self) -> tuple[np.ndarray, float]:
        """Row losses, shape (n,), and order loss of the constant prediction."""
        sample = self._sample
        raw = [predict_constant(sample, train, len(test)) for train, test, _ in self._folds]
        return self._measure_losses(raw)

    def _measure_losses(self, raw: list[np.ndarray]) -> tuple[np.ndarray, float]:
        """Row losses, shape (n,), and mean order loss of the raw scores for the test rows of each fold."""
        losses = np.empty(len(self._sample.y))
        order_losses = []
        for (_, test, _), prediction in zip(self._folds, raw, strict=True):
            losses[test] = compute_row_losses(self._sample, test, prediction)
            order_losses.append(compute_order_loss(self._sample, test, prediction))
        return losses, float(np.mean(order_losses))

    def _train(self, change: dict[str, Any], iterations: int) -> list[lightgbm.Booster]:
        options = {**self._options, **_REFERENCE, **change}
        return _map_in_threads(
            lambda fold: lightgbm.train(options, fold[2], num_boost_round=iterations, keep_training_booster=True),
            self._folds,
        )

    def _predict(self, boosters: list[lightgbm.Booster], iterations: int) -> list[np.ndarray]:
        pairs = [(booster, self._sample.X[test]) for booster, (_, test, _) in zip(boosters, self._folds, strict=True)]
        return _map_in_threads(lambda pair: _predict_raw(*pair, iterations), pairs)

    def run_reference(self) -> Values:
        """Skill of the reference probe against the constant prediction, its learning curve, and its noise."""
        usual = self._iterations
        boosters = self._train({}, 2 * usual)
        losses, order = self._measure_losses(self._predict(boosters, usual))
        constant_losses, constant_order = self._constant_losses
        self._row_losses["reference"] = losses
        self._order = order
        loss = losses.mean()
        curve = {
            share: self._measure_losses(self._predict(boosters, int(usual * share)))[0].mean()
            for share in (0.125, *_CURVE.values())
        }
        train_loss = np.mean(
            [
                compute_row_losses(self._sample, train, _predict_raw(booster, self._sample.X[train], usual)).mean()
                for booster, (train, _, _) in zip(boosters, self._folds, strict=True)
            ]
        )
        by_fold = [math.log(add_floor(losses[test].mean(), constant_losses.mean())) for _, test, _ in self._folds]
        best_share = min((*curve.items(), (1.0, loss)), key=lambda item: item[1])[0]
        return {
            "probe_skill": self._compute_log_ratio(loss, constant_losses.mean()),
            "probe_order_skill": _compute_log_order_ratio(order, constant_order, constant_order),
            **{f"probe_{stage}": self._compute_log_ratio(curve[share], loss) for stage, share in _CURVE.items()},
            "probe_best_iteration": math.log2(best_share),
            "probe_train_gap": self._compute_log_ratio(train_loss, loss),
            "probe_fold_spread": float(np.std(by_fold)),
        }

    def run_contrast(self, name: str) -> Values:
        """Log ratio of the loss of a contrast to that of the reference probe, which must have run before."""
        boosters = self._train(_CONTRASTS[name], self._iterations)
        losses, order = self._measure_losses(self._predict(boosters, self._iterations))
        self._row_losses[name] = losses
        values = {f"probe_{name}": self._compute_log_ratio(losses.mean(), self._row_losses["reference"].mean())}
        if name in _ORDERED:
            values[f"probe_order_{name}"] = _compute_log_order_ratio(order, self._order, self._constant_losses[1])
        if name == "large_trees":
            values["probe_noise"] = self._measure_noise("four_leaves", name)
        return values

    def _measure_noise(self, first: str, second: str) -> float:
        """Standard error of the difference of two probes, divided by the constant loss; NaN if `first` did not run."""
        if first not in self._row_losses:
            return float("nan")
        difference = self._row_losses[first] - self._row_losses[second]
        return float(difference.std() / math.sqrt(difference.size) / self._constant_losses[0].mean())

    def _compute_log_ratio(self, loss: float, other: float) -> float:
        scale = float(self._constant_losses[0].mean())
        return math.log(add_floor(loss, scale) / add_floor(other, scale))


def _map_in_threads(run: Callable[[_Item], _Result], items: list[_Item]) -> list[_Result]:
    """`run` of each item, in order; the number of threads changes no value, as each item is computed in one thread."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, items))


def add_floor(loss: float, scale: float) -> float:
    """The loss plus `FLOOR` times `scale`, so that its logarithm is finite."""
    return float(loss) + FLOOR * float(scale)


def _compute_log_order_ratio(loss: float, other: float, scale: float) -> float:
    return math.log(add_floor(loss, scale) / add_floor(other, scale))


def _predict_raw(booster: lightgbm.Booster, X: np.ndarray, iterations: int) -> np.ndarray:
    # A booster may stop growing early; LightGBM then predicts with the iterations that it has.
    return np.asarray(booster.predict(X, raw_score=True, num_iteration=iterations, num_threads=1))


def predict_constant(sample: Sample, train: np.ndarray, n_test: int) -> np.ndarray:
    """Raw scores that predict the class shares or the mean of the training rows, shape (n_test,) or (n_test, c)."""
    y = sample.y[train]
    if sample.task_type is TaskType.REGRESSION:
        return np.full(n_test, y.mean())
    shares = (np.bincount(y, minlength=sample.n_classes) + 1.0) / (len(y) + sample.n_classes)
    if sample.task_type is TaskType.BINARY:
        return np.full(n_test, math.log(shares[1] / shares[0]))
    return np.tile(np.log(shares), (n_test, 1))


def compute_row_losses(sample: Sample, rows: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Log loss or squared error of each of `rows`, shape (len(rows),), for raw scores."""
    y = sample.y[rows]
    if sample.task_type is TaskType.REGRESSION:
        return (y - raw) ** 2
    if sample.task_type is TaskType.BINARY:
        return np.minimum(np.logaddexp(0.0, np.where(y == 1, -raw, raw)), MAX_ROW_LOSS)
    highest = raw.max(axis=1)
    log_sum = highest + np.log(np.exp(raw - highest[:, None]).sum(axis=1))
    return np.minimum(log_sum - raw[np.arange(len(rows)), y], MAX_ROW_LOSS)


def compute_order_loss(sample: Sample, rows: np.ndarray, raw: np.ndarray) -> float:
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
