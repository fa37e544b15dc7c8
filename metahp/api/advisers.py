"""Past tasks for a question: what the knowledge base measured, as kept and brought up to date, and a trained model."""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

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
from metahp.learners.catalogue import LEARNERS, learner_named
from metahp.metafeatures.extract import NAMES, VERSION, MetaFeatures, at_rows
from metahp.recommendation.adviser import Advice, Adviser, LeftOut, Validation, split_groups, validate
from metahp.surrogate.calibration import MIN_TASKS, OF_TABLES
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Levels
from metahp.surrogate.measurements import Measurements, collect_measurements
from metahp.surrogate.metamodel import MetaModel, to_bytes
from metahp.surrogate.prior import PastTasks

# One to learn from and one to see whether it helps.
MIN_PAST_TASKS = 2
# Raised whenever kept arrays change their meaning, so that older files are made again.
FILE_VERSION = 10
# With this many new tasks, as a share of those that a model was trained on, it is worth training again.
RETRAIN_SHARE = 0.1
# Measured cells of past tasks from which a question trains a model, and those with which it validates it too: about
# eight and two seconds of one core. With more, `train` does it in the open.
MOST_CELLS_TRAINED, MOST_CELLS_VALIDATED = 60_000, 6_000
# Seconds of one core that training takes for each measured cell and each task (measured on the seed, 18 models).
SECONDS_PER_CELL, SECONDS_PER_TASK = 1.6e-4, 1.5e-2
# Of the time that is left to a study, training may take this share.
MOST_SHARE_OF_TIME = 0.1
# Changed trials from which the measurements that they joined are kept for the next question.
MANY_CHANGED = 500
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A meta-model with what was fitted and validated along with it for each metric that it serves."""

    meta: MetaModel
    levels: Mapping[str, str]
    validations: Mapping[str, Validation]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, for a file."""
        return {
            **{f"meta/{name}": values for name, values in self.meta.to_arrays().items()},
            **{f"levels/{metric}": to_bytes(text) for metric, text in self.levels.items()},
            **{
                f"validation/{metric}/{name}": values
                for metric, validation in self.validations.items()
                for name, values in validation.to_arrays().items()
            },
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], spaces: Mapping[str, SearchSpace]) -> "Model":
        """The model that `to_arrays` wrote; errors as of `MetaModel.from_arrays`."""
        levels = _part(arrays, "levels/")
        validated = {name.split("/")[1] for name in arrays if name.startswith("validation/")}
        return cls(
            meta=MetaModel.from_arrays(_part(arrays, "meta/"), spaces),
            levels={metric: text.tobytes().decode() for metric, text in levels.items()},
            validations={m: Validation.from_arrays(_part(arrays, f"validation/{m}/")) for m in validated},
        )


def ask_about(
    base: KnowledgeBase,
    table: Table,
    metric: Metric,
    learners: Sequence[str],
    metafeatures: MetaFeatures,
    k: int,
    *,
    seconds_left: float = math.inf,
) -> tuple[Adviser, Advice, tuple[str, ...]]:
    """Ask what past tasks say about a table: the adviser, its advice, and what a user should know of it.

    A question trains nothing where a model is kept that knows the learners. Where none is, a small one is trained, with
    a logged line before, and kept; but not where training would take more than a share of the `seconds_left`.

    Raises:
        KnowledgeBaseError: there is no past task to learn from.
    """
    constant = constant_losses(table.y, table.task.type, table.task.n_classes)[metric.name]
    past = read_past(base, table.task.type, learners)
    evidence = usable_evidence(past, table.task.type, metric.name, learners)
    for model, notes in _models(base, past, evidence, seconds_left):
        try:
            adviser = adviser_of(evidence, model)
            advice = adviser.advise(table.task, metafeatures.vector(), NAMES, constant, k)
        except (MemoryError, KnowledgeBaseError):
            raise
        except Exception as error:
            if model is None:
                raise
            _log.warning("A kept model cannot be used (%s), so another one is.", _reason(error))
            continue
        return adviser, advice, notes
    raise AssertionError("the last model is none, which always gives an answer")


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
            f"Of {' and '.join(learners)} the knowledge base has trials on {n_groups} distinct {task_type} tasks, and "
            f"{MIN_PAST_TASKS} are the least to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    return evidence


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
        deciding=[metric for metric in metrics if guiding_metric(metric) == metric],
    )
    n_rows = np.array([task.n_rows for task in found.tasks], dtype=float)
    return replace(found, metafeatures=at_rows(found.metafeatures, n_rows))


