"""The story, one function per verb: load, describe, recommend and refresh."""

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.core.metric import Metric, kin_metrics, metric_for, metrics_for
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin, Protocol, Trial, trial_id
from metahp.datasets.read import TableSource, load_table, table_from
from metahp.datasets.table import Table
from metahp.evaluation.budget import Budget
from metahp.evaluation.losses import constant_losses
from metahp.evaluation.runner import Job, Limits
from metahp.knowledge import cache
from metahp.knowledge import seed as seeds
from metahp.knowledge.locate import open_knowledge_base
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.catalogue import LEARNERS, learner_named
from metahp.metafeatures.extract import NAMES, VERSION, MetaFeatures, extract
from metahp.recommendation.adviser import Adviser
from metahp.recommendation.result import Recommendation, Recommended
from metahp.surrogate.encoding import MIN_COVERAGE, Evidence, evidence

logger = logging.getLogger(__name__)

# What the seed measures of each learner.
DESIGN_SIZES = {"lightgbm": 64, "random_forest": 30, "extra_trees": 30, "linear": 30}
SEED_PROTOCOL = Protocol()
SEED_LIMITS = Limits(seconds=15.0, memory_mib=4096.0)
# Meta-features of past tasks are extracted without haste: a skipped group would be a gap in all later training.
SEED_BUDGET_SECONDS = 30.0
INGEST_EVERY = 500
# 80 % of a normal distribution lie within so many standard deviations.
Z_80 = 1.2816
BASELINE = "baseline:"
# Raised whenever the arrays of an adviser change their meaning, so that kept ones are trained again.
ADVISER_VERSION = 2
# Inside the seed folder, not packaged: the database and journal from which the seed is written.
WORK_FOLDER = ".work"


