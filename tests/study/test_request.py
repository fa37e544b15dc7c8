"""What is refused before anything is read: values that cannot be used, and pairs that exclude each other."""

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import ShuffleSplit

import metahp
from builders import BOWL_SPACE, bowl, tune_bowl
from metahp.core.errors import MetahpError
from metahp.core.space import SearchSpace
from metahp.evaluation.limits import Limits
from metahp.knowledge.store import KnowledgeBase
from metahp.study.request import Budget, Folds, Request, Start

ENDS_FLAT = Budget(trials=9, stops_when_flat=True)


@pytest.mark.parametrize(
    ("make", "argument", "words"),
    [
        (lambda: Budget(trials=0), "trials", "`trials` is a whole number of at least 1, got 0"),
        (lambda: Budget(trials=True), "trials", "got True"),
        (lambda: Budget(trials=1, timeout=0), "timeout", "`timeout` is a number of seconds above 0"),
        (lambda: Budget(trials=1, patience=0), "patience", "`patience` is a whole number of at least 1"),
        (
            lambda: Request(budget=ENDS_FLAT, start=Start(strategy="tpe")),
            "stop_when_flat",
            "Only the strategy transfer",
        ),
        (lambda: Request(budget=ENDS_FLAT, start=Start(is_cold=True)), "stop_when_flat", "leave out `stop_when_flat`"),
        (lambda: Limits(seconds=-1), "trial_timeout", "`trial_timeout` is a number of seconds above 0, got -1"),
        (lambda: Limits(memory_mib=0), "memory_limit", "`memory_limit` is a number of MiB above 0, got 0"),
        (lambda: Start(warm=-1), "warm", "`warm` is a whole number of at least 0, got -1"),
        (lambda: Start(device="tpu"), "device", "`device` is one of auto, cpu, cuda, got 'tpu'"),
        (lambda: Start(strategy="tqe"), "strategy", "Did you mean 'tpe'"),
        (lambda: Folds(cv=1), "cv", "`cv` is a whole number of at least 2, got 1"),
        (lambda: Folds(cv=3, splitter=ShuffleSplit(3)), "cv", "leave out `cv`"),
        (lambda: Folds(time="day", groups="farm"), "time", "ask for one of them"),
        (lambda: Folds(time="day", splitter=ShuffleSplit(3)), "time", "ask for one of them"),
        (lambda: Folds(test_size=1.0), "test_size", "`test_size` is a share of the rows between 0 and 1, got 1"),
        (lambda: Folds(max_rows=0), "max_rows", "`max_rows` is a whole number of at least 1"),
        (lambda: Folds(seed=-1), "seed", "`seed` is a whole number of at least 0, got -1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_at_birth(make: Any, argument: str, words: str) -> None:
    with pytest.raises(MetahpError, match=words) as caught:
        make()
    assert caught.value.argument == argument


def test_a_strategy_that_goes_on_learning_begins_with_few_points_and_a_cold_start_with_none() -> None:
    assert [Start().n_warm, Start(strategy="tpe").n_warm, Start(warm=7).n_warm] == [3, 10, 7]
    assert Start(is_cold=True, warm=7).n_warm == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"jobs": 0}, "`jobs` is a whole number of at least 1"),
        ({"trials": "3"}, "`trials` is a whole number of at least 1, got '3'"),
        ({"seed": -1}, "`seed` is a whole number of at least 0, got -1"),
        ({"direction": "up"}, "maximize or minimize"),
        ({"direction": "minimize", "metric": "roc_auc"}, "cannot be minimised"),
        ({"space": {"rate": (0, 1)}}, "with a SearchSpace"),
        ({"function": 3}, "is a function"),
        ({"metafeatures": [1]}, r"numbers by name, got \[1\]"),
        ({"metafeatures": {"size": "big"}}, "numbers by name"),
        ({"space": SearchSpace("linear", 1, BOWL_SPACE.hyperparameters)}, "name of a learner"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(base: KnowledgeBase, options: dict, words: str) -> None:
    with pytest.raises(MetahpError, match=words):
        tune_bowl(base, **options)


@pytest.mark.parametrize("others", [{}, {"space": BOWL_SPACE}, {"space": BOWL_SPACE, "metafeatures": {}, "name": "x"}])
def test_tune_names_the_verb_for_an_objective(others: dict) -> None:
    with pytest.raises(MetahpError, match=r"^`tune` is for tables; tune a function with metahp.tune_objective\(func"):
        metahp.tune(objective=bowl, **others)


def test_an_argument_that_a_verb_does_not_have_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"tune\(\) got an unexpected keyword argument 'space'"):
        metahp.tune("x.csv", space=BOWL_SPACE)
    for argument in ({"y": np.zeros(3)}, {"groups": np.zeros(3)}, {"trial_timeout": 60.0}):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(argument))}'"):
            metahp.tune_objective(bowl, BOWL_SPACE, **argument)


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "Expected a table as `X`"), ({"X": "x.csv", "trial_timeout": -1}, "`trial_timeout` is a number of seconds")],
)
def test_a_study_of_a_table_that_makes_no_sense_is_refused(options: dict, words: str) -> None:
    with pytest.raises(MetahpError, match=words):
        metahp.tune(**options)
