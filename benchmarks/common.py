"""What all benchmarks share: options, tables with standard errors, JSON and pages, and a cache of measurements."""

import argparse
import json
import math
import os
import shlex
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rich.table
from joblib import Parallel, delayed
from rich.console import Console

import metahp

ROOT = Path(__file__).resolve().parents[1]
SEED_FOLDER, PAGES = ROOT / "knowledge_base", ROOT / "docs" / "benchmarks"
# Options that change no figure: the command on a page is given without them.
LOCAL_OPTIONS = ("--jobs", "--json", "--cache", "--save", "--cpu", "--code")
DATASETS, LOOKUPS = ROOT.parent / "shared" / "datasets", ROOT.parent / "shared" / "transfer_benchmarks"


def make_parser(description: str | None, *, data: Path) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks take."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{_name()}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write a list of flat objects, one for each row")
    made.add_argument("--quick", action="store_true", help="a smoke run under a minute; its figures mean nothing")
    made.add_argument("--data", type=Path, default=data, metavar="DIR", help=f"default: {data.name}")
    made.add_argument("--tasks", type=lambda text: text.split(","), metavar="NAME,…", help="score only these tasks")
    return made


def parse_arguments(options: argparse.ArgumentParser, *narrowing: str) -> argparse.Namespace:
    """The arguments, and `narrowed`: by which options this run is another one than the page is about.

    `narrowing` names the options, besides those of all benchmarks, that score a part or ask something else.
    """
    arguments = options.parse_args()
    names = ("quick", "tasks", "data", *narrowing)
    arguments.narrowed = [name for name in names if getattr(arguments, name) != options.get_default(name)]
    return arguments


def run_main(main: Callable[[], None]) -> int:
    """Run a benchmark: 0, or 2 where it ended with an error that a person can mend, which is printed."""
    try:
        main()
    except metahp.MetahpError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


