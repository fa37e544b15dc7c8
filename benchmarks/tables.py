"""Tables that benchmarks run on, those of a folder with a MANIFEST.csv, and the past tasks that are known beside them.

Every table is left out with its group: what is asked about it is learned from the other groups alone.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks.common import DATASETS, SEED_FOLDER, make_parser
from metahp import Configuration, Table, TaskType, Trial, api
from metahp.api.past_knowledge import measure_past
from metahp.core.metric import find_canonical_metric, find_kin_metrics
from metahp.core.trial_columns import TrialColumns
from metahp.datasets.cells import read_labels
from metahp.datasets.columns import parse_column
from metahp.datasets.read import TableSource
from metahp.evaluation.losses import compute_losses
from metahp.evaluation.protocol import make_folds, sample_rows
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import read_seed
from metahp.learners.base import Split
from metahp.learners.registry import find_learner
from metahp.study.request import Folds
from metahp.study.rows import split_rows
from metahp.surrogate.calibration import OF_TABLES
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks
from metahp.surrogate.validation import make_group_folds

LEARNER = find_learner("lightgbm")
N_FOLDS = 5
# A task type stands for its kind: classification learns from classification.
KINDS = {"classification": TaskType.BINARY, "regression": TaskType.REGRESSION}
# By kind a metric that models are trained for: those that say most of a model, or those that users get by default.
METRIC_SETS = {
    "log_loss": {"classification": "neg_log_loss", "regression": "neg_root_mean_squared_error"},
    "default": {"classification": "roc_auc", "regression": "neg_root_mean_squared_error"},
}
# Which rows of the evidence a benchmark may score.
ROWS = ("protocol", "more", "fewer")
# The share of a table that is set aside before anything looks at it, and the fewest rows of such a table.
OUTER_SHARE, FEWEST_ROWS = 0.3, 500
# Past tasks of a quick run.
QUICK_PAST = 40


@dataclass(frozen=True, eq=False)
class Past:
    """Past tasks and their trials of some learners."""

    records: list[TaskRecord]
    trials: list[Trial]

    @classmethod
    def read(cls, learners: Sequence[str], folder: Path = SEED_FOLDER) -> "Past":
        """Those of a seed folder."""
        return cls(*read_seed(folder, learners))

    @classmethod
    def measure(cls, rows: Sequence[api.ManifestRow], learners: Sequence[str], n_jobs: int) -> "Past":
        """Those of other tables, on which the design is measured now."""
        with tempfile.TemporaryDirectory() as folder:
            api.refresh_seed(rows, Path(folder), learners=learners, n_jobs=n_jobs)
            return cls.read(learners, Path(folder))

    def updated(self, newer: "Past") -> "Past":
        """Both, of the tasks that are in both the newer."""
        ids = {record.task.id for record in newer.records}
        return Past(
            [record for record in self.records if record.task.id not in ids] + newer.records,
            [trial for trial in self.trials if trial.task not in ids] + newer.trials,
        )

    def only(self, records: list[TaskRecord]) -> "Past":
        """Those of some records."""
        ids = {record.task.id for record in records}
        return Past(records, [trial for trial in self.trials if trial.task in ids])

    def smallest(self) -> "Past":
        """Those of the tables with the fewest rows, for a quick run."""
        return self.only(sorted(self.records, key=lambda record: record.task.n_rows)[:QUICK_PAST])

    def evidence(self, task_type: TaskType, metric: str) -> Evidence:
        """What they say of `LEARNER`."""
        measured = measure_past(self.records, TrialColumns.of(self.trials), task_type, [LEARNER.name])
        return measured.evidence(find_canonical_metric(metric), [LEARNER.name])


def is_scored(evidence: Evidence, records: Sequence[TaskRecord], rows: str = ROWS[0]) -> np.ndarray:
    """Which rows of the evidence are scored, (t,): those on as many rows of the table as the seed's protocol uses.

    Or those on `more` or `fewer` rows than that. The same task on other numbers of rows is there to learn from.
    """
    protocol = {record.task.id: min(record.task.n_rows, api.SEED_PROTOCOL.max_rows) for record in records}
    beyond = np.array([task.n_rows - protocol[task.id] for task in evidence.tasks])
    return {"protocol": beyond == 0, "more": beyond > 0, "fewer": beyond < 0}[rows]


def make_table_parser(description: str | None, *, n_tables: int | None = None) -> argparse.ArgumentParser:
    """A parser with the options of benchmarks on tables."""
    options = make_parser(description, data=DATASETS)
    options.add_argument("--cache", type=Path, metavar="FILE", help="JSON lines of what was measured")
    options.add_argument("--metrics", choices=METRIC_SETS, default="log_loss")
    options.add_argument("--tables", type=int, default=n_tables, metavar="N", help="compare on the first N tables")
    options.add_argument("--jobs", type=int, default=2)
    return options


def choose_tables(folder: Path, names: Sequence[str] | None) -> dict[str, api.ManifestRow]:
    """The tables of a manifest by name: those asked for, else those of tier core, or all where none has a tier."""
    rows = api.read_manifest(folder / "MANIFEST.csv")
    has_tiers = any(row.tier for row in rows)
    wanted = [row for row in rows if (row.source.name in names if names else row.tier == "core" or not has_tiers)]
    return {row.source.name: row for row in wanted}


@dataclass(frozen=True, eq=False, kw_only=True)
class Tables:
    """Tables of one kind on which methods are compared, and what past tasks say.

    By the name of a table `metrics` has the one that it is scored by, and `folds` the fold in which its group is left
    out; `known` has the rows of the evidence that a fold learns from.
    """

    evidence: Evidence
    sources: Mapping[str, TableSource]
    metrics: Mapping[str, str]
    folds: Mapping[str, int]
    known: Sequence[np.ndarray]

    def learn(self, n_jobs: int) -> dict[str, PastTasks]:
        """Past tasks as `metahp recommend` reads them, by the name of the table that they do not know."""
        used = sorted(set(self.folds.values()))
        learned = Parallel(n_jobs=n_jobs)(delayed(_learn)(self.evidence.rows(self.known[fold])) for fold in used)
        by_fold = dict(zip(used, learned, strict=True))
        return {name: by_fold[fold] for name, fold in self.folds.items()}


# Chooses tables of one kind, whose evidence is given.
Choose = Callable[[Evidence, TaskType], Sequence[TableSource]]


def tables_by_kind(past: Past, metrics: Mapping[str, str], choose: Choose) -> Iterator[Tables]:
    """The tables of each kind, by the metric of the kind or its next of kin."""
    for kind, task_type in KINDS.items():
        evidence = past.evidence(task_type, metrics[kind])
        sources, kin, groups = choose(evidence, task_type), find_kin_metrics(metrics[kind]), evidence.groups
        parts = list(make_group_folds(groups, N_FOLDS, seed=0))
        fold_of = {groups[row]: fold for fold, (_, test) in enumerate(parts) for row in test}
        yield Tables(
            evidence=evidence,
            sources={source.name: source for source in sources},
            metrics={source.name: kin[_type_of(source)] for source in sources},
            folds={source.name: _fold_without(source, past.records, fold_of) for source in sources},
            known=[train for train, _ in parts],
        )


def choose_large(tables: Mapping[str, api.ManifestRow], records: Sequence[TaskRecord], n: int | None) -> Choose:
    """Chooses `n` tables, half of each kind, or all, with rows enough to set some aside."""
    return partial(_choose_large, tables, records, n)


def _choose_large(
    tables: Mapping[str, api.ManifestRow],
    records: Sequence[TaskRecord],
    n: int | None,
    evidence: Evidence,
    task_type: TaskType,
) -> list[TableSource]:
    is_classification = task_type.is_classification
    sources = [row.source for row in tables.values() if _type_of(row.source).is_classification == is_classification]
    n_rows = {record.task.name: record.task.n_rows for record in records}
    found: list[TableSource] = []
    # In an order that has nothing to do with what they hold.
    for i in np.random.default_rng(0).permutation(len(sources)):
        if len(found) == half(n):
            break
        if (n_rows.get(sources[i].name) or sources[i].load().task.n_rows) >= FEWEST_ROWS:
            found.append(sources[i])
    return found


def half(n: int | None) -> int | None:
    """Of `n` tables those of one kind, at least one; None where `n` is."""
    return n and max(1, round(n / 2))


def _learn(evidence: Evidence) -> PastTasks:
    return PastTasks.read(evidence, MetaModel.fit(evidence, seed=0, settings=OF_TABLES))


def _type_of(source: TableSource) -> TaskType:
    """The task type of a source, inferred where it is not given."""
    return source.task_type or source.load().task.type


def _fold_without(source: TableSource, records: Sequence[TaskRecord], fold_of: Mapping[str, int]) -> int:
    """The fold whose knowledge does not know this table's group; that of a table never met is the first."""
    own = {record.task.group or record.task.id for record in records if record.task.name == source.name}
    return next((fold_of[group] for group in (*own, source.group) if group in fold_of), 0)


