"""LightGBM's part of AutoGluon's published portfolios, in the order in which AutoGluon trains it.

`autogluon.csv` has the values of `autogluon.tabular` 1.6.3, `configs/zeroshot/`, under the names of LightGBM's
scikit-learn estimators: the 14 entries `GBM` of `zeroshot_portfolio_cpu_2025_12_18.py` and the 16 of
`zeroshot_portfolio_2023.py`, by descending priority. An empty cell is a value that the entry does not give.
"""

import csv
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from lightgbm.callback import CallbackEnv, EarlyStopException
from sklearn.model_selection import KFold, StratifiedKFold

from benchmarks.methods import predict_rows
from benchmarks.tables import TrainTest
from metahp.core.configuration import Value
from metahp.core.task import TaskType

# What AutoGluon applies an entry over.
DEFAULTS: Mapping[str, Value] = {"n_estimators": 10_000, "learning_rate": 0.05}
# Up to 2,500 rows AutoGluon stops on one row of so many.
N_PARTS = 5
# AutoGluon waits for a better round at least so many rounds on up to 10,000 rows, and longer after a late best round.
MIN_PATIENCE, PATIENCE_RATE, PATIENCE_START = 300, 0.3, 20
_OBJECTIVES = {TaskType.BINARY: "binary", TaskType.MULTICLASS: "multiclass", TaskType.REGRESSION: "regression"}
# LightGBM's name of a metric; it has none for the AUC of several classes.
_STOPPED_ON = {
    ("neg_log_loss", TaskType.BINARY): "binary_logloss",
    ("neg_log_loss", TaskType.MULTICLASS): "multi_logloss",
    ("roc_auc", TaskType.BINARY): "auc",
    ("roc_auc_ovr", TaskType.MULTICLASS): "multi_logloss",
    ("neg_root_mean_squared_error", TaskType.REGRESSION): "rmse",
}


def _read_orders() -> dict[str, dict[str, dict[str, Value]]]:
    orders: dict[str, dict[str, dict[str, Value]]] = {}
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            portfolio, entry = row.pop("portfolio"), row.pop("entry")
            values = {name: json.loads(cell) for name, cell in row.items() if cell}
            orders.setdefault(portfolio, {})[entry] = values
    return orders


# Entries by name, in order, of each portfolio.
ORDERS: Mapping[str, Mapping[str, Mapping[str, Value]]] = _read_orders()


def fit_entry(values: Mapping[str, Value], part: TrainTest, metric: str) -> np.ndarray:
    """Predictions of LightGBM with the values of an entry, fitted on all training rows.

    The number of trees is the best one on a fifth of the training rows, of trees for the others; AutoGluon's
    `refit_full` does the same.
    """
    task, (X, X_test) = part.train.task, part.frames
    arguments: dict[str, Any] = {**DEFAULTS, **values, "n_jobs": 1, "verbosity": -1, "force_row_wise": True}
    n_most = arguments.pop("n_estimators")
    parameters = {**arguments, "seed": 0, "objective": _OBJECTIVES[task.type], "metric": _STOPPED_ON[metric, task.type]}
    if task.type is TaskType.MULTICLASS:
        parameters["num_class"] = task.n_classes
    y = part.train.y
    is_held = hold_rows_out(y, is_classification=task.type.is_classification)
    data = lightgbm.Dataset(X[~is_held], y[~is_held])
    held = data.create_valid(X[is_held], y[is_held])
    stopped = lightgbm.train(parameters, data, n_most, valid_sets=[held], callbacks=[stop_adaptively(MIN_PATIENCE)])
    make = lightgbm.LGBMClassifier if task.type.is_classification else lightgbm.LGBMRegressor
    model = make(**arguments, n_estimators=stopped.best_iteration, random_state=0)
    return predict_rows(model.fit(X, y), part, X_test)


def hold_rows_out(y: np.ndarray, *, is_classification: bool) -> np.ndarray:
    """Which rows to stop on, shape (n,): a fifth of each class, and none of a class that would have no other row."""
    splitter = (StratifiedKFold if is_classification else KFold)(N_PARTS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        _, held = next(splitter.split(y, y))
    is_held = np.zeros(len(y), dtype=bool)
    is_held[held] = True
    return is_held & np.isin(y, y[~is_held]) if is_classification else is_held


def stop_adaptively(min_patience: int) -> Callable[[CallbackEnv], None]:
    """A callback of `lightgbm.train` that stops as AutoGluon's `AdaptiveES` does, and keeps the best round."""
    best_round, best_value = 0, float("nan")

    def stop(env: CallbackEnv) -> None:
        nonlocal best_round, best_value
        results = env.evaluation_result_list or []
        _, _, value, is_higher_better, *_ = results[0]
        if not (value <= best_value if is_higher_better else value >= best_value):
            best_round, best_value = env.iteration, value
        patience = max(min_patience, round(PATIENCE_RATE * best_round + PATIENCE_START))
        if env.iteration - best_round >= patience or env.iteration == env.end_iteration - 1:
            raise EarlyStopException(best_round, results)

    return stop
