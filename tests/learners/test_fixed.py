"""What a user fixes: read and checked, put into configurations and taken out, and obeyed by the fitted model."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from metahp.core.configuration import FIXED, Configuration
from metahp.core.errors import MetahpError
from metahp.core.task import TaskType
from metahp.datasets.load import load
from metahp.datasets.table import Table
from metahp.learners.base import Split
from metahp.learners.fixed import Fixed
from metahp.learners.read_fixed import leave_out, read_fixed
from metahp.learners.registry import find_learner
from metahp.learners.table_estimator import fit_features


def make_frame(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=n), "pay": rng.normal(size=n), "kind": rng.choice(list("xyz"), n)})
    frame["day"] = pd.date_range("2026-01-01", periods=n)
    frame["constant"] = 1
    frame["y"] = np.sin(2 * frame["age"]) + frame["pay"] + rng.normal(size=n)
    return frame


@pytest.fixture(scope="module")
def table() -> Table:
    return load(make_frame(), target="y")


def default(learner: str, task_type: TaskType = TaskType.REGRESSION) -> Configuration:
    return find_learner(learner).space(task_type).default


def read(given: Any, table: Table, *learners: str) -> Fixed:
    return read_fixed(given, learners or ("lightgbm",), table)


def test_nothing_fixed_changes_nothing(table: Table) -> None:
    for given in (None, {}, ()):
        fixed = read(given, table)
        assert not fixed
        assert fixed.apply(default("lightgbm")) == default("lightgbm")


def test_a_hyperparameter_inside_the_space_stays_evidence(table: Table) -> None:
    fixed = read({"num_leaves": 7}, table)
    changed = fixed.apply(default("lightgbm"))
    assert changed == default("lightgbm").replaced(num_leaves=7)
    assert not changed.is_outside
    assert fixed.strip(changed) == changed
    assert (fixed.is_in(changed), fixed.is_in(default("lightgbm"))) == (True, False)
    [space] = fixed.narrow([find_learner("lightgbm").space(TaskType.REGRESSION)])
    sample = space.from_unit(np.random.default_rng(0).random((20, len(space))))
    assert {each.hyperparameters["num_leaves"] for each in sample} == {7}


@pytest.mark.parametrize(
    "given",
    [{"max_bin": 63}, {"random_state": 7}, {"learning_rate": 0.9}, {"monotone_constraints": {"age": 1}}],
    ids=["argument", "seed", "value outside the range", "constraint"],
)
def test_what_lies_outside_is_marked_and_taken_out_again(given: dict[str, Any], table: Table) -> None:
    fixed = read(given, table)
    changed = fixed.apply(default("lightgbm"))
    assert changed.is_outside
    assert FIXED in changed.stored
    assert FIXED not in changed.values
    assert fixed.apply(changed) == changed
    assert fixed.is_in(changed)
    stripped = fixed.strip(changed)
    assert not stripped.is_outside
    assert fixed.apply(stripped) == changed
    # Somebody's own configuration with the same value is another trial.
    own = Configuration.outside("lightgbm", changed.hyperparameters)
    assert own.id != changed.id
    assert not fixed.is_in(own)


def test_values_outside_the_range_stand_at_its_end_for_a_strategy(table: Table) -> None:
    fixed = read({"learning_rate": 0.9}, table)
    changed = fixed.apply(default("lightgbm"))
    assert changed.hyperparameters["learning_rate"] == 0.9
    assert fixed.strip(changed).hyperparameters["learning_rate"] == 0.5


def test_a_fixed_parent_decides_on_its_children(table: Table) -> None:
    fixed = read({"bootstrap": False}, table, "random_forest")
    assert "max_samples" not in fixed.apply(default("random_forest")).hyperparameters
    with pytest.raises(MetahpError, match="'max_samples' of random_forest has an effect with bootstrap=True only"):
        read({"max_samples": 0.5}, table, "random_forest")


def test_arguments_may_be_for_one_learner_and_texts(table: Table) -> None:
    mapping = read({"n_jobs": 2, "lightgbm": {"max_bin": 63}}, table, "lightgbm", "linear")
    texts = read(["n_jobs=2", "lightgbm:max_bin=63"], table, "lightgbm", "linear")
    assert mapping.shown == texts.shown == {"lightgbm": {"n_jobs": 2, "max_bin": 63}, "linear": {"n_jobs": 2}}
    assert mapping.n_jobs == {"lightgbm": 2, "linear": 2}
    # The number of threads changes no trial.
    assert mapping.described == {"lightgbm": {"max_bin": 63}, "linear": {}}
    assert mapping.apply(default("linear")) == default("linear")
    assert mapping.describe() == "lightgbm: n_jobs 2, max_bin 63; linear: n_jobs 2"


@pytest.mark.parametrize(
    ("given", "learners", "message"),
    [
        ({"max_bin": 63}, ["lightgbm", "linear"], "'max_bin', which linear does not take. lightgbm does"),
        ({"max_bun": 63}, ["lightgbm"], "'max_bun', which is no argument of lightgbm.*Did you mean 'max_bin'"),
        ({"linear": {"C": 1.0}}, ["lightgbm"], "names 'linear', which is not one of the learners"),
        ({"num_leaves": "many"}, ["lightgbm"], "'num_leaves' is a number"),
        ({"n_jobs": 0}, ["lightgbm"], "a whole number other than 0, got 0"),
        ({"random_state": -1}, ["lightgbm"], "a whole number from 0"),
        ({"class_weight": {"a": 1}}, ["lightgbm"], "'class_weight' is a number, a text"),
        (["max_bin"], ["lightgbm"], "NAME=VALUE or LEARNER:NAME=VALUE"),
        ({"monotone_constraints": {"kind": 1}}, ["lightgbm"], "'kind', which is categorical"),
        ({"monotone_constraints": {"constant": 1}}, ["lightgbm"], "'constant', which is left out"),
        ({"monotone_constraints": {"aeg": 1}}, ["lightgbm"], "no column of the table.*Did you mean 'age'"),
        ({"monotone_constraints": {"y": 1}}, ["lightgbm"], "which is the target"),
        ({"monotone_constraints": {"day": 1}}, ["lightgbm"], "name one of its parts: day"),
        ({"monotone_constraints": {"age": 2}}, ["lightgbm"], r"is 1 \(rises\), -1 \(falls\) or 0, got 2"),
        ({"monotone_constraints": [1, 0]}, ["lightgbm"], "a sign for each of"),
        (["monotone_constraints=age"], ["lightgbm"], "COLUMN:1 or COLUMN:-1"),
    ],
)
def test_what_cannot_be_fixed_is_refused_in_one_line(
    given: Any, learners: list[str], message: str, table: Table
) -> None:
    with pytest.raises(MetahpError, match=message) as caught:
        read_fixed(given, learners, table)
    assert caught.value.argument == "fixed"
    assert "\n" not in str(caught.value)


def test_learners_that_do_not_take_an_argument_are_left_out(table: Table) -> None:
    names, task_type = ("linear", "lightgbm"), TaskType.REGRESSION
    kept, note = leave_out({"max_bin": 63, "n_jobs": 2}, names, task_type)
    assert kept == ("lightgbm",)
    assert note == (
        "left out, because of the fixed max_bin, which not all of them take: linear; fixed for some learners alone "
        "(lightgbm: max_bin), the others stay"
    )
    for given in (None, {"n_jobs": 2, "random_state": 1}, {"lightgbm": {"max_bin": 63}}, {"max_bun": 1}):
        assert leave_out(given, names, task_type) == (names, "")
    with pytest.raises(MetahpError, match=r"'max_bin', which is no argument of linear\. It is one of lightgbm"):
        read({"max_bin": 63}, table, "linear")


def test_constraints_of_more_than_two_classes_are_refused() -> None:
    frame = make_frame()
    frame["y"] = np.digitize(frame["y"], [-1, 0, 1]).astype(str)
    with pytest.raises(MetahpError, match="for two classes or a number as target; this one has 4 classes"):
        read({"monotone_constraints": {"age": 1}}, load(frame, target="y"))


def test_constraints_know_their_columns_in_any_order(table: Table) -> None:
    frame = make_frame()
    other = load(frame[["pay", "age", *frame.columns[2:]]], target="y")
    assert other.task.id == table.task.id
    by_age, by_pay = (read({"monotone_constraints": {name: 1}}, table) for name in ("age", "pay"))
    of_other = read({"monotone_constraints": {"pay": 1}}, other)
    changed = of_other.apply(default("lightgbm"))
    # The same signs at the same places, of another column.
    assert changed.hyperparameters == by_age.apply(default("lightgbm")).hyperparameters
    assert not by_age.is_in(changed)
    assert by_pay.by_learner["lightgbm"].columns == of_other.by_learner["lightgbm"].columns


@pytest.mark.parametrize("learner", ["lightgbm", "xgboost", "catboost"])
@pytest.mark.parametrize("given", [{"age": 1}, ["monotone_constraints=age:1,pay:1"]], ids=["names", "text"])
def test_a_fitted_model_is_monotone(learner: str, given: Any, table: Table) -> None:
    pytest.importorskip(learner)
    fixed = read({"monotone_constraints": given} if isinstance(given, dict) else given, table, learner)
    rising = table.features.iloc[:1].loc[np.zeros(80, dtype=int)].reset_index(drop=True)
    rising["age"] = np.linspace(-3, 3, 80)
    falls = []
    for configuration in (default(learner), fixed.apply(default(learner))):
        model = fit_features(configuration, table.features, table.y, TaskType.REGRESSION, seed=0)
        falls.append(bool((np.diff(model.predict(rising)) < -1e-9).any()))
    assert falls == [True, False]


@pytest.mark.parametrize(
    "given",
    [{"monotone_constraints": {"age": 1, "pay": -1}}, {"max_bin": 15}, {"min_split_gain": 0.5, "subsample_freq": 3}],
    ids=["constraints", "bins", "others"],
)
def test_a_booster_with_fixed_arguments_can_be_stopped_and_is_that_of_the_estimator(
    given: dict[str, Any], table: Table
) -> None:
    learner = find_learner("lightgbm")
    configuration = read(given, table).apply(default("lightgbm").replaced(n_estimators=30, subsample=0.8))
    assert learner.can_stop(configuration)
    split = Split(
        X_train=table.matrix[:200],
        y_train=table.y[:200],
        X_test=table.matrix[200:],
        is_categorical=table.is_categorical,
        task_type=TaskType.REGRESSION,
        n_classes=0,
    )
    # Rows that were binned without what is fixed are not used.
    plain = learner.fit(default("lightgbm"), split, seed=0).predictions[-1]
    course = learner.fit(configuration, split, seed=0)
    assert course.checkpoints[-1] == 30
    assert not np.allclose(course.predictions[-1], plain)
    model = learner.estimator(
        configuration,
        TaskType.REGRESSION,
        numeric=np.flatnonzero(~split.is_categorical).tolist(),
        categorical=np.flatnonzero(split.is_categorical).tolist(),
        seed=0,
    ).set_params(force_row_wise=True)
    model.fit(split.X_train, split.y_train, categorical_feature=np.flatnonzero(split.is_categorical).tolist())
    np.testing.assert_allclose(course.predictions[-1], model.predict(split.X_test), rtol=1e-9)


def test_what_a_booster_does_not_know_is_fitted_at_once(table: Table) -> None:
    configuration = read({"boosting_type": "dart"}, table).apply(default("lightgbm"))
    assert not find_learner("lightgbm").can_stop(configuration)
