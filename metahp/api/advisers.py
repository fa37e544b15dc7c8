"""Advisers that answer a question from its evidence, with a kept model or a newly trained one."""

import logging
import math
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from metahp.api.models import (
    Model,
    count_cells,
    estimate_training_seconds,
    list_kept_models,
    make_model_key,
    train_model,
)
from metahp.api.past_knowledge import MIN_PAST_TASKS, PastKnowledge, describe_error
from metahp.core.errors import KnowledgeBaseError
from metahp.core.metric import METRICS, Metric, find_guiding_metric
from metahp.core.space import SearchSpace
from metahp.core.text import format_count, make_encodable
from metahp.core.warn import PROGRESS
from metahp.datasets.table import Table
from metahp.evaluation.countdown import Countdown
from metahp.knowledge import cache
from metahp.metafeatures.extract import NAMES, MetaFeatures
from metahp.recommendation.adviser import Advice, Adviser
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Levels
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks

# Train again above this number of new tasks, as a share of the tasks that a model was trained on.
RETRAIN_SHARE = 0.1
# A question trains a model on at most this many measured cells, and validates it on at most the second number: about
# eight and two seconds of one core. With more cells the user calls `train`.
MAX_CELLS_TRAINED, MAX_CELLS_VALIDATED = 60_000, 6_000
# Training may take at most this share of a study's remaining time.
MAX_SHARE_OF_TIME = 0.1
_log = logging.getLogger(__name__)
_GENERAL = "so the list is what is good in general"
_UNUSABLE = (
    "The model %s cannot be used (%s), so another one answers and the advice may be less good; `metahp kb train` "
    "makes it anew."
)


# Name of a model, the adviser made of it, and notes for the user.
NamedAdviser = tuple[str, Adviser, tuple[str, ...]]


def ask_about(
    knowledge: PastKnowledge,
    table: Table,
    metric: Metric,
    metafeatures: MetaFeatures,
    k: int,
    *,
    reference_loss: float,
    kept: NamedAdviser | None = None,
    seconds_left: float = math.inf,
) -> tuple[Adviser, Advice, tuple[str, ...]]:
    """The adviser for a table, its advice, and notes for the user.

    A kept model is used if it knows the learners. Otherwise a small model is trained and kept, with a logged line
    before, unless training would take more than a share of `seconds_left`. `kept` is the result of
    `find_kept_adviser`, if known, and `reference_loss` the loss of a constant prediction.
    """
    others = _find_advisers(knowledge, seconds_left)
    failed: set[str] = set()
    for name, adviser, notes in chain([kept] if kept else [], others):
        if name in failed:
            continue
        try:
            with threadpool_limits(1):
                advice = adviser.advise(table.task, metafeatures.vector(), NAMES, reference_loss, k)
        except (MemoryError, KnowledgeBaseError):
            raise
        except Exception as error:
            if adviser.past.model.surrogate is None:
                raise
            _log.warning(_UNUSABLE, name, describe_error(error))
            failed.add(name)
            continue
        return adviser, advice, (*notes, *_explain_stand_in(metric))
    raise AssertionError("the last adviser has no model, so it always answers")


def _explain_stand_in(metric: Metric) -> Iterator[str]:
    if metric.stand_in:
        yield f"past tasks are asked by {METRICS[metric.stand_in].label}, the nearest metric that they store"


def find_kept_adviser(knowledge: PastKnowledge) -> NamedAdviser | None:
    """The adviser of a kept model, None without one; trains and logs nothing."""
    try:
        for name, model, notes in _find_kept_models(knowledge):
            return name, make_adviser(knowledge.evidence, model), notes
    except Exception as error:
        _log.debug("No adviser is kept (%s).", describe_error(error))
    return None


def _find_advisers(knowledge: PastKnowledge, seconds_left: float) -> Iterator[NamedAdviser]:
    """Yield advisers for a question, the best one first; the last one has no model."""
    for name, model, notes in chain(_find_kept_models(knowledge), _train_models(knowledge, seconds_left)):
        try:
            with threadpool_limits(1):
                adviser = make_adviser(knowledge.evidence, model)
            yield name, adviser, notes
        except (MemoryError, KnowledgeBaseError):
            raise
        except Exception as error:
            if model is None:
                raise
            _log.warning(_UNUSABLE, name, describe_error(error))


