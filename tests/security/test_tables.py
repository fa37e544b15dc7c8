"""Tables of others end as a table or as one clear line: no crash, no hang, and no more memory than there is."""

import gzip
import io
import json
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

from metahp.core.errors import InputError, UnknownNameError
from metahp.datasets import limits
from metahp.datasets.infer import build_table
from metahp.datasets.limits import MAX_COLUMNS, MAX_DEPTH
from metahp.datasets.load import load
from metahp.datasets.raw import RawTable
from metahp.datasets.read import TableSource, make_frame
from metahp.datasets.table import Table

N_ROWS = 40
DEEP = 20_000
ROWS = "".join(f"{i % 7},{i % 5},{'ab'[i % 2]}\n" for i in range(N_ROWS))


def loaded(folder: Path, name: str, content: bytes | str) -> Table:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(path)


def refused(folder: Path, name: str, content: bytes | str, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        loaded(folder, name, content)
    assert "\n" not in str(caught.value)


# --- Nesting


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


DEEP_JSON: dict[str, tuple[str, int]] = {
    "lists": (f'{{"a": {nested(DEEP)}}}\n', 1),
    "objects": ('{"a":' * DEEP + "1" + "}" * DEEP + "\n", 1),
    "over many lines": ('{"a":\n' * DEEP + "1" + "}\n" * DEEP, MAX_DEPTH + 1),
    "behind closing brackets in a string": (f'{{"a": "{"]" * DEEP}", "b": {nested(DEEP)}}}\n', 1),
    "behind an escaped quote": (f'{{"a": "\\"{"]" * DEEP}", "b": {nested(DEEP)}}}\n', 1),
    "closed in strings alone": ('{"a": ' + '["]",' * DEEP + "1" + "]" * DEEP + "}\n", 1),
    "one level a line, closed in strings": ('{"a": "}", "b": [{}\n' + ',{"a": "}", "b": [{}\n' * DEEP, 16),
    "after a string that is not closed": ('{"a": "\n' + nested(DEEP) + "\n", 2),
    "after lines that are fine": ('{"a": 1, "y": 2}\n' * 50 + f'{{"a": {nested(DEEP)}}}\n', 51),
    "after lines that only close": ("]" * DEEP + "\n" + "[" * DEEP + "\n", 2),
    "one too many": (f'{{"a": {nested(MAX_DEPTH)}}}\n', 1),
}


@pytest.mark.parametrize(("text", "line"), DEEP_JSON.values(), ids=DEEP_JSON)
def test_deep_json_is_refused_before_a_parser_sees_it(tmp_path: Path, text: str, line: int) -> None:
    refused(tmp_path, "t.jsonl", text, f"line {line}: nested deeper than {MAX_DEPTH} levels")


def test_as_deep_as_is_allowed_and_brackets_in_text_are_read(tmp_path: Path) -> None:
    cells = [nested(MAX_DEPTH - 1), '{"k":' * (MAX_DEPTH - 1) + "1" + "}" * (MAX_DEPTH - 1), '"' + "[{" * 99 + '"']
    for cell in cells:
        lines = [f'{{"a": {cell}, "b": {i % 5}, "y": {i % 2}}}\n' for i in range(N_ROWS - 1)]
        table = loaded(tmp_path, "t.jsonl", "".join(lines) + '{"a": null, "b": 1, "y": 0}\n')
        assert [name.split(".")[0] for name in table.features] == ["a", "b"]


def test_objects_over_several_lines_are_read(tmp_path: Path) -> None:
    objects = [json.dumps({"a": i % 7, "text": "x" * 99, "y": "uv"[i % 2]}, indent=2) for i in range(20_000)]
    assert loaded(tmp_path, "t.jsonl", "\n".join(objects)).task.n_rows == 20_000


def parquet_of(kind: pa.DataType, value: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([value, None] * 20, kind), "b": [1, 2] * 20, "y": ["u", "v"] * 20}), buffer)
    return buffer.getvalue()


