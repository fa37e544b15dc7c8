"""An exported script holds foreign names: whatever they are, it does what the script of a tame table does."""

import ast
import builtins
import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from metahp.core.errors import InputError
from metahp.core.metric import find_metric
from metahp.datasets.load import load
from metahp.datasets.table import Table
from metahp.learners.registry import find_learner
from metahp.results.script import ScriptFolds, make_training_script

N_ROWS = 36
OWNED = "metahp_owned"
ATTACK = f"import builtins; builtins.{OWNED} = True"
PIECES = [
    '"""',
    "'''",
    '"',
    "'",
    "\\",
    "\\\\",
    "\n",
    "\r",
    "\t",
    "{",
    "}",
    "{0}",
    "%s",
    "#",
    ";",
    ",",
    ":",
    " ",
    "\\N",
    "\\x",
    "\\u12",
    "coding: utf-7",
    "# -*- coding: rot13 -*-",
    f'";{ATTACK};"',
    f'""";{ATTACK};"""',
    f"\n{ATTACK}\n",
    f'{{__import__("builtins").__dict__.update({OWNED}=1)}}',
    "s3://bucket/",
    "http:",
    "~",
    "*",
    "?",
    "[a]",
    "%20",
    "&",
    "\x1b[31m",
    "\x07",
    "\u202e",
    "\u2028",
    "\u2066",
    "\u200b",
    "\ufeff",
    "é",
    "表",
    "😀",
    "a",
    "b",
    "1",
    "_",
]
LONGEST_FILE_NAME = 255
names = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
file_names = st.lists(st.sampled_from([*PIECES, "\udcff", "\udc80"]), min_size=1, max_size=4).map("".join)


def values(names: list[str], classes: list[str]) -> dict[str, list[object]]:
    rng = np.random.default_rng(0)
    number, other, word, day, group, target = names
    return {
        number: rng.normal(size=N_ROWS).round(3).tolist(),
        other: rng.integers(0, 9, N_ROWS).tolist(),
        word: [classes[i % 3] for i in rng.integers(0, 9, N_ROWS)],
        day: [f"2024-0{i % 9 + 1}-1{i % 7}" for i in range(N_ROWS)],
        group: [f"g{i % 9}" for i in range(N_ROWS)],
        target: [classes[i % 2] for i in range(N_ROWS)],
    }


