"""A missing file and a wrong name are refused before anything heavy is imported, in the shell and in Python."""

import subprocess
import sys
from pathlib import Path

import pytest

from metahp.api.checks import check_names
from metahp.datasets.header import read_plain_header

HEAVY = ("lightgbm", "sklearn", "scipy", "torch", "duckdb", "pandas", "pyarrow", "optuna")
ROWS = "age,city,price\n" + "".join(f"{20 + i},{'AB'[i % 2]},{i}.5\n" for i in range(40))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "houses.csv"
    path.write_text(ROWS)
    return path


def run_and_list_heavy(code: str, *words: str) -> tuple[str, list[str]]:
    """What the code printed on standard error before its last line, and the heavy modules that it has imported."""
    end = f"; print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}{end}", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *said, imported = done.stderr.split("\n")[:-1]
    return "\n".join(said), imported.split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "nowhere.csv"], "There is no file 'nowhere.csv'"),
        (["recommend", "nowhere.csv"], "There is no file 'nowhere.csv'"),
        (["describe", "nowhere.csv"], "There is no file 'nowhere.csv'"),
        (["predict", "nowhere.metahp", "TABLE"], "'nowhere.metahp' does not exist"),
        (["tune", "TABLE", "--metric", "acuracy"], "Did you mean 'accuracy'? (see --metric)"),
        (["recommend", "TABLE", "--metric", "acuracy"], "'acuracy' is not a metric"),
        (["tune", "TABLE", "--learner", "lightgmb"], "Did you mean 'lightgbm'?"),
        (["kb", "train", "--learner", "lightgmb"], "Did you mean 'lightgbm'?"),
        (["tune", "TABLE", "--task", "ternary"], "No --task is called 'ternary'"),
        (["tune", "TABLE", "--target", "pric"], "No column is called 'pric'. Known: age, city, price. Did you mean"),
        (["describe", "TABLE", "--target", "pric"], "(see --target)"),
        (["tune", "TABLE", "--group", "town"], "(see --group)"),
        (["tune", "TABLE", "--time", "day"], "(see --time)"),
        (["tune", "TABLE", "--strategy", "luck"], "'luck' is not a search strategy"),
        (["tune", "TABLE", "--device", "gpu"], "--device is one of auto, cpu, cuda"),
        (["tune", "TABLE", "--trails", "3"], "No such option: --trails"),
    ],
)
def test_the_shell_refuses_before_heavy_imports(words: list[str], message: str, table: Path) -> None:
    words = [str(table) if word == "TABLE" else word for word in words]
    said, heavy = run_and_list_heavy("from metahp.cli.main import main; assert main() == 2", *words)
    assert message in said
    assert said.count("\n") == 0
    assert heavy == []


def test_python_refuses_a_missing_result_before_heavy_imports() -> None:
    lines = [
        "import metahp",
        "try:",
        "    metahp.load_result('nowhere.metahp')",
        "except metahp.InputError as error:",
        "    print(error, file=sys.stderr)",
    ]
    said, heavy = run_and_list_heavy(f"exec({chr(10).join(lines)!r})")
    assert said == "'nowhere.metahp' does not exist; expected the directory that metahp tune wrote."
    assert heavy == []


@pytest.mark.parametrize("verb", ["load", "describe", "recommend", "tune"])
@pytest.mark.parametrize(
    ("file", "arguments", "message"),
    [
        ("nowhere.csv", "", "There is no file"),
        ("TABLE", ", target='pric'", "No column is called 'pric'"),
        ("TABLE", ", task='ternary'", "`task`"),
        ("TABLE", ", metric='acuracy'", "Did you mean 'accuracy'"),
        ("TABLE", ", learners=['linear', 'lightgmb']", "Did you mean 'lightgbm'"),
        ("TABLE", ", strategy='luck'", "'luck' is not a search strategy"),
        ("TABLE", ", trials=0", "`trials` is a whole number"),
    ],
)
def test_python_refuses_before_heavy_imports(verb: str, file: str, arguments: str, message: str, table: Path) -> None:
    if verb in ("load", "describe") and ("metric" in arguments or "learners" in arguments):
        pytest.skip("it has no such argument")
    if verb != "tune" and ("strategy" in arguments or "trials" in arguments):
        pytest.skip("it has no such argument")
    lines = [
        "import metahp",
        "try:",
        f"    metahp.{verb}(sys.argv[1]{arguments})",
        "except metahp.MetahpError as error:",
        "    print(error, file=sys.stderr)",
    ]
    code = f"exec({chr(10).join(lines)!r})"
    said, heavy = run_and_list_heavy(code, str(table) if file == "TABLE" else file)
    assert message in said
    assert heavy == []


@pytest.mark.parametrize("name", ["auc", "RMSE", "log loss", "roc_auc", None])
def test_names_and_aliases_of_metrics_pass(name: str | None, table: Path) -> None:
    check_names(str(table), metric=name)


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_plain_header_is_read(separator: str, tmp_path: Path) -> None:
    text = f'\ufeffa{separator} "b c" {separator}Größe\n1{separator}x{separator}3\n'
    assert read_plain_header(write(tmp_path / "t.csv", text)) == ("a", "b c", "Größe")


@pytest.mark.parametrize(
    "text",
    [
        "Prices of 2024\na,b\n1,2\n",  # a title
        "a,b\nkg,cm\n1,2\n",  # two lines of names
        "a,b,\n1,2,\n",  # a trailing separator
        "a,a\n1,2\n",
        "a,b\nx,y\n",
        "1,2\n3,4\n",  # no header
        "a;b,c;d\n1;2,3;4\n",  # two separators
        '{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n',
        "@relation t\n@data\n1,2\n",
        "a,b\n",
        "",
    ],
)
def test_a_header_in_doubt_is_left_to_the_reader(text: str, tmp_path: Path) -> None:
    assert read_plain_header(write(tmp_path / "t.csv", text)) is None


def test_other_files_are_left_to_the_reader(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    (tmp_path / "t.csv.gz").write_bytes(b"\x1f\x8b")
    assert [read_plain_header(str(tmp_path / name)) for name in ("t.csv", "t.csv.gz", "none.csv", "-")] == [None] * 4
