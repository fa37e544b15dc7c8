"""Names of files, columns, classes, learners and past tasks cannot steer a terminal."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metahp.cli import output
from metahp.cli.main import main
from metahp.core.configuration import Configuration
from metahp.core.task import Task, TaskType
from metahp.core.text import make_encodable, make_printable
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.knowledge.records import TaskRecord

Known = Any  # the class of the fixture, which `conftest.py` has
BAD = "\x1b]0;owned\x07\x9b31m\u202e\x08"
# What a terminal would act on; the ends of lines are ours.
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile(known: Known, tmp_path: Path) -> tuple[Path, Path]:
    """A table whose name, columns and classes have escape sequences, and a home that knows others like it."""
    frame = pd.read_csv(known.table)
    frame["target"] = np.where(frame["target"] == "yes", f"yes{BAD}", f"no{BAD}")
    frame[f"empty{BAD}"] = 1
    frame = frame.rename(columns={"a": f"a{BAD}", "target": f"t{BAD}"})
    path = tmp_path / f"table{BAD}.csv"
    frame[[*frame.columns[3:0:-1], frame.columns[0], f"empty{BAD}", f"t{BAD}"]].to_csv(path, index=False)
    base = known.copied(tmp_path / "home")
    name = f"evil{BAD}"
    task = Task(id="0" * 24, type=TaskType.BINARY, n_rows=100, n_features=3, n_classes=2, name=name, group=name)
    configuration = Configuration.of(name, {"x": BAD})
    protocol = Protocol()
    losses = {"roc_auc": (0.1, 0.1, 0.1)}
    trial = Trial(
        task=task.id,
        configuration=configuration,
        protocol=protocol,
        n_rows=100,
        state=TrialState.COMPLETE,
        origin=Origin.USER,
        fold_losses=losses,
    )
    base.record([trial], [TaskRecord(task=task)])
    return path, base.folder


@pytest.mark.parametrize(
    "words",
    [
        ["recommend", "FILE", "--learner", "linear", "--kb", "HOME"],
        ["recommend", "FILE", "--learner", "linear", "--kb", "HOME", "--format", "json"],
        ["recommend", "FILE", "--learner", "linear", "--kb", "HOME", "--format", "yaml"],
        ["recommend", "FILE", "--learner", "linear", "--kb", "HOME", "--format", "python"],
        ["describe", "FILE"],
        ["kb", "info", "--kb", "HOME"],
        ["kb", "info", "--kb", "HOME", "--format", "json"],
        ["tune", "FILE", "--learner", "linear", "--cv", "2", "--trials", "2", "--kb", "HOME", "--output", "OUT"],
        ["recommend", "FILE", "--target", f"nothing{BAD}"],
        ["recommend", f"missing{BAD}.csv"],
        [f"command{BAD}"],
    ],
)
def test_nothing_that_is_printed_steers_a_terminal(
    words: list[str], hostile: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"FILE": str(hostile[0]), "HOME": str(hostile[1]), "OUT": str(tmp_path / f"out{BAD}")}
    main([places.get(word, word) for word in words])
    printed = capsys.readouterr()
    assert printed.out + printed.err
    for text in printed:
        assert not STEERS.search(text), repr(STEERS.search(text))


def test_predictions_are_exact_in_a_pipe_and_shown_with_escapes_on_a_terminal(
    hostile: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, home = map(str, hostile)
    out = str(tmp_path / "out")
    tune = ["tune", file, "--learner", "linear", "--cv", "2", "--trials", "1", "--kb", home, "--output", out]
    assert main([*tune, "--strategy", "random", "--cold", "-q"]) == 0
    capsys.readouterr()
    assert main(["predict", out, file]) == 0
    assert BAD.encode() in capsys.readouterr().out.encode()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["predict", out, file]) == 0
    assert not STEERS.search(capsys.readouterr().out)


def test_a_log_record_is_one_line_without_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    import logging  # noqa: PLC0415

    with output.show_logs():
        logging.getLogger("metahp.somewhere").warning("cannot read %s\nand more", f"x{BAD}")
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("metahp: warning: cannot read x")
    assert not STEERS.search(printed)


def test_text_is_shown_as_it_is_where_it_does_no_harm() -> None:
    text = "Größe × naïve – 東京 🙂 שלום\tcolumn\nline"
    assert make_printable(text) == text
    assert make_printable("\x1b[0m\x9b\udc80") == r"\x1b[0m\x9b\udc80"
    assert make_encodable(os.fsdecode(b"x\xff")) == r"x\udcff"