def load(source: Any, y: Any = None, *, target: str | None = None, task: str | None = None) -> Table:
    """A table from a path, `-` for standard input, a frame, or arrays `source` (n, d) and `y` (n,).

    Raises:
        InputError, UnknownNameError: see `metahp.datasets.infer.build_table`.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | Path):
        return load_table(source, target=target, task_type=task_type_named(task))
    return table_from(source, y, target=target, task_type=task_type_named(task))


def task_type_named(name: str | None) -> TaskType | None:
    """The task type called `name`; None stays None.

    Raises:
        InputError: no such task type.
    """
    if name is None:
        return None
    if name not in set(TaskType):
        raise InputError(f"--task is one of {', '.join(TaskType)}, got '{name}'.")
    return TaskType(name)


def describe(
    X: Any,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    budget_seconds: float = 2.0,
    seed: int = 0,
) -> MetaFeatures:
    """The meta-features of a table, within `budget_seconds`; what does not fit is NaN and named in `warnings`."""
    return extract(load(X, y, target=target, task=task), seconds_left=Budget(budget_seconds).left, seed=seed)


def recommend(
    X: Any,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    k: int = 5,
    learners: Sequence[str] | None = None,
    knowledge_base: str | Path | KnowledgeBase | None = None,
    seed: int = 0,
    budget_seconds: float = 2.0,
) -> Recommendation:
    """The `k` configurations to try first on a table.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`.
        y: Target of arrays and of frames without it, shape (n,).
        target: Target column; guessed where it is None.
        task: binary, multiclass or regression; inferred where it is None.
        metric: A scikit-learn scorer name; the task type's default where it is None.
        k: How many.
        learners: Names of learners to choose from; None for all that the knowledge base knows well enough.
        knowledge_base: A knowledge base or the path of one; None for the user's own.
        seed: Of the meta-features' samples and of the training of surrogates.
        budget_seconds: For the meta-features.

    Raises:
        InputError, UnknownNameError: input that cannot be used; KnowledgeBaseError: no past task of this kind.
    """
    if k < 1:
        raise InputError(f"k is the number of configurations, at least 1, got {k}.")
    table = load(X, y, target=target, task=task)
    chosen = metric_for(table.task.type, metric)
    for name in learners or ():
        learner_named(name)
    base = (
        knowledge_base
        if isinstance(knowledge_base, KnowledgeBase)
        else open_knowledge_base(Path(knowledge_base) if knowledge_base else None)
    )
    totals = base.info()
    names = tuple(dict.fromkeys(learners)) if learners else known_learners(totals)
    shared = {
        "task": table.task,
        "target": table.target,
        "metric": chosen,
        "seed": seed,
        "n_past_tasks": totals["n_tasks"],
        "n_past_trials": totals["n_trials"],
        "numeric": tuple(c for c, is_cat in zip(table.features, table.is_categorical, strict=True) if not is_cat),
        "categorical": tuple(c for c, is_cat in zip(table.features, table.is_categorical, strict=True) if is_cat),
    }
    own = [
        trial
        for trial in base.trials(task=table.task.id)
        if trial.configuration.learner in names and np.isfinite(trial.loss(chosen.name))
    ]
    if own:
        return Recommendation(
            items=_from_own_trials(own, table.task, chosen, k),
            neighbours=(),
            track_record=None,
            abstained=False,
            reasons=(f"this table is in the knowledge base: {len(own)} trials measured on it",),
            is_known_task=True,
            warnings=table.warnings,
            **shared,
        )
    metafeatures = extract(table, seconds_left=Budget(budget_seconds).left, seed=seed)
    adviser, notes = _adviser(base, table.task.type, chosen, names, seed=seed)
    baseline = constant_losses(table.y, table.task.type, table.task.n_classes)[chosen.name]
    advice = adviser.advise(table.task, metafeatures.vector(), NAMES, baseline, k)
    defaults = set(adviser.knowledge.defaults.values())
    items = tuple(
        Recommended(
            rank,
            adviser.knowledge.candidates[item.column],
            chosen.score(item.loss),
            chosen.score(item.high),
            chosen.score(item.low),
            chosen.score(item.default_loss),
            item.fit_seconds,
            Origin.DEFAULT if item.column in defaults else Origin.PORTFOLIO if advice.abstained else Origin.SURROGATE,
        )
        for rank, item in enumerate(advice.items, start=1)
    )
    abstained = (f"past tasks not trusted, so this is the portfolio: {advice.abstained}",) if advice.abstained else ()
    return Recommendation(
        items=items,
        neighbours=advice.neighbours,
        reasons=advice.reasons,
        track_record=adviser.track_record,
        abstained=bool(advice.abstained),
        is_known_task=False,
        warnings=(*table.warnings, *metafeatures.warnings, *notes, *abstained),
        **shared,
    )


def _from_own_trials(own: Sequence[Trial], task: Task, metric: Metric, k: int) -> tuple[Recommended, ...]:
    """The best measured configurations of a known table, with what was measured."""
    ranked = sorted(own, key=lambda trial: trial.loss(metric.name))
    default = {name: learner.space(task.type).default.id for name, learner in LEARNERS.items()}
    default_loss = {
        trial.configuration.learner: trial.loss(metric.name)
        for trial in own
        if trial.configuration.id == default[trial.configuration.learner]
    }
    items = []
    for rank, trial in enumerate(ranked[:k], start=1):
        losses = np.asarray(trial.fold_losses[metric.name])
        half = Z_80 * float(losses.std(ddof=1)) / np.sqrt(losses.size)
        loss = trial.loss(metric.name)
        seconds = trial.fit_seconds / (trial.protocol.folds - 1) / trial.protocol.repeats
        items.append(
            Recommended(
                rank,
                trial.configuration,
                metric.score(loss),
                metric.score(loss + half),
                metric.score(loss - half),
                metric.score(default_loss.get(trial.configuration.learner, float("nan"))),
                seconds * task.n_rows / trial.n_rows,
                trial.origin,
            )
        )
    return tuple(items)


def known_learners(totals: Mapping[str, Any]) -> tuple[str, ...]:
    """The learners whose design is measured on at least half of the tasks, by what `KnowledgeBase.info` counts.

    All of them where none is: the caller then learns what is missing.
    """
    trials = totals["trials_by_learner"]
    known = tuple(
        name for name in LEARNERS if trials.get(name, 0) >= MIN_COVERAGE * DESIGN_SIZES[name] * totals["n_tasks"] > 0
    )
    return known or tuple(LEARNERS)


def past_evidence(
    records: Iterable[TaskRecord],
    trials: Iterable[Trial],
    task_type: TaskType,
    metric: Metric,
    learners: Sequence[str],
) -> tuple[Evidence, np.ndarray]:
    """Evidence for tasks like `task_type`, and the loss of a constant prediction on each of its tasks, shape (t,).

    Classification learns from classification and regression from regression: spaces and designs differ between them.
    """
    kin = kin_metrics(metric.name)
    records = [
        record
        for record in records
        if record.task.type.is_classification == task_type.is_classification and record.metafeatures_version == VERSION
    ]
    if not records:
        raise KnowledgeBaseError(
            f"The knowledge base has no {task_type} task to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    vectors = np.array([[record.metafeatures.get(name, np.nan) for name in NAMES] for record in records])
    spaces = {name: learner_named(name).space(task_type) for name in learners}
    past = evidence(
        [record.task for record in records],
        vectors,
        list(trials),
        metrics={str(kind): name for kind, name in kin.items()},
        spaces=spaces,
    )
    if not past.tasks:
        raise KnowledgeBaseError(f"No {task_type} task of the knowledge base has trials of {' and '.join(learners)}.")
    constant = {record.task.id: record.metafeatures[BASELINE + kin[record.task.type]] for record in records}
    return past, np.array([constant[task.id] for task in past.tasks])


def _adviser(
    base: KnowledgeBase, task_type: TaskType, metric: Metric, learners: Sequence[str], *, seed: int
) -> tuple[Adviser, tuple[str, ...]]:
    """The trained adviser, from the cache where the knowledge base has not changed since it was trained."""
    key = adviser_key(base.content_hash(), task_type, metric, learners, seed)
    if (arrays := cache.load(base.folder, key)) is not None:
        return Adviser.from_arrays(arrays), ()
    budget = Budget(0.0)
    adviser = train_adviser(base, task_type, metric, learners, seed=seed)
    cache.save(base.folder, key, adviser.to_arrays())
    return adviser, (f"trained on the knowledge base in {budget.spent():.0f} s; the next call finds the result",)


def adviser_key(content: str, task_type: TaskType, metric: Metric, learners: Sequence[str], seed: int) -> str:
    """The cache key of an adviser: two that agree in it were trained on the same data in the same way."""
    return f"v{ADVISER_VERSION}-{content}-{task_type}-{metric.name}-{'.'.join(sorted(learners))}-{seed}"


def train_adviser(
    base: KnowledgeBase, task_type: TaskType, metric: Metric, learners: Sequence[str], *, seed: int
) -> Adviser:
    """Train on all past tasks like `task_type`."""
    learners = sorted(learners)
    trials = [trial for name in learners for trial in base.trials(learner=name)]
    past, baselines = past_evidence(base.tasks(), trials, task_type, metric, learners)
    spaces = {name: learner_named(name).space(task_type) for name in learners}
    return Adviser.learn(past, baselines, spaces, metric=metric.name, seed=seed)


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One table of a manifest."""

    source: TableSource
    origin: str
    licence: str
    tier: str


def read_manifest(path: str | Path) -> list[ManifestRow]:
    """The tables that a manifest lists (columns name, file, task, target; group, tier, source_* and licence optional).

    Raises:
        InputError: no such file, or a column is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"No manifest at {path}; expected a CSV with the columns name, file, task and target.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = {"name", "file", "task", "target"} - set(rows[0] if rows else ())
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(sorted(missing))}; found "
            f"{', '.join(rows[0]) if rows else 'no row'}."
        )
    return [
        ManifestRow(
            TableSource(
                str(path.parent / row["file"]),
                row["target"],
                task_type_named(row["task"]),
                row["name"],
                row.get("group") or row["name"],
            ),
            f"{row.get('source_repo', '')}/{row.get('source_path', '')}".strip("/"),
            row.get("license_note", ""),
            row.get("tier", ""),
        )
        for row in rows
    ]


def refresh(
    manifest: Sequence[ManifestRow],
    out: Path,
    *,
    learners: Sequence[str] = tuple(LEARNERS),
    sizes: Mapping[str, int] | None = None,
    n_jobs: int = 1,
    on_trial: Callable[[int, int, Trial | None], None] = lambda done, total, trial: None,
) -> KnowledgeBase:
    """Measure the design of every learner on every table and write the seed folder `out`.

    What is measured already is not measured again: neither what `out` holds, nor what an interrupted call left in its
    working folder `out/.work`, where each trial is on disk before the next one is counted.

    Args:
        manifest: The tables.
        out: The seed folder.
        learners: Which learners.
        sizes: Number of configurations by learner; `DESIGN_SIZES` where not named.
        n_jobs: How many trials run side by side.
        on_trial: Called with trials done, trials in all and the trial, once at the start with None.
    """
    # Imported here: a recommendation measures nothing and needs neither design nor pool.
    from metahp.evaluation.design import design
    from metahp.evaluation.parallel import run_jobs

    sizes = {**DESIGN_SIZES, **(sizes or {})}
    base = KnowledgeBase(out / WORK_FOLDER)
    if not base.file.exists() and (out / "tasks.parquet").exists():
        seeds.import_seed(base, out)
    base.ingest()
    done = base.trial_ids()
    described = {record.task.id for record in base.tasks() if record.metafeatures_version == VERSION}
    jobs: list[Job] = []
    pending: list[ManifestRow] = []
    for row in manifest:
        task = row.source.load().task
        if task.id not in described:
            pending.append(row)
        for name in learners:
            jobs += [
                Job(row.source, task.id, configuration, SEED_PROTOCOL, origin, SEED_LIMITS)
                for configuration, origin in design(learner_named(name), task.type, sizes[name])
                if trial_id(task.id, configuration, SEED_PROTOCOL) not in done
            ]
    on_trial(0, len(jobs), None)
    for count, trial in enumerate(run_jobs(jobs, n_jobs=n_jobs), start=1):
        base.record([trial])
        on_trial(count, len(jobs), trial)
        if count % INGEST_EVERY == 0:
            base.ingest()
    for record in _describe_all(pending, n_jobs):
        base.record(tasks=[record])
    base.ingest()
    seeds.export_seed(base, out)
    return base


def _describe_all(rows: Sequence[ManifestRow], n_jobs: int) -> Iterator[TaskRecord]:
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered")(delayed(_describe_row)(row) for row in rows)


def _describe_row(row: ManifestRow) -> TaskRecord:
    table = row.source.load()
    metafeatures = extract(table, seconds_left=Budget(SEED_BUDGET_SECONDS).left, seed=0)
    if metafeatures.warnings:
        logger.warning("%s: %s", table.task.name, "; ".join(metafeatures.warnings))
    constant = constant_losses(table.y, table.task.type, table.task.n_classes)
    values = {
        **metafeatures.values,
        **{BASELINE + metric.name: constant[metric.name] for metric in metrics_for(table.task.type)},
    }
    return TaskRecord(table.task, values, metafeatures.version, row.origin, row.licence)
