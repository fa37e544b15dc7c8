"""Seconds and peak memory of whole `metahp` processes, as a user waits for them.

    python -m benchmarks.speed [--large]
    python -m benchmarks.speed --first-model
    python -m benchmarks.speed --questions

A run is a fresh process over a synthetic CSV with a warm file cache; the middle of several runs counts. `--data DIR`
is a folder where the CSVs are kept between calls.

`--first-model` runs `metahp tune --learner lightgbm` within a limit on tables of 100,000 and of a million rows (fewer
with `--quick`), and tells when its first model was known, as a multiple of the seconds that LightGBM's default takes to
fit all rows in one thread: the file is read and described before. Memory is that of all its processes.

`--questions` compares what different questions about one table take: other metrics, learners and seeds, and the usual
question again after a search has added to the knowledge base, on another table or on this one. The runs take turns, so
that a busy machine is as busy for each, and each is told as a ratio to the first of its group. They have a knowledge
base of their own, with the seed in it; after a search every run finds it as the search left it. The group `start`
compares `recommend` with a process that only imports LightGBM, which no recommendation can do without.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from benchmarks.common import ROOT, Cells, Figure, Figures, Report, make_parser, parse_arguments, run_main
from metahp.knowledge.locate import VARIABLE

POLL_SECONDS = 0.02
METAHP = (sys.executable, "-m", "metahp")
# Name: rows, columns, runs.
TABLES = {"10k_x_30": (10_000, 30, 3), "1m_x_50": (1_000_000, 50, 1)}
ROUNDS, TRIALS, QUICK_TRIALS = 5, 20, 3
# Rows of the tables of `--first-model`, and the limit as a multiple of the default's fit, after the file is read.
FIRST_MODEL_ROWS, QUICK_ROWS, FIRST_MODEL_COLUMNS, LIMIT_FACTOR, READING_SECONDS = (
    (100_000, 1_000_000),
    (5_000,),
    30,
    5.0,
    15.0,
)
TIME = "{:.2f}"
DIGITS = ROOT / "examples" / "digits.csv"
# Of a classification and of a regression table.
QUESTIONS: Mapping[str, Sequence[str]] = {
    "default": (),
    "accuracy": ("--metric", "accuracy"),
    "balanced_accuracy": ("--metric", "balanced_accuracy"),
    "linear": ("--learner", "linear"),
    "random_forest+lightgbm": ("--learner", "random_forest", "--learner", "lightgbm"),
    "seed_7": ("--seed", "7"),
}
REGRESSION_QUESTIONS: Mapping[str, Sequence[str]] = {
    "default": (),
    "r2": ("--metric", "r2"),
    "neg_mean_absolute_error": ("--metric", "neg_mean_absolute_error"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRun:
    """What a process took: seconds of the clock and of processors, and the largest resident MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True, kw_only=True)
class TimedCommand:
    """A command whose time is compared within its group.

    It runs with the knowledge base `home`, or with a fresh copy of it where it `is_copied`.
    """

    group: str
    name: str
    command: Sequence[str]
    home: Path
    is_copied: bool = False
    runs: list[ProcessRun] = field(default_factory=list)

    def run(self) -> None:
        """Run it once more."""
        if not self.is_copied:
            self.runs.append(time_process(self.command, self.home))
            return
        with tempfile.TemporaryDirectory() as folder:
            copied = Path(shutil.copytree(self.home, Path(folder) / "home"))
            self.runs.append(time_process(self.command, copied))


def write_synthetic(path: Path, rows: int, columns: int, *, is_classification: bool = True) -> Path:
    """A table with a nonlinear signal in a fifth of its numeric columns, written unless it is there."""
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, columns)).round(4)
    y = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3]) + rng.normal(size=rows)
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(columns)])
    frame["target"] = np.where(y > 0, "yes", "no") if is_classification else y.round(4)
    frame.to_csv(path, index=False)
    return path


def time_process(command: Sequence[str], home: Path | None = None) -> ProcessRun:
    """What a process took, with the knowledge base `home`, or the user's own.

    Raises:
        CalledProcessError: it failed.
    """
    environment = {**os.environ, VARIABLE: str(home)} if home else dict(os.environ)
    start, before, peak = time.perf_counter(), _seconds_of_children(), 0.0
    process = psutil.Popen(list(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss / 2**20)
        except psutil.Error:
            break
        time.sleep(POLL_SECONDS)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, list(command), stderr=errors)
    seconds = time.perf_counter() - start
    return ProcessRun(seconds=seconds, cpu_seconds=_seconds_of_children() - before, peak_mib=peak)