@dataclass(frozen=True, eq=False)
class TrainTest:
    """Training and test rows of one table."""

    train: Table
    test: Table

    @property
    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Features of both parts, with column names that every library takes."""
        names = [f"f{i}" for i in range(self.train.features.shape[1])]
        return self.train.features.set_axis(names, axis=1), self.test.features.set_axis(names, axis=1)

    def predict(self, configuration: Configuration) -> np.ndarray:
        """Predictions of `LEARNER` for the test rows."""
        table, task = self.train, self.train.task
        split = Split(
            X_train=table.matrix,
            y_train=table.y,
            X_test=self.test.matrix,
            is_categorical=table.is_categorical,
            task_type=task.type,
            n_classes=task.n_classes,
        )
        return np.asarray(LEARNER.fit(configuration, split, seed=0).predictions[-1])

    def loss(self, predictions: np.ndarray, metric: str) -> float:
        """The loss of predictions for the test rows."""
        return compute_losses(self.test.y, predictions, self.train.task.type)[metric]


def split_folds(table: Table) -> Iterator[TrainTest]:
    """The folds of a table by the seed's protocol."""
    for parts in make_folds(table, sample_rows(table, api.SEED_PROTOCOL), api.SEED_PROTOCOL):
        train, test = (replace(table, features=table.features.iloc[rows], y=table.y[rows]) for rows in parts)
        yield TrainTest(train, test)


def set_outer_rows_aside(source: TableSource) -> TrainTest:
    """A table whose outer rows are test rows, drawn by class for classification."""
    rows = split_rows(source.path, target=source.target, task=source.task_type, folds=Folds(test_size=OUTER_SHARE))
    table, outer = rows.table, rows.outer
    assert outer is not None
    features, _ = table.preparation.transform(outer)
    features = features[list(table.features)]
    if not table.task.type.is_classification:
        y = parse_column(outer[table.target]).cells.to_numpy(dtype=float)
        return TrainTest(table, replace(table, features=features, y=y))
    codes = pd.Index(table.classes, dtype=object).get_indexer(pd.Index(read_labels(outer[table.target]), dtype=object))
    # A class of a single row may be among the outer rows alone, where nothing can know it.
    known = codes >= 0
    return TrainTest(table, replace(table, features=features[known], y=codes[known]))
