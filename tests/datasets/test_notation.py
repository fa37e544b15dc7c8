"""How columns are written: what was written in any notation is read back, and what is no number is left as it is."""

from datetime import UTC

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metahp.datasets.columns import FRAME_RULES, parse_column
from metahp.datasets.load import load
from metahp.datasets.notation import find_notation
from metahp.datasets.portable import parse_seconds

N = 120
# How a number may be written; each gives it back to two decimals.
NUMBERS = {
    "dollars": lambda x: f"${x:,.2f}" if x >= 0 else f"-${-x:,.2f}",
    "accounting": lambda x: f"{x:,.2f}" if x >= 0 else f"({-x:,.2f})",
    "percent": lambda x: f"{x:.2f}%",
    "unit": lambda x: f"{x:.2f} kg",
    "glued unit": lambda x: f"{x:.2f}GB",
    "code of a currency": lambda x: f"{x:,.2f} EUR",
    "decimal comma": lambda x: f"{x:.2f}".replace(".", ","),
    "German": lambda x: f"{x:,.2f}".translate(str.maketrans(".,", ",.")),
    "French": lambda x: f"{x:,.2f}".replace(",", " ").replace(".", ","),
    "Swiss": lambda x: f"CHF {x:,.2f}".replace(",", "'"),
    "plus": lambda x: f"{x:+.2f}",
    "scientific": lambda x: f"{x:.6e}",
}
DATES = {
    "ISO": "%Y-%m-%d",
    "ISO time": "%Y-%m-%dT%H:%M:%S",
    "zone": "%Y-%m-%d %H:%M:%S+00:00",
    "day first": "%d/%m/%Y",
    "month first": "%m/%d/%Y",
    "dots": "%d.%m.%Y",
    "short year": "%d-%m-%y",
    "year first": "%Y/%m/%d %H:%M",
    "month name": "%d %B %Y",
    "English": "%b %d, %Y",
    "Oracle": "%d-%b-%Y",
    "12 hours": "%m/%d/%Y %I:%M %p",
    "weekday": "%A, %d %B %Y",
    "mail": "%a, %d %b %Y %H:%M:%S GMT",
    "log": "%a %b %d %H:%M:%S %Y",
}


def notation_of(texts: list[str], **how: object) -> object:
    distinct, counts = np.unique(np.array(texts, dtype=object), return_counts=True)
    return find_notation(distinct, counts, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NUMBERS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    numbers=st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=20, max_size=40, unique=True).filter(
        lambda xs: any(abs(x) % 1 > 0.001 and (round(abs(x) * 100) % 10) for x in xs)
    )
)
def test_numbers_come_back_from_any_notation(name: str, numbers: list[float]) -> None:
    texts = [NUMBERS[name](number) for number in numbers]
    parsed = parse_column(pd.Series(texts, dtype="str"))
    expected = [float(f"{number:.6e}") for number in numbers] if name == "scientific" else numbers
    np.testing.assert_allclose(parsed.cells.to_numpy(dtype=float), expected, atol=1e-9)
    assert parsed.odd == ()


@pytest.mark.parametrize("name", DATES)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(start=st.integers(0, 20_000), step=st.integers(5, 90))
def test_dates_come_back_from_any_notation_in_training_and_prediction(name: str, start: int, step: int) -> None:
    hours = 7 if "%H" in DATES[name] or "%I" in DATES[name] else 0
    days = pd.Timestamp("1975-01-01") + pd.to_timedelta((start % 9000 + step * np.arange(60)) * 24 + hours, unit="h")
    if name == "short year":
        days = days[(days.year < 2068) & (days.year > 1970)]
    texts = pd.Series(days.strftime(DATES[name]), name="when")
    frame = pd.DataFrame({"when": texts, "a": np.arange(len(days)) % 7, "y": np.arange(len(days)) % 2})
    typed = pd.DataFrame({**frame, "when": days.floor("min") if "%H" in DATES[name] else days})
    table = load(frame, target="y")
    expected = load(typed, target="y")
    assert table.preparation.dates == ("when",)
    pd.testing.assert_frame_equal(table.features, expected.features)
    assert table.task.id == expected.task.id
    pd.testing.assert_frame_equal(table.preparation.transform(frame)[0], table.features)
    pd.testing.assert_frame_equal(table.preparation.transform(typed)[0], table.features)


