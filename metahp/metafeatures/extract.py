"""From a table to its meta-features: every group in turn, as far as the time budget goes."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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

# A step is started when this many times its expected seconds are left: estimates err, and a fit cannot be stopped.
MARGIN = 1.4
# How far the measured pace may correct the expected seconds; one odd step must not switch the rest off.
SLOWEST, FASTEST = 20.0, 0.2
# Steps expected to be shorter than this say nothing about the pace.
SHORTEST_TIMED = 2e-3


@dataclass(frozen=True, slots=True)
class MetaFeatures:
    """Numbers that describe a task's dataset.

    `values` has every name of `NAMES`, NaN where undefined, skipped or failed; `seconds` says what each group took;
    `warnings` has one line for each group that was skipped, wholly or in part, and each failure.
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


def extract(table: Table, *, seconds_left: Callable[[], float], seed: int = 0) -> MetaFeatures:
    """The meta-features of a table, which do not depend on the order of its rows and columns.

    Args:
        table: The table.
        seconds_left: What is left of the time budget. What would not fit is skipped, except for the counts of group
            `simple`. The budget decides only *whether* something is computed, never on how much data, so values
            taken under different budgets compare.
        seed: Chooses the sample of rows and columns, and the randomness of the models.

    Never raises for what a table holds: a failure is a NaN and a warning.
    """
    view = View(table, seed)
    values = dict.fromkeys(NAMES, math.nan)
    seconds: dict[str, float] = {}
    notes: list[str] = []
    at_start, pace = seconds_left(), 1.0
    # One thread: on matrices this small several wait for each other, up to fifty times longer on a busy machine, and
    # sums would depend on the number of cores.
    with threadpool_limits(1):
        for group, steps in _STEPS.items():
            before = seconds_left()
            found, pace = run_group(group, steps(view), values, seconds_left, at_start, max(pace, 1.0))
            notes += found
            seconds[group] = before - seconds_left()
    return MetaFeatures(values, seconds, tuple(notes), VERSION)


def run_group(
    group: str,
    steps: list[Step],
    values: dict[str, float],
    seconds_left: Callable[[], float],
    at_start: float,
    pace: float,
) -> tuple[list[str], float]:
    """Runs the steps that fit and puts what they give into `values`.

    Returns the warnings, and the pace: seconds taken per second expected, which starts at `pace`.
    """
    failures: dict[str, list[str]] = {}
    skipped: list[str] = []
    orphaned: dict[str, list[str]] = {}
    taken, expected = 0.0, 0.0
    for step in steps:
        if step.needs and math.isnan(values[step.needs]):
            orphaned.setdefault(step.needs, []).extend(step.names)
            continue
        before = seconds_left()
        must_run = group == "simple" and step.expected_seconds == 0
        if not must_run and step.expected_seconds * pace * MARGIN >= before:
            skipped += step.names
            continue
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = step.run(values)
        except Exception as error:  # whatever a model or a statistic raises on an odd table is data, not an error
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            failures.setdefault(reason, []).extend(step.names)
            continue
        for name in step.names:
            if math.isfinite(found[name]):
                values[name] = float(found[name])
        if step.expected_seconds > SHORTEST_TIMED:
            taken += before - seconds_left()
            expected += step.expected_seconds
            pace = min(max(taken / expected, FASTEST), SLOWEST)
    notes = [f"{_listed(group, names)} failed: {reason}" for reason, names in failures.items()]
    if skipped:
        notes.append(f"{_listed(group, skipped)} skipped: the budget of {max(at_start, 0.0):.3g} s does not allow more")
    notes += [f"{_listed(group, names)} skipped: {needed} is missing" for needed, names in orphaned.items()]
    return notes, pace


def _listed(group: str, names: list[str], most: int = 3) -> str:
    if len(names) == len(_NAMES[group]):
        return group
    some = ", ".join(names[:most])
    return f"{group} ({some}{f' and {len(names) - most} more' if len(names) > most else ''})"
