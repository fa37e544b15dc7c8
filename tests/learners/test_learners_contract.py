"""One table of cases for all learners."""

import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from metahp.core.task import TaskType
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.evaluation.design import make_design
from metahp.evaluation.losses import compute_losses
from metahp.learners.base import Learner, Split, list_checkpoints
from metahp.learners.expected import Expected
from metahp.learners.registry import LEARNERS, find_learner
from metahp.learners.table_estimator import fit_features

SHAPES = ("numeric", "gaps", "all_categorical", "mixed", "one_column", "one_category")
N_CONFIGURATIONS = 5


def make_table(shape: str, task_type: TaskType, seed: int = 3, n: int = 60) -> Table:
    """Sixty rows whose first column is informative about the target."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n)
    numbers = {"a": signal, "b": rng.normal(size=n), "c": rng.integers(0, 4, size=n)}
    words = {"d": np.where(signal > 0, "up", "down"), "e": rng.choice(list("uvwxyz"), size=n)}
    columns = {
        "numeric": numbers,
        "gaps": {name: np.where(rng.random(n) < 0.6, np.nan, values) for name, values in numbers.items()},
        "all_categorical": words,
        "mixed": {**numbers, **{name: np.where(rng.random(n) < 0.2, None, values) for name, values in words.items()}},
        "one_column": {"a": signal},
        "one_category": {"d": words["d"]},
    }[shape]
    target = {
        TaskType.BINARY: np.where(signal + rng.normal(size=n) > 0, "yes", "no"),
        TaskType.MULTICLASS: np.digitize(signal + 0.5 * rng.normal(size=n), [-0.6, 0.6]).astype(str),
        TaskType.REGRESSION: signal + 0.1 * rng.normal(size=n),
    }[task_type]
    return build_table(pd.DataFrame({**columns, "target": target}), task_type=task_type)


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


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_a_space_has_one_version_for_all_task_types_and_counts_its_iterations(learner: Learner) -> None:
    spaces = [learner.space(task_type) for task_type in TaskType]
    assert len({space.version for space in spaces}) == 1
    assert {space.learner for space in spaces} == {learner.name}
    counted = next((name for name in ("n_estimators", "iterations") if name in spaces[0].names), None)
    assert {space.iteration_axis for space in spaces} == {counted}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_learner_fits_every_kind_of_table(learner: Learner, task_type: TaskType, shape: str) -> None:
    split = make_split(make_table(shape, task_type))
    for configuration, _ in make_design(learner, task_type, N_CONFIGURATIONS):
        course = learner.fit(configuration.replaced(**_small(configuration.values)), split, seed=0)
        assert len(course.predictions) == len(course.checkpoints)
        assert list(course.checkpoints) == sorted(set(course.checkpoints))
        for prediction in course.predictions:
            assert np.isfinite(prediction).all()
            if task_type.is_classification:
                assert prediction.shape == (len(split.X_test), split.n_classes)
                np.testing.assert_allclose(prediction.sum(axis=1), 1.0, atol=1e-6)
            else:
                assert prediction.shape == (len(split.X_test),)
        assert course.fit_seconds >= 0
        assert course.predict_seconds >= 0


def _small(values: dict) -> dict:
    return {name: min(values[name], 20) for name in ("n_estimators", "iterations") if name in values}


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_the_course_ends_with_the_predictions_of_the_plain_estimator(learner: Learner, task_type: TaskType) -> None:
    table = make_table("mixed", task_type)
    split = make_split(table)
    half = np.arange(len(table.y)) % 2 == 0
    for configuration, _ in make_design(learner, task_type, N_CONFIGURATIONS):
        configuration = configuration.replaced(**_small(configuration.values))
        course = learner.fit(configuration, split, seed=7)
        estimator = learner.estimator(
            configuration,
            task_type,
            seed=7,
            numeric=[name for name, cat in zip(table.features, table.is_categorical, strict=True) if not cat],
            categorical=[name for name, cat in zip(table.features, table.is_categorical, strict=True) if cat],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="n_quantiles")
            estimator.fit(table.features[half], table.y[half])
        rows = table.features[~half]
        predicted = estimator.predict_proba(rows) if task_type.is_classification else estimator.predict(rows)
        np.testing.assert_allclose(course.predictions[-1], predicted, atol=1e-6)


@pytest.mark.parametrize("name", ["lightgbm", "random_forest", "extra_trees", "xgboost", "catboost"])
def test_a_checkpoint_equals_the_result_of_a_shorter_training(name: str) -> None:
    learner = find_learner(name)
    split = make_split(make_table("mixed", TaskType.BINARY))
    space = learner.space(TaskType.BINARY)
    long = learner.fit(space.with_iterations(space.default, 40), split, seed=0)
    short = learner.fit(space.with_iterations(space.default, 20), split, seed=0)
    at = long.checkpoints.index(20)
    np.testing.assert_allclose(long.predictions[at], short.predictions[-1], atol=1e-9)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_class_without_training_rows_has_probability_zero(learner: Learner) -> None:
    split = make_split(make_table("numeric", TaskType.MULTICLASS))
    seen = split.y_train != 2
    without = replace(split, X_train=split.X_train[seen], y_train=split.y_train[seen])
    configuration = learner.space(TaskType.MULTICLASS).default
    last = learner.fit(configuration.replaced(**_small(configuration.values)), without, seed=0).predictions[-1]
    assert last.shape == (len(split.X_test), 3)
    assert last[:, 2].max() < 1e-6


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_the_same_seed_gives_the_same_predictions(learner: Learner) -> None:
    split = make_split(make_table("mixed", TaskType.BINARY))
    configuration, _ = make_design(learner, TaskType.BINARY, 6)[-1]
    configuration = configuration.replaced(**_small(configuration.values))
    first, second = (learner.fit(configuration, split, seed=11).predictions[-1] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_the_default_configuration_is_the_librarys_own(learner: Learner, task_type: TaskType) -> None:
    default = learner.space(task_type).default
    estimator = learner.estimator(default, task_type, numeric=["a"], categorical=[], seed=0)
    model = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    parameters = model.get_params()
    library = clone(type(model)(**({"regressor": type(model.regressor)()} if hasattr(model, "regressor") else {})))
    for name, value in default.values.items():
        # `extra_trees` and `cat_smooth` are no named arguments of LightGBM's scikit-learn classes.
        if name in parameters and name not in ("extra_trees", "cat_smooth"):
            # None is left to the library; `test_xgboost.py` and `test_catboost.py` compare fits instead.
            assert library.get_params().get(name) in (value, None), name


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_published_defaults_lie_in_the_space(learner: Learner, task_type: TaskType) -> None:
    for source, values in learner.published(task_type).items():
        assert learner.space(task_type).configuration(values).learner == learner.name, source


def test_lightgbm_sets_the_companion_without_which_subsample_does_nothing() -> None:
    learner = find_learner("lightgbm")
    space = learner.space(TaskType.BINARY)
    halved = learner.estimator(
        space.configuration({"subsample": 0.5}), TaskType.BINARY, numeric=[], categorical=[], seed=0
    )
    whole = learner.estimator(space.default, TaskType.BINARY, numeric=[], categorical=[], seed=0)
    assert halved.get_params()["subsample_freq"] == 1
    assert whole.get_params()["subsample_freq"] == 0


@pytest.mark.parametrize(
    "names", [("a[0]", "z"), ('the "a"', "z"), ("a:b", "a,b"), ("a b", "a_b"), ("a\nb", "z"), ("a", "{b}")], ids=repr
)
@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_an_estimator_takes_frames_whatever_their_columns_are_called(
    learner: Learner, task_type: TaskType, names: tuple[str, str]
) -> None:
    table = make_table("mixed", task_type)
    default = learner.space(task_type).default
    predictions = []
    for first, last in (("a", "e"), names):
        frame = table.features.rename(columns={"a": first, "e": last})
        numeric = [name for name in frame if not isinstance(frame[name].dtype, pd.CategoricalDtype)]
        categorical = [name for name in frame if name not in numeric]
        estimator = clone(
            learner.estimator(
                default.replaced(**_small(default.values)), task_type, numeric=numeric, categorical=categorical, seed=0
            )
        )
        predictions.append(pickle.loads(pickle.dumps(estimator.fit(frame, table.y))).predict(frame))
    np.testing.assert_allclose(*predictions)


@pytest.mark.parametrize("name", ["age", "age of car", "größe", "a[0]", "a:b", "a.b-c_1"])
def test_lightgbm_calls_columns_by_one_rule_in_estimators_kept_models_and_scripts(name: str) -> None:
    learner = find_learner("lightgbm")
    names = ["a", name]
    frame = pd.DataFrame({"a": np.arange(60.0), name: np.arange(60.0) % 7})
    default = learner.space(TaskType.BINARY).default.replaced(n_estimators=2)
    estimator = learner.estimator(default, TaskType.BINARY, numeric=names, categorical=[], seed=0)
    estimator.fit(frame, np.arange(60) % 2)
    model = estimator if isinstance(estimator, LGBMClassifier) else estimator[-1]
    found = {"X": frame.copy()}
    exec("\n".join(learner.adapting(names, has_categories=False)), found)
    assert model.feature_name_ == learner.fitted_names(names) == list(found["X"].columns)
    assert (learner.fitted_names(names) == names) == (name in ("age", "a.b-c_1"))


def test_checkpoints_end_at_the_number_of_iterations() -> None:
    assert list_checkpoints(20) == (5, 10, 20)
    assert list_checkpoints(21) == (5, 10, 20, 21)
    assert list_checkpoints(3) == (3,)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_learner_names_distributions_that_are_installed(learner: Learner) -> None:
    assert learner.libraries
    assert all(version(library) for library in learner.libraries)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_many_fits_are_single_fits_in_their_order(learner: Learner) -> None:
    splits = [make_split(make_table("mixed", TaskType.BINARY, seed=seed)) for seed in (1, 2)]
    designed = [configuration for configuration, _ in make_design(learner, TaskType.BINARY, 2)]
    configurations = [configuration.replaced(**_small(configuration.values)) for configuration in designed]
    many = learner.fit_many(configurations, splits, [3, 4])
    for configuration, split, seed in zip(configurations, splits, (3, 4), strict=True):
        course = learner.fit(configuration, split, seed=seed)
        np.testing.assert_array_equal(next(many).predictions[-1], course.predictions[-1])
    with pytest.raises(StopIteration):
        next(many)


def test_a_fit_of_many_runs_only_when_it_is_requested() -> None:
    learner = find_learner("linear")
    default = learner.space(TaskType.BINARY).default

    def splits() -> Iterator[Split]:
        yield make_split(make_table("mixed", TaskType.BINARY))
        raise AssertionError("the second fold of a hopeless trial")

    many = learner.fit_many([default, default], splits(), [0, 0])
    assert len(next(many).predictions) == 1
    with pytest.raises(ValueError, match="shorter than argument"):
        list(learner.fit_many([default], [], [0]))


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_saved_model_predicts_as_before_for_categories_that_it_has_not_seen(
    learner: Learner, task_type: TaskType
) -> None:
    table = make_table("mixed", task_type, n=120)
    configuration = learner.space(task_type).default
    configuration = configuration.replaced(**_small(configuration.values))
    # Of a category without training rows the model knows nothing, and of a category of no table it learns by a gap.
    known = (table.features["e"] != "z").to_numpy()
    rows = table.features.assign(e=table.features["e"].where(table.features.index % 7 != 0))
    estimator = fit_features(configuration, table.features[known], table.y[known], task_type, seed=0)
    model = learner.extract_model(estimator)
    expected = Expected(
        configuration=configuration,
        task_type=task_type,
        features=tuple(table.features),
        categories={
            name: tuple(column.cat.categories) for name, column in table.features.select_dtypes("category").items()
        },
        n_classes=table.task.n_classes,
    )
    loaded = learner.load(learner.dump(model), expected)
    before = learner.outputs(model, rows, task_type)
    assert np.isfinite(before).all()
    np.testing.assert_allclose(learner.outputs(loaded, rows, task_type), before, atol=1e-9)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_thousand_rows_of_three_classes_are_told_apart(learner: Learner) -> None:
    table = make_table("mixed", TaskType.MULTICLASS, n=1000)
    split = make_split(table)
    configuration = learner.space(TaskType.MULTICLASS).default
    course = learner.fit(configuration.replaced(**_small(configuration.values)), split, seed=0)
    hits = course.predictions[-1].argmax(axis=1) == table.y[np.arange(1000) % 2 == 1]
    assert hits.mean() > 0.6


@pytest.mark.parametrize("task_type", TaskType)
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_weight_of_zero_leaves_a_row_out_of_a_fit(learner: Learner, task_type: TaskType) -> None:
    """Wrong targets in rows of weight zero: a fit that looked at them would predict far worse."""
    table = make_table("numeric", task_type, n=400)
    split = make_split(table)
    noise = np.arange(len(split.y_train)) % 2 == 0
    y = split.y_train.copy()
    y[noise] = -5 * y[noise] if task_type is TaskType.REGRESSION else (y[noise] + 1) % table.task.n_classes
    default = learner.space(task_type).default
    small = default.replaced(**_small(default.values))
    weights = np.where(noise, 0.0, 1.0)
    predictions = [
        learner.fit(small, replace(split, y_train=y, w_train=w, memory={}), seed=0).predictions[-1]
        for w in (weights, None)
    ]
    half = np.arange(len(table.y)) % 2 == 1
    names = {True: "accuracy", False: "neg_root_mean_squared_error"}
    weighted, plain = (
        compute_losses(table.y[half], each, task_type)[names[task_type.is_classification]] for each in predictions
    )
    assert weighted < plain


@pytest.mark.parametrize("task_type", [TaskType.BINARY, TaskType.REGRESSION])
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))
def test_a_weighted_fold_and_the_weighted_estimator_predict_the_same(learner: Learner, task_type: TaskType) -> None:
    table = make_table("numeric", task_type, n=200)
    half = np.arange(200) % 2 == 0
    weights = np.random.default_rng(0).uniform(0.1, 3.0, 100)
    default = learner.space(task_type).default
    small = default.replaced(**_small(default.values))
    of_fold = learner.fit(small, replace(make_split(table), w_train=weights), seed=0).predictions[-1]
    model = fit_features(small, table.features[half], table.y[half], task_type, seed=0, weights=weights)
    of_model = learner.outputs(learner.extract_model(model), table.features[~half], task_type)
    np.testing.assert_allclose(of_fold, of_model, rtol=1e-4, atol=1e-5)
