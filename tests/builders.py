"""Builders of small trials, tables, objectives and knowledge bases that several tests share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import metahp
from metahp.core.configuration import Configuration
from metahp.core.metric import find_metrics
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.metafeatures.extract import VERSION


def make_trial(*losses: float, metric: str = "roc_auc", **changes: Any) -> Trial:
    """A trial with one loss per fold: complete, or failed where there are none; `changes` are fields of `Trial`."""
    fields: dict[str, Any] = {
        "task": "t",
        "configuration": Configuration.of("toy", {"losses": str(losses)}),
        "protocol": Protocol(folds=max(2, len(losses))),
        "n_rows": 30,
        "state": TrialState.COMPLETE if losses else TrialState.FAILED,
        "origin": Origin.DESIGN,
        "fold_losses": {metric: losses} if losses else {},
        "reason": "" if losses else "it failed",
    }
    return Trial(**{**fields, **changes})


def make_frame(seed: int, n_rows: int = 150) -> pd.DataFrame:
    """Three numbers and a target of two classes, which follows the first number."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n_rows, 3)), columns=["a", "b", "c"])
    frame["target"] = np.where(frame["a"] + rng.normal(size=n_rows) > 0, "yes", "no")
    return frame


def make_task_record(number: int, metafeatures: Mapping[str, float]) -> TaskRecord:
    """A binary past task in a group of its own; a constant prediction has a loss of 0.69 by every metric."""
    name = f"past{number}"
    task = Task(id=f"{number:024d}", type=TaskType.BINARY, n_rows=80, n_features=30, n_classes=2, name=name, group=name)
    constants = {BASELINE + metric.name: 0.69 for metric in find_metrics(TaskType.BINARY)}
    return TaskRecord(task=task, metafeatures={**constants, **metafeatures}, metafeatures_version=VERSION)


def make_knowledge_base(
    folder: Path,
    records: Sequence[TaskRecord],
    configurations: Sequence[Configuration],
    compute_losses: Callable[[Configuration], tuple[float, ...]],
    metric: str = "neg_log_loss",
) -> KnowledgeBase:
    """A knowledge base of past tasks whose configurations all have the losses that `compute_losses` gives."""
    base = KnowledgeBase(folder)
    for record in records:
        trials = [
            make_trial(*compute_losses(configuration), metric=metric, task=record.task.id, configuration=configuration)
            for configuration in configurations
        ]
        base.record(trials, [record])
    return base


BOWL_SPACE = SearchSpace(
    "toy_service",
    1,
    (Float("rate", 1e-3, 1.0, 0.1, is_log=True), Integer("depth", 1, 20, 4), Categorical("kind", ("a", "b"), "a")),
)


def bowl(values: dict[str, Any]) -> float:
    """A score over `BOWL_SPACE`, best at rate 0.01 and depth 10."""
    return float(-((np.log10(values["rate"]) + 2) ** 2) - (values["depth"] - 10) ** 2 / 50)


def tune_bowl(base: KnowledgeBase, **options: Any) -> metahp.TuneResult:
    """The result of a random search over the bowl; `options` are arguments of `tune_objective`."""
    defaults = {"function": bowl, "space": BOWL_SPACE, "knowledge_base": base, "strategy": "random"}
    return metahp.tune_objective(**{**defaults, **options})
