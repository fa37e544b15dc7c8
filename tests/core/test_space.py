import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, OutOfRangeError, UnknownHyperparameterError
from metahp.core.space import SPECIAL_SHARE, Categorical, Float, Integer, Number, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.registry import LEARNERS

SPACES = [learner.space(task_type) for learner in LEARNERS.values() for task_type in TaskType]


@st.composite
def points(draw: st.DrawFn) -> tuple[SearchSpace, np.ndarray]:
    space = draw(st.sampled_from(SPACES))
    unit = draw(st.lists(st.floats(0.0, 1.0), min_size=len(space), max_size=len(space)))
    return space, np.array([unit])


@given(points())
def test_from_unit_inverts_to_unit(case: tuple[SearchSpace, np.ndarray]) -> None:
    space, unit = case
    [configuration] = space.from_unit(unit)
    assert space.from_unit(space.to_unit([configuration])) == [configuration]


@given(points())
def test_every_point_of_the_cube_is_a_valid_configuration(case: tuple[SearchSpace, np.ndarray]) -> None:
    space, unit = case
    [configuration] = space.from_unit(unit)
    assert space.configuration(configuration.values) == configuration


@given(points())
def test_active_axes_keep_their_order(case: tuple[SearchSpace, np.ndarray]) -> None:
    space, unit = case
    again = space.to_unit(space.from_unit(unit))
    active = ~np.isnan(again)
    step = np.array([1.0 if isinstance(axis, Categorical) else 0.5 for axis in space])
    assert (np.abs(again - unit)[active] <= np.tile(step, (1, 1))[active]).all()


def test_from_unit_ends_are_low_and_high() -> None:
    axis = Float("rate", 0.001, 1.0, 0.1, is_log=True)
    assert axis.from_unit(0.0) == 0.001
    assert axis.from_unit(1.0) == 1.0
    assert axis.from_unit(1 / 3) == pytest.approx(0.01)


@pytest.mark.parametrize("is_log", [False, True])
def test_an_end_of_more_digits_than_values_have_is_in_its_range(is_log: bool) -> None:
    space = SearchSpace("odd", 1, (Float("x", 0.01000194, 1.99974321, 1.0, is_log=is_log),))
    for end in (0.0, 1.0):
        [configuration] = space.from_unit(np.array([[end]]))
        assert space.to_unit([configuration]) == pytest.approx(end, abs=1e-4)


def test_positions_outside_the_cube_are_clipped() -> None:
    axis = Integer("depth", 2, 12, 5)
    assert axis.from_unit(-3.0) == 2
    assert axis.from_unit(7.0) == 12


def test_a_special_value_has_its_share_at_the_end_of_the_axis() -> None:
    axis = Integer("depth", 2, 12, None, above=(None,))
    assert axis.from_unit(1.0 - SPECIAL_SHARE / 2) is None
    assert axis.from_unit(1.0 - SPECIAL_SHARE - 1e-9) == 12
    assert axis.to_unit(None) == pytest.approx(1.0 - SPECIAL_SHARE / 2)


def test_an_inactive_hyperparameter_is_nan_in_the_cube_and_absent_in_the_configuration(space: SearchSpace) -> None:
    plain = space.configuration({"kind": "plain"})
    wavy = space.configuration({"kind": "wavy", "waves": 4})
    unit = space.to_unit([plain, wavy])
    assert math.isnan(unit[0, 4])
    assert unit[1, 4] == pytest.approx(0.75)
    assert "waves" not in plain.values


def test_true_is_not_the_number_one() -> None:
    axis = Categorical("flag", (1, True), 1)
    assert axis.to_unit(1) == 0.25
    assert axis.to_unit(True) == 0.75
    with pytest.raises(OutOfRangeError, match="is a number"):
        Float("rate", 0.0, 2.0, 1.0).to_unit(True)


