"""The `xgboost` learner beside the library itself, and its files of models."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from metahp.core.configuration import Configuration
from metahp.core.task import TaskType
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.evaluation.design import make_design
from metahp.learners.expected import Expected
from metahp.learners.registry import find_learner
from metahp.learners.table_estimator import TableEstimator, fit_features

xgboost = pytest.importorskip("xgboost")
LEARNER = find_learner("xgboost")


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
    estimator = fit_features(configuration, table.features, table.y, table.task.type, seed=0)
    categories = {
        name: tuple(map(str, column.cat.categories))
        for name, column in table.features.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }
    features = tuple(LEARNER.fitted_names(list(table.features)))
    named = dict(zip(table.features, features, strict=True))
    return LEARNER.extract_model(estimator), Expected(
        configuration=configuration,
        task_type=table.task.type,
        features=features,
        categories={named[name]: values for name, values in categories.items()},
        n_classes=table.task.n_classes,
    )


def make_configurations(task_type: TaskType) -> list[Configuration]:
    return [configuration.replaced(n_estimators=30) for configuration, _ in make_design(LEARNER, task_type, 8)]


@pytest.mark.parametrize("task_type", TaskType)
def test_the_default_trains_what_the_library_trains_without_arguments(task_type: TaskType) -> None:
    table = make_table(task_type)
    kind = xgboost.XGBClassifier if task_type.is_classification else xgboost.XGBRegressor
    names = LEARNER.fitted_names(list(table.features))
    plain = kind(enable_categorical=True, random_state=0).fit(table.features.set_axis(names, axis=1), table.y)
    model, _ = fit(table, LEARNER.space(task_type).default)
    features = table.features.set_axis(names, axis=1)
    wanted = plain.predict_proba(features) if task_type.is_classification else plain.predict(features)
    np.testing.assert_allclose(LEARNER.outputs(model, features, task_type), wanted, atol=1e-6)


@pytest.mark.parametrize("task_type", TaskType)
def test_a_saved_model_predicts_as_before_and_keeps_no_name_of_the_table(task_type: TaskType) -> None:
    table = make_table(task_type)
    for configuration in make_configurations(task_type):
        model, expected = fit(table, configuration)
        content = LEARNER.dump(model)
        loaded = LEARNER.load(content, expected)
        features = table.features.set_axis(list(expected.features), axis=1)
        np.testing.assert_array_equal(
            LEARNER.outputs(loaded, features, task_type), LEARNER.outputs(model, features, task_type)
        )
        assert b"town" not in content
        # A model without a split has no importance of any feature.
        assert LEARNER.read_importances(loaded).sum() in (0.0, pytest.approx(1.0))


def change(path: str, value: object) -> Callable[[dict], None]:
    """What replaces a value of the first tree, or of the model where the path begins at `learner`."""
    *parents, last = [int(name) if name.isdigit() else name for name in path.split("/")]

    def apply(model: dict) -> None:
        place = model if parents[:1] == ["learner"] else model["learner"]["gradient_booster"]["model"]["trees"][0]
        for name in parents:
            place = place[name]
        place[last] = value

    return apply


@pytest.mark.parametrize(
    ("crime", "words"),
    [
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
    ],
)
def test_a_model_that_would_read_past_its_arrays_is_refused(crime: Callable[[dict], None], words: str) -> None:
    model, expected = fit(make_table(TaskType.BINARY), make_configurations(TaskType.BINARY)[0])
    content = json.loads(LEARNER.dump(model))
    crime(content)
    with pytest.raises(ValueError, match=words):
        LEARNER.load(json.dumps(content).encode(), expected)


def test_an_estimator_for_raw_columns_gives_classes_as_the_target_has_them() -> None:
    table = make_table(TaskType.BINARY)
    estimator = TableEstimator(LEARNER.space(TaskType.BINARY).default, TaskType.BINARY, table.preparation)
    frame = table.features.rename(columns=str)
    labels = np.array(table.classes)[table.y]
    predicted = estimator.fit(frame, labels).predict(frame)
    assert list(estimator.classes_) == ["no", "yes"]
    assert (predicted == labels).mean() > 0.9
