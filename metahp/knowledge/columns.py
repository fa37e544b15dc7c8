"""Tasks and trials as Arrow tables, the only form in which they are written to DuckDB and Parquet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Trial
from metahp.knowledge.records import TaskRecord

TASK_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "name": pa.string(),
        "group": pa.string(),
        "type": pa.string(),
        "n_rows": pa.int64(),
        "n_features": pa.int64(),
        "n_classes": pa.int64(),
        "source": pa.string(),
        "licence": pa.string(),
        "metafeatures": pa.map_(pa.string(), pa.float64()),
        "metafeatures_version": pa.int32(),
    }
)


def make_trial_schema(number: pa.DataType) -> pa.Schema:
    """The columns of trials, with losses and seconds as `number` (float64 in the database, float32 in the seed)."""
    losses = pa.map_(pa.string(), pa.list_(number))
    return pa.schema(
        {
            "id": pa.string(),
            "task": pa.string(),
            "learner": pa.string(),
            "configuration": pa.string(),
            "configuration_id": pa.string(),
            "folds": pa.int32(),
            "repeats": pa.int32(),
            "seed": pa.int64(),
            "max_rows": pa.int64(),
            "splits": pa.string(),
            "n_rows": pa.int64(),
            "state": pa.string(),
            "reason": pa.string(),
            "origin": pa.string(),
            "fold_losses": losses,
            "curve_checkpoints": pa.list_(pa.int32()),
            "curve_losses": losses,
            "fit_seconds": number,
            "predict_seconds": number,
            "space_version": pa.int32(),
            "versions": pa.string(),
            "device": pa.string(),
        }
    )


def tasks_to_table(records: Sequence[TaskRecord]) -> pa.Table:
    """One row per record, columns as `TASK_SCHEMA`."""
    rows = [
        {
            "id": r.task.id,
            "name": r.task.name,
            "group": r.task.group,
            "type": str(r.task.type),
            "n_rows": r.task.n_rows,
            "n_features": r.task.n_features,
            "n_classes": r.task.n_classes,
            "source": r.source,
            "licence": r.licence,
            "metafeatures": [(name, float(value)) for name, value in r.metafeatures.items()],
            "metafeatures_version": r.metafeatures_version,
        }
        for r in records
    ]
    return pa.Table.from_pylist(rows, schema=TASK_SCHEMA)


def trials_to_table(trials: Sequence[Trial], number: pa.DataType | None = None) -> pa.Table:
    """One row per trial, columns as `make_trial_schema(number)`; `number` is float64 unless given."""
    schema = make_trial_schema(number or pa.float64())
    texts = _JsonTexts()
    columns = {
        "id": [t.id for t in trials],
        "task": [t.task for t in trials],
        "learner": [t.configuration.learner for t in trials],
        "configuration": [texts.write(t.configuration.id, t.configuration.stored) for t in trials],
        "configuration_id": [t.configuration.id for t in trials],
        "folds": [t.protocol.folds for t in trials],
        "repeats": [t.protocol.repeats for t in trials],
        "seed": [t.protocol.seed for t in trials],
        "max_rows": [t.protocol.max_rows for t in trials],
        "splits": [t.protocol.splits for t in trials],
        "n_rows": [t.n_rows for t in trials],
        "state": [str(t.state) for t in trials],
        "reason": [t.reason for t in trials],
        "origin": [str(t.origin) for t in trials],
        "fold_losses": _make_loss_array([t.fold_losses for t in trials], schema.field("fold_losses").type),
        "curve_checkpoints": [t.curve.checkpoints for t in trials],
        "curve_losses": _make_loss_array([t.curve.losses for t in trials], schema.field("curve_losses").type),
        "fit_seconds": _make_number_array((t.fit_seconds for t in trials), schema.field("fit_seconds").type),
        "predict_seconds": _make_number_array(
            (t.predict_seconds for t in trials), schema.field("predict_seconds").type
        ),
        "space_version": [t.space_version for t in trials],
        "versions": [texts.write(tuple(sorted(t.versions.items())), dict(sorted(t.versions.items()))) for t in trials],
        "device": [t.device for t in trials],
    }
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, type=schema.field(name).type)
        for name, values in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """`table` with exactly the columns of `schema`, converted if necessary.

    Raises:
        KnowledgeBaseError: a column is missing or cannot be converted.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise KnowledgeBaseError(
            f"The {what} of this knowledge base lack the column '{missing[0]}'. Expected: {', '.join(schema.names)}."
        )
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise KnowledgeBaseError(f"The {what} of this knowledge base have columns of another type: {error}") from error


class _JsonTexts:
    """JSON texts of repeated values, each written once per key."""

    def __init__(self) -> None:
        self._texts: dict[object, str] = {}

    def write(self, key: object, values: Mapping[str, object]) -> str:
        if key not in self._texts:
            self._texts[key] = json.dumps(values, separators=(",", ":"), allow_nan=False)
        return self._texts[key]


def drop_ids(schema: pa.Schema) -> pa.Schema:
    """The columns of trials without the ids, which can be computed from the other columns."""
    return pa.schema([field for field in schema if field.name not in ("id", "configuration_id")])


def _make_number_array(values: Iterable[float], number: pa.DataType) -> pa.Array:
    # A loss too large for float32 (the model diverged) becomes infinite, without a warning per trial.
    with np.errstate(over="ignore"):
        return pa.array(np.fromiter(values, dtype=np.float64).astype(number.to_pandas_dtype()))


def _make_loss_array(maps: Sequence[Mapping[str, Sequence[float]]], kind: pa.DataType) -> pa.Array:
    """An array of maps from metric to losses. Metrics are sorted by name, so that equal maps have equal bytes."""
    ordered = [sorted(losses.items()) for losses in maps]
    pairs = list(chain.from_iterable(ordered))
    values = _make_number_array(chain.from_iterable(losses for _, losses in pairs), kind.item_type.value_type)
    lists = pa.ListArray.from_arrays(_make_offsets(len(losses) for _, losses in pairs), values)
    keys = pa.array([name for name, _ in pairs], pa.string())
    return pa.MapArray.from_arrays(_make_offsets(map(len, ordered)), keys, lists).cast(kind)


def _make_offsets(lengths: Iterable[int]) -> pa.Array:
    return pa.array(np.concatenate(([0], np.cumsum(np.fromiter(lengths, dtype=np.int64)))).astype(np.int32))
