"""The one knowledge base of `benchmarks.race`: the seed without the groups of all raced tables, with trained models."""

import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tables import Past, TableSource
from metahp import KnowledgeBase, MetahpError, api
from metahp.api.advisers import find_kept_adviser
from metahp.api.known_learners import find_known_learners
from metahp.api.past_knowledge import read_kept_knowledge
from metahp.api.training import TrainingOutcome, TrainingProgress
from metahp.core.metric import find_metric
from metahp.core.task import TaskType
from metahp.core.trial import Origin
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.locate import open_snapshot
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import SEED_KEY, find_seed_folder, hash_seed


def leave_out(past: Past, sources: Sequence[TableSource]) -> Past:
    """Past tasks without those of the tables' groups."""
    raced = find_kin(past.records, sources)
    return past.only([record for record in past.records if record not in raced])


def thin_out(past: Past, n: int) -> Past:
    """The same tasks with their defaults and one of `n` other configurations, for a quick run."""
    kept = [
        trial
        for trial in past.trials
        if trial.origin is Origin.DEFAULT or zlib.crc32(trial.configuration.id.encode()) % n == 0
    ]
    return Past(past.records, kept)


def find_kin(records: Sequence[TaskRecord], sources: Sequence[TableSource]) -> list[TaskRecord]:
    """Records that are of the tables, or of their groups by the tables' or by the records' own word."""
    names, ids = {source.name for source in sources}, {source.load().task.id for source in sources}
    groups = {source.group for source in sources}
    is_raced = [record.task.name in names or record.task.id in ids for record in records]
    groups |= {record.task.group for record, raced in zip(records, is_raced, strict=True) if raced}
    groups -= {""}
    return [record for record, raced in zip(records, is_raced, strict=True) if raced or record.task.group in groups]


def name_knowledge(past: Past) -> str:
    """A name of what a knowledge base of `past` knows."""
    known = [hash_seed(find_seed_folder()), *sorted(record.task.id for record in past.records), str(len(past.trials))]
    return f"{zlib.crc32(' '.join(known).encode()):08x}"


def make_knowledge(folder: Path, past: Past, sources: Sequence[TableSource], n_jobs: int) -> Path:
    """A folder in `folder` with a knowledge base of `past`, and models that are trained; what is there is kept.

    Its name is that of what it knows. An interrupted call goes on where it was.

    Raises:
        MetahpError: it knows a raced table, or a question about one would train a model or use one that knows it.
    """
    base = KnowledgeBase(folder / name_knowledge(past))
    if not base.file.exists():
        # With the hash of the present seed, or whoever opens it would add the seed.
        base.add(past.records, trials_to_table(past.trials), {SEED_KEY: hash_seed(find_seed_folder())})
    api.train(base, jobs=n_jobs, on_progress=_print_progress)
    check_knowledge(base.folder, sources)
    return base.folder


def check_knowledge(folder: Path, sources: Sequence[TableSource]) -> None:
    """Refuse a knowledge base that knows a raced table, or has no model of its own for a question about one.

    It is opened as `metahp.tune` opens it.

    Raises:
        MetahpError: it is refused.
    """
    _, snapshot = open_snapshot(folder)
    with snapshot:
        if kin := find_kin(snapshot.tasks, sources):
            raise MetahpError(f"The knowledge base in {folder} knows {kin[0].task.name}, or a table of its group.")
        types = {source.task_type or source.load().task.type for source in sources}
        for task_type in sorted(types):
            for learners in (("lightgbm",), find_known_learners(snapshot.totals)):
                _check_model(snapshot, task_type, learners)


def _check_model(snapshot, task_type: TaskType, learners: Sequence[str]) -> None:
    knowledge = read_kept_knowledge(snapshot, task_type, find_metric(task_type), learners)
    kept = find_kept_adviser(knowledge) if knowledge else None
    if kept is None or not Path(kept[0]).is_relative_to(snapshot.folder):
        raise MetahpError(
            f"The knowledge base in {snapshot.folder} has no model of {' + '.join(learners)} for {task_type} tasks; "
            "delete it, and it is made again."
        )


def _print_progress(progress: TrainingProgress, outcome: TrainingOutcome | None) -> None:
    if progress.n_models:
        print(
            f"knowledge base of the race: {progress.n_done} of {progress.n_models} models are trained, about "
            f"{progress.seconds_left:.0f} s of one core left",
            file=sys.stderr,
            flush=True,
        )