def _seconds_of_children() -> float:
    """Processor seconds of the children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def make_questions(folder: Path, n_trials: int) -> list[TimedCommand]:
    """All commands to compare, with filled knowledge bases in a temporary folder; searches have `n_trials` trials."""
    home = folder / "home"
    numbers = write_synthetic(folder / "regression.csv", 1_000, 12, is_classification=False)
    for path in (DIGITS, numbers):
        time_process(recommend(path), home)
    found = [
        TimedCommand(group="digits", name=name, command=recommend(DIGITS, *options), home=home)
        for name, options in QUESTIONS.items()
    ]
    other = write_synthetic(folder / "other.csv", 500, 8)
    for name, path in {"after_tune_elsewhere": other, "after_tune_here": DIGITS}.items():
        changed = Path(shutil.copytree(home, folder / name))
        time_process(tune(path, n_trials, folder / f"{name}.metahp"), changed)
        found.append(TimedCommand(group="digits", name=name, command=recommend(DIGITS), home=changed, is_copied=True))
    found += [
        TimedCommand(group="regression", name=name, command=recommend(numbers, *options), home=home)
        for name, options in REGRESSION_QUESTIONS.items()
    ]
    rows, columns, _ = TABLES["10k_x_30"]
    large = write_synthetic(folder / "10k_x_30.csv", rows, columns)
    for name, command in {
        "import_lightgbm": (sys.executable, "-c", "import lightgbm"),
        "recommend_10k_x_30": recommend(large),
    }.items():
        found.append(TimedCommand(group="start", name=name, command=command, home=home))
    return found


def recommend(path: Path, *options: str) -> list[str]:
    """The command that asks about a table."""
    return [*METAHP, "recommend", str(path), *options]


def tune(path: Path, n_trials: int, output: Path) -> list[str]:
    """The command of a search that takes seconds."""
    options = {
        "learner": "linear",
        "strategy": "random",
        "max-rows": 200,
        "cv": 2,
        "trials": n_trials,
        "output": output,
    }
    return [
        *METAHP,
        "tune",
        str(path),
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
    ]


def compare_questions(n_rounds: int, n_trials: int) -> Figures:
    """What all questions take."""
    with tempfile.TemporaryDirectory() as folder:
        asked = make_questions(Path(folder), n_trials)
        for number in range(n_rounds):
            for each in asked:
                each.run()
            print(f"{number + 1} of {n_rounds} rounds", file=sys.stderr, flush=True)
    rows: Cells = []
    for each in asked:
        first = next(other for other in asked if other.group == each.group)
        seconds, cpu_seconds = (statistics.median(values) for values in _columns(each.runs))
        ratio, cpu_ratio = (
            # Round by round, as both were run in the same minute.
            statistics.median(ours / theirs for ours, theirs in zip(*pair, strict=True))
            for pair in zip(_columns(each.runs), _columns(first.runs), strict=True)
        )
        figures = (seconds, each.runs[0].seconds, cpu_seconds, ratio, cpu_ratio)
        rows.append([each.group, each.name, *(Figure(value, form=TIME) for value in figures)])
    columns = [
        "group",
        "question",
        "seconds (median)",
        "first run",
        "processor seconds",
        "ratio",
        "of processor seconds",
    ]
    return Figures(f"Questions in turn, {n_rounds} rounds; ratios to the first of the group", columns, rows)


def _columns(runs: Sequence[ProcessRun]) -> tuple[list[float], list[float]]:
    """Seconds of the clock and of processors."""
    return [run.seconds for run in runs], [run.cpu_seconds for run in runs]


def compare_sizes(arguments: argparse.Namespace) -> Figures:
    """What the plain commands take by the size of the table."""
    arguments.data.mkdir(parents=True, exist_ok=True)
    commands: dict[str, tuple[Sequence[str], int]] = {"help": ([*METAHP, "--help"], 3 if arguments.quick else 7)}
    for name, (n_rows, n_columns, n_runs) in TABLES.items():
        if (name == "1m_x_50" and not arguments.large) or (arguments.tasks and name not in arguments.tasks):
            continue
        path = write_synthetic(arguments.data / f"{name}.csv", n_rows, n_columns)
        commands[f"recommend_{name}"] = (recommend(path), 1 if arguments.quick else n_runs)
    rows: Cells = []
    for name, (command, n_runs) in commands.items():
        time_process(command)
        runs = [time_process(command) for _ in range(n_runs)]
        shown = [Figure(statistics.median(values), form=TIME) for values in _columns(runs)]
        peak = Figure(max(run.peak_mib for run in runs), form="{:,.0f}")
        rows.append([name, *shown, peak, Figure(n_runs, form="{:.0f}")])
    return Figures("Whole processes", ["process", "seconds (median)", "processor seconds", "peak MiB", "runs"], rows)


def time_first_models(arguments: argparse.Namespace) -> Figures:
    """When `metahp tune` has a first model, beside what the default's own fit takes."""
    arguments.data.mkdir(parents=True, exist_ok=True)
    rows: Cells = []
    for n_rows in QUICK_ROWS if arguments.quick else FIRST_MODEL_ROWS:
        path = write_synthetic(arguments.data / f"{n_rows}_x_{FIRST_MODEL_COLUMNS}.csv", n_rows, FIRST_MODEL_COLUMNS)
        default = _fit_default(path)
        limit = LIMIT_FACTOR * default + READING_SECONDS
        first, total, peak, n_trials = _time_tune(path, limit)
        figures = [Figure(value, form=TIME) for value in (default, first, first / default, limit, total)]
        rows.append([f"{n_rows:,}", *figures, Figure(peak, form="{:,.0f}"), Figure(float(n_trials), form="{:.0f}")])
    columns = [
        "rows",
        "default's fit, s",
        "first model after, s",
        "ratio",
        "limit, s",
        "ended after, s",
        "peak MiB",
        "trials",
    ]
    return Figures(f"First model of a search, {FIRST_MODEL_COLUMNS} columns", columns, rows)


