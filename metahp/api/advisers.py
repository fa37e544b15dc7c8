"""Past tasks for a question: what the knowledge base measured, as kept and brought up to date, and a trained model."""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from metahp.api.models import (
    Model,
    kept_model_paths,
    kind_of,
    measurements_key,
    model_key,
    n_cells,
    train_model,
    training_seconds,
)
from metahp.core.errors import KnowledgeBaseError
from metahp.core.metric import Metric, canonical_metric, guiding_metric, kin_metrics, stored_metrics
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.core.text import encodable
from metahp.core.trial import Trial
from metahp.datasets.table import Table
from metahp.evaluation.budget import Budget
from metahp.evaluation.losses import constant_losses
from metahp.knowledge import cache
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS, learner_named
from metahp.metafeatures.extract import NAMES, VERSION, MetaFeatures, replace_n_rows
from metahp.recommendation.adviser import Advice, Adviser
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Levels
from metahp.surrogate.measurements import Measurements, collect_measurements
from metahp.surrogate.metamodel import MetaModel, to_bytes
from metahp.surrogate.prior import PastTasks

# One to learn from and one to see whether it helps.
MIN_PAST_TASKS = 2
# With this many new tasks, as a share of those that a model was trained on, it is worth training again.
RETRAIN_SHARE = 0.1
# Measured cells of past tasks from which a question trains a model, and those with which it validates it too: about
# eight and two seconds of one core. With more, `train` does it in the open.
MOST_CELLS_TRAINED, MOST_CELLS_VALIDATED = 60_000, 6_000
# Of the time that is left to a study, training may take this share.
MOST_SHARE_OF_TIME = 0.1
# With so many changed trials everything is read again, and kept: reading these at every question takes a second.
MANY_CHANGED = 5_000
_log = logging.getLogger(__name__)


# The name of a model, the adviser that it makes, and what a user should know of it.
Found = tuple[str, Adviser, tuple[str, ...]]


def ask_about(
    base: KnowledgeBase,
    table: Table,
    metric: Metric,
    learners: Sequence[str],
    metafeatures: MetaFeatures,
    k: int,
    *,
    content: str | None = None,
    kept: Found | None = None,
    seconds_left: float = math.inf,
) -> tuple[Adviser, Advice, tuple[str, ...]]:
    """Ask what past tasks say about a table: the adviser, its advice, and what a user should know of it.

    A question trains nothing where a model is kept that knows the learners. Where none is, a small one is trained, with
    a logged line before, and kept; but not where training would take more than a share of the `seconds_left`. `content`
    is the content hash of the knowledge base and `kept` what `find_kept_adviser` gave, where they are known.

    Raises:
        KnowledgeBaseError: there is no past task to learn from.
    """
    constant = constant_losses(table.y, table.task.type, table.task.n_classes)[metric.name]
    others = _find_advisers(base, table.task.type, metric, learners, content or base.content_hash(), seconds_left)
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
            _log.warning("The model %s cannot be used (%s), so another one is.", name, _reason(error))
            failed.add(name)
            continue
        return adviser, advice, notes
    raise AssertionError("the last adviser has no model, and always gives an answer")


def find_kept_adviser(
    base: KnowledgeBase, task_type: TaskType, metric: Metric, learners: Sequence[str], content: str
) -> Found | None:
    """The adviser for a question whose files are all kept, and None for any other: nothing is trained or said."""
    try:
        past = _read_kept(base, task_type, learners, content)
        if past is None:
            return None
        evidence = usable_evidence(past, task_type, metric.name, learners)
        for name, model, notes in _kept_models(base, past, evidence, content):
            return name, adviser_of(evidence, model), notes
    except Exception as error:
        _log.debug("No adviser is kept (%s).", _reason(error))
    return None