def test_an_unknown_hyperparameter_is_named_with_the_closest(space: SearchSpace) -> None:
    with pytest.raises(UnknownHyperparameterError, match="Did you mean 'depth'"):
        space.configuration({"depht": 3})
    with pytest.raises(UnknownHyperparameterError, match="'tempo' is not a hyperparameter of toy"):
        space.to_unit([Configuration.of("toy", {"tempo": 1})])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": 2.0}, r"lies in \[0.001, 1\], got 2.0"),
        ({"penalty": 0.001}, r"\[0.01, 10\] or 0.0"),
        ({"kind": "square"}, "one of 'plain', 'wavy'"),
        ({"rate": "fast"}, "is a number"),
    ],
)
def test_a_value_outside_its_range_is_refused(space: SearchSpace, values: dict, words: str) -> None:
    with pytest.raises(OutOfRangeError, match=words):
        space.configuration(values)


@given(points())
def test_a_configuration_of_the_current_version_comes_back_as_it_is(case: tuple[SearchSpace, np.ndarray]) -> None:
    space, unit = case
    [configuration] = space.from_unit(unit)
    assert space.upgraded(configuration) is configuration


@given(points(), st.data())
def test_an_older_configuration_takes_the_defaults_of_what_is_new(
    case: tuple[SearchSpace, np.ndarray], data: st.DataObject
) -> None:
    space, unit = case
    added = data.draw(st.sampled_from(space.hyperparameters)).name
    older = _without(space, added)
    [configuration] = older.from_unit(older.to_unit(older.from_unit(unit[:, [n in older.names for n in space.names]])))
    upgraded = space.upgraded(configuration)
    assert upgraded == space.configuration(configuration.values)
    assert space.upgraded(older.default) == space.default
    # And what the older version knows is as it was.
    assert older.upgraded(upgraded) == configuration


@given(points(), st.data())
def test_an_upgrade_drops_what_is_gone_and_is_a_valid_configuration(
    case: tuple[SearchSpace, np.ndarray], data: st.DataObject
) -> None:
    space, unit = case
    removed = data.draw(st.sampled_from(space.hyperparameters)).name
    newer = _without(space, removed)
    [configuration] = space.from_unit(unit)
    upgraded = newer.upgraded(configuration)
    assert newer.configuration(upgraded.values) == newer.upgraded(upgraded) == upgraded
    assert upgraded.pairs == tuple(item for item in configuration.pairs if item[0] in newer.names)


@given(points(), st.data())
def test_only_what_lies_outside_a_narrowed_range_has_no_upgrade(
    case: tuple[SearchSpace, np.ndarray], data: st.DataObject
) -> None:
    space, unit = case
    numbers = [axis for axis in space if isinstance(axis, Number)]
    axis = data.draw(st.sampled_from(numbers))
    high = axis.low + 0.6 * (axis.high - axis.low)
    lower = replace(axis, high=high, default=axis.low)
    newer = replace(space, hyperparameters=tuple(lower if one is axis else one for one in space))
    [configuration] = space.from_unit(unit)
    value = configuration.values.get(axis.name, axis.low)
    is_special = value in (*axis.below, *axis.above)
    assert (newer.upgraded(configuration) is configuration) == (is_special or value <= high)
    assert (newer.upgraded(configuration) is None) == (not is_special and value > high)


def _without(space: SearchSpace, name: str) -> SearchSpace:
    """The space without a hyperparameter and those that depend on it."""
    kept = tuple(axis for axis in space if axis.name != name and (axis.only_if is None or axis.only_if[0] != name))
    is_counted = space.iteration_axis in {axis.name for axis in kept}
    return SearchSpace(
        space.learner, space.version + 1, kept, iteration_axis=space.iteration_axis if is_counted else None
    )


def test_an_upgrade_by_hand(space: SearchSpace) -> None:
    wavy = space.configuration({"kind": "wavy", "waves": 4})
    assert _without(space, "kind").upgraded(wavy) == Configuration.of(
        "toy", {"rate": 0.1, "depth": None, "penalty": 0.0}
    )
    fewer = replace(
        space, hyperparameters=(*space.hyperparameters[:3], Categorical("kind", ("plain", "bumpy"), "plain"))
    )
    assert fewer.upgraded(wavy) is None
    # A new hyperparameter with a condition is added only where it is active.
    crests = Float("crests", 0.0, 1.0, 0.5, only_if=("kind", ("wavy",)))
    more = replace(space, hyperparameters=(*space.hyperparameters, crests))
    assert more.upgraded(wavy) == wavy.replaced(crests=0.5)
    assert more.upgraded(space.default) == space.default
    # What has become conditional is dropped where it is not active.
    depth = replace(space.hyperparameters[1], only_if=("kind", ("wavy",)))
    moved = replace(space, hyperparameters=(*(axis for axis in space if axis.name != "depth"), depth))
    assert "depth" not in moved.upgraded(space.default).values
    assert space.upgraded(Configuration.of("another", space.default.values)) is None


