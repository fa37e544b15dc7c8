"""Describe a table, and make its record for the knowledge base."""

import time
from typing import Any

from metahp.core.metric import find_metrics
from metahp.datasets.load import load
from metahp.datasets.table import Table
from metahp.evaluation.losses import compute_constant_losses
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.metafeatures.extract import MetaFeatures, extract


def describe(
    X: Any,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    budget_seconds: float = 2.0,
    seed: int = 0,
) -> MetaFeatures:
    """The meta-features of a table; those beyond `budget_seconds` of work are NaN and named in `warnings`."""
    table = load(X, y, target=target, task=task)
    return extract(table, budget_seconds=budget_seconds, clock=time.process_time, seed=seed)


def make_record(table: Table, metafeatures: MetaFeatures, *, source: str = "", licence: str = "") -> TaskRecord:
    """The record of a table for the knowledge base: its meta-features, and the losses of a constant prediction."""
    constant = compute_constant_losses(table.y, table.task.type, table.task.n_classes)
    baselines = {BASELINE + metric.name: constant[metric.name] for metric in find_metrics(table.task.type)}
    return TaskRecord(
        task=table.task,
        metafeatures={**metafeatures.values, **baselines},
        metafeatures_version=metafeatures.version,
        source=source,
        licence=licence,
    )
