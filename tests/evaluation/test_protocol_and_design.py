import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_score

from metahp.core.errors import InputError
from metahp.core.metric import METRICS, find_metrics
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol
from metahp.datasets.infer import build_table
from metahp.evaluation.design import make_design
from metahp.evaluation.protocol import FoldMemory, make_folds, measure, sample_rows
from metahp.evaluation.pruning import Pruning
from metahp.learners.base import Learner
from metahp.learners.registry import LEARNERS, find_learner

DESIGN_IDS = [
    "971336ac67541574a47e",
    "a812dc338bf15ab22760",
    "25a4d0640176d4a26695",
    "0fb2b8bd3295e9d1e76a",
    "106b8d63192a1e196a0f",
    "9f0135c38021b2930082",
]


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_longer_design_starts_with_a_shorter_one(learner: Learner, task_type: TaskType) -> None:
    long = make_design(learner, task_type, 40)
    assert make_design(learner, task_type, 10) == long[:10]
    assert len({configuration.id for configuration, _ in long}) == 40
    assert long[0] == (learner.space(task_type).default, Origin.DEFAULT)


def test_the_design_is_the_one_that_the_seed_was_measured_with() -> None:
    # Ids of configurations already measured: a change here would throw away every trial of the knowledge base.
    ids = [configuration.id for configuration, _ in make_design(find_learner("lightgbm"), TaskType.BINARY, 6)]
    assert ids == DESIGN_IDS


def _table(raw_frame: pd.DataFrame, target: str):
    return build_table(raw_frame[["signal", "gaps", "colour", target]], target=target)


@pytest.mark.parametrize("target", ["binary", "multiclass", "regression"])
def test_folds_are_the_same_every_time_and_partition_the_rows(raw_frame: pd.DataFrame, target: str) -> None:
    table = _table(raw_frame, target)
    protocol = Protocol(folds=3, repeats=2)
    rows = sample_rows(table, protocol)
    first, second = (list(make_folds(table, rows, protocol)) for _ in range(2))
    assert len(first) == 6
    for (train, test), (train_again, test_again) in zip(first, second, strict=True):
        np.testing.assert_array_equal(train, train_again)
        np.testing.assert_array_equal(test, test_again)
        assert sorted([*train, *test]) == list(rows)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in first[:3]])), rows)


def test_a_sample_is_stratified_and_the_same_every_time(raw_frame: pd.DataFrame) -> None:
    table = _table(raw_frame, "multiclass")
    protocol = Protocol(max_rows=30)
    rows = sample_rows(table, protocol)
    np.testing.assert_array_equal(rows, sample_rows(table, protocol))
    assert len(set(rows)) == 30
    shares = np.bincount(table.y) / len(table.y)
    np.testing.assert_allclose(np.bincount(table.y[rows]) / 30, shares, atol=0.05)


def test_a_measurement_agrees_with_scikit_learns_cross_validation(raw_frame: pd.DataFrame) -> None:
    table = _table(raw_frame, "binary")
    learner = find_learner("random_forest")
    configuration = learner.space(TaskType.BINARY).configuration({"n_estimators": 30})
    measurement = measure(table, learner, configuration, Protocol())
    estimator = learner.estimator(
        configuration, TaskType.BINARY, numeric=["signal", "gaps"], categorical=["colour"], seed=0
    )
    for metric in find_metrics(TaskType.BINARY):
        scores = cross_val_score(
            estimator, table.features, table.y, scoring=metric.name, cv=StratifiedKFold(3, shuffle=True, random_state=0)
        )
        losses = [METRICS[metric.name].loss(score) for score in scores]
        np.testing.assert_allclose(measurement.fold_losses[metric.name], losses, atol=1e-9, err_msg=metric.name)
    assert measurement.curve.checkpoints == (5, 10, 20, 30)
    assert measurement.curve.losses["roc_auc"][-1] == pytest.approx(np.mean(measurement.fold_losses["roc_auc"]))
    assert measurement.n_rows == 90


def test_a_class_with_fewer_rows_than_folds_still_has_losses(raw_frame: pd.DataFrame) -> None:
    raw_frame.loc[:1, "multiclass"] = "rare"
    measurement = measure(
        _table(raw_frame, "multiclass"),
        find_learner("linear"),
        find_learner("linear").space(TaskType.MULTICLASS).default,
        Protocol(),
    )
    assert np.isfinite(measurement.fold_losses["neg_log_loss"]).all()


