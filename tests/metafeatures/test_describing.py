"""Meta-features small enough to compute by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from metahp.core.task import Task, TaskType
from metahp.datasets.table import Table
from metahp.metafeatures import information, simple, statistical
from metahp.metafeatures.statistical import shape_of, standardised
from metahp.metafeatures.view import Step, View


def table(features: dict[str, object], y: list[float], n_classes: int) -> Table:
    kind = {0: TaskType.REGRESSION, 2: TaskType.BINARY}.get(n_classes, TaskType.MULTICLASS)
    data = pd.DataFrame(features)
    codes = np.array(y, dtype=np.int64 if n_classes else float)
    return Table(
        Task(id="id", type=kind, n_rows=len(y), n_features=data.shape[1], n_classes=n_classes), data, codes, "y"
    )


def values_of(steps: list[Step]) -> dict[str, float]:
    return {name: float(value) for step in steps for name, value in step.run({}).items()}


def test_simple_counts() -> None:
    found = values_of(
        simple.steps(
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
    assert found["log_n_rows"] == pytest.approx(math.log(4))
    assert found["log_rows_per_feature"] == 0.0
    assert (found["n_classes"], found["is_binary"], found["is_regression"]) == (2.0, 1.0, 0.0)
    assert found["categorical_share"] == 0.25
    assert found["binary_column_share"] == 0.25
    assert found["log_cardinality_max"] == found["log_cardinality_mean"] == pytest.approx(math.log(3))
    assert (found["minority_share"], found["majority_share"]) == (0.25, 0.75)
    assert found["class_entropy"] == pytest.approx(-0.25 * math.log2(0.25) - 0.75 * math.log2(0.75))
    assert found["log_rows_per_class"] == pytest.approx(math.log(2))
    assert found["missing_share"] == pytest.approx(3 / 16)
    assert (found["missing_column_share"], found["missing_row_share"]) == (0.75, 0.75)


def test_regression_reads_as_classes_of_one_row() -> None:
    found = values_of(simple.steps(View(table({"a": [1.0, 2.0, 3.0]}, [0.1, 0.2, 0.3], 0), 0)))
    assert (found["n_classes"], found["is_regression"], found["class_entropy"]) == (0.0, 1.0, 1.0)
    assert (found["minority_share"], found["majority_share"], found["log_rows_per_class"]) == (0.0, 0.0, 0.0)


def test_shape_of_columns_by_hand() -> None:
    X = np.array([[0.0, 1.0, 7.0], [0.0, 2.5, 7.0], [0.0, 3.0, 7.0], [1.0, np.nan, np.nan]])
    shape = shape_of(X)
    # 0 0 0 1: mean 1/4, variance 3/16, third central moment 3/32, fourth 21/256.
    assert shape.skewness[0] == pytest.approx(math.log1p((3 / 32) / (3 / 16) ** 1.5))
    assert shape.kurtosis[0] == pytest.approx(-math.log1p(3 - (21 / 256) / (3 / 16) ** 2))
    np.testing.assert_allclose(shape.zero_share, [0.75, 0.0, 0.0])
    np.testing.assert_array_equal(shape.is_integer, [True, False, True])
    np.testing.assert_allclose(shape.unique_ratio, [0.5, 1.0, 1 / 3])
    assert shape.skewness[2] == shape.kurtosis[2] == 0.0
    # Quartiles of 0 0 0 1 are 0 and 0.25: the fence ends at 0.625.
    np.testing.assert_allclose(shape.outlier_share, [0.25, 0.0, 0.0])


def test_shape_agrees_with_pandas() -> None:
    data = pd.DataFrame(np.random.default_rng(0).gamma(2.0, size=(500, 3))).mask(lambda x: x < 0.3)
    z = (data - data.mean()) / data.std(ddof=0)
    shape = shape_of(data.to_numpy())
    np.testing.assert_allclose(shape.skewness, np.log1p((z**3).mean()))
    np.testing.assert_allclose(shape.kurtosis, np.log1p((z**4).mean() - 3))
    low, high = data.quantile(0.25), data.quantile(0.75)
    outside = (data < low - 1.5 * (high - low)) | (data > high + 1.5 * (high - low))
    np.testing.assert_allclose(shape.outlier_share, outside.sum() / data.count())


def test_standardised_columns() -> None:
    X = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    np.testing.assert_allclose(standardised(X), [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])


def test_two_equal_columns_have_one_component() -> None:
    a = np.arange(30.0)
    found = values_of(statistical.steps(View(table({"a": a, "b": -2 * a}, list(a), 0), 0)))
    assert found["correlation_mean"] == found["correlation_max"] == pytest.approx(1.0)
    assert found["first_component_share"] == pytest.approx(1.0)
    assert found["components_ratio"] == 0.5


def test_log_gain_finds_a_lognormal_target() -> None:
    z = np.linspace(-2, 2, 101)
    found = values_of(statistical.steps(View(table({"a": z}, list(np.exp(z)), 0), 0)))
    assert found["target_log_gain"] == pytest.approx(found["target_skewness"], abs=1e-9)
    assert found["target_unique_ratio"] == 1.0


def test_information_of_a_copy_and_of_a_coin() -> None:
    y = [0, 1] * 200
    copy = np.array(y, dtype=float)
    coin = np.repeat([0.0, 1.0], 200)
    found = values_of(information.steps(View(table({"copy": copy, "coin": coin}, y, 2), 0)))
    # The copy tells all; Miller and Madow's correction adds 1 / 2n nats for two empty cells. The coin tells nothing.
    told = math.log(2) + 1 / 800
    assert found["information_max"] == pytest.approx(told / math.log(2))
    assert found["information_mean"] == pytest.approx(told / math.log(2) / 2)
    assert found["information_concentration"] == pytest.approx(1.0)
    assert found["linear_association_max"] == pytest.approx(1.0)
    assert found["rank_association_max"] == pytest.approx(1.0)
    assert found["linear_association_mean"] == pytest.approx(0.5)


def test_rank_association_sees_through_a_monotone_map() -> None:
    a = np.linspace(0.1, 3, 60)
    found = values_of(information.steps(View(table({"a": a}, list(np.exp(5 * a)), 0), 0)))
    assert found["rank_association_max"] == pytest.approx(1.0)
    assert found["linear_association_max"] < 0.7
