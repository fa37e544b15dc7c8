"""Claims about all meta-features at once: invariance, odd tables, the budget of work."""

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metahp.core.task import Task, TaskType
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.metafeatures.extract import GROUP_OF, GROUPS, NAMES, VERSION, choose_steps, extract, replace_n_rows
from metahp.metafeatures.view import Step

PLENTY = 1e6


def frame(n: int, *, classes: int, seed: int = 0) -> pd.DataFrame:
    """Numbers, categories, gaps and a target that depends on some of them; `classes` 0 is regression."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, n))
    colour = rng.choice(["red", "green", "blue"], n).astype(object)
    signal = a + b * c + (colour == "red") + 0.5 * rng.normal(size=n)
    target = np.exp(signal)
    if classes:
        target = np.searchsorted(np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]), signal)
        target = np.array([f"class {code:02d}" for code in target])
    return pd.DataFrame(
        {
            "a": a,
            "b": np.where(rng.random(n) < 0.1, np.nan, b),
            "c": c.round(1),
            "flag": rng.integers(0, 2, n).astype(float),
            "other flag": rng.integers(0, 2, n).astype(float),
            "colour": colour,
            "target": target,
        }
    )


def table_of(data: pd.DataFrame) -> Table:
    kind = (
        TaskType.REGRESSION
        if data["target"].dtype.kind == "f"
        else (TaskType.BINARY if data["target"].nunique() == 2 else TaskType.MULTICLASS)
    )
    return build_table(data, target="target", task_type=kind)


def raw_table(features: pd.DataFrame, y: np.ndarray, n_classes: int) -> Table:
    """A table that `build_table` would refuse."""
    kind = {0: TaskType.REGRESSION, 2: TaskType.BINARY}.get(n_classes, TaskType.MULTICLASS)
    task = Task(id="id", type=kind, n_rows=len(y), n_features=features.shape[1], n_classes=n_classes)
    return Table(task=task, features=features, y=y, target="target", classes=tuple(map(str, range(n_classes))))


def assert_close(first: np.ndarray, second: np.ndarray, groups: dict[str, float]) -> None:
    for name, one, other in zip(NAMES, first, second, strict=True):
        tolerance = groups.get(GROUP_OF[name], 1e-9)
        assert one == pytest.approx(other, abs=tolerance, rel=tolerance, nan_ok=True), name


def test_names_are_unique_and_grouped() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert set(GROUP_OF) == set(NAMES)
    assert tuple(dict.fromkeys(GROUP_OF[name] for name in NAMES)) == GROUPS
    assert all(name.islower() and name.replace("_", "").isalnum() for name in NAMES)


@pytest.mark.parametrize("classes", [0, 2, 4])
def test_every_meta_feature_is_finite_on_a_common_table(classes: int) -> None:
    found = extract(table_of(frame(300, classes=classes)), budget_seconds=PLENTY, clock=time.process_time)
    assert found.warnings == ()
    assert found.version == VERSION
    assert tuple(found.values) == NAMES
    assert tuple(found.seconds) == GROUPS
    assert found.vector().shape == (len(NAMES),)
    assert [name for name, value in found.values.items() if not math.isfinite(value)] == []


def test_fewer_rows_change_counts_of_rows_alone() -> None:
    whole = extract(table_of(frame(300, classes=2)), budget_seconds=0.0, clock=time.process_time).vector()
    fewer = replace_n_rows(np.array([whole, whole]), np.array([300, 100]))
    np.testing.assert_allclose(fewer[0], whole)
    changed = {NAMES[i] for i in np.flatnonzero(~np.isclose(fewer[1], whole, equal_nan=True))}
    assert changed == {"log_n_rows", "log_rows_per_feature", "log_rows_per_class"}
    assert fewer[1, NAMES.index("log_n_rows")] == pytest.approx(np.log(100))


@pytest.mark.parametrize(("n", "classes"), [(300, 0), (300, 2), (300, 4), (2100, 2)])
def test_order_of_rows_and_columns_does_not_matter(n: int, classes: int) -> None:
    data = frame(n, classes=classes)
    shuffled = data.sample(frac=1.0, random_state=3).iloc[:, [4, 6, 2, 0, 5, 3, 1]]
    first = extract(table_of(data), budget_seconds=PLENTY, clock=time.process_time).vector()
    second = extract(table_of(shuffled), budget_seconds=PLENTY, clock=time.process_time).vector()
    assert_close(first, second, {"probes": 1e-6, "landmarks": 1e-6})


def test_columns_that_differ_in_their_rows_alone_get_different_keys() -> None:
    rng = np.random.default_rng(0)
    n = 80
    y = np.repeat([0.0, 1.0], n // 2)
    ones = np.arange(n // 2)
    flags = {
        f"flag {i}": np.concatenate([rng.permutation(ones < 20), rng.permutation(ones < 8)]).astype(float)
        for i in range(6)
    }
    data = pd.DataFrame({**flags, "target": np.where(y == 1, "yes", "no")})
    shuffled = data.sample(frac=1.0, random_state=1)[[*reversed(data.columns)]]
    first = extract(table_of(data), budget_seconds=PLENTY, clock=time.process_time).vector()
    second = extract(table_of(shuffled), budget_seconds=PLENTY, clock=time.process_time).vector()
    assert_close(first, second, {"probes": 1e-6, "landmarks": 1e-6})


def test_same_seed_gives_the_same_values_and_another_seed_another_sample() -> None:
    table = table_of(frame(2000, classes=2))
    first = extract(table, budget_seconds=PLENTY, clock=time.process_time, seed=1)
    assert dict(first.values) == dict(extract(table, budget_seconds=PLENTY, clock=time.process_time, seed=1).values)
    other = extract(table, budget_seconds=PLENTY, clock=time.process_time, seed=2)
    assert first.values["probe_skill"] != other.values["probe_skill"]
    assert first.values["log_n_rows"] == other.values["log_n_rows"]


def one_column() -> Table:
    return table_of(frame(120, classes=2)[["a", "target"]])


def one_column_with_gaps_regression() -> Table:
    return table_of(frame(120, classes=0)[["b", "target"]])


def all_categorical() -> Table:
    data = frame(200, classes=3)
    data["shape"] = np.where(data["a"] > 0, "round", "long")
    return table_of(data[["colour", "shape", "target"]])


def all_categorical_regression() -> Table:
    data = frame(200, classes=0)
    data["shape"] = np.where(data["a"] > 0, "round", "long")
    return table_of(data[["colour", "shape", "target"]])


def many_gaps() -> Table:
    data = frame(250, classes=2)
    holes = np.random.default_rng(1).random((250, 6)) < 0.6
    return table_of(pd.concat([data.iloc[:, :6].mask(holes), data["target"]], axis=1))


def thirty_classes() -> Table:
    return table_of(frame(900, classes=30))


def two_rows_per_class() -> Table:
    return table_of(frame(24, classes=12))


def huge_numbers() -> Table:
    data = frame(100, classes=0)
    return table_of(data.assign(a=data["a"] * 1e300, b=data["b"] * 1e-300, target=data["target"] * 1e150))


def constant_columns() -> Table:
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"a": np.ones(60), "b": np.full(60, np.nan), "c": np.zeros(60)})
    return raw_table(features, rng.integers(0, 2, 60), 2)


def rare_class() -> Table:
    data = frame(300, classes=2)
    return table_of(data.assign(target=np.where(np.arange(300) < 3, "rare", "common")))


ODD = [
    one_column,
    one_column_with_gaps_regression,
    all_categorical,
    all_categorical_regression,
    many_gaps,
    thirty_classes,
    two_rows_per_class,
    huge_numbers,
    constant_columns,
    rare_class,
]


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_odd_tables_have_every_meta_feature(make: Callable[[], Table]) -> None:
    found = extract(make(), budget_seconds=PLENTY, clock=time.process_time)
    assert found.warnings == ()
    assert [name for name, value in found.values.items() if not math.isfinite(value)] == []


def test_a_failure_is_a_missing_value_and_a_warning() -> None:
    # Twenty classes, and only one of them has two rows: no model can be cross-validated.
    y = np.array([*range(19), 19, 19])
    table = raw_table(pd.DataFrame({"a": np.arange(21.0)}), y, 20)
    found = extract(table, budget_seconds=PLENTY, clock=time.process_time)
    assert any("they failed (ValueError: fewer than two classes have two rows)" in line for line in found.warnings)
    assert math.isnan(found.values["probe_skill"])
    assert math.isfinite(found.values["class_entropy"])


def groups_missing(values: Mapping[str, float]) -> set[str]:
    return {GROUP_OF[name] for name, value in values.items() if math.isnan(value)}


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_a_budget_only_counts_run_and_the_warning_names_the_others(seconds: float) -> None:
    found = extract(table_of(frame(200, classes=2)), budget_seconds=seconds, clock=time.process_time)
    assert tuple(found.values) == NAMES
    assert found.values["log_n_rows"] == pytest.approx(math.log(200))
    assert groups_missing(found.values) == set(GROUPS[1:])
    (line,) = found.warnings
    assert line.startswith(
        "the table is described without statistical, information, probes, landmarks, so the advice is about as good "
        "as a fixed portfolio; `budget_seconds="
    )


@pytest.mark.parametrize("classes", [0, 2, 4])
def test_the_budget_that_the_warning_names_allows_all_meta_features(classes: int) -> None:
    table = table_of(frame(300, classes=classes))
    (line,) = extract(table, budget_seconds=0.0, clock=time.process_time).warnings
    named = re.search(r"budget_seconds=([\d.]+)` allows for all of it", line)
    assert named is not None
    assert extract(table, budget_seconds=float(named[1]), clock=time.process_time).warnings == ()


def step(name: str, seconds: float, *, needs: str = "", is_count: bool = False) -> Step:
    return Step(names=(name,), expected_seconds=seconds, run=lambda _: {name: 1.0}, needs=needs, is_count=is_count)


def test_steps_that_do_not_fit_the_budget_are_skipped_by_hand() -> None:
    steps = [
        step("count", 9.0, is_count=True),
        step("long", 4.0),
        step("short", 1.0),
        step("needy", 0.1, needs="long"),
        step("other", 1.5),
        step("last", 0.5),
    ]
    chosen, skipped = choose_steps(steps, 2.0, 14.0)
    # The first step after the count also pays 2 for the order; the 5 that the count leaves are spent as 3 + 1.5 + 0.5.
    assert [(each.names[0], each.expected_seconds) for each in chosen] == [
        ("count", 9.0),
        ("short", 3.0),
        ("other", 1.5),
        ("last", 0.5),
    ]
    assert [each.names[0] for each in skipped] == ["long", "needy"]
    assert choose_steps(steps, 2.0, 1e6) == (
        [replace(each, expected_seconds=(9, 6, 1, 0.1, 1.5, 0.5)[i]) for i, each in enumerate(steps)],
        [],
    )


class Ticking:
    """A clock that moves on at every call."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.mark.parametrize("tick", [0.0, 0.001, 0.1])
