"""The script prepares columns as the fitted preparation does, whatever they and the new rows hold."""

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metahp.core.errors import InputError
from metahp.core.metric import find_metric
from metahp.datasets.load import load
from metahp.datasets.read import read_frame
from metahp.datasets.table import Table
from metahp.learners.registry import find_learner
from metahp.results.script import make_training_script

N = 40
DAY = pd.Timestamp("2019-01-20")
# How the i-th of different numbers is written in a column of each kind.
KINDS: dict[str, dict[str, Any]] = {
    "number": {
        "float": lambda i: f"{i * 0.37 - 3:.3f}",
        "whole": lambda i: str(i * 7 % 31),
        "scientific": lambda i: f"{i * 0.11:.4e}",
    },
    "written": {
        "dollars": lambda i: f"${1000 + 37.5 * i:,.2f}",
        "German": lambda i: f"{1000 + 37.5 * i:,.2f}".translate(str.maketrans(".,", ",.")),
        "sizes": lambda i: f"{16 + i} GB" if i % 3 else f"{1 + i % 5}TB",
        "percents": lambda i: f"{3 + i}%" if i % 2 else f"{0.01 * (3 + i):.2f}",
        "accounting": lambda i: f"({i + 1},200)" if i % 4 else f"{i + 1},300",
        "bounds": lambda i: f"<{i + 0.5}" if i % 9 == 0 else str(i + 0.5),
    },
    "clock": {
        "clock": lambda i: f"{i % 24:02d}:{i * 7 % 60:02d}:00",
        "half": lambda i: f"{1 + i % 12}:{i % 60:02d} {'AM' if i % 2 else 'pm'}",
        "spoken": lambda i: f"{i % 9}h {i % 60}m",
    },
    "category": {
        "word": lambda i: ["red", "green", "blue", "deep blue"][i % 4],
        "code": lambda i: f"{i % 5:03d}",
        "spellings": lambda i: ["Yes", "no", "YES", "No", "maybe", " yes", "MAYBE"][i % 7],
        "mixed": lambda i: ["1", "2.50", "many", "07"][i % 4],
        "flag": lambda i: ["TRUE", "False", "true"][i % 3],
    },
    "date": {
        "ISO": lambda i: f"{DAY + pd.Timedelta(days=11 * i):%Y-%m-%d}",
        "day first": lambda i: f"{DAY + pd.Timedelta(days=11 * i):%d/%m/%Y %H:%M}",
        "words": lambda i: f"{DAY + pd.Timedelta(days=11 * i):%d %B %Y}",
        "two formats": lambda i: f"{DAY + pd.Timedelta(days=11 * i):{'%b %d, %Y' if i % 3 else '%Y-%m-%dT%H:%M:%S'}}",
        "digits": lambda i: f"{DAY + pd.Timedelta(days=11 * i):%Y%m%d}",
        "zone": lambda i: f"{DAY + pd.Timedelta(hours=31 * i):%Y-%m-%d %H:%M}:00+02:00",
    },
}
WRITERS = {(kind, name): write for kind, writers in KINDS.items() for name, write in writers.items()}
MARKERS = ["", "?", "NA", "-", "null", "#N/A"]
# What is in no column, and what one of the readers could take for something else.
ODD = ["x", "YES", " nO ", "new", "inf", "-Infinity", "1e400", "1_000", "0x10", "1.5.2", "25:61:61", "3:4", "12", "0.5"]
ODD += ["1,5", "1.234", "12%", "7 kg", "$5", "€5", "(3)", "--3", "True", "true", "2019-02-30", "20190230", "20190228"]
ODD += [
    "01/02/2019",
    "13/13/2019",
    "NaT",
    "Nan",
    "１２",
    "Ünï",
    "2h",
    "1 day, 2:00:00",
    "2019-02-28T10:00:00Z",
    "  ",
    "0",
]
ODD += ["00", "2019", "007", "1e3", "20190120.0", "TRUE", "false", "tRue"]
TARGETS = {
    "classes": lambda i: ["good", "bad"][i * 13 % 7 % 2],
    "spelled": lambda i: ["good", "bad", "Good", "BAD"][i * 13 % 7 % 4],
    "numbers": lambda i: f"{(i * 13 % 37) / 8:.3f}",
    "amounts": lambda i: f"€{1000 * (i * 13 % 37) + 1:,}",
}

