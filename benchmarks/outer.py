"""Recommended LightGBM configurations on rows that nothing has looked at, beside the default, the portfolio and peers.

    pip install -e '.[peers]'
    python -m benchmarks.outer --cache outer.jsonl [--tables 60] [--jobs 2]

Of every table with at least 500 rows, 30 % (by class for classification) are set aside before anything looks at it.
The rest is described, and metahp's first configuration, the portfolio's first, the library default, the pick of 25
trials of TPE by cross-validation, FLAML's and pytabkit's are trained on it and scored on the rows set aside. metahp and
the portfolio know the seed without the table's group. Losses of tables do not compare, and no best is known on outer
rows. So the table has the mean rank, and the gain: how much lower a loss is, in percent of the larger of the two, mean
and standard error over tables.

`--data DIR` holds tables and their MANIFEST.csv. `--cache FILE` keeps what is measured, and a second call goes on.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from benchmarks.common import (
    SHARE,
    Cache,
    CachedCall,
    Cell,
    Cells,
    Figure,
    Figures,
    Report,
    average,
    derive_seed,
    parse_arguments,
    run_main,
    win_rate,
)
from benchmarks.methods import (
    ADVICE,
    BUDGET_SECONDS,
    PEERS,
    PORTFOLIO,
    NewTask,
    find_peers,
    search_table,
    tpe,
    tpe_key,
)
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
from metahp import MetahpError, TaskType, describe
from metahp.study.loop import find_best
from metahp.surrogate.prior import PastTasks

N_TRIALS, QUICK_TRIALS, QUICK_TABLES = 25, 3, 2
# Below this share of the constant prediction's loss, a ratio of two losses is noise.
SOLVED = 1e-3
# In percent.
GAIN = "{:+.1f} ± {:.1f}"


def run_advice(source: TableSource, past: PastTasks, metric: str) -> dict[str, float]:
    """Outer losses of metahp's first, the portfolio's first and the default, and of a constant prediction."""
    part = set_outer_rows_aside(source)
    task, y = part.train.task, part.train.y
    metafeatures = describe(part.train, budget_seconds=BUDGET_SECONDS).vector()
    new_task = NewTask(past=past, prior=past.prior(metafeatures), metafeatures=metafeatures)
    chosen = {name: past.evidence.candidates[ADVICE[name](new_task, 1)[0]] for name in ("metahp", PORTFOLIO)}
    chosen["default"] = LEARNER.space(task.type).default
    constant = y.mean() if task.type is TaskType.REGRESSION else np.bincount(y) / len(y)
    predictions = {name: part.predict(configuration) for name, configuration in chosen.items()}
    predictions["constant"] = np.repeat(np.asarray(constant)[None], len(part.test.y), axis=0)
    return {name: part.loss(values, metric) for name, values in predictions.items()}


def run_tpe(source: TableSource, n: int, metric: str) -> dict[str, float | str]:
    """Outer loss of the best of `n` trials of TPE, or why all failed."""
    part = set_outer_rows_aside(source)
    table = part.train
    trials = search_table(table, tpe(table, derive_seed(table.task.name)), n, metric)
    best = find_best(trials, metric)
    if best is None:
        return {"tpe": float("nan"), "reason": trials[-1].reason}
    return {"tpe": part.loss(part.predict(best.configuration), metric)}


def run_peer(source: TableSource, name: str, metric: str) -> dict[str, float | str]:
    """Outer loss of a peer, or why it failed."""
    part = set_outer_rows_aside(source)
    try:
        return {name: part.loss(PEERS[name](part, metric), metric)}
    except Exception as error:  # whatever another library raises on an odd table is its result
        return {name: float("nan"), "reason": f"{type(error).__name__}: {error}"}


def tabulate_methods(by_task: Sequence[Mapping[str, float]], n_trials: int) -> Figures:
    """How all methods do on the outer rows."""
    names = [name for name in by_task[0] if name != "constant"]
    losses = np.array([[each[name] for name in names] for each in by_task])
    constant = np.array([each["constant"] for each in by_task])
    complete = ~np.isnan(losses).any(axis=1)
    ranks = np.array([rankdata(row) for row in losses[complete]]).reshape(-1, len(names)).mean(axis=0)
    ours, default = losses[:, names.index("metahp")], losses[:, names.index("default")]
    rows: Cells = []
    for name, loss, rank in zip(names, losses.T, ranks, strict=True):
        shown = f"tpe, best of {n_trials}" if name == "tpe" else name
        over_default = _compare(loss, default, constant) if name != "default" else ["", ""]
        of_metahp = _compare(ours, loss, constant) if name != "metahp" else ["", ""]
        rows.append([shown, Figure(float(rank), form="{:.2f}"), *over_default, *of_metahp])
    columns = ["method", "mean rank", "beats default", "gain over default, %", "metahp's first is better on", "by, %"]
    title = f"{LEARNER.name}, outer rows of {len(by_task)} tables ({int(complete.sum())} with all methods ranked)"
    return Figures(title, columns, rows)


def _compare(loss: np.ndarray, other: np.ndarray, constant: np.ndarray) -> list[Cell]:
    """On which share of tables a loss is lower than another, and how much lower it is in percent of the larger one.

    That is from -100 to 100, and the same both ways round.
    """
    gain = 100 * (other - loss) / np.maximum(np.maximum(loss, other), SOLVED * constant)
    return [Figure(win_rate(loss, other), form=SHARE), *average(gain[:, None], GAIN)]


def main() -> None:
    """Run the benchmark."""
    options = make_table_parser(__doc__)
    options.add_argument("--trials", type=int, default=N_TRIALS, metavar="N", help="of TPE; 0 leaves it out")
    arguments = parse_arguments(options, "metrics", "trials")
    n_tables, n = arguments.tables, arguments.trials
    tables, past = choose_tables(arguments.data, arguments.tasks), Past.read([LEARNER.name])
    records = past.records
    if arguments.quick:
        n_tables, n, past = QUICK_TABLES, QUICK_TRIALS, past.smallest()
    peers, cache = find_peers(), Cache(arguments.cache)
    by_task: list[dict[str, float]] = []
    choose = choose_large(tables, records, n_tables)
    for chosen in tables_by_kind(past, METRIC_SETS[arguments.metrics], choose):
        sources, metrics = chosen.sources, chosen.metrics
        jobs: dict[str, list[CachedCall]] = {}
        for name, source in sources.items():
            key, metric = f"{name} {metrics[name]}", metrics[name]
            jobs[name] = [(f"{key} {peer}", run_peer, (source, peer, metric)) for peer in peers]
            if n:
                jobs[name].append((f"{key} {tpe_key(n)}", run_tpe, (source, n, metric)))
        cache.fill([job for some in jobs.values() for job in some], arguments.jobs)
        # What is recommended changes with the seed and the library, so it is never taken from an earlier call.
        learned, recommended = chosen.learn(arguments.jobs), Cache(None)
        recommended.fill(
            [(name, run_advice, (source, learned[name], metrics[name])) for name, source in sources.items()],
            arguments.jobs,
        )
        for name in sources:
            parts = [recommended[name], *(cache[key] for key, _, _ in jobs[name])]
            by_task.append({method: loss for part in parts for method, loss in part.items() if method != "reason"})
    if not by_task:
        raise MetahpError(f"No table of {FEWEST_ROWS} rows or more.")
    report = Report("outer", __doc__ or "", arguments)
    report.add(tabulate_methods(by_task, n))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
