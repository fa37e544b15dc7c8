"""Refresh the seed: measure the design of every learner on the tables of a manifest."""

import csv
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metahp.api.tables import describe_table, make_record
from metahp.core.errors import InputError
from metahp.core.task import Task, find_task_type
from metahp.core.trial import Protocol, Trial, compute_trial_id
from metahp.datasets.read import TableSource
from metahp.datasets.table import Table
from metahp.evaluation.limits import Limits
from metahp.evaluation.runner import Job, Workload
from metahp.knowledge import seed as seeds
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS, find_learner
from metahp.metafeatures.extract import VERSION

logger = logging.getLogger(__name__)

SEED_PROTOCOL = Protocol()
SEED_LIMITS = Limits(seconds=30.0, memory_mib=4096.0, by_processor=True)
# For trials on more rows than `SEED_PROTOCOL` allows.
LARGE_LIMITS = Limits(seconds=120.0, memory_mib=4096.0, by_processor=True)
# Generous, since a skipped group of meta-features would be missing in all later training.
SEED_BUDGET_SECONDS = 30.0
INGEST_EVERY = 500
# Folder in the seed folder for the database and journal from which the seed is written; not packaged.
WORK_FOLDER = ".work"


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One table of a manifest."""

    source: TableSource
    origin: str
    licence: str
    tier: str


def read_manifest(path: str | Path) -> list[ManifestRow]:
    """The tables of a manifest (columns name, file, task, target; optional: group, tier, source_* and licence).

    Raises:
        InputError: the file does not exist, or a column is missing.
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
                path=str(path.parent / row["file"]),
                target=row["target"],
                task_type=find_task_type(row["task"]),
                name=row["name"],
                group=row.get("group") or row["name"],
            ),
            f"{row.get('source_repo', '')}/{row.get('source_path', '')}".strip("/"),
            row.get("license_note", ""),
            row.get("tier", ""),
        )
        for row in rows
    ]


def refresh_seed(
    manifest: Sequence[ManifestRow],
    out: Path,
    *,
    learners: Sequence[str] = tuple(LEARNERS),
    sizes: Mapping[str, int] | None = None,
    rows: Sequence[float] = (SEED_PROTOCOL.max_rows,),
    searches: Mapping[str, int] | None = None,
    n_jobs: int = 1,
    on_trial: Callable[[int, int, Trial | None], None] = lambda done, total, trial: None,
) -> KnowledgeBase:
    """Measure the design of every learner on every table, search further from there, and write the seed folder `out`.

    Trials that `out` contains are not measured again. Nor are those of an interrupted call: its working folder
    `out/.work` has each trial on disk before the next one is counted.

    Args:
        manifest: The tables.
        out: The seed folder.
        learners: Names of the learners.
        sizes: Number of configurations of the design by learner; default: the learner's `design_size`.
        rows: Maximum numbers of rows for measuring the design; a number below one is a share of the table's rows.
        searches: Number of trials of a search that starts from the design, by learner; default: no search.
        n_jobs: Number of trials that run in parallel.
        on_trial: Called with finished trials, all trials and the trial; once at the start with None as the trial.
    """
    # Imported here: a recommendation needs neither a design nor a process pool.
    from metahp.api.incumbents import plan_searches, run_searches
    from metahp.evaluation.processes import call_each, run_jobs

    sizes = {name: (sizes or {}).get(name, find_learner(name).design_size) for name in learners}
    base = KnowledgeBase(out / WORK_FOLDER)
    if not base.file.exists() and (out / "tasks.parquet").exists():
        seeds.import_seed(base, out)
    base.ingest()
    done = base.trial_ids()
    described = {record.task.id for record in base.tasks() if record.metafeatures_version == VERSION}
    jobs: list[Job] = []
    pending: list[ManifestRow] = []
    tables: list[tuple[TableSource, Task]] = []
    for row in manifest:
        task = row.source.load().task
        tables.append((row.source, task))
        if task.id not in described:
            pending.append(row)
        jobs += list_design_jobs(row.source, task, sizes, _list_protocols(task.n_rows, rows), done)
    n_searched = {name: n for name, n in (searches or {}).items() if name in learners}
    total = len(jobs) + sum(
        search.n_trials
        for name, n_trials in n_searched.items()
        for search in plan_searches(base, tables, name, n_trials, SEED_PROTOCOL, SEED_LIMITS)
    )
    on_trial(0, total, None)

    def run_all() -> Iterator[Trial]:
        for trial in run_jobs(jobs, n_jobs=n_jobs):
            base.record([trial])
            yield trial
        for name, n_trials in n_searched.items():
            # The design is measured now; a search starts from all of it.
            base.ingest()
            planned = plan_searches(base, tables, name, n_trials, SEED_PROTOCOL, SEED_LIMITS)
            for trials in run_searches(planned, n_jobs, base.record):
                yield from trials

    for count, trial in enumerate(run_all(), start=1):
        on_trial(count, total, trial)
        if count % INGEST_EVERY == 0:
            base.ingest()
    for _, record in call_each(_describe_row, pending, n_jobs=n_jobs):
        base.record(tasks=[record])
    base.ingest()
    seeds.export_seed(base, out)
    return base


def list_design_jobs(
    source: TableSource | Workload,
    task: Task,
    sizes: Mapping[str, int],
    protocols: Iterable[tuple[Protocol, Limits]],
    done: Collection[str],
) -> list[Job]:
    """The jobs that measure designs of these sizes, by learner, on a table; trials in `done` are left out."""
    from metahp.evaluation.design import make_design

    return [
        Job(
            source=source,
            task=task.id,
            configuration=configuration,
            protocol=protocol,
            origin=origin,
            limits=limits,
        )
        for name, size in sizes.items()
        for protocol, limits in protocols
        for configuration, origin in make_design(find_learner(name), task.type, size)
        if compute_trial_id(task.id, configuration, protocol) not in done
    ]


def _list_protocols(n_rows: int, wanted: Sequence[float]) -> list[tuple[Protocol, Limits]]:
    """The protocols for the `wanted` numbers of rows of a table with `n_rows`; one for each distinct number of rows."""
    used = {min(n_rows, round(rows * n_rows if rows < 1 else rows)): rows for rows in reversed(wanted)}
    return [
        (replace(SEED_PROTOCOL, max_rows=round(rows * n_rows) if rows < 1 else int(rows)), limits)
        for n_used, rows in used.items()
        for limits in (LARGE_LIMITS if n_used > SEED_PROTOCOL.max_rows else SEED_LIMITS,)
    ]


def describe_for_good(table: Table, *, source: str = "", licence: str = "") -> TaskRecord:
    """The record of a table with all its meta-features; those that fail are logged."""
    metafeatures = describe_table(table, budget_seconds=SEED_BUDGET_SECONDS, seed=0)
    if metafeatures.warnings:
        logger.warning("%s: %s", table.task.name, "; ".join(metafeatures.warnings))
    return make_record(table, metafeatures, source=source, licence=licence)


def _describe_row(row: ManifestRow) -> TaskRecord:
    return describe_for_good(row.source.load(), source=row.origin, licence=row.licence)
