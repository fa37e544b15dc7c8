import pytest

from builders import BOWL_SPACE
from metahp.core.configuration import Configuration
from metahp.core.trial import Origin
from metahp.refinement.strategy import Suggestion
from metahp.study.request import Start
from metahp.study.strategy import make_strategy, order_suggestions


@pytest.mark.parametrize("own", [BOWL_SPACE.default, BOWL_SPACE.configuration({"rate": 0.3})])
def test_own_configurations_come_first_wherever_else_they_are_recommended(own: Configuration) -> None:
    points = [Suggestion(BOWL_SPACE.configuration({"rate": rate}), Origin.SURROGATE) for rate in (0.2, 0.3)]
    ordered = order_suggestions([own], points, [BOWL_SPACE.default])
    assert ordered[0] == Suggestion(own, Origin.USER)
    assert len({each.configuration for each in ordered}) == len(ordered) == 3


def test_the_first_recommended_point_comes_before_the_default_and_the_others_after() -> None:
    points = [Suggestion(BOWL_SPACE.configuration({"rate": rate}), Origin.SURROGATE) for rate in (0.2, 0.3)]
    default = Suggestion(BOWL_SPACE.default, Origin.DEFAULT)
    assert order_suggestions([], points, [BOWL_SPACE.default]) == [points[0], default, points[1]]


def test_without_past_tasks_another_strategy_takes_the_place_of_transfer() -> None:
    warm = [Suggestion(BOWL_SPACE.default, Origin.DEFAULT)]
    strategy, name = make_strategy(Start(), None, [BOWL_SPACE], warm, seed=0)
    assert name == "gp"
    assert strategy.ask() == warm[0]
    assert make_strategy(Start(strategy="random"), None, [BOWL_SPACE], warm, seed=0)[1] == "random"