def _fit_default(path: Path) -> float:
    """Seconds of a fit of LightGBM's default in one thread, in a process of its own."""
    program = (
        "import sys, time, pandas as pd, lightgbm as lgb; frame = pd.read_csv(sys.argv[1]); X = frame.iloc[:, :-1]; "
        "y = frame.iloc[:, -1]; start = time.perf_counter(); lgb.LGBMClassifier(n_jobs=1, verbosity=-1).fit(X, y); "
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _time_tune(path: Path, limit: float) -> tuple[float, float, float, int]:
    """Seconds to a best trial on disk and to the end, peak MiB of all processes, and the number of trials."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result"
        command = [*METAHP, "tune", str(path), "--learner", "lightgbm", "--trials", "200", "--timeout", f"{limit:.0f}"]
        environment = {**os.environ, VARIABLE: str(Path(folder) / "home")}
        start, first, peak = time.perf_counter(), float("nan"), 0.0
        process = psutil.Popen([*command, "--output", str(output)], stdout=subprocess.DEVNULL, env=environment)
        while process.poll() is None:
            if first != first and any(output.rglob("best*.json")):
                first = time.perf_counter() - start
            with contextlib.suppress(psutil.Error):
                family = [process, *process.children(recursive=True)]
                peak = max(peak, sum(each.memory_info().rss for each in family) / 2**20)
            time.sleep(POLL_SECONDS)
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, command)
        n_trials = len(pd.read_parquet(output / "trials.parquet"))
        return first, time.perf_counter() - start, peak, n_trials


def main() -> None:
    """Run the benchmark."""
    options = make_parser(__doc__, data=Path(tempfile.gettempdir()) / "metahp-benchmark-speed")
    options.add_argument("--large", action="store_true", help="also one million rows")
    options.add_argument("--first-model", action="store_true", help="time first models of searches instead")
    options.add_argument("--questions", action="store_true", help="compare questions instead")
    options.add_argument("--rounds", type=int, help=f"of the questions; default: {ROUNDS}, or 1 with --quick")
    arguments = parse_arguments(options)
    name = "questions" if arguments.questions else "first_model" if arguments.first_model else "speed"
    report = Report(name, __doc__ or "", arguments)
    if arguments.questions:
        n_rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
        report.add(compare_questions(n_rounds, QUICK_TRIALS if arguments.quick else TRIALS))
    elif arguments.first_model:
        report.add(time_first_models(arguments))
    else:
        report.add(compare_sizes(arguments))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