def _find_advisers(
    base: KnowledgeBase,
    task_type: TaskType,
    metric: Metric,
    learners: Sequence[str],
    content: str,
    seconds_left: float,
) -> Iterator[Found]:
    """Advisers for a question, the best one first; the last one has no model."""
    past = read_past(base, task_type, learners, content)
    evidence = usable_evidence(past, task_type, metric.name, learners)
    for name, model, notes in chain(
        _kept_models(base, past, evidence, content), _trained_models(base, past, evidence, content, seconds_left)
    ):
        try:
            with threadpool_limits(1):
                adviser = adviser_of(evidence, model)
            yield name, adviser, notes
        except (MemoryError, KnowledgeBaseError):
            raise
        except Exception as error:
            if model is None:
                raise
            _log.warning("The model %s cannot be used (%s), so another one is.", name, _reason(error))


def adviser_of(evidence: Evidence, model: Model | None) -> Adviser:
    """The adviser of some evidence by a model, or by none."""
    if model is None:
        return Adviser.of(PastTasks.read(evidence, MetaModel.untrained(evidence)), Levels.fit(evidence, seed=0))
    levels = Levels.from_text(model.levels.get(evidence.metric, "{}"), list(evidence.spaces))
    if levels.learners < set(evidence.defaults):
        levels = Levels.fit(evidence, seed=0)
    validation = model.validations.get(evidence.metric)
    return Adviser.of(
        PastTasks.read(evidence, model.meta), levels, validation.of(evidence.spaces) if validation else None
    )


