"""What a study begins with: past tasks' points and a strategy, at once or after the first trials of a limited time."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.learners.fixed import Fixed
from metahp.refinement.strategy import Observation, Strategy, Suggestion, estimate_gains

# Before the search chooses, a trial of another learner's default may take this share of the time that is left.
SHARE_OF_DEFAULT = 0.05

if TYPE_CHECKING:
    from metahp.surrogate.cost import TaskCost
    from metahp.surrogate.prior import Prior


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarmStart:
    """What past tasks say about a task before its first trial.

    Attributes:
        prior: For a strategy that goes on learning from past tasks; None where there are none to learn from.
        points: The recommended configurations.
        n_past_tasks: How many past tasks these rest on.
        notes: What a user should know.
        costs: What trials cost, for a study with a time limit; None where that does not count or is unknown.
    """

    prior: "Prior | None" = None
    points: tuple[Suggestion, ...] = ()
    costs: "TaskCost | None" = None
    n_past_tasks: int = 0
    notes: tuple[str, ...] = ()


COLD_START = WarmStart()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """A strategy, and what it rests on.

    Attributes:
        strategy: Chooses the trials.
        name: Name of the strategy.
        device: Where it computes, `cpu` or `cuda`; None for a strategy that has no use for one.
        suggestions: What it tries first.
        past: What past tasks say.
    """

    strategy: Strategy
    name: str
    device: str | None
    suggestions: tuple[Suggestion, ...]
    past: WarmStart


def choose_next(left: Sequence[Suggestion], observations: Sequence[Observation]) -> Suggestion | None:
    """The first of what is left; None where nothing is."""
    return left[0] if left else None


class LateSearch:
    """A `Strategy` for a limited time: it suggests configurations that need no past tasks until its search is ready.

    Args:
        first: What is tried while the search is made ready, in this order.
        await_search: The search, None where it is not ready; waits for it as long as there is time where called with
            True.
        explain: Why past tasks have no part where the search was never ready; empty for no reason.
        choose: Chooses the next one of those that are left and were not tried, told of all trials so far; None where
            none is worth its time. By default the next one in the order.
    """

    def __init__(
        self,
        first: Sequence[Suggestion],
        await_search: Callable[[bool], Search | None],
        explain: Callable[[], str] = lambda: "",
        choose: Callable[[Sequence[Suggestion], Sequence[Observation]], Suggestion | None] = choose_next,
    ) -> None:
        self.suggestions = tuple(first)
        self._first = list(first)
        self._choose = choose
        self._explain = explain
        self._await_search = await_search
        self._observations: list[Observation] = []
        self._seen: set[str] = set()
        self.search: Search | None = None
        self.is_out_of_time = False

    @property
    def past(self) -> WarmStart:
        """What past tasks say, as far as that is known."""
        if self.search is not None:
            return self.search.past
        note = self._explain()
        return WarmStart(notes=(note,)) if note else COLD_START

    def ask(self) -> Suggestion | None:
        """The next configuration; None where the search is not ready in time, or nothing is left."""
        self._first = [each for each in self._first if each.configuration.id not in self._seen]
        chosen = self._choose(self._first, self._observations) if self._first else None
        if self._adopt_search(is_urgent=chosen is None) is None and chosen is not None:
            self._seen.add(chosen.configuration.id)
            return chosen
        search = self._adopt_search(is_urgent=True)
        self.is_out_of_time = search is None
        return None if search is None else search.strategy.ask()

    def tell(self, observation: Observation) -> None:
        """Learn from a trial."""
        self._seen.add(observation.asked.id)
        self._observations.append(observation)
        if self.search is not None:
            self.search.strategy.tell(observation)

    def estimate_gains(self) -> np.ndarray | None:
        """Expected decrease of the best loss with further trials; None before the search is ready."""
        return None if self.search is None else estimate_gains(self.search.strategy)

    def _adopt_search(self, *, is_urgent: bool) -> Search | None:
        """The search where it is ready, told of all trials so far; waits for it where it is urgent."""
        if self.search is None and (search := self._await_search(is_urgent)) is not None:
            for observation in self._observations:
                search.strategy.tell(observation)
            self.search = search
        return self.search


class Fixing:
    """A `Strategy` whose configurations have fixed arguments, which the strategy behind it does not see.

    Args:
        strategy: Searches the narrow spaces.
        fixed: What is fixed.
    """

    def __init__(self, strategy: Strategy, fixed: Fixed) -> None:
        self._strategy, self._fixed = strategy, fixed

    @property
    def is_out_of_time(self) -> bool:
        """Whether the strategy could not be made ready in time."""
        return bool(getattr(self._strategy, "is_out_of_time", False))

    def ask(self) -> Suggestion | None:
        """The next configuration, with what is fixed; None where none is left."""
        suggestion = self._strategy.ask()
        return (
            None
            if suggestion is None
            else replace(suggestion, configuration=self._fixed.apply(suggestion.configuration))
        )

    def tell(self, observation: Observation) -> None:
        """Pass on a trial without what is fixed."""
        run = None if observation.run is None else self._fixed.strip(observation.run)
        self._strategy.tell(replace(observation, configuration=self._fixed.strip(observation.configuration), run=run))

    def estimate_gains(self) -> np.ndarray | None:
        """Expected decrease of the best loss with further trials; None where it is not known."""
        return estimate_gains(self._strategy)


def order_suggestions(
    own: Sequence[Configuration], points: Sequence[Suggestion], defaults: Sequence[Configuration]
) -> list[Suggestion]:
    """What is tried before the strategy chooses: the user's own, the first warm point, the defaults, the others."""
    from_user = [Suggestion(configuration, Origin.USER) for configuration in own]
    from_library = [Suggestion(configuration, Origin.DEFAULT) for configuration in defaults]
    # A default that is recommended stays the default: the gain is measured against it.
    advised = [point for point in points if point.configuration not in defaults]
    distinct: dict[str, Suggestion] = {}
    for suggestion in (*from_user, *advised[:1], *from_library, *advised[1:]):
        distinct.setdefault(suggestion.configuration.id, suggestion)
    return list(distinct.values())


