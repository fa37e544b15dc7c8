"""Refinement with past tasks beside TPE from cold, on real tables: LightGBM trained trial by trial.

    python -m benchmarks.live --cache live.jsonl [--tables 40] [--seed 0] [--jobs 2]

Of every table with at least 500 rows, 30 % are set aside before anything looks at it; the rest is cross-validated as in
the seed. `transfer` does as `metahp tune` does: it begins with recommended points and the default, stops its trials
early, and knows the seed without the table's group; `tpe` is Optuna's, from cold.

The first table says how many trials transfer needs for the loss that TPE has after all of its trials, and for the
lowest loss on the learning curves of these trials, which TPE would have found with early stopping. The second one
compares both at the same number of trials: transfer is worse where its loss is higher by more than a standard error of
the paired differences over folds. It also compares both picks on the rows set aside.

`--data DIR` holds tables and their MANIFEST.csv. `--cache FILE` keeps the trials of TPE, and a second call goes on;
with another `--seed` it compares other trials of transfer with the same of TPE.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypedDict

import numpy as np

import metahp
from benchmarks.common import (
    SHARE,
    Cache,
    Cells,
    Figure,
    Figures,
    Note,
    Report,
    average,
    derive_seed,
    mean_and_error,
    parse_arguments,
    run_main,
    win_rate,
)
from benchmarks.methods import search_table, tpe, tpe_key, transfer
from benchmarks.tables import (
    FEWEST_ROWS,
    LEARNER,
    METRIC_SETS,
    Past,
    TableSource,
    choose_large,
    choose_tables,
    make_table_parser,
    set_outer_rows_aside,
    tables_by_kind,
)
from metahp.refinement.strategy import Strategy
from metahp.surrogate.prior import PastTasks

N_TRIALS, N_COLD, N_TABLES = 50, 100, 40
QUICK_TRIALS, QUICK_COLD, QUICK_TABLES = 4, 6, 2
# Where the comparison at equal budget is made, and the picks are tried on the rows set aside.
KS = (3, 5, 10, 25, 50)
GAIN = "{:+.2f} ± {:.2f} %"


class SearchCourse(TypedDict):
    """How a search went: losses per fold of every trial, and the lowest mean loss along its learning curve.

    `outer` are the losses on outer rows of the best of the first k trials, for each of `counts`.
    """

    losses: list[list[float]]
    lowest: list[float]
    outer: list[float]


def choose_counts(n: int) -> list[int]:
    """Numbers of trials, of `n`, at which searches are compared."""
    return sorted({*(k for k in KS if k <= n), n})


def run(
    source: TableSource, search_of: Callable[[metahp.Table], Strategy], n: int, metric: str, *, stops_early: bool
) -> SearchCourse:
    """The trials of a search on the inner rows, and its picks on the outer ones."""
    part = set_outer_rows_aside(source)
    trials = search_table(part.train, search_of(part.train), n, metric, stops_early=stops_early)
    # A trial that failed has infinite losses.
    losses = [list(trial.fold_losses.get(metric, [np.inf] * trial.protocol.folds)) for trial in trials]
    mean_losses = np.mean(losses, axis=1)
    picks = [int(np.argmin(mean_losses[:k])) for k in choose_counts(len(trials))]
    outer = {i: part.loss(part.predict(trials[i].configuration), metric) for i in set(picks)}
    return {
        "losses": losses,
        "lowest": [min(trial.curve.losses.get(metric, [np.inf])) for trial in trials],
        "outer": [outer[i] for i in picks],
    }


def run_cold(source: TableSource, n: int, metric: str, seed: int) -> SearchCourse:
    """TPE from cold."""
    return run(source, partial(tpe, seed=derive_seed(source.name, seed)), n, metric, stops_early=False)


def run_warm(source: TableSource, past: PastTasks, n: int, metric: str, seed: int) -> SearchCourse:
    """Transfer with what past tasks say of the table."""
    search_of = partial(transfer, past=past, metric=metric, seed=derive_seed(source.name, seed))
    return run(source, search_of, n, metric, stops_early=True)


def tabulate_goals(names: Sequence[str], found: Sequence[tuple[SearchCourse, SearchCourse]]) -> Figures:
    """How many trials transfer needs for what TPE has at its end."""
    n_ours, n_cold = len(found[0][0]["losses"]), len(found[0][1]["losses"])
    after = f"TPE after {n_cold}"
    rows: Cells = []
    reached: dict[str, list[float]] = {after: [], f"{after}, its trials stopped early": []}
    for name, (ours, theirs) in zip(names, found, strict=True):
        best = np.minimum.accumulate(np.mean(ours["losses"], axis=1))
        goals = float(np.mean(theirs["losses"], axis=1).min()), float(min(theirs["lowest"]))
        needed = [next((n for n, loss in enumerate(best, start=1) if loss <= goal), np.inf) for goal in goals]
        for gathered, n in zip(reached.values(), needed, strict=True):
            gathered.append(n)
        losses = [Figure(loss, form="{:.4g}") for loss in (*goals, float(best[-1]))]
        rows.append([name, *losses, *(Figure(n, form="{:.0f}") for n in needed)])
    notes = []
    for suffix, (goal, numbers) in zip(("", "_stopped_early"), reached.items(), strict=True):
        form = (
            f"{goal}: median {{trials_to_reach_cold{suffix}:.1f}} trials; reached within {n_ours} on "
            f"{{share_reached{suffix}:.0%}} of {len(found)} tables."
        )
        share = float(np.isfinite(numbers).mean())
        median = float(np.median(numbers))
        notes.append(Note(form, {f"trials_to_reach_cold{suffix}": median, f"share_reached{suffix}": share}))
    columns = ["table", after, "lowest on its curves", f"transfer after {n_ours}", "trials", "trials to the lowest"]
    return Figures(f"trials of transfer until the loss of {after}", columns, rows, notes)


def tabulate_equal_trials(found: Sequence[tuple[SearchCourse, SearchCourse]]) -> Figures:
    """Transfer beside TPE after as many trials of each."""
    n_ours, n_cold = len(found[0][0]["losses"]), len(found[0][1]["losses"])
    rows: Cells = []
    for i, k in enumerate(choose_counts(n_ours)):
        pairs = [(_best_folds(ours, k), _best_folds(theirs, k)) for ours, theirs in found]
        gap, error = mean_and_error(np.array([ours - theirs for ours, theirs in pairs]).T)
        wins = win_rate(np.array([ours.mean() for ours, _ in pairs]), np.array([theirs.mean() for _, theirs in pairs]))
        j = sum(each < k for each in choose_counts(n_cold))
        outer = np.array([[ours["outer"][i], theirs["outer"][j], theirs["outer"][-1]] for ours, theirs in found])
        gain = 100 * (outer[:, 1] - outer[:, 0]) / np.maximum(np.abs(outer[:, :2]).max(axis=1), 1e-12)
        shares = [
            1 - float(np.mean(gap > error)),
            float(np.mean(gap > 0)),
            wins,
            win_rate(outer[:, 0], outer[:, 1]),
            win_rate(outer[:, 0], outer[:, 2]),
        ]
        rows.append([str(k), *(Figure(share, form=SHARE) for share in shares), *average(gain[:, None], GAIN)])
    columns = [
        "trials",
        "not worse by a standard error",
        "worse at all",
        "wins",
        "wins on outer rows",
        f"wins there against TPE after {n_cold}",
        "lower loss on outer rows",
    ]
    return Figures(f"transfer beside TPE at equal trials, {len(found)} tables", columns, rows)


def _best_folds(course: SearchCourse, k: int) -> np.ndarray:
    """Fold losses of the best of the first k trials."""
    losses = np.array(course["losses"][:k])
    return losses[int(losses.mean(axis=1).argmin())]


def main() -> None:
    """Run the benchmark."""
    options = make_table_parser(__doc__, n_tables=N_TABLES)
    options.add_argument("--seed", type=int, default=0, help="of transfer")
    options.add_argument("--cold-seed", type=int, default=0, metavar="SEED", help="of TPE")
    arguments = parse_arguments(options, "metrics")
    n_tables, n, n_cold = arguments.tables, N_TRIALS, N_COLD
    tables, past = choose_tables(arguments.data, arguments.tasks), Past.read([LEARNER.name])
    records = past.records
    if arguments.quick:
        n_tables, n, n_cold, past = QUICK_TABLES, QUICK_TRIALS, QUICK_COLD, past.smallest()
    cache, names, found = Cache(arguments.cache), [], []
    choose = choose_large(tables, records, n_tables)
    for chosen in tables_by_kind(past, METRIC_SETS[arguments.metrics], choose):
        sources, metrics = chosen.sources, chosen.metrics
        keys = {name: f"{name} {metrics[name]} {tpe_key(n_cold)} {arguments.cold_seed}" for name in sources}
        cache.fill(
            [(keys[name], run_cold, (sources[name], n_cold, metrics[name], arguments.cold_seed)) for name in sources],
            arguments.jobs,
        )
        # What transfer does changes with the seed and the library, so it is never taken from an earlier call.
        learned, ours = chosen.learn(arguments.jobs), Cache(None)
        ours.fill(
            [(name, run_warm, (sources[name], learned[name], n, metrics[name], arguments.seed)) for name in sources],
            arguments.jobs,
        )
        names += list(sources)
        found += [(ours[name], cache[keys[name]]) for name in sources]
    if not found:
        raise metahp.MetahpError(f"No table of {FEWEST_ROWS} rows or more.")
    report = Report("live", __doc__ or "", arguments)
    report.add(tabulate_goals(names, found))
    report.add(tabulate_equal_trials(found))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