def test_a_fingerprint_is_of_what_a_space_means() -> None:
    axes = (Integer("n", 1, 9, 3), Float("x", 0, 1, 0.5), Categorical("c", ("a", "b"), "a"))
    space = SearchSpace("toy", 1, axes)
    assert space.fingerprint == "c56c95c97d57f9f0"
    assert SearchSpace("toy", 7, (axes[0], Float("x", 0.0, 1.0, 0.5), axes[2])).fingerprint == space.fingerprint
    n, x, c = axes
    others = [
        SearchSpace("another", 1, axes),
        SearchSpace("toy", 1, axes, iteration_axis="n"),
        SearchSpace("toy", 1, (x, n, c)),
        SearchSpace("toy", 1, axes[:2]),
        *(
            SearchSpace("toy", 1, (n, changed, c))
            for changed in (
                replace(x, name="y"),
                replace(x, low=0.25),
                replace(x, high=2.0),
                replace(x, default=0.25),
                replace(x, low=0.25, is_log=True),
                replace(x, is_integer=True),
                replace(x, below=(None,)),
                replace(x, above=(None,)),
                replace(x, only_if=("n", (3,))),
            )
        ),
        SearchSpace("toy", 1, (n, x, replace(c, choices=("a", "b", "d")))),
        SearchSpace("toy", 1, (n, x, replace(c, default="b"))),
    ]
    assert len({space.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_iterations_are_those_of_the_iteration_axis() -> None:
    axes = (Integer("epochs", 5, 50, 10), Float("x", 0.0, 1.0, 0.5))
    counted, plain = SearchSpace("toy", 1, axes, iteration_axis="epochs"), SearchSpace("toy", 1, axes)
    assert (counted.iterations, plain.iterations) == ((5, 50), (0, 0))
    assert (counted.iterations_of(counted.default), plain.iterations_of(plain.default)) == (10, None)
    assert counted.with_iterations(counted.default, 7) == counted.default.replaced(epochs=7)
    assert plain.with_iterations(plain.default, 7) == plain.default


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("epoch", "'epoch' is none of its hyperparameters.*Did you mean 'epochs'"),
        ("x", "'x' must be an integer from 1 on"),
        ("kind", "'kind' must be an integer"),
        ("depth", "without special values"),
        ("waves", "or a condition"),
        ("zero", "from 1 on"),
    ],
)
def test_an_iteration_axis_that_does_not_count_is_refused(name: str, words: str) -> None:
    axes = (
        Integer("epochs", 5, 50, 10),
        Float("x", 1.0, 2.0, 1.5),
        Categorical("kind", ("a", "b"), "a"),
        Integer("depth", 1, 9, None, above=(None,)),
        Integer("waves", 1, 5, 3, only_if=("kind", ("b",))),
        Integer("zero", 0, 5, 3),
    )
    with pytest.raises(InputError, match=words) as caught:
        SearchSpace("toy", 1, axes, iteration_axis=name)
    assert "\n" not in str(caught.value)


def test_a_space_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="low < high"):
        Float("rate", 0.0, 1.0, 0.5, is_log=True)
    with pytest.raises(InputError, match="appears twice"):
        SearchSpace("toy", 1, (Float("a", 0, 1, 0.5), Float("a", 0, 1, 0.5)))
    with pytest.raises(InputError, match="must come before"):
        SearchSpace("toy", 1, (Integer("waves", 1, 5, 3, only_if=("kind", ("wavy",))),))


def test_configuration_id_is_the_same_on_every_machine() -> None:
    one = Configuration.of("toy", {"b": 1, "a": None})
    other = Configuration.of("toy", {"a": None, "b": 1})
    assert one == other
    assert one.id == other.id == "8b1c1ac0ac6083bff1ea"
    assert one.replaced(b=2) == Configuration.of("toy", {"a": None, "b": 2})
    assert one.id != one.replaced(b=2).id
