import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, LeaveOneGroupOut, RepeatedKFold, ShuffleSplit

from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.core.trial import Protocol
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.evaluation.protocol import make_folds, measure, sample_rows
from metahp.evaluation.splits import Splits, split_by_group, split_by_time, split_with
from metahp.learners.registry import find_learner

TARGETS = ["binary", "multiclass", "regression"]
FOREST = find_learner("random_forest")


def table_of(raw_frame: pd.DataFrame, target: str = "binary") -> Table:
    return build_table(raw_frame[["signal", "gaps", "colour", target]], target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_no_group_is_both_trained_on_and_tested_and_every_row_is_tested_once(
    raw_frame: pd.DataFrame, target: str, rng: np.random.Generator
) -> None:
    table, labels = table_of(raw_frame, target), rng.choice([f"person {i}" for i in range(15)], size=90)
    splits = split_by_group(table, labels, 5, seed=0)
    for train, test in splits.parts:
        assert not set(labels[train]) & set(labels[test])
        assert len(train) + len(test) == 90
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in splits.parts])), np.arange(90))
    assert splits.name.startswith("group:")


def test_a_name_tells_the_parts_and_nothing_else(raw_frame: pd.DataFrame) -> None:
    table, labels = table_of(raw_frame), np.arange(90) % 10
    first = split_by_group(table, labels, 5, seed=0)
    assert split_by_group(table, [f"g{label}" for label in labels], 5, seed=0).name == first.name
    others = [
        split_by_group(table, labels, 5, seed=1),
        split_by_group(table, labels, 4, seed=0),
        split_by_group(table, np.arange(90) % 9, 5, seed=0),
        split_with(table, first.parts),
        split_by_time(table, np.arange(90), 5),
    ]
    assert len({splits.name for splits in (first, *others)}) == 6
    assert first.make_protocol(seed=3) == Protocol(folds=5, seed=3, splits=first.name)


def test_folds_by_time_train_on_the_past_and_test_on_what_follows(
    raw_frame: pd.DataFrame, rng: np.random.Generator
) -> None:
    table = table_of(raw_frame, "regression")
    days = rng.integers(0, 30, size=90)
    dates = pd.Timestamp("2026-01-01") + pd.to_timedelta(days, unit="D")
    splits = split_by_time(table, days, 4)
    seen: set[int] = set()
    for train, test in splits.parts:
        assert days[train].max() < days[test].min()
        assert seen <= set(train)
        seen = {*train, *test}
    assert seen == set(range(90))
    assert (
        split_by_time(table, dates, 4).name == split_by_time(table, dates.strftime("%d %b %Y"), 4).name == splits.name
    )


