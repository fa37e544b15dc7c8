"""A folder that holds a table may hold anything else: its modules are not run, and its links are not followed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import metahp
from metahp.core.errors import InputError
from metahp.evaluation.processes import call_each
from metahp.results.content import BEST
from metahp.results.directory import hold_directory

Known = Any  # the class of the fixture, which `conftest.py` has
# Modules that a worker, its libraries or their helpers import sooner or later.
HOSTILE = ("secrets", "random", "json", "lightgbm", "numpy", "sitecustomize", "signal", "pickle", "psutil", "joblib")
OPTIONS = ("--learner", "linear", "--cv", "2", "--trials", "2", "--jobs", "2", "--strategy", "random")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with modules that leave a mark when they are run."""
    place = tmp_path / "downloads"
    place.mkdir()
    for name in HOSTILE:
        mark = place / f"{name}.was-run"
        (place / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise SystemExit('taken over')\n")
    return place


def marks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.was-run"))


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_no_module_of_the_working_folder_is_run(folder: Path, known: Known) -> None:
    (folder / "t.csv").write_bytes(known.table.read_bytes())
    home = str(known.copied(folder.parent / "home").folder)
    words = ["tune", "t.csv", *OPTIONS, "--kb", home]
    # The installed command, and Python without the working folder on its path; `python -m` alone runs what lies there
    # before any line of metahp.
    for start in ([str(Path(sys.executable).with_name("metahp"))], ["-P", "-m", "metahp"]):
        done = run(folder, *start, *words)
        assert done.returncode == 0, done.stderr
    for words in (["recommend", "t.csv", "--learner", "linear", "--kb", home], ["predict", "t.metahp", "t.csv"]):
        assert run(folder, "-P", "-m", "metahp", *words).returncode == 0
    assert marks(folder) == []


def test_an_adviser_is_trained_without_the_modules_of_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert dict(call_each(abs, [-1, -2, 3], n_jobs=2)) == {0: 1, 1: 2, 2: 3}
    assert marks(folder) == []


def test_an_objective_of_a_script_still_imports_what_lies_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def quality(values):\n    return -abs(values['rate'] - 0.05)\n")
    (tmp_path / "script.py").write_text(
        "import metahp\nfrom mine import quality\n"
        "space = metahp.SearchSpace('mine', 1, (metahp.Float('rate', 1e-3, 1.0, 0.1, is_log=True),))\n"
        "result = metahp.tune_objective(quality, space, trials=4, jobs=2, strategy='random', "
        "knowledge_base='kb', cold=True)\n"
        "print(len(result.trials), all(trial.state == 'complete' for trial in result.trials))\n"
    )
    done = run(tmp_path, "script.py", METAHP_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (0, "4 True\n"), done.stderr


# Links


@pytest.mark.parametrize("name", ["", "models", "study", "best.json", "model.txt"])
def test_a_result_is_never_written_through_a_link(name: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "model.txt").write_text("a model of somebody else")
    out = tmp_path / "out"
    if name:
        out.mkdir()
    (out / name if name else out).symlink_to(theirs)
    with pytest.raises(InputError, match="is a link"), hold_directory(out):
        pass
    assert [path.name for path in theirs.iterdir()] == ["model.txt"]


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    theirs = tmp_path / "precious"
    theirs.write_text("precious")
    (tmp_path / "out" / "study").mkdir(parents=True)
    (tmp_path / "out" / "study" / "lock").symlink_to(theirs)
    with pytest.raises(InputError), hold_directory(tmp_path / "out"):
        pass
    assert theirs.read_text() == "precious"


def test_only_files_that_a_result_names_as_its_own_are_removed(known: Known, tmp_path: Path) -> None:
    out = tmp_path / "out"
    base = known.copied(tmp_path / "home")
    options = {"learners": "linear", "cv": 2, "strategy": "random", "cold": True, "knowledge_base": base}
    metahp.tune(known.table, trials=4, ensemble=True, output=out, **options)
    (out / "models").mkdir(exist_ok=True)
    mine = [out / "models" / name for name in ("7.txt", "notes.txt", "mine.skops")]
    for path in mine:
        path.write_text("mine")
    before = {path.name for path in (out / "models").iterdir()} - {path.name for path in mine}
    metahp.tune(known.table, trials=4, output=out, **options)
    assert all(path.read_text() == "mine" for path in mine)
    assert not before & {path.name for path in (out / "models").iterdir()}
    # A list of files that names others is not believed.
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    described = (out / BEST).read_text().replace('"model.skops"', '"../precious.txt"')
    (out / BEST).write_text(described)
    metahp.tune(known.table, trials=4, output=out, **options)
    assert precious.read_text() == "precious"
    assert len(pd.read_parquet(out / "trials.parquet")) == 4
