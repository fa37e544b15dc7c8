"""Tables of which some rows are set aside before anything looks at them."""

from dataclasses import replace

import numpy as np
import pandas as pd
from _peers import LEARNER, Part

from metahp.api.tuning.rows import rows_of
from metahp.core.configuration import Configuration
from metahp.core.task import TaskType
from metahp.datasets.infer import parse_column
from metahp.datasets.read import TableSource
from metahp.datasets.table import Table
from metahp.knowledge.records import TaskRecord
from metahp.learners.base import Split
from metahp.learners.registry import learner_named
from metahp.results.preparation import preparation_of, texts_of

OUTER_SHARE, FEWEST_ROWS = 0.3, 500


def divided(source: TableSource) -> tuple[Table, Part, np.ndarray]:
    """The table of the inner rows, both parts with plain column names, and the targets of the outer rows."""
    rows = rows_of(source.path, target=source.target, task=source.task_type, test_size=OUTER_SHARE)
    table, outer = rows.table, rows.outer
    assert outer is not None
    features, _ = preparation_of(table).features(outer)
    names = [f"f{i}" for i in range(features.shape[1])]
    part = Part(
        table.features.set_axis(names, axis=1),
        table.y,
        features[list(table.features)].set_axis(names, axis=1),
        table.task.type,
        table.task.n_classes,
    )
    if not table.task.type.is_classification:
        return table, part, parse_column(outer[table.target]).to_numpy(dtype=float)
    codes = pd.Index(table.classes, dtype=object).get_indexer(pd.Index(texts_of(outer[table.target]), dtype=object))
    # A class of a single row may be among the outer rows alone, where nothing can know it.
    known = codes >= 0
    return table, replace(part, X_test=part.X_test[known]), codes[known]


def trained(table: Table, part: Part, configuration: Configuration) -> np.ndarray:
    """Predictions for the outer rows of a model of all inner rows."""
    is_categorical = table.is_categorical
    matrix = np.column_stack(
        [
            np.where(column.cat.codes < 0, np.nan, column.cat.codes) if is_category else column.to_numpy(dtype=float)
            for (_, column), is_category in zip(part.X_test.items(), is_categorical, strict=True)
        ]
    )
    split = Split(
        X_train=table.matrix,
        y_train=table.y,
        X_test=matrix,
        is_categorical=is_categorical,
        task_type=part.task_type,
        n_classes=part.n_classes,
    )
    return np.asarray(learner_named(LEARNER).fit(configuration, split, seed=0).predictions[-1])


def in_fold(source: TableSource, records: list[TaskRecord], fold: dict[str, int]) -> int:
    """The fold whose knowledge does not know this table's group; that of a table never met is the first."""
    own = {record.task.group or record.task.id for record in records if record.task.name == source.name}
    return next((fold[group] for group in (*own, source.group) if group in fold), 0)


def large_enough(sources: list[TableSource], n: int | None, records: list[TaskRecord]) -> list[TableSource]:
    """The first `n` sources with enough rows, in an order that has nothing to do with what they hold."""
    n_rows = {record.task.name: record.task.n_rows for record in records}
    found: list[TableSource] = []
    for i in np.random.default_rng(0).permutation(len(sources)):
        if len(found) == n:
            break
        if (n_rows.get(sources[i].name) or sources[i].load().task.n_rows) >= FEWEST_ROWS:
            found.append(sources[i])
    return found


def type_of(source: TableSource) -> TaskType:
    """The task type of a source, inferred where it is not given."""
    return source.task_type or source.load().task.type


def is_kind(source: TableSource, task_type: TaskType) -> bool:
    """Whether a source is a classification task where `task_type` is one, and regression where it is regression."""
    return type_of(source).is_classification == task_type.is_classification
