"""Where `tune` says that the search is flat, and what 100 more trials bring from there.

    python -m benchmarks.flat --cache flat.jsonl [--tables 12] [--seed 0] [--jobs 2]

Of every table with at least 500 rows, 30 % are set aside before anything looks at it. `metahp tune` trains LightGBM on
the remainder for 200 trials, whatever it expects; it knows the seed without the table's group. Then the trials are
replayed: at which of them would `--stop-when-flat` have ended the search, what had the search gained over the library
default by then, and what did up to 100 more trials gain? Both are cross-validated (by the folds that also chose the
trials) and measured on the rows set aside. A share is what more trials gained divided by what was gained before.

The second table says how well the expected gain of 100 more trials agrees with their real gain, and what each of the
two parts of the estimate would have said alone (`metahp.study.outlook`).

`--data DIR` holds tables and their MANIFEST.csv. `--cache FILE` keeps the trials, and a second call goes on; what is
expected of them is computed anew in every call.
"""

import sys
from collections.abc import Sequence
from typing import Any, TypedDict

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
    parse_arguments,
    run_main,
)
from benchmarks.methods import search_table, transfer
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
from metahp import Configuration, SearchSpace, Table, Trial, api
from metahp.core.metric import METRICS
from metahp.core.trial import Curve, Origin, TrialState
from metahp.evaluation.backend import Outcome
from metahp.refinement.strategy import estimate_gains
from metahp.study.outlook import CURVE_FACTOR, N_AHEAD, POSTERIOR_FACTOR, OutlookKeeper
from metahp.study.request import Budget
from metahp.study.trials import StudyTrials
from metahp.surrogate.prior import PastTasks

N_TRIALS, N_TABLES = 200, 12
QUICK_TRIALS, QUICK_TABLES = 12, 2
# Where expected and real gain are compared.
KS = (10, 25, 50, 75, 100)
LOSS = "{:.4g}"


class TrialRecord(TypedDict):
    """A trial: its configuration, the one that was run, its loss on every fold, and its seconds with the search."""

    configuration: dict[str, Any]
    run: dict[str, Any]
    losses: list[float]
    seconds: float


class Course(TypedDict):
    """How a search went.

    `outer` are the losses on outer rows of the best of the first k trials; `default` is the index of the default.
    """

    trials: list[TrialRecord]
    outer: list[float]
    default: int
    outer_default: float


class Forecast(TypedDict):
    """What was expected of a search.

    `flat` is the number of trials after which it was called flat, 0 where it never was. After each trial, `gains` has
    the expected gain of 100 more trials, and `drawn` what the posterior alone drew; NaN where nothing was known.
    """

    flat: int
    gains: list[float]
    drawn: list[float]


def run(source: TableSource, past: PastTasks, n: int, metric: str, seed: int) -> Course:
    """The trials of `tune` on the inner rows, and its picks on the outer ones."""
    part = set_outer_rows_aside(source)
    table, space = part.train, LEARNER.space(part.train.task.type)
    search = transfer(table, past, metric, derive_seed(source.name, seed))
    trials = search_table(table, search, n, metric, stops_early=True)
    losses = [list(trial.fold_losses.get(metric, [np.inf] * trial.protocol.folds)) for trial in trials]
    means = np.mean(losses, axis=1)
    picks = [int(np.argmin(means[: k + 1])) for k in range(len(trials))]
    default = next(i for i, trial in enumerate(trials) if trial.origin is Origin.DEFAULT)
    outer = {i: part.loss(part.predict(trials[i].configuration), metric) for i in {*picks, default}}
    return {
        "trials": [
            {
                "configuration": trial.configuration.stored,
                "run": trial.asked(space).stored,
                "losses": fold_losses,
                "seconds": trial.fit_seconds,
            }
            for trial, fold_losses in zip(trials, losses, strict=True)
        ],
        "outer": [outer[i] for i in picks],
        "default": default,
        "outer_default": outer[default],
    }


