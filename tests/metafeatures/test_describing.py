"""Meta-features of tables that are small enough to compute by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from metahp.core.task import Task, TaskType
from metahp.datasets.table import Table
from metahp.metafeatures import information, simple, statistical
from metahp.metafeatures.statistical import measure_columns, standardise
from metahp.metafeatures.view import Step, View


def table(features: dict[str, object], y: list[float], n_classes: int) -> Table:
    kind = {0: TaskType.REGRESSION, 2: TaskType.BINARY}.get(n_classes, TaskType.MULTICLASS)
    data = pd.DataFrame(features)
    codes = np.array(y, dtype=np.int64 if n_classes else float)
    task = Task(id="id", type=kind, n_rows=len(y), n_features=data.shape[1], n_classes=n_classes)
    return Table(task=task, features=data, y=codes, target="y")


def run_steps(steps: list[Step]) -> dict[str, float]:
    return {name: float(value) for step in steps for name, value in step.run({}).items()}


def test_simple_counts() -> None:
    values = run_steps(
        simple.plan_steps(
            View(
                table(
                    {
                        "number": [1.0, 2.0, np.nan, 4.0],
                        "flag": [0.0, 1.0, 1.0, np.nan],
                        "colour": pd.Categorical(["red", None, "blue", "green"]),
                        "whole": [5.0, 6.0, 7.0, 8.0],
                    },
                    [0, 0, 0, 1],
                    2,
                ),
                0,
            )
        )
    )
    assert values["log_n_rows"] == pytest.approx(math.log(4))
    assert values["log_rows_per_feature"] == 0.0
    assert (values["n_classes"], values["is_binary"], values["is_regression"]) == (2.0, 1.0, 0.0)
    assert values["categorical_share"] == 0.25
    assert values["binary_column_share"] == 0.25
    assert values["log_cardinality_max"] == values["log_cardinality_mean"] == pytest.approx(math.log(3))
    assert (values["minority_share"], values["majority_share"]) == (0.25, 0.75)
    assert values["class_entropy"] == pytest.approx(-0.25 * math.log2(0.25) - 0.75 * math.log2(0.75))
    assert values["log_rows_per_class"] == pytest.approx(math.log(2))
    assert values["missing_share"] == pytest.approx(3 / 16)
    assert (values["missing_column_share"], values["missing_row_share"]) == (0.75, 0.75)


def test_regression_counts_as_one_class_per_row() -> None:
    values = run_steps(simple.plan_steps(View(table({"a": [1.0, 2.0, 3.0]}, [0.1, 0.2, 0.3], 0), 0)))
    assert (values["n_classes"], values["is_regression"], values["class_entropy"]) == (0.0, 1.0, 1.0)
    assert (values["minority_share"], values["majority_share"], values["log_rows_per_class"]) == (0.0, 0.0, 0.0)


def test_column_statistics_by_hand() -> None:
    X = np.array([[0.0, 1.0, 7.0], [0.0, 2.5, 7.0], [0.0, 3.0, 7.0], [1.0, np.nan, np.nan]])
    statistics = measure_columns(X)
    # 0 0 0 1: mean 1/4, variance 3/16, third central moment 3/32, fourth 21/256.
    assert statistics.skewness[0] == pytest.approx(math.log1p((3 / 32) / (3 / 16) ** 1.5))
    assert statistics.kurtosis[0] == pytest.approx(-math.log1p(3 - (21 / 256) / (3 / 16) ** 2))
    np.testing.assert_allclose(statistics.zero_share, [0.75, 0.0, 0.0])
    np.testing.assert_array_equal(statistics.is_integer, [True, False, True])
    np.testing.assert_allclose(statistics.unique_ratio, [0.5, 1.0, 1 / 3])
    assert statistics.skewness[2] == statistics.kurtosis[2] == 0.0
    # Quartiles of 0 0 0 1 are 0 and 0.25: the fence ends at 0.625.
    np.testing.assert_allclose(statistics.outlier_share, [0.25, 0.0, 0.0])


def test_column_statistics_agree_with_pandas() -> None:
    data = pd.DataFrame(np.random.default_rng(0).gamma(2.0, size=(500, 3))).mask(lambda x: x < 0.3)
    z = (data - data.mean()) / data.std(ddof=0)
    statistics = measure_columns(data.to_numpy())
    np.testing.assert_allclose(statistics.skewness, np.log1p((z**3).mean()))
    np.testing.assert_allclose(statistics.kurtosis, np.log1p((z**4).mean() - 3))
    low, high = data.quantile(0.25), data.quantile(0.75)
    outside = (data < low - 1.5 * (high - low)) | (data > high + 1.5 * (high - low))
    np.testing.assert_allclose(statistics.outlier_share, outside.sum() / data.count())


def test_standardise_columns() -> None:
    X = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    np.testing.assert_allclose(standardise(X), [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])


def test_two_equal_columns_have_one_component() -> None:
    a = np.arange(30.0)
    values = run_steps(statistical.plan_steps(View(table({"a": a, "b": -2 * a}, list(a), 0), 0)))
    assert values["correlation_mean"] == values["correlation_max"] == pytest.approx(1.0)
    assert values["first_component_share"] == pytest.approx(1.0)
    assert values["components_ratio"] == 0.5


def test_log_gain_finds_a_lognormal_target() -> None:
    z = np.linspace(-2, 2, 101)
    values = run_steps(statistical.plan_steps(View(table({"a": z}, list(np.exp(z)), 0), 0)))
    assert values["target_log_gain"] == pytest.approx(values["target_skewness"], abs=1e-9)
    assert values["target_unique_ratio"] == 1.0


def test_information_of_a_copy_and_of_a_coin() -> None:
    y = [0, 1] * 200
    copy = np.array(y, dtype=float)
    coin = np.repeat([0.0, 1.0], 200)
    values = run_steps(information.plan_steps(View(table({"copy": copy, "coin": coin}, y, 2), 0)))
    # The copy gives all information; Miller and Madow's correction adds 1 / 2n nats for two empty cells. The coin gives
    # none.
    of_copy = math.log(2) + 1 / 800
    assert values["information_max"] == pytest.approx(of_copy / math.log(2))
    assert values["information_mean"] == pytest.approx(of_copy / math.log(2) / 2)
    assert values["information_concentration"] == pytest.approx(1.0)
    assert values["linear_association_max"] == pytest.approx(1.0)
    assert values["rank_association_max"] == pytest.approx(1.0)
    assert values["linear_association_mean"] == pytest.approx(0.5)


def test_rank_association_sees_through_a_monotone_map() -> None:
    a = np.linspace(0.1, 3, 60)
    values = run_steps(information.plan_steps(View(table({"a": a}, list(np.exp(5 * a)), 0), 0)))
    assert values["rank_association_max"] == pytest.approx(1.0)
    assert values["linear_association_max"] < 0.7