def order_quick_suggestions(
    own: Sequence[Configuration],
    spaces: Sequence[SearchSpace],
    costs: Sequence[float],
    points: Sequence[Configuration] = (),
) -> list[Suggestion]:
    """What is tried while past tasks are read: the cheapest default, the user's own, then the other defaults by cost.

    Last come the `points`, which are good on past tasks in general. `costs` has a number for each space: how long its
    default takes, in any unit.
    """
    order = sorted(range(len(spaces)), key=lambda index: costs[index])
    defaults = [Suggestion(spaces[index].default, Origin.DEFAULT) for index in order]
    from_user = [Suggestion(configuration, Origin.USER) for configuration in own]
    distinct: dict[str, Suggestion] = {}
    from_past = [Suggestion(configuration, Origin.PORTFOLIO) for configuration in points]
    for suggestion in (*defaults[:1], *from_user, *defaults[1:], *from_past):
        distinct.setdefault(suggestion.configuration.id, suggestion)
    return list(distinct.values())


def find_affordable(
    left: Sequence[Suggestion], observations: Sequence[Observation], costs: Mapping[str, float], most: float
) -> Suggestion | None:
    """The first of what is left that takes at most `most` seconds, as far as the trials so far tell; None without one.

    Args:
        left: In the order in which they are tried.
        observations: The trials so far; while the time of none is known, anything may be tried.
        costs: How long the default of each learner takes, in any unit; a learner without a number takes no time.
        most: Seconds that one trial may take; it may always take as long as one that was done.
    """
    paces = [
        each.seconds / costs[each.configuration.learner]
        for each in observations
        if math.isfinite(each.seconds) and costs.get(each.configuration.learner)
    ]
    if not paces:
        return left[0] if left else None
    # Waiting is no better than a trial that takes no longer than one that was done.
    most = max(most, max(each.seconds for each in observations if math.isfinite(each.seconds)))
    affordable = (each for each in left if median(paces) * costs.get(each.configuration.learner, 0.0) <= most)
    return next(affordable, None)
