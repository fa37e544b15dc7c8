"""The seed, first use, merging and the cache of trained surrogates."""

import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.knowledge import cache, database, locate, seed
from metahp.knowledge.locate import open_snapshot
from metahp.knowledge.merge import merge
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import export_seed, import_seed, read_seed
from metahp.knowledge.store import KnowledgeBase


def some_trials(losses: tuple[float, float, float] = (0.1, 0.2, 0.3)) -> list[Trial]:
    rmse = "neg_root_mean_squared_error"
    return [
        Trial(
            task=task,
            configuration=Configuration.of(learner, {"n": n, "rate": 0.1 * n, "bag": n == 1, "depth": None}),
            protocol=Protocol(),
            n_rows=100,
            state=TrialState.COMPLETE,
            origin=Origin.DESIGN,
            fold_losses={rmse: losses, "r2": losses[::-1]},
            curve=Curve((5, 10), {rmse: losses[:2]}),
            fit_seconds=0.5,
            predict_seconds=0.25,
            space_version=n + 1,
            versions={"numpy": "2"},
        )
        for task in ("t", "u")
        for learner in ("lightgbm", "linear")
        for n in range(3)
    ]


def some_tasks() -> list[TaskRecord]:
    return [
        TaskRecord(
            task=Task(
                id=id, type=TaskType.REGRESSION, n_rows=100, n_features=4, n_classes=0, name=id.upper(), group="g"
            ),
            metafeatures={"skew": 0.1},
            metafeatures_version=3,
            source="uci",
            licence="CC0",
        )
        for id in ("t", "u")
    ]


