"""Read the measurements of past tasks: take them from kept files, and update them."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metahp.api.models import make_measurements_key, name_kind
from metahp.core.errors import KnowledgeBaseError
from metahp.core.metric import Metric, find_canonical_metric, find_kin_metrics, find_stored_metrics
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.core.text import make_encodable
from metahp.core.trial_columns import TrialColumns
from metahp.core.warn import PROGRESS
from metahp.knowledge import cache
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.knowledge.snapshot import Snapshot
from metahp.learners.registry import LEARNERS, find_learner
from metahp.metafeatures.extract import NAMES, VERSION, replace_n_rows
from metahp.surrogate.collecting import collect_measurements
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.measurements import Measurements
from metahp.surrogate.metamodel import to_bytes

# One task to learn from, and one to check whether that helps.
MIN_PAST_TASKS = 2
# With this many changed trials everything is read again and kept: reading them takes a second for every question.
MANY_CHANGED = 5_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class PastKnowledge:
    """What one snapshot of a knowledge base says about some learners and a metric.

    Attributes:
        folder: The folder of the knowledge base, where models are kept.
        content: Content hash of the knowledge base.
        past: Measurements of its classification tasks, or of its regression tasks.
        evidence: The part of `past` about the learners and the metric.
    """

    folder: Path
    content: str
    past: Measurements
    evidence: Evidence


def read_knowledge(snapshot: Snapshot, task_type: TaskType, metric: Metric, learners: Sequence[str]) -> PastKnowledge:
    """What past tasks like `task_type` say about some learners.

    Raises:
        KnowledgeBaseError: no past task to learn from.
    """
    return _gather(snapshot, read_past(snapshot, task_type, learners), task_type, metric, learners)


def read_kept_knowledge(
    snapshot: Snapshot, task_type: TaskType, metric: Metric, learners: Sequence[str]
) -> PastKnowledge | None:
    """The same as `read_knowledge`, from kept files; None where all trials have to be read."""
    past = _read_kept(snapshot, task_type, learners)
    return None if past is None else _gather(snapshot, past, task_type, metric, learners)


def _gather(
    snapshot: Snapshot, past: Measurements, task_type: TaskType, metric: Metric, learners: Sequence[str]
) -> PastKnowledge:
    evidence = find_usable_evidence(past, task_type, metric.past_name, learners)
    return PastKnowledge(folder=snapshot.folder, content=snapshot.content_hash, past=past, evidence=evidence)


def find_usable_evidence(past: Measurements, task_type: TaskType, metric: str, learners: Sequence[str]) -> Evidence:
    """The evidence of a metric about some learners.

    Raises:
        KnowledgeBaseError: too few distinct tasks have trials of these learners.
    """
    evidence = past.evidence(find_canonical_metric(metric), learners)
    n_groups = len(set(evidence.groups))
    if n_groups < MIN_PAST_TASKS:
        raise KnowledgeBaseError(
            f"Of {' and '.join(learners)} the knowledge base has trials on {n_groups} distinct {name_kind(task_type)} "
            f"tasks, measured as most trials of these tasks were, and "
            f"{MIN_PAST_TASKS} are the least to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    without = sorted(set(learners) - {candidate.learner for candidate in evidence.drop_unmeasured().candidates})
    if without:
        message = "%s: not recommended, because no past task of this kind has a trial of it; tune to measure it"
        _log.warning(message, " and ".join(without))
    return evidence


def measure_past(
    records: Iterable[TaskRecord], trials: TrialColumns, task_type: TaskType, learners: Sequence[str]
) -> Measurements:
    """The measurements of some learners on past tasks of the kind of `task_type`, for every metric.

    Classification learns from classification and regression from regression, as their spaces and designs differ.
    """
    metrics = {
        name: find_kin_metrics(name) for name in find_stored_metrics(is_classification=task_type.is_classification)
    }
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
            "%d past task(s) are left out, so the advice rests on the others: they have no rows, no features or no "
            "loss of a constant prediction.",
            n_left_out,
        )
    vectors = np.array([[record.metafeatures.get(name, np.nan) for name in NAMES] for record in described], dtype=float)
    measurements = collect_measurements(
        [record.task for record in described],
        vectors.reshape(len(described), len(NAMES)),
        trials,
        metrics={metric: {str(kind): name for kind, name in kin.items()} for metric, kin in metrics.items()},
        spaces=find_spaces(task_type, learners),
        constants=constants,
    )
    n_rows = np.array([task.n_rows for task in measurements.tasks], dtype=float)
    return replace(measurements, metafeatures=replace_n_rows(measurements.metafeatures, n_rows))


def read_past(
    snapshot: Snapshot, task_type: TaskType, learners: Sequence[str], *, is_exact: bool = False
) -> Measurements:
    """What a knowledge base measured on tasks like `task_type`.

    It is read from the kept file of the same content, or from the newest kept file plus the tasks that have changed
    since. `is_exact` forbids the latter, since there the candidates of new tasks may depend on the kept ones. Without
    such a file all trials are read, which takes a while, and kept.

    Raises:
        KnowledgeBaseError: no such task.
    """
    kept = _read_kept(snapshot, task_type, learners, is_exact=is_exact)
    if kept is not None:
        return _check_not_empty(kept, task_type)
    by_learner = snapshot.totals["trials_by_learner"]
    known = tuple(name for name in LEARNERS if name in learners or name in by_learner)
    message = "reading all trials of the knowledge base, %s in all; the next call is faster"
    _log.warning(message, f"{sum(by_learner.values()):,}", extra=PROGRESS)
    past = measure_past(snapshot.tasks, snapshot.read_columns(known), task_type, known)
    _check_not_empty(past, task_type)
    arrays = past.to_arrays()
    keep_measurements(snapshot, snapshot.folder, task_type, arrays, past.spaces)
    # Through the file's form, so that a fresh answer equals a kept one.
    return Measurements.from_arrays(arrays, past.spaces)


def keep_measurements(
    snapshot: Snapshot, folder: Path, task_type: TaskType, arrays: Mapping[str, np.ndarray], learners: Iterable[str]
) -> Path | None:
    """Keep the measurements of some learners in a file, with sums that later show which tasks have changed."""
    sums = to_bytes(json.dumps(snapshot.sum_trials(tuple(learners))))
    return cache.save(folder, make_measurements_key(task_type, snapshot.content_hash), {**arrays, "sums": sums})


def _read_kept(
    snapshot: Snapshot, task_type: TaskType, learners: Sequence[str], *, is_exact: bool = False
) -> Measurements | None:
    """Updated measurements of a kept file; None if no file covers the learners."""
    key = make_measurements_key(task_type, snapshot.content_hash)
    spaces = find_spaces(task_type, learners)
    for path, arrays in _find_kept(snapshot.folder, task_type, key):
        try:
            kept = Measurements.from_arrays(arrays, find_spaces(task_type, tuple(LEARNERS)))
            sums = json.loads(arrays["sums"].tobytes())
            if not _covers(snapshot, kept, spaces):
                continue
            if path.stem != key:
                now = snapshot.sum_trials(tuple(kept.spaces))
                if 2 * sum(now.get(task) == text for task, text in sums.items()) < max(len(now), len(sums)):
                    # The file is of another knowledge base, or most tasks have changed since.
                    continue
                updated = None if is_exact else _update(snapshot, task_type, kept, sums, now)
                if updated is None:
                    continue
                kept = updated
        except Exception as error:
            message = "The kept file %s cannot be used (%s), so all trials are read again; the advice is the same."
            _log.warning(message, make_encodable(str(path)), describe_error(error))
            continue
        return kept.with_learners(spaces)
    return None


def _covers(snapshot: Snapshot, kept: Measurements, spaces: Mapping[str, SearchSpace]) -> bool:
    """Whether kept measurements include all trials of the learners in `spaces`."""
    missing = [name for name in spaces if name not in kept.spaces]
    return not missing or all(text.endswith(" 0 0") for text in snapshot.sum_trials(missing).values())


def _find_kept(folder: Path, task_type: TaskType, key: str) -> Iterator[tuple[Path, Mapping[str, np.ndarray]]]:
    yield from cache.find(folder, key)
    yield from cache.find_newest(folder, make_measurements_key(task_type, "*"), besides=key)


def _update(
    snapshot: Snapshot,
    task_type: TaskType,
    kept: Measurements,
    sums: Mapping[str, str],
    now: Mapping[str, str],
) -> Measurements | None:
    """Kept measurements with new and changed tasks read again and removed tasks dropped.

    None where reading everything again is better. `sums` describes the tasks in the kept file, `now` the present ones.
    """
    changed = {task for task in now.keys() | sums.keys() if now.get(task) != sums.get(task)}
    if not changed:
        return kept
    learners = tuple(kept.spaces)
    trials = snapshot.read_columns(learners, sorted(changed & now.keys()))
    if len(trials) >= MANY_CHANGED:
        return None
    records = [record for record in snapshot.tasks if record.task.id in changed]
    fresh = measure_past(records, trials, task_type, learners)
    # Through the file's form, so that a fresh answer equals a kept one.
    fresh = Measurements.from_arrays(fresh.to_arrays(), kept.spaces)
    return kept.drop_tasks(frozenset(changed)).join(fresh)


def _check_not_empty(past: Measurements, task_type: TaskType) -> Measurements:
    if not past.tasks:
        raise KnowledgeBaseError(
            f"The knowledge base has no {task_type} task to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    return past


def find_spaces(task_type: TaskType, learners: Sequence[str]) -> dict[str, SearchSpace]:
    """The search spaces of some learners by name, in alphabetical order."""
    return {name: find_learner(name).space(task_type) for name in sorted(learners)}


def describe_error(error: Exception) -> str:
    """The class and message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(make_encodable(str(error)).split())}"
