"""A kill or a polite signal at any moment: nothing is lost, nobody is orphaned, and the same command goes on."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from metahp.files import is_unfinished
from metahp.knowledge.seed import read_seed
from metahp.knowledge.store import KnowledgeBase
from metahp.results.content import BEST, TRIALS
from metahp.results.predict import load_result

PROGRAM = Path(__file__).with_name("moments.py")
MOMENTS, OF_RECOMMEND, OF_REFRESH = (
    runpy.run_path(str(PROGRAM))[name] for name in ("MOMENTS", "OF_RECOMMEND", "OF_REFRESH")
)
MARK = "METAHP_TEST_RUN"
N_TRIALS = 3
Known = Any  # the class of the fixture, which `conftest.py` has
ENDINGS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
# Where at least one trial is complete by then, the best of them is written.
LATE = list(MOMENTS)[list(MOMENTS).index("telling the progress") :]


class Run:
    """A tune of a small table with places of its own."""

    def __init__(self, folder: Path, known: Known, *, is_trained: bool = True) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.out = folder / "out"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.n_known = len(known.copied(self.home).trials())
        if not is_trained:
            shutil.rmtree(self.home / "surrogate")
        options = ["--learner", "linear", "--cv", "2", "--strategy", "random", "--warm", "1"]
        places = ["--kb", str(self.home), "--output", str(self.out)]
        self.words = ["tune", str(known.table), "--trials", str(N_TRIALS), *options, *places]

    def start(self, *before: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; what was asked to send a signal is named `before`."""
        mark = f"{time.monotonic_ns()}"
        program = [str(PROGRAM), *before] if before or self.words[0] == "refresh" else ["-m", "metahp"]
        environment = {**os.environ, MARK: mark, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *program, *self.words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            check=False,
        )
        assert not orphans(mark), "workers live on"
        return done

    def leftovers(self) -> list[str]:
        """What is there that only an unfinished step leaves."""
        found = [path for path in self.folder.rglob("*") if is_unfinished(path) or path.suffix == ".tmp"]
        return [str(path) for path in (*found, *self.temporary.iterdir())]


def orphans(mark: str, seconds: float = 5.0) -> list[int]:
    """Processes of a run that still live so many seconds after its end."""
    deadline = time.monotonic() + seconds
    while found := [p.pid for p in psutil.process_iter() if _environment(p).get(MARK) == mark]:
        if time.monotonic() > deadline:
            return found
        time.sleep(0.1)
    return []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except psutil.Error:
        return {}


def check_goes_on(run: Run) -> None:
    """The same command ends well, with each trial once in every place, and nothing unfinished is left."""
    done = run.start()
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(run.out / TRIALS)
    assert len(frame) == N_TRIALS
    assert frame["id"].is_unique
    base = KnowledgeBase(run.home)
    assert set(frame["id"]) <= base.trial_ids()
    assert len(base.trials()) == run.n_known + N_TRIALS
    assert run.leftovers() == []
    assert_predicts(run)


def assert_predicts(run: Run) -> None:
    assert len(load_result(run.out).predict(run.words[1])) == 150


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_loses_nothing(moment: str, known: Known, tmp_path: Path) -> None:
    run = Run(tmp_path, known, is_trained=moment != "training")
    done = run.start(moment, "SIGKILL")
    assert done.returncode == -signal.SIGKILL, done.stderr
    check_goes_on(run)


@pytest.mark.parametrize(("moment", "name"), [(moment, list(ENDINGS)[i % 3]) for i, moment in enumerate(MOMENTS)])
def test_a_signal_ends_in_good_order(moment: str, name: str, known: Known, tmp_path: Path) -> None:
    run = Run(tmp_path, known, is_trained=moment != "training")
    done = run.start(moment, name)
    check_ends(done, name)
    assert run.leftovers() == []
    if moment in LATE:
        best = json.loads((run.out / BEST).read_text(encoding="utf-8"))
        assert best["trials"]["complete"] >= 1
        assert_predicts(run)
        assert re.search(r"^best ", done.stdout, re.MULTILINE) or moment == "reporting"
    elif (run.out / "study").is_dir():
        assert not (run.out / BEST).exists() or best_is_whole(run)
    if moment not in LATE:
        check_goes_on(run)


def best_is_whole(run: Run) -> bool:
    assert_predicts(run)
    return True


@pytest.mark.parametrize(("moment", "name"), list(zip(OF_RECOMMEND, [*ENDINGS, "SIGKILL"], strict=True)))
def test_a_recommendation_ends_in_good_order(moment: str, name: str, known: Known, tmp_path: Path) -> None:
    run = Run(tmp_path, known, is_trained=moment not in ("training", "keeping what the next question needs"))
    run.words = ["recommend", str(known.table), "--learner", "linear", "--kb", str(run.home)]
    check_ends(run.start(moment, name), name)
    assert name == "SIGKILL" or run.leftovers() == []
    assert run.start().returncode == 0
    assert run.leftovers() == []


@pytest.mark.parametrize(
    ("moment", "name"), list(zip(OF_REFRESH, ["SIGTERM", "SIGKILL", "SIGHUP", "SIGKILL"], strict=True))
)
def test_a_refresh_ends_in_good_order_and_goes_on(moment: str, name: str, known: Known, tmp_path: Path) -> None:
    run = Run(tmp_path, known)
    options = ["--learners", "linear", "--configurations", "linear=4", "--jobs", "2"]
    seed = tmp_path / "seed"
    run.words = ["refresh", str(known.table.with_name("MANIFEST.csv")), "--out", str(seed), *options]
    check_ends(run.start(moment, name), name)
    assert name == "SIGKILL" or run.leftovers() == []
    done = run.start("never", "SIGTERM")
    assert done.returncode == 0, done.stderr
    assert len(read_seed(seed)[1]) == 16
    assert run.leftovers() == []


def check_ends(done: subprocess.CompletedProcess[str], name: str) -> None:
    """A kill is a kill; what may be answered ends in one line and its exit code."""
    number = getattr(signal, name)
    if name == "SIGKILL":
        assert done.returncode == -number, done.stderr
        return
    assert done.returncode == 128 + number, done.stderr
    assert len([line for line in done.stderr.splitlines() if ENDINGS[name] in line]) == 1, done.stderr
    assert "Traceback" not in done.stderr
