"""From a table to its meta-features: the steps of all groups, as far as the budget of work allows."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from metahp.datasets.table import Table
from metahp.metafeatures import information, landmarks, probes, simple, statistical
from metahp.metafeatures.view import Step, View

# Increase this whenever the meaning of a value changes: values of different versions are not compared.
VERSION = 1

_STEPS: dict[str, Callable[[View], list[Step]]] = {
    "simple": simple.plan_steps,
    "statistical": statistical.plan_steps,
    "information": information.plan_steps,
    "probes": probes.plan_steps,
    "landmarks": landmarks.plan_steps,
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

# Logarithms of the number of rows, or of a ratio with the number of rows in the numerator.
_GROWS_WITH_ROWS = np.isin(NAMES, ["log_n_rows", "log_rows_per_feature", "log_rows_per_class"])

# The expected seconds of the steps are fitted to the 425 tables of the seed, on a core of a 2.8 GHz Xeon: a description
# takes 1.01 times its expected processor seconds in the median, and 0.67 to 1.46 times on nine of ten tables.

# A description stops once it has taken this many times the expected seconds. A busy machine alone doubles or triples
# processor seconds.
TOO_SLOW = 10.0
# It never stops before this many processor seconds: the first steps load libraries, and the clock also counts other
# threads of the process.
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class MetaFeatures:
    """Numbers that describe a task's dataset.

    Attributes:
        values: The value of every name of `NAMES`; NaN if undefined, skipped or failed.
        seconds: Processor time of each group.
        warnings: One line for each kind of failure, and one line for all steps that the budget does not allow.
        version: Values of different versions are not compared.
    """

    values: Mapping[str, float]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
    version: int

    def vector(self) -> np.ndarray:
        """The values in the order of `NAMES`, shape (len(NAMES),)."""
        return np.array([self.values[name] for name in NAMES], dtype=float)


def replace_n_rows(metafeatures: np.ndarray, n_rows: np.ndarray) -> np.ndarray:
    """The meta-features (t, len(NAMES)) of tables of which only `n_rows` (t,) rows are used.

    Only counts of rows change: all other meta-features are estimates from a sample of the rows anyway.
    """
    log_ratio = np.log(n_rows) - metafeatures[:, NAMES.index("log_n_rows")]
    return np.where(_GROWS_WITH_ROWS, metafeatures + log_ratio[:, None], metafeatures)


def extract(table: Table, *, budget_seconds: float, clock: Callable[[], float], seed: int = 0) -> MetaFeatures:
    """The meta-features of a table, which do not depend on the order of its rows and columns.

    Args:
        table: The table.
        budget_seconds: Upper limit on the work, in seconds of one core of a common machine. Counts always run; any
            other step is skipped if it does not fit. The choice depends on the shape of the table alone and is made
            before any step runs, so load and the number of cores do not change it. The budget decides *whether* a
            step runs, never on how much data, so values from different budgets are comparable.
        clock: Processor seconds of this process. It only stops a description that takes `TOO_SLOW` times as long as
            expected. Wall-clock seconds would also stop a description on a busy machine.
        seed: Seed of the sample of rows and columns, and of the models.

    No content of a table raises an error: a failure gives NaN and a warning.
    """
    view = View(table, seed)
    steps = [step for plan_steps in _STEPS.values() for step in plan_steps(view)]
    chosen, skipped = choose_steps(steps, view.seconds_to_order, budget_seconds)
    # One thread: on small matrices threads wait for each other, up to fifty times longer on a busy machine, and sums
    # would depend on the number of cores.
    with threadpool_limits(1):
        values, seconds, notes = run_steps(chosen, clock)
    if skipped:
        needed = view.seconds_to_order + sum(step.expected_seconds for step in steps)
        notes.append(f"{_explain(skipped)}; `budget_seconds={math.ceil(10 * needed) / 10:g}` allows for all of it")
    return MetaFeatures(values, seconds, tuple(notes), VERSION)


def choose_steps(
    steps: Sequence[Step], seconds_to_order: float, budget_seconds: float
) -> tuple[list[Step], list[Step]]:
    """The steps that run, and the steps that the budget does not allow.

    The first step that is not a count also pays for the canonical order. A cheap step may run after a skipped one.
    """
    chosen: list[Step] = []
    skipped: list[Step] = []
    available: set[str] = {""}  # a step without needs has `needs` ""
    spent = 0.0
    for step in steps:
        seconds = step.expected_seconds + (0.0 if step.is_count else seconds_to_order)
        if not step.is_count and (spent + seconds > budget_seconds or step.needs not in available):
            skipped.append(step)
            continue
        if not step.is_count:
            seconds_to_order = 0.0
        spent += seconds
        available.update(step.names)
        chosen.append(replace(step, expected_seconds=seconds))
    return chosen, skipped


def run_steps(
    steps: Sequence[Step], clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, float], list[str]]:
    """The value of every name of `NAMES`, the seconds of every group, and the warnings."""
    values, seconds = dict.fromkeys(NAMES, math.nan), dict.fromkeys(GROUPS, 0.0)
    failures: dict[str, list[Step]] = {}
    notes: list[str] = []
    expected = 0.0
    for index, step in enumerate(steps):
        taken = sum(seconds.values())
        if taken > max(TOO_SLOW * expected, PATIENCE_SECONDS):
            notes.append(
                f"{_explain(steps[index:])}; the others took {taken:.0f} s of processor time instead of "
                f"{expected:.2g} s, so try again in a process that does nothing else"
            )
            break
        start = clock()
        if reason := _run(step, values):
            failures.setdefault(reason, []).append(step)
        seconds[_get_group(step)] += clock() - start
        expected += step.expected_seconds
    return (
        values,
        seconds,
        [f"{_explain(failed)}: they failed ({reason})" for reason, failed in failures.items()] + notes,
    )


def _run(step: Step, values: dict[str, float]) -> str:
    """Run the step and add its values to `values`; returns the reason if it fails, else an empty text."""
    if step.needs and math.isnan(values[step.needs]):
        return f"{step.needs} is missing"
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            new = step.run(values)
    except Exception as error:  # an error of a model or a statistic on an odd table is a missing value
        return f"{type(error).__name__}: {error}".rstrip(": ")
    values.update({name: float(new[name]) for name in step.names if math.isfinite(new[name])})
    return ""


def _explain(steps: Sequence[Step]) -> str:
    """Which meta-features are missing without these steps, and what that means for the advice."""
    has_probes = all("probe_skill" not in step.names for step in steps)
    meaning = "less certain than it could be" if has_probes else "about as good as a fixed portfolio"
    return f"the table is described without {_list_names(steps)}, so the advice is {meaning}"


def _get_group(step: Step) -> str:
    return GROUP_OF[step.names[0]]


def _list_names(steps: Sequence[Step]) -> str:
    """Groups of meta-features for messages, each whole or in part."""
    parts = []
    for group in dict.fromkeys(map(_get_group, steps)):
        names = [name for step in steps if _get_group(step) == group for name in step.names]
        if len(names) == len(_NAMES[group]):
            parts.append(group)
        else:
            parts.append(f"some of {group}")
    return ", ".join(parts)