def test_any_splitter_of_scikit_learn_and_any_pairs_of_indices_make_parts(raw_frame: pd.DataFrame) -> None:
    table = table_of(raw_frame)
    pairs = list(KFold(3).split(np.zeros(90)))
    splits = split_with(table, KFold(3))
    assert splits.name == split_with(table, iter(pairs)).name
    assert len(split_with(table, RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)).parts) == 6
    left_out = split_with(table, LeaveOneGroupOut(), groups=list("abc") * 30)
    assert [len(test) for _, test in left_out.parts] == [30, 30, 30]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda t: split_by_group(t, np.arange(90) % 3, 5, seed=0),
            "5 folds need at least 5 groups, these rows have 3",
        ),
        (lambda t: split_by_group(t, [1, 2], 2, seed=0), "groups for 2 rows; 90 rows of this table have a target"),
        (lambda t: split_by_group(t, [None, *range(89)], 3, seed=0), "groups of 1 rows are missing"),
        (lambda t: split_by_time(t, np.zeros(90), 2), "at least 3 different times, these rows have 1"),
        (lambda t: split_by_time(t, ["soon"] * 90, 2), "numbers or dates, such as 2026-01-31; got 'soon'"),
        (lambda t: split_with(t, LeaveOneGroupOut()), "LeaveOneGroupOut cannot split this table"),
        (lambda t: split_with(t, KFold(91)), "KFold cannot split this table"),
        (lambda t: split_with(t, 5), "got a int"),
        (lambda t: split_with(t, ShuffleSplit(1)), "at least 2 folds, got 1"),
        (lambda t: split_with(t, [([0, 1], []), ([0, 1], [2])]), "test part of fold 1 is empty"),
        (lambda t: split_with(t, [([], [0]), ([0, 1], [2])]), "training part of fold 1 is empty"),
        (lambda t: split_with(t, [([0, 1], [90]), ([0, 1], [2])]), "from 90 to 90; expected 0 to 89"),
        (lambda t: split_with(t, [([0, 1], [-1]), ([0, 1], [2])]), "from -1 to -1; expected 0 to 89"),
        (lambda t: split_with(t, [([0.5], [1]), ([0, 1], [2])]), "expected row indices, got float64"),
        (lambda t: split_with(t, [(np.ones(90, bool), [1]), ([0], [2])]), "expected row indices, got bool"),
        (lambda t: split_with(t, [range(90), range(90)]), "expected a pair"),
        (lambda t: split_with(t, [(np.arange(90), [1]), ([0], [2])]), "training part are in the test part too"),
        (lambda t: split_with(t, [([0], [1]), ([0], [2])]), "fold 1 has the class '(yes|no)' only"),
    ],
)
def test_parts_that_cannot_be_used_are_refused_with_what_was_expected(
    raw_frame: pd.DataFrame, make: object, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make(table_of(raw_frame))


def test_the_default_folds_given_as_parts_give_the_same_losses(raw_frame: pd.DataFrame) -> None:
    table, protocol = table_of(raw_frame), Protocol(max_rows=60)
    configuration = FOREST.space(TaskType.BINARY).configuration({"n_estimators": 10})
    splits = split_with(table, make_folds(table, sample_rows(table, protocol), protocol))
    explicit = measure(table, FOREST, configuration, splits.make_protocol(), splits=splits)
    default = measure(table, FOREST, configuration, protocol)
    assert explicit.fold_losses == default.fold_losses
    assert explicit.n_rows == default.n_rows == 60


def test_a_sample_of_the_rows_keeps_the_parts_apart(raw_frame: pd.DataFrame) -> None:
    table = table_of(raw_frame)
    configuration = FOREST.space(TaskType.BINARY).configuration({"n_estimators": 10})
    splits = split_by_group(table, np.arange(90) % 10, 3, seed=0)
    measurement = measure(
        table, FOREST, configuration, splits.make_protocol(max_rows=50), splits=splits, keep_predictions=True
    )
    assert measurement.n_rows == 50
    assert np.isfinite(measurement.predictions[:, 0]).sum() == 50
    lonely = Splits("custom:x", ((np.arange(89), np.array([89])), (np.arange(1, 90), np.array([0]))))
    with pytest.raises(InputError, match=r"leaves a part of fold \d empty"):
        measure(table, FOREST, configuration, lonely.make_protocol(max_rows=10), splits=lonely)


@pytest.mark.parametrize("target", TARGETS)
def test_predictions_are_those_of_models_that_did_not_see_the_row(raw_frame: pd.DataFrame, target: str) -> None:
    table = table_of(raw_frame, target)
    space = FOREST.space(table.task.type)
    configuration = space.configuration({"n_estimators": 10})

    def predictions(seed: int, repeats: int = 1) -> np.ndarray:
        protocol = Protocol(seed=seed, repeats=repeats)
        parts = list(make_folds(table, np.arange(90), protocol))
        # One learner seed for both, so that the mean over repeats can be had from single runs.
        splits = split_with(table, parts)
        found = measure(table, FOREST, configuration, splits.make_protocol(), splits=splits, keep_predictions=True)
        return found.predictions

    once, other, twice = predictions(0), predictions(1), predictions(0, repeats=2)
    assert once.dtype == np.float32
    assert once.shape == ((90,) if target == "regression" else (90, table.task.n_classes))
    assert np.isfinite(once).all()
    np.testing.assert_allclose(twice, (once + other) / 2, rtol=1e-5, atol=1e-6)
    assert not np.allclose(once, other)


def test_rows_that_are_never_tested_have_no_prediction(raw_frame: pd.DataFrame) -> None:
    table = table_of(raw_frame, "regression")
    splits = split_by_time(table, np.arange(90), 2)
    configuration = FOREST.space(TaskType.REGRESSION).configuration({"n_estimators": 10})
    measurement = measure(table, FOREST, configuration, splits.make_protocol(), splits=splits, keep_predictions=True)
    np.testing.assert_array_equal(np.isnan(measurement.predictions), np.arange(90) < 30)
    assert measure(table, FOREST, configuration, splits.make_protocol(), splits=splits).predictions is None
