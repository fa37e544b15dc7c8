import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, OutOfRangeError, UnknownHyperparameterError
from metahp.core.space import SPECIAL_SHARE, Categorical, Float, Integer, SearchSpace
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


def test_a_space_holds_its_own_configurations_and_not_those_of_another_version(space: SearchSpace) -> None:
    assert space.holds(space.default)
    other = SearchSpace("toy", 2, (*space.hyperparameters, Float("added", 0.0, 1.0, 0.5)))
    assert not space.holds(other.default)
    assert not other.holds(space.default)
    assert not SearchSpace("another", 1, space.hyperparameters).holds(space.default)


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
