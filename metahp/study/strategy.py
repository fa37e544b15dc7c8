"""The strategy of a study, and the configurations that it begins with."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.learners.fixed import NOTHING_FIXED, Fixed
from metahp.refinement.pace import Pace
from metahp.refinement.strategies import make_named_strategy
from metahp.refinement.strategy import Observation, Strategy, Suggestion, estimate_gains
from metahp.refinement.transfer import Transfer
from metahp.study.growth import Growing
from metahp.study.request import TRANSFER, Budget, Start
from metahp.study.search import SHARE_OF_DEFAULT, Search, WarmStart, order_suggestions
from metahp.surrogate.prior import Prior

# Takes the place of `transfer` where nothing is known of past tasks.
WITHOUT_PAST = "gp"


def make_search(
    start: Start,
    past: WarmStart,
    spaces: Sequence[SearchSpace],
    own: Sequence[Configuration],
    *,
    seed: int,
    stopped_early: Collection[str] = (),
    budget: Budget | None = None,
    growing: Growing | None = None,
    fixed: Fixed = NOTHING_FIXED,
) -> Search:
    """The search that was asked for.

    Args:
        start: What was asked for.
        past: What past tasks say.
        spaces: Search spaces, one per learner; where something is fixed, the narrow ones.
        own: The user's own configurations.
        seed: Seed of the strategy.
        stopped_early: Learners of which fewer iterations may be kept than are asked for.
        budget: The limits of the study; with a time limit and known costs, time counts in every choice.
        growing: Tells how many of the rows trials use now; None for all.
        fixed: What is fixed, which the strategy sees as narrow spaces (`Fixing`).
    """
    if fixed:
        points = {each: point.origin for point in past.points for each in fixed.restrict([point.configuration])}
        past = replace(past, points=tuple(Suggestion(each, origin) for each, origin in points.items()))
    outside = [Suggestion(each, Origin.USER) for each in dict.fromkeys(own) if each.is_outside]
    inside = [each for each in own if not each.is_outside]
    suggestions = order_suggestions(inside, past.points, [space.default for space in spaces])
    pace = None
    if past.costs is not None and past.prior is not None and budget is not None and budget.timeout is not None:
        limit, rows = budget.timeout, growing or Growing()
        pace = Pace(
            costs=past.costs,
            # Costs are those of trials on all rows.
            measure_left=lambda: budget.seconds_left / rows.share,
            measure_share=lambda: budget.seconds_left / limit,
        )
        suggestions = pace.order(suggestions, past.prior, most=SHARE_OF_DEFAULT)
    known = fixed.restrict(past.prior.candidates) if fixed and past.prior is not None else None
    strategy, name = make_strategy(
        start, past.prior, spaces, suggestions, seed=seed, stopped_early=stopped_early, pace=pace, known=known
    )
    device = strategy.device if isinstance(strategy, Transfer) else None
    return Search(
        strategy=OutsideFirst(strategy, outside), name=name, device=device, suggestions=tuple(suggestions), past=past
    )


def make_strategy(
    start: Start,
    prior: Prior | None,
    spaces: Sequence[SearchSpace],
    suggestions: Sequence[Suggestion],
    *,
    seed: int,
    stopped_early: Collection[str] = (),
    pace: Pace | None = None,
    known: Sequence[Configuration] | None = None,
) -> tuple[Strategy, str]:
    """The strategy that was asked for, or what takes its place without a prior, and its name.

    Args:
        start: What was asked for.
        prior: What past tasks say; None where there are none.
        spaces: Search spaces, one per learner.
        suggestions: What is tried first, in this order.
        seed: Seed of the strategy.
        stopped_early: Learners of which fewer iterations may be kept than are asked for.
        pace: Costs of trials and the time that is left; None where time does not count.
        known: Known configurations of the spaces; None for the prior's candidates.
    """
    if start.strategy == TRANSFER and prior is not None:
        transfer = Transfer(
            prior,
            spaces,
            known=known,
            warm=suggestions,
            stopped_early=stopped_early,
            seed=seed,
            device=start.device,
            pace=pace,
        )
        return transfer, TRANSFER
    name = WITHOUT_PAST if start.strategy == TRANSFER else start.strategy
    return make_named_strategy(name, spaces, seed=seed, warm=suggestions), name


class OutsideFirst:
    """A `Strategy` that gives configurations outside the search spaces first, which another strategy cannot learn from.

    Args:
        strategy: Chooses all others, and is told of them.
        outside: The configurations outside the search spaces, in their order.
    """

    def __init__(self, strategy: Strategy, outside: Sequence[Suggestion]) -> None:
        self._strategy = strategy
        self._outside = list(outside)

    def ask(self) -> Suggestion | None:
        """The next configuration, new to this search; None where none is left."""
        return self._outside.pop(0) if self._outside else self._strategy.ask()

    def tell(self, observation: Observation) -> None:
        """Pass on a trial within the search spaces; one outside of them is only not asked for again."""
        if not observation.configuration.is_outside:
            self._strategy.tell(observation)
        self._outside = [each for each in self._outside if each.configuration != observation.configuration]

    def estimate_gains(self) -> np.ndarray | None:
        """Expected decrease of the best loss with further trials; None where it is not known."""
        return estimate_gains(self._strategy)
