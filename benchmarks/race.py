"""Searches at equal wall seconds: `metahp tune` beside Optuna's TPE, LightGBMTunerCV, FLAML and LightGBM's default.

    pip install -e '.[peers]'
    python -m benchmarks.race --cache race.jsonl --seconds 10 30 100 --tables 40 [--systems NAME …] [--cpu N]

Of every table with at least 500 rows, 30 % (by class for classification) are set aside before anything looks at it. A
system gets the other rows as a frame with category columns, the metric (ROC AUC of two classes, log loss of more, RMSE
of numbers), and so many seconds of the clock from the call to a fitted model. Each search is a process of its own, one
at a time, on one core and one thread, that has imported its libraries before the clock starts; it is killed after three
times its limit and a minute. metahp knows the seed without the groups of all raced tables, and records nothing.

`metahp` tunes LightGBM, `metahp_all` all its learners, `metahp_ensemble` makes an ensemble of them. `tpe` is Optuna's
over the space of its own LightGBM example and the learning rate; each fold of metahp's stops 50 rounds after its best
one, and the pick is trained on all rows with the mean of the best ones. `tuner_cv` is LightGBMTunerCV of
optuna-integration on the same folds, `flaml_lgbm` and `flaml_all` are FLAML's AutoML with one learner and with all.

The tables have the geometric mean, over tables, of the loss on the rows set aside as a share of the default's; how
often `metahp` has the lower loss; and the mean of the logarithm of metahp's loss over the system's, with its standard
error: below zero is better for metahp. Below that is the same for cross-validated losses on the same folds, that of
`tpe` with each fold at its own best round. Overrun is in percent of the limit, below zero where a search ended early.

`--cache FILE` keeps what is measured, and a second call goes on; metahp's runs are kept by what its code and its
knowledge are, or by `--code NAME`. The knowledge base is made beside it, in `race_kb`. `--report` runs nothing.
"""

import os
import pickle
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

import numpy as np
import psutil

from benchmarks.common import ROOT, Cache, Report, parse_arguments, run_main
from benchmarks.race_knowledge import leave_out, make_knowledge, name_knowledge, thin_out
from benchmarks.race_report import Race
from benchmarks.race_systems import DEFAULT, OWN, SYSTEMS, Work
from benchmarks.tables import (
    FEWEST_ROWS,
    KINDS,
    LEARNER,
    METRIC_SETS,
    Past,
    TableSource,
    TrainTest,
    choose_large,
    choose_tables,
    make_table_parser,
    set_outer_rows_aside,
)
from metahp import MetahpError
from metahp.api import ManifestRow
from metahp.core.metric import find_metric
from metahp.core.trial import Protocol
from metahp.evaluation.losses import compute_constant_losses
from metahp.evaluation.protocol import make_folds, measure, sample_rows
from metahp.learners.registry import LEARNERS
from metahp.study.request import Folds
from metahp.study.rows import split_rows

SECONDS, N_TABLES = (10.0, 30.0, 100.0), 40
QUICK_SECONDS, QUICK_TABLES, QUICK_SYSTEMS = (3.0,), 2, ("metahp", "tpe", DEFAULT)
# A quick run has tables with fewer rows than this, and knows a share (1 in `QUICK_SHARE`) of these learners' trials.
QUICK_ROWS, QUICK_LEARNERS, QUICK_SHARE = 1_000, (LEARNER.name,), 8
# A search is killed after `KILL_FACTOR` times its limit and `KILL_SECONDS` seconds.
KILL_FACTOR, KILL_SECONDS = 3.0, 60.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@lru_cache(maxsize=1)
def prepare(source: TableSource, seed: int) -> tuple[TrainTest, Protocol]:
    """The inner and outer rows of a table, and how metahp splits the inner ones."""
    part = set_outer_rows_aside(source)
    return part, split_rows(part.train, folds=Folds(seed=seed)).protocol