def usable_evidence(past: Measurements, task_type: TaskType, metric: str, learners: Sequence[str]) -> Evidence:
    """The evidence of a metric about some learners.

    Raises:
        KnowledgeBaseError: too few distinct tasks have trials of them.
    """
    evidence = past.evidence(canonical_metric(metric), learners)
    n_groups = len(set(evidence.groups))
    if n_groups < MIN_PAST_TASKS:
        raise KnowledgeBaseError(
            f"Of {' and '.join(learners)} the knowledge base has trials on {n_groups} distinct {kind_of(task_type)} "
            f"tasks, measured as most trials of these tasks were, and "
            f"{MIN_PAST_TASKS} are the least to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    without = sorted(set(learners) - {candidate.learner for candidate in evidence.measured().candidates})
    if without:
        _log.warning("of %s there is no past trial of such a task, so nothing is known", " and ".join(without))
    return evidence


def _known_learners(evidence: Evidence) -> set[str]:
    """The learners whose default was measured on enough tasks to learn from."""
    n_known = {learner: np.isfinite(evidence.losses[:, column]).sum() for learner, column in evidence.defaults.items()}
    return {learner for learner, n in n_known.items() if n >= MIN_PAST_TASKS}


def measure_past(
    records: Iterable[TaskRecord], trials: Iterable[Trial], task_type: TaskType, learners: Sequence[str]
) -> Measurements:
    """What past tasks like `task_type` measured of some learners, for every metric.

    Classification learns from classification and regression from regression: spaces and designs differ between them.
    """
    metrics = {name: kin_metrics(name) for name in stored_metrics(is_classification=task_type.is_classification)}
    like = [
        record
        for record in records
        if record.task.type.is_classification == task_type.is_classification and record.metafeatures_version == VERSION
    ]
    described = [record for record in like if min(record.task.n_rows, record.task.n_features) >= 1]
    constants = {
        metric: np.array(
            [record.metafeatures.get(BASELINE + kin[record.task.type], np.nan) for record in described], dtype=float
        )
        for metric, kin in metrics.items()
    }
    n_left_out = len(like) - len(described)
    if described:
        n_left_out += int(np.all([np.isnan(values) for values in constants.values()], axis=0).sum())
    if n_left_out:
        _log.warning(
            "%d past task(s) are left out: they have no rows, no features or no loss of a constant prediction.",
            n_left_out,
        )
    vectors = np.array([[record.metafeatures.get(name, np.nan) for name in NAMES] for record in described], dtype=float)
    found = collect_measurements(
        [record.task for record in described],
        vectors.reshape(len(described), len(NAMES)),
        list(trials),
        metrics={metric: {str(kind): name for kind, name in kin.items()} for metric, kin in metrics.items()},
        spaces=learner_spaces(task_type, learners),
        constants=constants,
    )
    n_rows = np.array([task.n_rows for task in found.tasks], dtype=float)
    return replace(found, metafeatures=replace_n_rows(found.metafeatures, n_rows))


def read_past(
    base: KnowledgeBase,
    task_type: TaskType,
    learners: Sequence[str],
    content: str | None = None,
    *,
    is_exact: bool = False,
) -> Measurements:
    """What the knowledge base, whose content hash is `content` where it is known, measured on tasks like `task_type`.

    It is taken from the file that was kept for the same content, or from the newest one with the tasks that have
    changed since, unless it has to be `is_exact`: which candidates of new tasks are kept beside the others may depend
    on what was kept before. Without such a file all trials are read, which takes a while.

    Raises:
        KnowledgeBaseError: there is no such task at all.
    """
    content = content or base.content_hash()
    kept = _read_kept(base, task_type, learners, content, is_exact=is_exact)
    if kept is not None:
        return _not_empty(kept, task_type)
    by_learner = base.info()["trials_by_learner"]
    known = tuple(name for name in LEARNERS if name in learners or name in by_learner)
    _log.warning("reading all trials of the knowledge base, %s in all", f"{sum(by_learner.values()):,}")
    past = measure_past(base.tasks(), [t for name in known for t in base.trials(learner=name)], task_type, known)
    _not_empty(past, task_type)
    arrays = past.to_arrays()
    sums = base.sums(known)
    # Trials that came while these were read would be taken for known.
    if base.content_hash() == content:
        cache.save(base.folder, measurements_key(task_type, content), {**arrays, "sums": to_bytes(json.dumps(sums))})
    # As it will be read from the file: a kept answer and a fresh one are the same.
    return Measurements.from_arrays(arrays, past.spaces)


def _read_kept(
    base: KnowledgeBase, task_type: TaskType, learners: Sequence[str], content: str, *, is_exact: bool = False
) -> Measurements | None:
    """What a kept file has measured, brought up to date; None where there is none that has all of it."""
    key = measurements_key(task_type, content)
    spaces = learner_spaces(task_type, learners)
    for path, arrays in _kept_measurements(base, task_type, key):
        try:
            kept = Measurements.from_arrays(arrays, learner_spaces(task_type, tuple(LEARNERS)))
            sums = json.loads(arrays["sums"].tobytes())
            if not _covers(base, kept, spaces):
                continue
            if path.stem != key:
                now = base.sums(tuple(kept.spaces))
                if 2 * sum(now.get(task) == text for task, text in sums.items()) < max(len(now), len(sums)):
                    # Of another knowledge base, or of one that has changed since for the most part.
                    continue
                brought = None if is_exact else _bring_up_to_date(base, task_type, kept, sums, now)
                if brought is None:
                    continue
                kept = brought
        except Exception as error:
            _log.warning("The kept file %s cannot be used (%s).", encodable(str(path)), _reason(error))
            continue
        return kept.with_learners(spaces)
    return None


def _covers(base: KnowledgeBase, kept: Measurements, spaces: Mapping[str, SearchSpace]) -> bool:
    """Whether kept measurements have all that there is of the learners in `spaces`."""
    missing = [name for name in spaces if name not in kept.spaces]
    return not missing or all(text.endswith(" 0 0") for text in base.sums(missing).values())


def _kept_measurements(
    base: KnowledgeBase, task_type: TaskType, key: str
) -> Iterator[tuple[Path, Mapping[str, np.ndarray]]]:
    yield from cache.find(base.folder, key)
    yield from cache.find_newest(base.folder, measurements_key(task_type, "*"), besides=key)


def _bring_up_to_date(
    base: KnowledgeBase,
    task_type: TaskType,
    kept: Measurements,
    sums: Mapping[str, str],
    now: Mapping[str, str],
) -> Measurements | None:
    """Kept measurements with the tasks that are new or have changed, without those that have gone.

    None where that is more than reading everything again is worth. `sums` tell the tasks then, `now` those of today.
    """
    changed = {task for task in now.keys() | sums.keys() if now.get(task) != sums.get(task)}
    if not changed:
        return kept
    learners = tuple(kept.spaces)
    trials = base.trials_of(sorted(changed & now.keys()), learners)
    if len(trials) >= MANY_CHANGED:
        return None
    fresh = measure_past([r for r in base.tasks() if r.task.id in changed], trials, task_type, learners)
    # As they will be read from a file: a kept answer and a fresh one are the same.
    fresh = Measurements.from_arrays(fresh.to_arrays(), kept.spaces)
    return kept.without(frozenset(changed)).joined(fresh)


def _not_empty(past: Measurements, task_type: TaskType) -> Measurements:
    if not past.tasks:
        raise KnowledgeBaseError(
            f"The knowledge base has no {task_type} task to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    return past


def _kept_models(
    base: KnowledgeBase, past: Measurements, evidence: Evidence, content: str
) -> Iterator[tuple[str, Model, tuple[str, ...]]]:
    """Kept models for the evidence, the best one first, with their names and what a user should know of them."""
    tasks = {task.id for task in evidence.tasks}
    for path in kept_model_paths(base.folder, evidence, content, frozenset(past.spaces)):
        model = _load_model(path, past.spaces)
        # A model of tasks that are not here says nothing of those that are.
        if model is None or len(model.tasks & tasks) <= (1 - RETRAIN_SHARE) * len(model.tasks):
            continue
        # Nor does one from the time before a learner had past tasks.
        if not _known_learners(evidence) <= model.learners:
            continue
        n_new = len(tasks - model.tasks)
        is_old = n_new > RETRAIN_SHARE * len(model.tasks)
        if is_old and n_cells(evidence) <= MOST_CELLS_VALIDATED:
            # Training again takes a moment.
            return
        note = f"{n_new} tasks are new since the models were trained; `metahp kb train` learns from them"
        yield encodable(str(path)), model, (note,) if is_old else ()


def _trained_models(
    base: KnowledgeBase, past: Measurements, evidence: Evidence, content: str, seconds_left: float
) -> Iterator[tuple[str, Model | None, tuple[str, ...]]]:
    """A model that is trained for the evidence and kept, where that takes little time, and none as the last."""
    guide = past.evidence(guiding_metric(evidence.metric), list(evidence.spaces))
    if len(set(guide.groups)) < MIN_PAST_TASKS:
        yield "", None, (f"past tasks have no losses of {guide.metric}, which a model would be trained on",)
        return
    is_validated, is_large = n_cells(guide) <= MOST_CELLS_VALIDATED, n_cells(guide) > MOST_CELLS_TRAINED
    names, n_seconds = " + ".join(evidence.spaces), training_seconds(guide, is_validated=is_validated)
    if is_large or n_seconds > MOST_SHARE_OF_TIME * seconds_left:
        why = "too long for a question" if is_large else "too much of this study's time"
        yield (
            "",
            None,
            (f"no model of {names} is trained, and that takes {why}: `metahp kb train`, or metahp.train, does it",),
        )
        return
    clock = Budget(0.0)
    _log.warning("training a model of %s on %d past tasks, about %.0f s", names, len(guide.tasks), max(n_seconds, 1.0))
    try:
        model = train_model(past, guide, seed=0, is_validated=is_validated)
    except (MemoryError, KnowledgeBaseError):
        raise
    except Exception as error:
        _log.warning("no model of %s could be trained (%s)", names, _reason(error))
        yield "", None, ()
        return
    key = model_key(guide, content)
    cache.save(base.folder, key, model.to_arrays())
    yield key, model, (f"trained on the knowledge base in {clock.spent():.0f} s; the next call finds the result",)
    yield "", None, ()


def _load_model(path: Path, spaces: Mapping[str, SearchSpace]) -> Model | None:
    """The model in a file; None, with a logged warning, where it cannot be used."""
    for _, arrays in cache.read([path]):
        try:
            model = Model.from_arrays(arrays, spaces)
            return model if model.learners else None
        except Exception as error:
            _log.warning("The kept model %s cannot be used (%s).", encodable(str(path)), _reason(error))
    return None


def learner_spaces(task_type: TaskType, learners: Sequence[str]) -> dict[str, SearchSpace]:
    """The search spaces of some learners by name, in the order of their names."""
    return {name: learner_named(name).space(task_type) for name in sorted(learners)}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(encodable(str(error)).split())}"
