from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks import race
from benchmarks.common import Cache
from benchmarks.race_knowledge import check_knowledge, leave_out, name_knowledge, thin_out
from benchmarks.race_report import Race
from benchmarks.race_systems import DEFAULT, Work, predict
from benchmarks.tables import Past, TableSource
from metahp import Configuration, KnowledgeBase, MetahpError, TaskType
from metahp.core.task import Task
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.locate import open_snapshot
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import SEED_KEY, find_seed_folder, hash_seed


def make_run(loss, *, seconds=9.0, trials=4, cv_loss=float("nan"), past_tasks=5):
    return {
        "loss": loss,
        "constant": 1.0,
        "seconds": seconds,
        "trials": trials,
        "cv_loss": cv_loss,
        "past_tasks": past_tasks,
    }


@pytest.fixture
def two_tables():
    """On `a` metahp halves the default's loss and TPE quarters it, on `b` both have half of it or are solved."""
    return {
        ("a", "metahp"): [make_run(0.2, cv_loss=0.1)],
        ("a", "tpe"): [make_run(0.1, seconds=12.0, trials=10, cv_loss=0.2)],
        ("a", DEFAULT): [make_run(0.4, cv_loss=0.4)],
        ("b", "metahp"): [make_run(0.2, seconds=10.0, trials=8, cv_loss=0.1, past_tasks=0)],
        ("b", "tpe"): [make_run(0.2, seconds=10.0, trials=20, cv_loss=0.1)],
        ("b", DEFAULT): [make_run(0.4, cv_loss=0.4)],
        ("c", "metahp"): [make_run(1e-9)],
        ("c", "tpe"): [{"reason": "killed after 90 s"}],
        ("c", DEFAULT): [make_run(0.4)],
    }


def test_losses_are_compared_as_shares_of_the_default_on_tables_that_all_have(two_tables):
    outer, folds = Race(two_tables, ["metahp", "tpe", DEFAULT]).tabulate(10.0)
    assert outer.title == "10 s, outer rows of 2 tables"
    rows = {row[0]: [getattr(cell, "value", cell) for cell in row[1:]] for row in outer.rows}
    assert rows["metahp"] == pytest.approx([0.5, "", "", -5.0, 0.0, 6.0])
    assert rows["tpe"] == pytest.approx([np.sqrt(0.125), 0.25, np.log(2) / 2, 10.0, 20.0, 15.0])
    assert rows[DEFAULT] == pytest.approx([1.0, 1.0, -np.log(2), "", "", ""])
    assert [str(note) for note in outer.notes] == [
        "In 50% of its runs metahp had asked past tasks in time.",
        "1 runs failed: tpe on c: killed after 90 s.",
    ]
    rows = {row[0]: [getattr(cell, "value", cell) for cell in row[1:]] for row in folds.rows}
    assert rows["tpe"] == pytest.approx([np.sqrt(0.125), 0.75, -np.log(2) / 2])


def test_tiny_losses_are_no_better_than_small_ones(two_tables):
    race_of_c = Race({key: runs for key, runs in two_tables.items() if key[0] == "c"}, ["metahp", DEFAULT])
    assert race_of_c.log_ratios("metahp", "loss") == pytest.approx([np.log(1e-3 / 0.4)])


def test_each_way_of_metahp_has_its_differences(two_tables):
    runs = two_tables | {(table, "metahp_all"): [make_run(0.1)] for table in "abc"}
    _, own, _ = Race(runs, ["metahp", "metahp_all", "tpe", DEFAULT]).tabulate(10.0)
    assert list(own.columns) == ["peer", "metahp", "metahp_all"]
    rows = {row[0]: [cell.value for cell in row[1:]] for row in own.rows}
    assert rows["tpe"] == pytest.approx([np.log(2) / 2, -np.log(2) / 2])


def test_runs_are_kept_by_limit_and_metahps_by_its_code_too(source):
    cache = Cache(None)
    runs = race.Runs(cache, [source], ["metahp", "tpe", DEFAULT], [0])
    assert runs.key("t", "metahp", 10.0, 0, "x") == "t metahp 10 s seed 0 code x"
    assert runs.key("t", "tpe", 10.0, 0, "x") == "t tpe 10 s seed 0"
    assert runs.key("t", DEFAULT, 10.0, 0, "x") == runs.key("t", DEFAULT, 30.0, 0, "y") == "t default seed 0"
    for system in runs.systems:
        cache.add(runs.key("table", system, 10.0, 0, "x"), make_run(0.5))
    assert [found.tables for _, found in runs.races([10.0, 30.0], "x")] == [["table"], []]
    assert [found.tables for _, found in runs.races([10.0], "y")] == [[]]


@pytest.fixture
def source(raw_frame, tmp_path):
    raw_frame[["signal", "gaps", "colour", "binary"]].to_csv(tmp_path / "table.csv", index=False)
    return TableSource(
        path=str(tmp_path / "table.csv"), target="binary", task_type=TaskType.BINARY, name="table", group="kin"
    )