@pytest.mark.parametrize(
    "texts",
    [
        ["07001", "94110", "10001"],
        ["12A", "13B", "2C"],
        ["V6", "V8", "V12"],
        ["<=50K", ">50K"],
        ["1st", "2nd", "3rd"],
        ["10-20", "20-30", "30-40"],
        ["1.2.3", "1.2.4", "1.3.0"],
        ["10.0.0.1", "10.0.0.2", "10.0.1.1"],
        ["AB 123", "CD 124", "EF 125"],
        ["0_no", "1_yes"],
        ["+491234567890", "+491234567891", "+491234567892"],
        [str(2**60 + i) for i in range(30)],
        ["5'10\"", "6'1\"", "5'8\""],
        ["$5", "€7", "£9"],
        ["T1", "T2", "T10"],
        ["low", "mid", "high"],
    ],
)
def test_codes_ranges_and_names_stay_categories(texts: list[str]) -> None:
    assert notation_of(texts * 10) is None


def test_a_later_text_decides_what_the_first_thousand_leave_open() -> None:
    texts = [f"{1 + i % 12:02d}/{1 + i % 12:02d}/{1900 + i // 12}" for i in range(1300)]
    assert notation_of(texts).is_ambiguous  # type: ignore[attr-defined]
    assert notation_of([*texts, "31/01/2020"]).formats == ("%d/%m/%Y", "ISO8601")  # type: ignore[attr-defined]


def test_an_ambiguous_column_follows_another_one_or_says_what_was_taken() -> None:
    days = pd.date_range("2020-01-01", periods=N, freq="31D")
    open_days = [f"{1 + i % 12:02d}/{1 + i // 7 % 12:02d}/2020" for i in range(N)]
    frame = pd.DataFrame({"open": open_days, "y": np.arange(N) % 2, "a": np.arange(N) % 5})
    assert "month first, `dayfirst` decides" in load(frame, target="y").warnings[0]
    both = load(frame.assign(clear=days.strftime("%d/%m/%Y")), target="y")
    assert not any("dayfirst" in warning for warning in both.warnings)
    given_first = load(frame, target="y").features["open.month"]
    assert not np.array_equal(both.features["open.month"], given_first)


def test_clock_times_are_seconds() -> None:
    texts = np.array(
        ["12:30:00", "0:02:50", "10:15 AM", "12:15 am", "1 day, 2:00:00", "-1 days +23:59:59", "2h 30m", "x"],
        dtype=object,
    )
    np.testing.assert_array_equal(parse_seconds(texts), [45000, 170, 36900, 900, 93600, -1, 9000, np.nan])
    import datetime  # noqa: PLC0415

    times = pd.Series([datetime.time(10, 15), datetime.time(23, 0, 1)] * 10, dtype=object)
    assert parse_column(times, FRAME_RULES).cells.tolist()[:2] == [36900.0, 82801.0]


def test_far_dates_zones_periods_and_arrow_types_are_dates() -> None:
    far = pd.Series(["0001-01-01", "9999-12-31", "2020-06-01"])
    assert parse_column(far).cells.dt.year.tolist() == [1, 9999, 2020]
    arrow = pd.Series(pd.date_range("2020-01-01", periods=3)).astype("timestamp[ms][pyarrow]")
    assert parse_column(arrow, FRAME_RULES).cells.dt.day.tolist() == [1, 2, 3]
    day = pd.Series(pd.date_range("2020-01-01", periods=3)).astype("date32[pyarrow]")
    assert parse_column(day, FRAME_RULES).cells.dt.day.tolist() == [1, 2, 3]
    period = pd.Series(pd.period_range("2020-01", periods=3, freq="M"))
    assert parse_column(period, FRAME_RULES).cells.dt.month.tolist() == [1, 2, 3]
    zoned = pd.Series(pd.date_range("2020-01-01 23:00", periods=2, tz="America/New_York"))
    assert parse_column(zoned, FRAME_RULES).cells.iloc[0] == pd.Timestamp("2020-01-02 04:00")
    assert pd.Timestamp("2020-01-02 04:00", tz=UTC) == zoned.iloc[0]


def test_text_of_a_frame_is_categories_and_nothing_is_missing_that_is_not() -> None:
    column = pd.Series(["1", "2", "NA", "-"] * 10, dtype="str")
    parsed = parse_column(column, FRAME_RULES)
    assert list(parsed.cells.cat.categories) == ["-", "1", "2", "NA"]
    assert parsed.cells.notna().all()
