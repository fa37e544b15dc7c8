"""Train models of past tasks, one for each learner and one for all of them together, and keep them in files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metahp.core.metric import find_guiding_metric
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.knowledge import cache
from metahp.recommendation.adviser import LeftOutModel, Validation, split_groups, validate
from metahp.surrogate.calibration import MIN_TASKS, OF_TABLES
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forecast import Levels
from metahp.surrogate.measurements import Measurements
from metahp.surrogate.metamodel import MetaModel, to_bytes

# Increased when kept arrays change their meaning, so that older files are made again.
FILE_VERSION = 10
# Seconds of one core that training takes for each measured cell and each task (measured on the seed).
SECONDS_PER_CELL, SECONDS_PER_TASK = 1.6e-4, 1.5e-2


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A meta-model with the fitted levels and the validation for each metric that it serves.

    `tasks` are the ids of the tasks that it learned from.
    """

    tasks: frozenset[str]
    meta: MetaModel
    levels: Mapping[str, str]
    validations: Mapping[str, Validation]

    @property
    def learners(self) -> frozenset[str]:
        """The learners for which the loss of the default is known."""
        return frozenset(json.loads(self.levels.get(self.meta.metric, "{}")))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, for a file."""
        return {
            "tasks": to_bytes(json.dumps(sorted(self.tasks))),
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
        levels = _select_part(arrays, "levels/")
        validated = {name.split("/")[1] for name in arrays if name.startswith("validation/")}
        return cls(
            tasks=frozenset(json.loads(arrays["tasks"].tobytes())),
            meta=MetaModel.from_arrays(_select_part(arrays, "meta/"), spaces),
            levels={metric: text.tobytes().decode() for metric, text in levels.items()},
            validations={m: Validation.from_arrays(_select_part(arrays, f"validation/{m}/")) for m in validated},
        )


def train_model(past: Measurements, evidence: Evidence, *, seed: int, is_validated: bool = True) -> Model:
    """Train on the evidence of a default metric; fit and validate for all metrics that it guides."""
    parts = []
    settings = OF_TABLES if len(evidence.tasks) >= MIN_TASKS else None
    if is_validated:
        parts = [
            LeftOutModel(groups, MetaModel.fit(part, seed=seed, settings=settings))
            for part, groups in split_groups(evidence, seed=seed)
            if part.tasks
        ]
    meta = MetaModel.fit(evidence, seed=seed, settings=settings)
    served = [metric for metric in past.losses if find_guiding_metric(metric) == evidence.metric]
    evidence_by_metric = {metric: past.evidence(metric, list(evidence.spaces)) for metric in served}
    return Model(
        tasks=frozenset(task.id for task in evidence.tasks),
        meta=meta,
        levels={metric: Levels.fit(part, seed=seed).to_text() for metric, part in evidence_by_metric.items()},
        validations={metric: validate(part, parts, seed=seed) for metric, part in evidence_by_metric.items() if parts},
    )


def estimate_training_seconds(evidence: Evidence, *, is_validated: bool = True) -> float:
    """Estimated seconds that `train_model` takes on one core."""
    once = SECONDS_PER_CELL * count_cells(evidence) + SECONDS_PER_TASK * len(evidence.tasks)
    return once * (1 + 5 * is_validated)


def count_cells(evidence: Evidence) -> int:
    """Number of measured losses."""
    return int((~np.isnan(evidence.losses)).sum())


def name_kind(task_type: TaskType) -> str:
    """Name the kind of a task type, classification or regression; each learns only from tasks of its kind."""
    return "classification" if task_type.is_classification else "regression"


def make_model_key(evidence: Evidence, content: str) -> str:
    """The name of a kept model: kind, metric, learners, number of tasks that it learned from, and content hash."""
    prefix = _make_prefix("model", name_kind(evidence.tasks[0].type))
    return f"{prefix}{evidence.metric}-{'.'.join(evidence.spaces)}-{len(evidence.tasks)}-{content}"


def list_kept_models(folder: Path, evidence: Evidence, content: str, learners: frozenset[str]) -> list[Path]:
    """Files of models that serve the metric of the evidence and know all its learners, the best one first.

    Models of fewer learners come first, then those of the present content hash `content`, then those that learned from
    more tasks, then the user's own. Models with learners that are not in `learners` are left out: they cannot be read.
    """
    prefix = f"{_make_prefix('model', name_kind(evidence.tasks[0].type))}{find_guiding_metric(evidence.metric)}-"
    candidates = []
    for order, path in enumerate(cache.list_newest(folder, f"{prefix}*")):
        scope, _, tasks_and_content = path.stem.removeprefix(prefix).partition("-")
        names, (n_tasks, _, learned_from) = set(scope.split(".")), tasks_and_content.partition("-")
        if set(evidence.spaces) <= names <= learners and n_tasks.isdigit():
            candidates.append((len(names), learned_from != content, -int(n_tasks), order, path))
    return [path for *_, path in sorted(candidates)]


def make_measurements_key(task_type: TaskType, content: str) -> str:
    """The name of kept measurements."""
    return f"{_make_prefix('measured', name_kind(task_type))}{content}"


def _make_prefix(what: str, kind: str) -> str:
    return f"v{FILE_VERSION}-{what}-{kind}-"


def _select_part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