def run_system(source: TableSource, system: str, seconds: float, seed: int, knowledge_base: str, cpu: int) -> dict:
    """How a system does on a table, or the `reason` why it failed."""
    part, protocol = prepare(source, seed)
    table, (X, X_test) = part.train, part.frames
    task, metric = table.task, find_metric(table.task.type).name
    work = Work(
        system=system,
        seconds=seconds,
        seed=seed,
        X=X,
        y=table.y,
        X_test=X_test,
        task=str(task.type),
        n_classes=task.n_classes if task.type.is_classification else 0,
        metric=metric,
        folds=list(make_folds(table, sample_rows(table, protocol), protocol)),
        knowledge_base=knowledge_base,
        cpu=cpu,
    )
    found = run_process(work, KILL_FACTOR * seconds + KILL_SECONDS)
    if "reason" in found:
        return found
    found["loss"] = part.loss(found.pop("predictions"), metric)
    found["constant"] = compute_constant_losses(part.test.y, task.type, task.n_classes)[metric]
    if system == DEFAULT:
        default = measure(table, LEARNER, LEARNER.space(task.type).default, protocol)
        found["cv_loss"] = float(np.mean(default.fold_losses[metric]))
    return found


def run_process(work: Work, limit: float) -> dict:
    """What a fresh process answers within `limit` seconds, or the `reason` why it does not."""
    with tempfile.TemporaryDirectory() as folder:
        paths = asked, answered, said = [Path(folder) / name for name in ("work", "answer", "errors")]
        asked.write_bytes(pickle.dumps(work))
        with said.open("wb") as errors:
            process = psutil.Popen(
                [sys.executable, "-m", "benchmarks.race_systems", *map(str, paths[:2])],
                cwd=ROOT,
                env={**os.environ, **ONE_THREAD},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            try:
                code = process.wait(limit)
            except psutil.TimeoutExpired:
                return {"reason": f"killed after {limit:.0f} s"}
            finally:
                kill_tree(process)
        if code == 0 and answered.exists():
            return pickle.loads(answered.read_bytes())
        lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return {"reason": f"exit code {code}: {lines[-1] if lines else ''}"}


def kill_tree(process: psutil.Popen) -> None:
    """End a process and those that it started."""
    if process.is_running():
        for each in (*process.children(recursive=True), process):
            each.kill()
        process.wait()


def find_systems(names: Sequence[str]) -> list[str]:
    """Those whose libraries are installed, the default always; one line for each that is left out."""
    found = []
    for name in SYSTEMS:
        if name not in names and name != DEFAULT:
            continue
        missing = [each for each in SYSTEMS[name].imports if not find_spec(each.partition(".")[0])]
        if missing:
            print(
                f"{' and '.join(missing)} not installed, so {name} is left out; pip install -e '.[peers]' adds it.",
                file=sys.stderr,
            )
        else:
            found.append(name)
    return found


def hash_code() -> str:
    """A name of metahp's own code as it is now."""
    content = b"".join(path.read_bytes() for path in sorted((ROOT / "metahp").rglob("*.py")))
    return f"{zlib.crc32(content):08x}"


def choose_sources(tables: Mapping[str, ManifestRow], past: Past, n_tables: int) -> list[TableSource]:
    """The tables, of both kinds in turn."""
    choose = choose_large(tables, past.records, n_tables)
    metrics = METRIC_SETS["default"]
    by_kind = [choose(past.evidence(task_type, metrics[kind]), task_type) for kind, task_type in KINDS.items()]
    return [source for some in zip_longest(*by_kind) for source in some if source]


def find_cpu() -> int:
    """The last core that this process may run on."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


class Runs:
    """The runs of all systems and limits, as a cache has them; those of metahp by the name of its `code`."""

    def __init__(self, cache: Cache, sources: Sequence[TableSource], systems: Sequence[str], seeds: Sequence[int]):
        self.cache, self.sources, self.systems, self.seeds = cache, sources, systems, seeds

    def key(self, table: str, system: str, seconds: float, seed: int, code: str) -> str:
        """What the cache calls a run; the default has no limit."""
        words = [table, system, *([] if system == DEFAULT else [f"{seconds:g} s"]), f"seed {seed}"]
        return " ".join([*words, *([f"code {code}"] if system in OWN else [])])

    def fill(self, limits: Sequence[float], code: str, knowledge_base: str, cpu: int) -> None:
        """Do what is missing, one run at a time."""
        jobs = {
            self.key(source.name, system, seconds, seed, code): (source, system, seconds, seed, knowledge_base, cpu)
            for seconds in limits
            for source in self.sources
            for seed in self.seeds
            for system in self.systems
        }
        self.cache.fill([(key, run_system, arguments) for key, arguments in jobs.items()], 1)

    def races(self, limits: Sequence[float], code: str) -> Iterator[tuple[float, Race]]:
        """What there is by limit."""
        for seconds in limits:
            runs = {}
            for source in self.sources:
                for system in self.systems:
                    keys = [self.key(source.name, system, seconds, seed, code) for seed in self.seeds]
                    if all(key in self.cache for key in keys):
                        runs[source.name, system] = [self.cache[key] for key in keys]
            yield seconds, Race(runs, self.systems)


def main() -> None:
    """Run the benchmark."""
    options = make_table_parser(__doc__, n_tables=N_TABLES)
    options.add_argument("--seconds", type=float, nargs="+", default=SECONDS, metavar="S", help="limits of a search")
    options.add_argument("--seeds", type=int, nargs="+", default=(0,), metavar="SEED", help="of folds and searches")
    options.add_argument("--systems", nargs="+", choices=SYSTEMS, default=tuple(SYSTEMS), metavar="NAME")
    options.add_argument("--cpu", type=int, default=find_cpu(), help="the core that searches run on")
    options.add_argument("--code", metavar="NAME", help="keep metahp's runs by this name, not by a hash of its code")
    options.add_argument("--report", action="store_true", help="run nothing, and report what the cache has")
    arguments = parse_arguments(options, "systems", "report")
    limits, n_tables, wanted = arguments.seconds, arguments.tables, arguments.systems
    tables, past = (
        choose_tables(arguments.data, arguments.tasks),
        Past.read(QUICK_LEARNERS if arguments.quick else tuple(LEARNERS)),
    )
    if arguments.quick:
        limits, n_tables, wanted = QUICK_SECONDS, QUICK_TABLES, QUICK_SYSTEMS
        if not arguments.tasks:
            n_rows = {record.task.name: record.task.n_rows for record in past.records}
            tables = {name: row for name, row in tables.items() if n_rows.get(name, QUICK_ROWS) < QUICK_ROWS}
    sources = choose_sources(tables, past, n_tables)
    if not sources:
        raise MetahpError(f"No table of {FEWEST_ROWS} rows or more.")
    past = leave_out(past, sources)
    if arguments.quick:
        past = thin_out(past.smallest(), QUICK_SHARE)
    systems = find_systems(wanted)
    code = arguments.code or f"{hash_code()} {name_knowledge(past)}"
    runs = Runs(Cache(arguments.cache), sources, systems, arguments.seeds)
    if not arguments.report:
        with tempfile.TemporaryDirectory() as temporary:
            home = (arguments.cache.parent if arguments.cache else Path(temporary)) / "race_kb"
            base = make_knowledge(home.resolve(), past, sources, arguments.jobs) if set(systems) & set(OWN) else home
            runs.fill(limits, code, str(base), arguments.cpu)
    report = Report("race", __doc__ or "", arguments)
    for seconds, race in runs.races(limits, code):
        if not race.tables:
            raise MetahpError(f"No table has a run of {seconds:g} s of every system.")
        for table in race.tabulate(seconds):
            report.add(table)
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
