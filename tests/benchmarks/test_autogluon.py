import lightgbm
import numpy as np
import pytest
from lightgbm.callback import CallbackEnv, EarlyStopException

from benchmarks.autogluon import DEFAULTS, ORDERS, fit_entry, hold_rows_out, stop_adaptively
from benchmarks.tables import TableSource, split_folds
from metahp import TaskType
from metahp.evaluation.losses import compute_constant_losses


def test_the_portfolios_have_all_entries_in_the_order_of_their_priority():
    order_2025, order_2023 = ORDERS["AutoGluon 2025"], ORDERS["AutoGluon 2023"]
    assert [len(order_2025), len(order_2023)] == [14, 16]
    assert list(order_2025)[:3] == ["LightGBM_r177", "LightGBM_r163", "LightGBM_r72"]
    assert list(order_2023)[:4] == ["LightGBMXT", "LightGBM", "LightGBMLarge", "LightGBM_r131"]
    assert order_2023["LightGBM"] == {}
    assert order_2023["LightGBMLarge"] == {
        "learning_rate": 0.03,
        "num_leaves": 128,
        "min_child_samples": 3,
        "colsample_bytree": 0.9,
    }


def test_lightgbm_knows_all_names_of_the_entries():
    aliases = lightgbm.basic._ConfigAliases.get(*lightgbm.basic._ConfigAliases._get_all_param_aliases())
    names = {name for entries in ORDERS.values() for values in entries.values() for name in values}
    assert names <= aliases


def test_a_fifth_of_each_class_is_held_out_and_the_only_row_of_a_class_is_not():
    y = np.array([0] * 50 + [1] * 25 + [2])
    is_held = hold_rows_out(y, is_classification=True)
    assert np.bincount(y[is_held]).tolist() == [10, 5]
    assert hold_rows_out(np.arange(40.0), is_classification=False).sum() == 8


def find_stop(values, *, is_higher_better=False):
    """The last round of a fit with these losses or scores, and the best round, with a least patience of 30."""
    stop = stop_adaptively(min_patience=30)
    for i, value in enumerate(values):
        try:
            stop(CallbackEnv(None, {}, i, 0, len(values), [("valid_0", "loss", value, is_higher_better)]))
        except EarlyStopException as stopped:
            return i, stopped.best_iteration
    return None


def test_patience_grows_with_the_best_round():
    losses = np.abs(np.arange(1000.0) - 100)
    # 0.3 × 100 + 20 rounds after the best one, which is more than the least patience.
    assert find_stop(losses) == (150, 100)
    assert find_stop(-losses, is_higher_better=True) == (150, 100)
    assert find_stop(np.arange(1000.0)) == (30, 0)


def test_the_best_round_counts_where_the_last_one_ends_a_fit():
    assert find_stop([2.0, 1.0, 3.0]) == (2, 1)


@pytest.mark.parametrize(
    ("target", "task_type", "metric"),
    [
        ("binary", TaskType.BINARY, "neg_log_loss"),
        ("multiclass", TaskType.MULTICLASS, "roc_auc_ovr"),
        ("regression", TaskType.REGRESSION, "neg_root_mean_squared_error"),
    ],
)
def test_an_entry_is_better_than_a_constant(target, task_type, metric, raw_frame, tmp_path, monkeypatch):
    monkeypatch.setitem(DEFAULTS, "n_estimators", 60)
    raw_frame[["signal", "gaps", "colour", target]].to_csv(tmp_path / "t.csv", index=False)
    table = TableSource(path=str(tmp_path / "t.csv"), target=target, task_type=task_type, name="t").load()
    part = next(split_folds(table))
    constant = compute_constant_losses(table.y, task_type, table.task.n_classes)[metric]
    assert part.loss(fit_entry(ORDERS["AutoGluon 2025"]["LightGBM_r39"], part, metric), metric) < constant
