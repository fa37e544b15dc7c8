"""The knowledge base as a whole: journal, ingest, reads, locks and damaged files."""

import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.knowledge import database
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.records import TaskRecord, combine
from metahp.knowledge.store import KnowledgeBase

LOSSES = st.floats(0, 1e6, width=32)
SHARES = st.floats(0, 1, width=32)
VALUES = st.one_of(st.booleans(), st.none(), st.integers(-9, 9), st.floats(-9, 9), st.text(max_size=4))
CHECKPOINTS = st.lists(st.integers(1, 1000), max_size=4, unique=True).map(sorted)
IN_ONE_FOLDER = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    protocol = Protocol(
        folds=draw(st.integers(2, 4)), repeats=1, seed=draw(st.integers(0, 3)), max_rows=draw(st.integers(100, 200))
    )
    protocol = replace(protocol, splits=draw(st.sampled_from(["", "group:0af3"])))
    n_folds, checkpoints = protocol.folds, tuple(draw(CHECKPOINTS))
    state = draw(st.sampled_from(TrialState))
    is_complete = state is TrialState.COMPLETE
    names = draw(st.lists(st.sampled_from(["roc_auc", "neg_log_loss", "accuracy"]), min_size=1, unique=True))

    def some_losses(n: int) -> dict[str, tuple[float, ...]]:
        of = {"neg_log_loss": LOSSES}
        return {name: tuple(draw(st.lists(of.get(name, SHARES), min_size=n, max_size=n))) for name in names}

    losses, points = some_losses(n_folds), some_losses(len(checkpoints))
    return Trial(
        task=draw(st.sampled_from(["task-a", "task-b", "aufgabe-ß"])),
        configuration=Configuration.of(
            draw(st.sampled_from(["lightgbm", "linear"])),
            draw(st.dictionaries(st.text(max_size=5), VALUES, max_size=3)),
        ),
        protocol=protocol,
        n_rows=draw(st.integers(10, 10**12)),
        state=state,
        origin=draw(st.sampled_from(Origin)),
        fold_losses=losses if is_complete else {},
        curve=Curve(checkpoints, points),
        fit_seconds=draw(LOSSES),
        predict_seconds=draw(LOSSES),
        reason="" if is_complete else draw(st.text(min_size=1, max_size=9)),
        space_version=draw(st.integers(1, 3)),
        versions=draw(st.dictionaries(st.sampled_from(["lightgbm", "numpy"]), st.text(max_size=5))),
        device=draw(st.sampled_from(["cpu", "cuda"])),
    )


def a_trial(number: int = 0, task: str = "t", learner: str = "lightgbm") -> Trial:
    return Trial(
        task=task,
        configuration=Configuration.of(learner, {"num_leaves": number}),
        protocol=Protocol(),
        n_rows=100,
        state=TrialState.COMPLETE,
        origin=Origin.DESIGN,
        fold_losses={"accuracy": (0.1, 0.2, 0.3)},
        curve=Curve((5, 10), {"accuracy": (0.4, 0.2)}),
    )


def a_task(id: str = "t", version: int = 1, **changes: object) -> TaskRecord:
    task = Task(
        id=id,
        type=TaskType.BINARY,
        n_rows=100,
        n_features=4,
        n_classes=2,
        name=str(changes.pop("name", "")),
        group=str(changes.pop("group", "")),
    )
    return TaskRecord(task=task, metafeatures={"n_rows": 100.0, "skew": 0.5}, metafeatures_version=version, **changes)


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase(tmp_path / "kb")


def copies(values: list[Trial]) -> list[Trial]:
    """Each id once, the first that came, in the order of the ids."""
    first: dict[str, Trial] = {}
    for trial in values:
        first.setdefault(trial.id, trial)
    return [first[key] for key in sorted(first)]


