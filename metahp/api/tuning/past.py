"""What past tasks say about a table, and the strategy that makes use of it."""

from collections.abc import Callable, Collection, Sequence

from metahp.api.advisers import ask_about
from metahp.api.past_knowledge import PastKnowledge
from metahp.core.configuration import Configuration
from metahp.core.errors import UnknownNameError, did_you_mean
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.datasets.table import Table
from metahp.metafeatures.extract import MetaFeatures
from metahp.refinement.strategies import STRATEGIES, strategy_named
from metahp.refinement.strategy import Strategy, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.surrogate.prior import Prior

# The strategy that goes on learning from past tasks, and what takes its place where there are none.
TRANSFER, WITHOUT_PAST = "transfer", "gp"


def find_prior(
    knowledge: PastKnowledge,
    table: Table,
    metric: Metric,
    metafeatures: MetaFeatures,
    n_warm: int,
    seconds_left: float,
) -> tuple[Prior, list[Suggestion], tuple[str, ...]]:
    """What past tasks say of a table, the warm points, and what a user should know of it."""
    _, advice, notes = ask_about(knowledge, table, metric, metafeatures, max(1, n_warm), seconds_left=seconds_left)
    prior = advice.prior
    origin = Origin.PORTFOLIO if prior.abstained else Origin.SURROGATE
    points = [Suggestion(prior.candidates[item.column], origin) for item in advice.items[:n_warm]]
    notes = (*metafeatures.warnings, *notes)
    if prior.abstained:
        notes = (*notes, f"past tasks not trusted, so the warm start is the portfolio: {prior.abstained}")
    return prior, points, notes


def check_strategy(name: str) -> None:
    """Refuse a name that `strategy_of` does not know.

    Raises:
        UnknownNameError: no such strategy.
    """
    known = [TRANSFER, *STRATEGIES]
    if name not in known:
        raise UnknownNameError(f"'{name}' is not a search strategy. {did_you_mean(name, known)}")


def strategy_of(
    name: str,
    prior: Callable[[], Prior | None],
    spaces: Sequence[SearchSpace],
    suggestions: Sequence[Suggestion],
    *,
    seed: int,
    device: str,
    stopped_early: Collection[str] = (),
) -> tuple[Strategy, str]:
    """The strategy called `name`, or what takes its place where past tasks give no prior, and its name.

    `stopped_early` names the learners of which fewer iterations may be kept than are asked for.
    """
    if name == TRANSFER and (known := prior()) is not None:
        search = Transfer(known, spaces, warm=suggestions, stopped_early=stopped_early, seed=seed, device=device)
        return search, name
    used = WITHOUT_PAST if name == TRANSFER else name
    return strategy_named(used, spaces, seed=seed, warm=suggestions), used


def in_order(
    own: Sequence[Configuration], points: Sequence[Suggestion], defaults: Sequence[Configuration]
) -> list[Suggestion]:
    """What is tried before the strategy chooses: the user's own, the first warm point, the defaults, the others."""
    first = [Suggestion(configuration, Origin.USER) for configuration in own]
    known = [Suggestion(configuration, Origin.DEFAULT) for configuration in defaults]
    # A default that is recommended stays the default: the gain is told against it.
    advised = [point for point in points if point.configuration not in defaults]
    distinct: dict[str, Suggestion] = {}
    for suggestion in (*first, *advised[:1], *known, *advised[1:]):
        distinct.setdefault(suggestion.configuration.id, suggestion)
    return list(distinct.values())
