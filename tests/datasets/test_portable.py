"""Cells as texts, numbers, categories and dates: one rule, whatever the type of the column."""

import datetime
import decimal
import inspect

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metahp.datasets import portable
from metahp.datasets.columns import parse_column
from metahp.datasets.portable import make_number_label, read_categories, read_date_parts, read_numbers, read_texts


def texts_of(cells: object) -> list[str | None]:
    texts, positions = read_texts(pd.Series(cells))
    return texts[positions].tolist()


def test_texts_lose_their_spaces_and_gaps_are_none() -> None:
    assert texts_of([" a", "a ", "NA", "", None, "b", " ? "]) == ["a", "a", None, None, None, "b", None]


def test_cells_of_any_type_are_texts_one_by_one() -> None:
    cells = pd.Series([1, True, 1.0, "1", [1], {"a": 1}, None, "\ud800"], dtype=object)
    assert texts_of(cells) == ["1", "True", "1.0", "1", "[1]", "{'a': 1}", None, "\\ud800"]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([" 1 ", "2.5", "NA", "inf", "many"]),
        pd.Series(["1", 2.5, None, np.inf, "many"], dtype=object),
        pd.Series([decimal.Decimal(1), decimal.Decimal("2.5"), None, "-inf", "?"], dtype=object),
        pd.Series(pd.Categorical([1.0, 2.5, None, np.inf, np.nan])),
        pd.Series([1, 2.5, np.nan, -np.inf, np.nan], dtype="Float64"),
        pd.Series(pd.to_timedelta(["1s", "2.5s", None, None, None])),
    ],
)
def test_numbers_are_read_from_any_type(column: pd.Series) -> None:
    np.testing.assert_array_equal(read_numbers(column), [1.0, 2.5, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("dtype", ["bool", "boolean", "bool[pyarrow]"])
def test_booleans_are_numbers_where_numbers_are_asked_for(dtype: str) -> None:
    assert read_numbers(pd.Series([True, False, True]).astype(dtype)).tolist() == [1.0, 0.0, 1.0]


def test_dates_are_read_in_universal_time() -> None:
    texts = pd.Series(["2020-01-31 23:30", "2020-01-31T23:30:00-01:00", "31 Jan 2020", "no date", None])
    parts = read_date_parts(texts)
    assert parts["hour"].tolist()[:3] == [23.0, 0.0, 0.0]
    assert parts["month"].tolist()[:3] == [1.0, 2.0, 1.0]
    assert all(np.isnan(values[3:]).all() for values in parts.values())
    zoned = pd.Series(pd.to_datetime(["2020-01-31 23:30"])).dt.tz_localize("Asia/Tokyo")
    assert read_date_parts(zoned)["hour"].tolist() == [14.0]
    days = pd.Series([datetime.date(1970, 1, 2), datetime.date(9999, 12, 31)], dtype=object)
    assert read_date_parts(days)["days"].tolist() == [1.0, 2932896.0]


@pytest.mark.parametrize(
    ("value", "label"), [(1.0, "1"), (-0.0, "0"), (0.1 + 0.2, "0.30000000000000004"), (np.inf, "inf"), (1e20, "1e+20")]
)
def test_a_number_stands_for_one_class(value: float, label: str) -> None:
    assert make_number_label(value) == label


NUMBERS = st.sampled_from(["1", " 2.5", "NA", 3, 1e300, None])
DATES = st.sampled_from(["2020-01-31", "2020-02-01T10:00:00+02:00", " 1 Mar 2020 10:00", "", None])
CELLS = st.one_of(
    NUMBERS,
    DATES,
    st.sampled_from([" a ", "b", "1_0", "true", "inf", "\ud800"]),
    st.integers(-3, 3),
    st.booleans(),
    st.floats(allow_nan=False, width=32),
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(*(st.lists(cell, min_size=1, max_size=12) for cell in (CELLS, NUMBERS, DATES))))
def test_a_parsed_column_is_what_the_functions_read(cells: list[object]) -> None:
    column = pd.Series(cells, dtype=object)
    parsed = parse_column(column).cells
    if pd.api.types.is_datetime64_any_dtype(parsed.dtype):
        for part, values in read_date_parts(parsed).items():
            np.testing.assert_array_equal(read_date_parts(column)[part], values)
    elif isinstance(parsed.dtype, pd.CategoricalDtype):
        pd.testing.assert_extension_array_equal(read_categories(column), parsed.array)
    else:
        np.testing.assert_array_equal(read_numbers(column), np.where(np.isinf(parsed), np.nan, parsed))


def test_a_script_can_carry_the_functions() -> None:
    names = ("np", "pd", "MISSING", *vars(portable))
    copied = {"np": np, "pd": pd, "MISSING": portable.MISSING}
    for function in (value for value in vars(portable).values() if inspect.isfunction(value)):
        assert function.__module__ == portable.__name__
        assert set(function.__code__.co_names) & set(vars(portable)) <= set(names)
        exec(inspect.getsource(function), copied)
    column = pd.Series(["a", "NA", " b"])
    pd.testing.assert_extension_array_equal(copied["read_categories"](column), read_categories(column))
