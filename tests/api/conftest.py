"""A tiny knowledge base of made-up trials, two learners on twelve binary tasks, and a question about a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.api.advisers import ask_about
from metahp.api.past_knowledge import read_knowledge
from metahp.core.metric import METRICS, find_metrics
from metahp.core.task import Task, TaskType
from metahp.core.trial import EMPTY_CURVE, Protocol, Trial, TrialState
from metahp.datasets.load import load
from metahp.datasets.table import Table
from metahp.evaluation.design import make_design
from metahp.evaluation.scoring import compute_reference_loss
from metahp.knowledge import seed
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import find_learner
from metahp.metafeatures.extract import NAMES, VERSION, MetaFeatures
from metahp.recommendation.adviser import Advice, Adviser

N_TASKS = 12
BOTH = ("linear", "random_forest")
Answer = tuple[Adviser, Advice, tuple[str, ...]]


def vector_of(number: int) -> dict[str, float]:
    """Meta-features of a task whose number tells how good small models are on it."""
    values = dict(zip(NAMES, np.random.default_rng(number).normal(size=len(NAMES)).tolist(), strict=True))
    skills = {name: -0.3 for name in NAMES if name.startswith("landmark_") or name == "probe_skill"}
    return values | skills | {"log_n_rows": float(np.log(150 + number))}


def record_of(number: int, task_type: TaskType = TaskType.BINARY) -> TaskRecord:
    n_classes = {TaskType.BINARY: 2, TaskType.MULTICLASS: 3, TaskType.REGRESSION: 0}[task_type]
    name = f"{task_type}{number}"
    task = Task(
        id=f"{number:020d}{n_classes:04d}",
        type=task_type,
        n_rows=150 + number,
        n_features=3,
        n_classes=n_classes,
        name=name,
        group=name,
    )
    baselines = {BASELINE + metric.name: 0.6 for metric in find_metrics(task_type)}
    return TaskRecord(task=task, metafeatures=vector_of(number) | baselines, metafeatures_version=VERSION)


def compute_losses(rng: np.random.Generator) -> tuple[float, ...]:
    """Losses on three folds that hardly differ."""
    return tuple((rng.uniform(0.1, 0.5) + np.array([0.0, 1e-4, -1e-4])).tolist())


def trials_of(record: TaskRecord, learners: Sequence[str] = BOTH, n: int = 5) -> list[Trial]:
    rng = np.random.default_rng(int(record.task.id))
    return [
        Trial(
            task=record.task.id,
            configuration=configuration,
            protocol=Protocol(),
            n_rows=record.task.n_rows,
            state=TrialState.COMPLETE,
            origin=origin,
            fold_losses={metric.name: compute_losses(rng) for metric in find_metrics(record.task.type)},
            curve=EMPTY_CURVE,
            fit_seconds=0.1,
        )
        for learner in learners
        for configuration, origin in make_design(find_learner(learner), record.task.type, n)
    ]


@dataclass(frozen=True)
class Tiny:
    """The makers of tasks, trials and knowledge bases, and the table that questions are about."""

    frame: pd.DataFrame
    table: Table

    record_of = staticmethod(record_of)
    trials_of = staticmethod(trials_of)

    def base(self, folder: Path, numbers: Sequence[int] = range(N_TASKS), **options: Sequence[str]) -> KnowledgeBase:
        """A knowledge base of the tasks of these numbers, in its file."""
        base = KnowledgeBase(folder)
        self.add(base, numbers, **options)
        base.ingest()
        return base

    def add(self, base: KnowledgeBase, numbers: Sequence[int], **options: Sequence[str]) -> None:
        """Record tasks and their trials."""
        records = [record_of(number) for number in numbers]
        base.record([trial for record in records for trial in trials_of(record, **options)], records)

    def ask(
        self, base: KnowledgeBase, metric: str = "roc_auc", learners: Sequence[str] = BOTH, **options: float
    ) -> Answer:
        """The answer to the question about the table."""
        metafeatures = MetaFeatures(vector_of(99), {}, (), VERSION)
        with base.take_snapshot() as snapshot:
            knowledge = read_knowledge(snapshot, self.table.task.type, METRICS[metric], learners)
        chosen = METRICS[metric]
        loss = compute_reference_loss(self.table, chosen, None)
        return ask_about(knowledge, self.table, chosen, metafeatures, 3, reference_loss=loss, **options)


def said(answer: Answer) -> list:
    """What an answer says, but for the notes."""
    _, advice, _ = answer
    numbers = [(item.loss, item.low, item.high, item.default_loss, item.fit_seconds) for item in advice.items]
    return [
        [advice.prior.candidates[item.column].id for item in advice.items],
        repr(numbers),
        advice.neighbours,
        advice.reasons,
        advice.prior.abstained,
        advice.prior.weights.tolist(),
    ]


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(150, 3)), columns=["a", "b", "c"])
    frame["target"] = np.where(frame["a"] + rng.normal(size=150) > 0, "yes", "no")
    return Tiny(frame, load(frame, target="target"))


@pytest.fixture(autouse=True)
def _bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No seed, and so no model that came with it."""
    monkeypatch.setattr(seed, "_FOLDERS", (tmp_path / "no seed",))


@pytest.fixture(scope="session")
def answered() -> object:
    """What an answer says, but for its notes."""
    return said
