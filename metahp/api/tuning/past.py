"""What past tasks say about a table, and the strategy that makes use of it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from metahp.api.advice import Question, ask_adviser
from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError, UnknownNameError, did_you_mean
from metahp.core.metric import Metric
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.datasets.table import Table
from metahp.evaluation.losses import constant_losses
from metahp.knowledge.store import KnowledgeBase
from metahp.metafeatures.extract import MetaFeatures
from metahp.recommendation.adviser import Adviser
from metahp.refinement.strategies import STRATEGIES, strategy_named
from metahp.refinement.strategy import Strategy, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.surrogate.prior import TaskPrior

# The strategy that goes on learning from past tasks, and what takes its place where there are none.
TRANSFER, WITHOUT_PAST = "transfer", "gp"

# Another seed of a search is another start from the same past, and no reason to train anew.
ADVISER_SEED = 0

# A prior, the configurations that past tasks know, and the unit of the loss.
Known = tuple[TaskPrior, Sequence[Configuration], float]


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What past tasks say about a table: the adviser, and what it is asked with."""

    adviser: Adviser
    metafeatures: np.ndarray
    baseline: float
    points: tuple[Suggestion, ...]
    abstained: str

    def prior(self) -> Known:
        """The prior of the table, the configurations that past tasks know, and the unit of the loss."""
        knowledge = self.adviser.knowledge
        prior = knowledge.task_prior(self.metafeatures, abstained=self.abstained)
        return prior, knowledge.candidates, self.baseline


def past_of(
    base: KnowledgeBase,
    table: Table,
    metric: Metric,
    metafeatures: MetaFeatures,
    learners: Sequence[str],
    n_warm: int,
) -> tuple[Past | None, tuple[str, ...]]:
    """What past tasks say, and what a user should know of it; None where there are none to learn from."""
    baseline = constant_losses(table.y, table.task.type, table.task.n_classes)[metric.name]
    question = Question(table.task, metafeatures.vector(), baseline, max(1, n_warm), is_searched=True)
    try:
        adviser, advice, notes = ask_adviser(base, metric, learners, question, seed=ADVISER_SEED)
    except KnowledgeBaseError as error:
        return None, (f"a cold start: {error}",)
    origin = Origin.PORTFOLIO if advice.abstained else Origin.SURROGATE
    points = tuple(Suggestion(adviser.knowledge.candidates[item.column], origin) for item in advice.items[:n_warm])
    notes = (*metafeatures.warnings, *notes)
    if advice.abstained:
        notes = (*notes, f"past tasks not trusted, so the warm start is the portfolio: {advice.abstained}")
    return Past(adviser, metafeatures.vector(), baseline, points, advice.abstained), notes


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
    prior: Callable[[], Known | None],
    spaces: Sequence[SearchSpace],
    suggestions: Sequence[Suggestion],
    *,
    seed: int,
    device: str,
    stopped_early: Collection[str] = (),
) -> tuple[Strategy, str]:
    """The strategy called `name`, or what takes its place where past tasks give no prior, and its name.

    `prior` gives the prior, the configurations that past tasks know, and the unit of the loss; `stopped_early` names
    the learners of which fewer iterations may be kept than are asked for.
    """
    if name == TRANSFER and (known := prior()) is not None:
        on_task, candidates, unit = known
        search = Transfer(
            on_task,
            spaces,
            candidates=candidates,
            warm=suggestions,
            stopped_early=stopped_early,
            unit=unit,
            seed=seed,
            device=device,
        )
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
