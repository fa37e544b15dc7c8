"""Ingest: what is taken in waits in an archive until it has been read back, and a kill at any step does no harm."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.files import make_unfinished_path
from metahp.knowledge import database, ingest
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase


def a_trial(number: int = 0, loss: float = 0.1, n_rows: int = 100) -> Trial:
    return Trial(
        task="t",
        configuration=Configuration.of("linear", {"C": float(number)}),
        protocol=Protocol(),
        n_rows=n_rows,
        state=TrialState.COMPLETE,
        origin=Origin.DESIGN,
        fold_losses={"r2": (loss, 1 / 3, float("nan"))},
        curve=Curve((5, 10), {"r2": (0.4, float("inf"))}),
        fit_seconds=2.0,
        versions={"duckdb": "1", "numpy": "2"},
    )


def a_task(version: int = 1, name: str = "") -> TaskRecord:
    return TaskRecord(
        task=Task(id="t", type=TaskType.REGRESSION, n_rows=100, n_features=4, name=name),
        metafeatures={"skew": 0.5, "gap": float("nan")},
        metafeatures_version=version,
    )


def ids(*numbers: int) -> set[str]:
    return {a_trial(number).id for number in numbers}


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase(tmp_path / "kb")


def test_what_was_taken_in_is_archived_and_deleted_by_the_next_ingest(kb: KnowledgeBase) -> None:
    kb.record([a_trial(0), a_trial(1)], [a_task()])
    [segment] = kb.journal.list_segments()
    content = segment.read_bytes()
    assert kb.ingest() == 2
    assert kb.journal.list_segments() == []
    [archived] = kb.journal.list_archived()
    assert (archived.name, archived.read_bytes()) == (segment.name, content)
    assert kb.info()["pending_segments"] == 0
    assert kb.trial_ids() == ids(0, 1)
    assert kb.ingest() == 0
    assert kb.journal.list_archived() == []
    assert (kb.trial_ids(), len(kb.tasks())) == (ids(0, 1), 1)


def test_a_task_that_newer_descriptions_have_replaced_is_found(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    kb.record([], [a_task(1, "first")])
    kb.record([], [replace(a_task(2), metafeatures={"skew": 0.7})])
    kb.ingest()
    assert len(kb.journal.list_archived()) == 2
    kb.ingest()
    assert (kb.journal.list_archived(), caplog.records) == ([], [])


def test_a_trial_that_was_known_before_is_not_archived(kb: KnowledgeBase, caplog: pytest.LogCaptureFixture) -> None:
    kb.record([a_trial(0)])
    kb.ingest()
    kb.ingest()
    kb.record([a_trial(0, loss=0.7)])
    kb.record([a_trial(0, loss=0.8), a_trial(1)])
    assert kb.ingest() == 1
    [archived] = kb.journal.list_archived()
    assert len(archived.read_bytes().splitlines()) == 1
    kb.ingest()
    assert (kb.journal.list_archived(), kb.journal.list_segments(), caplog.records) == ([], [], [])
    assert kb.trials()[0].fold_losses["r2"][0] == 0.1


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_database_that_is_gone_is_filled_again_from_the_archive(
    kb: KnowledgeBase, is_replaced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        kb.record([a_trial(number)])
    kb.ingest()
    kb.file.rename(kb.file.with_suffix(".old"))
    if is_replaced:
        other = KnowledgeBase(kb.folder / "other")
        other.record([a_trial(2), a_trial(3)])
        other.ingest()
        other.file.rename(kb.file)
    assert kb.ingest() == (2 if is_replaced else 3)
    assert kb.trial_ids() == (ids(0, 1, 2, 3) if is_replaced else ids(0, 1, 2))
    [warning] = caplog.records
    assert f"{2 if is_replaced else 3} archived segment(s)" in warning.message
    kb.ingest()
    assert kb.journal.list_archived() == []


def test_a_database_that_was_rolled_back_gets_its_trials_again(kb: KnowledgeBase) -> None:
    kb.record([a_trial(0)])
    kb.ingest()
    older = kb.file.read_bytes()
    kb.record([a_trial(1)])
    kb.ingest()
    kb.file.write_bytes(older)
    assert kb.ingest() == 1
    assert kb.trial_ids() == ids(0, 1)


def test_a_row_that_was_changed_is_noticed_and_one_that_cannot_be_read_is_replaced(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    kb.record([a_trial(0)])
    kb.record([a_trial(1)])
    kb.ingest()
    before = kb.content_hash()
    with database.open_file(kb.file, read_only=False, wait_seconds=1) as connection:
        connection.execute("UPDATE trials SET n_rows = 7 WHERE id = ?", [a_trial(0).id])
        connection.execute("UPDATE trials SET state = 'splendid' WHERE id = ?", [a_trial(1).id])
    kb.ingest()
    assert "2 archived segment(s)" in caplog.text
    assert repr(kb.trials()) == repr(sorted([a_trial(0, n_rows=7), a_trial(1)], key=lambda trial: trial.id))
    assert kb.content_hash() == before
    caplog.clear()
    kb.ingest()
    assert (kb.journal.list_archived(), caplog.records) == ([], [])


def test_only_what_was_in_no_log_counts_as_read_back(kb: KnowledgeBase) -> None:
    kb.record([a_trial()])
    kb.ingest()
    log = database.make_wal_path(kb.file)
    log.write_bytes(b"")
    kb.ingest()
    assert len(kb.journal.list_archived()) == 1
    log.unlink(missing_ok=True)
    kb.ingest()
    assert kb.journal.list_archived() == []


def test_reading_back_is_done_in_portions(kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "READ_BACK_AT_ONCE", 2)
    for number in range(5):
        kb.record([a_trial(number)])
    kb.ingest()
    left = []
    for _ in range(3):
        kb.ingest()
        left.append(len(kb.journal.list_archived()))
    assert left == [3, 1, 0]


def test_an_archive_that_cannot_be_written_stops_nothing(kb: KnowledgeBase, caplog: pytest.LogCaptureFixture) -> None:
    kb.record([a_trial(0)])
    kb.journal.archive.write_text("in the way")
    assert (kb.ingest(), kb.ingest()) == (1, 0)
    kb.record([a_trial(1)])
    assert kb.ingest() == 1
    assert kb.trial_ids() == ids(0, 1)
    [warning] = caplog.records
    assert "cannot be moved" in warning.message
    kb.journal.archive.unlink()
    kb.ingest()
    assert kb.journal.list_segments() == []


def test_a_record_that_the_database_refuses_is_set_aside_and_the_others_go_in(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    kb.record([a_trial(0)])
    kb.ingest()
    with database.open_file(kb.file, read_only=False, wait_seconds=1) as connection:
        (made,) = connection.execute("SELECT sql FROM duckdb_tables() WHERE table_name = 'trials'").fetchall()[0]
        connection.execute("ALTER TABLE trials RENAME TO earlier")
        connection.execute(made.replace("n_rows BIGINT NOT NULL", "n_rows BIGINT NOT NULL CHECK (n_rows < 1000)"))
        connection.execute("INSERT INTO trials SELECT * FROM earlier")
        connection.execute("DROP TABLE earlier")
    kb.record([a_trial(1), a_trial(2, n_rows=2000), a_trial(3)], [a_task()])
    kb.record([a_trial(4)])
    refused = next(path for path in kb.journal.list_segments() if len(path.read_bytes().splitlines()) == 4)
    line = refused.read_bytes().splitlines(keepends=True)[2]
    assert kb.ingest() == 3
    assert (kb.trial_ids(), len(kb.tasks())) == (ids(0, 1, 3, 4), 1)
    [warning] = caplog.records
    assert "1 record(s)" in warning.message
    assert "line 3: ConstraintException" in warning.message
    assert refused.with_suffix(".unreadable").read_bytes() == line
    assert len(kb.journal.list_archived()) == 2
    kb.ingest()
    assert kb.journal.list_archived() == []


def test_a_full_disk_or_a_broken_database_sets_no_record_aside(
    kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    kb.record([a_trial(0)])
    kb.record([a_trial(1)])
    with monkeypatch.context() as full:
        full.setattr(ingest.queries, "insert", fail)
        with pytest.raises(KnowledgeBaseError, match="No space left"):
            kb.ingest()
    assert len(kb.journal.list_segments()) == 2
    assert kb.ingest() == 2


KILLED = """
import os, sys
from pathlib import Path
from metahp.knowledge import ingest, queries
from metahp.knowledge.journal import Journal
from metahp.knowledge.store import KnowledgeBase
place, name, calls = {"journal": Journal, "queries": queries, "os": os}[sys.argv[2]], sys.argv[3], int(sys.argv[4])
inner = getattr(place, name)
def outer(*arguments, **options):
    global calls
    calls -= 1
    if calls < 0:
        os._exit(9)
    return inner(*arguments, **options)
