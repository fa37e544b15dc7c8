"""Every format gives the same task, every bad file ends as one clear line, every odd one has its one warning."""

import gzip
import io
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.core.errors import InputError, UnknownNameError
from metahp.core.task import TaskType
from metahp.datasets.infer import build_table
from metahp.datasets.load import load
from metahp.datasets.raw import RawTable
from metahp.datasets.read import TableSource, read_frame
from metahp.datasets.table import Table

N_ROWS = 60


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "number": rng.normal(size=N_ROWS),
            "count": rng.integers(0, 9, N_ROWS),
            "word": rng.choice(["a b", "b,c", "d'e", 'q"r', "über"], N_ROWS),
            "flag": rng.random(N_ROWS) < 0.5,
            "day": pd.date_range("2020-01-01", periods=N_ROWS, freq="7h"),
            "y": rng.choice(["u", "v"], N_ROWS),
        }
    )
    table.loc[3, "number"] = np.nan
    table.loc[5, "word"] = None
    return table


def as_json_lines(frame: pd.DataFrame) -> str:
    def plain(value: object) -> object:
        if pd.isna(value):
            return None
        return value.item() if hasattr(value, "item") else value if isinstance(value, str | float) else str(value)

    return "".join(json.dumps({k: plain(v) for k, v in row.items()}) + "\n" for row in frame.to_dict("records"))


def as_arff(frame: pd.DataFrame) -> str:
    def cell(value: object) -> str:
        if pd.isna(value):
            return "?"
        escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
        return repr(value) if isinstance(value, float) else f"'{escaped}'"

    kinds = ["numeric", "INTEGER", "string", "{True,False}", "date 'yyyy-MM-dd HH:mm:ss'", "{u, v}"]
    header = "% a comment\n@RELATION r\n\n" + "".join(
        f"@attribute '{name}' {kind}\n" for name, kind in zip(frame.columns, kinds, strict=True)
    )
    rows = "".join(",".join(map(cell, row)) + "\n" for row in frame.itertuples(index=False))
    return header + "@DATA\n% another\n" + rows