def read_past(base: KnowledgeBase, task_type: TaskType, learners: Sequence[str]) -> Measurements:
    """What the knowledge base measured on tasks like `task_type`.

    It is taken from the file that was kept for the same content, or from the newest one with the tasks that have
    changed since. Without such a file all trials are read, which takes a while.

    Raises:
        KnowledgeBaseError: there is no such task at all.
    """
    key = measurements_key(task_type, base.content_hash())
    spaces = learner_spaces(task_type, learners)
    for path, arrays in _kept_measurements(base, task_type, key):
        try:
            kept = Measurements.from_arrays(arrays, learner_spaces(task_type, tuple(LEARNERS)))
            sums = json.loads(arrays["sums"].tobytes())
            if not _covers(base, kept, spaces):
                continue
            if path.stem != key:
                kept = _brought_up_to_date(base, task_type, kept, sums, key)
        except Exception as error:
            _log.warning("The kept file %s cannot be used (%s).", encodable(str(path)), _reason(error))
            continue
        return _not_empty(replace(kept, spaces={**spaces, **kept.spaces}), task_type)
    by_learner = base.info()["trials_by_learner"]
    known = tuple(name for name in LEARNERS if name in learners or name in by_learner)
    _log.warning("reading all trials of the knowledge base, %s in all", f"{sum(by_learner.values()):,}")
    past = measure_past(base.tasks(), [t for name in known for t in base.trials(learner=name)], task_type, known)
    _not_empty(past, task_type)
    arrays = past.to_arrays()
    cache.save(base.folder, key, {**arrays, "sums": to_bytes(json.dumps(base.sums(known)))})
    # As it will be read from the file: a kept answer and a fresh one are the same.
    return Measurements.from_arrays(arrays, past.spaces)


def _covers(base: KnowledgeBase, kept: Measurements, spaces: Mapping[str, SearchSpace]) -> bool:
    """Whether kept measurements have all that there is of the learners in `spaces`."""
    missing = [name for name in spaces if name not in kept.spaces]
    return not missing or all(text.endswith(" 0 0") for text in base.sums(missing).values())


def _kept_measurements(
    base: KnowledgeBase, task_type: TaskType, key: str
) -> Iterator[tuple[Path, Mapping[str, np.ndarray]]]:
    yield from cache.find(base.folder, key)
    yield from cache.find_newest(base.folder, measurements_key(task_type, "*"), besides=key)


def _brought_up_to_date(
    base: KnowledgeBase, task_type: TaskType, kept: Measurements, sums: Mapping[str, str], key: str
) -> Measurements:
    """Kept measurements with the tasks that are new or have changed, without those that have gone."""
    learners = tuple(kept.spaces)
    now, records = base.sums(learners), base.tasks()
    changed = {task for task in now.keys() | sums.keys() if now.get(task) != sums.get(task)}
    if not changed:
        return kept
    trials = base.trials_of(sorted(changed & now.keys()), learners)
    fresh = measure_past([r for r in records if r.task.id in changed], trials, task_type, learners)
    # As they will be read from a file: a kept answer and a fresh one are the same.
    fresh = Measurements.from_arrays(fresh.to_arrays(), kept.spaces)
    joined = kept.without(frozenset(changed)).joined(fresh)
    if len(trials) >= MANY_CHANGED:
        cache.save(base.folder, key, {**joined.to_arrays(), "sums": to_bytes(json.dumps(now))})
    return joined


