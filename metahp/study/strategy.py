"""The strategy of a study, and the configurations that it begins with."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.strategies import make_named_strategy
from metahp.refinement.strategy import Observation, Strategy, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.study.request import TRANSFER, Start
from metahp.surrogate.prior import Prior

# Takes the place of `transfer` where nothing is known of past tasks.
WITHOUT_PAST = "gp"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarmStart:
    """What past tasks say about a task before its first trial.

    Attributes:
        prior: For a strategy that goes on learning from past tasks; None where there are none to learn from.
        points: The recommended configurations.
        n_past_tasks: How many past tasks these rest on.
        notes: What a user should know.
    """

    prior: Prior | None = None
    points: tuple[Suggestion, ...] = ()
    n_past_tasks: int = 0
    notes: tuple[str, ...] = ()


COLD_START = WarmStart()


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