@IN_ONE_FOLDER
@given(values=st.lists(trials(), min_size=1, max_size=8))
def test_journal_and_file_give_back_the_trials_that_went_in(
    values: list[Trial], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kb = KnowledgeBase(tmp_path_factory.mktemp("kb"))
    kb.record(values)
    assert kb.trials() == copies(values)
    assert kb.ingest() == len(copies(values))
    assert kb.trials() == copies(values)
    assert kb.journal.list_segments() == []


def test_a_knowledge_base_that_does_not_exist_reads_as_empty_and_is_not_created(kb: KnowledgeBase) -> None:
    assert (kb.tasks(), kb.trials(), kb.trial_ids(), kb.task("t")) == ([], [], set(), None)
    assert kb.info()["n_trials"] == 0
    assert kb.ingest() == 0
    assert not kb.folder.exists()


def test_losses_that_are_not_numbers_survive(kb: KnowledgeBase) -> None:
    nan = float("nan")
    kb.record(
        [replace(a_trial(), fold_losses={"neg_log_loss": (0.1, nan, float("inf"))})],
        [replace(a_task(), metafeatures={"skew": nan})],
    )
    for _ in range(2):
        assert repr(kb.trials()[0].fold_losses) == "{'neg_log_loss': (0.1, nan, inf)}"
        assert repr(kb.task("t").metafeatures) == "{'skew': nan}"
        kb.ingest()


def test_columns_of_some_tasks_and_learners_are_those_of_the_file_and_the_journal(kb: KnowledgeBase, listed) -> None:
    learners = ("lightgbm", "linear", "random_forest")
    all_trials = [a_trial(n, task, learner) for n in range(2) for task in "tuv" for learner in learners]
    wanted = [t for t in all_trials if t.task in "tv" and t.configuration.learner != "random_forest"]
    kb.record(all_trials[::2])
    kb.ingest()
    # Some of them a second time.
    kb.record(all_trials[1:])
    for _ in range(2):
        with kb.take_snapshot() as snapshot:
            found = snapshot.read_columns(["linear", "lightgbm", "magic"], ["t", "v", "nowhere"])
            assert listed(found) == listed(TrialColumns.of(copies(wanted)))
            assert found.ids.tolist() == [trial.id for trial in copies(wanted)]
            assert len(snapshot.read_columns(["linear"], [])) == len(snapshot.read_columns([], ["t"])) == 0
            assert listed(snapshot.read_columns(learners)) == listed(TrialColumns.of(all_trials))
        kb.ingest()


def sums(kb: KnowledgeBase, learners: Sequence[str]) -> dict[str, str]:
    with kb.take_snapshot() as snapshot:
        return snapshot.sum_trials(learners)


def test_the_sum_of_a_task_changes_with_its_trials_and_its_description_alone(kb: KnowledgeBase) -> None:
    kb.record([a_trial(0, "t"), a_trial(0, "u")], [a_task("t"), a_task("u"), a_task("v")])
    before = sums(kb, ["lightgbm", "linear"])
    assert list(before) == ["t", "u", "v"]
    assert before["v"].endswith(" 0 0")
    assert len(set(before.values())) == 3
    kb.ingest()
    assert sums(kb, ["lightgbm", "linear"]) == before
    for change, tasks, learners in (
        (([a_trial(1, "u")], []), {"u"}, ["lightgbm", "linear"]),
        (([a_trial(1, "t", "linear")], []), {"t"}, ["lightgbm", "linear"]),
        (([], [replace(a_task("v", 2), metafeatures={"n_rows": 99.0})]), {"v"}, ["lightgbm", "linear"]),
        (([a_trial(2, "t", "linear"), a_trial(3, "v")], []), {"v"}, ["lightgbm"]),
        # What is known already, or is of no task that is described, changes nothing.
        (([a_trial(1, "u"), a_trial(1, "nowhere")], [a_task("u")]), set(), ["lightgbm", "linear"]),
    ):
        old = sums(kb, learners)
        kb.record(*change)
        new = sums(kb, learners)
        assert {task for task in new if new[task] != old[task]} == tasks
        kb.ingest()
        assert sums(kb, learners) == new


@settings(IN_ONE_FOLDER, max_examples=6)
@given(values=st.lists(trials(), min_size=2, max_size=8), n_first=st.integers(1, 4))
def test_sums_are_the_same_for_any_order_and_any_batches(
    values: list[Trial], n_first: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tasks = [a_task(id) for id in {trial.task for trial in values}]
    one, other = (KnowledgeBase(tmp_path_factory.mktemp("kb")) for _ in range(2))
    one.record(values, tasks)
    other.record(values[:n_first], tasks)
    other.ingest()
    other.record(values[::-1])
    expected = sums(one, ["lightgbm", "linear"])
    assert sums(other, ["lightgbm", "linear"]) == expected
    other.ingest()
    assert sums(other, ["linear", "lightgbm"]) == expected
    assert sum(int(text.split()[1]) for text in expected.values()) == len(copies(values))


def test_a_knowledge_base_without_anything_has_no_sums(kb: KnowledgeBase) -> None:
    assert sums(kb, ["lightgbm"]) == {}
    with kb.take_snapshot() as snapshot:
        assert len(snapshot.read_columns(["lightgbm"], ["t"])) == 0
    assert not kb.folder.exists()


def test_reads_filter_by_task_and_learner_in_the_file_and_in_the_journal(kb: KnowledgeBase) -> None:
    all_trials = [a_trial(n, task, learner) for n in range(2) for task in "tu" for learner in ("lightgbm", "linear")]
    kb.record(all_trials[:5])
    kb.ingest()
    kb.record(all_trials[3:])
    assert kb.trials(task="t") == copies([t for t in all_trials if t.task == "t"])
    assert kb.trials(learner="linear") == copies([t for t in all_trials if t.configuration.learner == "linear"])
    assert len(kb.trials(task="u", learner="linear")) == 2
    assert kb.trial_ids() == {t.id for t in all_trials}


def test_ingesting_a_replayed_segment_changes_nothing(kb: KnowledgeBase) -> None:
    kb.record([a_trial(0), a_trial(1)], [a_task()])
    segment = kb.journal.list_segments()[0]
    content = segment.read_bytes()
    assert kb.ingest() == 2
    before = kb.content_hash(), kb.trials(), kb.tasks()
    for name in (segment.name, "another_name.jsonl"):
        segment.with_name(name).write_bytes(content)
        assert (kb.content_hash(), kb.trials(), kb.tasks()) == before
        assert kb.ingest() == 0
        assert (kb.content_hash(), kb.trials(), kb.tasks()) == before
    assert kb.journal.list_segments() == []


def test_an_unfinished_segment_of_a_killed_writer_is_ignored(kb: KnowledgeBase) -> None:
    kb.record([a_trial()])
    (kb.journal.folder / "half.tmp").write_text('{"format": 1, "id": "e3c9')
    assert kb.ingest() == 1
    assert len(kb.trials()) == 1


@pytest.mark.parametrize("content", [b"not json\n", b"\xff\xfe", b"[1]\n", b'{"format": 1}\n'])
def test_a_corrupt_segment_is_set_aside_with_a_warning_and_the_rest_goes_on(
    kb: KnowledgeBase, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kb.record([a_trial()])
    (kb.journal.folder / "bad.jsonl").write_bytes(content)
    assert kb.trials() == [a_trial()]
    with caplog.at_level(logging.WARNING):
        assert KnowledgeBase(kb.folder).ingest() == 1
    assert "are kept in" in caplog.text
    assert (kb.journal.folder / "bad.unreadable").read_bytes() == content.rstrip(b"\n") + b"\n"
    assert kb.journal.list_segments() == []


def test_a_segment_of_a_newer_version_stays_and_stops_nothing(
    kb: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    kb.record([a_trial()])
    newer = kb.journal.folder / "newer.jsonl"
    newer.write_bytes(b'{"format": 99}\n')
    for _ in range(2):
        assert kb.trials() == [a_trial()]
        kb.ingest()
    assert kb.journal.list_segments() == [newer]
    [warning] = caplog.records
    assert "newer metahp" in warning.message


def test_content_hash_tells_the_set_and_not_the_order_or_the_place(tmp_path: Path) -> None:
    values = [a_trial(n) for n in range(4)]
    one, other = KnowledgeBase(tmp_path / "one"), KnowledgeBase(tmp_path / "other")
    one.record(values, [a_task("t"), a_task("u")])
    for trial in reversed(values):
        other.record([trial])
    other.ingest()
    assert one.content_hash() != other.content_hash()
    other.record(values[:2], [a_task("u")])
    other.record([], [a_task("t")])
    assert one.content_hash() == other.content_hash()
    one.ingest()
    other.ingest()
    assert one.content_hash() == other.content_hash() == one.info()["content_hash"]
    one.record([], [a_task("t", version=2)])
    assert one.content_hash() != other.content_hash()
    pending = one.content_hash()
    one.ingest()
    assert one.content_hash() == pending


def test_newer_metafeatures_replace_older_ones_and_keep_what_was_known(kb: KnowledgeBase) -> None:
    kb.record([], [a_task(version=1, name="iris", group="flowers", source="uci", licence="CC0")])
    kb.ingest()
    newer = replace(a_task(version=2), metafeatures={"skew": 0.7})
    kb.record([], [newer])
    for _ in range(2):
        record = kb.task("t")
        assert record.metafeatures == {"skew": 0.7}
        assert (record.task.name, record.task.group, record.source, record.licence) == ("iris", "flowers", "uci", "CC0")
        kb.ingest()
    kb.record([], [a_task(version=1)])
    kb.ingest()
    assert kb.task("t").metafeatures_version == 2
    assert combine(newer, a_task(version=1)) is newer


def test_info_counts_file_and_journal_together(kb: KnowledgeBase) -> None:
    kb.record([a_trial(0), a_trial(1)], [a_task()])
    kb.ingest()
    kb.record([a_trial(1), replace(a_trial(2), origin=Origin.USER), replace(a_trial(3), origin=Origin.DEFAULT)])
    info = kb.info()
    assert info["n_trials"] == 4
    assert info["trials_by_origin"] == {"default": 1, "design": 2, "user": 1}
    assert info["trials_by_learner"] == {"lightgbm": 4}
    assert info["defaults_by_learner"] == {"lightgbm": 1}
    assert info["tasks_by_type"] == {"binary": 1}
    assert (info["pending_segments"], info["schema_version"]) == (1, 2)
    assert info["size_bytes"] > 0


HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_held_file_gives_an_error_that_names_the_process_and_loses_nothing(kb: KnowledgeBase) -> None:
    kb.record([a_trial(0)])
    kb.ingest()
    kb.record([a_trial(1)])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(kb.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(KnowledgeBaseError, match=rf"in use by process {holder.pid} .*gave up after 0\.05 s"):
            kb.ingest(wait_seconds=0.05)
        kb.record([a_trial(2)])
        holder.stdin.close()
        holder.wait()
    assert kb.ingest() == 2


RECORD = """
import sys
from pathlib import Path
from metahp.core.configuration import Configuration
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.knowledge.store import KnowledgeBase
kb = KnowledgeBase(Path(sys.argv[1]))
for number in range(20):
    kb.record([Trial(task=sys.argv[2], configuration=Configuration.of("lightgbm", {"n": number}), protocol=Protocol(),
                     n_rows=9, state=TrialState.COMPLETE, origin=Origin.USER,
                     fold_losses={"accuracy": (0.1, 0.2, 0.3)})])
    if number % 5 == 4 and sys.argv[3] == "ingest":
        kb.ingest(wait_seconds=60)
"""


def test_processes_record_and_ingest_side_by_side_without_losing_a_trial(kb: KnowledgeBase) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", RECORD, str(kb.folder), task, role], stderr=subprocess.PIPE)
        for task, role in (("a", "record"), ("b", "ingest"), ("c", "ingest"))
    ]
    while any(writer.poll() is None for writer in writers):
        kb.ingest(wait_seconds=60)
    assert [(writer.returncode, writer.communicate()[1]) for writer in writers] == [(0, b"")] * 3
    kb.ingest()
    assert {task: len(kb.trials(task=task)) for task in "abc"} == {"a": 20, "b": 20, "c": 20}
    assert sorted(path.name for path in kb.folder.iterdir()) == ["journal", "kb.duckdb"]


SHIPPED = [(1, "0001_initial.sql"), (2, "0002_splits.sql")]


def test_a_file_from_before_splits_had_names_keeps_its_trials_and_takes_new_ones(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = database.SCHEMA.joinpath("0001_initial.sql").read_text(encoding="utf-8")
    columns = trials_to_table([a_trial()]).drop_columns(["splits"])
    with monkeypatch.context() as older:
        (tmp_path / "0001_initial.sql").write_text(first)
        older.setattr(database, "SCHEMA", tmp_path)
        kb.add([a_task()], columns)
    assert kb.trials() == [a_trial()]
    grouped = replace(a_trial(), protocol=Protocol(splits="group:0af3"))
    kb.record([grouped, a_trial()])
    assert kb.ingest() == 1
    assert kb.trial_ids() == {grouped.id, a_trial().id}
    assert grouped in kb.trials()
    with database.open_file(kb.file, read_only=True, wait_seconds=1) as connection:
        (tags,) = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()[0]
    assert tags["storage_version"].startswith("v1.4.0")


def test_a_segment_from_before_splits_had_names_is_read(kb: KnowledgeBase) -> None:
    kb.record([a_trial()])
    [path] = kb.journal.list_segments()
    assert "splits" not in path.read_text(encoding="utf-8")
    assert kb.trials() == [a_trial()]


def test_migrations_are_recorded_and_a_broken_one_changes_nothing(
    kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded() -> list[tuple[int, str]]:
        with database.open_file(kb.file, read_only=True, wait_seconds=1) as connection:
            return connection.execute("SELECT version, name FROM migrations ORDER BY version").fetchall()

    kb.record([a_trial()])
    kb.ingest()
    assert recorded() == SHIPPED
    shipped = database.SCHEMA
    with monkeypatch.context() as newer:
        newer.setattr(database, "SCHEMA", tmp_path)
        for _, name in SHIPPED:
            (tmp_path / name).write_text("THIS WAS APPLIED BEFORE AND NEVER RUNS AGAIN")
        (tmp_path / "0003_more.sql").write_text("CREATE TABLE more (a INTEGER); CREATE TABLE tasks (a INTEGER);")
        with pytest.raises(KnowledgeBaseError, match="already exists"):
            kb.trials()
        (tmp_path / "0003_more.sql").write_text("CREATE TABLE more (a INTEGER);")
        assert kb.trials() == [a_trial()]
        assert recorded() == [*SHIPPED, (3, "0003_more.sql")]
    assert shipped is database.SCHEMA
    with pytest.raises(KnowledgeBaseError, match=r"newer metahp \(schema 3, this one knows 2\)"):
        kb.trials()


def test_a_file_is_written_so_that_duckdb_1_4_reads_it(kb: KnowledgeBase) -> None:
    kb.record([a_trial()])
    kb.ingest()
    with database.open_file(kb.file, read_only=True, wait_seconds=1) as connection:
        (tags,) = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()[0]
    assert tags["storage_version"].startswith("v1.4.0")


def test_files_that_are_no_knowledge_base_are_refused_in_one_line(tmp_path: Path) -> None:
    text, foreign, cut = tmp_path / "text.duckdb", tmp_path / "foreign.duckdb", tmp_path / "cut.duckdb"
    text.write_text("name,value\n" * 1000)
    with duckdb.connect(str(foreign)) as connection:
        connection.execute("CREATE TABLE migrations (version VARCHAR); CREATE TABLE customers (a INTEGER)")
    cut.write_bytes(foreign.read_bytes()[:5000])
    for path, reason in ((text, "not a valid DuckDB"), (foreign, "not a knowledge base of metahp"), (cut, "cannot be")):
        before = path.read_bytes()
        for act in (KnowledgeBase(path).trials, KnowledgeBase(path).content_hash):
            with pytest.raises(KnowledgeBaseError, match=reason) as caught:
                act()
            assert "\n" not in str(caught.value)
        other = KnowledgeBase(path)
        other.record([a_trial()])
        with pytest.raises(KnowledgeBaseError, match=reason):
            other.ingest()
        assert path.read_bytes() == before


def test_a_folder_that_cannot_be_written_gives_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kb = KnowledgeBase(tmp_path / "file" / "kb")
    with pytest.raises(KnowledgeBaseError, match=r"cannot be written .*`knowledge_base` or METAHP_HOME"):
        kb.record([a_trial()])


def test_two_files_in_one_folder_keep_their_journals_apart(tmp_path: Path) -> None:
    one, other = KnowledgeBase(tmp_path / "one.duckdb"), KnowledgeBase(tmp_path / "other.duckdb")
    one.record([a_trial()])
    assert (one.trials(), other.trials()) == ([a_trial()], [])
    one.ingest()
    assert (one.trials(), other.trials()) == ([a_trial()], [])