columns = st.lists(st.sampled_from(sorted(WRITERS)), min_size=1, max_size=4)
places = st.lists(st.integers(0, N - 1), max_size=3)
cells = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(MARKERS),
    st.builds(lambda key, i: WRITERS[key](i), st.sampled_from(sorted(WRITERS)), st.integers(0, 60)),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters='"'), max_size=8),
)


def write_rows(path: Path, names: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([names, *rows])


def write_script(table: Table, path: Path, learner: str = "linear") -> str:
    """The part of the script that reads the file and makes features."""
    configuration = find_learner(learner).space(table.task.type).default
    metric = find_metric(table.task.type)
    script = make_training_script(configuration, table, str(path), metric=metric, seed=0, verb="found", expectation="")
    return script.partition("\nmodel = ")[0]


def align(made: pd.DataFrame, expected: pd.DataFrame) -> pd.DataFrame:
    """The features of a script with the categories of the table; its own categories are those that it finds."""
    aligned = made.copy()
    for name in made:
        if isinstance(expected[name].dtype, pd.CategoricalDtype):
            aligned[name] = made[name].cat.set_categories(expected[name].cat.categories)
    return aligned


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    kinds=columns,
    target=st.sampled_from(sorted(TARGETS)),
    gaps=st.lists(places, min_size=4, max_size=4),
    new=st.lists(st.lists(cells, min_size=4, max_size=4), min_size=1, max_size=12),
)
def test_the_script_prepares_new_rows_of_every_kind_as_the_preparation_does(
    kinds: list[tuple[str, str]], target: str, gaps: list[list[int]], new: list[list[str]]
) -> None:
    names = [f"c{index}" for index in range(len(kinds))]
    rows = [[WRITERS[key](i) for key in kinds] for i in range(N)]
    for index, missing in enumerate(gaps[: len(kinds)]):
        for row in missing:
            rows[row][index] = MARKERS[row % len(MARKERS)]
    # One odd cell in a column is a missing value.
    rows[N // 2][0] = "odd!"
    rows = [[*row, str(i * 5 % 11), TARGETS[target](i)] for i, row in enumerate(rows)]
    header = [*names, "more", "target"]
    with tempfile.TemporaryDirectory() as folder:
        path, later = Path(folder) / "t.csv", Path(folder) / "new.csv"
        write_rows(path, header, rows)
        try:
            table = load(path, target="target")
        except InputError:
            return
        source = write_script(table, path)
        found: dict[str, Any] = {}
        exec(source, found)
        pd.testing.assert_frame_equal(align(found["X"], table.features), table.features)
        if table.classes:
            assert [table.classes.index(label) for label in found["y"]] == table.y.tolist()
        else:
            np.testing.assert_array_equal(found["y"], table.y)

        texts = pd.DataFrame([[*row[: len(kinds)], "3"] for row in new], columns=[*names, "more"])
        for frame in (texts, texts.astype(object).where(texts != "")):
            expected = table.preparation.transform(frame)[0]
            pd.testing.assert_frame_equal(align(found["prepare"](frame), expected), expected)

        # Rows in a file: metahp and the script read it, each in its own way.
        write_rows(later, header, [[*row, TARGETS[target](i)] for i, row in enumerate(texts.to_numpy().tolist())])
        expected = table.preparation.transform(read_frame(later, text_columns=table.preparation.text_names))[0]
        exec(source.replace(repr(str(path)), repr(str(later))).replace(str(path), str(later)), found)
        pd.testing.assert_frame_equal(align(found["X"], expected), expected)


def test_every_kind_is_met() -> None:
    for (kind, name), write in WRITERS.items():
        frame = pd.DataFrame({"v": [write(i) for i in range(N)], "y": [str(i % 2) for i in range(N)]})
        with tempfile.TemporaryDirectory() as folder:
            frame.to_csv(Path(folder) / "t.csv", index=False)
            table = load(Path(folder) / "t.csv", target="y")
        assert [column.kind for column in table.preparation.columns] == [kind], name


@pytest.mark.parametrize("footer", [["Total,,"], ["Total,200,", "Source: us,,"]])
def test_the_script_leaves_out_totals_as_metahp_does(footer: list[str], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = ["a,b,y", *(f"{i % 7},{i % 5},{i % 2}" for i in range(N)), *footer]
    path.write_text("\n".join(lines) + "\n")
    table = load(path, target="y")
    found: dict[str, Any] = {}
    exec(write_script(table, path), found)
    pd.testing.assert_frame_equal(found["X"], table.features)
    assert len(found["y"]) == N
