"""Recommend configurations for a table, from past tasks."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from metahp.api.advisers import NamedAdviser, ask_about, find_kept_adviser
from metahp.api.known_learners import choose_learners
from metahp.api.past_knowledge import PastKnowledge, find_spaces, read_kept_knowledge, read_knowledge
from metahp.api.tables import describe_table
from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError
from metahp.core.metric import Metric
from metahp.core.statistics import compute_standard_error
from metahp.core.task import Task, TaskType
from metahp.core.text import format_count
from metahp.core.trial import Origin, Trial, TrialState
from metahp.core.upgrade import upgrade_trials
from metahp.datasets.table import Table
from metahp.evaluation.imbalance import describe_imbalance
from metahp.evaluation.scoring import Scorer, compute_reference_loss, find_scorer
from metahp.knowledge.locate import open_snapshot
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.arguments import check_outside
from metahp.learners.fixed import Fixed
from metahp.learners.read_fixed import GivenFixed, leave_out, read_fixed
from metahp.learners.registry import find_learner
from metahp.recommendation.result import Recommendation, Recommended, set_reference
from metahp.surrogate.collecting import find_main_protocols

# 80 % of a normal distribution lie within this many standard deviations of the mean.
Z_80 = 1.2816
_log = logging.getLogger(__name__)


def advise_on(
    table: Table,
    *,
    metric: Any,
    k: int,
    learners: str | Sequence[str] | None,
    knowledge_base: str | Path | KnowledgeBase | None,
    seed: int,
    budget_seconds: float,
    fixed: GivenFixed | None = None,
) -> Recommendation:
    """The `k` configurations to try first on a table; arguments and errors as of `metahp.recommend`."""
    chosen, scorer = find_scorer(metric, table)
    _, snapshot = open_snapshot(knowledge_base)
    with snapshot:
        totals = snapshot.totals
        names = choose_learners(learners, totals)
        if not learners:
            names, note = leave_out(fixed, names, table.task.type)
            if note:
                _log.warning(note)
        wanted = read_fixed(fixed, names, table)
        shared = {
            "task": table.task,
            "target": table.target,
            "metric": chosen,
            "seed": seed,
            "n_past_tasks": totals["n_tasks"],
            "n_past_trials": totals["n_trials"],
            "preparation": table.preparation,
            "n_jobs": wanted.n_jobs,
        }
        known_trials = _find_known_trials(snapshot, table.task, chosen, scorer, names, wanted)
        measured = None
        if known_trials:
            measured = Recommendation(
                items=_rank_known_trials(known_trials, table.task, chosen, k, wanted),
                neighbours=(),
                track_record=None,
                abstained=False,
                reasons=(f"the knowledge base has {format_count(len(known_trials), 'trial')} of this very table",),
                is_known_task=True,
                protocol=known_trials[0].protocol,
                warnings=table.warnings,
                **shared,
            )
            # An interrupted search may leave fewer; then the adviser, who knows them too, completes the list.
            if len(known_trials) >= k and {trial.configuration.learner for trial in known_trials} >= set(names):
                return measured
        # One thread of linear algebra for both: sums are then the same on any number of cores.
        with threadpool_limits(1), ThreadPoolExecutor(1) as background:
            # Reading past measurements does not need the description, and takes about as long.
            reading = background.submit(_read_kept, snapshot, table.task.type, chosen, names)
            metafeatures = describe_table(table, budget_seconds=budget_seconds, seed=seed)
        try:
            knowledge, kept = reading.result()
            # Not during the description: its clock measures process time and would count reading all trials.
            knowledge = knowledge or read_knowledge(snapshot, table.task.type, chosen, names)
            snapshot.close()
            reference_loss = compute_reference_loss(table, chosen, scorer)
            adviser, advice, notes = ask_about(
                knowledge, table, chosen, metafeatures, k, reference_loss=reference_loss, kept=kept
            )
        except KnowledgeBaseError:
            if measured is None:
                raise
            return measured
    prior, defaults = advice.prior, set(adviser.past.evidence.defaults.values())
    advised = Origin.PORTFOLIO if prior.abstained else Origin.SURROGATE
    # Losses of another metric order the candidates, but say nothing about scores by this one.
    is_measured = not chosen.stand_in
    reference_score = chosen.score(advice.reference_loss) if is_measured else math.nan
    advised_items = (
        Recommended(
            rank=rank,
            configuration=prior.candidates[item.column],
            score=chosen.score(item.loss) if is_measured else math.nan,
            low=chosen.score(item.high) if is_measured else math.nan,
            high=chosen.score(item.low) if is_measured else math.nan,
            default_score=chosen.score(item.default_loss) if is_measured else math.nan,
            fit_seconds=item.fit_seconds,
            origin=Origin.DEFAULT if item.column in defaults else advised,
        )
        for rank, item in enumerate(advice.items, start=1)
    )
    abstained = (
        (
            f"past tasks are no guide for this table ({prior.abstained}): the list is what is good in general; tune to "
            "see what is good here",
        )
        if prior.abstained
        else ()
    )
    items = set_reference(_apply_fixed(advised_items, wanted), reference_score)
    return Recommendation(
        items=items,
        neighbours=advice.neighbours,
        reasons=advice.reasons,
        track_record=adviser.validation.track_record,
        abstained=bool(prior.abstained),
        is_known_task=False,
        reference_learner="" if math.isnan(reference_score) else advice.reference,
        warnings=(
            *table.warnings,
            *metafeatures.warnings,
            *notes,
            *describe_imbalance(table, chosen),
            *([] if is_measured else [f"no {chosen.label} is expected before it is measured: tune to measure it"]),
            *abstained,
            *filter(None, [wanted.find_note()]),
        ),
        **shared,
    )


def _apply_fixed(items: Iterable[Recommended], fixed: Fixed) -> Iterator[Recommended]:
    """The items with what is fixed; those that become the same as one before are left out."""
    seen: set[Configuration] = set()
    for item in items:
        configuration = fixed.apply(item.configuration.with_arguments(None))
        if configuration not in seen:
            seen.add(configuration)
            yield replace(item, rank=len(seen), configuration=configuration)


def _read_kept(
    snapshot: Snapshot, task_type: TaskType, metric: Metric, learners: Sequence[str]
) -> tuple[PastKnowledge | None, NamedAdviser | None]:
    """Kept past knowledge and the kept adviser, None where not kept; closes the snapshot before it reads a model."""
    knowledge = read_kept_knowledge(snapshot, task_type, metric, learners)
    if knowledge is None:
        return None, None
    snapshot.close()
    return knowledge, find_kept_adviser(knowledge)


def _find_known_trials(
    snapshot: Snapshot, task: Task, metric: Metric, scorer: Scorer | None, learners: Sequence[str], fixed: Fixed
) -> list[Trial]:
    """Comparable trials of a known table with what is fixed, a finite loss and a still valid configuration.

    By a scorer that trials do not store by themselves, those that have its scores. Trials with weights of rows are left
    out: the weights are not known here.
    """
    spaces = find_spaces(task.type, learners)
    trials = [
        trial
        for trial in snapshot.read_trials(task=task.id)
        if trial.configuration.learner in spaces
        and fixed.is_in(trial.configuration)
        and not trial.protocol.is_weighted
        and (scorer is None or trial.protocol.scorer == scorer.identity)
    ]
    outside = [trial for trial in trials if trial.configuration.is_outside]
    kept = [
        *(trial for _, trial in upgrade_trials(trials, spaces)),
        *(trial for trial in outside if check_outside(trial.configuration, task.type)),
    ]
    if len(kept) < len(trials):
        _log.warning(
            "%d trial(s) of this table are left out of the list, because their configurations no longer fit the search "
            "space; those of the list were measured all the same.",
            len(trials) - len(kept),
        )
    main = find_main_protocols([trial.task for trial in kept], [trial.protocol for trial in kept])
    return [
        trial
        for trial in kept
        if trial.protocol == main[task.id]
        and trial.state is not TrialState.PRUNED
        and np.isfinite(trial.loss(metric.name))
    ]


def _rank_known_trials(
    known_trials: Sequence[Trial], task: Task, metric: Metric, k: int, fixed: Fixed
) -> tuple[Recommended, ...]:
    """The best measured configurations of a known table, with their measurements."""
    ranked = sorted(known_trials, key=lambda trial: trial.loss(metric.name))
    learners = {trial.configuration.learner for trial in known_trials}
    default = {name: fixed.apply(find_learner(name).space(task.type).default).id for name in learners}
    default_loss = {
        trial.configuration.learner: trial.loss(metric.name)
        for trial in known_trials
        if trial.configuration.id == default.get(trial.configuration.learner)
    }
    items = []
    for rank, trial in enumerate(ranked[:k], start=1):
        half = Z_80 * compute_standard_error(trial.fold_losses[metric.name])
        loss = trial.loss(metric.name)
        seconds = trial.fit_seconds / (trial.protocol.folds - 1) / trial.protocol.repeats
        # Without the number of rows of a trial, the time for all rows is unknown.
        all_rows = task.n_rows / trial.n_rows if trial.n_rows else math.nan
        items.append(
            Recommended(
                rank=rank,
                configuration=trial.configuration,
                score=metric.score(loss),
                low=metric.score(loss + half),
                high=metric.score(loss - half),
                default_score=metric.score(default_loss.get(trial.configuration.learner, float("nan"))),
                fit_seconds=seconds * all_rows,
                origin=trial.origin,
            )
        )
    return set_reference(items)
