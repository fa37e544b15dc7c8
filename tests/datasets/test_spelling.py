"""Categories that differ only by case and blanks are one in files without types, and are named elsewhere."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.datasets.load import load
from metahp.datasets.preparation import Preparation
from metahp.datasets.reading import make_reading_options

N = 60
WORDS = ["yes", "no", "YES", "no", "yes ", "No", "Yes", "no", "yes", "no"]
FRAME = pd.DataFrame(
    {
        "a": np.random.default_rng(0).normal(size=N),
        "word": WORDS * (N // 10),
        "flag": ["TRUE", "true", "False", "FALSE", "True"] * (N // 5),
        "city": ["New York", "new  york", "Bern", "Rome"] * (N // 4),
        "y": np.random.default_rng(1).permutation(WORDS * (N // 10)),
    }
)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.xlsx"])
def test_spellings_of_one_category_are_merged_in_files_without_types(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".csv":
        FRAME.to_csv(path, index=False)
    elif path.suffix == ".xlsx":
        FRAME.to_excel(path, index=False)
    else:
        path.write_text(FRAME.to_json(orient="records", lines=name.endswith("l")))
    table = load(path, target="y")
    assert table.task.type.value == "binary"
    assert table.classes == ("no", "yes")
    assert list(table.features["word"].cat.categories) == ["no", "yes"]
    assert sorted(map(str.lower, table.features["flag"].cat.categories)) == ["false", "true"]
    assert list(table.features["city"].cat.categories) == ["Bern", "New York", "Rome"]
    said = " ".join(table.warnings)
    assert "column 'word' holds categories in several spellings: 'YES', 'Yes' as 'yes'; 'No' as 'no'" in said
    assert "column 'y' holds categories in several spellings" in said


def test_new_rows_may_have_any_spelling_and_the_preparation_keeps_it(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    preparation = load(tmp_path / "t.csv", target="y").preparation
    again = Preparation.from_dict(json.loads(json.dumps(preparation.to_dict())))
    new = FRAME.iloc[:4].assign(word=["yEs", " NO", "maybe", None], city=["NEW YORK", "rome", "BERN", "Bern"])
    for fitted in (preparation, again):
        features, notes = fitted.transform(new)
        assert features["word"].tolist()[:2] == ["yes", "no"]
        assert features["word"].isna().tolist() == [False, False, True, True]
        assert features["city"].tolist() == ["New York", "Rome", "Bern", "Bern"]
        assert notes == ("column 'word': 1 unknown value(s) read as missing ('maybe')",)


def test_what_has_types_or_was_asked_to_stay_is_left_apart_and_said(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet")
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    for table in (
        load(FRAME, target="y"),
        load(FRAME.astype({"word": "category"}), target="y"),
        load(tmp_path / "t.parquet", target="y"),
    ):
        assert set(table.features["word"].cat.categories) == {"YES", "Yes", "no", "No", "yes"}
        assert len(table.classes) == 5
        assert "column 'word' holds categories that differ only by case or blanks: " in " ".join(table.warnings)
        assert "'yes', 'YES', 'Yes'" in " ".join(table.warnings)
    kept = load(tmp_path / "t.csv", target="y", how=make_reading_options(categorical=["word", "y"]))
    assert len(kept.classes) == 5
    assert len(kept.features["word"].cat.categories) == 5
    assert not any("'word'" in warning for warning in kept.warnings)


@pytest.mark.parametrize("texts", [["AA", "Aa", "aa"], ["hId", "hid", "hEd", "hed"]])
def test_case_that_has_a_meaning_stays(texts: list[str], tmp_path: Path) -> None:
    gene = np.resize(np.array(texts, dtype=object), N)
    FRAME.assign(gene=gene)[["gene", "a", "y"]].to_csv(tmp_path / "t.csv", index=False)
    table = load(tmp_path / "t.csv", target="y")
    assert list(table.features["gene"].cat.categories) == sorted(texts)
    assert any("'gene' holds categories that differ only by case" in warning for warning in table.warnings)
