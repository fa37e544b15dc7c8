"""Refresh a knowledge base: measure the design of a learner on one's own tables."""

import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metahp.api.checks import check_names
from metahp.api.growth import INGEST_EVERY, SEED_LIMITS, SEED_PROTOCOL, describe_for_good, list_design_jobs
from metahp.api.known_learners import choose_learners
from metahp.core.errors import InputError
from metahp.core.task import Task, find_task_type
from metahp.core.text import format_count
from metahp.core.trial import Trial, TrialState
from metahp.core.warn import LoggedWarnings, warn_user
from metahp.datasets.load import load
from metahp.datasets.paths import TABLE_SUFFIXES
from metahp.datasets.read import TableSource
from metahp.datasets.table import Table
from metahp.evaluation.limits import Limits
from metahp.evaluation.runner import Workload
from metahp.knowledge.locate import open_snapshot
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import find_learner
from metahp.metafeatures.extract import VERSION
from metahp.study.progress import SECONDS_BETWEEN_LINES
from metahp.study.request import check_count


class _OwnTable(NamedTuple):
    """A table in memory, or the file that it is read from when it is needed."""

    source: TableSource | Workload
    task: Task


def refresh(
    tables: Any,
    learners: str | Sequence[str],
    *,
    target: str | None = None,
    task: str | None = None,
    configurations: int | None = None,
    knowledge_base: str | Path | KnowledgeBase | None = None,
    jobs: int = 1,
    trial_timeout: float = SEED_LIMITS.seconds,
    memory_limit: float = SEED_LIMITS.memory_mib,
    verbose: int = 0,
    on_trial: Callable[[int, int, Trial | None], None] = lambda done, total, trial: None,
) -> KnowledgeBase:
    """Measure learners on your tables, so that `recommend` and `tune` start from what is good there.

    Each learner is measured with its default, its published configurations and points that cover its search space, on
    at most 2,500 rows of a table and 3 folds. Trials that the knowledge base has are not measured again, so that the
    same call continues where the last one ended, even if that was interrupted.

    Args:
        tables: A list of paths, frames or tables of `metahp.read`, or one of them; a path may be that of a
            folder.
        learners: Name or names of learners, registered ones included.
        target: Target column of all tables that `metahp.read` did not make; None to guess it for each.
        task: binary, multiclass or regression; None to infer it for each.
        configurations: Number of configurations for each table and learner; None for the `design_size` of the learner.
        knowledge_base: A knowledge base or its path; None for the user's own.
        jobs: Number of trials that run in parallel, each on one thread.
        trial_timeout: Seconds of one trial over all folds; a longer trial is killed, and counts as a trial.
        memory_limit: Resident memory of one trial in MiB; a larger trial is killed, and counts as a trial.
        verbose: Progress on standard error: 0 none, 1 a line every few seconds.
        on_trial: Called with finished trials, all trials and the trial; once at the start with None as the trial.

    Returns:
        The knowledge base.

    Raises:
        InputError, UnknownNameError: unusable input, or every trial failed.
        KnowledgeBaseError: the knowledge base cannot be opened.
    """
    # Imported here, as in `refresh_seed`.
    from metahp.evaluation.processes import call_each, run_jobs

    check_count("jobs", jobs)
    if configurations is not None:
        check_count("configurations", configurations)
    if not learners:
        raise InputError("Expected the name of a learner as `learners`.", argument="learners")
    names = choose_learners(learners, {})
    show = _Lines(verbose)
    limits = Limits(seconds=trial_timeout, memory_mib=memory_limit)
    sizes = {name: configurations or find_learner(name).design_size for name in names}
    base, snapshot = open_snapshot(knowledge_base)
    snapshot.close()
    base.ingest()
    own = _find_tables(tables, target, task)
    described = {record.task.id for record in base.tasks() if record.metafeatures_version == VERSION}
    done = base.trial_ids()
    with LoggedWarnings() as logged:
        new = [table.source for table in own if table.task.id not in described]
        for _, record in call_each(_describe, new, n_jobs=jobs):
            base.record(tasks=[record])
        work = [
            job
            for table in own
            for job in list_design_jobs(table.source, table.task, sizes, [(SEED_PROTOCOL, limits)], done)
        ]
        failures: Counter[str] = Counter()
        for each in (on_trial, show):
            each(0, len(work), None)
        for count, trial in enumerate(run_jobs(work, n_jobs=jobs), start=1):
            if trial.state is TrialState.FAILED:
                # Not recorded: the same call tries again, after a mistake in a learner of one's own was mended.
                failures[f"{trial.configuration.learner}: {trial.reason}"] += 1
            else:
                base.record([trial])
            for each in (on_trial, show):
                each(count, len(work), trial)
            if count % INGEST_EVERY == 0:
                base.ingest()
        base.ingest()
    warn_user((*logged.add_to(()), *_explain_failures(failures, len(work))))
    return base


