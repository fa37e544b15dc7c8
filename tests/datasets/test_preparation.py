"""What is learned from a table is applied to its own rows, to new rows and after a round trip through JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from metahp.core.errors import InputError
from metahp.datasets.infer import build_table
from metahp.datasets.preparation import Column, Preparation
from metahp.datasets.raw import RawTable

N = 60


def cycle(*values: object) -> list[object]:
    return [values[i % len(values)] for i in range(N)]


@pytest.fixture
def messy() -> pd.DataFrame:
    """Every kind of column, as frames from Python have them."""
    rng = np.random.default_rng(0)
    days = pd.Series(pd.date_range("2020-01-30", periods=N, freq="7h"))
    return pd.DataFrame(
        {
            "number": rng.normal(size=N),
            "gaps and infinity": cycle(1.5, np.inf, None, -np.inf, 2.5),
            "texts": cycle("1", " 2 ", "NA", "1e3"),
            "nullable": pd.Series(cycle(1, 2, None, 7), dtype="Int64"),
            "duration": pd.to_timedelta(cycle(1, 5, None), unit="h"),
            "decimal": pd.Series(cycle(1, "2.5", None, 3.5), dtype=object),
            "word": cycle("u", " v", "w ", "?", None),
            "mixed": pd.Series(cycle(1, True, 1.0, "1", None), dtype=object),
            "list": pd.Series(cycle([1], [2], {"a": 1}, None), dtype=object),
            "flag": rng.random(N) < 0.5,
            "flag or not": pd.Series(cycle(True, None, False), dtype="boolean"),
            "category": pd.Categorical(cycle("p", " q", None)),
            "half": pd.Series(cycle("\ud800", "k"), dtype=object),
            "day": days.astype(str),
            "zones": cycle("2020-01-01T10:00:00+02:00", "2020-05-01 12:00", "", "1999-12-31"),
            "Tokyo": days.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
            "far": cycle("9999-12-31", "0001-01-01", "2020-01-01"),
            "same": "k",
            "y": cycle("u", "v", "v"),
        }
    )


def test_a_table_prepares_its_own_rows_as_they_were_trained_on(messy: pd.DataFrame) -> None:
    table = build_table(messy, target="y")
    assert list(table.features) == list(table.preparation.feature_names)
    assert table.preparation.dropped == {"same": "constant"}
    assert table.preparation.dates == ("day", "zones", "Tokyo", "far")
    features, notes = table.preparation.transform(messy)
    assert_frame_equal(features, table.features)
    assert notes == ()
    back = messy.iloc[::-1, ::-1].drop(columns=["y", "same"])
    assert_frame_equal(table.preparation.transform(back)[0], table.features.iloc[::-1].reset_index(drop=True))


def test_a_preparation_comes_back_from_json(messy: pd.DataFrame) -> None:
    preparation = build_table(messy.rename(columns={"word": ""}), target="y").preparation
    assert preparation.renamed == ("column_7",)
    assert Preparation.from_dict(json.loads(json.dumps(preparation.to_dict()))) == preparation


def test_what_training_did_not_know_is_missing_and_said() -> None:
    frame = pd.DataFrame(
        {
            "number": np.arange(N) ** 1.5,
            "word": cycle("u", "v", "v"),
            "day": pd.date_range("2020-01-01", periods=N).astype(str),
            "digit": cycle("1", "2", "x"),
            "y": cycle(0, 1),
        }
    )
    preparation = build_table(frame, target="y").preparation
    new = pd.DataFrame(
        {
            "number": pd.Series([" 3", "many", "inf", None, True], dtype=object),
            "word": pd.Series(["u ", "new", ["u"], None, "NA"], dtype=object),
            "day": pd.Series(["2020-01-02", "never", None, "2020-01-03T00:00:00+01:00", 7], dtype=object),
            "digit": [1.0, 2.0, 3.0, np.inf, np.nan],
        }
    )
    features, notes = preparation.transform(new)
    np.testing.assert_array_equal(features["number"], [3.0, np.nan, np.nan, np.nan, np.nan])
    assert features["word"].tolist()[0] == "u"
    assert features["word"].isna().tolist() == [False, True, True, True, True]
    np.testing.assert_array_equal(features["day.days"].round(3), [18263.0, np.nan, np.nan, 18263.958, np.nan])
    assert features["digit"].isna().tolist() == [False, False, True, True, True]
    assert notes == (
        "column 'number': 2 unknown value(s) read as missing ('many', 'True')",
        "column 'word': 2 unknown value(s) read as missing ('new', \"['u']\")",
        "column 'day': 2 unknown value(s) read as missing ('never', '7')",
        "column 'digit': 2 unknown value(s) read as missing ('3', 'inf')",
    )


def test_missing_columns_are_named() -> None:
    frame = pd.DataFrame({"a": np.arange(N) ** 1.5, "b": np.arange(N) % 7, "y": cycle(0, 1)})
    preparation = build_table(frame, target="y").preparation
    with pytest.raises(InputError, match=r"1 of 2 columns that the model needs are missing: b\. Found: a, B\."):
        preparation.transform(frame[["a"]].assign(B=1))
    with pytest.raises(InputError, match="'b' holds complex numbers"):
        preparation.transform(frame.assign(b=1j))


@pytest.mark.parametrize("is_date_first", [True, False])
def test_a_part_of_a_date_that_is_called_like_another_column_gets_another_name(is_date_first: bool) -> None:
    columns = {"at": pd.date_range("2020-01-01", periods=N, freq="31h"), "at.month": np.arange(N) % 5 + 0.5}
    names = list(columns) if is_date_first else list(columns)[::-1]
    frame = pd.DataFrame({**{name: columns[name] for name in names}, "y": cycle(0, 1)})
    table = build_table(frame, target="y")
    assert sorted(table.features) == ["at.month", "at_2.days", "at_2.hour", "at_2.month", "at_2.weekday"]
    assert table.features["at.month"].tolist() == frame["at.month"].tolist()
    assert_frame_equal(table.preparation.transform(frame)[0], table.features)


def test_a_date_of_which_all_parts_are_columns_has_other_names() -> None:
    day = pd.Series(cycle("2020-01-01", "2021-02-03"))
    others = {f"day.{part}": np.arange(N) % 7 + 0.5 for part in ("days", "month", "weekday")}
    table = build_table(pd.DataFrame({"day": day, **others, "y": cycle(0, 1, 1)}), target="y")
    assert list(table.features) == ["day_2.days", "day_2.month", *others]
    assert table.preparation.dropped == {}


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="kind number, written, clock, category, date, found 'text'"):
        Column(name="a", kind="text")


def test_a_raw_table_names_its_columns_and_remembers_where() -> None:
    frame = pd.DataFrame(np.arange(12).reshape(2, 6), columns=["a", "", "a", "Unnamed: 3", " b ", 7])
    raw = RawTable.of(frame)
    assert list(raw.frame) == ["a", "column_2", "a_3", "column_4", "b", "7"]
    assert raw.read.renamed == {1: "column_2", 2: "a_3", 3: "column_4"}
    assert raw.warnings == ("3 empty or repeated column name(s) renamed: column_2, a_3, column_4",)
    assert list(frame)[:3] == ["a", "", "a"]
