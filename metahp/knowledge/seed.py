"""The seed: the tasks and trials that are shipped with metahp, as Parquet files."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Trial
from metahp.files import sweep, write_file
from metahp.knowledge.columns import make_trial_schema, tasks_to_table, trials_to_table
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.rows import add_ids, read_tasks, read_trials, tasks_from_table, trials_from_table

TASKS_FILE = "tasks.parquet"
# Key of the setting that stores which seed a knowledge base contains.
SEED_KEY = "seed"
_PACKAGE = Path(__file__).resolve().parents[1]
# The first is for a wheel; the second for a checkout, an editable install and an unpacked sdist.
_FOLDERS = (_PACKAGE / "knowledge_base", _PACKAGE.parent / "knowledge_base")


class Readable(Protocol):
    """Source of an exported seed: a knowledge base."""

    def tasks(self) -> list[TaskRecord]:
        """All task records."""

    def trials(self) -> list[Trial]:
        """All trials."""


class Writable(Protocol):
    """Destination of an imported seed: a knowledge base."""

    def add(self, tasks: Sequence[TaskRecord], trials: pa.Table, settings: Mapping[str, str]) -> int:
        """Add everything in one transaction; the number of new trials."""


def find_seed_folder() -> Path:
    """The folder of the seed of this installation.

    Raises:
        KnowledgeBaseError: there is none.
    """
    for folder in _FOLDERS:
        if (folder / TASKS_FILE).is_file():
            return folder
    raise KnowledgeBaseError(
        f"This installation of metahp lacks its seed: expected {TASKS_FILE} in "
        f"{' or '.join(map(str, _FOLDERS))}. Install metahp again."
    )


def list_seed_learners() -> list[str]:
    """The learners of which the seed of this installation has trials; empty where there is no seed."""
    try:
        paths = sorted(find_seed_folder().glob("trials-*.parquet"))
    except KnowledgeBaseError:
        return []
    return [path.stem.removeprefix("trials-") for path in paths]


def export_seed(source: Readable | tuple[Sequence[TaskRecord], Sequence[Trial]], folder: Path) -> None:
    """Write tasks and trials to `folder`: `tasks.parquet` and one `trials-<learner>.parquet` per learner.

    Equal content gives equal bytes, in any order. Losses and seconds are rounded to float32. Ids are left out, because
    they can be computed. Files of learners without trials are removed.

    Raises:
        KnowledgeBaseError: a learner's name cannot be used in a file name.
    """
    tasks, trials = source if isinstance(source, tuple) else (source.tasks(), source.trials())
    by_learner: dict[str, list[Trial]] = {}
    distinct = {trial.id: trial for trial in trials}
    for trial in sorted(distinct.values(), key=lambda t: (t.task, t.configuration.id, t.id)):
        by_learner.setdefault(trial.configuration.learner, []).append(trial)
    for learner in by_learner:
        if not re.fullmatch(r"[A-Za-z0-9_]+", learner):
            raise KnowledgeBaseError(
                f"Learner '{learner}' cannot be exported: its name becomes part of a file name. "
                "Expected letters, digits and underscores."
            )
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    _write(tasks_to_table(sorted(tasks, key=lambda record: record.task.id)), folder / TASKS_FILE)
    written = set()
    for learner, its_trials in by_learner.items():
        path = folder / f"trials-{learner}.parquet"
        _write(trials_to_table(its_trials, pa.float32()).drop_columns(["id", "configuration_id"]), path)
        written.add(path)
    for path in set(_list_trial_files(folder)) - written:
        path.unlink()


def read_seed(folder: Path, learners: Sequence[str] | None = None) -> tuple[list[TaskRecord], list[Trial]]:
    """The tasks and trials of a seed folder; `learners` limits the trials to these learners, which is faster.

    Raises:
        KnowledgeBaseError: the folder has no seed, or a file or value is not valid.
    """
    tasks, trials = _read_tables(folder, learners)
    return tasks_from_table(tasks), trials_from_table(trials)


def read_seed_rows(folder: Path) -> tuple[list[TaskRecord], list[Trial], list[str]]:
    """The valid tasks and trials of a seed folder, and the faults of invalid rows.

    Raises:
        KnowledgeBaseError: the folder has no seed, or a file has other columns.
    """
    task_table, trial_table = _read_tables(folder)
    tasks, wrong_tasks = read_tasks(task_table)
    trials, wrong_trials = read_trials(trial_table)
    faults = [f"task {fault.position + 1}: {fault.reason}" for fault in wrong_tasks]
    faults += [f"trial {fault.position + 1}: {fault.reason}" for fault in wrong_trials]
    return [task for task in tasks if task], [trial for trial in trials if trial], faults


def import_seed(kb: Writable, folder: Path) -> int:
    """Add a trusted seed to `kb` in one transaction; the number of new trials.

    Trial columns are copied without checking every value (`merge` checks them).

    Raises:
        KnowledgeBaseError: the folder has no seed, or `kb` cannot be written.
    """
    tasks, trials = _read_tables(folder)
    return kb.add(tasks_from_table(tasks), add_ids(trials), {SEED_KEY: hash_seed(folder)})


def hash_seed(folder: Path) -> str:
    """Hash of the files of a seed."""
    digest = hashlib.blake2b(digest_size=16)
    for path in (folder / TASKS_FILE, *_list_trial_files(folder)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_tables(folder: Path, learners: Sequence[str] | None = None) -> tuple[pa.Table, pa.Table]:
    if not (folder / TASKS_FILE).is_file():
        raise KnowledgeBaseError(f"{folder} holds no seed: expected {TASKS_FILE} and trials-<learner>.parquet there.")
    schema = make_trial_schema(pa.float32())
    expected = pa.schema([field for field in schema if field.name not in ("id", "configuration_id")])
    trials = [expected.empty_table()]
    for path in _list_trial_files(folder):
        if learners is not None and path.stem.removeprefix("trials-") not in learners:
            continue
        table = _read(path)
        if "splits" not in table.column_names and "max_rows" in table.column_names:
            # An old file, written before splits had names: all trials have the default splits.
            position = table.column_names.index("max_rows") + 1
            table = table.add_column(position, expected.field("splits"), pa.array([""] * len(table), pa.string()))
        if not table.schema.equals(expected):
            raise KnowledgeBaseError(
                f"{path} does not hold trials of this version: expected the columns "
                f"{', '.join(expected.names)}, got {', '.join(table.column_names)}."
            )
        trials.append(table)
    return _read(folder / TASKS_FILE), pa.concat_tables(trials)


def _list_trial_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("trials-*.parquet"))


def _read(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise KnowledgeBaseError(f"{path} is not a Parquet file that can be read ({error}).") from error


def _write(table: pa.Table, path: Path) -> None:
    # Byte stream split stores bytes of equal significance next to each other. Losses of a task have similar exponents,
    # so zstd compresses these bytes well.
    floats = [column.path for column in _list_leaves(table) if column.physical_type in ("FLOAT", "DOUBLE")]
    others = [column.path for column in _list_leaves(table) if column.physical_type not in ("FLOAT", "DOUBLE")]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=19,
        use_dictionary=others,
        use_byte_stream_split=floats,
        write_statistics=False,
        store_schema=False,
    )
    write_file(path, sink.getvalue().to_pybytes())


def _list_leaves(table: pa.Table) -> list[pq.ColumnSchema]:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, store_schema=False):
        pass
    schema = pq.ParquetFile(sink.getvalue()).schema
    return [schema.column(index) for index in range(len(schema))]
