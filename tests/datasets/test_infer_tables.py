"""Target, task type and columns: what `build_table` makes of a raw frame."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.datasets.columns import parse_column
from metahp.datasets.infer import build_table
from metahp.datasets.raw import RawTable, ReadOptions

N = 60


def base(**columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=N), "b": rng.integers(0, 4, N), **columns})


def values(*cycle: object) -> list[object]:
    return [cycle[i % len(cycle)] for i in range(N)]


@pytest.mark.parametrize(
    ("columns", "expected", "origin"),
    [
        (["a", "Class", "z"], "Class", "guessed: its name"),
        (["label", "target", "z"], "target", "guessed: its name"),
        (["a", "b", "z"], "z", "guessed: last column"),
    ],
)
def test_target_is_guessed_by_name_then_by_place(columns: list[str], expected: str, origin: str) -> None:
    table = build_table(base(c=values("u", "v")).set_axis(columns, axis=1).assign(**{expected: values("u", "v")}))
    assert (table.target, table.target_origin) == (expected, origin)
    assert build_table(base(t=values(1, 2)), target="b").target_origin == "given"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (values("u", "v"), TaskType.BINARY),
        (values(True, False), TaskType.BINARY),
        (values(-1, 1), TaskType.BINARY),
        (values("u", "v", "w"), TaskType.MULTICLASS),
        (values(0, 1, 2), TaskType.MULTICLASS),
        (values("0", "1", "2"), TaskType.MULTICLASS),
        (list(range(30)) * 2, TaskType.REGRESSION),
        (values(0.5, 1.5, 2.5), TaskType.REGRESSION),
        ([str(i / 7) for i in range(N)], TaskType.REGRESSION),
    ],
)
def test_task_type_follows_the_target(target: list[object], expected: TaskType) -> None:
    assert build_table(base(y=target)).task.type is expected


def test_task_type_can_be_overridden() -> None:
    assert build_table(base(y=values(0, 1, 2)), task_type="regression").task.type is TaskType.REGRESSION
    assert build_table(base(y=values(0.5, 1.5, 2.5)), task_type="multiclass").classes == ("0.5", "1.5", "2.5")
    assert build_table(base(y=values(0, 1)), task_type=TaskType.REGRESSION).classes == ()


@pytest.mark.parametrize(
    ("target", "task_type", "message"),
    [
        (values("u", "v", "w"), "binary", "`task='binary'` needs 2 classes; 'y' has 3. Try `task='multiclass'`"),
        (values("3", "4", "many"), "regression", "numeric target; 'y' holds text such as 'many'"),
        (
            values(pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-02")),
            "regression",
            "holds dates such as '2020-01-01'",
        ),
        ([i / 7 for i in range(N)], "multiclass", "60 classes in 60 rows"),
        (values(7), "regression", "single value; there is nothing to learn"),
    ],
)
def test_impossible_override_says_what_to_try(target: list[object], task_type: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_table(base(y=target), task_type=task_type)


def test_classes_are_named_in_full() -> None:
    table = build_table(base(y=values(1_000_001, 1_000_002, 1_000_003)))
    assert table.classes == ("1000001", "1000002", "1000003")
    assert list(table.y[:4]) == [0, 1, 2, 0]


def test_dates_become_their_varying_numeric_parts() -> None:
    days = pd.date_range("2020-01-30", periods=N, freq="D")
    for column in (days, days.astype(str), days.tz_localize("UTC"), days.strftime("%d %b %Y %H:%M")):
        table = build_table(base(day=column, y=values("u", "v")))
        assert table.preparation.dates == ("day",)
        parts = table.features.filter(like="day.")
        assert list(parts.columns) == ["day.days", "day.month", "day.weekday"]
        assert list(parts.iloc[2]) == [18293.0, 2.0, 5.0]


def test_dates_that_nanoseconds_cannot_count_are_dates() -> None:
    ends = ["9999-12-31", "0001-01-01", *["2020-01-01", "2021-01-01"] * (N // 2 - 1)]
    for column in (ends, pd.to_datetime(ends), pd.to_datetime(ends).as_unit("s")):
        table = build_table(base(day=column, y=values("u", "v")))
        assert table.preparation.dates == ("day",)
        assert list(table.features["day.days"][:3]) == [2932896.0, -719162.0, 18262.0]


def test_a_target_is_found_with_the_spaces_around_its_name() -> None:
    assert build_table(base(y=values("u", "v")).rename(columns={"y": " y "}), target=" y ").target == "y"


def test_useless_columns_are_left_out_by_name() -> None:
    rng = np.random.default_rng(1)
    frame = base(
        same=values("k"),
        zero=values(0),
        none=values(None),
        row=range(1, N + 1),
        id=[f"u{i}" for i in range(N)],
        note=[f"this is the note number {i}" for i in range(N)],
        day=values(pd.Timestamp("2020-01-01")),
        kept=rng.choice(["p", "q"], N),
        y=values("u", "v"),
    )
    table = build_table(frame)
    assert list(table.features.columns) == ["a", "b", "kept"]
    assert table.preparation.dropped == {
        "same": "constant",
        "zero": "constant",
        "none": "no value",
        "row": "row number",
        "id": "id-like: nearly every value is different",
        "note": "free text",
        "day": "constant",
    }
    assert "left out (constant): same, zero, day" in table.warnings
    assert "left out (free text): note" in table.warnings


def test_a_row_number_is_one_in_any_order_of_the_rows() -> None:
    order = np.random.default_rng(2).permutation(N)
    frame = base(row=np.arange(N) + 7.0, gap=[*range(N - 1), N], twice=[*range(N - 1), 0], y=values("u", "v"))
    for rows in (np.arange(N), order):
        assert build_table(frame.iloc[rows]).preparation.dropped == {"row": "row number"}


def test_one_late_word_in_a_column_of_numbers_is_missing_and_quoted() -> None:
    texts = [str(i % 29) for i in range(N - 1)]
    table = build_table(base(late=pd.Series([*texts, "many"], dtype="str"), y=values("u", "v")))
    assert np.array_equal(table.features["late"][:-1], np.array(texts, dtype=float))
    assert np.isnan(table.features["late"].iloc[-1])
    assert table.warnings == ("column 'late' holds numbers but for 1 cell, read as missing: 'many' in row 60",)


def test_a_category_type_is_categories_whatever_its_values_look_like() -> None:
    for column in (pd.Categorical(values(1, 2, None)), pd.Categorical(values("1", "2", None))):
        features = build_table(base(code=column, y=values("u", "v", "v", "u"))).features
        assert list(features["code"].cat.categories) == ["1", "2"]
    ordered = pd.Categorical(values("low", "high", "mid"), categories=["low", "mid", "high"], ordered=True)
    assert list(build_table(base(code=ordered, y=values("u", "v"))).features["code"].cat.categories) == [
        "low",
        "mid",
        "high",
    ]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(values(True, False, None), dtype="boolean"),
        pd.Series(values(True, False, None), dtype=object),
        pd.Series(values("True", "False", None), dtype="category"),
        pd.Series(values(True, False, None), dtype="category"),
    ],
)
def test_booleans_are_categories(column: pd.Series) -> None:
    table = build_table(base(flag=column, y=values("u", "v")))
    assert list(table.features["flag"].cat.categories) == ["False", "True"]
    assert table.features["flag"].isna().sum() == N // 3


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(values(1, 2, None), dtype="Int64"),
        pd.Series(values(1.0, 2.0, None), dtype="float32"),
        pd.Series(values("1", " 2 ", "N/A"), dtype="str"),
        pd.Series(values(1, "2", None), dtype=object),
        pd.Series(pd.to_timedelta(values(1, 2, None), unit="s")),
    ],
)
def test_numbers_in_any_dress_are_numbers(column: pd.Series) -> None:
    parsed = parse_column(column).cells
    assert parsed.dtype == np.float64
    assert np.array_equal(parsed, np.array(values(1.0, 2.0, np.nan)), equal_nan=True)


def test_reading_notes_come_first() -> None:
    options = ReadOptions(format="csv", separator=";")
    frame = base(k=values(1), y=values("u", "v"))
    table = build_table(RawTable.of(frame, read=options, warnings=("read with care",)))
    assert table.warnings[0] == "read with care"
    assert table.read == options


def test_frame_is_not_changed() -> None:
    frame = base(day=values("2020-01-01", "2021-01-01"), bad=values(np.inf, 1.0, 2.0), y=values("u", None, "v"))
    before = frame.copy()
    build_table(frame)
    pd.testing.assert_frame_equal(frame, before)


CELLS = st.one_of(st.none(), st.floats(allow_nan=False, width=32), st.sampled_from(["p", "q", "r s", "ä"]))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), n_columns=st.integers(1, 4))
def test_fingerprint_does_not_depend_on_row_or_column_order(data: st.DataObject, seed: int, n_columns: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {f"c{i}": data.draw(st.lists(CELLS, min_size=25, max_size=25)) for i in range(n_columns)}
    frame = pd.DataFrame({"a": rng.normal(size=25), **columns, "y": rng.permutation(["u"] * 12 + ["v"] * 13)})
    shuffled = frame.iloc[rng.permutation(25), rng.permutation(frame.shape[1])]
    renamed = frame.rename(columns={"a": "other", "c0": "names"})
    expected = build_table(frame, target="y").task.id
    assert build_table(shuffled, target="y").task.id == expected
    assert build_table(renamed, target="y").task.id == expected
    swapped = frame.copy()
    swapped.loc[[0, 1], "a"] = frame.loc[[1, 0], "a"].to_numpy()
    if frame.iloc[0, 1:].astype(str).tolist() != frame.iloc[1, 1:].astype(str).tolist():
        assert build_table(swapped, target="y").task.id != expected
