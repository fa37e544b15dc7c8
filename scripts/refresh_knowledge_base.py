"""Grow the seed: measure every learner's design on every table of a manifest, and train the models that it ships.

    python scripts/refresh_knowledge_base.py MANIFEST --out knowledge_base/ [--tier core] [--most 160] [--jobs 2]
        [--measure-only] [--configurations lightgbm=256,linear=60] [--rows 2500,0.25,20000] [--search lightgbm=15]

Interrupt or kill it at any time; the same command goes on where it ended.
"""

import argparse
import math
import random
import sys
from pathlib import Path

from _data_card import data_card
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metahp import api
from metahp.api.models import FILE_VERSION
from metahp.api.training import TrainingOutcome, TrainingProgress, train
from metahp.core.errors import MetahpError
from metahp.core.text import make_printable
from metahp.core.trial import Trial, TrialState
from metahp.evaluation import interrupts
from metahp.files import write_file
from metahp.knowledge import cache
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="seed folder")
    parser.add_argument("--tier", help="only tables of this tier")
    parser.add_argument("--tasks", help="only these tables, by name, separated by commas")
    parser.add_argument("--most", type=int, help="at most so many tables, in an order fixed once and for all")
    parser.add_argument("--learners", default=",".join(LEARNERS), help="separated by commas")
    parser.add_argument(
        "--configurations",
        type=_sizes,
        default={},
        metavar="LEARNER=N,…",
        help="how many of the design; a longer design begins with the shorter one.  [default: "
        + ",".join(f"{name}={learner.design_size}" for name, learner in LEARNERS.items())
        + "]",
    )
    parser.add_argument(
        "--rows",
        type=lambda text: [float(part) for part in text.split(",")],
        default=[api.SEED_PROTOCOL.max_rows],
        metavar="N,…",
        help="measure the design on at most so many rows, or on a share of them where below 1.  [default: %(default)s]",
    )
    parser.add_argument(
        "--search",
        type=_sizes,
        default={},
        metavar="LEARNER=N,…",
        help="so many further trials on each table, by a Gaussian process that starts from the design",
    )
    parser.add_argument("--measure-only", action="store_true", help="write trials, but neither data card nor models")
    parser.add_argument("--jobs", type=int, default=2, help="trials, then models, side by side")
    arguments = parser.parse_args()
    with interrupts.handle_signals():
        try:
            return _refresh(arguments)
        except BaseException as error:
            # Some libraries turn the interrupt into an error of their own.
            if interrupts.get_signal():
                print(f"refresh: {interrupts.describe_signal()}; the same command goes on from here", file=sys.stderr)
                return interrupts.get_exit_code()
            if not isinstance(error, MetahpError):
                raise
            print(f"refresh: {make_printable(str(error))}", file=sys.stderr)
            return 2


def _sizes(text: str) -> dict[str, int]:
    sizes = dict(part.split("=", 1) for part in text.split(","))
    if unknown := sorted(set(sizes) - set(LEARNERS)):
        raise argparse.ArgumentTypeError(f"no learner is called {', '.join(unknown)}; known: {', '.join(LEARNERS)}")
    return {name: int(size) for name, size in sizes.items()}


def _refresh(arguments: argparse.Namespace) -> int:
    rows = [row for row in api.read_manifest(arguments.manifest) if arguments.tier in (None, row.tier)]
    # A fixed shuffle: any prefix is a fair sample of task types and domains.
    random.Random(0).shuffle(rows)
    if arguments.tasks:
        rows = [row for row in rows if row.source.name in arguments.tasks.split(",")]
    rows = rows[: arguments.most]
    base = _measure(rows, arguments)
    if arguments.measure_only:
        return 0
    write_file(arguments.out / "DATA_CARD.md", data_card(base).encode())
    train_shipped(base, arguments.out, arguments.jobs)
    return 0


def _measure(rows: list[api.ManifestRow], arguments: argparse.Namespace) -> KnowledgeBase:
    states: dict[TrialState, int] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        bar = progress.add_task(f"reading {len(rows)} tables", total=None)

        def on_trial(done: int, total: int, trial: Trial | None) -> None:
            if trial is not None:
                states[trial.state] = states.get(trial.state, 0) + 1
            counted = " ".join(f"{state} {count}" for state, count in sorted(states.items()))
            progress.update(bar, completed=done, total=total, description=counted or "trials")

        return api.refresh_seed(
            rows,
            arguments.out,
            learners=arguments.learners.split(","),
            sizes=arguments.configurations,
            rows=arguments.rows,
            searches=arguments.search,
            n_jobs=arguments.jobs,
            on_trial=on_trial,
        )


def train_shipped(base: KnowledgeBase, out: Path, jobs: int) -> None:
    """Train the models that a fresh installation needs, into `out`; older files go when all are there."""

    def on_progress(progress: TrainingProgress, trained: TrainingOutcome | None) -> None:
        if trained is None:
            print(f"training {progress.n_models} models, {progress.seconds_left:.0f} s of one core", file=sys.stderr)
        else:
            print(f"{progress.n_done}/{progress.n_models} {_line(trained)}", file=sys.stderr)

    for each in train(base, output=out, jobs=jobs, on_progress=on_progress):
        if each.why_not:
            print(_line(each), file=sys.stderr)
    content = base.content_hash()
    for path in (out / cache.FOLDER_NAME).glob("*.npz"):
        if not (path.name.startswith(f"v{FILE_VERSION}-") and path.stem.endswith(f"-{content}")):
            path.unlink()


def _line(model: TrainingOutcome) -> str:
    name = " ".join(part for part in (model.kind, model.metric, "+".join(model.learners)) if part)
    if model.why_not:
        return f"{name}: not trained. {model.why_not}"
    record = "no track record" if math.isnan(model.win_rate) else f"first beats the default on {model.win_rate:.0%}"
    return f"{name}: {model.n_tasks} past tasks, {record}"


if __name__ == "__main__":
    sys.exit(main())