def _explain_failures(failures: Counter[str], n_trials: int) -> tuple[str, ...]:
    """A line about trials that failed.

    Raises:
        InputError: all of them did.
    """
    if not failures:
        return ()
    reason, count = failures.most_common(1)[0]
    n_failed = failures.total()
    line = (
        f"{n_failed} of {format_count(n_trials, 'trial')} failed and will be tried again by the same call. The most "
        f"frequent reason ({count} times): {reason}"
    )
    if n_failed == n_trials:
        raise InputError(line, argument="learners")
    return (line,)


def _find_tables(tables: Any, target: str | None, task: str | None) -> list[_OwnTable]:
    """The tables, each once; the rows of those in files are not kept."""
    if isinstance(tables, str | Path | Table) or hasattr(tables, "columns"):
        tables = [tables]
    if not isinstance(tables, Iterable):
        raise InputError(f"`tables` is a list of paths, frames or `Table`s, got {tables!r:.60}.", argument="tables")
    tables = list(tables)
    if not tables:
        raise InputError("`tables` is a list of paths, frames or `Table`s, and this one is empty.", argument="tables")
    tables = list(itertools.chain.from_iterable(_list_tables(given) for given in tables))
    for given in tables:
        if not isinstance(given, Table):
            check_names(given, target=target, task=task)
    own: dict[str, _OwnTable] = {}
    for given in tables:
        is_whole = isinstance(given, Table)
        table = given if is_whole else load(given, target=target, task=task)
        if not is_whole:
            warn_user(f"{table.task.name}: {line}" if table.task.name else line for line in table.warnings)
        is_file = isinstance(given, str | Path) and Path(given).is_file()
        source = (
            TableSource(path=str(given), target=table.target, task_type=find_task_type(task), name=table.task.name)
            if is_file
            else Workload(table)
        )
        own.setdefault(table.task.id, _OwnTable(source, table.task))
    return list(own.values())


def _list_tables(given: Any) -> list[Any]:
    """The tables in a folder; anything else is one table."""
    if not isinstance(given, str | Path) or not Path(given).is_dir():
        return [given]
    paths = sorted(path for path in Path(given).iterdir() if path.suffix.lower() in TABLE_SUFFIXES)
    if not paths:
        suffixes = ", ".join(TABLE_SUFFIXES)
        raise InputError(f"The folder '{given}' has no file with one of the endings {suffixes}.", argument="tables")
    return paths


def _describe(source: TableSource | Workload) -> TaskRecord:
    return describe_for_good(source.table if isinstance(source, Workload) else source.load())


class _Lines:
    """Prints how far a refresh has come, every few seconds."""

    def __init__(self, verbose: int) -> None:
        if verbose not in (0, 1):
            raise InputError(f"`verbose` is 0 or 1, got {verbose!r}.", argument="verbose")
        self._is_shown = verbose == 1
        self._start = self._last = -math.inf

    def __call__(self, n_done: int, n_trials: int, trial: Trial | None) -> None:
        """Print a line at the start, at the end, and where the last one is some seconds ago."""
        now = time.monotonic()
        if trial is None:
            self._start = now
        elif n_done < n_trials and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        seconds = round((now - self._start) / n_done * (n_trials - n_done)) if n_done else 0
        left = f", {seconds // 60}:{seconds % 60:02d} left" if seconds else ""
        if self._is_shown:
            print(f"metahp: {n_done:,} of {format_count(n_trials, 'trial')}{left}", file=sys.stderr, flush=True)
