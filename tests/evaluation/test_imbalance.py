"""A rare class is named with what its rows can tell, and no fold is without it where that can be."""

import numpy as np
import pandas as pd
import pytest

from metahp.core.errors import InputError
from metahp.core.metric import METRICS
from metahp.core.task import TaskType
from metahp.core.trial import Protocol
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.evaluation.imbalance import describe_imbalance
from metahp.evaluation.protocol import check_metric, make_folds, sample_rows


def make_table(n: int, n_rare: int) -> Table:
    rng = np.random.default_rng(0)
    y = np.where(rng.permutation(n) < n_rare, "yes", "no")
    return build_table(pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), "target": y}), target="target")


def test_one_line_says_what_a_rare_class_can_tell() -> None:
    table, protocol = make_table(20_000, 40), Protocol(folds=5, max_rows=20_000)
    (line,) = describe_imbalance(table, METRICS["average_precision"], protocol)
    assert "class 'yes' is 1 in 500 rows (40 in all, about 8 rows in each of 5 folds)" in line
    assert "standard error of up to 0.08" in line
    assert "accuracy" not in line
    (line,) = describe_imbalance(table, METRICS["accuracy"], protocol)
    assert "always predicting 'no' has an accuracy of 0.998" in line
    (line,) = describe_imbalance(table, METRICS["roc_auc"])
    assert "folds" not in line
    # In a sample there are fewer.
    (line,) = describe_imbalance(table, METRICS["roc_auc"], Protocol(folds=5, max_rows=5_000))
    assert "(10 in all, about 2 rows in each of 5 folds)" in line


def test_usual_classes_and_numbers_are_not_named() -> None:
    assert not list(describe_imbalance(make_table(200, 20), METRICS["accuracy"], Protocol(folds=5)))
    numbers = build_table(pd.DataFrame({"a": np.arange(60.0) % 7, "target": np.arange(60.0)}), target="target")
    assert numbers.task.type is TaskType.REGRESSION
    assert not list(describe_imbalance(numbers, METRICS["r2"], Protocol(folds=5)))


def test_fewer_rows_than_folds_get_a_line_that_says_what_to_do() -> None:
    table = make_table(100, 4)
    (line,) = describe_imbalance(table, METRICS["neg_log_loss"], Protocol(folds=5))
    assert line.startswith("fewer rows of class 'yes' than 5 folds")
    assert "ask for 4 folds (`cv`)" in line
    with pytest.raises(InputError, match=r"no row of class 'yes'. It has 4 rows: ask for 4 folds \(`cv`\)"):
        check_metric(table, "roc_auc", Protocol(folds=5))
    check_metric(table, "roc_auc", Protocol(folds=4))


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_keeps_the_rarer_class_in_every_fold(seed: int) -> None:
    # 1 in 500: a sample of 500 rows has one by its share.
    table, protocol = make_table(5_000, 10), Protocol(folds=5, max_rows=500, seed=seed)
    rows = sample_rows(table, protocol)
    assert len(rows) == len(np.unique(rows)) == 500
    assert (table.y[rows] == 1).sum() == 5
    assert all((table.y[test] == 1).sum() == 1 for _, test in make_folds(table, rows, protocol))
    np.testing.assert_array_equal(rows, sample_rows(table, protocol))


def test_a_sample_that_has_enough_stays_as_it_was() -> None:
    table, protocol = make_table(5_000, 500), Protocol(folds=5, max_rows=500)
    assert (table.y[sample_rows(table, protocol)] == 1).sum() == 50
