"""What holds for all meta-features at once: invariance, odd tables, the time budget."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from metahp.core.task import Task, TaskType
from metahp.datasets.infer import build_table
from metahp.datasets.table import Table
from metahp.metafeatures.extract import GROUP_OF, GROUPS, NAMES, VERSION, at_rows, extract, run_group
from metahp.metafeatures.view import Step, Values

PLENTY = 1e6


def plenty() -> float:
    return PLENTY


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
    """A table as no file gives it, past the checks of `build_table`."""
    kind = {0: TaskType.REGRESSION, 2: TaskType.BINARY}.get(n_classes, TaskType.MULTICLASS)
    task = Task("id", kind, len(y), features.shape[1], n_classes)
    return Table(task, features, y, "target", tuple(map(str, range(n_classes))))


class Ticking:
    """A clock that loses a fixed time at every look."""

    def __init__(self, seconds: float, tick: float) -> None:
        self.left, self.tick = seconds, tick

    def __call__(self) -> float:
        self.left -= self.tick
        return self.left


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
    found = extract(table_of(frame(300, classes=classes)), seconds_left=plenty)
    assert found.warnings == ()
    assert found.version == VERSION
    assert tuple(found.values) == NAMES
    assert tuple(found.seconds) == GROUPS
    assert found.vector().shape == (len(NAMES),)
    assert [name for name, value in found.values.items() if not math.isfinite(value)] == []


def test_fewer_rows_change_what_counts_rows_and_nothing_else() -> None:
    whole = extract(table_of(frame(300, classes=2)), seconds_left=lambda: 0.0).vector()
    fewer = at_rows(np.array([whole, whole]), np.array([300, 100]))
    np.testing.assert_allclose(fewer[0], whole)
    moved = {NAMES[i] for i in np.flatnonzero(~np.isclose(fewer[1], whole, equal_nan=True))}
    assert moved == {"log_n_rows", "log_rows_per_feature", "log_rows_per_class"}
    assert fewer[1, NAMES.index("log_n_rows")] == pytest.approx(np.log(100))


@pytest.mark.parametrize(("n", "classes"), [(300, 0), (300, 2), (300, 4), (2100, 2)])
def test_order_of_rows_and_columns_does_not_matter(n: int, classes: int) -> None:
    data = frame(n, classes=classes)
    shuffled = data.sample(frac=1.0, random_state=3).iloc[:, [4, 6, 2, 0, 5, 3, 1]]
    first = extract(table_of(data), seconds_left=plenty).vector()
    second = extract(table_of(shuffled), seconds_left=plenty).vector()
    assert_close(first, second, {"probes": 1e-6, "landmarks": 1e-6})


def test_columns_alike_but_for_their_rows_are_told_apart() -> None:
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
    first = extract(table_of(data), seconds_left=plenty).vector()
    second = extract(table_of(shuffled), seconds_left=plenty).vector()
    assert_close(first, second, {"probes": 1e-6, "landmarks": 1e-6})


def test_same_seed_gives_the_same_values_and_another_seed_another_sample() -> None:
    table = table_of(frame(2000, classes=2))
    first = extract(table, seconds_left=plenty, seed=1)
    assert dict(first.values) == dict(extract(table, seconds_left=plenty, seed=1).values)
    other = extract(table, seconds_left=plenty, seed=2)
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
    found = extract(make(), seconds_left=plenty)
    assert found.warnings == ()
    assert [name for name, value in found.values.items() if not math.isfinite(value)] == []


def test_a_failure_is_a_missing_value_and_a_warning() -> None:
    # Twenty classes of which one alone has two rows: nothing to cross-validate.
    y = np.array([*range(19), 19, 19])
    table = raw_table(pd.DataFrame({"a": np.arange(21.0)}), y, 20)
    found = extract(table, seconds_left=plenty)
    assert any("failed: ValueError: fewer than two classes have two rows" in line for line in found.warnings)
    assert math.isnan(found.values["probe_skill"])
    assert math.isfinite(found.values["class_entropy"])


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_time_only_counts_are_taken_and_the_rest_is_named(seconds: float) -> None:
    found = extract(table_of(frame(200, classes=2)), seconds_left=lambda: seconds)
    assert tuple(found.values) == NAMES
    assert found.values["log_n_rows"] == pytest.approx(math.log(200))
    for group in GROUPS[1:]:
        assert all(math.isnan(found.values[name]) for name in NAMES if GROUP_OF[name] == group)
        assert any(line.startswith(group) and "skipped: the budget of 0 s" in line for line in found.warnings)


class Clock:
    """A clock that only work moves."""

    def __init__(self, left: float) -> None:
        self.left = left

    def __call__(self) -> float:
        return self.left


@pytest.mark.parametrize("slowness", [0.1, 1.0, 1.3, 5.0])
@pytest.mark.parametrize("budget", [0.3, 1.0, 3.0])
def test_steps_that_would_overrun_the_budget_are_not_started(budget: float, slowness: float) -> None:
    clock = Clock(budget)
    expected = [0.05, 0.4, 0.1, 0.1, 0.5, 0.05, 0.05, 0.3]

    def step(number: int) -> Step:
        def run(values: Values) -> Values:
            clock.left -= slowness * expected[number]
            return {f"f{number}": 1.0}

        return Step((f"f{number}",), expected[number], run)

    values: dict[str, float] = {}
    notes, pace = run_group("probes", [step(i) for i in range(8)], values, clock, budget, 1.0)
    assert clock.left >= 0
    assert pace == pytest.approx(max(slowness, 0.2))
    assert (len(values) == 8) == (notes == [])
    assert "f0" in values
    if notes:
        assert f"skipped: the budget of {budget:g} s does not allow more" in notes[0]


@pytest.mark.parametrize("tick", [0.01, 0.05, 0.2])
def test_nothing_but_counts_starts_once_the_clock_has_run_out(tick: float) -> None:
    clock = Ticking(2.0, tick)
    found = extract(table_of(frame(300, classes=2)), seconds_left=clock)
    assert tuple(found.values) == NAMES
    assert all(math.isfinite(found.values[name]) for name in NAMES[:14])
    # Every group that ends before its last feature says so.
    for group in GROUPS:
        is_whole = all(math.isfinite(found.values[name]) for name in NAMES if GROUP_OF[name] == group)
        assert is_whole != any(line.startswith(group) for line in found.warnings)
    assert found.warnings or tick == 0.01


def test_budget_changes_what_is_known_and_never_its_value() -> None:
    table = table_of(frame(300, classes=2))
    full = extract(table, seconds_left=plenty).vector()
    part = extract(table, seconds_left=Ticking(1.5, 0.04)).vector()
    known = ~np.isnan(part)
    assert 0 < known.sum() < len(NAMES)
    np.testing.assert_array_equal(part[known], full[known])


def test_ten_thousand_columns_are_capped() -> None:
    rng = np.random.default_rng(0)
    features = pd.DataFrame(rng.normal(size=(40, 10_000)))
    found = extract(raw_table(features, rng.integers(0, 2, 40), 2), seconds_left=plenty)
    assert found.warnings == ()
    assert found.values["log_n_features"] == pytest.approx(math.log(10_000))
