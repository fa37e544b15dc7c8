"""What `benchmarks.race` tells of its runs: shares of the default's loss, wins, paired differences and overruns."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import DIFFERENCE, SHARE, Cell, Cells, Figure, Figures, Note, average, mean_and_error, win_rate
from benchmarks.outer import SOLVED
from benchmarks.race_systems import DEFAULT, OWN

# Systems whose cross-validated loss is one of metahp's folds.
ON_SAME_FOLDS = ("metahp", "metahp_all", "tpe", "tuner_cv", DEFAULT)
RATIO, PERCENT = "{:.3f}", "{:+.1f}"
COMPARED = ["share of the default's loss", "wins of metahp", "log of metahp's over its loss"]
# What is known of a run: outer `loss`, `constant` (the loss of a constant prediction), `seconds`, `trials`, `cv_loss`
# and `past_tasks`, or the `reason` why it failed.
Run = Mapping[str, Any]


class Race:
    """Runs of some systems within one limit, by table and system a run for each seed, on the tables that all have."""

    def __init__(self, runs: Mapping[tuple[str, str], Sequence[Run]], systems: Sequence[str]) -> None:
        self.systems, self._runs = systems, runs
        self.tables = [
            table
            for table in dict.fromkeys(table for table, _ in runs)
            if all(has_ended(runs.get((table, system), ())) for system in systems)
        ]
        self.failed = [
            f"{system} on {table}: {run.get('reason', 'no loss')}"
            for (table, system), some in runs.items()
            for run in some
            if not has_ended([run])
        ]

    def tabulate(self, seconds: float) -> list[Figures]:
        """The tables of a limit."""
        found = [self._tabulate_outer(seconds), self._tabulate_folds(seconds)]
        if len(set(self.systems) & set(OWN)) > 1:
            found.insert(1, self._tabulate_own(seconds))
        return found

    def log_ratios(self, system: str, loss: str) -> np.ndarray:
        """Logarithm of a system's `loss` or `cv_loss` over the default's, mean over seeds, by table."""
        return self._mean_logs(system, loss) - self._mean_logs(DEFAULT, loss)

    def _mean_logs(self, system: str, loss: str) -> np.ndarray:
        floors = SOLVED * self._values(DEFAULT, "constant")
        return np.log(np.maximum(self._values(system, loss), floors)).mean(axis=1)

    def _values(self, system: str, name: str) -> np.ndarray:
        """Of every run, (tables, seeds)."""
        return np.array([[run[name] for run in self._runs[table, system]] for table in self.tables], dtype=float)

    def _tabulate_outer(self, seconds: float) -> Figures:
        rows: Cells = []
        for system in self.systems:
            taken: list[Cell] = [""] * 3
            if system != DEFAULT:
                overrun = 100 * (self._values(system, "seconds") / seconds - 1)
                n_trials = float(np.median(self._values(system, "trials")))
                taken = [Figure(float(value), form=PERCENT) for value in (np.median(overrun), np.max(overrun))]
                taken.append(Figure(n_trials, form="{:.0f}"))
            rows.append([system, *self._compare(system, "loss"), *taken])
        columns = ["system", *COMPARED, "median overrun, %", "largest overrun, %", "median trials"]
        notes = []
        if OWN[0] in self.systems:
            share = float((self._values(OWN[0], "past_tasks") > 0).mean())
            notes.append(
                Note("In {share_warm:.0%} of its runs metahp had asked past tasks in time.", {"share_warm": share})
            )
        if self.failed:
            named = "; ".join(self.failed).replace("{", "{{").replace("}", "}}")
            notes.append(Note(f"{{n_failed:.0f}} runs failed: {named}.", {"n_failed": float(len(self.failed))}))
        return Figures(f"{seconds:g} s, outer rows of {len(self.tables)} tables", columns, rows, notes)

    def _tabulate_own(self, seconds: float) -> Figures:
        own = [system for system in OWN if system in self.systems]
        ratios = {system: self.log_ratios(system, "loss") for system in self.systems}
        rows: Cells = [
            [peer, *(cell for name in own for cell in average((ratios[name] - ratios[peer])[:, None], DIFFERENCE))]
            for peer in self.systems
            if peer not in own
        ]
        title = f"{seconds:g} s, outer rows: log of the loss of each way of metahp over its peer's"
        return Figures(title, ["peer", *own], rows)

    def _tabulate_folds(self, seconds: float) -> Figures:
        rows: Cells = [
            [system, *self._compare(system, "cv_loss")] for system in self.systems if system in ON_SAME_FOLDS
        ]
        return Figures(f"{seconds:g} s, cross-validated on the same folds", ["system", *COMPARED], rows)

    def _compare(self, system: str, loss: str) -> list[Cell]:
        """Share of the default's loss; beside `metahp` its wins and the difference. Unknown losses are left out."""
        theirs = self.log_ratios(system, loss)
        share = Figure(float(np.exp(mean_and_error(theirs[:, None])[0][0])), form=RATIO)
        if system == OWN[0] or OWN[0] not in self.systems:
            return [share, "", ""]
        ours = self.log_ratios(OWN[0], loss)
        wins = Figure(win_rate(ours, theirs), form=SHARE)
        return [share, wins, *average((ours - theirs)[:, None], DIFFERENCE)]


def has_ended(runs: Sequence[Run]) -> bool:
    """Whether there are runs, and all ended with a loss."""
    return bool(runs) and all("reason" not in run and np.isfinite(run["loss"]) for run in runs)
