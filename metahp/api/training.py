"""Train the models that answer questions: one for each learner, and one for all of them together."""

import functools
import logging
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from metahp.api.known_learners import find_known_learners
from metahp.api.models import Model, count_cells, estimate_training_seconds, make_model_key, train_model
from metahp.api.past_knowledge import MIN_PAST_TASKS, keep_measurements, read_past
from metahp.api.quick_points import choose_quick_points, name_question, write_quick_points
from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError
from metahp.core.metric import find_guiding_metric
from metahp.core.task import TaskType
from metahp.core.text import make_encodable
from metahp.core.warn import PROGRESS
from metahp.knowledge import cache
from metahp.knowledge.locate import open_snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import find_learner
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.measurements import Measurements

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """The outcome of training a model: what it learned from, or why it was not trained.

    `kind` is classification or regression, `metric` the default metric that the model learned from. `win_rate` is the
    share of past tasks, each left out with its group, on which the first configuration beat the default; NaN where
    unknown. `why_not` is the reason why no model was trained.
    """

    kind: str
    metric: str
    learners: tuple[str, ...]
    n_tasks: int
    win_rate: float
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """Progress of a training: finished models, all models, and the estimated seconds of one core for the others."""

    n_done: int
    n_models: int
    seconds_left: float


def train(
    knowledge_base: str | Path | KnowledgeBase | None = None,
    *,
    learners: str | Sequence[str] | None = None,
    jobs: int = 1,
    output: str | Path | None = None,
    on_progress: Callable[[TrainingProgress, TrainingOutcome | None], None] = lambda progress, trained: None,
) -> list[TrainingOutcome]:
    """Train a model of each learner, and one of all together, for each default metric; trained models are kept.

    Args:
        knowledge_base: A knowledge base or its path; None for the user's own.
        learners: Name or names of learners; None for all that the knowledge base knows well enough.
        jobs: Number of models to train in parallel, each in a separate process.
        output: The folder whose subfolder `surrogate` gets the models; None for the folder of the knowledge base.
        on_progress: Called once at the start with None, and after each model.

    Raises:
        UnknownNameError: no learner has one of the names.
        KnowledgeBaseError: the knowledge base cannot be read.
    """
    from metahp.evaluation.processes import call_each

    _, snapshot = open_snapshot(knowledge_base)
    with snapshot:
        folder = snapshot.folder if output is None else Path(output)
        names = (learners,) if isinstance(learners, str) else tuple(learners or find_known_learners(snapshot.totals))
        for name in names:
            find_learner(name)
        content = snapshot.content_hash
        wanted: list[tuple[Measurements, Evidence]] = []
        skipped: list[TrainingOutcome] = []
        points: dict[str, list[Configuration]] = {}
        for task_type in (TaskType.BINARY, TaskType.REGRESSION):
            try:
                past = read_past(snapshot, task_type, names, is_exact=True)
            except KnowledgeBaseError as error:
                skipped.append(_describe_skipped(task_type, "", names, str(error)))
                continue
            if keep_measurements(snapshot, folder, task_type, past.to_arrays(), past.spaces) is None:
                raise KnowledgeBaseError(
                    f"No file can be kept in {folder}, so no model is trained; name another folder."
                )
            for metric in (metric for metric in past.losses if find_guiding_metric(metric) == metric):
                for scope in dict.fromkeys((*((name,) for name in names), tuple(sorted(names)))):
                    evidence = past.evidence(metric, scope)
                    if len(set(evidence.groups)) < MIN_PAST_TASKS:
                        skipped.append(
                            _describe_skipped(task_type, metric, scope, "fewer than two distinct tasks have trials")
                        )
                        continue
                    points[name_question(task_type, metric, scope)] = choose_quick_points(evidence)
                    key = make_model_key(evidence, content)
                    if not _is_trained(folder, key, past, is_seed_enough=output is None):
                        wanted.append((past, evidence))
        write_quick_points(folder, points)
    # The longest first, so that none of them starts last.
    wanted.sort(key=lambda pair: -count_cells(pair[1]))
    seconds = [estimate_training_seconds(evidence) for _, evidence in wanted]
    on_progress(TrainingProgress(n_done=0, n_models=len(wanted), seconds_left=sum(seconds)), None)
    done: list[TrainingOutcome] = []
    calls = [functools.partial(train_model, past, evidence, seed=0) for past, evidence in wanted]
    seconds_left = dict(enumerate(seconds))
    for index, model in call_each(operator.call, calls, n_jobs=jobs):
        evidence = wanted[index][1]
        cache.save(folder, make_model_key(evidence, content), model.to_arrays())
        done.append(_describe_model(evidence, model))
        del seconds_left[index]
        progress = TrainingProgress(n_done=len(done), n_models=len(wanted), seconds_left=sum(seconds_left.values()))
        on_progress(progress, done[-1])
    return [*done, *skipped]


def _is_trained(folder: Path, key: str, past: Measurements, *, is_seed_enough: bool) -> bool:
    """Whether a model of this name is in `folder`, or in the seed, can be read and was validated."""
    for path, arrays in cache.find(folder, key):
        if not is_seed_enough and path.parent.parent != folder:
            continue
        try:
            if Model.from_arrays(arrays, past.spaces).validations:
                return True
        except Exception as error:
            message = "The model %s cannot be used (%s), so it is trained again."
            _log.warning(message, make_encodable(str(path)), error, extra=PROGRESS)
    return False


def _describe_model(evidence: Evidence, model: Model) -> TrainingOutcome:
    record = model.validations[evidence.metric].track_record
    return TrainingOutcome(
        kind="classification" if evidence.tasks[0].type.is_classification else "regression",
        metric=evidence.metric,
        learners=tuple(evidence.spaces),
        n_tasks=len(evidence.tasks),
        win_rate=record.win_rate if record else float("nan"),
    )


def _describe_skipped(task_type: TaskType, metric: str, learners: Sequence[str], why: str) -> TrainingOutcome:
    return TrainingOutcome(
        kind="classification" if task_type.is_classification else "regression",
        metric=metric,
        learners=tuple(learners),
        n_tasks=0,
        win_rate=float("nan"),
        why_not=why,
    )