setattr(place, name, outer)
KnowledgeBase(Path(sys.argv[1])).ingest()
"""


@pytest.mark.parametrize(
    ("place", "name", "calls"),
    [
        ("queries", "insert", 0),
        ("journal", "set_aside", 0),
        ("queries", "mark_ingested", 0),
        ("journal", "put_away", 0),
        ("journal", "put_away", 1),
        ("journal", "sync", 0),
        ("journal", "bring_back", 0),
        ("os", "unlink", 0),
        ("os", "unlink", 1),
    ],
)
def test_a_kill_between_two_steps_loses_nothing_and_doubles_nothing(
    kb: KnowledgeBase, place: str, name: str, calls: int
) -> None:
    for number in range(2):
        kb.record([a_trial(number)])
    kb.ingest()
    # Of the archive one segment is still in the database, the other is not.
    with database.open_file(kb.file, read_only=False, wait_seconds=1) as connection:
        connection.execute("DELETE FROM trials WHERE id = ?", [a_trial(0).id])
    kb.record([a_trial(1, loss=0.9), a_trial(2)], [a_task()])
    kb.record([a_trial(3)])
    (kb.journal.folder / "bad.jsonl").write_bytes(b"bad\n")
    command = [sys.executable, "-c", KILLED, str(kb.folder), place, name, str(calls)]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (9, False), ended.stderr
    for _ in range(3):
        kb.ingest()
        assert kb.trial_ids() == ids(0, 1, 2, 3)
        assert len(kb.trials()) == 4
    assert kb.trials(task="t")[0].task == "t"
    assert {trial.fold_losses["r2"][0] for trial in kb.trials()} == {0.1}
    assert len(kb.tasks()) == 1
    assert (kb.journal.folder / "bad.unreadable").read_bytes() == b"bad\n"
    assert (kb.journal.list_segments(), kb.journal.list_archived()) == ([], [])
    assert not [path for path in kb.folder.rglob("*") if path.name.endswith((".tmp", ".wal"))]


@pytest.mark.skipif(os.name != "posix", reason="these are no names elsewhere")
@pytest.mark.parametrize(
    "name",
    ["a b", "q'uote", 'd"quote', "per%20cent", "hash#x", "quest?x=1", "back\\slash", "md:x", "semi;", "not\udcffutf8"],
)
def test_any_folder_holds_a_knowledge_base(tmp_path: Path, name: str) -> None:
    kb = KnowledgeBase(tmp_path / name / "kb")
    kb.record([a_trial(0)], [a_task()])
    assert kb.ingest() == 1
    kb.record([a_trial(1)])
    assert kb.ingest() == 1
    assert KnowledgeBase(kb.folder).trial_ids() == ids(0, 1)
    assert kb.verify() == []
    assert {path.name for path in kb.folder.iterdir()} - {"kb.duckdb.lock"} == {"journal", "kb.duckdb"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="these are no names elsewhere")
def test_a_copied_database_is_written_back_and_waits_for_its_turn(tmp_path: Path) -> None:
    kb = KnowledgeBase(tmp_path / "a?b")
    kb.record([a_trial(0)])
    kb.ingest()
    with database.hold_lock(kb.file.with_name("kb.duckdb.lock")):
        assert kb.trial_ids() == ids(0)
        with pytest.raises(KnowledgeBaseError, match=r"in use by process .*gave up after 0\.05 s"):
            kb.add([a_task()], trials_to_table([]), wait_seconds=0.05)
    link = tmp_path / "link"
    link.symlink_to(kb.folder, target_is_directory=True)
    KnowledgeBase(link).add([a_task()], trials_to_table([a_trial(1)]))
    assert kb.trial_ids() == ids(0, 1)


@pytest.mark.skipif(os.name != "posix", reason="these are no names elsewhere")
@pytest.mark.parametrize("name", ["a?b.duckdb", "a%20b.duckdb", "a#b.db", "a\\b.duckdb", "a\udcffb.duckdb"])
def test_a_database_file_may_have_such_a_name_too(tmp_path: Path, name: str) -> None:
    kb = KnowledgeBase(tmp_path / name)
    kb.record([a_trial(0)])
    assert kb.ingest() == 1
    assert KnowledgeBase(tmp_path / name).trial_ids() == ids(0)


def test_what_ended_processes_left_unfinished_is_removed(kb: KnowledgeBase) -> None:
    kb.record([a_trial()])
    kb.ingest()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    living = make_unfinished_path(kb.file).name
    name = living.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    (kb.folder / name).mkdir()
    (kb.folder / name / "kb.duckdb").write_text("")
    ours, theirs = (kb.journal.folder / each.replace(kb.file.name, "a.jsonl") for each in (living, name))
    for path in (ours, theirs):
        path.write_text("")
    kb.ingest()
    assert sorted(path.name for path in kb.folder.iterdir()) == ["journal", "kb.duckdb"]
    assert ours.exists()
    assert not theirs.exists()
