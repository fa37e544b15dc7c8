import numpy as np
import pandas as pd
import pytest

from benchmarks.methods import search_table
from benchmarks.tables import LEARNER, Past, TableSource, set_outer_rows_aside, split_folds
from metahp import Configuration, TaskType
from metahp.core.task import Task
from metahp.core.trial import TrialState
from metahp.knowledge.records import TaskRecord


@pytest.fixture
def source(raw_frame, tmp_path):
    """A file with a target of two classes, and one row of a third."""
    frame = raw_frame[["signal", "gaps", "colour", "binary"]].copy()
    frame.loc[5, "binary"] = "maybe"
    frame.to_csv(tmp_path / "table.csv", index=False)
    return TableSource(path=str(tmp_path / "table.csv"), target="binary", task_type=TaskType.MULTICLASS, name="table")


def test_outer_rows_are_test_rows_of_the_same_features_and_classes(source):
    part = set_outer_rows_aside(source)
    whole = source.load()
    n_inner, n_outer = len(part.train.y), len(part.test.y)
    assert n_inner == 63
    assert n_outer in (26, 27)
    assert list(part.test.features) == list(part.train.features) == ["signal", "gaps", "colour"]
    assert set(part.train.features["signal"]).isdisjoint(part.test.features["signal"])
    pd.testing.assert_index_equal(
        part.test.features["colour"].cat.categories, part.train.features["colour"].cat.categories
    )
    class_of = dict(zip(whole.features["signal"], np.array(whole.classes)[whole.y], strict=True))
    told = np.array(part.train.classes)[part.test.y]
    assert [class_of[signal] for signal in part.test.features["signal"]] == told.tolist()


def test_a_model_of_the_training_rows_is_scored_on_the_test_rows(source):
    part = set_outer_rows_aside(source)
    predictions = part.predict(LEARNER.space(TaskType.MULTICLASS).default)
    assert predictions.shape == (len(part.test.y), len(part.train.classes))
    expected = -np.log(predictions[np.arange(len(part.test.y)), part.test.y]).mean()
    assert part.loss(predictions, "neg_log_loss") == pytest.approx(expected)
    X_train, X_test = part.frames
    assert list(X_train) == list(X_test) == ["f0", "f1", "f2"]


def test_folds_test_every_row_once(raw_frame, tmp_path):
    raw_frame[["signal", "colour", "regression"]].to_csv(tmp_path / "t.csv", index=False)
    table = TableSource(
        path=str(tmp_path / "t.csv"), target="regression", task_type=TaskType.REGRESSION, name="t"
    ).load()
    parts = list(split_folds(table))
    assert len(parts) == 3
    tested = np.concatenate([part.test.y for part in parts])
    assert sorted(tested) == sorted(table.y)
    assert all(len(part.train.y) + len(part.test.y) == len(table.y) for part in parts)


def test_a_trial_that_lightgbm_refuses_has_failed_and_one_that_stops_early_keeps_fewer_iterations(source, scripted):
    table = source.load()
    default = LEARNER.space(TaskType.MULTICLASS).default
    long = Configuration.of("lightgbm", {**default.values, "n_estimators": 300})
    refused = Configuration.of("lightgbm", {**default.values, "num_leaves": 1})
    search = scripted(long, refused)
    trials = search_table(table, search, 5, "neg_log_loss", stops_early=True)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAILED]
    assert "num_leaves" in trials[1].reason
    kept, failed = search.told
    assert kept.run == long
    assert kept.configuration.values["n_estimators"] < 300
    assert kept.loss == pytest.approx(np.mean(trials[0].fold_losses["neg_log_loss"]))
    assert kept.loss == pytest.approx(min(trials[0].curve.losses["neg_log_loss"]))
    assert failed.loss == np.inf
    assert all(trial.fit_seconds > 0 for trial in trials)


def test_of_past_tasks_known_twice_the_newer_ones_count():
    def record(name, n_rows):
        task = Task(id=name, type=TaskType.BINARY, n_rows=n_rows, n_features=5, n_classes=2, name=name)
        return TaskRecord(task=task, metafeatures={"n_rows": float(n_rows)}, metafeatures_version=1)

    older = Past([record("a", 30), record("b", 20)], [])
    both = older.updated(Past([record("b", 10), record("c", 40)], []))
    assert [(each.task.id, each.task.n_rows) for each in both.records] == [("a", 30), ("b", 10), ("c", 40)]
    assert [each.task.id for each in both.smallest().records] == ["b", "a", "c"]