def test_lists_and_structs_in_parquet_are_text_up_to_the_same_depth(tmp_path: Path) -> None:
    kind, value = pa.int8(), 1
    for _ in range(MAX_DEPTH):
        kind, value = pa.list_(kind), [value]
    assert list(loaded(tmp_path, "t.parquet", parquet_of(kind, value)).features)[:1] == ["a"]
    struct_kind = pa.struct([("k", pa.int8()), ("l", pa.list_(pa.string()))])
    assert list(loaded(tmp_path, "t.parquet", parquet_of(struct_kind, {"k": 1, "l": ["x"]})).features)[:1] == ["a"]
    refused(
        tmp_path, "t.parquet", parquet_of(pa.list_(kind), [value]), "nested deeper than 32 levels in the column 'a'"
    )


def compact(fields: list[tuple[int, int, bytes]]) -> bytes:
    """A struct in Thrift's compact protocol of (id, type, content), the ids in order."""
    previous, parts = 0, []
    for field, kind, content in fields:
        parts.append(bytes([(field - previous) << 4 | kind]) + content)
        previous = field
    return b"".join(parts) + b"\0"


def varint(number: int) -> bytes:
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + [groups[-1]])


def declared_parquet(depth: int, n_rows: int) -> bytes:
    """A Parquet file without data, of groups in groups `depth` deep, that says that it has `n_rows`."""
    int32, int64, binary, array, record = 5, 6, 8, 9, 12
    group = compact([(3, int32, varint(2)), (4, binary, b"\x01a"), (5, int32, varint(2))])
    leaf = compact([(1, int32, varint(2)), (3, int32, varint(2)), (4, binary, b"\x01x")])
    elements = [group] * (depth + 1) + [leaf]
    schema = bytes([0xF0 | record]) + varint(len(elements)) + b"".join(elements)
    rows = varint(n_rows << 1)
    footer = compact([(1, int32, varint(4)), (2, array, schema), (3, int64, rows), (4, array, bytes([record]))])
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def test_what_a_parquet_file_declares_is_checked_before_it_is_read(tmp_path: Path) -> None:
    refused(tmp_path, "t.parquet", declared_parquet(DEEP, 1), "not a readable Parquet file .*nested")
    refused(tmp_path, "t.parquet", declared_parquet(1, 2**60), "1,152,921,504,606,846,976 rows and 1 columns, .* GiB")


@pytest.mark.parametrize(
    "notes", ["{}", "5", "[" * 100_000, '{"columns": 5}', '{"index_columns": ["?"], "columns": []}']
)
def test_broken_notes_of_pandas_in_parquet_are_one_line(tmp_path: Path, notes: str) -> None:
    table = pa.table({"a": [1, 2] * 20, "y": ["u", "v"] * 20}).replace_schema_metadata({"pandas": notes})
    pq.write_table(table, tmp_path / "made.parquet")
    refused(tmp_path, "t.parquet", (tmp_path / "made.parquet").read_bytes(), "not a readable Parquet file")


# --- Memory


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 1 << 16)


@pytest.mark.usefixtures("small_memory")
def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a,b,y\n" + ROWS * 500
    refused(
        tmp_path, "t.csv.gz", gzip.compress(text.encode()), r"unpacked holds more than 0\.0 GiB.* take a part: zcat"
    )
    refused(tmp_path, "t.csv", text.encode("utf-16"), "as UTF-8 holds more than .*Save it as UTF-8")
    arff = "@relation r\n@attribute a numeric\n@attribute b numeric\n@attribute y {a,b}\n@data\n"
    refused(tmp_path, "t.arff", arff + ROWS * 500, "holds more than .*Save it as CSV or as Parquet")
    for data in (text.encode(), gzip.compress(text.encode())):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(InputError, match=r"standard input.* holds more than"):
            load("-")
    assert loaded(tmp_path, "t.csv", text).task.n_rows == 500 * N_ROWS


