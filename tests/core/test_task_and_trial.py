from dataclasses import replace
from typing import Any

import pytest

from metahp.core.checks import MAX_TEXT
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import METRICS
from metahp.core.task import Task, TaskType
from metahp.core.trial import (
    BOUNDED_METRICS,
    OBJECTIVE_SPLITS,
    Curve,
    Origin,
    Protocol,
    Trial,
    TrialState,
    compute_trial_id,
)

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
        trial().id
        == trial(fold_losses={"r2": (0.5,) * 3}, fit_seconds=9.0).id
        == compute_trial_id("t", CONFIGURATION, Protocol())
    )
    assert trial().id != trial(protocol=Protocol(seed=1)).id


def test_splits_are_part_of_the_id_and_the_default_ones_leave_it_as_it_always_was() -> None:
    # An id of the knowledge base from before splits had names: a change here would orphan every trial of it.
    assert compute_trial_id("t", CONFIGURATION, Protocol()) == "bee071d823b7b477b12d9789"
    ids = {compute_trial_id("t", CONFIGURATION, Protocol(splits=splits)) for splits in ("", "group:1", "time:1")}
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
        (TaskType.BINARY, 3, "Try `task='multiclass'`"),
        (TaskType.MULTICLASS, 1, "at least 2 classes"),
        (TaskType.REGRESSION, 2, "has no classes"),
    ],
)
def test_a_task_is_valid_from_birth(task_type: TaskType, n_classes: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Task(id="id", type=task_type, n_rows=100, n_features=3, n_classes=n_classes)


HALF = "half a character: \udc80"
NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": ""}, "task of a trial is not empty"),
        ({"task": None}, "is a text, got None"),
        ({"task": HALF}, "written as UTF-8"),
        ({"configuration": {"rate": 0.1}}, "is a Configuration"),
        ({"protocol": (3, 1)}, "is a Protocol"),
        ({"curve": None}, "is a Curve"),
        ({"state": "complete"}, "is a TrialState"),
        ({"origin": "default"}, "is a Origin"),
        ({"n_rows": -1}, "n_rows of a trial is a whole number from 0"),
        ({"n_rows": 2**63}, "n_rows"),
        ({"n_rows": 3.0}, "got 3.0"),
        ({"n_rows": True}, "got True"),
        ({"space_version": 2**31}, "space_version"),
        ({"fit_seconds": -0.1}, "fit_seconds of a trial is a number from 0"),
        ({"fit_seconds": NAN}, "fit_seconds"),
        ({"fit_seconds": "long"}, "got 'long'"),
        ({"predict_seconds": INFINITE}, "predict_seconds"),
        ({"reason": HALF}, "written as UTF-8"),
        ({"reason": "x" * (MAX_TEXT + 1)}, "at most 65,536 characters, got 65,537"),
        ({"versions": {"numpy": 2}}, "text, got 2"),
        ({"versions": ["numpy"]}, "texts by name"),
        ({"device": HALF}, "written as UTF-8"),
        ({"fold_losses": {"r2": (0.1, 0.2)}}, "has 3 losses of r2, one per fold and repeat; got 2"),
        ({"fold_losses": {"r2": [0.1, 0.2, 0.3]}}, "is a tuple"),
        ({"fold_losses": {"r2": (0.1, 0.2, "0.3")}}, "A loss of r2 is a number, got '0.3'"),
        ({"fold_losses": {"r2": (0.1, 0.2, 10**400)}}, "A loss of r2 is a number"),
        ({"fold_losses": {"r2": (0.1, 0.2, -0.3)}}, "A loss of r2 is at least 0, got -0.3"),
        ({"fold_losses": {"made up": (0.1, 0.2, -INFINITE)}}, "got -inf"),
        ({"fold_losses": {"roc_auc": (0.1, 0.2, 1.3)}}, "A loss of roc_auc is at most 1, got 1.3"),
        ({"fold_losses": {3: (0.1, 0.2, 0.3)}}, "metric of a loss is a text"),
        ({"fold_losses": [("r2", (0.1, 0.2, 0.3))]}, "is a Mapping"),
        ({"state": TrialState.PRUNED, "fold_losses": {"r2": (0.1,) * 4}}, "at most 3 losses"),
    ],
)
def test_a_trial_is_valid_from_birth(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        trial(**changes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_losses_may_be_rounded_unknown_or_without_a_bound() -> None:
    assert trial(fold_losses={"r2": (NAN, INFINITE, -1e-12), "accuracy": (NAN, 1 + 1e-12, 0)}).fold_losses
    assert trial(fold_losses={"made up": (-3.0, 1e300, INFINITE)}).fold_losses
    assert trial(fold_losses={"r2": (1e308,) * 3}).loss("r2") == INFINITE
    assert set(METRICS) > BOUNDED_METRICS


def test_an_objective_gives_as_many_numbers_as_it_likes_and_a_pruned_trial_has_its_first_folds() -> None:
    for losses in ((0.1,), (0.1,) * 7):
        assert trial(protocol=Protocol(splits=OBJECTIVE_SPLITS), fold_losses={"r2": losses}).fold_losses["r2"] == losses
    with pytest.raises(InputError, match="got 0"):
        trial(protocol=Protocol(splits=OBJECTIVE_SPLITS), fold_losses={"r2": ()})
    assert trial(state=TrialState.PRUNED, fold_losses={"r2": (0.1,)}).loss("r2") == 0.1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"folds": 2.0}, "folds"),
        ({"folds": 2**31, "max_rows": 2**40}, "folds"),
        ({"repeats": None}, "repeats"),
        ({"seed": 2**63}, "seed"),
        ({"seed": True}, "seed"),
        ({"max_rows": 2**63}, "max_rows"),
        ({"splits": HALF}, "splits"),
    ],
)
def test_a_protocol_has_numbers_that_a_column_holds(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"{words} of a protocol"):
        Protocol(**values)


