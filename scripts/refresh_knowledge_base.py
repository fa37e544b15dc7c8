"""Grow the seed: measure every learner's design on every table of a manifest, and train the shipped advisers.

    python scripts/refresh_knowledge_base.py MANIFEST --out knowledge_base/ [--tier core] [--most 160] [--jobs 2]
        [--configurations lightgbm=256,linear=60] [--rows 2500,0.25,20000] [--search lightgbm=15]

Interrupt or kill it at any time; the same command goes on where it ended.
"""

import argparse
import functools
import operator
import random
import sys
from pathlib import Path

from _data_card import data_card
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from metahp import api
from metahp.core.errors import KnowledgeBaseError, MetahpError
from metahp.core.metric import metric_for
from metahp.core.task import TaskType
from metahp.core.text import printable
from metahp.core.trial import Trial, TrialState
from metahp.evaluation import interrupts
from metahp.evaluation.parallel import call_each
from metahp.knowledge import cache
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS

# Trained on and shipped with the seed, so that a first answer needs no training; all others are trained on first use.
# Several classes share the advisers of two.
SHIPPED = (
    (TaskType.BINARY, "roc_auc"),
    (TaskType.BINARY, "neg_log_loss"),
    (TaskType.REGRESSION, "neg_root_mean_squared_error"),
)


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
    parser.add_argument("--jobs", type=int, default=2, help="trials side by side")
    arguments = parser.parse_args()
    with interrupts.terminable():
        try:
            return _refresh(arguments)
        except BaseException as error:
            # Some libraries turn the interrupt into an error of their own.
            if interrupts.received():
                print(f"refresh: {interrupts.ending()}; the same command goes on from here", file=sys.stderr)
                return interrupts.exit_code()
            if not isinstance(error, MetahpError):
                raise
            print(f"refresh: {printable(str(error))}", file=sys.stderr)
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
    (arguments.out / "DATA_CARD.md").write_text(data_card(base), encoding="utf-8")
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

        return api.refresh(
            rows,
            arguments.out,
            learners=arguments.learners.split(","),
            sizes=arguments.configurations,
            rows=arguments.rows,
            searches=arguments.search,
            n_jobs=arguments.jobs,
            on_trial=on_trial,
        )


def train_shipped(base: KnowledgeBase, out: Path, n_jobs: int) -> None:
    """Train the advisers that a fresh installation needs first, into `out`; older ones go when all are there."""
    both = dict.fromkeys((("lightgbm",), api.known_learners(base.info())))
    records, trials = base.tasks(), {name: base.trials(learner=name) for names in both for name in names}
    wanted, trainings = [], []
    for names in reversed(both):
        for task_type, metric_name in SHIPPED:
            question = (task_type, metric_for(task_type, metric_name), names)
            used = (records, [trial for name in names for trial in trials[name]], *question)
            try:
                api.past_evidence(*used)
            except KnowledgeBaseError as error:
                print(f"{task_type} {metric_name} {'+'.join(names)}: not trained. {error}", file=sys.stderr)
                continue
            wanted.append(question)
            trainings.append(functools.partial(api.train_adviser, *used, seed=0))
    kept = set()
    for place, adviser in call_each(operator.call, trainings, n_jobs=n_jobs):
        task_type, metric, names = wanted[place]
        kept.add(
            cache.save(out, api.adviser_key(base.content_hash(), task_type, metric, names, 0), adviser.to_arrays())
        )
        record = adviser.track_record
        print(
            f"{task_type} {metric.name} {'+'.join(names)}: {len(adviser.tasks)} past tasks, "
            f"first beats the default on {record.win_rate:.0%}"
            if record
            else "no track record",
            file=sys.stderr,
        )
    for older in set((out / cache.FOLDER_NAME).glob("*.npz")) - kept:
        older.unlink()


if __name__ == "__main__":
    sys.exit(main())