# A mean or a difference and its standard error, and a share.
MEAN, DIFFERENCE, SHARE = "{:.3f} ± {:.3f}", "{:+.3f} ± {:.3f}", "{:.0%}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its standard error, and the format in which a table shows both."""

    value: float
    error: float | None = None
    form: str = MEAN

    def __str__(self) -> str:
        return self.form.format(self.value, self.error)


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence below a table, with the figures that its format names."""

    form: str
    figures: Mapping[str, float]

    def __str__(self) -> str:
        return self.form.format(**self.figures)


Cell = str | Figure
Cells = list[list[Cell]]


@dataclass(frozen=True, slots=True)
class Figures:
    """A table of figures: a cell for each column in each row, and notes below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[Note] = ()

    def to_markdown(self) -> str:
        """The table as Markdown, with its title above."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
        return "\n\n".join([self.title, table, *map(str, self.notes)])

    def show(self, console: Console) -> None:
        """Print the table; off a terminal as Markdown."""
        if not console.is_terminal:
            print(f"{self.to_markdown()}\n")
            return
        drawn = rich.table.Table(*self.columns, title=self.title)
        for row in self.rows:
            drawn.add_row(*map(str, row))
        console.print(drawn, *map(str, self.notes), sep="\n")

    def to_objects(self) -> list[dict[str, str | float | None]]:
        """An object for each row and each note; numbers that are none of JSON's are null."""
        objects: list[dict[str, str | float | None]] = []
        for row in self.rows:
            found: dict[str, str | float | None] = {"title": self.title}
            for column, cell in zip(self.columns, row, strict=True):
                found[column] = _number(cell.value) if isinstance(cell, Figure) else cell or None
                if isinstance(cell, Figure) and cell.error is not None:
                    found[f"{column}, standard error"] = _number(cell.error)
            objects.append(found)
        for note in self.notes:
            objects.append({"title": self.title, **{name: _number(value) for name, value in note.figures.items()}})
        return objects


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class Report:
    """The tables of a run: printed and written as JSON one by one, and published as a page at the end.

    `page` is the name of the page, `about` the text above its tables.
    """

    page: str
    about: str
    arguments: argparse.Namespace
    tables: list[Figures] = field(default_factory=list)

    def add(self, table: Figures) -> None:
        """Print a table, and write it where `--json` says."""
        self.tables.append(table)
        table.show(Console())
        if self.arguments.json:
            made_by = {"command": _command(), "version": metahp.__version__}
            objects = [found | made_by for each in self.tables for found in each.to_objects()]
            self.arguments.json.write_text(json.dumps(objects, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def publish(self) -> None:
        """Write the page, unless the run was a part of the benchmark, and say so on standard error."""
        path = PAGES / f"{self.page}.md"
        shown = path.relative_to(ROOT)
        if self.arguments.narrowed:
            options = ", ".join(f"--{name}" for name in self.arguments.narrowed)
            print(f"{shown} is not written: it is about a run without {options}.", file=sys.stderr)
            return
        command = _command(_drop_local_options(sys.argv[1:]))
        made = f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d} with metahp {metahp.__version__}."
        parts = [f"# {self.page.capitalize()}", self.about.strip(), made, *(each.to_markdown() for each in self.tables)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"written: {shown}", file=sys.stderr)


def _name() -> str:
    return Path(sys.argv[0]).stem


def _command(words: Sequence[str] | None = None) -> str:
    return shlex.join(["python", "-m", f"benchmarks.{_name()}", *(sys.argv[1:] if words is None else words)])


def _drop_local_options(words: Sequence[str]) -> list[str]:
    """`words` without the options that change no figure: where a file goes, how many processes there are."""
    kept, is_value = [], False
    for word in words:
        is_option = word.split("=")[0] in LOCAL_OPTIONS
        if not is_option and not is_value:
            kept.append(word)
        is_value = is_option and "=" not in word
    return kept


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error, of the values that are known; NaN where too few are."""
    n = np.count_nonzero(~np.isnan(values), axis=0)
    mean = np.where(n > 0, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)
    variance = np.nansum((values - mean) ** 2, axis=0) / np.maximum(n - 1, 1)
    return mean, np.where(n > 1, np.sqrt(variance / np.maximum(n, 1)), np.nan)


def average(values: np.ndarray, form: str = MEAN) -> list[Figure]:
    """Figures of the columns of `values` (n, k)."""
    return [Figure(float(mean), float(error), form) for mean, error in zip(*mean_and_error(values), strict=True)]


def win_rate(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of tables on which `ours` is the lower loss; equal ones count half, NaN is left out."""
    known = ~(np.isnan(ours) | np.isnan(theirs))
    if not known.any():
        return float("nan")
    return float(np.mean((ours < theirs)[known] + 0.5 * (ours == theirs)[known]))


def derive_seed(name: str, seed: int = 0) -> int:
    """A seed of the task's own: a start that is lucky on one task is so on many, and one seed would favour all."""
    return zlib.crc32(f"{name} {seed}".encode())


# A key, a function and its arguments.
CachedCall = tuple[str, Callable[..., Any], tuple[Any, ...]]


class Cache:
    """Measured values by key, a line of JSON each, so that an interrupted run goes on where it was."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        if path and path.exists():
            # A line without its end is what an interrupt left.
            lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
            path.write_text("".join(lines), encoding="utf-8")
            self._values = dict(json.loads(line) for line in lines)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def add(self, key: str, value: Any) -> None:
        """Keep a value, on disk before the call returns."""
        self._values[key] = value
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value]) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def fill(self, jobs: Iterable[CachedCall], n_jobs: int) -> None:
        """Run the jobs whose keys are not here yet."""
        todo = [job for job in jobs if job[0] not in self]
        runs = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(
            delayed(_run)(key, function, arguments) for key, function, arguments in todo
        )
        for number, (key, value) in enumerate(runs, start=1):
            self.add(key, value)
            reason = value.get("reason", "") if isinstance(value, dict) else ""
            print(f"{number}/{len(todo)} {key} {reason}".rstrip(), file=sys.stderr, flush=True)


def _run(key: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    with warnings.catch_warnings():
        # Other libraries' deprecations are not ours to fix.
        warnings.simplefilter("ignore")
        return key, function(*arguments)
