"""Arguments of a constructor as configurations, within the search space and outside of it."""

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, OutOfRangeError, UnknownHyperparameterError
from metahp.core.task import TaskType
from metahp.evaluation.design import make_design
from metahp.learners.arguments import check_outside, make_arguments, read_arguments, show_arguments
from metahp.learners.base import Split
from metahp.learners.registry import LEARNERS, find_learner

BINARY, REGRESSION = TaskType.BINARY, TaskType.REGRESSION
LIGHTGBM = find_learner("lightgbm")


@pytest.mark.parametrize("name", list(LEARNERS))
@pytest.mark.parametrize("task_type", list(TaskType))
def test_what_a_configuration_gives_the_constructor_leads_back_to_it(name: str, task_type: TaskType) -> None:
    learner = find_learner(name)
    for configuration, _ in make_design(learner, task_type, 20):
        assert read_arguments(learner, make_arguments(configuration), task_type) == configuration
        assert read_arguments(learner, show_arguments(configuration).values, task_type) == configuration


def test_a_companion_belongs_to_its_hyperparameter() -> None:
    inside = LIGHTGBM.space(BINARY).configuration({"subsample": 0.8})
    assert read_arguments(LIGHTGBM, {"subsample": 0.8}, BINARY) == inside
    assert read_arguments(LIGHTGBM, {"subsample": 0.8, "subsample_freq": 1}, BINARY) == inside
    idle = read_arguments(LIGHTGBM, {"subsample": 0.8, "subsample_freq": 0}, BINARY)
    assert idle.is_outside
    assert make_arguments(idle)["subsample_freq"] == 0


@pytest.mark.parametrize(
    ("estimator", "name", "task_type", "is_outside"),
    [
        (lightgbm.LGBMClassifier(n_estimators=300, n_jobs=-1), "lightgbm", BINARY, False),
        (lightgbm.LGBMRegressor(objective="huber"), "lightgbm", REGRESSION, True),
        (lightgbm.LGBMClassifier(n_estimators=5000, learning_rate=0.005), "lightgbm", BINARY, True),
        (lightgbm.LGBMClassifier(class_weight="balanced", boosting_type="dart"), "lightgbm", BINARY, True),
        (RandomForestClassifier(max_depth=5), "random_forest", BINARY, False),
        (RandomForestClassifier(max_features="log2", ccp_alpha=0.01), "random_forest", BINARY, True),
        (RandomForestRegressor(criterion="poisson", min_samples_leaf=0.1), "random_forest", REGRESSION, True),
    ],
)
def test_all_arguments_of_an_estimator_can_be_given(estimator, name, task_type: TaskType, is_outside: bool) -> None:
    given = estimator.get_params()
    learner = find_learner(name)
    configuration = read_arguments(learner, given, task_type)
    assert configuration.is_outside == is_outside
    assert not is_outside or check_outside(configuration, task_type)
    made = learner.estimator(configuration, task_type, numeric=["a"], categorical=[], seed=0)
    made = made[-1] if name == "random_forest" else made
    wanted = {key: value for key, value in given.items() if key not in ("n_jobs", "random_state", "verbose")}
    assert {key: made.get_params()[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"n_estimatorz": 10}, UnknownHyperparameterError, "Did you mean 'n_estimators'"),
        ({"forcedsplits_filename": "/etc/passwd"}, UnknownHyperparameterError, "no argument of its constructor"),
        ({"learning_rate": "fast"}, OutOfRangeError, "learning_rate"),
        ({"num_leaves": 2.5}, OutOfRangeError, "num_leaves"),
        ({"boosting_type": "rf"}, OutOfRangeError, "boosting_type"),
        ({"class_weight": {0: 1, 1: 5}}, InputError, "'class_weight' is a number, a text"),
        ({"random_state": 3}, InputError, "seed=3"),
    ],
)
def test_what_no_constructor_takes_is_refused(values, error, words: str) -> None:
    with pytest.raises(error, match=words):
        read_arguments(LIGHTGBM, values, BINARY)


def test_a_configuration_from_elsewhere_names_no_files() -> None:
    values = {**LIGHTGBM.space(BINARY).default.values, "forcedsplits_filename": "splits.json"}
    assert not check_outside(Configuration.outside("lightgbm", values), BINARY)


def test_a_configuration_outside_the_space_is_measured_as_it_is(rng: np.random.Generator) -> None:
    X = rng.normal(size=(120, 3))
    X[:, 2] = rng.integers(0, 4, 120)
    y = (X[:, 0] + X[:, 2] > 1.8).astype(int)
    is_categorical = np.array([False, False, True])
    split = Split(
        X_train=X[:80], y_train=y[:80], X_test=X[80:], is_categorical=is_categorical, task_type=BINARY, n_classes=2
    )
    for more, n_checkpoints in (({"class_weight": "balanced"}, 13), ({"boosting_type": "dart"}, 1)):
        outside = read_arguments(LIGHTGBM, {"n_estimators": 1200, **more}, BINARY)
        course = LIGHTGBM.fit(outside, split, seed=0)
        assert (len(course.checkpoints), course.checkpoints[-1]) == (n_checkpoints, 1200)
        model = lightgbm.LGBMClassifier(
            n_estimators=1200, **more, random_state=0, n_jobs=1, force_row_wise=True, verbosity=-1
        ).fit(X[:80], y[:80], categorical_feature=[2])
        expected = model.booster_.predict(X[80:])[:, None] * [-1, 1] + [1, 0]
        np.testing.assert_allclose(course.predictions[-1], expected, atol=1e-9)
