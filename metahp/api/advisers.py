"""Advisers for a question: its evidence with a model that is kept, or one that is trained now."""

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
from metahp.core.metric import Metric, find_guiding_metric
from metahp.core.space import SearchSpace
from metahp.core.text import make_encodable
from metahp.datasets.table import Table
from metahp.evaluation.countdown import Countdown
from metahp.evaluation.losses import compute_constant_losses
from metahp.knowledge import cache
from metahp.metafeatures.extract import NAMES, MetaFeatures
from metahp.recommendation.adviser import Advice, Adviser
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Levels
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks

# With this many new tasks, as a share of those that a model was trained on, it is worth training again.
RETRAIN_SHARE = 0.1
# Measured cells of past tasks from which a question trains a model, and those with which it validates it too: about
# eight and two seconds of one core. With more, `train` does it in the open.
MAX_CELLS_TRAINED, MAX_CELLS_VALIDATED = 60_000, 6_000
# Of the time that is left to a study, training may take this share.
MAX_SHARE_OF_TIME = 0.1
_log = logging.getLogger(__name__)


# The name of a model, the adviser that it makes, and what a user should know of it.
NamedAdviser = tuple[str, Adviser, tuple[str, ...]]


def ask_about(
    knowledge: PastKnowledge,
    table: Table,
    metric: Metric,
    metafeatures: MetaFeatures,
    k: int,
    *,
    kept: NamedAdviser | None = None,
    seconds_left: float = math.inf,
) -> tuple[Adviser, Advice, tuple[str, ...]]:
    """Ask what past tasks say about a table: the adviser, its advice, and what a user should know of it.

    A question trains nothing where a model is kept that knows the learners. Where none is, a small one is trained, with
    a logged line before, and kept; but not where training would take more than a share of the `seconds_left`. `kept` is
    what `find_kept_adviser` gave, where that is known.
    """
    constant = compute_constant_losses(table.y, table.task.type, table.task.n_classes)[metric.name]
    others = _find_advisers(knowledge, seconds_left)
    failed: set[str] = set()
    for name, adviser, notes in chain([kept] if kept else [], others):
        if name in failed:
            continue
        try:
            with threadpool_limits(1):
                advice = adviser.advise(table.task, metafeatures.vector(), NAMES, constant, k)
        except (MemoryError, KnowledgeBaseError):
            raise
        except Exception as error:
            if adviser.past.model.surrogate is None:
                raise
            _log.warning("The model %s cannot be used (%s), so another one is.", name, describe_error(error))
            failed.add(name)
            continue
        return adviser, advice, notes
    raise AssertionError("the last adviser has no model, and always gives an answer")


def find_kept_adviser(knowledge: PastKnowledge) -> NamedAdviser | None:
    """The adviser for a question whose model is kept, and None for any other: nothing is trained or said."""
    try:
        for name, model, notes in _find_kept_models(knowledge):
            return name, make_adviser(knowledge.evidence, model), notes
    except Exception as error:
        _log.debug("No adviser is kept (%s).", describe_error(error))
    return None


def _find_advisers(knowledge: PastKnowledge, seconds_left: float) -> Iterator[NamedAdviser]:
    """Advisers for a question, the best one first; the last one has no model."""
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
            _log.warning("The model %s cannot be used (%s), so another one is.", name, describe_error(error))


def make_adviser(evidence: Evidence, model: Model | None) -> Adviser:
    """The adviser of some evidence by a model, or by none."""
    if model is None:
        return Adviser.of(PastTasks.read(evidence, MetaModel.untrained(evidence)), Levels.fit(evidence, seed=0))
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
    """Kept models for a question, the best one first, with their names and what a user should know of them."""
    past, evidence = knowledge.past, knowledge.evidence
    tasks = {task.id for task in evidence.tasks}
    for path in list_kept_models(knowledge.folder, evidence, knowledge.content, frozenset(past.spaces)):
        model = _load_model(path, past.spaces)
        # A model of tasks that are not here says nothing of those that are.
        if model is None or len(model.tasks & tasks) <= (1 - RETRAIN_SHARE) * len(model.tasks):
            continue
        # Nor does one from the time before a learner had past tasks.
        if not _find_known_learners(evidence) <= model.learners:
            continue
        n_new = len(tasks - model.tasks)
        is_old = n_new > RETRAIN_SHARE * len(model.tasks)
        if is_old and count_cells(evidence) <= MAX_CELLS_VALIDATED:
            # Training again takes a moment.
            return
        note = f"{n_new} tasks are new since the models were trained; `metahp kb train` learns from them"
        yield make_encodable(str(path)), model, (note,) if is_old else ()


def _train_models(knowledge: PastKnowledge, seconds_left: float) -> Iterator[tuple[str, Model | None, tuple[str, ...]]]:
    """A model that is trained for a question and kept, where that takes little time, and none as the last."""
    past, evidence = knowledge.past, knowledge.evidence
    guide = past.evidence(find_guiding_metric(evidence.metric), list(evidence.spaces))
    if len(set(guide.groups)) < MIN_PAST_TASKS:
        yield "", None, (f"past tasks have no losses of {guide.metric}, which a model would be trained on",)
        return
    is_validated, is_large = count_cells(guide) <= MAX_CELLS_VALIDATED, count_cells(guide) > MAX_CELLS_TRAINED
    names, n_seconds = " + ".join(evidence.spaces), estimate_training_seconds(guide, is_validated=is_validated)
    if is_large or n_seconds > MAX_SHARE_OF_TIME * seconds_left:
        why = "too long for a question" if is_large else "too much of this study's time"
        yield (
            "",
            None,
            (f"no model of {names} is trained, and that takes {why}: `metahp kb train`, or metahp.train, does it",),
        )
        return
    clock = Countdown(0.0)
    _log.warning("training a model of %s on %d past tasks, about %.0f s", names, len(guide.tasks), max(n_seconds, 1.0))
    try:
        model = train_model(past, guide, seed=0, is_validated=is_validated)
    except (MemoryError, KnowledgeBaseError):
        raise
    except Exception as error:
        _log.warning("no model of %s could be trained (%s)", names, describe_error(error))
        yield "", None, ()
        return
    key = make_model_key(guide, knowledge.content)
    cache.save(knowledge.folder, key, model.to_arrays())
    yield (
        key,
        model,
        (f"trained on the knowledge base in {clock.measure_spent():.0f} s; the next call finds the result",),
    )
    yield "", None, ()


def _load_model(path: Path, spaces: Mapping[str, SearchSpace]) -> Model | None:
    """The model in a file; None, with a logged warning, where it cannot be used."""
    for _, arrays in cache.read([path]):
        try:
            model = Model.from_arrays(arrays, spaces)
            return model if model.learners else None
        except Exception as error:
            _log.warning("The kept model %s cannot be used (%s).", make_encodable(str(path)), describe_error(error))
    return None