def predict(source: TableSource, past: PastTasks, course: Course, metric: str, seed: int) -> Forecast:
    """What `tune` would have said after each trial of a search."""
    table = set_outer_rows_aside(source).train
    space, n = LEARNER.space(table.task.type), len(course["trials"])
    search = transfer(table, past, metric, derive_seed(source.name, seed))
    trials = StudyTrials(
        table.task.id, api.SEED_PROTOCOL, METRICS[metric], [space], base=None, recorded=None, folder=None
    )
    keeper = OutlookKeeper(search, trials, Budget(trials=n + N_AHEAD, stops_when_flat=True))
    forecast: Forecast = {"flat": 0, "gains": [], "drawn": []}
    for record in course["trials"]:
        search.tell(trials.add(Outcome(_make_trial(record, table, space, metric))))
        gains, outlook = estimate_gains(search), keeper.look()
        forecast["drawn"].append(float("nan") if gains is None else float(gains[:N_AHEAD][-1]))
        forecast["gains"].append(float("nan") if outlook is None else outlook.gain_ahead)
        if not forecast["flat"] and keeper.is_flat():
            forecast["flat"] = trials.n_trials
    return forecast


def _make_trial(record: TrialRecord, table: Table, space: SearchSpace, metric: str) -> Trial:
    """The trial of a record; a failed one has an infinite loss."""
    is_complete = bool(np.isfinite(record["losses"]).all())
    asked = Configuration.of(LEARNER.name, record["run"])
    n_iterations = space.iterations_of(asked)
    assert n_iterations is not None
    return Trial(
        task=table.task.id,
        configuration=Configuration.of(LEARNER.name, record["configuration"]),
        protocol=api.SEED_PROTOCOL,
        n_rows=table.task.n_rows,
        state=TrialState.COMPLETE if is_complete else TrialState.FAILED,
        origin=Origin.POSTERIOR,
        fold_losses={metric: tuple(record["losses"])} if is_complete else {},
        # The run is as long as its curve.
        curve=Curve((n_iterations,), {metric: (float(np.mean(record["losses"])),)}) if is_complete else Curve((), {}),
        fit_seconds=record["seconds"],
    )


def compute_gains(course: Course, k: int) -> np.ndarray:
    """Gains of the first k trials and of up to `N_AHEAD` more, shape (2, 2): cross-validated, then on outer rows."""
    best = np.minimum.accumulate([np.mean(trial["losses"]) for trial in course["trials"]])
    outer, last = course["outer"], min(k + N_AHEAD, len(best)) - 1
    default = float(np.mean(course["trials"][course["default"]]["losses"]))
    return np.array(
        [
            [default - best[k - 1], best[k - 1] - best[last]],
            [course["outer_default"] - outer[k - 1], outer[k - 1] - outer[last]],
        ]
    )


def tabulate_words(names: Sequence[str], found: Sequence[tuple[Course, Forecast]]) -> Figures:
    """Where the searches were called flat, and what came after."""
    rows: Cells = []
    shares, numbers = [], []
    for name, (course, forecast) in zip(names, found, strict=True):
        n = len(course["trials"])
        k = forecast["flat"] or n
        gains = compute_gains(course, k)
        share = np.divide(gains[:, 1], gains[:, 0], out=np.full(2, np.inf), where=gains[:, 0] > 0)
        share[gains[:, 1] <= 0] = 0.0
        if forecast["flat"]:
            shares.append(share)
        numbers.append(forecast["flat"] or np.inf)
        seconds = sum(trial["seconds"] for trial in course["trials"][:k])
        cells = [Figure(value, form=LOSS) for value in (*gains[0], *gains[1])]
        rows.append(
            [
                name,
                Figure(float(numbers[-1]), form="{:.0f}"),
                Figure(seconds, form="{:.0f}"),
                *cells[:2],
                Figure(float(share[0]), form=SHARE),
                *cells[2:],
                Figure(float(share[1]), form=SHARE),
            ]
        )
    median = np.median(np.array(shares), axis=0) if shares else np.full(2, np.nan)
    figures = {
        "median_trials": float(np.median(numbers)),
        "share_within_100": float(np.mean(np.array(numbers) <= N_AHEAD)),
        "share_called_flat": float(np.isfinite(numbers).mean()),
        "median_share": float(median[0]),
        "median_outer_share": float(median[1]),
        "n_tables": len(found),
    }
    form = (
        "Called flat after {median_trials:.0f} trials in the median, within 100 on {share_within_100:.0%} of "
        "{n_tables:.0f} tables. From there, 100 more trials gain in the median {median_share:.1%} of what was gained "
        "before, and {median_outer_share:.1%} on the rows set aside."
    )
    columns = [
        *("table", "flat after trials", "seconds", "gained", "gained by 100 more", "share"),
        *("gained on outer rows", "by 100 more there", "share there"),
    ]
    return Figures("where the search is flat", columns, rows, [Note(form, figures)])