def by_id(trials: list[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda trial: trial.id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A seed on disk."""
    export_seed((some_tasks(), some_trials((0.5, 0.25, 0.125))), tmp_path / "seed")
    return tmp_path / "seed"


@pytest.fixture
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A seed that this installation has."""
    monkeypatch.setattr(seed, "_FOLDERS", (folder,))
    return folder


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without a seed."""
    monkeypatch.setattr(seed, "_FOLDERS", (tmp_path / "nowhere",))


@settings(max_examples=20, deadline=None)
@given(losses=st.tuples(*[st.floats(0, 1e300)] * 3))
def test_a_seed_gives_back_its_content_up_to_float32(
    losses: tuple[float, float, float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("seed")
    export_seed((some_tasks(), some_trials(losses)), folder)
    with np.errstate(over="ignore"):
        rounded = tuple(float(np.float32(loss)) for loss in losses)
    tasks, trials = read_seed(folder)
    assert tasks == some_tasks()
    assert by_id(trials) == by_id(some_trials(rounded))
    assert [t.id for t in by_id(trials)] == [t.id for t in by_id(some_trials(losses))]


def test_of_a_seed_the_trials_of_some_learners_can_be_read_alone(folder: Path) -> None:
    tasks, trials = read_seed(folder, ["linear"])
    assert tasks == some_tasks()
    own = [trial for trial in some_trials((0.5, 0.25, 0.125)) if trial.configuration.learner == "linear"]
    assert by_id(trials) == by_id(own)


def test_a_seed_from_before_splits_had_names_reads_as_the_default_ones(folder: Path, tmp_path: Path) -> None:
    grouped = replace(some_trials()[0], protocol=Protocol(splits="group:0af3"))
    export_seed((some_tasks(), [grouped]), tmp_path / "grouped")
    assert read_seed(tmp_path / "grouped")[1][0].protocol == grouped.protocol
    for path in folder.glob("trials-*.parquet"):
        pq.write_table(pq.ParquetFile(path).read().drop_columns(["splits"]), path)
    expected = by_id(some_trials((0.5, 0.25, 0.125)))
    assert by_id(read_seed(folder)[1]) == expected
    kb = KnowledgeBase(tmp_path / "kb")
    assert import_seed(kb, folder) == 12
    assert by_id(kb.trials()) == expected


def test_an_imported_seed_has_the_ids_and_the_hash_of_what_was_exported(tmp_path: Path) -> None:
    origin, copy = KnowledgeBase(tmp_path / "origin"), KnowledgeBase(tmp_path / "copy")
    origin.record(some_trials(), some_tasks())
    export_seed(origin, tmp_path / "seed")
    assert import_seed(copy, tmp_path / "seed") == 12
    assert import_seed(copy, tmp_path / "seed") == 0
    assert copy.trial_ids() == origin.trial_ids() == {trial.id for trial in copy.trials()}
    assert copy.content_hash() == origin.content_hash()
    assert copy.tasks() == origin.tasks()


def test_the_same_content_makes_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    trials, tasks = some_trials(), some_tasks()
    export_seed((tasks, trials), tmp_path / "one")
    shuffled = [replace(t, fold_losses=dict(reversed(t.fold_losses.items()))) for t in reversed(trials)]
    export_seed((tasks[::-1], shuffled), tmp_path / "other")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["tasks.parquet", "trials-lightgbm.parquet", "trials-linear.parquet"]
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "other" / n).read_bytes() for n in names)


def test_an_export_removes_learners_that_are_gone(folder: Path) -> None:
    export_seed((some_tasks(), [t for t in some_trials() if t.configuration.learner == "linear"]), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["tasks.parquet", "trials-linear.parquet"]


def test_a_learner_whose_name_is_a_path_is_not_exported(tmp_path: Path) -> None:
    trial = replace(some_trials()[0], configuration=Configuration.of("../evil", {}))
    with pytest.raises(KnowledgeBaseError, match="part of a file name"):
        export_seed(([], [trial]), tmp_path)


def find_home(path: Path | None = None) -> KnowledgeBase:
    base, snapshot = open_snapshot(path)
    snapshot.close()
    return base


def test_first_use_creates_a_knowledge_base_with_the_seed(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(locate.VARIABLE, str(tmp_path / "home" / "deep"))
    kb = find_home()
    assert kb.file == tmp_path / "home" / "deep" / "kb.duckdb"
    assert by_id(kb.trials()) == by_id(some_trials((0.5, 0.25, 0.125)))
    assert find_home(tmp_path / "explicit").folder == tmp_path / "explicit"
    monkeypatch.delenv(locate.VARIABLE)
    assert locate.find_knowledge_base_path().name == "metahp"


def test_a_new_seed_joins_an_existing_knowledge_base(installed: Path, tmp_path: Path) -> None:
    kb = find_home(tmp_path / "home")
    own = replace(some_trials()[0], task="mine")
    kb.record([own])
    export_seed((some_tasks(), [*some_trials(), replace(own, task="new")]), installed)
    assert len(find_home(tmp_path / "home").trial_ids()) == 14


FIRST_USE = """
import sys
from pathlib import Path
from metahp.knowledge import seed
from metahp.knowledge.locate import open_snapshot
seed._FOLDERS = (Path(sys.argv[1]),)
_, snapshot = open_snapshot(Path(sys.argv[2]))
with snapshot:
    assert len(snapshot.read_trials()) == 12
"""


def test_first_uses_at_once_do_no_harm(folder: Path, tmp_path: Path) -> None:
    users = [
        subprocess.Popen([sys.executable, "-c", FIRST_USE, str(folder), str(tmp_path / "home")], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [(user.communicate()[1], user.returncode) for user in users] == [(b"", 0)] * 3
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["kb.duckdb"]


def test_a_home_that_cannot_be_created_gives_one_clear_line(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KnowledgeBaseError, match=r"cannot be created .*`knowledge_base` or METAHP_HOME"):
        find_home(tmp_path / "file" / "home")


@pytest.mark.usefixtures("bare")
def test_a_missing_seed_is_said_and_leaves_the_user_with_their_own_trials(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KnowledgeBaseError, match=r"lacks its seed: expected tasks\.parquet"):
        seed.find_seed_folder()
    assert find_home(tmp_path / "home").trials() == []
    assert "your own trials only" in caplog.text


def test_merging_is_a_union_that_can_be_repeated(tmp_path: Path, folder: Path) -> None:
    one, other = KnowledgeBase(tmp_path / "one"), KnowledgeBase(tmp_path / "other")
    one.record(some_trials()[:8], some_tasks()[:1])
    other.record(some_trials()[6:10], some_tasks())
    other.ingest()
    other.record(some_trials()[10:])
    assert merge(one, tmp_path / "other") == 4
    assert merge(one, other.file) == 0
    assert merge(one, folder) == 0
    assert by_id(one.trials()) == by_id(some_trials())
    assert one.tasks() == some_tasks()
    merge(other, one.file)
    assert one.content_hash() == other.content_hash()


def test_a_merge_refuses_what_is_not_there_or_no_knowledge_and_writes_nothing(tmp_path: Path, folder: Path) -> None:
    kb = KnowledgeBase(tmp_path / "kb")
    with pytest.raises(KnowledgeBaseError, match="no knowledge base at"):
        merge(kb, tmp_path / "nothing")
    path = folder / "trials-linear.parquet"
    table = pq.ParquetFile(path).read()
    pq.write_table(table.drop_columns(["state"]), path)
    with pytest.raises(KnowledgeBaseError, match="does not hold trials of this version"):
        merge(kb, folder)
    path.write_text("not parquet")
    with pytest.raises(KnowledgeBaseError, match="not a Parquet file"):
        merge(kb, folder)
    assert not kb.file.exists()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("state", "splendid", "splendid"),
        ("configuration", "[1]", "Expected an object"),
        ("configuration", "{", "JSONDecodeError"),
        ("task", None, "The task of a trial is a text"),
        ("fit_seconds", -1.0, "fit_seconds of a trial is a number from 0"),
        ("repeats", 2, "has 6 losses of .*, one per fold and repeat; got 3"),
    ],
)
def test_a_merge_leaves_out_records_that_are_not_valid_and_names_the_first(
    tmp_path: Path, folder: Path, column: str, value: object, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    kb = KnowledgeBase(tmp_path / "kb")
    path = folder / "trials-linear.parquet"
    table = pq.ParquetFile(path).read()
    values = [value, *table[column].to_pylist()[1:-1], value]
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, table.schema.field(column), pa.array(values, table[column].type)), path)
    assert merge(kb, folder) == 10
    [warning] = caplog.records
    assert re.search(
        rf"2 record\(s\) of .* are not valid and are left out; the first: trial \d+: .*{words}", warning.message
    )


def test_bad_rows_of_a_foreign_knowledge_base_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other, kb = KnowledgeBase(tmp_path / "other"), KnowledgeBase(tmp_path / "kb")
    other.record(some_trials(), some_tasks())
    other.ingest()
    with database.open_file(other.file, read_only=False, wait_seconds=1) as connection:
        connection.execute("UPDATE trials SET folds = 0 WHERE learner = 'linear'")
        connection.execute("UPDATE tasks SET type = 'cubist' WHERE id = 't'")
    assert merge(kb, other.file) == 6
    assert [record.task.id for record in kb.tasks()] == ["u"]
    [warning] = caplog.records
    assert re.search(r"7 record\(s\) of .*; the first: task t: ValueError: 'cubist'", warning.message)


@pytest.mark.usefixtures("bare")
def test_the_cache_gives_back_what_it_keeps_and_only_the_newest(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3.0), "text": np.array(["x", "yz"])}
    assert list(cache.find(tmp_path, "key-1")) == []
    for number in range(4):
        cache.save(tmp_path, f"key+{number}", arrays, newest_kept=2)
    assert sorted(path.name for path in (tmp_path / "surrogate").iterdir()) == ["key+2.npz", "key+3.npz"]
    [(_, loaded)] = cache.find(tmp_path, "key+3")
    assert {name: array.tolist() for name, array in loaded.items()} == {"a": [0.0, 1.0, 2.0], "text": ["x", "yz"]}


def test_the_cache_looks_into_the_seed_too(installed: Path, tmp_path: Path) -> None:
    cache.save(installed, "shipped", {"a": np.ones(2)})
    [(path, arrays)] = cache.find(tmp_path / "home", "shipped")
    assert path == cache.make_cache_path(installed, "shipped")
    assert arrays["a"].tolist() == [1.0, 1.0]
    assert not (tmp_path / "home").exists()


def test_the_cache_lists_its_own_files_before_those_of_the_seed_and_the_newest_first(
    installed: Path, tmp_path: Path
) -> None:
    for folder, key in ((installed, "model-2"), (tmp_path, "model-0"), (tmp_path, "model-1"), (tmp_path, "other")):
        path = cache.save(folder, key, {"a": np.ones(2)})
        assert path is not None
        os.utime(path, (1000 + ord(key[-1]),) * 2)
    paths = cache.list_newest(tmp_path, "model-*")
    assert [path.stem for path in paths] == ["model-1", "model-0", "model-2"]
    assert [path for path, _ in cache.read(paths)] == paths


@pytest.mark.usefixtures("bare")
def test_the_cache_holds_no_pickles_and_survives_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match="Python objects"):
        cache.save(tmp_path, "key", {"a": np.array([{}], dtype=object)})
    with pytest.raises(InputError, match="cache key"):
        list(cache.find(tmp_path, "../key"))
    path = cache.save(tmp_path, "key", {"a": np.ones(1000)})
    content = path.read_bytes()
    bent = content[:60] + bytes(20) + content[80:]
    for damaged in (content[:50], b"", b"text", bent):
        path.write_bytes(damaged)
        assert list(cache.find(tmp_path, "key")) == []
    np.savez(path, a=np.array([{}], dtype=object))
    assert list(cache.find(tmp_path, "key")) == []
    assert "is not used" in caplog.text
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert cache.save(tmp_path / "file", "key", {"a": np.ones(1)}) is None
    assert "cannot be kept" in caplog.text
