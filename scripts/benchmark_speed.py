"""Seconds and peak memory of whole `metahp` processes, as a user waits for them.

    python scripts/benchmark_speed.py [--large]

A run is a fresh process over a synthetic CSV with a warm file cache; the middle of several runs counts. `--data DIR`
is a folder where the CSVs are kept between calls.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from _benchmark import parser, report, write

POLL_SECONDS = 0.02
# Name: rows, columns, runs.
TABLES = {"10k_x_30": (10_000, 30, 3), "1m_x_50": (1_000_000, 50, 1)}


def synthetic(path: Path, rows: int, columns: int) -> None:
    """A binary table with a nonlinear signal in a fifth of its numeric columns."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, columns)).round(4)
    signal = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3])
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(columns)])
    frame["target"] = np.where(signal + rng.normal(size=rows) > 0, "yes", "no")
    frame.to_csv(path, index=False)


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Wall-clock seconds and peak resident MiB of a process.

    Raises:
        CalledProcessError: it failed.
    """
    start, peak = time.perf_counter(), 0.0
    process = psutil.Popen(list(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ)
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss / 2**20)
        except psutil.Error:
            break
        time.sleep(POLL_SECONDS)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, list(command), stderr=errors)
    return time.perf_counter() - start, peak


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = parser(__doc__, data=Path(tempfile.gettempdir()) / "metahp-benchmark-speed")
    options.add_argument("--large", action="store_true", help="also one million rows")
    arguments = options.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    metahp = [sys.executable, "-m", "metahp"]
    commands: dict[str, tuple[list[str], int]] = {"help": ([*metahp, "--help"], 3 if arguments.quick else 7)}
    for name, (rows, columns, runs) in TABLES.items():
        if (name == "1m_x_50" and not arguments.large) or (arguments.tasks and name not in arguments.tasks):
            continue
        path = arguments.data / f"{name}.csv"
        if not path.exists():
            synthetic(path, rows, columns)
        commands[f"recommend_{name}"] = ([*metahp, "recommend", str(path)], 1 if arguments.quick else runs)
    figures: dict[str, float] = {}
    table = []
    for name, (command, runs) in commands.items():
        timed(command)
        measured = [timed(command) for _ in range(runs)]
        seconds, peak = statistics.median(s for s, _ in measured), max(p for _, p in measured)
        figures |= {f"{name}/seconds": seconds, f"{name}/peak_mib": peak}
        table.append([name, f"{seconds:.2f}", f"{peak:,.0f}", str(runs)])
    report("Whole processes", ["command", "seconds (median)", "peak MiB", "runs"], table)
    write(arguments.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
