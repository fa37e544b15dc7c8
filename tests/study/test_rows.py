import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import ShuffleSplit

from metahp.core.errors import InputError, UnknownNameError
from metahp.evaluation.splits import split_with
from metahp.study.request import Folds
from metahp.study.rows import split_rows


def test_groups_stay_together_and_their_column_is_no_feature(frame: pd.DataFrame) -> None:
    rows = split_rows(frame, target="kind", folds=Folds(groups="farm", cv=4, test_size=0.25))
    assert "farm" not in rows.table.features
    assert rows.protocol.splits.startswith("group:")
    inner = frame.loc[~frame.index.isin(rows.outer.index)]
    assert not set(inner["farm"]) & set(rows.outer["farm"])
    farms = inner["farm"].to_numpy()
    for train, test in rows.splits.parts:
        assert not set(farms[train]) & set(farms[test])


def test_times_are_trained_on_in_order_and_the_latest_rows_are_set_aside(frame: pd.DataFrame) -> None:
    rows = split_rows(frame, target="kind", folds=Folds(time="day", cv=4, test_size=0.2))
    inner = frame.loc[~frame.index.isin(rows.outer.index)]
    assert inner["day"].max() < rows.outer["day"].min()
    days = inner["day"].to_numpy()
    for train, test in rows.splits.parts:
        assert days[train].max() < days[test].min()


@pytest.mark.parametrize(("option", "column"), [("time", "day"), ("groups", "farm")])
def test_rows_without_a_time_or_group_are_refused_also_where_they_would_be_set_aside(
    frame: pd.DataFrame, option: str, column: str
) -> None:
    gaps = frame.assign(**{column: frame[column].where(frame.index > 1)})
    with pytest.raises(InputError, match="of 2 rows are missing"):
        split_rows(gaps, target="kind", folds=Folds(test_size=0.3, **{option: column}))


def test_groups_may_be_labels_of_rows_some_of_which_have_no_target(frame: pd.DataFrame) -> None:
    X = frame.drop(columns=["kind", "day"])
    y = frame["kind"].astype(float).where(frame.index > 9)
    rows = split_rows(X.drop(columns="farm"), y, task="multiclass", folds=Folds(groups=frame["farm"].to_numpy(), cv=3))
    farms = frame["farm"].to_numpy()[10:]
    assert rows.table.task.n_rows == 140
    for train, test in rows.splits.parts:
        assert not set(farms[train]) & set(farms[test])


def test_any_splitter_of_scikit_learn_will_do(frame: pd.DataFrame) -> None:
    splitter = ShuffleSplit(3, random_state=0)
    rows = split_rows(frame, target="kind", folds=Folds(splitter=splitter))
    assert rows.protocol == split_with(rows.table, splitter).make_protocol(max_rows=150)


def test_the_rows_of_an_array_are_those_of_its_frame(frame: pd.DataFrame) -> None:
    X = frame.iloc[:, :4].to_numpy()
    plain = split_rows(X, frame["kind"].to_numpy())
    parted = split_rows(X, frame["kind"].to_numpy(), folds=Folds(groups=np.arange(150) % 7))
    assert plain.table.task.id == parted.table.task.id
    assert (plain.protocol.folds, plain.protocol.max_rows) == (5, 150)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"groups": "farmm"}, UnknownNameError, "Did you mean 'farm'"),
        ({"groups": "kind"}, InputError, "is the target"),
        ({"groups": "farm", "cv": 50}, InputError, "50 folds need at least 50 groups"),
        ({"groups": [1, 2]}, InputError, "a value of `groups` for each of 150 rows"),
        ({"time": "farm", "cv": 30}, InputError, "different times"),
        ({"time": "day", "groups": "farm"}, InputError, "ask for one"),
        ({"time": "name"}, InputError, "column 'name' of `time` that are numbers or dates, such as 2026-01-31; got 'a"),
        ({"splitter": ShuffleSplit(3), "cv": 3}, InputError, "leave out `cv`"),
        ({"test_size": 1.0}, InputError, "between 0 and 1"),
        ({"test_size": 0.95}, InputError, "at least 20 rows"),
        ({"cv": 76}, InputError, "Expected 2 to 75 folds for 150 rows, got 76. Change `cv`."),
        ({"max_rows": 6, "cv": 4}, InputError, "`max_rows`"),
    ],
)
def test_rows_that_cannot_be_parted_are_refused(frame: pd.DataFrame, options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        split_rows(frame.assign(name="a" + frame["farm"]), target="kind", folds=Folds(**options))