def test_a_bomb_is_refused_within_the_memory_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = psutil.virtual_memory()._replace(available=1 << 26)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with gzip.open(tmp_path / "t.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"a,b,y\n")
        for _ in range(50):
            file.write(b"1,2,a\n" * 200_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"holds more than 0\.0 GiB"):
        load(tmp_path / "t.csv.gz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


LARGE_IN_MEMORY: dict[str, tuple[str, str, str]] = {
    "sparse ARFF": (
        "t.arff",
        "@relation r\n" + "".join(f"@attribute a{i} numeric\n" for i in range(20_000)) + "@data\n" + "{}\n" * 500_000,
        "500,000 rows and 20,000 columns",
    ),
    "JSON with few keys a line": (
        "t.jsonl",
        json.dumps(dict.fromkeys(map(str, range(20_000)), 1)) + "\n" + '{"1": 1}\n' * 500_000,
        "500,001 rows and 20,000 columns",
    ),
    "JSON with paths of its own on each line": (
        "t.jsonl",
        "".join(
            "".join(f'{{"{letter}":' for letter in random.Random(i).choices("abcdefghij", k=25)) + "1" + "}" * 25 + "\n"
            for i in range(100_000)
        ),
        "100,000 rows and",
    ),
}


@pytest.mark.parametrize(("name", "text", "message"), LARGE_IN_MEMORY.values(), ids=LARGE_IN_MEMORY)
def test_a_small_file_that_is_large_in_memory_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    refused(tmp_path, name, text, f"{message}.* GiB in memory; expected at most .* Leave out columns or rows")


# --- Columns


def wide(suffix: str, n_columns: int) -> bytes:
    names = [f"c{i}" for i in range(n_columns)]
    if suffix == ".csv":
        return (",".join(names) + "\n" + ("1," * (n_columns - 1) + "2\n") * 20).encode()
    if suffix == ".jsonl":
        return (json.dumps(dict.fromkeys(names, 1)) + "\n").encode() * 20
    if suffix == ".arff":
        header = "".join(f"@attribute {name} numeric\n" for name in names)
        return ("@relation r\n" + header + "@data\n" + ("1," * (n_columns - 1) + "2\n") * 20).encode()
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array([1.0] * 20)] * n_columns, names=names), buffer, use_dictionary=False)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".arff", ".parquet"])
def test_too_many_columns_are_refused_at_once(tmp_path: Path, suffix: str) -> None:
    content = wide(suffix, MAX_COLUMNS + 1)
    start = time.process_time()
    refused(tmp_path, "t" + suffix, content, "'t.* has 25,001 columns; expected at most 25,000.* Keep the columns that")
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "text",
    [
        "".join(f'{{"k{i}": 1}}\n' for i in range(100_000)),
        '{"a": 1, "y": "u"}\n' * 100_000 + "".join(f'{{"k{i}": 1}}\n' for i in range(100_000)),
    ],
    ids=["on all lines", "on the last lines"],
)
def test_new_keys_on_every_line_are_refused_too(tmp_path: Path, text: str) -> None:
    start = time.process_time()
    refused(tmp_path, "t.jsonl", text, "columns.* expected at most")
    assert time.process_time() - start < 10


def test_too_many_columns_from_python_are_refused(tmp_path: Path) -> None:
    many = np.zeros((20, MAX_COLUMNS + 1))
    for X in (many, pd.DataFrame(many), scipy.sparse.csr_matrix(many)):
        with pytest.raises(InputError, match=r"has 25,00[12] columns; expected at most 25,000"):
            load(X, [0, 1] * 10)
    with pytest.raises(InputError, match="sparse matrix has 1,000,000,000,000 rows and 9 columns"):
        make_frame(scipy.sparse.coo_matrix((10**12, 9)))


# --- What is no file


def test_standard_input_that_is_closed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    for stdin in (None, closed):
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(InputError, match=r"standard input, which is closed\. Try: "):
            load("-")
    monkeypatch.setattr(sys, "stdin", io.StringIO("a,y\n"))
    with pytest.raises(InputError, match="found text without bytes"):
        load("-")


