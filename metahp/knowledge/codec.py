"""Conversion of trials and tasks to dictionaries for JSON, and back. The journal uses them."""

import math
from typing import Any

from metahp.core.configuration import Configuration
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.knowledge.records import TaskRecord

# Format of a journal line; `metahp.knowledge.segment` writes it.
FORMAT_VERSION = 2


def trial_to_dict(trial: Trial) -> dict[str, Any]:
    """The trial as JSON-ready values."""
    return {
        "id": trial.id,
        "task": trial.task,
        "learner": trial.configuration.learner,
        "configuration": trial.configuration.stored,
        "protocol": {
            "folds": trial.protocol.folds,
            "repeats": trial.protocol.repeats,
            "seed": trial.protocol.seed,
            "max_rows": trial.protocol.max_rows,
            # Left out if empty, so that older versions can read the line.
            **({"splits": trial.protocol.splits} if trial.protocol.splits else {}),
        },
        "n_rows": trial.n_rows,
        "state": str(trial.state),
        "reason": trial.reason,
        "origin": str(trial.origin),
        "fold_losses": {name: list(values) for name, values in trial.fold_losses.items()},
        "curve": {
            "checkpoints": list(trial.curve.checkpoints),
            "losses": {name: list(values) for name, values in trial.curve.losses.items()},
        },
        "fit_seconds": trial.fit_seconds,
        "predict_seconds": trial.predict_seconds,
        "space_version": trial.space_version,
        "versions": dict(trial.versions),
        "device": trial.device,
    }


def trial_from_dict(values: dict[str, Any]) -> Trial:
    """The trial that `trial_to_dict` wrote."""
    return Trial(
        task=values["task"],
        configuration=Configuration.of(values["learner"], values["configuration"]),
        protocol=Protocol(**values["protocol"]),
        n_rows=values["n_rows"],
        state=TrialState(values["state"]),
        origin=Origin(values["origin"]),
        fold_losses={name: tuple(losses) for name, losses in values["fold_losses"].items()},
        curve=Curve(
            tuple(values["curve"]["checkpoints"]),
            {name: tuple(losses) for name, losses in values["curve"]["losses"].items()},
        ),
        fit_seconds=values["fit_seconds"],
        predict_seconds=values["predict_seconds"],
        reason=values["reason"],
        space_version=values["space_version"],
        versions=values["versions"],
        device=values["device"],
    )


def task_to_dict(record: TaskRecord) -> dict[str, Any]:
    """The task record as JSON-ready values. A missing meta-feature is null; `kind` marks the line as a task."""
    task = record.task
    return {
        "kind": "task",
        "id": task.id,
        "type": str(task.type),
        "n_rows": task.n_rows,
        "n_features": task.n_features,
        "n_classes": task.n_classes,
        "name": task.name,
        "group": task.group,
        "metafeatures": {
            name: None if math.isnan(value) else float(value) for name, value in record.metafeatures.items()
        },
        "metafeatures_version": record.metafeatures_version,
        "source": record.source,
        "licence": record.licence,
    }


def make_task_from_dict(values: dict[str, Any]) -> TaskRecord:
    """The task record that `task_to_dict` wrote."""
    task = Task(
        id=values["id"],
        type=TaskType(values["type"]),
        n_rows=values["n_rows"],
        n_features=values["n_features"],
        n_classes=values["n_classes"],
        name=values["name"],
        group=values["group"],
    )
    features = {name: math.nan if value is None else float(value) for name, value in values["metafeatures"].items()}
    return TaskRecord(
        task=task,
        metafeatures=features,
        metafeatures_version=values["metafeatures_version"],
        source=values["source"],
        licence=values["licence"],
    )