def test_a_sample_without_a_class_for_every_fold_is_refused(raw_frame: pd.DataFrame) -> None:
    table = _table(raw_frame, "multiclass")
    with pytest.raises(InputError, match=r"Of 8 rows the largest class has \d, fewer than 7 folds"):
        list(make_folds(table, np.arange(8), Protocol(folds=7)))


@pytest.mark.parametrize("target", ["binary", "regression"])
def test_early_stopping_keeps_the_iterations_that_measured_by_themselves_are_best(
    raw_frame: pd.DataFrame, target: str
) -> None:
    table = _table(raw_frame, target)
    learner, metric = find_learner("lightgbm"), find_metrics(table.task.type)[0].name
    asked = learner.space(table.task.type).configuration(
        {"n_estimators": 300, "learning_rate": 0.5, "min_child_samples": 2}
    )
    stopped = measure(table, learner, asked, Protocol(), keep_predictions=True, early_stopping=metric)
    kept = stopped.configuration.values["n_estimators"]
    assert 10 <= kept < 300
    assert stopped.configuration == asked.replaced(n_estimators=kept)
    # The runs end soon after their best checkpoint, and not at the iterations that were asked for.
    assert kept + 30 <= stopped.curve.checkpoints[-1] < 300
    losses = dict(zip(stopped.curve.checkpoints, stopped.curve.losses[metric], strict=True))
    assert losses[kept] == min(loss for checkpoint, loss in losses.items() if checkpoint >= 10)
    alone = measure(table, learner, stopped.configuration, Protocol(), keep_predictions=True)
    for name, of_folds in alone.fold_losses.items():
        assert stopped.fold_losses[name] == pytest.approx(of_folds, nan_ok=True)
    np.testing.assert_allclose(stopped.predictions, alone.predictions, rtol=1e-6)
    whole = measure(table, learner, asked, Protocol())
    assert whole.configuration == asked
    assert np.mean(stopped.fold_losses[metric]) < np.mean(whole.fold_losses[metric])


def test_what_is_kept_of_the_folds_changes_no_result(raw_frame: pd.DataFrame) -> None:
    table, learner, memory = _table(raw_frame, "binary"), find_learner("lightgbm"), FoldMemory()
    for configuration, _ in make_design(learner, TaskType.BINARY, 6):
        options = {"keep_predictions": True, "early_stopping": "roc_auc"}
        first = measure(table, learner, configuration, Protocol(), **options, memory=memory)
        alone = measure(table, learner, configuration, Protocol(), **options)
        assert first.fold_losses == alone.fold_losses
        assert first.configuration == alone.configuration
        np.testing.assert_array_equal(first.predictions, alone.predictions)
    assert all(kept for kept in memory.by_fold)
    measure(
        table,
        find_learner("linear"),
        find_learner("linear").space(TaskType.BINARY).default,
        Protocol(folds=4),
        memory=memory,
    )
    assert memory.by_fold == [{}, {}, {}, {}]


def test_a_pruned_trial_with_early_stopping_has_the_losses_of_the_iterations_that_it_kept(
    raw_frame: pd.DataFrame,
) -> None:
    table, learner = _table(raw_frame, "binary"), find_learner("lightgbm")
    asked = learner.space(TaskType.BINARY).configuration({"n_estimators": 300, "learning_rate": 0.5})
    pruning = Pruning("roc_auc", (-1.0, -1.0))
    pruned = measure(table, learner, asked, Protocol(), pruning=pruning, early_stopping="roc_auc")
    assert pruned.pruned
    assert len(pruned.fold_losses["roc_auc"]) == 1
    assert pruned.configuration.values["n_estimators"] < 300
    alone = measure(table, learner, pruned.configuration, Protocol(), pruning=pruning)
    for name, losses in alone.fold_losses.items():
        assert losses == pytest.approx(pruned.fold_losses[name], nan_ok=True)


def test_of_a_forest_all_trees_are_kept(raw_frame: pd.DataFrame) -> None:
    table, learner = _table(raw_frame, "binary"), find_learner("random_forest")
    asked = learner.space(TaskType.BINARY).configuration({"n_estimators": 30})
    measured = measure(table, learner, asked, Protocol(), early_stopping="neg_log_loss")
    assert measured.configuration == asked
    assert measured.fold_losses == measure(table, learner, asked, Protocol()).fold_losses