def test_devices_pipes_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")
    Path("zero.csv").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.csv")
        for name, kind in {
            "pipe.csv": r"a named pipe, expected a file\. Try: metahp … - < pipe.csv",
            "zero.csv": "a device or terminal, expected a file",
            "/dev/zero": "a device or terminal, expected a file",
            "socket.csv": "a socket, expected a file",
        }.items():
            with pytest.raises(InputError, match=f"'{name}' is {kind}"):
                load(name)


@pytest.mark.parametrize(
    "command", ["cat t.csv | {python} /dev/stdin", "{python} /dev/stdin < t.csv", "{python} <(cat t.csv)"]
)
def test_pipes_of_the_shell_are_read(tmp_path: Path, command: str) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n" + ROWS)
    code = "import sys; from metahp.datasets.load import load; print(load(sys.argv[1]).task)"
    python = f"{sys.executable} -c '{code}'"
    done = subprocess.run(
        ["bash", "-c", command.format(python=python)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"n_rows={N_ROWS}" in done.stdout
    assert "name='stdin'" in done.stdout


# --- Names


HOSTILE_NAMES = ["\ud800", "a\udcffb", "nul\0", "\0", "two\nlines", "\u202e", "\x1b[2J", "", " "]


def is_encodable(*texts: str) -> bool:
    return all(text.encode("utf-8") is not None for text in texts)


@pytest.mark.parametrize("file", ["\udcff.csv", "a\nb.csv", "\x1b[2J.csv", "\udc80\udcfe.csv.gz"])
def test_tasks_have_names_that_any_database_can_keep(tmp_path: Path, file: str) -> None:
    text = ("a,b,y\n" + ROWS).encode()
    (tmp_path / file).write_bytes(gzip.compress(text) if file.endswith("gz") else text)
    tables = [
        load(tmp_path / file),
        TableSource(path=str(tmp_path / file), name="\udcff", group="\ud800").load(),
        build_table(RawTable.of(pd.DataFrame({"a": [1, 2] * 20, "y": [0, 1] * 20}), name="\udcff")),
    ]
    assert all(is_encodable(table.task.name, table.task.group) for table in tables)
    assert tables[1].task.name == "\\udcff"
    with pytest.raises(InputError, match="There is no file") as caught:
        load(tmp_path / f"no {file}")
    assert "\n" not in str(caught.value)
    assert is_encodable(str(caught.value))


def test_names_classes_and_categories_of_a_frame_are_encodable() -> None:
    values = [HOSTILE_NAMES[i % len(HOSTILE_NAMES)] for i in range(90)]
    numbers = pd.Series(np.arange(90) % 7)
    columns = [numbers] * len(HOSTILE_NAMES) + [pd.Series(values, dtype=object)] * 2
    frame = pd.concat(columns, axis=1).set_axis(pd.Index([*HOSTILE_NAMES, "text", "a\udcff"], dtype=object), axis=1)
    categories = pd.Index(HOSTILE_NAMES, dtype=object)
    frame = frame.assign(text=pd.Categorical.from_codes(np.arange(90) // 2 % len(categories), categories))
    table = build_table(frame, target="a\udcff")
    assert len(table.classes) == len({value.strip() for value in values} - {""})
    assert table.features.shape[1] == len(HOSTILE_NAMES) + 1
    texts = [*table.features, *table.classes, table.target, *table.warnings, *table.features["text"].cat.categories]
    assert is_encodable(*texts, *table.preparation.numeric, *table.preparation.renamed)
    assert table.target == "a\\udcff"
    table.features.to_parquet(io.BytesIO())
    json.dumps(texts, ensure_ascii=False).encode()


def test_half_characters_from_python_and_from_json_are_texts(tmp_path: Path) -> None:
    labels = ["\ud800", "v"] * 20
    for y in (labels, np.array(labels), pd.Series(labels, dtype=object, name="\udcff")):
        table = load(np.arange(40).reshape(-1, 1) % 7, y)
        assert table.classes == ("\\ud800", "v")
    lines = [json.dumps({"\ud800": i % 7, "b": "\udfff" if i % 3 else "k", "y": labels[i]}) for i in range(40)]
    table = loaded(tmp_path, "t.jsonl", "\n".join(lines))
    assert list(table.features) == ["\\ud800", "b"]
    assert table.classes == ("\\ud800", "v")


def test_classes_that_differ_in_a_nul_are_two_classes() -> None:
    assert load(np.arange(40).reshape(-1, 1) % 7, ["a", "a\0"] * 20).classes == ("a", "a\0")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["http:a", "a?b#c%20 [d]*", "\udcff", "~a", "line\nbreak", "C:\\a"])
def test_any_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, packed: bool) -> None:
    monkeypatch.chdir(tmp_path)
    text = ("a,b,y\n" + ROWS).encode()
    frame = pd.read_csv(io.BytesIO(text))
    contents = {".csv": text, ".jsonl": frame.to_json(orient="records", lines=True).encode(), ".pq": frame.to_parquet()}
    expected = load(frame).task.id
    for suffix, content in contents.items():
        if packed and suffix == ".pq":
            continue
        file = name + suffix + (".gz" if packed else "")
        Path(file).write_bytes(gzip.compress(content) if packed else content)
        assert load(file).task.id == expected
        assert load(tmp_path / file).task.id == expected


# --- Damage


def mixed_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": np.where(rng.random(N_ROWS) < 0.2, np.nan, rng.normal(size=N_ROWS)),
            "word": rng.choice(["a b", "b,c", "d'e", 'q"r', "über"], N_ROWS),
            "day": pd.date_range("2020-01-01", periods=N_ROWS, freq="7h"),
            "y": rng.choice(["u", "v"], N_ROWS),
        }
    )


