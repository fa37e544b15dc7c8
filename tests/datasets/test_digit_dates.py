"""Whole numbers such as 20260131 are dates in files without types, and numbers elsewhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.datasets.load import load
from metahp.datasets.reading import make_reading_options

N = 60
DAYS = pd.date_range("2019-11-20", periods=N, freq="5D")
DIGITS = DAYS.strftime("%Y%m%d").astype(int)
FRAME = pd.DataFrame({"day": DIGITS, "a": np.arange(N) % 7, "y": np.arange(N) % 2})


def save(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".xlsx":
        frame.to_excel(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx", "t.jsonl"])
@pytest.mark.parametrize("has_gap", [False, True])
def test_digits_are_dates_in_files_without_types(name: str, has_gap: bool, tmp_path: Path) -> None:
    frame = FRAME.assign(day=FRAME["day"].astype("Float64").mask(FRAME.index == 7)) if has_gap else FRAME
    table = load(save(frame, tmp_path / name), target="y")
    typed = load(FRAME.assign(day=DAYS.where(~(has_gap & (FRAME.index == 7)))), target="y")
    pd.testing.assert_frame_equal(table.features, typed.features)
    assert any("column 'day' holds numbers such as 2019" in x and "`numeric` keeps" in x for x in table.warnings)
    for new in (frame, frame.astype(str).replace("<NA>", None), typed_frame(frame), frame.astype({"day": object})):
        made, notes = table.preparation.transform(new)
        pd.testing.assert_frame_equal(made, table.features)
        assert notes == ()


def typed_frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(day=DAYS.where(frame["day"].notna().to_numpy()))


def test_digits_with_an_odd_cell_are_dates_too(tmp_path: Path) -> None:
    frame = FRAME.astype({"day": object})
    frame.loc[3, "day"] = "unknown"
    table = load(save(frame, tmp_path / "t.csv"), target="y")
    assert table.features["day.days"].isna().sum() == 1
    assert any("but for 1 cell, read as missing: 'unknown' in line 5" in warning for warning in table.warnings)


@pytest.mark.parametrize(
    "numbers",
    [
        DIGITS + 60,
        np.resize([20200101, 20200102], N),
        np.arange(N) + 20200101,
        DIGITS * 10,
        DIGITS + 0.5,
        DIGITS + 2_000_000,
    ],
)
def test_other_numbers_stay_numbers(numbers: np.ndarray, tmp_path: Path) -> None:
    table = load(save(FRAME.assign(day=numbers), tmp_path / "t.csv"), target="y")
    assert table.preparation.dates == ()


def test_types_and_a_person_keep_numbers(tmp_path: Path) -> None:
    assert load(FRAME, target="y").preparation.dates == ()
    assert load(save(FRAME, tmp_path / "t.parquet"), target="y").preparation.dates == ()
    path = save(FRAME, tmp_path / "t.csv")
    assert load(path, target="y", how=make_reading_options(numeric="day")).features["day"].tolist() == list(DIGITS)
    assert load(path, target="y", how=make_reading_options(categorical="day")).preparation.dates == ()
