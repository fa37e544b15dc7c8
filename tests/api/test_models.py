"""Trained models as files: their names, which of them is best, and what they bring back."""

import numpy as np
import pytest

from metahp.api.advisers import make_adviser
from metahp.api.models import Model, estimate_training_seconds, list_kept_models, make_model_key, train_model
from metahp.api.past_knowledge import find_spaces, measure_past
from metahp.core.task import TaskType
from metahp.core.trial_columns import TrialColumns
from metahp.knowledge import cache
from metahp.learners.registry import LEARNERS

BOTH = ("linear", "random_forest")


@pytest.fixture(scope="module")
def past(tiny):
    records = [tiny.record_of(number) for number in range(12)]
    trials = TrialColumns.of(trial for each in records for trial in tiny.trials_of(each))
    return measure_past(records, trials, TaskType.BINARY, BOTH)


@pytest.fixture(scope="module")
def model(past):
    return train_model(past, past.evidence("accuracy", BOTH), seed=0)


def test_a_model_serves_all_metrics_that_its_own_guides(past, model):
    assert model.meta.metric == "accuracy"
    assert set(model.levels) == set(model.validations) == {"accuracy", "balanced_accuracy", "f1_macro"}
    assert model.tasks == {task.id for task in past.tasks}
    for metric, validation in model.validations.items():
        assert validation.names == BOTH
        assert np.isfinite(validation.residuals[:, 0]).all()
        assert validation.track_record.metric == metric


def test_a_kept_model_advises_the_same_to_the_bit(past, model):
    arrays = model.to_arrays()
    assert not any(np.asarray(array).dtype.hasobject for array in arrays.values())
    again = Model.from_arrays(arrays, find_spaces(TaskType.BINARY, [*BOTH, "lightgbm"]))
    assert again.tasks == model.tasks
    for name, array in again.to_arrays().items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)
    for metric in model.levels:
        for learners in (BOTH, ["linear"]):
            evidence = past.evidence(metric, learners)
            one, other = make_adviser(evidence, model), make_adviser(evidence, again)
            metafeatures = evidence.metafeatures[0] + 0.5
            priors = [each.past.prior(metafeatures) for each in (one, other)]
            np.testing.assert_array_equal(priors[0].values, priors[1].values)
            batch = priors[0].batch(3)
            assert batch == priors[1].batch(3)
            assert one.forecast.predict_relative_losses(
                batch, metafeatures, priors[0]
            ) == other.forecast.predict_relative_losses(batch, metafeatures, priors[1])


def test_training_without_validation_takes_a_sixth_and_has_no_intervals(past):
    evidence = past.evidence("roc_auc", ["linear"])
    model = train_model(past, evidence, seed=0, is_validated=False)
    assert model.validations == {}
    assert make_adviser(evidence, model).validation.track_record is None
    assert 6 * estimate_training_seconds(evidence, is_validated=False) == pytest.approx(
        estimate_training_seconds(evidence)
    )


def test_the_best_model_knows_few_other_learners_then_many_tasks_then_is_the_users_own(
    past, tmp_path, monkeypatch, tiny
):
    shipped = tmp_path / "seed"
    shipped.mkdir()
    (shipped / "tasks.parquet").touch()
    monkeypatch.setattr("metahp.knowledge.seed._FOLDERS", (shipped,))
    evidence = past.evidence("accuracy", ["linear"])
    prefix = make_model_key(evidence, "x").partition("-linear-")[0]
    names = {
        "linear-9-a": tmp_path,
        "linear-12-a": shipped,
        "linear-12-b": tmp_path,
        "linear.random_forest-99-a": tmp_path,
        "extra_trees.linear.random_forest-99-a": tmp_path,
        # These do not serve.
        "random_forest-99-a": tmp_path,
        "linear-many-a": tmp_path,
        "linear": tmp_path,
    }
    for name, folder in names.items():
        assert cache.save(folder, f"{prefix}-{name}", {"a": np.ones(1)}) is not None
    cache.save(tmp_path, f"{prefix.replace('accuracy', 'roc_auc')}-linear-12-a", {"a": np.ones(1)})
    found = [
        (path.stem.removeprefix(f"{prefix}-"), path.parent.parent)
        for path in list_kept_models(tmp_path, evidence, "b", frozenset(LEARNERS))
    ]
    assert found == [
        ("linear-12-b", tmp_path),
        ("linear-12-a", shipped),
        ("linear-9-a", tmp_path),
        ("linear.random_forest-99-a", tmp_path),
        ("extra_trees.linear.random_forest-99-a", tmp_path),
    ]