def as_arff(frame: pd.DataFrame) -> bytes:
    cells = [
        ",".join("?" if cell != cell else f"'{cell}'".replace("d'e", "d\\'e") for cell in row)
        for row in frame.to_numpy()
    ]
    header = "".join(f"@attribute '{name}' {'numeric' if name == 'number' else 'string'}\n" for name in frame)
    return ("@relation r\n" + header.replace("'number'", "number") + "@data\n" + "\n".join(cells)).encode()


def intact_files() -> dict[str, bytes]:
    frame = mixed_frame()
    text = frame.to_csv(index=False)
    sparse = "@relation r\n@attribute a numeric\n@attribute b {'no way',yes}\n@attribute y {u,v}\n@data\n"
    lists = frame.assign(l=[[i % 3, i % 2] for i in range(N_ROWS)], s=[{"k": i % 3} for i in range(N_ROWS)])
    return {
        "comma.csv": text.encode(),
        "quoted.csv": frame.to_csv(index=False, quoting=1, sep=";").encode(),
        "wide.csv": text.encode("utf-16"),
        "packed.csv.gz": gzip.compress(text.encode()),
        "lines.jsonl": frame.astype(str).to_json(orient="records", lines=True).encode(),
        "dense.arff": as_arff(frame),
        "sparse.arff": (sparse + "{0 4, 1 yes, 2 v}\n{}\n{1 ?}, {2}\n" * 20).encode(),
        "plain.parquet": frame.to_parquet(),
        "lists.parquet": lists.to_parquet(),
    }


HOSTILE_PIECES = [
    b'"',
    b"'",
    b"\\",
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b"{",
    b"}",
    b"[",
    b"@data",
    b"@attribute",
    b"%",
    b"?",
]
HOSTILE_PIECES += [
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
    b"inf",
    b"\0",
    b"9" * 30,
    b"\\ud800",
    b"9999-12-31",
    b"\xe2\x80\xa8",
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few of them changed, removed, repeated or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(rng.choice([len(changed), 200, len(changed)])) % max(len(changed), 1)
        end = at + rng.randrange(1, 100)
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at:at] = rng.choice(HOSTILE_PIECES)
        elif kind == 2 and len(changed) > 200:
            del changed[at:end]
        elif kind == 3:
            changed[at:at] = changed[at:end] * rng.choice([1, 2, 30])
        elif rng.random() < 0.2:
            del changed[max(at, 8) :]
    return bytes(changed)