WRITERS: dict[str, Callable[[pd.DataFrame], bytes]] = {
    "comma.csv": lambda f: f.to_csv(index=False).encode(),
    "semicolon.csv": lambda f: f.to_csv(index=False, sep=";").encode(),
    "tab.tsv": lambda f: f.to_csv(index=False, sep="\t").encode(),
    "bar.txt": lambda f: f.to_csv(index=False, sep="|").encode(),
    "windows.csv": lambda f: f.to_csv(index=False, lineterminator="\r\n").encode(),
    "old_mac.csv": lambda f: f.to_csv(index=False, lineterminator="\r").encode(),
    "blank_first.csv": lambda f: b"\n\n" + f.to_csv(index=False).encode() + b"\n  \n",
    "spaced.csv": lambda f: f.to_csv(index=False, quoting=1).replace('","', '", "').encode(),
    "na.csv": lambda f: f.to_csv(index=False, na_rep="NA").encode(),
    "question.csv": lambda f: f.to_csv(index=False, na_rep=" ?").encode(),
    "null.csv": lambda f: f.to_csv(index=False, na_rep="null").encode(),
    "upper_flags.csv": lambda f: f.to_csv(index=False).replace("True", "TRUE").replace("False", "FALSE").encode(),
    "mark.csv": lambda f: f.to_csv(index=False).encode("utf-8-sig"),
    "wide.csv": lambda f: f.to_csv(index=False).encode("utf-16"),
    "latin.csv": lambda f: f.to_csv(index=False).encode("latin-1"),
    "packed.csv.gz": lambda f: gzip.compress(f.to_csv(index=False).encode()),
    "packed.jsonl.gz": lambda f: gzip.compress(as_json_lines(f).encode()),
    "lines.jsonl": lambda f: as_json_lines(f).encode(),
    "nan.ndjson": lambda f: as_json_lines(f).replace("null", "NaN").encode(),
    "weka.arff": lambda f: as_arff(f).encode(),
    "packed.arff.gz": lambda f: gzip.compress(as_arff(f).encode()),
    "plain.parquet": lambda f: f.to_parquet(),
    "category.parquet": lambda f: f.astype({"word": "category", "y": "category"}).to_parquet(),
    "parquet_as.csv": lambda f: f.to_parquet(),
    "other_order.csv": lambda f: (
        f.sample(frac=1, random_state=1)[["y", "day", "word", "number", "flag", "count"]].to_csv(index=False).encode()
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_same_values_are_the_same_task_in_every_format(name: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WRITERS[name](frame))
    table = load(tmp_path / name, target="y")
    expected = load(frame, target="y")
    assert table.task.id == expected.task.id
    assert sorted(table.features.columns) == sorted(expected.features.columns)
    assert table.task.name == name.split(".")[0]
    assert len(table.warnings) == (name in ("wide.csv", "latin.csv"))


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("parquet_as.csv", "blank_first.csv")])
def test_pandas_alone_reads_the_same_table_again(name: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(WRITERS[name](frame))
    table = load(path, target="y")
    source = table.read.write_pandas_call(str(path), table.preparation.categorical)
    again = eval(source, {"pd": pd})
    assert build_table(RawTable.of(again, target="y")).task.id == table.task.id


def test_a_changed_cell_is_another_task(frame: pd.DataFrame) -> None:
    before = load(frame, target="y").task.id
    for column, value in {
        "number": 0.25,
        "count": 99,
        "word": "other",
        "flag": not frame.loc[7, "flag"],
        "day": pd.Timestamp("1999-01-01"),
        "y": "u" if frame.loc[7, "y"] == "v" else "v",
    }.items():
        changed = frame.copy()
        changed.loc[7, column] = value
        assert load(changed, target="y").task.id != before, column


def test_standard_input_is_read(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (
        frame.to_csv(index=False).encode(),
        gzip.compress(frame.to_csv(index=False).encode()),
        as_arff(frame).encode(),
        as_json_lines(frame).encode(),
        frame.to_parquet(),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert load("-", target="y").task.id == load(frame, target="y").task.id


def rows(n: int = 40, last: Callable[[int], str] = lambda i: "ab"[i % 2]) -> str:
    return "".join(f"{i % 7},{i % 5},{last(i)}\n" for i in range(n))


CONTROL = bytes(np.random.default_rng(0).integers(1, 256, 5000).astype("uint8"))
ARFF_HEAD = "@relation r\n@attribute a numeric\n@data\n"
BAD: dict[str, tuple[str, bytes | str, str]] = {
    "empty": ("t.csv", b"", "'t.csv' is empty; expected a header"),
    "blank": ("t.csv", "\n \n\n", "is empty"),
    "empty gzip": ("t.csv.gz", gzip.compress(b""), "is empty"),
    "header only": ("t.csv", "a,b,y\n", "a header and no rows"),
    "header without line end": ("t.csv", "a,b,y", "a header and no rows"),
    "one column": ("t.csv", "a\n" + "1\n2\n" * 20, "has one column; expected a target and at least one feature"),
    "one class": ("t.csv", "a,b,y\n" + rows(last=lambda i: "k"), "single class 'k'; expected at least 2"),
    "one value": ("t.csv", "a,b,y\n" + rows(last=lambda i: "1"), "single class '1'"),
    "no target value": ("t.csv", "a,b,y\n" + rows(last=lambda i: "NA"), "Every value of the target 'y' is missing"),
    "long row": ("t.csv", "a,b,y\n" + rows(10) + "1,2,3,4\n" + rows(), "line 12: expected 3 fields .* found 4"),
    "short row": ("t.csv", "a,b,y\n" + rows(10) + "1,2\n" + rows(), "line 12: expected 3 fields .* found 2"),
    "ragged after quoted line break": ("t.csv", 'a,b,y\n1,"x\ny",a\n1,2\n' + rows(), "line 4: expected 3 .* found 2"),
    "ragged after blank lines": ("t.csv", "\n\na,b,y\n" + rows(10) + "1,2\n" + rows(), "line 14: .* found 2"),
    "open quote": ("t.csv", 'a,b,y\n1,"x,2\n' + rows(), "line 2"),
    "not guessable": ("t.csv", CONTROL, "is not UTF-8, and has too many control characters .* Save it as UTF-8"),
    "NUL byte": ("t.csv", b"a,b\n1,\0\n", "binary file, expected text .a NUL byte at position 6"),
    "Excel": ("t.csv", b"PK\x03\x04" + CONTROL, "an Excel workbook .* save the sheet as CSV"),
    "half UTF-16": ("t.csv", b"\xff\xfea\0,", "starts as UTF-16 but is not valid"),
    "broken gzip": ("t.csv.gz", gzip.compress(rows().encode())[:30], "broken gzip archive"),
    "no gzip": ("t.csv.gz", "a,b,y\n" + rows(), "not a gzip archive, despite its name"),
    "broken Parquet": ("t.parquet", b"PAR1" + CONTROL, "not a readable Parquet file .*cut off"),
    "CSV called Parquet": ("t.parquet", "a,b,y\n" + rows(), "not a readable Parquet file .*another format"),
    "packed Parquet": ("t.parquet.gz", gzip.compress(b"PAR1"), "Parquet file inside gzip; unpack it"),
    "as many classes as rows": ("t.csv", "a,b,y\n" + rows(last=lambda i: f"k{i}"), "40 classes in 40 rows: .* an id"),
    "few rows": ("t.csv", "a,b,y\n" + rows(19), "at least 20 rows with a target, found 19"),
    "few targets": ("t.csv", "a,b,y\n" + rows(last=lambda i: "ab"[i % 2] if i < 19 else ""), "found 19"),
    "no feature": ("t.csv", "a,y\n" + "k,u\nk,v\n" * 20, "No usable feature column .* a .constant"),
    "infinite target": ("t.csv", "a,b,y\n" + rows(last=lambda i: f"{i / 7 if i else 'inf'}"), "infinite values"),
    "JSON array": ("t.json", '[{"a": 1}]', "found 1 column"),
    "JSON numbers": ("t.jsonl", "1\n2\n", "line 1: expected a JSON object, found int"),
    "broken JSON": ("t.jsonl", '{"a": 1}\n{"a": \n', "line 2: expected a JSON object, found broken JSON"),
    "JSON list below blank lines": ("t.jsonl", '{"a": 1}\n\n\n[1]\n', "line 4: expected a JSON object, found list"),
    "ARFF without data": ("t.arff", "@relation r\n@attribute a numeric\n", "without @data"),
    "ARFF without attributes": ("t.arff", "@relation r\n@data\n1\n", "before any @attribute"),
    "ARFF without rows": ("t.arff", "@relation r\n@attribute a numeric\n@data\n", "attributes and no rows"),
    "ARFF type": ("t.arff", "@relation r\n@attribute a relational\n@data\n1\n", "line 2: expected an attribute"),
    "ARFF header": ("t.arff", "@relation r\nwhat\n@data\n1\n", "line 2: expected @relation"),
    "ARFF number": ("t.arff", "@relation r\n@attribute a numeric\n@data\nz\n", "line 4: attribute 'a' is numeric"),
    "ARFF ragged": ("t.arff", "@relation r\n@attribute a numeric\n@data\n1,2\n", "line 4: expected 1 values"),
    "ARFF sparse index": ("t.arff", "@relation r\n@attribute a numeric\n@data\n{4 1}\n", "attribute 4 does not exist"),
    "ARFF sparse index without end": ("t.arff", ARFF_HEAD + "{" + "1" * 9999 + " 1}\n", "attribute 1{20} does not"),
    "ARFF sparse word": ("t.arff", ARFF_HEAD + "{0 1, what}\n", "line 4: expected a sparse row"),
    "ARFF sparse row": ("t.arff", "@relation r\n@attribute a numeric\n@data\n{0 1\n", "expected a sparse row"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_bad_file_is_one_clear_line(name: str, content: bytes | str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_closest(tmp_path: Path) -> None:
    (tmp_path / "churn.csv").write_text("a,y\n")
    with pytest.raises(InputError, match=r"no file '.*chrn\.csv'.* Did you mean '.*churn\.csv'"):
        load(tmp_path / "chrn.csv")
    with pytest.raises(InputError, match=r"Tables beside it: churn\.csv"):
        load(tmp_path / "something else")
    with pytest.raises(InputError, match="does not exist either"):
        load(tmp_path / "nowhere" / "churn.csv")


def test_directory_names_its_tables(tmp_path: Path) -> None:
    (tmp_path / "churn.csv").write_text("a,y\n")
    with pytest.raises(InputError, match=r"is a directory, expected a file\. Try one of: churn\.csv"):
        load(tmp_path)


def csv_table(tmp_path: Path, content: str, encoding: str = "utf-8") -> Table:
    (tmp_path / "t.csv").write_bytes(content.encode(encoding))
    return load(tmp_path / "t.csv")


def words(i: int) -> str:
    return "é" if i % 9 == 3 else "ü"


ODD: dict[str, tuple[str, str, str]] = {
    "repeated and empty names": (
        "a,a,,y\n" + "".join(f"{i % 7},{i % 5},{i % 3},{'ab'[i % 2]}\n" for i in range(40)),
        "utf-8",
        "2 empty or repeated column .* a_2, column_3",
    ),
    "infinite": ("a,b,y\n1,inf,a\n2,-Infinity,b\n" + rows(), "utf-8", "infinite values read as missing in b"),
    "mixed": (
        "a,b,y\n1,low,a\n2,high,b\n" + rows(),
        "utf-8",
        "column 'b' holds numbers but for 2 cells, read as missing: 'low' in line 2, 'high' in line 3",
    ),
    "mixed late": (
        "a,b,y\n" + rows(500) + "1,oops,a\n",
        "utf-8",
        "numbers but for 1 cell, read as missing: 'oops' in line 502",
    ),
    "latin-1": (
        "a,b,y\n" + "".join(f"{i % 7},{words(i)},{'ab'[i % 2]}\n" for i in range(40)),
        "latin-1",
        "not UTF-8, read as Latin-1",
    ),
    "utf-16": ("a,b,y\n" + rows(), "utf-16", "is UTF-16"),
    "missing targets": ("a,b,y\n1,2,\n3,4,?\n" + rows(), "utf-8", r"2 row\(s\) without a target left out"),
    "decimal commas": (
        "a;b;y\n" + "".join(f"{i % 7},5;{i % 5};{'ab'[i % 2]}\n" for i in range(40)),
        "utf-8",
        "decimal commas",
    ),
    "no header": ("5.5,1,a\n" + rows(), "utf-8", "first line is read as column names"),
}


@pytest.mark.parametrize(("content", "encoding", "message"), ODD.values(), ids=ODD)
def test_odd_file_is_read_with_exactly_one_warning(content: str, encoding: str, message: str, tmp_path: Path) -> None:
    table = csv_table(tmp_path, content, encoding)
    assert len(table.warnings) == 1
    assert re.search(message, table.warnings[0])
    assert table.features.shape[1] == content.splitlines()[0].count(table.read.separator)


def test_ten_thousand_columns_are_read_with_one_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.integers(0, 9, (40, 10_000))).add_prefix("c").assign(y=["u", "v"] * 20)
    wide.to_csv(tmp_path / "wide.csv", index=False)
    table = load(tmp_path / "wide.csv")
    assert table.features.shape == (40, 10_000)
    assert len(table.warnings) == 1
    assert "wide: 10,001 columns" in table.warnings[0]


def test_values_that_break_the_promise_of_the_first_rows_are_kept(tmp_path: Path) -> None:
    table = csv_table(tmp_path, "a,b,y\n" + rows(500) + " 1.5 , ?,a\nx,+2,b\n")
    assert table.features["a"].iloc[500] == 1.5
    assert np.isnan(table.features["a"].iloc[501])
    assert np.isnan(table.features["b"].iloc[500])
    assert table.features["b"].iloc[501] == 2.0


def test_numbers_are_parsed_to_the_last_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=200) * 10.0 ** np.random.default_rng(2).integers(-20, 20, 200)
    table = csv_table(tmp_path, "a,y\n" + "".join(f"{v!r},{'uv'[i % 2]}\n" for i, v in enumerate(values.tolist())))
    assert np.array_equal(table.features["a"], values)


def test_line_breaks_and_separators_in_quotes_are_values(tmp_path: Path) -> None:
    table = csv_table(tmp_path, "a,b,y\n" + ('1,"x\ny",u\n2,"p,q",v\n3,"r ""s""",v\n' * 20))
    assert set(table.features["b"]) == {"x\ny", "p,q", 'r "s"'}


def test_json_columns_of_two_types_and_absent_keys_are_read(tmp_path: Path) -> None:
    lines = [{"a": i % 5 if i % 3 else "x", "y": "uv"[i % 2]} | ({"late": i % 4} if i > 5 else {}) for i in range(40)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = load(tmp_path / "t.jsonl", target="y")
    assert list(table.features["late"].isna()) == [i <= 5 for i in range(40)]
    assert set(table.features["a"]) == {"x", "0", "1", "2", "3", "4"}


@pytest.mark.parametrize(
    "last", ['{"a": 1.5, "y": "u"}', '{"a": 1, "late": 2, "y": "u"}', '{"a": "x", "y": "u"}', '{"a": NaN, "y": "v"}']
)
def test_a_late_line_with_another_key_or_type_is_read_as_an_early_one_is(tmp_path: Path, last: str) -> None:
    lines = [f'{{"a": {i % 9}, "text": "{"x" * 500}{i % 3}", "y": "{"uv"[i % 2]}"}}' for i in range(4000)]
    tables = []
    for order in ([*lines, last], [last, *lines]):
        (tmp_path / "t.jsonl").write_text("\n".join(order))
        tables.append(load(tmp_path / "t.jsonl", target="y"))
    assert tables[0].task.id == tables[1].task.id
    assert sorted(tables[0].features) == sorted(tables[1].features)


def test_pandas_reads_json_lines_again_without_making_dates_of_them(tmp_path: Path) -> None:
    # By its name pandas takes a column like `modified` or `created_at` for seconds since 1970.
    rows = [{"modified": 100_000_000 + i, "created_at": f"{i % 4}", "y": "uv"[i % 2]} for i in range(40)]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = load(path)
    again = eval(table.read.write_pandas_call(str(path)), {"pd": pd})
    assert list(again["modified"]) == [row["modified"] for row in rows]
    assert list(again["created_at"]) == [row["created_at"] for row in rows]
    assert build_table(again).task.id == table.task.id


def test_sparse_arff_rows_mean_zero_where_they_are_silent(tmp_path: Path) -> None:
    header = "@relation r\n@attribute a numeric\n@attribute b {'no way',yes}\n@attribute y{u,v}\n@data\n"
    (tmp_path / "t.arff").write_text(header + "{0 4, 1 yes, 2 v}\n{}\n{1 ?}, {2}\n" * 20 + "{0 4}\n" * 9)
    table = load(tmp_path / "t.arff")
    assert list(table.features["a"][:3]) == [4, 0, 0]
    assert list(table.features["b"][:2]) == ["yes", "no way"]
    assert table.features["b"].isna().sum() == 20
    with pytest.raises(InputError, match="save it as CSV"):
        table.read.write_pandas_call("t.arff")


def test_source_travels_to_another_process(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_parquet(tmp_path / "t.parquet")
    source = TableSource(
        path=str(tmp_path / "t.parquet"), target="y", task_type=TaskType.BINARY, name="mine", group="kin"
    )
    again = pickle.loads(pickle.dumps(source))
    assert again == source
    assert hash(again) == hash(source)
    table = again.load()
    assert (table.task.name, table.task.group, table.task.type) == ("mine", "kin", TaskType.BINARY)


def test_read_frame_keeps_repeated_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    assert list(read_frame(tmp_path / "t.csv").columns) == ["a", "a"]


def test_unknown_names_are_met_with_the_closest(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(UnknownNameError, match=r"No column is called 'numbr'.*Did you mean 'number'"):
        load(frame, target="numbr")
    with pytest.raises(UnknownNameError, match=r"No `task` is called 'binry'.*Did you mean 'binary'"):
        load(frame, task="binry")


def test_python_containers_give_the_same_task() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    named = pd.DataFrame(X, columns=["p", "q", "target"], index=range(100, 150))
    ids = {
        load(*pair).task.id
        for pair in (
            (X, y),
            (X.tolist(), y.tolist()),
            (named, y),
            (named, pd.Series(y)),
            (named, pd.DataFrame({"k": y})),
            (X, y.reshape(-1, 1)),
            (np.column_stack([X, y]), None),
            (X, y.astype(str)),
        )
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((30, 2)), np.zeros(29), "differ in length: 30 rows and 29 targets"),
        (np.zeros(30), np.zeros(30), r"X of shape \(n, d\), found shape \(30,\)"),
        (np.zeros((3, 3, 3)), None, "rows and columns"),
        (np.zeros((30, 2)), np.zeros((30, 2)), r"y of shape \(n,\), found shape \(30, 2\)"),
        (np.zeros((30, 2), dtype=complex), [0, 1] * 15, "complex numbers"),
    ],
)
def test_wrong_shapes_from_python_are_input_errors(X: object, y: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(X, y)
