"""What every benchmark script shares: its options, its table and its JSON."""

import argparse
import json
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from metahp import api
from metahp.core.trial import Trial
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import TASKS_FILE, read_seed
from metahp.surrogate.evidence import Evidence

ROOT = Path(__file__).resolve().parents[1]
# Which rows of the evidence a benchmark may score.
ROWS = ("protocol", "more", "fewer")


def parser(description: str | None, *, data: Path) -> argparse.ArgumentParser:
    """A parser with the options that all benchmark scripts take."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat dictionary")
    made.add_argument("--quick", action="store_true", help="a smoke run under a minute; its figures mean nothing")
    made.add_argument("--data", type=Path, default=data, metavar="DIR", help=f"default: {data.name}")
    made.add_argument("--tasks", type=lambda text: text.split(","), metavar="NAME,…", help="score only these tasks")
    return made


def report(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; off a terminal as Markdown, ready for the README."""
    console = Console()
    if not console.is_terminal:
        print(f"{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(row)} |")
        print()
        return
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write(path: Path | None, figures: Mapping[str, float]) -> None:
    """Write the figures where `--json` was given."""
    if path:
        path.write_text(json.dumps(dict(figures), indent=1) + "\n", encoding="utf-8")


def read_learners(folder: Path, learners: Sequence[str]) -> tuple[list[TaskRecord], list[Trial]]:
    """The tasks of a seed folder, and its trials of some learners: those of the others would take minutes to read."""
    with tempfile.TemporaryDirectory() as part:
        for name in (TASKS_FILE, *(f"trials-{learner}.parquet" for learner in learners)):
            if (folder / name).exists():
                (Path(part) / name).symlink_to((folder / name).resolve())
        return read_seed(Path(part))


def columns_in(evidence: Evidence, part: Evidence) -> np.ndarray:
    """The columns of `evidence` that have the candidates of `part`, shape (c,)."""
    column = {key: index for index, key in enumerate(_keys(evidence))}
    return np.array([column[key] for key in _keys(part)], dtype=int)


def _keys(evidence: Evidence) -> list[tuple[str, bool]]:
    pairs = zip(evidence.candidates, evidence.is_final.tolist(), strict=True)
    return [(candidate.id, is_final) for candidate, is_final in pairs]


def is_scored(past: Evidence, records: Sequence[TaskRecord], rows: str = ROWS[0]) -> np.ndarray:
    """Which rows of the evidence are scored, (t,): those on as many rows of the table as the seed's protocol uses.

    Or those on `more` or `fewer` rows than that. The same task on other numbers of rows is there to learn from.
    """
    protocol = {record.task.id: min(record.task.n_rows, api.SEED_PROTOCOL.max_rows) for record in records}
    beyond = np.array([task.n_rows - protocol[task.id] for task in past.tasks])
    return {"protocol": beyond == 0, "more": beyond > 0, "fewer": beyond < 0}[rows]


def seed_of(name: str, seed: int = 0) -> int:
    """A seed of the task's own: a start that is lucky on one task is so on many, and one seed would favour all."""
    return zlib.crc32(f"{name} {seed}".encode())
