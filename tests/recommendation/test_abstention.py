"""Abstention: tables from outside get the portfolio, and are told so."""

import re

import numpy as np
import pandas as pd
import pytest

from metahp.api import describe, load
from metahp.core.space import Float, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.metafeatures.extract import NAMES
from metahp.recommendation.abstention import MIN_PAST_TASKS, find_reason_to_abstain
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Levels
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks
from metahp.surrogate.selection import choose_greedy_batch

SPACE = SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5),))
N_TASKS = 30


@pytest.fixture(scope="module")
def adviser() -> Adviser:
    """Trained on tasks whose best x lies where the skill of their linear landmark says."""
    rng = np.random.default_rng(0)
    xs = np.linspace(0.0, 1.0, 11).round(2)
    metafeatures = rng.normal(size=(N_TASKS, len(NAMES)))
    skill = -rng.uniform(0.1, 1.0, size=N_TASKS)
    metafeatures[:, NAMES.index("landmark_linear")] = skill
    losses = 1.0 + (xs + skill[:, None]) ** 2
    tasks = [
        Task(
            id=f"t{i}",
            type=TaskType.BINARY,
            n_rows=200 + 100 * i,
            n_features=5 + i,
            n_classes=2,
            name=f"t{i}",
            group=f"t{i}",
        )
        for i in range(N_TASKS)
    ]
    past = Evidence(
        metric="neg_log_loss",
        spaces={"toy": SPACE},
        tasks=tuple(tasks),
        metafeatures=metafeatures,
        constants=np.full(N_TASKS, 3.0),
        candidates=tuple(SPACE.configuration({"x": float(x)}) for x in xs),
        origins=tuple(Origin.DEFAULT if x == 0.5 else Origin.DESIGN for x in xs),
        is_final=np.ones(len(xs), dtype=bool),
        losses=losses,
        fit_seconds=np.ones_like(losses),
        defaults={"toy": int(np.flatnonzero(xs == 0.5)[0])},
    )
    return Adviser.of(PastTasks.read(past, MetaModel.fit(past, seed=0)), Levels.fit(past, seed=0))


def _table(n: int, d: int, y: np.ndarray, *, seed: int = 0, task: str = "binary"):
    X = np.random.default_rng(seed).normal(size=(n, d))
    return load(pd.DataFrame(X, columns=[f"x{j}" for j in range(d)]), y, task=task)


def _advice(adviser, table):
    metafeatures = describe(table, budget_seconds=60.0).vector()
    return adviser.advise(table.task, metafeatures, NAMES, 0.7, 3)


def _portfolio(adviser):
    losses = adviser.past.values
    return choose_greedy_batch(losses, np.full(len(losses), 1 / len(losses)), 3)


@pytest.mark.parametrize("seed", [0, 1])
def test_white_noise_gets_the_portfolio_and_is_told_that_nothing_has_skill(adviser, seed):
    y = np.random.default_rng(100 + seed).integers(0, 2, 400)
    advice = _advice(adviser, _table(400, 8, y, seed=seed))
    assert "better than a constant" in advice.prior.abstained
    assert [item.column for item in advice.items] == _portfolio(adviser)


def test_a_table_with_a_signal_gets_advice_of_its_own(adviser):
    X = np.random.default_rng(0).normal(size=(400, 8))
    y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(int)
    advice = _advice(adviser, _table(400, 8, y))
    assert not advice.prior.abstained


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (_table(24, 6, np.repeat(np.arange(8), 3), task="multiclass"), "24 rows|8 classes"),
        (_table(300, 500, np.arange(300) % 2), "500 features"),
    ],
    ids=["three rows per class", "500 columns"],
)
def test_tables_outside_of_the_past_get_the_portfolio_and_are_told_what_lies_outside(adviser, table, words):
    unknown = np.full(len(NAMES), np.nan)
    advice = adviser.advise(table.task, unknown, NAMES, 0.7, 3)
    assert re.search(words, advice.prior.abstained)
    assert [item.column for item in advice.items] == _portfolio(adviser)


def test_few_rows_per_class_are_outside_even_where_rows_and_classes_are_not():
    past = [
        Task(id=f"t{i}", type=TaskType.MULTICLASS, n_rows=100 * 2**i, n_features=5, n_classes=2 + i)
        for i in range(MIN_PAST_TASKS)
    ]
    words = find_reason_to_abstain(
        Task(id="new", type=TaskType.MULTICLASS, n_rows=33, n_features=5, n_classes=11), past, np.zeros(0), ()
    )
    assert "3 rows per class" in words


def test_without_any_cheap_model_skill_is_unknown_and_no_reason():
    past = [
        Task(id=f"t{i}", type=TaskType.BINARY, n_rows=100 + i, n_features=5, n_classes=2) for i in range(MIN_PAST_TASKS)
    ]
    task = Task(id="new", type=TaskType.BINARY, n_rows=105, n_features=5, n_classes=2)
    assert find_reason_to_abstain(task, past, np.array([np.nan]), ("probe_skill",)) == ""
    assert "constant" in find_reason_to_abstain(task, past, np.array([0.01]), ("probe_skill",))
    # A cautious probe may have the skill that the reference lost by overfitting.
    assert find_reason_to_abstain(task, past, np.array([0.01, -0.1]), ("probe_skill", "probe_slow")) == ""
