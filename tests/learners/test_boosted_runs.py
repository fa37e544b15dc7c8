"""Boosted runs that can be stopped: grown in steps, on bins that are kept, and on several threads."""

from dataclasses import replace
from itertools import permutations

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metahp.core.configuration import Configuration
from metahp.core.task import TaskType
from metahp.evaluation.design import make_design
from metahp.learners.base import Learner, Split, list_checkpoints
from metahp.learners.registry import find_learner

LEARNER = find_learner("lightgbm")
BOOSTED = [find_learner(name) for name in ("lightgbm", "xgboost", "catboost")]
N_ROWS, N_FEATURES = 240, 6


def make_split(task_type: TaskType, seed: int = 0) -> Split:
    """Rows with a number, some with gaps, a rare value, a constant and two categories."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_ROWS, N_FEATURES))
    X[rng.random(N_ROWS) < 0.3, 1] = np.nan
    # Only trees with few rows in a leaf can split it.
    X[:, 2] = np.arange(N_ROWS) % 40 == 0
    X[:, 3] = 1.0
    X[:, 4], X[:, 5] = rng.integers(0, 4, N_ROWS), rng.integers(0, 30, N_ROWS)
    signal = X[:, 0] + (X[:, 4] == 2) + 2 * X[:, 2]
    y = {
        TaskType.BINARY: (signal > 0.3).astype(int),
        TaskType.MULTICLASS: np.digitize(signal, [-0.3, 0.8]),
        TaskType.REGRESSION: signal + rng.normal(scale=0.1, size=N_ROWS),
    }[task_type]
    is_test = np.arange(N_ROWS) % 3 == 0
    return Split(
        X_train=X[~is_test],
        y_train=y[~is_test],
        X_test=X[is_test],
        is_categorical=np.arange(N_FEATURES) >= 4,
        task_type=task_type,
        n_classes={TaskType.BINARY: 2, TaskType.MULTICLASS: 3, TaskType.REGRESSION: 0}[task_type],
    )


def make_configurations(task_type: TaskType, n: int, learner: Learner = LEARNER) -> list[Configuration]:
    space = learner.space(task_type)
    return [space.with_iterations(each, 25) for each, _ in make_design(learner, task_type, n)]


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", BOOSTED, ids=[learner.name for learner in BOOSTED])
def test_a_run_that_is_grown_in_steps_ends_where_a_fit_does(learner: Learner, task_type: TaskType) -> None:
    for configuration in make_configurations(task_type, 4, learner):
        split = make_split(task_type)
        course = learner.fit(configuration, split, seed=5)
        for steps in ((25,), (1, 2, 10, 24, 25), list_checkpoints(25)):
            run = learner.start(configuration, split, seed=5)
            grown = {step: run.grow(step) for step in steps}
            np.testing.assert_allclose(grown[25], course.predictions[-1], atol=1e-9)
            for checkpoint, prediction in zip(course.checkpoints, course.predictions, strict=True):
                if checkpoint in grown:
                    np.testing.assert_allclose(grown[checkpoint], prediction, atol=1e-9)


@pytest.mark.parametrize("learner", BOOSTED, ids=[learner.name for learner in BOOSTED])
def test_runs_in_turn_draw_what_each_draws_alone(learner: Learner) -> None:
    space = learner.space(TaskType.BINARY)
    sampling = {"lightgbm": "colsample_bytree", "xgboost": "colsample_bytree", "catboost": "colsample_bylevel"}
    configuration = space.configuration({"subsample": 0.5, sampling[learner.name]: 0.4})
    splits = [make_split(TaskType.BINARY, seed) for seed in (0, 1, 2)]
    alone = [learner.start(configuration, split, seed=3).grow(40) for split in splits]
    runs = [learner.start(configuration, split, seed=3) for split in splits]
    for n in (10, 25, 40):
        together = [run.grow(n) for run in runs]
    np.testing.assert_allclose(alone, together, atol=1e-12)


def test_a_run_that_stays_where_it_is_predicts_the_same_and_counts_its_seconds() -> None:
    run = LEARNER.start(make_configurations(TaskType.BINARY, 1)[0], make_split(TaskType.BINARY), seed=0)
    assert run.fit_seconds > 0
    before = run.grow(10)
    seconds = run.fit_seconds, run.predict_seconds
    np.testing.assert_array_equal(run.grow(10), before)
    assert run.fit_seconds >= seconds[0] > 0
    assert run.predict_seconds >= seconds[1] > 0


def test_only_configurations_of_the_space_can_be_stopped() -> None:
    assert LEARNER.can_stop(LEARNER.space(TaskType.BINARY).default)
    assert not LEARNER.can_stop(Configuration.outside("lightgbm", {"n_estimators": 5, "boosting_type": "dart"}))
    forest = find_learner("random_forest")
    assert not forest.can_stop(forest.space(TaskType.BINARY).default)
    with pytest.raises(NotImplementedError, match="random_forest cannot be stopped"):
        forest.start(forest.space(TaskType.BINARY).default, make_split(TaskType.BINARY), seed=0)


def fit_on(memory: dict, fewest: int, task_type: TaskType) -> np.ndarray:
    """Predictions of a fit that draws from the features, as its bins are found with a memory."""
    configuration = LEARNER.space(task_type).configuration(
        {"min_child_samples": fewest, "n_estimators": 10, "colsample_bytree": 0.5, "subsample": 0.7}
    )
    split = replace(make_split(task_type), memory=memory)
    return LEARNER.fit(configuration, split, seed=1).predictions[-1]


@pytest.mark.parametrize("task_type", TaskType)
@settings(max_examples=8, deadline=None)
@given(order=st.lists(st.integers(1, 200), min_size=2, max_size=6))
def test_bins_of_one_memory_are_as_good_as_fresh_ones_in_any_order(task_type: TaskType, order: list[int]) -> None:
    memory: dict = {}
    for fewest in order:
        np.testing.assert_array_equal(fit_on(memory, fewest, task_type), fit_on({}, fewest, task_type))


def test_bins_are_found_again_only_where_they_may_differ() -> None:
    for order in permutations((1, 20, 60, 200)):
        memory: dict = {}
        for fewest in order:
            fit_on(memory, fewest, TaskType.BINARY)
        kept = memory["lightgbm bins"]
        assert len(kept) <= len(order)
        for fewest in order:
            fit_on(memory, fewest, TaskType.BINARY)
        assert memory["lightgbm bins"] is kept
        assert len(kept) <= len(order)
    # Between two numbers with equal bins nothing is binned.
    memory = {}
    for fewest in (21, 60, 30, 45):
        fit_on(memory, fewest, TaskType.BINARY)
    assert len(memory["lightgbm bins"]) == 2


@pytest.mark.parametrize("task_type", TaskType)
def test_two_threads_predict_nearly_as_one(task_type: TaskType) -> None:
    for configuration in make_configurations(task_type, 3):
        one, two = (
            LEARNER.fit(configuration, replace(make_split(task_type), n_threads=n), seed=2).predictions[-1]
            for n in (1, 2)
        )
        np.testing.assert_allclose(two, one, atol=1e-6)


def test_other_rows_have_a_memory_of_their_own() -> None:
    one, other = make_split(TaskType.BINARY, seed=0), make_split(TaskType.BINARY, seed=1)
    assert one.memory is not other.memory
    assert one.memory == {}


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("task_type", [TaskType.BINARY, TaskType.MULTICLASS])
def test_weights_of_classes_count_in_a_run_as_in_the_estimator(task_type: TaskType, is_weighted: bool) -> None:
    split = make_split(task_type)
    if is_weighted:
        split = replace(split, w_train=np.random.default_rng(1).exponential(size=len(split.y_train)))
    space = LEARNER.space(task_type)
    plain = space.with_iterations(space.default, 20)
    balanced = Configuration.outside("lightgbm", {**plain.values, "class_weight": "balanced"})
    assert LEARNER.can_stop(balanced)
    model = lightgbm.LGBMClassifier(
        **LEARNER.constructor_arguments(balanced), random_state=0, n_jobs=1, force_row_wise=True, verbosity=-1
    )
    columns = np.flatnonzero(split.is_categorical).tolist()
    model.fit(split.X_train, split.y_train, split.w_train, categorical_feature=columns)
    expected = model.booster_.predict(split.X_test)
    # Bins of one memory are not taken for those with other weights.
    for configuration, is_same in ((plain, False), (balanced, True), (plain, False), (balanced, True)):
        course = LEARNER.fit(configuration, split, seed=0)
        assert course.checkpoints == (5, 10, 20)
        found = course.predictions[-1][:, 1] if task_type is TaskType.BINARY else course.predictions[-1]
        assert np.allclose(found, expected, atol=1e-6) == is_same