def as_csv(columns: dict[str, list[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def as_json_lines(columns: dict[str, list[object]]) -> bytes:
    rows = zip(*columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows).encode()


def as_parquet(columns: dict[str, list[object]]) -> bytes:
    return pd.DataFrame(columns).to_parquet()


def as_arff(columns: dict[str, list[object]]) -> bytes:
    def quoted(text: object) -> str:
        # Only a line break cannot be quoted in this format.
        one_line = str(text).replace("\n", "").replace("\r", "")
        return "'" + one_line.replace("\\", "\\\\").replace("'", "\\'") + "'"

    kinds = ["numeric", "numeric", "string", "date", "string", "string"]
    header = [f"@attribute {quoted(name)} {kind}" for name, kind in zip(columns, kinds, strict=True)]
    rows = zip(*columns.values(), strict=True)
    cells = [[str(cell) if isinstance(cell, float | int) else quoted(cell) for cell in row] for row in rows]
    return "\n".join(["@relation r", *header, "@data", *map(",".join, cells)]).encode()


FORMATS = {".arff": as_arff, ".csv": as_csv, ".jsonl": as_json_lines, ".parquet": as_parquet}


def script_of(table: Table, path: str, learner: str, group: str) -> str:
    return make_training_script(
        find_learner(learner).space(table.task.type).default,
        table,
        path,
        metric=find_metric(table.task.type),
        seed=0,
        verb="recommends",
        expectation="Nothing is known.",
        folds=ScriptFolds(count=3, kind="group", column=group) if group else ScriptFolds(),
    )


def actions(script: str) -> set[str]:
    """What a script calls and imports."""
    done = set()
    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Call):
            # Of a call on what a call gave, the name is enough; of one on a text, its form.
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            done.add(f"call {name}")
        elif isinstance(node, ast.Import):
            done |= {f"import {alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            done |= {f"from {node.module} import {alias.name}" for alias in node.names}
    return done


def run_here(script: str) -> str:
    """What the script prints, with warnings as errors."""
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="The max_iter was reached")
        exec(compile(script.encode("utf-8"), "script.py", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("scripts")
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def tame_actions(folder: Path) -> set[str]:
    """What the scripts of tame tables do: with all formats, renamed columns, and names that LightGBM refuses."""
    allowed = set()
    for suffix, write in FORMATS.items():
        for first in ("number", "number, in m", " ", "it's"):
            path = folder / f"tame{suffix}"
            path.write_bytes(write(values([first, "other", "word", "day", "group", "label"], ["u", "v", "w"])))
            table = load(path, target="label")
            for learner in ("linear", "lightgbm"):
                allowed |= actions(script_of(table, str(path), learner, "group"))
                allowed |= actions(script_of(table, str(path), learner, ""))
    return allowed


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(
    file=file_names,
    columns=st.lists(names, min_size=6, max_size=6, unique_by=str.strip),
    classes=st.lists(names, min_size=3, max_size=3, unique_by=str.strip),
    suffix=st.sampled_from(sorted(FORMATS)),
    learner=st.sampled_from(["linear", "lightgbm"]),
    is_absolute=st.booleans(),
    is_grouped=st.booleans(),
)
def test_the_script_of_hostile_names_does_what_that_of_tame_ones_does(
    folder: Path,
    tame_actions: set[str],
    file: str,
    columns: list[str],
    classes: list[str],
    suffix: str,
    learner: str,
    is_absolute: bool,
    is_grouped: bool,
) -> None:
    file = file.replace("/", "") + suffix
    assume(len(os.fsencode(file)) <= LONGEST_FILE_NAME)
    (folder / file).write_bytes(FORMATS[suffix](values(columns, classes)))
    path = str(folder / file) if is_absolute else file
    try:
        table = load(path)
    except InputError:
        # The names themselves make it no table: a separator that fits better, a class that marks a gap.
        assume(False)
    group = [*table.preparation.categorical, *table.preparation.dates][-1] if is_grouped else ""
    script = script_of(table, path, learner, group)
    assert script.startswith('"""Train')
    assert all(character.isprintable() or character == "\n" for character in script)
    assert actions(script) <= tame_actions
    printed = run_here(script)
    assert not hasattr(builtins, OWNED)
    assert re.search(r"^ROC AUC: \d\.\d{4} \(3-fold", printed), printed
    assert f"fitted on all {table.task.n_rows} rows" in printed
    (folder / file).unlink()


@pytest.mark.parametrize("file", ['x""";print("owned");""".csv', "C\\users\\N.csv"])
def test_the_name_of_a_file_runs_nothing(tmp_path: Path, file: str) -> None:
    columns = values(["{print(1)}", "\\N", '"; print("owned")', "# day", "'''", 'print("owned")'], ["\\x", "'", '"'])
    (tmp_path / file).write_bytes(as_csv(columns))
    script = script_of(load(tmp_path / file), file, "linear", "")
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "train.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.fullmatch(r"ROC AUC: \S+ \(3-fold cross-validation\)\nfitted on all 36 rows\n", done.stdout)
    assert ast.get_docstring(ast.parse(script)).startswith(f"Train linear on {file} with")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "file", ["http:a", "s3:", "~a", "~", "C:\\a", "a?b#c%20[d]*", "\udcff\udc80", "a.zip", "year=2020/a"]
)
def test_a_file_is_read_whatever_its_name_looks_like(folder: Path, file: str, suffix: str) -> None:
    path = Path(file + suffix) if not file.endswith(":") else Path(f"{file}//a{suffix}")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(FORMATS[suffix](values(["p", "q", "word", "day", "group", "label"], ["u", "v", "w"])))
    table = load(str(path))
    assert "fitted on all 36 rows" in run_here(script_of(table, str(path), "linear", ""))


def test_a_plain_file_is_not_unpacked_for_its_name(folder: Path) -> None:
    for file in ("a.csv.zip", "a.bz2", "A.XZ"):
        Path(file).write_bytes(as_csv(values(["p", "q", "word", "day", "group", "label"], ["u", "v", "w"])))
        assert "fitted on all 36 rows" in run_here(script_of(load(file), file, "linear", ""))


@pytest.mark.parametrize(
    "classes", [["1_0", "2_0", "3_0"], ["１", "２", "３"], ["1000001", "1000002", "1000003"], ["-0.0", "0.5", "1"]]
)
def test_classes_that_look_like_numbers_stay_what_they_were_read_as(folder: Path, classes: list[str]) -> None:
    columns = values(["p", "q", "word", "day", "group", "label"], ["u", "v", "w"])
    columns["label"] = [classes[i % 3] for i in range(N_ROWS)]
    Path("labels.csv").write_bytes(as_csv(columns))
    table = load("labels.csv", task="multiclass")
    found: dict[str, object] = {}
    exec(script_of(table, "labels.csv", "lightgbm", "").partition("model =")[0], found)
    assert len(np.unique(found["y"])) == len(table.classes) == 3


def test_far_dates_are_dates_in_the_script_too(folder: Path) -> None:
    columns = values(["p", "q", "word", "day", "group", "label"], ["u", "v", "w"])
    columns["day"][:2] = ["9999-12-31", "0001-01-01"]
    Path("far.csv").write_bytes(as_csv(columns))
    table = load("far.csv")
    assert table.preparation.dates == ("day",)
    assert "fitted on all 36 rows" in run_here(script_of(table, "far.csv", "lightgbm", ""))
