"""Sample growth: under a time limit, trials on a large table begin on some of its rows and end on all of them.

A rung is a stage of a study with a fixed number of rows. The next rung has four times as many rows, and first tries the
best configurations of the one before. This is successive halving in the number of rows (Jamieson and Talwalkar, 2016,
"Non-stochastic Best Arm Identification and Hyperparameter Optimization", arXiv 1502.07943), with a model that goes on
choosing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from metahp.core.task import Task
from metahp.core.trial import Origin, Protocol
from metahp.refinement.strategy import Observation, Strategy, Suggestion, estimate_gains

# Seconds in which one core trains the default of LightGBM, for each row, feature and output; measured from 2e-7 to
# 7e-7. Only the number of rows of the first rung depends on it.
SECONDS_PER_CELL = 5e-7
# A trial of the first rung takes about this share of the time limit.
SHARE_OF_TRIAL = 1 / 30
# Fewest rows of a rung, and the factor from one rung to the next.
FEWEST_ROWS, FACTOR = 2_500, 4
# All rungs but the last one end after this share of the time, in equal steps.
SHARE_BELOW_LAST = 0.6
# Number of a rung's best configurations that the next rung tries first.
N_PROMOTED = 4


@dataclass(frozen=True, slots=True)
class Rung:
    """A stage of a study on at most `n_rows` rows, which ends after the share `until` of the time limit."""

    n_rows: int
    until: float


def plan_rungs(task: Task, protocol: Protocol, timeout: float | None) -> tuple[Rung, ...]:
    """The stages of a study; a single one without a time limit, and where trials on all rows are short enough."""
    n_rows = min(task.n_rows, protocol.max_rows)
    alone = (Rung(n_rows, 1.0),)
    if timeout is None:
        return alone
    n_fits = protocol.folds * protocol.repeats
    seconds_per_row = SECONDS_PER_CELL * n_fits * task.n_features * max(task.n_classes - 1, 1)
    first = max(FEWEST_ROWS, int(SHARE_OF_TRIAL * timeout / seconds_per_row))
    if first * 2 > n_rows:
        return alone
    counts = [first]
    while counts[-1] * FACTOR < n_rows:
        counts.append(counts[-1] * FACTOR)
    below = [Rung(count, SHARE_BELOW_LAST * place / len(counts)) for place, count in enumerate(counts, start=1)]
    return (*below, Rung(n_rows, 1.0))


class Growing:
    """A `Strategy` that goes from rung to rung, and first tries the best of the last one again on more rows.

    What it tells the strategy behind it is as on the present rung: losses of earlier rungs are moved by the mean
    difference of the configurations that were tried on both.

    Attributes:
        strategy: Chooses beside the promoted ones; set before the first trial.
        share: Rows of the present rung over all rows that the study uses. The strategy behind it learns the seconds
            that trials would take on all rows, as if they were proportional to the rows.
    """

    strategy: Strategy

    def __init__(self) -> None:
        self.share = 1.0
        self._promoted: list[Suggestion] = []
        self._origins: dict[str, Origin] = {}
        self._below: dict[str, Observation] = {}
        self._here: dict[str, Observation] = {}
        self._differences: list[float] = []

    @property
    def is_out_of_time(self) -> bool:
        """Whether the strategy could not be made ready in time."""
        return bool(getattr(self.strategy, "is_out_of_time", False))

    def rise(self, share: float) -> None:
        """Begin the next rung, with `share` of all rows."""
        best = sorted((each for each in self._here.values() if math.isfinite(each.loss)), key=lambda each: each.loss)
        distinct: dict[str, Observation] = {}
        for each in best:
            distinct.setdefault(each.asked.id, each)
        self._promoted = [
            Suggestion(each.asked, self._origins.get(each.asked.id, Origin.POSTERIOR))
            for each in list(distinct.values())[:N_PROMOTED]
        ]
        self._below, self._here, self._differences = self._here, {}, []
        self.share = share

    def ask(self) -> Suggestion | None:
        """The next configuration; None where none is left."""
        suggestion = self._promoted.pop(0) if self._promoted else self.strategy.ask()
        if suggestion is not None:
            self._origins.setdefault(suggestion.configuration.id, suggestion.origin)
        return suggestion

    def estimate_gains(self) -> np.ndarray | None:
        """Expected decrease of the best loss with further trials; None where it is not known."""
        return estimate_gains(self.strategy)

    def tell(self, observation: Observation) -> None:
        """Learn from a trial of the present rung."""
        self._promoted = [each for each in self._promoted if each.configuration != observation.asked]
        self._here[observation.asked.id] = observation
        self.strategy.tell(replace(observation, seconds=observation.seconds / self.share))
        before = self._below.get(observation.asked.id)
        if before is not None and math.isfinite(observation.loss):
            self._differences.append(observation.loss - before.loss)
            move = fmean(self._differences)
            for name, each in self._below.items():
                if name not in self._here and math.isfinite(each.loss):
                    self.strategy.tell(replace(each, loss=each.loss + move, seconds=math.nan))


def name_rung(rung: Rung, rungs: Sequence[Rung]) -> str:
    """The rows of a rung in words; empty for the only one."""
    return "" if len(rungs) == 1 else f"{rung.n_rows:,} of {rungs[-1].n_rows:,} rows"
