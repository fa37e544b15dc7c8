"""Choices by the clock: improvement per second, cooling, the end of the time, and the order of the first trials."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from metahp.core.configuration import Configuration
from metahp.core.space import Categorical, Float, SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.pace import Pace
from metahp.refinement.strategy import Observation, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.surrogate.cost import CostModel, LearnerCost, TaskCost
from metahp.surrogate.prior import Scenarios

SPACE = SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5),))
UNKNOWN = SearchSpace("other", 1, (Categorical("kind", ("a", "b"), "a"),))
# Seconds of a trial in the middle of the space; at the ends e² times fewer and more.
MIDDLE, PER_UNIT = 1.0, 4.0


def make_costs(noise: float = 0.05) -> TaskCost:
    """Seconds that rise with x and depend on nothing else."""
    cost = LearnerCost(
        size=np.array([math.log(MIDDLE), 0.0, 0.0, 0.0]),
        slopes=np.array([PER_UNIT, 0.0]),
        offset=0.01,
        spread=np.array([0.01, 0.01]),
        noise=noise,
    )
    costs = TaskCost(CostModel(spaces={"toy": SPACE}, learners={"toy": cost}), np.array([1.0, 0.0, 0.0, 0.0]), 0.0)
    # What is not known is how fast the machine is: now it is.
    costs.tell(at(0.5), MIDDLE)
    return costs


def at(x: float) -> Configuration:
    return SPACE.configuration({"x": x})


def find_seconds(x: float) -> float:
    return MIDDLE * math.exp(PER_UNIT * (x - 0.5))


@dataclass
class Clock:
    """A time that a test sets."""

    left: float
    limit: float = 1000.0

    def make_pace(self) -> Pace:
        return Pace(
            costs=make_costs(), measure_left=lambda: self.left, measure_share=lambda: max(self.left, 0.0) / self.limit
        )


CHEAP, MIDDLING, EXPENSIVE = at(0.05), at(0.5), at(0.95)


def test_with_equal_improvement_the_cheap_one_is_worth_more_and_by_the_inverse_of_its_seconds() -> None:
    weights = Clock(left=1000.0).make_pace().weigh([CHEAP, EXPENSIVE])
    between = 0.1
    expected = math.log((find_seconds(0.95) + between) / (find_seconds(0.05) + between))
    assert weights[0] - weights[1] == pytest.approx(expected, abs=0.05)


def test_as_the_time_ends_only_the_improvement_counts() -> None:
    differences = []
    for left in (1000.0, 500.0, 100.0):
        weights = Clock(left).make_pace().weigh([CHEAP, EXPENSIVE])
        differences.append(weights[0] - weights[1])
    assert differences[1] == pytest.approx(differences[0] / 2, abs=0.05)
    assert differences[2] == pytest.approx(differences[0] / 10, abs=0.05)
    # One hundredth of a long time, in which both of them end.
    late = Clock(left=50.0, limit=5e6).make_pace().weigh([CHEAP, EXPENSIVE])
    np.testing.assert_allclose(late, 0.0, atol=1e-3)


def test_a_trial_that_cannot_end_in_time_is_avoided() -> None:
    weights = Clock(left=2.0, limit=1e9).make_pace().weigh([CHEAP, MIDDLING, EXPENSIVE])
    assert abs(weights[0]) < 0.01
    assert abs(weights[1]) < 0.01
    assert weights[2] < -10
    # After the end too every weight is a number.
    assert np.isfinite(Clock(left=-5.0).make_pace().weigh([CHEAP, EXPENSIVE])).all()


def test_a_learner_of_unknown_cost_is_not_moved() -> None:
    assert Clock(left=1000.0).make_pace().weigh([UNKNOWN.default]) == [0.0]


def test_what_trials_take_moves_the_weights_of_kept_configurations_too() -> None:
    pace, kept = Clock(left=20.0, limit=1e9).make_pace(), [CHEAP, EXPENSIVE]
    before = pace.weigh(kept, are_kept=True)
    for x in (0.4, 0.5, 0.6):
        # Fifty times slower than past tasks say.
        pace.tell(Observation(configuration=at(x), loss=0.3, seconds=50 * find_seconds(x)))
    after = pace.weigh(kept, are_kept=True)
    np.testing.assert_array_equal(after, pace.weigh(list(kept)))
    assert abs(before).max() < 0.01
    assert after[1] < -1


def test_trials_of_unknown_time_teach_nothing() -> None:
    pace = Clock(left=1000.0).make_pace()
    before = pace.weigh([CHEAP, EXPENSIVE])
    pace.tell(Observation(configuration=MIDDLING, loss=0.3))
    np.testing.assert_array_equal(pace.weigh([CHEAP, EXPENSIVE]), before)


@dataclass(frozen=True)
class LinePrior:
    """Past tasks that agree: the loss is given for some places on the line, and linear between them."""

    losses: dict[float, float]
    space: SearchSpace = SPACE
    candidates: tuple[Configuration, ...] = ()
    unit: float = 1.0
    log_scale: tuple[float, float] = (0.0, 0.1)

    @property
    def weights(self) -> np.ndarray:
        return np.full(4, 0.25)

    def at(self, configurations) -> Scenarios:
        places = np.array([each.values["x"] for each in configurations])
        one = np.interp(places, list(self.losses), list(self.losses.values()))
        # Each scenario is a little other, so that there is something to learn.
        values = one + 0.02 * np.sin(10 * places + np.arange(4)[:, None])
        return Scenarios(values, self.weights, places[:, None] / 0.3)


SUGGESTIONS = [
    Suggestion(EXPENSIVE, Origin.USER),
    Suggestion(at(0.9), Origin.SURROGATE),
    Suggestion(at(0.6), Origin.DEFAULT),
    Suggestion(at(0.1), Origin.SURROGATE),
    Suggestion(at(0.3), Origin.USER),
]


def test_own_configurations_come_first_and_the_others_by_their_worth_per_second() -> None:
    prior = LinePrior({0.1: 0.6, 0.6: 0.7, 0.9: 0.5})
    ordered = Clock(left=1000.0).make_pace().order(SUGGESTIONS, prior, most=0.05)
    assert [each.configuration.values["x"] for each in ordered] == [0.95, 0.3, 0.1, 0.6, 0.9]
    # The improvement of 0.9 is greater by so much that it is worth its seconds.
    prior = LinePrior({0.1: 0.999, 0.6: 1.0, 0.9: 0.0})
    ordered = Clock(left=1000.0).make_pace().order(SUGGESTIONS, prior, most=0.05)
    assert [each.configuration.values["x"] for each in ordered][:3] == [0.95, 0.3, 0.9]


def test_a_default_that_takes_too_much_of_the_time_is_left_to_the_search() -> None:
    prior = LinePrior({0.1: 0.6, 0.6: 0.7, 0.9: 0.5})
    seconds = find_seconds(0.6)
    for left, has_default in ((seconds / 0.05 * 1.2, True), (seconds / 0.05 * 0.8, False)):
        ordered = Clock(left).make_pace().order(SUGGESTIONS, prior, most=0.05)
        assert (SUGGESTIONS[2] in ordered) is has_default
        # A recommended configuration that takes longer stays.
        assert SUGGESTIONS[1] in ordered


def test_only_own_configurations_keep_their_order() -> None:
    own = [SUGGESTIONS[0], SUGGESTIONS[4]]
    assert Clock(left=1.0).make_pace().order(own, LinePrior({0.0: 1.0}), most=0.05) == own
    assert Clock(left=1.0).make_pace().order([], LinePrior({0.0: 1.0}), most=0.05) == []


# The expensive end is a little better than the cheap one; between them nothing is.
TWO_OPTIMA = LinePrior({0.0: 0.4, 0.15: 0.5, 0.5: 1.0, 0.85: 0.45, 1.0: 0.35})
GRID = [at(x) for x in np.linspace(0.0, 1.0, 21).round(3).tolist()]


def choose_after_default(pace: Pace | None) -> float:
    search = Transfer(
        TWO_OPTIMA, [SPACE], table=GRID, warm=[Suggestion(MIDDLING, Origin.DEFAULT)], seed=0, device="cpu", pace=pace
    )
    search.tell(Observation(configuration=search.ask().configuration, loss=1.0, seconds=MIDDLE))
    return search.ask().configuration.values["x"]


def test_a_cheap_optimum_is_tried_before_a_slightly_better_expensive_one() -> None:
    assert choose_after_default(None) > 0.8
    assert choose_after_default(Clock(left=1000.0).make_pace()) < 0.2


def test_at_the_end_the_better_one_is_tried_if_it_ends_in_time() -> None:
    assert choose_after_default(Clock(left=100.0, limit=1e6).make_pace()) > 0.8
    assert choose_after_default(Clock(left=2.0, limit=1e6).make_pace()) < 0.5


def test_a_search_with_a_pace_learns_what_its_trials_take() -> None:
    pace = Clock(left=20.0, limit=1e9).make_pace()
    search = Transfer(TWO_OPTIMA, [SPACE], table=GRID, seed=0, device="cpu", pace=pace)
    for x, loss in ((0.5, 1.0), (0.3, 0.7), (0.7, 0.7)):
        search.tell(Observation(configuration=at(x), loss=loss, seconds=100 * find_seconds(x)))
    # By past tasks the expensive end would take seven seconds.
    assert search.ask().configuration.values["x"] < 0.5