def tabulate_agreement(found: Sequence[tuple[Course, Forecast]]) -> Figures:
    """Expected and real gains of 100 more trials, as shares of what was gained with them in the end."""
    rows: Cells = []
    n = min(len(course["trials"]) for course, _ in found)
    for k in (k for k in KS if k <= n):
        drawn, expected, before, after, outer_before, outer_after = np.array(
            [
                [forecast["drawn"][k - 1], forecast["gains"][k - 1], *compute_gains(course, k).ravel()]
                for course, forecast in found
            ]
        ).T
        is_known = (before + after > 0) & ~np.isnan(expected)
        total = np.where(is_known, before + after, np.nan)
        shares = (
            np.array([after, expected, POSTERIOR_FACTOR * drawn, CURVE_FACTOR * (1 / k - 1 / (k + N_AHEAD)) * before])
            / total
        )
        outer_total = outer_before + outer_after
        outer = np.where(outer_total > 0, outer_after, np.nan) / np.where(outer_total > 0, outer_total, np.nan)
        rows.append([str(k), *average(np.array([*shares, outer]).T, "{:.3f} ± {:.3f}"), str(int(is_known.sum()))])
    columns = [
        *("after trials", "real", "expected", "by the posterior", "by the curves of past tasks"),
        *("real on outer rows", "tables"),
    ]
    return Figures("gain of 100 more trials, as a share of the gain with them: means", columns, rows)


def main() -> None:
    """Run the benchmark."""
    options = make_table_parser(__doc__, n_tables=N_TABLES)
    options.add_argument("--seed", type=int, default=0, help="of the search")
    arguments = parse_arguments(options, "metrics", "seed")
    n_tables, n = arguments.tables, N_TRIALS
    tables, past = choose_tables(arguments.data, arguments.tasks), Past.read([LEARNER.name])
    records = past.records
    if arguments.quick:
        n_tables, n, past = QUICK_TABLES, QUICK_TRIALS, past.smallest()
    cache, names, found = Cache(arguments.cache), [], []
    choose = choose_large(tables, records, n_tables)
    for chosen in tables_by_kind(past, METRIC_SETS[arguments.metrics], choose):
        sources, metrics = chosen.sources, chosen.metrics
        keys = {name: f"{name} {metrics[name]} transfer@{n} {arguments.seed}" for name in sources}
        learned, forecasts = chosen.learn(arguments.jobs), Cache(None)
        cache.fill(
            [(keys[name], run, (sources[name], learned[name], n, metrics[name], arguments.seed)) for name in sources],
            arguments.jobs,
        )
        jobs = [
            (name, predict, (sources[name], learned[name], cache[keys[name]], metrics[name], arguments.seed))
            for name in sources
        ]
        forecasts.fill(jobs, arguments.jobs)
        names += list(sources)
        found += [(cache[keys[name]], forecasts[name]) for name in sources]
    if not found:
        raise metahp.MetahpError(f"No table of {FEWEST_ROWS} rows or more.")
    report = Report("flat", __doc__ or "", arguments)
    report.add(tabulate_words(names, found))
    report.add(tabulate_agreement(found))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