def make_adviser(evidence: Evidence, model: Model | None) -> Adviser:
    """The adviser of some evidence, with a model or without."""
    if model is None:
        return Adviser.of(PastTasks.read(evidence, MetaModel.make_untrained(evidence)), Levels.fit(evidence, seed=0))
    levels = Levels.from_text(model.levels.get(evidence.metric, "{}"), list(evidence.spaces))
    if levels.learners < set(evidence.defaults):
        levels = Levels.fit(evidence, seed=0)
    validation = model.validations.get(evidence.metric)
    return Adviser.of(
        PastTasks.read(evidence, model.meta), levels, validation.restrict_to(evidence.spaces) if validation else None
    )


def _find_known_learners(evidence: Evidence) -> set[str]:
    """The learners whose default was measured on enough tasks to learn from."""
    n_known = {learner: np.isfinite(evidence.losses[:, column]).sum() for learner, column in evidence.defaults.items()}
    return {learner for learner, n in n_known.items() if n >= MIN_PAST_TASKS}


def _find_kept_models(knowledge: PastKnowledge) -> Iterator[tuple[str, Model, tuple[str, ...]]]:
    """Yield kept models for a question, the best one first, with their names and notes for the user."""
    past, evidence = knowledge.past, knowledge.evidence
    tasks = {task.id for task in evidence.tasks}
    for path in list_kept_models(knowledge.folder, evidence, knowledge.content, frozenset(past.spaces)):
        model = _load_model(path, past.spaces)
        # Skip a model of mostly other tasks.
        if model is None or len(model.tasks & tasks) <= (1 - RETRAIN_SHARE) * len(model.tasks):
            continue
        # Skip a model trained before one of the learners had past tasks.
        if not _find_known_learners(evidence) <= model.learners:
            continue
        n_new = len(tasks - model.tasks)
        is_old = n_new > RETRAIN_SHARE * len(model.tasks)
        if is_old and count_cells(evidence) <= MAX_CELLS_VALIDATED:
            # Training again takes only a moment.
            return
        note = (
            f"the advice does not learn from {format_count(n_new, 'new task')} yet; run `metahp kb train`, or "
            "metahp.train, so that it does"
        )
        yield make_encodable(str(path)), model, (note,) if is_old else ()


def _train_models(knowledge: PastKnowledge, seconds_left: float) -> Iterator[tuple[str, Model | None, tuple[str, ...]]]:
    """Yield a model trained for a question and kept, if training takes little time; then None."""
    past, evidence = knowledge.past, knowledge.evidence
    guide = past.evidence(find_guiding_metric(evidence.metric), list(evidence.spaces))
    if len(set(guide.groups)) < MIN_PAST_TASKS:
        label = METRICS[guide.metric].label if guide.metric in METRICS else guide.metric
        yield (
            "",
            None,
            (f"too few past tasks were measured by {label} to learn from, {_GENERAL}; choose another `metric`",),
        )
        return
    is_validated, is_large = count_cells(guide) <= MAX_CELLS_VALIDATED, count_cells(guide) > MAX_CELLS_TRAINED
    names, n_seconds = " + ".join(evidence.spaces), estimate_training_seconds(guide, is_validated=is_validated)
    if is_large or n_seconds > MAX_SHARE_OF_TIME * seconds_left:
        why = "too long for a question" if is_large else "too much of the time limit"
        yield (
            "",
            None,
            (
                f"learning from past tasks of {names} takes {why}, {_GENERAL}; run `metahp kb train`, or metahp.train, "
                "once for better advice",
            ),
        )
        return
    clock = Countdown(0.0)
    message = "training a model of %s on %d past tasks, about %.0f s; the next call finds it"
    _log.warning(message, names, len(guide.tasks), max(n_seconds, 1.0), extra=PROGRESS)
    try:
        model = train_model(past, guide, seed=0, is_validated=is_validated)
    except (MemoryError, KnowledgeBaseError):
        raise
    except Exception as error:
        why = f"no model of {names} could be trained ({describe_error(error)}), {_GENERAL}"
        yield "", None, (f"{why}; `metahp kb train` tries again",)
        return
    key = make_model_key(guide, knowledge.content)
    cache.save(knowledge.folder, key, model.to_arrays())
    note = f"trained on the knowledge base in {clock.measure_spent():.0f} s; the next call finds the result"
    yield key, model, (note,)
    yield "", None, ()


def _load_model(path: Path, spaces: Mapping[str, SearchSpace]) -> Model | None:
    """The model in a file; None, with a logged warning, if it cannot be used."""
    for _, arrays in cache.read([path]):
        try:
            model = Model.from_arrays(arrays, spaces)
            return model if model.learners else None
        except Exception as error:
            _log.warning(_UNUSABLE, make_encodable(str(path)), describe_error(error))
    return None
