"""Load and the order of a table do not change its meta-features by a single byte."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp import api

N_BUSY = 4


@contextmanager
def busy_machine() -> Iterator[None]:
    """More endless processes than most test machines have cores."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(N_BUSY):
            processes.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def frame(n: int, classes: int) -> pd.DataFrame:
    """Numbers, copies, gaps, categories, rare flags, and a target of `classes` classes; 0 is regression."""
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, 6))
    signal = X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * rng.normal(size=n)
    codes = np.searchsorted(np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]), signal) if classes else None
    data = pd.DataFrame(X, columns=[f"x{i}" for i in range(6)])
    data["gaps"] = np.where(rng.random(n) < 0.2, np.nan, X[:, 0])
    data["copy"] = data["x1"]
    data["colour"] = rng.choice(["red", "green", "blue"], n)
    data["flag"] = (np.arange(n) % 97 == 0).astype(float)
    data["other flag"] = (np.arange(n) % 97 == 1).astype(float)
    data["target"] = signal if codes is None else np.array([f"class {code}" for code in codes])
    return data


@pytest.mark.parametrize(("n", "classes"), [(300, 0), (300, 4), (2_500, 2)])
def test_neither_load_nor_order_changes_a_bit(n: int, classes: int) -> None:
    data = frame(n, classes)
    usual = api.describe(data, target="target")
    shuffled = data.sample(frac=1.0, random_state=1)[data.columns[::-1]]
    with busy_machine():
        loaded = api.describe(data, target="target")
        both = api.describe(shuffled, target="target")
    assert usual.warnings == loaded.warnings == both.warnings == ()
    assert loaded.vector().tobytes() == usual.vector().tobytes()
    assert both.vector().tobytes() == usual.vector().tobytes()


def sparse() -> pd.DataFrame:
    """A table that is hashed in one round, with ten flags that are set equally often in each class."""
    n = 30_000
    data = pd.DataFrame(np.random.default_rng(0).normal(size=(n, 25)), columns=[f"x{i}" for i in range(25)])
    data["target"] = np.where(np.arange(n) % 2 == 0, "yes", "no")
    for i in range(10):
        data[f"flag{i}"] = np.isin(np.arange(n), [2 * i, 2 * i + 1, 2 * i + 100]).astype(float)
    return data


def coded_twice() -> pd.DataFrame:
    """A number and a category with the same codes."""
    codes = np.random.default_rng(0).integers(0, 3, 400)
    return frame(400, 2).assign(number=codes.astype(float), category=np.array(["a", "b", "c"])[codes])


@pytest.mark.parametrize("make", [sparse, coded_twice])
def test_the_order_does_not_matter_for_columns_that_look_alike(make: Callable[[], pd.DataFrame]) -> None:
    data = make()
    shuffled = data.sample(frac=1.0, random_state=1)[data.columns[::-1]]
    usual = api.describe(data, target="target")
    assert api.describe(shuffled, target="target").vector().tobytes() == usual.vector().tobytes()


def test_advice_is_the_same_to_the_byte_on_a_busy_machine(known, tmp_path: Path) -> None:
    def recommended(home: str, threads: int) -> bytes:
        base = known.copied(tmp_path / home)
        command = [sys.executable, "-m", "metahp", "recommend", str(known.table), "--learner", "linear"]
        return subprocess.run(
            [*command, "--kb", str(base.folder), "--format", "json"],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    usual = recommended("idle", 1)
    with busy_machine():
        loaded = recommended("busy", 4)
    assert loaded == usual
