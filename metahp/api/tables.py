"""Describe a table, and make its record for the knowledge base."""

import time

from metahp.core.metric import find_metrics
from metahp.datasets.table import Table
from metahp.evaluation.losses import compute_constant_losses
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.metafeatures.extract import MetaFeatures, extract


def describe_table(table: Table, *, budget_seconds: float, seed: int) -> MetaFeatures:
    """The meta-features of a table, within `budget_seconds` of work; the rest is NaN and named in `warnings`."""
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
