"""The edges: closed and narrow outputs, full disks, odd paths, a damaged knowledge base; one clear line each time."""

import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metahp
from metahp.cli import output
from metahp.cli.main import main
from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.core.metric import METRICS
from metahp.core.trial import TrialState
from metahp.files import HeldError, hold_lock, make_unfinished_path, sweep, write_file
from metahp.knowledge.store import KnowledgeBase
from metahp.results.content import make_trials_frame
from metahp.study.trials import StudyTrials

Known = Any  # the class of the fixture, which `conftest.py` has
COLD = {"learners": "linear", "cv": 2, "strategy": "random", "cold": True}
OPTIONS = ["--learner", "linear", "--cv", "2", "--strategy", "random", "--cold", "--trials", "2"]


def run(
    words: list[str], *, before: Callable[[], None] | None = None, redirect: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """`metahp` in a process of its own; `redirect` is what a shell is told of its streams."""
    command = [sys.executable, "-P", "-m", "metahp", *words]
    shell = ["sh", "-c", f'exec "$@" {redirect}', "sh", *command] if redirect else command
    return subprocess.run(
        shell,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        preexec_fn=before,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


# Standard streams


@pytest.mark.parametrize(
    ("redirect", "code", "words"),
    [
        (">&-", 1, "standard output is closed"),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        (">&- 2>&- <&-", 1, ""),
        (">/dev/full", 1, "Standard output cannot be written (No space left on device)"),
        ("2>/dev/full", 0, ""),
    ],
)
def test_closed_and_full_streams_are_one_line_and_harm_no_file(
    redirect: str, code: int, words: str, known: Known, tmp_path: Path
) -> None:
    base = known.copied(tmp_path / "home")
    asked = ["recommend", str(known.table), "--learner", "linear", "--kb", str(base.folder)]
    done = run(asked, redirect=redirect)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.count("metahp: ") <= 3
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    # A closed descriptor is the next one to be opened: nothing that was to be printed may land in the database.
    assert len(base.trials()) == len(known.copied(tmp_path / "again").trials())
    assert (
        run(
            ["tune", str(known.table), *OPTIONS, "--kb", str(base.folder), "-o", str(tmp_path / "out")],
            redirect=redirect,
        ).returncode
        == code
    )
    assert (tmp_path / "out" / "best.json").exists()


def test_a_terminal_that_knows_ascii_only_gets_ascii(known: Known, tmp_path: Path) -> None:
    home = str(known.copied(tmp_path / "home").folder)
    table = tmp_path / "größe.csv"
    pd.read_csv(known.table).rename(columns={"a": "größe"}).replace({"target": {"yes": "já"}}).to_csv(
        table, index=False
    )
    for form in ("table", "json", "yaml", "python"):
        words = ["recommend", str(table), "--learner", "linear", "--kb", home, "--format", form]
        done = run(words, PYTHONIOENCODING="ascii")
        assert done.returncode == 0, done.stderr
        assert (done.stdout + done.stderr).isascii()
        assert form != "table" or "rows x 3 features" in done.stdout
    out = str(tmp_path / "out")
    assert run(["tune", str(table), *OPTIONS, "--kb", home, "-o", out], PYTHONIOENCODING="ascii").returncode == 0
    done = run(["predict", out, str(table)], PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "which standard output (ascii) cannot show" in done.stderr
    assert run(["predict", out, str(table), "-o", str(tmp_path / "p.csv")], PYTHONIOENCODING="ascii").returncode == 0
    assert "já" in (tmp_path / "p.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", ["0", "1", "-5", "many", "100000"])
def test_any_width_of_the_terminal_can_be_written_to(
    columns: str, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    home = str(known.copied(tmp_path / "home").folder)
    assert main(["recommend", str(known.table), "--learner", "linear", "--kb", home]) == 0
    assert main(["tune", str(known.table), *OPTIONS, "--kb", home, "-o", str(tmp_path / "out")]) == 0
    assert "best " in capsys.readouterr().out
    assert output.find_width() >= output.MIN_WIDTH


# Paths


@pytest.mark.parametrize("name", ["what?.d", "no#1", "100%", "a b", "quo'te\"s", "x" * 150])
def test_any_path_will_do(name: str, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    table = folder / f"{name[:100]}.csv"
    table.write_bytes(known.table.read_bytes())
    base = known.copied(folder / "home")
    result = metahp.tune(table, trials=3, jobs=2, output=folder / "out", knowledge_base=base.folder, **COLD)
    assert len(result.trials) == 3
    assert len(metahp.load_result(folder / "out").predict(table)) == 150
    assert metahp.recommend(table, learners="linear", knowledge_base=base.folder).items
    assert list((folder / "tmp").iterdir()) == []


# Space


def limited(size: int) -> Callable[[], None]:
    """A limit on how large files may grow: writing beyond it fails, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_is_found_before_the_first_trial(known: Known, tmp_path: Path) -> None:
    base = known.copied(tmp_path / "home")
    before = len(base.trials())
    words = ["tune", str(known.table), *OPTIONS, "--kb", str(base.folder), "-o", str(tmp_path / "out")]
    done = run(words, before=limited(100_000))
    assert done.returncode == 2, done.stderr
    assert "The result cannot be written to" in done.stderr
    assert "trial 1/" not in done.stderr
    assert len(base.trials()) == before
    assert not (tmp_path / "out").exists()
    assert run(words).returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_found_before_the_first_trial(known: Known, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="Permission denied"):
        metahp.tune(known.table, output=tmp_path / "closed" / "out", record=False, **COLD)


# A knowledge base that is damaged, moved away or full


def test_a_study_goes_on_from_its_result_where_the_knowledge_base_is_damaged(
    known: Known, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = known.copied(tmp_path / "home")
    first = metahp.tune(known.table, trials=3, output=tmp_path / "out", knowledge_base=base.folder, **COLD)
    content = bytearray(base.file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    base.file.write_bytes(content)
    second = metahp.tune(known.table, trials=5, output=tmp_path / "out", knowledge_base=base.folder, **COLD)
    assert [trial.id for trial in second.trials[:3]] == [trial.id for trial in first.trials]
    assert (second.n_earlier, len(second.trials)) == (3, 5)
    assert sum("goes on from the result directory alone" in m for m in caplog.messages) == 1
    # Moved away: a fresh one takes in what the result directory still has.
    base.file.rename(tmp_path / "damaged")
    fresh = KnowledgeBase(tmp_path / "fresh")
    known.copied(tmp_path / "copy").file.rename(tmp_path / "fresh.duckdb")
    fresh = KnowledgeBase(tmp_path / "fresh.duckdb")
    third = metahp.tune(known.table, trials=6, output=tmp_path / "out", knowledge_base=fresh, **COLD)
    assert third.n_earlier == 5
    assert {trial.id for trial in third.trials} <= fresh.trial_ids()


def test_trials_are_kept_in_the_result_where_the_journal_cannot_be_written(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = known.copied(tmp_path / "home")
    monkeypatch.setattr(base, "record", refuse)
    result = metahp.tune(known.table, trials=3, output=tmp_path / "out", knowledge_base=base, **COLD)
    assert (len(result.trials), result.n_recorded) == (3, 0)
    assert sum("kept in the result directory alone: the disk is full" in m for m in caplog.messages) == 1
    monkeypatch.undo()
    again = metahp.tune(known.table, trials=3, output=tmp_path / "out", knowledge_base=base, **COLD)
    assert again.n_earlier == 3
    assert {trial.id for trial in again.trials} <= base.trial_ids()


def refuse(*_: object, **__: object) -> None:
    raise KnowledgeBaseError("the disk is full")


def test_no_error_of_the_ingest_reaches_the_result(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = known.copied(tmp_path / "home")

    def broken(*_: object) -> int:
        assert (tmp_path / "out" / "best.json").exists()
        raise RuntimeError("out of luck")

    monkeypatch.setattr(base, "ingest", broken)
    result = metahp.tune(known.table, trials=2, output=tmp_path / "out", knowledge_base=base, **COLD)
    assert len(result.trials) == 2
    assert any("stay in the journal until a later call: RuntimeError: out of luck" in m for m in caplog.messages)


def test_damaged_predictions_only_leave_the_ensemble(
    known: Known, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**COLD, "output": tmp_path / "out", "record": False, "knowledge_base": known.copied(tmp_path / "home")}
    metahp.tune(known.table, trials=4, **options)
    kept = sorted((tmp_path / "out" / "study").glob("*/*.npz"))
    kept[0].write_bytes(b"no archive")
    kept[1].write_bytes(kept[1].read_bytes()[:-40])
    np.savez(kept[2], predictions=np.zeros((7, 2), dtype=np.float32))
    with caplog.at_level(logging.WARNING):
        result = metahp.tune(known.table, trials=5, **options)
    assert (result.n_earlier, len(result.trials)) == (4, 5)
    assert sum("takes no part in the ensemble" in message for message in caplog.messages) == 2


def test_a_pruned_trial_has_no_score(known: Known) -> None:
    [complete] = known_trials(known)[:1]
    pruned = metahp.Trial(
        task=complete.task,
        configuration=complete.configuration,
        protocol=complete.protocol,
        n_rows=10,
        state=TrialState.PRUNED,
        origin=complete.origin,
        fold_losses={"roc_auc": (0.01,)},
        reason="pruned after 1 of 3 folds",
    )
    frame = make_trials_frame([complete, pruned], METRICS["roc_auc"])
    assert frame["score"].notna().tolist() == [True, False]
    assert frame["standard_error"].notna().tolist() == [True, False]
    assert list(map(len, frame["fold_scores"])) == [3, 1]


def known_trials(known: Known) -> list[metahp.Trial]:
    return [trial for trial in KnowledgeBase(known.home).trials() if trial.state is TrialState.COMPLETE]


# Two at once


def test_a_second_run_with_the_same_output_says_who_holds_it(known: Known, tmp_path: Path) -> None:
    (tmp_path / "out" / "study").mkdir(parents=True)
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys, time; from pathlib import Path; from metahp.files import hold_lock\n"
         "with hold_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)",
         str(tmp_path / "out" / "study" / "lock")],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(
            InputError, match=rf"'.*out' is in use by process {holder.pid} of .*; wait until it is done"
        ):
            metahp.tune(known.table, trials=1, output=tmp_path / "out", record=False, **COLD)
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
    assert metahp.tune(known.table, trials=1, output=tmp_path / "out", record=False, **COLD).trials


def test_a_lock_is_held_by_one_and_free_after_it(tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path / "lock"),
        pytest.raises(HeldError, match=f"process {os.getpid()} of"),
        hold_lock(tmp_path / "lock"),
    ):
        pass
    with hold_lock(tmp_path / "lock"):
        pass


# Files


def test_only_what_ended_processes_left_is_swept(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = make_unfinished_path(tmp_path / "result")
    theirs = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    link = ours.with_name(ours.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")[:-12] + "00000000.tmp")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    link.symlink_to(precious)
    ours.write_text("x")
    theirs.mkdir()
    (theirs / "file").write_text("x")
    (tmp_path / ".result.tmp").write_text("x")
    assert sweep(tmp_path) == [theirs]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ours.name, link.name, "precious", ".result.tmp"])
    assert (precious / "file").exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_file(path, b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, b"after")
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_text_of_half_characters_becomes_a_reason_that_can_be_kept(known: Known, tmp_path: Path) -> None:
    space = metahp.SearchSpace("mine", 1, (metahp.Float("rate", 0.0, 1.0, 0.5),))

    def objective(values: dict[str, Any]) -> float:
        if values["rate"] == 0.5:
            raise ValueError("half a character: \udc80" + "x" * 10_000)
        return -values["rate"]

    base = known.copied(tmp_path / "home")
    result = metahp.tune_objective(
        objective, space=space, trials=4, strategy="random", knowledge_base=base, output=tmp_path / "out",
        name="na\udc80me",
    )  # fmt: skip
    assert [trial.state for trial in result.trials].count(TrialState.FAILED) == 1
    assert base.journal.list_segments() == []
    assert r"half a character: \udc80" in next(t.reason for t in base.trials(learner="mine") if t.reason)


def test_the_study_of_a_result_is_read_without_a_knowledge_base(known: Known, tmp_path: Path) -> None:
    options = {**COLD, "output": tmp_path / "out"}
    result = metahp.tune(known.table, trials=2, knowledge_base=known.copied(tmp_path / "home"), **options)
    [folder] = [path for path in (tmp_path / "out" / "study").iterdir() if path.is_dir()]
    trial = result.trials[0]
    study = StudyTrials(trial.task, trial.protocol, result.metric, [], base=None, recorded=(), folder=folder)
    assert study.trials == []
    again = metahp.tune(known.table, trials=2, knowledge_base=known.copied(tmp_path / "other"), **options)
    assert [one.id for one in again.trials] == [one.id for one in result.trials]
