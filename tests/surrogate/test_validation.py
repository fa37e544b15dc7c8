"""What advice is worth, by hand: regret, random search, and the reference of several learners."""

from itertools import combinations

import numpy as np
import pytest

from metahp.core.space import Float, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.validation import (
    compute_batch_regret,
    compute_expected_best_of_random,
    compute_random_regret,
    compute_worth_in_random_trials,
    count_random,
    find_best_and_default,
    make_group_folds,
)

FIRST = SearchSpace("first", 1, (Float("x", 0.0, 1.0, 0.5),))
SECOND = SearchSpace("second", 1, (Float("x", 0.0, 1.0, 0.5),))


@pytest.fixture
def two_learners() -> Evidence:
    """One task with the defaults of two learners, and a design point of each, one of them not measured."""
    candidates = (FIRST.default, SECOND.default, FIRST.configuration({"x": 0.1}), SECOND.configuration({"x": 0.2}))
    return Evidence(
        metric="neg_root_mean_squared_error",
        spaces={"first": FIRST, "second": SECOND},
        tasks=(Task(id="t", type=TaskType.REGRESSION, n_rows=100, n_features=2),),
        metafeatures=np.zeros((1, 1)),
        constants=np.ones(1),
        candidates=candidates,
        origins=(Origin.DEFAULT, Origin.DEFAULT, Origin.DESIGN, Origin.DESIGN),
        is_final=np.ones(4, dtype=bool),
        losses=np.array([[3.0, 2.0, 1.0, np.nan]]),
        fit_seconds=np.ones((1, 4)),
        defaults={"first": 0, "second": 1},
        flat=np.zeros(1, dtype=bool),
    )


def test_regret_is_scaled_by_the_first_learners_default_and_the_best_of_all(two_learners):
    assert find_best_and_default(two_learners, 0) == (1.0, 3.0)
    assert compute_batch_regret(two_learners, 0, [1, 0, 2], (1, 2, 3, 9)) == pytest.approx([0.5, 0.5, 0.0, 0.0])


def test_a_default_that_failed_gives_way_to_the_next_learners(two_learners):
    two_learners.losses[0, 0] = np.inf
    assert find_best_and_default(two_learners, 0) == (1.0, 2.0)


def test_what_was_not_measured_is_no_random_trial_but_a_useless_pick(two_learners):
    assert count_random(two_learners, 0) == 1
    assert compute_random_regret(two_learners, 0, (1,)) == pytest.approx([0.0])
    assert compute_batch_regret(two_learners, 0, [3], (1,)) == [2.0]


def test_expected_best_of_random_is_the_mean_over_all_subsets(rng):
    regrets = rng.uniform(size=7)
    for k, expected in enumerate(compute_expected_best_of_random(regrets, range(1, 8)), start=1):
        assert expected == pytest.approx(np.mean([min(subset) for subset in combinations(regrets, k)]))
    assert compute_expected_best_of_random(regrets, (20,)) == pytest.approx([regrets.min()])


def test_worth_is_read_off_the_random_curve():
    curve = np.array([1.0, 0.6, 0.5])
    assert compute_worth_in_random_trials(curve, 1.2) == 1.0
    assert compute_worth_in_random_trials(curve, 0.8) == pytest.approx(1.5)
    assert compute_worth_in_random_trials(curve, 0.5) == pytest.approx(3.0)
    assert compute_worth_in_random_trials(curve, 0.4) == np.inf


def test_group_folds_test_each_task_once_and_never_split_a_group():
    groups = ["a", "a", "b", "c", "c", "d"]
    tested = []
    for train, test in make_group_folds(groups, 3, seed=1):
        assert not {groups[i] for i in train} & {groups[i] for i in test}
        tested += test.tolist()
    assert sorted(tested) == list(range(6))


def test_random_regret_is_the_mean_over_all_subsets(past):
    one, all_of_them = compute_random_regret(past, 0, (1, 12))
    losses = past.losses[0, [past.origins[j] is Origin.DESIGN and past.is_final[j] for j in range(26)]]
    best, default = past.losses[0].min(), past.losses[0, past.defaults["toy"]]
    scaled = np.clip((losses - best) / (default - best), 0, 2)
    assert one == pytest.approx(scaled.mean())
    assert all_of_them == pytest.approx(scaled.min())


def test_batch_regret_never_grows_with_k(past):
    regret = compute_batch_regret(past, 5, [0, 7, 3, 20], (1, 2, 4))
    assert regret == sorted(regret, reverse=True)
