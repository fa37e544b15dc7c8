"""The search of a limited time: what is tried before past tasks are known, and what follows."""

from collections.abc import Sequence

from builders import BOWL_SPACE
from metahp.core.configuration import Configuration
from metahp.core.space import Categorical, SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.strategy import Observation, Suggestion
from metahp.study.search import (
    COLD_START,
    LateSearch,
    Search,
    WarmStart,
    find_affordable,
    order_quick_suggestions,
)

OTHER = SearchSpace("other", 1, (Categorical("kind", ("a", "b"), "a"),))
OWN = BOWL_SPACE.configuration({"rate": 0.3})
FIRST = order_quick_suggestions([OWN], [BOWL_SPACE, OTHER], [2.0, 1.0])


class Told:
    """A strategy that remembers what it is told."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []

    def ask(self) -> Suggestion | None:
        return Suggestion(BOWL_SPACE.configuration({"depth": 7}), Origin.SURROGATE)

    def tell(self, observation: Observation) -> None:
        self.observations.append(observation)


def make_search(strategy: Told) -> Search:
    past = WarmStart(n_past_tasks=7, notes=("a note",))
    return Search(strategy=strategy, name="told", device=None, suggestions=(), past=past)


def ask_and_tell(search: LateSearch) -> Suggestion | None:
    suggestion = search.ask()
    if suggestion is not None:
        search.tell(Observation(configuration=suggestion.configuration, loss=1.0))
    return suggestion


def test_the_cheapest_default_comes_first_then_own_configurations_then_other_defaults() -> None:
    expected: list[tuple[Configuration, Origin]] = [
        (OTHER.default, Origin.DEFAULT),
        (OWN, Origin.USER),
        (BOWL_SPACE.default, Origin.DEFAULT),
    ]
    assert [(each.configuration, each.origin) for each in FIRST] == expected


def test_defaults_are_tried_without_waiting_and_the_search_is_told_of_them() -> None:
    told, waits = Told(), []

    def await_search(is_urgent: bool) -> Search | None:
        waits.append(is_urgent)
        return make_search(told) if is_urgent else None

    search = LateSearch(FIRST, await_search)
    assert [ask_and_tell(search) for _ in range(3)] == FIRST
    assert waits == [False] * 3
    assert search.past is COLD_START
    assert ask_and_tell(search) == told.ask()
    assert [each.configuration for each in told.observations[:3]] == [each.configuration for each in FIRST]
    assert len(told.observations) == 4
    assert search.past.n_past_tasks == 7


def test_a_search_that_is_ready_takes_over_before_all_defaults_are_tried() -> None:
    told, is_ready = Told(), []
    search = LateSearch(FIRST, lambda is_urgent: make_search(told) if is_ready else None)
    assert ask_and_tell(search) == FIRST[0]
    is_ready.append(True)
    assert search.ask() == told.ask()


def test_without_a_search_in_time_nothing_is_left_and_the_reason_is_given() -> None:
    search = LateSearch(FIRST, lambda is_urgent: None, lambda: "too short")
    assert [ask_and_tell(search) for _ in range(4)] == [*FIRST, None]
    assert search.is_out_of_time
    assert search.past.notes == ("too short",)


def test_configurations_of_earlier_trials_are_not_tried_again() -> None:
    search = LateSearch(FIRST, lambda is_urgent: None)
    search.tell(Observation(configuration=FIRST[0].configuration, loss=1.0))
    assert search.ask() == FIRST[1]


def test_what_is_good_in_general_comes_last_and_once() -> None:
    points = [BOWL_SPACE.configuration({"depth": 9}), OWN, OTHER.default, OTHER.configuration({"kind": "b"})]
    ordered = order_quick_suggestions([OWN], [BOWL_SPACE, OTHER], [2.0, 1.0], points)
    assert ordered[:3] == FIRST
    assert ordered[3:] == [Suggestion(points[0], Origin.PORTFOLIO), Suggestion(points[3], Origin.PORTFOLIO)]


COSTS = {"other": 1.0, "toy_service": 10.0}
DEAR, CHEAP = Suggestion(BOWL_SPACE.default, Origin.DEFAULT), Suggestion(OTHER.default, Origin.DEFAULT)


def see(suggestion: Suggestion, seconds: float) -> Observation:
    return Observation(configuration=suggestion.configuration, loss=1.0, seconds=seconds)


def test_a_learner_that_takes_too_much_of_the_time_is_passed_over() -> None:
    # The dear learner takes about ten times two seconds.
    seen = [see(CHEAP, 2.0)]
    assert find_affordable([DEAR, CHEAP], seen, COSTS, most=30.0) == DEAR
    assert find_affordable([DEAR, CHEAP], seen, COSTS, most=10.0) == CHEAP
    assert find_affordable([DEAR], seen, COSTS, most=10.0) is None
    assert find_affordable([], seen, COSTS, most=10.0) is None


def test_what_takes_no_longer_than_a_trial_that_was_done_is_tried_however_short_the_time_is() -> None:
    assert find_affordable([DEAR], [see(DEAR, 20.0)], COSTS, most=0.0) == DEAR
    assert find_affordable([DEAR], [see(CHEAP, 2.0)], COSTS, most=0.0) is None


def test_the_pace_of_most_trials_counts_and_not_that_of_the_first_one() -> None:
    # The first one took longer, as a worker had to start.
    seen = [see(CHEAP, 30.0), see(CHEAP, 1.0), see(CHEAP, 1.0)]
    assert find_affordable([DEAR], seen, COSTS, most=11.0) == DEAR


def test_while_no_time_is_known_or_a_learner_has_no_cost_anything_may_be_tried() -> None:
    assert find_affordable([DEAR], [], COSTS, most=0.0) == DEAR
    assert find_affordable([DEAR], [Observation(configuration=OTHER.default, loss=1.0)], COSTS, most=0.0) == DEAR
    assert find_affordable([DEAR], [see(CHEAP, 5.0)], {"other": 1.0}, most=0.0) == DEAR
    assert find_affordable([DEAR], [see(CHEAP, 5.0)], {}, most=0.0) == DEAR


def test_where_nothing_is_worth_its_time_the_search_is_waited_for() -> None:
    told, waits, asked = Told(), [], []

    def await_search(is_urgent: bool) -> Search | None:
        waits.append(is_urgent)
        return make_search(told) if is_urgent else None

    def choose(left: Sequence[Suggestion], observations: Sequence[Observation]) -> Suggestion | None:
        asked.append([each.configuration for each in left])
        return left[-1] if len(observations) < 2 else None

    search = LateSearch(FIRST, await_search, choose=choose)
    assert [ask_and_tell(search) for _ in range(3)] == [FIRST[2], FIRST[1], told.ask()]
    assert waits == [False, False, True]
    # What was tried is not offered again.
    assert asked == [[each.configuration for each in FIRST[:n]] for n in (3, 2, 1)]
    assert len(told.observations) == 3