@pytest.mark.parametrize(
    ("checkpoints", "losses", "words"),
    [
        ([5, 10], {}, "is a tuple"),
        ((10, 5), {}, "increase"),
        ((5, 5), {}, "increase"),
        ((0,), {}, "whole number from 1"),
        ((2**31,), {}, "whole number from 1"),
        ((1.5,), {}, "whole number from 1"),
        ((5,), {"r2": (-1.0,)}, "at least 0"),
        ((5,), {"accuracy": (1.1,)}, "at most 1"),
        ((5,), {HALF: (0.1,)}, "written as UTF-8"),
    ],
)
def test_a_curve_is_valid_from_birth(checkpoints: Any, losses: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Curve(checkpoints, losses)


@pytest.mark.parametrize(
    ("learner", "values", "words"),
    [
        ("", {}, "learner of a configuration is not empty"),
        (HALF, {}, "written as UTF-8"),
        ("toy", {"rate": NAN}, "'rate' is a finite number, got nan"),
        ("toy", {"rate": INFINITE}, "finite"),
        ("toy", {"rate": 2**63}, "at most 64 bits"),
        ("toy", {"rate": 10**5000}, "at most 64 bits"),
        ("toy", {"rate": [0.1]}, r"got \[0.1\]"),
        ("toy", {"rate": {"a": 1}}, "a text, a truth value or None"),
        ("toy", {"rate": HALF}, "written as UTF-8"),
        ("toy", {HALF: 1}, "name of a hyperparameter"),
        ("toy", {1: 1}, "name of a hyperparameter"),
        ("toy", {1: 1, "a": 2}, "values by name"),
        ("toy", [1], "values by name"),
    ],
)
def test_a_configuration_is_valid_from_birth(learner: str, values: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Configuration.of(learner, values)


def test_the_id_of_a_configuration_is_the_one_that_it_always_had() -> None:
    values = {"rate": 0.1, "depth": None, "bag": True, "kind": "ß", "n": 3}
    assert Configuration.of("toy", values).id == "28e2b62f8c9f1c545dd1"
    assert Configuration.of("toy", dict(reversed(values.items()))) == Configuration.of("toy", values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": 3}, "id of a task is a text"),
        ({"type": "binary"}, "is a TaskType"),
        ({"n_rows": -1}, "n_rows of a task"),
        ({"n_features": 2**63}, "n_features of a task"),
        ({"n_classes": 2.0}, "n_classes of a task"),
        ({"name": HALF}, "name of a task"),
        ({"group": "x" * (MAX_TEXT + 1)}, "group of a task"),
    ],
)
def test_a_task_has_values_that_a_column_holds(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Task(**{"id": "id", "type": TaskType.BINARY, "n_rows": 100, "n_features": 3, "n_classes": 2, **changes})


def test_a_protocol_says_which_scorer_its_trials_have() -> None:
    plain, grouped = Protocol(), Protocol(splits="group:1f")
    for protocol, name in ((plain, ""), (grouped, "group:1f")):
        marked = protocol.mark(scorer="precision")
        assert (protocol.split_name, protocol.scorer) == (name, "")
        assert (marked.split_name, marked.scorer) == (name, "precision")
        assert replace(marked, splits=protocol.splits) == protocol
        assert not marked.is_weighted
    weighted = Protocol(splits="group:1f weights:2e").mark(scorer="precision")
    assert (weighted.is_weighted, weighted.split_name, weighted.scorer) == (True, "group:1f weights:2e", "precision")