def hostile_files() -> dict[str, bytes]:
    """Files on whose lines a parser could take the square of their length, or more."""
    n = 100_000
    head = "@relation r\n@attribute a numeric\n@attribute b string\n@data\n"
    dense = [
        "'x', a" + " " * n + "b",
        "'" * n,
        '"' * n,
        "\\" * n,
        "'\\" * n,
        "', " * n,
        ",{" * n,
        ",{}" + " " * n + "x",
    ]
    dense += ["'x',1,'" + "a " * n, "'x' " + "\\'" * n, "1,'" + "x" * 10_000_000 + "'"]
    sparse = ["1" * n, " " * n, "0 1, x" + "1" * n, "1" * 5000 + " 1", "0 a" + " " * n + "b", "0 '" + "a " * n, "{" * n]
    texts = {f"dense {i}.arff": head + (line + "\n") * 3 for i, line in enumerate(dense)}
    texts |= {f"sparse {i}.arff": head + ("{" + line + "}\n") * 3 for i, line in enumerate(sparse)}
    texts["attribute.arff"] = "@relation r\n@attribute '" + "\\'" * n + " numeric\n@data\n1\n"
    csv = "a,b,y\n" + ROWS
    texts |= {
        "cell.csv": csv + "1," + "x" * 10_000_000 + ",a\n",
        "quoted cell.csv": csv + '1,"' + "x," * 5_000_000 + '",a\n',
        "digits.csv": "a,b,y\n" + ("1," + "9" * n + "x,a\n2," + "8" * n + "y,b\n") * 20,
        "fields.csv": csv + "1," * 1_000_000 + "\n",
        "long name.csv": "x" * 10_000_000 + ",b,y\n" + ROWS,
        "quotes.csv": csv + '"' * n + ",1,a\n",
        "open quote.csv": '"' * 1_000_001 + "\n" + ROWS,
        "backslashes.csv": csv + "\\" * n + ",1,a\n",
        "one line.csv": "x" * 30_000_000,
        "one line.jsonl": '{"a":"' + "x" * 30_000_000,
        "keys.jsonl": "{" + ",".join(f'"k{i}":1' for i in range(300_000)) + "}\n",
        "mark.jsonl": "\ufeff",
        "digits.jsonl": ('{"a":' + "9" * 5000 + ',"y":1}\n{"a":2,"y":2}\n') * 20,
    }
    return {name: text.encode() for name, text in texts.items()}


def survive(folder: Path, files: Callable[[], dict[str, bytes]], n_variants: int) -> None:
    """Load files, as they are or each in damaged variants; whatever is no table and no clear line ends the process."""
    warnings.simplefilter("error")
    for name, data in files().items():
        rng = random.Random(name)
        for variant in range(max(n_variants, 1)):
            content = damaged(data, rng) if n_variants else data
            (folder / name).write_bytes(content)
            start = time.process_time()
            try:
                load(folder / name, target="y" if variant % 2 else None)
            except (InputError, UnknownNameError):
                pass
            except Exception as error:
                raise AssertionError(f"{name}, variant {variant}: {content[:2000]!r}") from error
            seconds = time.process_time() - start
            assert seconds < 10, f"{name}, variant {variant}: {seconds:.1f} s"
    print("survived", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


@pytest.mark.parametrize("what", ["damaged", "hostile"])
def test_damaged_and_hostile_files_end_as_a_table_or_as_one_line(tmp_path: Path, what: str) -> None:
    # In a process of its own, which a crash would end.
    done = subprocess.run(
        [sys.executable, __file__, what, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    survived, peak = done.stdout.split()
    assert survived == "survived"
    assert int(peak) < 2_000_000


if __name__ == "__main__":
    if sys.argv[1] == "damaged":
        survive(Path(sys.argv[2]), intact_files, n_variants=150)
    else:
        survive(Path(sys.argv[2]), hostile_files, n_variants=0)