def test_the_clock_does_not_change_the_values(tick: float) -> None:
    table = table_of(frame(300, classes=2))
    usual = extract(table, budget_seconds=2.0, clock=time.process_time)
    found = extract(table, budget_seconds=2.0, clock=Ticking(tick))
    assert found.vector().tobytes() == usual.vector().tobytes()
    assert found.warnings == ()
    assert found.seconds["probes"] == pytest.approx(11 * tick)


def test_a_description_stops_if_it_takes_far_longer_than_expected() -> None:
    found = extract(table_of(frame(300, classes=2)), budget_seconds=2.0, clock=Ticking(0.6))
    assert math.isfinite(found.values["missing_share"])
    assert {"probes", "landmarks"} <= groups_missing(found.values)
    (line,) = found.warnings
    assert "about as good as a fixed portfolio; the others took 10 s of processor time instead of 0.0" in line


def test_the_budget_decides_which_values_are_known_but_not_what_they_are() -> None:
    table = table_of(frame(300, classes=2))
    full = extract(table, budget_seconds=PLENTY, clock=time.process_time).vector()
    found = extract(table, budget_seconds=0.1, clock=time.process_time)
    known = ~np.isnan(found.vector())
    assert 0 < known.sum() < len(NAMES)
    np.testing.assert_array_equal(found.vector()[known], full[known])
    assert "so the advice is less certain than it could be; `budget_seconds=" in found.warnings[0]


def test_ten_thousand_columns_are_capped() -> None:
    rng = np.random.default_rng(0)
    features = pd.DataFrame(rng.normal(size=(40, 10_000)))
    found = extract(raw_table(features, rng.integers(0, 2, 40), 2), budget_seconds=PLENTY, clock=time.process_time)
    assert found.warnings == ()
    assert found.values["log_n_features"] == pytest.approx(math.log(10_000))
