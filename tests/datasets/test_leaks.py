"""Copies of the target and columns that tell it alone: on a large table some of the rows are looked at first."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from metahp.core.task import TaskType
from metahp.datasets import leaks
from metahp.datasets.columns import ParsedColumn
from metahp.datasets.leaks import COPY, find_copies, find_giveaways

N_ROWS = 4_000


@pytest.fixture(params=[N_ROWS, 500], ids=["all rows", "some rows first"], autouse=True)
def most_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds of a table that is looked at at once holds of one of which some rows are looked at first."""
    monkeypatch.setattr(leaks, "MOST_ROWS", request.param)


def parse(columns: Mapping[str, np.ndarray]) -> dict[str, ParsedColumn]:
    """Numbers as they are, texts as categories."""
    series = {name: pd.Series(values) for name, values in columns.items()}
    return {
        name: ParsedColumn(cells=each if pd.api.types.is_numeric_dtype(each.dtype) else each.astype("category"))
        for name, each in series.items()
    }


def find_named(columns: Mapping[str, np.ndarray], y: np.ndarray, kind: TaskType) -> set[str]:
    """The columns of which it is said that they tell the target."""
    return {line.split("'")[1] for line in find_giveaways(parse(columns), y, kind)}


def test_copies_of_classes_are_found_and_nearly_copies_are_not() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N_ROWS)
    # Outside of the rows that are looked at first.
    wrong = y.copy()
    wrong[1] = (wrong[1] + 1) % 3
    columns = {
        "words": np.array(["low", "middle", "high"])[y],
        "numbers": 10.0 - 2.5 * y,
        "wrong": wrong.astype(float),
        "merged": np.minimum(y, 1).astype(float),
        "gaps": np.where(np.arange(N_ROWS) == 1, np.nan, y),
        "other": rng.normal(size=N_ROWS),
    }
    assert find_copies(parse(columns), y, TaskType.MULTICLASS) == {"words": COPY, "numbers": COPY}


def test_a_copy_is_found_where_a_class_has_a_single_row() -> None:
    y = (np.arange(N_ROWS) % 2).astype(int)
    y[1] = 2
    assert find_copies(parse({"copy": y.astype(float)}), y, TaskType.MULTICLASS) == {"copy": COPY}


def test_copies_of_numbers_are_those_on_another_scale() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=N_ROWS)
    columns = {"scaled": 3 - 100 * y, "noisy": y + 0.01 * rng.normal(size=N_ROWS), "constant": np.ones(N_ROWS)}
    assert find_copies(parse(columns), y, TaskType.REGRESSION) == {"scaled": COPY}


def test_what_tells_classes_alone_is_named() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, N_ROWS)
    # Some values of one class, others of the other.
    value = 2 * rng.integers(0, 5, N_ROWS) + y
    nearly = np.where(rng.random(N_ROWS) < 0.001, 1 - y, y) * 3.0 + rng.random(N_ROWS)
    columns = {
        "words": np.array([f"w{i}" for i in range(10)])[value],
        "values": value.astype(float),
        "threshold": nearly,
        "often": np.where(rng.random(N_ROWS) < 0.05, 1 - y, y).astype(float),
        "noise": rng.normal(size=N_ROWS),
    }
    assert find_named(columns, y, TaskType.BINARY) == {"words", "values", "threshold"}


@pytest.mark.parametrize("is_text", [True, False])
def test_many_values_that_each_have_one_class_are_named(is_text: bool) -> None:
    # As of customers with ten rows each: of some of the rows there are too few for each.
    customer = np.arange(N_ROWS) * 7 % N_ROWS // 10
    y = np.random.default_rng(0).integers(0, 2, N_ROWS // 10)[customer]
    column = np.array([f"c{i}" for i in customer]) if is_text else customer.astype(float)
    assert find_named({"customer": column}, y, TaskType.BINARY) == {"customer"}


def test_ids_tell_nothing_though_each_value_has_one_class() -> None:
    y = np.random.default_rng(0).integers(0, 2, N_ROWS)
    names = np.array([f"c{i}" for i in range(N_ROWS)])
    assert find_named({"id": np.arange(N_ROWS) * 1.0, "name": names}, y, TaskType.BINARY) == set()


def test_what_rises_or_falls_with_a_number_throughout_is_named() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=N_ROWS)
    columns = {"exp": np.exp(y), "cubed": -(y**3), "noisy": y + 0.1 * rng.normal(size=N_ROWS), "square": y**2}
    assert find_named(columns, y, TaskType.REGRESSION) == {"exp", "cubed"}
