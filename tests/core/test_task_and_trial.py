import pytest

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState, trial_id

CONFIGURATION = Configuration.of("toy", {"rate": 0.1})


def trial(**changes: object) -> Trial:
    values = {
        "task": "t",
        "configuration": CONFIGURATION,
        "protocol": Protocol(),
        "n_rows": 30,
        "state": TrialState.COMPLETE,
        "origin": Origin.DEFAULT,
        "fold_losses": {"r2": (0.1, 0.2, 0.3)},
    }
    return Trial(**{**values, **changes})


def test_the_loss_of_a_trial_is_the_mean_over_its_folds() -> None:
    assert trial().loss("r2") == pytest.approx(0.2)
    assert trial().loss("accuracy") != trial().loss("accuracy")


def test_the_same_trial_measured_twice_is_one_trial() -> None:
    assert (
        trial().id == trial(fold_losses={"r2": (0.5,)}, fit_seconds=9.0).id == trial_id("t", CONFIGURATION, Protocol())
    )
    assert trial().id != trial(protocol=Protocol(seed=1)).id


def test_splits_are_part_of_the_id_and_the_default_ones_leave_it_as_it_always_was() -> None:
    # An id of the knowledge base from before splits had names: a change here would orphan every trial of it.
    assert trial_id("t", CONFIGURATION, Protocol()) == "bee071d823b7b477b12d9789"
    ids = {trial_id("t", CONFIGURATION, Protocol(splits=splits)) for splits in ("", "group:1", "time:1")}
    assert len(ids) == 3


def test_a_complete_trial_has_losses_and_a_failed_one_a_reason() -> None:
    with pytest.raises(InputError, match="complete trial has losses"):
        trial(fold_losses={})
    with pytest.raises(InputError, match="says why"):
        trial(state=TrialState.TIMEOUT, fold_losses={})
    assert trial(state=TrialState.TIMEOUT, fold_losses={}, reason="slow").reason == "slow"


def test_a_protocol_and_a_curve_are_valid_from_birth() -> None:
    with pytest.raises(InputError, match="at least 2 folds"):
        Protocol(folds=1)
    with pytest.raises(InputError, match="one loss per checkpoint"):
        Curve((5, 10), {"r2": (0.1,)})


@pytest.mark.parametrize(
    ("task_type", "n_classes", "words"),
    [
        (TaskType.BINARY, 3, "Try --task multiclass"),
        (TaskType.MULTICLASS, 1, "at least 2 classes"),
        (TaskType.REGRESSION, 2, "has no classes"),
    ],
)
def test_a_task_is_valid_from_birth(task_type: TaskType, n_classes: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Task("id", task_type, 100, 3, n_classes)
