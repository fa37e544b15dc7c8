"""The strategy of a study, and the configurations that it begins with."""

from collections.abc import Collection, Sequence

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.refinement.strategies import make_named_strategy
from metahp.refinement.strategy import Strategy, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.study.request import TRANSFER, Start
from metahp.study.search import Search, WarmStart, order_suggestions
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
) -> Search:
    """The search that was asked for.

    Args:
        start: What was asked for.
        past: What past tasks say.
        spaces: Search spaces, one per learner.
        own: The user's own configurations.
        seed: Seed of the strategy.
        stopped_early: Learners of which fewer iterations may be kept than are asked for.
    """
    suggestions = order_suggestions(own, past.points, [space.default for space in spaces])
    strategy, name = make_strategy(start, past.prior, spaces, suggestions, seed=seed, stopped_early=stopped_early)
    device = strategy.device if isinstance(strategy, Transfer) else None
    return Search(strategy=strategy, name=name, device=device, suggestions=tuple(suggestions), past=past)


def make_strategy(
    start: Start,
    prior: Prior | None,
    spaces: Sequence[SearchSpace],
    suggestions: Sequence[Suggestion],
    *,
    seed: int,
    stopped_early: Collection[str] = (),
) -> tuple[Strategy, str]:
    """The strategy that was asked for, or what takes its place without a prior, and its name.

    Args:
        start: What was asked for.
        prior: What past tasks say; None where there are none.
        spaces: Search spaces, one per learner.
        suggestions: What is tried first, in this order.
        seed: Seed of the strategy.
        stopped_early: Learners of which fewer iterations may be kept than are asked for.
    """
    if start.strategy == TRANSFER and prior is not None:
        transfer = Transfer(
            prior, spaces, warm=suggestions, stopped_early=stopped_early, seed=seed, device=start.device
        )
        return transfer, TRANSFER
    name = WITHOUT_PAST if start.strategy == TRANSFER else start.strategy
    return make_named_strategy(name, spaces, seed=seed, warm=suggestions), name
