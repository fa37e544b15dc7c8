"""The learners `xgboost` and `catboost` beside the libraries themselves, and their files of models."""

import json
import random
import threading
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from metahp.core.configuration import Configuration
from metahp.core.task import TaskType
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.evaluation.design import make_design
from metahp.learners.base import Learner, Split
from metahp.learners.catboost import name_missing
from metahp.learners.expected import Expected
from metahp.learners.registry import find_learner
from metahp.learners.table_estimator import TableEstimator, fit_features

xgboost, catboost = pytest.importorskip("xgboost"), pytest.importorskip("catboost")
LEARNERS = [find_learner("xgboost"), find_learner("catboost")]
NAMES = [learner.name for learner in LEARNERS]


def make_table(task_type: TaskType, n: int = 200) -> Table:
    """Numbers with gaps, and a column of twelve categories that decides much."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.normal(size=n), "b [m]": rng.normal(size=n), "town": rng.choice(list("abcdefghijkl"), n)}
    )
    signal = frame["a"] + 2 * frame["town"].isin(list("adgk")) + 0.3 * rng.normal(size=n)
    frame.loc[rng.random(n) < 0.1, "a"] = np.nan
    frame["target"] = {
        TaskType.BINARY: np.where(signal > 0.5, "yes", "no"),
        TaskType.MULTICLASS: np.digitize(signal, [0, 1]).astype(str),
        TaskType.REGRESSION: signal,
    }[task_type]
    return build_table(frame, task_type=task_type)


def fit(table: Table, configuration: Configuration) -> tuple[object, Expected]:
    """A model as it is saved, and what its file must hold."""
    learner = find_learner(configuration.learner)
    estimator = fit_features(configuration, table.features, table.y, table.task.type, seed=0)
    categories = {
        name: tuple(map(str, column.cat.categories))
        for name, column in table.features.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }
    features = tuple(learner.fitted_names(list(table.features)))
    named = dict(zip(table.features, features, strict=True))
    return learner.extract_model(estimator), Expected(
        configuration=configuration,
        task_type=table.task.type,
        features=features,
        categories={named[name]: values for name, values in categories.items()},
        n_classes=table.task.n_classes,
    )


def make_configurations(learner: Learner, task_type: TaskType) -> list[Configuration]:
    space = learner.space(task_type)
    return [space.with_iterations(configuration, 30) for configuration, _ in make_design(learner, task_type, 8)]


@pytest.mark.parametrize("task_type", TaskType)
def test_the_default_of_xgboost_trains_what_the_library_trains_without_arguments(task_type: TaskType) -> None:
    table, learner = make_table(task_type), LEARNERS[0]
    kind = xgboost.XGBClassifier if task_type.is_classification else xgboost.XGBRegressor
    features = table.features.set_axis(learner.fitted_names(list(table.features)), axis=1)
    plain = kind(enable_categorical=True, random_state=0).fit(features, table.y)
    model, _ = fit(table, learner.space(task_type).default)
    wanted = plain.predict_proba(features) if task_type.is_classification else plain.predict(features)
    np.testing.assert_allclose(learner.outputs(model, features, task_type), wanted, atol=1e-6)


@pytest.mark.parametrize("task_type", TaskType)
def test_the_default_of_catboost_differs_from_the_library_in_its_learning_rate_alone(task_type: TaskType) -> None:
    table, learner = make_table(task_type), LEARNERS[1]
    kind = catboost.CatBoostClassifier if task_type.is_classification else catboost.CatBoostRegressor
    features = name_missing(table.features)
    quiet = {"verbose": False, "allow_writing_files": False, "thread_count": 1}
    plain = kind(iterations=30, learning_rate=0.03, random_state=0, cat_features=["town"], **quiet)
    plain.fit(features, table.y)
    space = learner.space(task_type)
    model, _ = fit(table, space.with_iterations(space.default, 30))
    wanted = plain.predict_proba(features) if task_type.is_classification else plain.predict(features)
    np.testing.assert_allclose(learner.outputs(model, table.features, task_type), wanted, atol=1e-9)
    assert space.default.values["iterations"] == 1000


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
def test_a_saved_model_predicts_as_before_and_keeps_no_name_of_the_table(learner: Learner, task_type: TaskType) -> None:
    table = make_table(task_type)
    for configuration in make_configurations(learner, task_type):
        model, expected = fit(table, configuration)
        content = learner.dump(model)
        loaded = learner.load(content, expected)
        features = table.features.set_axis(list(expected.features), axis=1)
        np.testing.assert_allclose(
            learner.outputs(loaded, features, task_type), learner.outputs(model, features, task_type), atol=1e-12
        )
        np.testing.assert_allclose(learner.read_importances(loaded), learner.read_importances(model), atol=1e-9)
        assert b"town" not in content
        assert b"yes" not in content


def change(path: str, value: object) -> Callable[[dict], None]:
    """What replaces a value of the model, or of XGBoost's first tree where the path begins in neither's JSON."""
    *parents, last = [int(name) if name.isdigit() else name for name in path.split("/")]

    def apply(model: dict) -> None:
        is_whole = [*parents, last][0] in model
        place = model if is_whole else model["learner"]["gradient_booster"]["model"]["trees"][0]
        for name in parents:
            place = place[name]
        place[last] = value

    return apply


XGBOOST_CRIMES = [
    (change("left_children/0", 0), "children among its nodes"),
    (change("left_children/0", 10**6), "left_children from"),
    (change("right_children/0", -1), "children among its nodes"),
    (change("split_indices/0", 99), "splits by one of"),
    (change("split_indices/0", 0.5), "split_indices from"),
    (change("split_type", []), "split_type"),
    (change("split_conditions", [1e300]), "split_conditions"),
    (change("default_left/0", 2), "default_left"),
    (change("categories", [10**6]), "categories"),
    (change("learner/learner_model_param/num_feature", "7"), "num_feature=3"),
    (change("learner/learner_model_param/base_score", "[1, 2, 3]"), "base_score"),
    (change("learner/gradient_booster/name", "dart"), "gbtree"),
    (change("learner/gradient_booster/model/tree_info/0", 5), "in turn"),
    (change("learner/feature_types", ["q", "q", "q"]), "types of 3 features"),
    (change("learner/gradient_booster/model/trees", []), "multiple of"),
]
CATBOOST_CRIMES = [
    (change("oblivious_trees/0/splits/0/split_index", 10**6), "split_index from"),
    (change("oblivious_trees/0/splits/0/split_index", -1), "split_index from"),
    (change("oblivious_trees/0/leaf_values", [0.0]), "leaf_values"),
    (change("oblivious_trees/0/leaf_weights/0", "1"), "leaf_weights"),
    (change("oblivious_trees", []), "expected 1 to"),
    (change("features_info/float_features/0/borders", [1.0, 0.0]), "borders in order"),
    (change("features_info/float_features/0/flat_feature_index", 2), "numeric features"),
    (change("features_info/float_features/0/nan_value_treatment", "AsMany"), "nan_value_treatment"),
    (change("features_info/categorical_features", []), "categorical features"),
    (change("features_info/ctrs/0/target_border_idx", 9), "target from"),
    (change("features_info/ctrs/0/identifier", "{}"), "table of each statistic"),
    (change("features_info/ctrs/0/elements", []), "elements of the identifier"),
    (change("ctr_data", {}), "table of each statistic"),
    (change("ctr_data", {'{"identifier":[{"combination_element":"x"}],"type":"Borders"}': {}}), "element of an"),
    (change("scale_and_bias", [1, [0, 0, 0]]), "biases"),
]


@pytest.mark.parametrize(
    ("learner", "crime", "words"),
    [
        *((LEARNERS[0], crime, words) for crime, words in XGBOOST_CRIMES),
        *((LEARNERS[1], crime, words) for crime, words in CATBOOST_CRIMES),
    ],
)
def test_a_model_that_would_read_past_its_arrays_is_refused(
    learner: Learner, crime: Callable[[dict], None], words: str
) -> None:
    model, expected = fit(make_table(TaskType.BINARY), make_configurations(learner, TaskType.BINARY)[0])
    content = json.loads(learner.dump(model))
    crime(content)
    with pytest.raises(ValueError, match=words):
        learner.load(json.dumps(content).encode(), expected)


@pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
def test_what_is_left_of_a_damaged_model_predicts_or_is_refused(learner: Learner) -> None:
    table = make_table(TaskType.MULTICLASS, n=80)
    space, rng = learner.space(TaskType.MULTICLASS), random.Random(0)
    model, expected = fit(table, space.with_iterations(space.default, 3))
    features, text = table.features.set_axis(list(expected.features), axis=1), learner.dump(model).decode()
    n_loaded = 0
    for _ in range(150):
        content = json.loads(text)
        place, path = content, []
        while isinstance(place, dict | list) and place:
            path.append((place, rng.choice(list(place) if isinstance(place, dict) else range(len(place)))))
            place = place[path[-1][1]]
        holder, key = rng.choice(path[1:])
        holder[key] = rng.choice([0, -1, 1, 99, 2**31, 2**63, 1e300, 0.5, "", "7", None, True, [], {}, [0]])
        try:
            loaded = learner.load(json.dumps(content).encode(), expected)
        except ValueError:
            continue
        n_loaded += 1
        assert learner.outputs(loaded, features, TaskType.MULTICLASS).shape == (80, 3)
    assert 0 < n_loaded < 150


@pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
def test_an_estimator_for_raw_columns_gives_classes_as_the_target_has_them(learner: Learner) -> None:
    table = make_table(TaskType.BINARY)
    space = learner.space(TaskType.BINARY)
    estimator = TableEstimator(space.with_iterations(space.default, 100), TaskType.BINARY, table.preparation)
    labels = np.array(table.classes)[table.y]
    predicted = estimator.fit(table.features, labels).predict(table.features)
    assert list(estimator.classes_) == ["no", "yes"]
    assert (predicted == labels).mean() > 0.8


def test_a_dropped_run_of_catboost_ends_its_thread() -> None:
    table, learner = make_table(TaskType.BINARY), LEARNERS[1]
    before = threading.active_count()
    run = learner.start(learner.space(TaskType.BINARY).default, make_split(table), seed=0)
    run.grow(10)
    assert threading.active_count() == before + 1
    del run
    assert threading.active_count() == before


def make_split(table: Table) -> Split:
    half = np.arange(len(table.y)) % 2 == 0
    return Split(
        X_train=table.matrix[half],
        y_train=table.y[half],
        X_test=table.matrix[~half],
        is_categorical=table.is_categorical,
        task_type=table.task.type,
        n_classes=table.task.n_classes,
    )
