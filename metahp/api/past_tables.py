"""What past tasks say about a new table: its warm start."""

from collections.abc import Sequence
from dataclasses import dataclass

from metahp.api.advisers import ask_about
from metahp.api.past_knowledge import PastKnowledge, read_knowledge
from metahp.core.metric import Metric
from metahp.core.trial import Origin, Protocol
from metahp.datasets.table import Table
from metahp.knowledge.snapshot import Snapshot
from metahp.metafeatures.extract import MetaFeatures
from metahp.refinement.strategy import Suggestion
from metahp.study.search import WarmStart
from metahp.surrogate.cost import CostModel, TaskCost
from metahp.surrogate.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableQuestion:
    """A table about which past tasks are asked.

    Attributes:
        table: The rows that are tuned on.
        whole: Id of the table of these and the outer rows; empty without outer rows.
        metric: What is tuned for.
        reference_loss: Its loss of a constant prediction, the unit of losses.
        learners: Names of the learners to choose from.
        n_warm: Number of warm points.
        protocol: How trials are measured, where it counts what they cost; None where it does not.
    """

    table: Table
    whole: str
    metric: Metric
    reference_loss: float
    learners: Sequence[str]
    n_warm: int
    protocol: Protocol | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PastOfTable:
    """What past tasks know, and whether the table with its outer rows is one of them."""

    knowledge: PastKnowledge
    is_whole_known: bool


def read_past_of_table(snapshot: Snapshot, question: TableQuestion) -> PastOfTable:
    """What an open knowledge base says to a question.

    Raises:
        KnowledgeBaseError: there is no past task to learn from.
    """
    knowledge = read_knowledge(snapshot, question.table.task.type, question.metric, question.learners)
    is_whole_known = bool(question.whole and snapshot.read_trials(task=question.whole))
    return PastOfTable(knowledge=knowledge, is_whole_known=is_whole_known)


def find_warm_start(
    past: PastOfTable, question: TableQuestion, described: MetaFeatures, *, seconds_left: float
) -> WarmStart:
    """The warm start of a table; training may take a share of the `seconds_left`."""
    adviser, advice, notes = ask_about(
        past.knowledge,
        question.table,
        question.metric,
        described,
        max(1, question.n_warm),
        reference_loss=question.reference_loss,
        seconds_left=seconds_left,
    )
    prior = advice.prior
    origin = Origin.PORTFOLIO if prior.abstained else Origin.SURROGATE
    notes = (*described.warnings, *notes)
    if prior.abstained:
        notes = (
            *notes,
            f"past tasks are no guide for this table ({prior.abstained}): the first trials are what is good in general",
        )
    if past.is_whole_known:
        why = "trials on the whole table, test rows included, chose the first configurations"
        notes = (*notes, f"the test score may be too good: {why}; `cold` leaves them out")
    return WarmStart(
        prior=prior,
        points=tuple(Suggestion(prior.candidates[item.column], origin) for item in advice.items[: question.n_warm]),
        n_past_tasks=prior.n_tasks,
        notes=notes,
        costs=None if question.protocol is None else _find_costs(adviser.past.evidence, question),
    )


def _find_costs(evidence: Evidence, question: TableQuestion) -> TaskCost:
    """What trials of a question's protocol cost."""
    assert question.protocol is not None
    n_folds = question.protocol.folds * question.protocol.repeats
    return CostModel.fit(evidence).on(question.table.task, folds=n_folds, most_rows=question.protocol.max_rows)
