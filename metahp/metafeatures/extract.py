"""From a table to its meta-features: every group in turn, as far as the budget of work goes."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from metahp.datasets.table import Table
from metahp.metafeatures import information, landmarks, probes, simple, statistical
from metahp.metafeatures.view import Step, View

# Raised whenever a value changes its meaning: values of different versions are not compared.
VERSION = 1

_STEPS: dict[str, Callable[[View], list[Step]]] = {
    "simple": simple.steps,
    "statistical": statistical.steps,
    "information": information.steps,
    "probes": probes.steps,
    "landmarks": landmarks.steps,
}
_NAMES: dict[str, tuple[str, ...]] = {
    "simple": simple.NAMES,
    "statistical": statistical.NAMES,
    "information": information.NAMES,
    "probes": probes.NAMES,
    "landmarks": landmarks.NAMES,
}

GROUPS: tuple[str, ...] = tuple(_STEPS)
NAMES: tuple[str, ...] = tuple(name for names in _NAMES.values() for name in names)
GROUP_OF: dict[str, str] = {name: group for group, names in _NAMES.items() for name in names}

# Logarithms of the number of rows, or of it over something else.
_GROWS_WITH_ROWS = np.isin(NAMES, ["log_n_rows", "log_rows_per_feature", "log_rows_per_class"])

# The expected seconds of the steps are fitted to the 425 tables of the seed, on a core of a 2.8 GHz Xeon: a description
# takes 1.01 times its expected processor seconds in the median, 0.67 to 1.46 times on nine of ten tables.

# The description ends once it has taken this many times the expected seconds: load alone makes processor seconds two or
# three times as many.
TOO_SLOW = 10.0
# Before that many processor seconds it never ends: the first steps load libraries, and other threads of the process
# count as well.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class MetaFeatures:
    """Numbers that describe a task's dataset.

    `values` has every name of `NAMES`, NaN where undefined, skipped or failed; `seconds` says how much processor time
    each group took; `warnings` has one line for each failure, and one for all that the budget does not allow.
    """

    values: Mapping[str, float]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    version: int

    def vector(self) -> np.ndarray:
        """The values in the order of `NAMES`, shape (len(NAMES),)."""
        return np.array([self.values[name] for name in NAMES], dtype=float)


def at_rows(metafeatures: np.ndarray, n_rows: np.ndarray) -> np.ndarray:
    """Meta-features (t, len(NAMES)) as they are when only `n_rows` (t,) of the rows are used.

    What is not a count is estimated on a sample of the rows anyway, and stays.
    """
    fewer = np.log(n_rows) - metafeatures[:, NAMES.index("log_n_rows")]
    return np.where(_GROWS_WITH_ROWS, metafeatures + fewer[:, None], metafeatures)


def extract(table: Table, *, budget_seconds: float, clock: Callable[[], float], seed: int = 0) -> MetaFeatures:
    """The meta-features of a table, which do not depend on the order of its rows and columns.

    Args:
        table: The table.
        budget_seconds: Work to be done at most, in seconds of one core of a common machine. What would not fit is
            skipped, except for counts. That is decided from the shape of the table before anything starts, so load
            and cores change nothing; and only *whether* something is computed, never on how much data, so values
            taken under different budgets compare.
        clock: Processor seconds of this process. It only ends a description that takes `TOO_SLOW` times as long as
            expected; a clock on the wall would do so on a busy machine.
        seed: Chooses the sample of rows and columns, and the randomness of the models.

    Never raises for what a table holds: a failure is a NaN and a warning.
    """
    view = View(table, seed)
    steps = [step for steps_of in _STEPS.values() for step in steps_of(view)]
    chosen, skipped = choose_steps(steps, view.seconds_to_order, budget_seconds)
    # One thread: on matrices this small several wait for each other, up to fifty times longer on a busy machine, and
    # sums would depend on the number of cores.
    with threadpool_limits(1):
        values, seconds, notes = run_steps(chosen, clock)
    if skipped:
        needed = view.seconds_to_order + sum(step.expected_seconds for step in steps)
        notes.append(f"{_lacking(skipped)}; `budget_seconds={math.ceil(10 * needed) / 10:g}` allows all meta-features")
    return MetaFeatures(values, seconds, tuple(notes), VERSION)


def choose_steps(
    steps: Sequence[Step], seconds_to_order: float, budget_seconds: float
) -> tuple[list[Step], list[Step]]:
    """The steps that run, and those that the budget does not allow.

    The first step that is no count also pays for the canonical order. A cheap step may follow a skipped one.
    """
    chosen: list[Step] = []
    skipped: list[Step] = []
    names: set[str] = {""}
    spent = 0.0
    for step in steps:
        seconds = step.expected_seconds + (0.0 if step.is_count else seconds_to_order)
        if not step.is_count and (spent + seconds > budget_seconds or step.needs not in names):
            skipped.append(step)
            continue
        if not step.is_count:
            seconds_to_order = 0.0
        spent += seconds
        names.update(step.names)
        chosen.append(replace(step, expected_seconds=seconds))
    return chosen, skipped


def run_steps(
    steps: Sequence[Step], clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """The value of every name of `NAMES`, the seconds of every group by the clock, and the warnings."""
    values, seconds = dict.fromkeys(NAMES, math.nan), dict.fromkeys(GROUPS, 0.0)
    failures: dict[str, list[Step]] = {}
    notes: list[str] = []
    expected = 0.0
    for place, step in enumerate(steps):
        taken = sum(seconds.values())
        if taken > max(TOO_SLOW * expected, PATIENCE_SECONDS):
            notes.append(
                f"{_lacking(steps[place:])}; what came before took {taken:.0f} s of processor time instead of "
                f"{expected:.2g} s, so try again in a process that does nothing else"
            )
            break
        start = clock()
        if reason := _run(step, values):
            failures.setdefault(reason, []).append(step)
        seconds[_group(step)] += clock() - start
        expected += step.expected_seconds
    return values, seconds, [f"{_listed(each)} failed: {why}" for why, each in failures.items()] + notes


def _run(step: Step, values: dict[str, float]) -> str:
    """Puts what the step gives into `values`; returns why it failed, empty if it did not."""
    if step.needs and math.isnan(values[step.needs]):
        return f"{step.needs} is missing"
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = step.run(values)
    except Exception as error:  # whatever a model or a statistic raises on an odd table is data, not an error
        return f"{type(error).__name__}: {error}".rstrip(": ")
    values.update({name: float(found[name]) for name in step.names if math.isfinite(found[name])})
    return ""


def _lacking(steps: Sequence[Step]) -> str:
    """What is not known without these steps, and what that means for the advice."""
    has_probes = all("probe_skill" not in step.names for step in steps)
    meaning = "less certain than it could be" if has_probes else "about as good as a fixed portfolio"
    return f"described without {_listed(steps)}, so the advice is {meaning}"


def _group(step: Step) -> str:
    return GROUP_OF[step.names[0]]


def _listed(steps: Sequence[Step], most: int = 3) -> str:
    """The names of the steps by group; a whole group by its own name."""
    parts = []
    for group in dict.fromkeys(map(_group, steps)):
        names = [name for step in steps if _group(step) == group for name in step.names]
        if len(names) == len(_NAMES[group]):
            parts.append(group)
        else:
            more = f" and {len(names) - most} more" if len(names) > most else ""
            parts.append(f"{group} ({', '.join(names[:most])}{more})")
    return ", ".join(parts)