def _not_empty(past: Measurements, task_type: TaskType) -> Measurements:
    if not past.tasks:
        raise KnowledgeBaseError(
            f"The knowledge base has no {task_type} task to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    return past


def _models(
    base: KnowledgeBase, past: Measurements, evidence: Evidence, seconds_left: float
) -> Iterator[tuple[Model | None, tuple[str, ...]]]:
    """Models for the evidence with what a user should know of them, the best one first, and none as the last."""
    guide = guiding_metric(evidence.metric)
    is_small = n_cells(evidence) <= MOST_CELLS_VALIDATED
    for path, n_tasks in _kept_models(base, evidence, guide):
        n_new = len(evidence.tasks) - n_tasks
        is_old = n_new > RETRAIN_SHARE * n_tasks
        if is_old and is_small:
            break
        model = _load_model(path, past.spaces)
        if model is None:
            continue
        notes = (f"{n_new} tasks are new since the model was trained; `metahp kb train` learns from them",)
        yield model, notes if is_old else ()
    name = " + ".join(evidence.spaces)
    seconds = training_seconds(evidence, is_validated=is_small)
    if n_cells(evidence) > MOST_CELLS_TRAINED or seconds > MOST_SHARE_OF_TIME * seconds_left:
        why = "in this study's time" if n_cells(evidence) <= MOST_CELLS_TRAINED else "in passing"
        yield None, (f"no model of {name} is trained, and training takes too long {why}: `metahp kb train` trains it",)
        return
    clock = Budget(0.0)
    _log.warning("training a model of %s on %d past tasks, about %.0f s", name, len(evidence.tasks), max(seconds, 1.0))
    trained = replace(past.evidence(guide, list(evidence.spaces)))
    model = train_model(past, trained, seed=0, is_validated=is_small)
    cache.save(base.folder, model_key(trained, base.content_hash()), model.to_arrays())
    notes = (f"trained on the knowledge base in {clock.spent():.0f} s; the next call finds the result",)
    yield model, notes
    yield None, ()


def _kept_models(base: KnowledgeBase, evidence: Evidence, guide: str) -> list[tuple[Path, int]]:
    """Files of models that know all learners of the evidence, and the tasks they learned from, the best one first.

    That is one of fewer learners, then one of more tasks, then one of the user's own.
    """
    kind = kind_of(evidence.tasks[0].type)
    found = []
    prefix = _prefix("model", kind) + f"{guide}-"
    for order, path in enumerate(cache.list_newest(base.folder, f"{prefix}*")):
        scope, n_tasks, _ = path.stem.removeprefix(prefix).split("-")
        if set(evidence.spaces) <= (names := set(scope.split("."))) and n_tasks.isdigit():
            found.append((len(names), -int(n_tasks), order, path))
    return [(path, -n_tasks) for _, n_tasks, _, path in sorted(found)]


def _load_model(path: Path, spaces: Mapping[str, SearchSpace]) -> Model | None:
    """The model in a file; None, with a logged warning, where it cannot be used."""
    for _, arrays in cache.read([path]):
        try:
            return Model.from_arrays(arrays, spaces)
        except Exception as error:
            _log.warning("The kept model %s cannot be used (%s).", encodable(str(path)), _reason(error))
    return None


def train_model(past: Measurements, evidence: Evidence, *, seed: int, is_validated: bool = True) -> Model:
    """Train on the evidence of a default metric, and fit and validate for all metrics that it guides."""
    parts = []
    settings = OF_TABLES if len(evidence.tasks) >= MIN_TASKS else None
    if is_validated:
        parts = [
            LeftOut(groups, MetaModel.fit(part, seed=seed, settings=settings))
            for part, groups in split_groups(evidence, seed=seed)
            if len(set(part.groups)) >= 1 and part.tasks
        ]
    meta = MetaModel.fit(evidence, seed=seed, settings=settings)
    served = [metric for metric in past.losses if guiding_metric(metric) == evidence.metric]
    parts_of = {metric: past.evidence(metric, list(evidence.spaces)) for metric in served}
    return Model(
        meta=meta,
        levels={metric: Levels.fit(part, seed=seed).to_text() for metric, part in parts_of.items()},
        validations={metric: validate(part, parts, seed=seed) for metric, part in parts_of.items() if parts},
    )


def training_seconds(evidence: Evidence, *, is_validated: bool = True) -> float:
    """About how long `train_model` takes on one core, in seconds."""
    once = SECONDS_PER_CELL * n_cells(evidence) + SECONDS_PER_TASK * len(evidence.tasks)
    return once * (1 + 5 * is_validated)


def n_cells(evidence: Evidence) -> int:
    """Measured losses."""
    return int((~np.isnan(evidence.losses)).sum())


def kind_of(task_type: TaskType) -> str:
    """Classification or regression, each of which learns from its own past tasks."""
    return "classification" if task_type.is_classification else "regression"


def model_key(evidence: Evidence, content: str) -> str:
    """The name of a kept model: what it is asked for, the number of tasks it learned from, and the content hash."""
    prefix = _prefix("model", kind_of(evidence.tasks[0].type))
    return f"{prefix}{evidence.metric}-{'.'.join(evidence.spaces)}-{len(evidence.tasks)}-{content}"


def measurements_key(task_type: TaskType, content: str) -> str:
    """The name of kept measurements."""
    return f"{_prefix('measured', kind_of(task_type))}{content}"


def _prefix(what: str, kind: str) -> str:
    return f"v{FILE_VERSION}-{what}-{kind}-"


def learner_spaces(task_type: TaskType, learners: Sequence[str]) -> dict[str, SearchSpace]:
    """The search spaces of some learners by name, in the order of their names."""
    return {name: learner_named(name).space(task_type) for name in sorted(learners)}


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(encodable(str(error)).split())}"
