"""Files that a person has to say something about, and those that look like something else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.core.errors import InputError, UnknownNameError
from metahp.datasets.load import load
from metahp.datasets.reading import make_reading_options

N = 60
rng = np.random.default_rng(0)
X = pd.DataFrame({"a": rng.normal(size=N).round(3), "b": rng.integers(0, 5, N), "y": np.arange(N) % 2})


def save(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("text", ["{} kg", "${}", "{}", "{},5"])
def test_numeric_makes_numbers_of_the_cells_that_are_some(text: str, tmp_path: Path) -> None:
    cells = [text.format(i % 9) if i % 4 else "unknown" for i in range(N)]
    path = save(X.assign(size=cells), tmp_path / "t.csv")
    table = load(path, target="y", how=make_reading_options(numeric="size"))
    expected = [i % 9 + (0.5 if "," in text else 0) if i % 4 else np.nan for i in range(N)]
    np.testing.assert_array_equal(table.features["size"], expected)


def test_a_column_without_numbers_can_be_asked_to_be_numbers(tmp_path: Path) -> None:
    path = save(X.assign(word=["u", "v", "w"] * 20), tmp_path / "t.csv")
    table = load(path, target="y", how=make_reading_options(numeric="word"))
    assert table.preparation.dropped["word"] == "no value"


def test_a_regression_takes_the_cells_of_its_target_that_are_numbers(tmp_path: Path) -> None:
    price = [f"${1000 + 7 * i:,}" if i % 5 else "on request" for i in range(N)]
    table = load(save(X.assign(price=price), tmp_path / "t.csv"), target="price", task="regression")
    assert len(table.y) == N - N // 5
    assert "'on request' in line 2" in " ".join(table.warnings)


def test_new_rows_may_lack_the_unit_or_have_dates_of_a_program(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-20", periods=N)
    frame = X.assign(cost=[f"€{1000 + 3.5 * i:,.2f}" for i in range(N)], day=days.strftime("%d/%m/%Y"))
    table = load(save(frame, tmp_path / "t.csv"), target="y")
    new = X.assign(cost=1000 + 3.5 * np.arange(N), day=days.strftime("%Y-%m-%d"))
    for rows in (new, new.astype(str)):
        features, notes = table.preparation.transform(rows)
        pd.testing.assert_frame_equal(features[["cost", "day.days"]], table.features[["cost", "day.days"]])
        assert notes == ()


def test_options_name_columns_and_say_which_there_are(tmp_path: Path) -> None:
    path = save(X.assign(code=rng.integers(0, 3, N), note="x"), tmp_path / "t.csv")
    how = make_reading_options(drop="b", categorical=["code"], na=-1, id="a")
    table = load(path, target="y", how=how)
    assert list(table.features) == ["code"]
    assert table.preparation.id_column == "a"
    with pytest.raises(UnknownNameError, match=r"No column is called 'cod'\. .* Did you mean 'code'"):
        load(path, target="y", how=make_reading_options(drop="cod"))
    with pytest.raises(InputError, match="`sep` is one character, got '::'"):
        make_reading_options(sep="::")


def test_a_workbook_and_an_array_of_objects_are_read(tmp_path: Path) -> None:
    with pd.ExcelWriter(tmp_path / "t.xlsx") as writer:
        pd.DataFrame({"note": ["see the other sheet"]}).to_excel(writer, sheet_name="read me", index=False)
        X.to_excel(writer, sheet_name="data", index=False)
    clean = load(save(X, tmp_path / "t.csv"), target="y")
    book = load(tmp_path / "t.xlsx", target="y")
    assert book.task.id == clean.task.id
    assert book.warnings == ("read the sheet 'data' of 2; `sheet` names another",)
    with pytest.raises(UnknownNameError, match=r"No sheet is called 'dat'\. .* Did you mean 'data'"):
        load(tmp_path / "t.xlsx", target="y", how=make_reading_options(sheet="dat"))
    again = eval(book.read.write_pandas_call(str(tmp_path / "t.xlsx")), {"pd": pd})
    assert load(again, target="y").task.id == clean.task.id
    records = [{"a": a, "u": {"b": b}, "y": y} for a, b, y in X.itertuples(index=False)]
    (tmp_path / "t.json").write_text(json.dumps(records))
    nested = load(tmp_path / "t.json", target="y")
    assert list(nested.features) == ["a", "u.b"]
    assert nested.task.id == clean.task.id
    (tmp_path / "columns.json").write_text(json.dumps({"a": [1, 2, 3], "y": [0, 1, 0]}))
    with pytest.raises(InputError, match="one JSON object that holds lists"):
        load(tmp_path / "columns.json")


def test_ids_copies_and_giveaways_are_left_out_or_named(tmp_path: Path) -> None:
    frame = X.assign(customer_id=rng.permutation(10**6)[:N], again=X["y"].map({0: "no", 1: "yes"}))
    table = load(save(frame[["customer_id", "a", "b", "again", "y"]], tmp_path / "t.csv"), target="y")
    assert table.preparation.dropped == {
        "again": "a copy of the target",
        "customer_id": "id: a different whole number in every row",
    }
    told = X.assign(score=X["y"] * 10 + rng.random(N))
    table = load(save(told[["a", "score", "y"]], tmp_path / "u.csv"), target="y")
    assert "column 'score' tells the target nearly alone" in table.warnings[0]


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        (["x", "y", "price"], "price"),
        (["Class", "a", "price"], "price"),
        (["target", "a", "price"], "target"),
        (["a", "b", "class"], "class"),
        (["y", "a", "b"], "y"),
        (["a", "SalePrice", "c"], "c"),
        (["a", "b", "c"], "c"),
    ],
)
def test_name_and_place_find_the_target(columns: list[str], target: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(rng.normal(size=(N, 3)), columns=columns)
    assert load(save(frame, tmp_path / "t.csv")).target == target
