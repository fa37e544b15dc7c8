"""Damage to a result directory stops no run: what can be read counts, what cannot is named, and the rest is kept."""

import json
import logging
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metahp
from metahp.core.errors import MetahpError
from metahp.files import make_unfinished_path
from metahp.results.content import BEST, PREPARATION, SCRIPT, TRIALS

Known = Any  # the class of the fixture, which `conftest.py` has
N_BEFORE, N_AFTER = 3, 4
MODEL = "model.skops"


@pytest.fixture(scope="module")
def result(known: Known, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of three trials."""
    folder = tmp_path_factory.mktemp("result") / "out"
    tune(known, folder, N_BEFORE)
    return folder


def tune(known: Known, folder: Path, trials: int) -> metahp.TuneResult:
    options = {"learners": "linear", "cv": 2, "strategy": "random", "cold": True, "record": False}
    return metahp.tune(known.table, trials=trials, output=folder, knowledge_base=known.home, **options)


def study(out: Path) -> Path:
    [folder] = [path for path in (out / "study").iterdir() if path.is_dir()]
    return folder


def predictions(out: Path) -> Path:
    return min(study(out).glob("*.npz"))


def segment(out: Path) -> Path:
    return min((study(out) / "journal").glob("*.jsonl"))


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 4
    path.write_bytes(bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def set_files(out: Path, files: Any) -> None:
    (out / BEST).write_text(json.dumps(json.loads((out / BEST).read_text()) | {"files": files}))


def be_archive(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


def be_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("predictions.npy", bytes(200_000_000))


def be_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


# What happens to the directory; how many of the three trials are still known, and whether something has to be said.
KINDS: dict[str, tuple[Callable[[Path], Any], int, bool]] = {
    **{f"{name} is empty": (lambda out, name=name: (out / name).write_bytes(b""), 3, name == BEST)
       for name in (BEST, PREPARATION, MODEL, TRIALS, SCRIPT)},
    **{f"{name} is random": (lambda out, name=name: (out / name).write_bytes(os.urandom(999)), 3, name == BEST)
       for name in (BEST, PREPARATION, MODEL, TRIALS, SCRIPT)},
    **{f"{name} is gone": (lambda out, name=name: (out / name).unlink(), 3, False)
       for name in (PREPARATION, MODEL, TRIALS, SCRIPT)},
    "best.json is nested deep": (lambda out: (out / BEST).write_text("[" * 50_000 + "]" * 50_000), 3, True),
    "best.json is a list": (lambda out: (out / BEST).write_text("[1, 2]"), 3, True),
    "best.json has no files": (lambda out: (out / BEST).write_text('{"schema_version": 1}'), 3, True),
    "files are numbers": (lambda out: set_files(out, [1, None, {}]), 3, False),
    "files lie elsewhere": (lambda out: set_files(out, ["../t.csv", "/etc/passwd", "models/../../x.txt"]), 3, False),
    "files are no list": (lambda out: set_files(out, 7), 3, True),
    "predictions are empty": (lambda out: predictions(out).write_bytes(b""), 3, True),
    "predictions are random": (lambda out: predictions(out).write_bytes(os.urandom(999)), 3, True),
    "predictions are cut": (lambda out: cut(predictions(out)), 3, True),
    "predictions are gone": (lambda out: predictions(out).unlink(), 3, False),
    "predictions are a folder": (lambda out: be_folder(predictions(out)), 3, True),
    "predictions are texts": (lambda out: be_archive(predictions(out), predictions=np.array(["a", "b"])), 3, True),
    "predictions are objects": (
        lambda out: be_archive(predictions(out), predictions=np.array([{}, None], dtype=object)), 3, True,
    ),
    "predictions are few": (
        lambda out: be_archive(predictions(out), predictions=np.zeros((3, 2), dtype=np.float32)), 3, False,
    ),
    "predictions are a bomb": (lambda out: be_bomb(predictions(out)), 3, True),
    "predictions are missing values": (
        lambda out: be_archive(predictions(out), predictions=np.full((150, 2), np.nan, dtype=np.float32)), 3, True,
    ),
    "a place is a huge number": (
        lambda out: shutil.copy(predictions(out), study(out) / f"{'9' * 30}-0123456789abcdef01234567.npz"), 3, False,
    ),
    "a segment is empty": (lambda out: segment(out).write_bytes(b""), 2, True),
    "a segment is random": (lambda out: segment(out).write_bytes(os.urandom(999)), 2, True),
    "a segment is cut": (lambda out: cut(segment(out)), 2, True),
    "a segment has a flipped bit": (lambda out: flip(segment(out)), 2, True),
    "a segment is gone": (lambda out: segment(out).unlink(), 2, False),
    "a segment is a folder": (lambda out: be_folder(segment(out)), 2, True),
    "a segment is there twice": (
        lambda out: shutil.copy(segment(out), segment(out).with_name("0" * 32 + ".jsonl")), 3, False,
    ),
    "the lock holds garbage": (lambda out: (out / "study" / "lock").write_bytes(os.urandom(99)), 3, False),
    "the study of another task is there": (
        lambda out: shutil.copytree(study(out), out / "study" / "0123456789abcdef"), 3, False,
    ),
    "an unfinished result is there": (lambda out: make_unfinished_path(out / "out").mkdir(), 3, False),
    "the study is gone": (lambda out: shutil.rmtree(out / "study"), 0, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_result_stops_no_run(
    kind: str, result: Path, known: Known, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    shutil.copytree(result, out)
    (out / "notes.md").write_text("mine")
    change, n_known, is_told = KINDS[kind]
    change(out)
    with caplog.at_level(logging.WARNING, "metahp"):
        found = tune(known, out, N_AFTER)
    assert (found.n_earlier, len(found.trials)) == (n_known, N_AFTER)
    told = [message for message in caplog.messages if "training a model" not in message]
    assert len(told) == is_told, told
    assert (out / "notes.md").read_text() == "mine"
    assert len(pd.read_parquet(out / TRIALS)) == N_AFTER
    assert len(metahp.load_result(out).predict(known.table)) == 150


@pytest.mark.parametrize("name", [BEST, PREPARATION, MODEL])
@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_result_is_one_clear_error_for_predict(name: str, seed: int, result: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(result, out)
    content = bytearray((out / name).read_bytes())
    content[random.Random(seed).randrange(len(content))] ^= 0x80
    (out / name).write_bytes(bytes(content))
    with pytest.raises(MetahpError) as error:
        metahp.load_result(out)
    assert "\n" not in str(error.value)