def make_record(name, group):
    task = Task(id=name, type=TaskType.BINARY, n_rows=100, n_features=5, n_classes=2, name=name, group=group)
    return TaskRecord(task=task, metafeatures={"n_rows": 100.0}, metafeatures_version=1)


def make_trial(task, origin, **values):
    return Trial(
        task=task,
        configuration=Configuration.of("lightgbm", {"n_estimators": 100, **values}),
        protocol=Protocol(),
        n_rows=100,
        state=TrialState.FAILED,
        origin=origin,
        fold_losses={},
        reason="made up",
    )


def test_the_knowledge_has_no_table_of_a_raced_group(source):
    records = [
        make_record("cousin", "kin"),
        make_record("table", "other"),
        make_record("of the record's group", "other"),
        make_record("stranger", ""),
        replace(make_record("x", "y"), task=replace(make_record("x", "y").task, id=source.load().task.id)),
        make_record("of its group", "y"),
    ]
    past = Past(records, [make_trial(record.task.id, Origin.DEFAULT) for record in records])
    left = leave_out(past, [source])
    assert [record.task.name for record in left.records] == ["stranger"]
    assert [trial.task for trial in left.trials] == ["stranger"]
    assert name_knowledge(left) != name_knowledge(past)


def test_a_quick_run_knows_all_defaults_and_some_of_the_rest():
    trials = [make_trial("t", Origin.DESIGN, num_leaves=n) for n in range(2, 42)]
    thin = thin_out(Past([], [make_trial("t", Origin.DEFAULT), *trials]), 4).trials
    assert thin[0].origin is Origin.DEFAULT
    assert 2 < len(thin) < 25


def test_knowledge_of_a_raced_table_or_without_a_model_is_refused(source, tmp_path):
    def keep(name, record):
        base = KnowledgeBase(tmp_path / name)
        seed = hash_seed(find_seed_folder())
        base.add([record], trials_to_table([make_trial(record.task.id, Origin.DEFAULT)]), {SEED_KEY: seed})
        return base.folder

    with pytest.raises(MetahpError, match="knows cousin, or a table of its group"):
        check_knowledge(keep("kin", make_record("cousin", "kin")), [source])
    folder = keep("apart", make_record("stranger", "elsewhere"))
    with pytest.raises(MetahpError, match="has no model of lightgbm for binary tasks"):
        check_knowledge(folder, [source])
    # Opened by its path it does not get the seed, which knows the raced tables.
    _, snapshot = open_snapshot(folder)
    with snapshot:
        assert [record.task.name for record in snapshot.tasks] == ["stranger"]


def test_a_class_that_a_model_has_not_seen_has_no_probability():
    class Model:
        classes_ = np.array(["2", "0"])

        def predict_proba(self, X):
            return np.tile([0.75, 0.25], (len(X), 1))

        def predict(self, X):
            return np.ones((len(X), 1))

    X = pd.DataFrame({"f0": [1.0, 2.0]})
    assert predict(Model(), X, 3).tolist() == [[0.25, 0.0, 0.75]] * 2
    assert predict(Model(), X, 0).tolist() == [1.0, 1.0]


@pytest.fixture
def work():
    X = pd.DataFrame({"f0": np.arange(40.0)})
    return Work(
        system=DEFAULT,
        seconds=1.0,
        seed=0,
        X=X,
        y=np.arange(40.0),
        X_test=X[:3],
        task="regression",
        n_classes=0,
        metric="neg_root_mean_squared_error",
        folds=[],
        knowledge_base="",
        cpu=race.find_cpu(),
    )


def test_a_search_that_fails_or_takes_too_long_is_a_reason(work):
    assert race.run_process(replace(work, system="none"), 60.0) == {"reason": "exit code 1: KeyError: 'none'"}
    assert race.run_process(work, 0.01) == {"reason": "killed after 0 s"}


def test_a_peer_that_is_not_installed_is_left_out_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(race, "find_spec", lambda name: name != "flaml")
    assert race.find_systems(["tpe", "flaml_lgbm"]) == ["tpe", DEFAULT]
    assert capsys.readouterr().err.startswith("flaml not installed, so flaml_lgbm is left out")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["binary", "regression"])
def test_searches_on_a_table_are_scored_on_its_outer_rows(raw_frame, tmp_path, target):
    raw_frame[["signal", "gaps", "colour", target]].to_csv(tmp_path / "t.csv", index=False)
    source = TableSource(path=str(tmp_path / "t.csv"), target=target, task_type=TaskType(target), name="t")
    for system, seconds in ((DEFAULT, 0.0), ("tpe", 4.0)):
        found = race.run_system(source, system, seconds, 0, "", race.find_cpu())
        assert np.isfinite([found["loss"], found["cv_loss"], found["constant"]]).all()
        assert found["trials"] > 0 or system == DEFAULT
