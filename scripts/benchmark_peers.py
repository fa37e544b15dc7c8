"""Recommended LightGBM configurations beside FLAML zero-shot, pytabkit's tuned default and Optuna's TPE from cold.

    pip install -e '.[peers]'
    python scripts/benchmark_peers.py --cache peers.jsonl [--tables 60] [--jobs 2]

Default-scaled regret after k trials, and after s seconds of everything: 0 is the best loss known on the table, that of
any method here included, 1 the library's default, 2 the clip. Every table of tier core that the seed knows is left out
with its group, and flat tables, whose default is as good as the best within the noise of the folds, are left out and
counted. All methods are scored by the seed's protocol on the same folds. FLAML's rules see the training rows of a
fold; pytabkit stops on a fifth of them, by the metric that is scored. metahp and the portfolio are batches that nothing
is observed for. Seconds are the processor's, metahp's with those of the meta-features; before its first trial ends, a
method has the library's default. `--data DIR` holds tables and their MANIFEST.csv; where the seed knows none of them,
the design is measured on them first. `--cache FILE` keeps what is measured, and a second call goes on with it.
"""

import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from _benchmark import ROOT, parser, report, write
from _peers import (
    KINDS,
    LEARNER,
    METRIC_SETS,
    PEERS,
    Advice,
    Cache,
    Timed,
    advise,
    beaten,
    chosen_tables,
    fold_of,
    installed_peers,
    is_random,
    learn,
    part_of,
    read_learner,
    standard_error,
    timed,
    tpe,
    with_measured,
)
from joblib import Parallel, delayed

from metahp import api
from metahp.core.metric import METRICS, kin_metrics
from metahp.core.regret import DEFAULT_SCALED_CLIP, default_scaled_regret
from metahp.core.task import TaskType
from metahp.datasets.read import TableSource
from metahp.evaluation.budget import Budget
from metahp.evaluation.losses import losses_of
from metahp.evaluation.protocol import folds, sampled_rows
from metahp.learners.catalogue import learner_named
from metahp.metafeatures.extract import extract
from metahp.surrogate.encoding import Evidence
from metahp.surrogate.validation import expected_best_of_random

KS = (1, 3, 5, 10, 15, 25, 30, 50)
SECONDS = (1, 3, 10, 30, 100)
# As many configurations as the longest search has trials.
N_TRIALS, N_TRIALS_QUICK, N_TABLES_QUICK, N_PAST_QUICK = 50, 12, 2, 40
# The budget that `recommend` gives the meta-features.
BUDGET_SECONDS = 2.0
N_ORDERS = 100
Course = list[Timed]


def run_default(source: TableSource, metric: str) -> dict[str, float]:
    """The library default now, which says how fast this machine is, and what the meta-features take."""
    table, learner = source.load(), learner_named(LEARNER)
    result = timed(table, learner, learner.space(table.task.type).default, api.SEED_PROTOCOL, metric)
    start = time.process_time()
    extract(table, seconds_left=Budget(BUDGET_SECONDS).left, seed=0)
    return {**asdict(result), "describe_seconds": time.process_time() - start}


def run_tpe(source: TableSource, n: int, metric: str) -> list[list[float]]:
    """Loss and seconds of each trial of a cold search."""
    _, results = tpe(source.load(), n, api.SEED_PROTOCOL, metric)
    return [[result.loss, result.seconds] for result in results]


def run_configuration(source: TableSource, values: dict, metric: str) -> dict[str, float]:
    """A configuration that the seed has not measured on this table."""
    table, learner = source.load(), learner_named(LEARNER)
    configuration = learner.space(table.task.type).configuration(values)
    return asdict(timed(table, learner, configuration, api.SEED_PROTOCOL, metric))


def run_peer(source: TableSource, name: str, metric: str) -> dict[str, float | str]:
    """Mean loss of a peer over the folds, and its seconds; why it failed where it did."""
    table = source.load()
    start, losses = time.process_time(), []
    try:
        for train, test in folds(table, sampled_rows(table, api.SEED_PROTOCOL), api.SEED_PROTOCOL):
            prediction = PEERS[name](part_of(table, train, test), metric)
            losses.append(losses_of(table.y[test], prediction, table.task.type)[metric])
    except Exception as error:  # whatever another library raises on an odd table is its result
        return {"loss": float("nan"), "seconds": float("nan"), "reason": f"{type(error).__name__}: {error}"}
    return {"loss": float(np.mean(losses)), "seconds": time.process_time() - start}


def advice_of_fold(
    past: Evidence, task_type: TaskType, train: np.ndarray, rows: list[int], k: int
) -> dict[int, Advice]:
    """Batches for the left-out rows, from knowledge of the others."""
    knowledge = learn(past.rows(train), task_type)
    return {row: advise(knowledge, past.metafeatures[row], k) for row in rows}


def course(past: Evidence, row: int, columns: tuple[int, ...], pace: float, cache: Cache, key: str) -> Course:
    """How a batch went: looked up in the seed, its seconds at this machine's pace, or measured here."""
    return [
        Timed(**cache[f"{key} {past.candidates[j].id}"])
        if np.isnan(past.losses[row, j])
        else Timed(float(past.losses[row, j]), float(past.fit_seconds[row, j]) * pace)
        for j in columns
    ]


def random_after(losses: np.ndarray, seconds: np.ndarray, regret: partial) -> list[float]:
    """Mean regret after each of `SECONDS` over random orders of the design."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(losses)) for _ in range(N_ORDERS)]
    curves = [after([Timed(losses[i], seconds[i]) for i in order], 0.0, regret) for order in orders]
    return np.mean(curves, axis=0).tolist()


def after(course: Course, start: float, regret: partial) -> list[float]:
    """Regret after each of `SECONDS`, the first trial beginning at `start`."""
    ends = start + np.cumsum([result.seconds for result in course])
    best = np.minimum.accumulate(regret([result.loss for result in course]))
    return [float(best[done - 1]) if (done := int(np.searchsorted(ends, s, side="right"))) else 1.0 for s in SECONDS]


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = parser(__doc__, data=ROOT.parent / "shared" / "datasets")
    options.add_argument("--cache", type=Path, metavar="FILE", help="JSON lines of what was measured")
    options.add_argument("--metrics", choices=METRIC_SETS, default="log_loss")
    options.add_argument("--tables", type=int, metavar="N", help="compare on the first N tables, in the order of ids")
    options.add_argument("--trials", type=int, default=N_TRIALS, metavar="N", help="of TPE; 0 leaves it out")
    options.add_argument("--jobs", type=int, default=2)
    arguments = options.parse_args()
    quick = arguments.quick
    tables = chosen_tables(arguments.data, arguments.tasks)
    records, trials = read_learner(ROOT / "knowledge_base")
    if not tables.keys() & {record.task.name for record in records}:
        records, trials = with_measured(records, trials, list(tables.values()), arguments.jobs)
    if quick:
        kept = [record for record in records if record.task.name in tables]
        kept = sorted(kept, key=lambda record: record.task.n_rows)[:N_PAST_QUICK]
        ids = {record.task.id for record in kept}
        records, trials = kept, [trial for trial in trials if trial.task in ids]
    peers, cache = installed_peers(), Cache(arguments.cache)
    n, n_batch = (N_TRIALS_QUICK, N_TRIALS_QUICK) if quick else (arguments.trials, N_TRIALS)
    n_tables = N_TABLES_QUICK if quick else arguments.tables
    curves: dict[str, list[list[float]]] = {}
    clocks: dict[str, list[list[float]]] = {}
    n_flat = n_scored = n_failed = n_other = 0
    for kind, task_type in KINDS.items():
        metric = METRICS[METRIC_SETS[arguments.metrics][kind]]
        kin = kin_metrics(metric.name)
        past, _ = api.past_evidence(records, trials, task_type, metric, [LEARNER])
        wanted = [row for row in range(len(past.tasks)) if past.tasks[row].name in tables]
        scored = [row for row in wanted if not past.flat[row]]
        n_flat += len(wanted) - len(scored)
        # In proportion to the two kinds, so that a part of the tables is a sample of the whole.
        scored = scored[: n_tables and max(1, round(n_tables / 2))]
        metrics = {row: kin[past.tasks[row].type] for row in scored}
        sources = {row: tables[past.tasks[row].name].source for row in scored}
        key = {row: f"{past.tasks[row].id} {metrics[row]}" for row in scored}
        jobs = []
        for row in scored:
            source, name = sources[row], metrics[row]
            jobs.append((f"{key[row]} default", run_default, (source, name)))
            jobs += [(f"{key[row]} {peer}", run_peer, (source, peer, name)) for peer in peers]
            if n:
                jobs.append((f"{key[row]} tpe@{n}", run_tpe, (source, n, name)))
        cache.fill(jobs, arguments.jobs)
        trains, fold = fold_of(past)
        by_fold: dict[int, list[int]] = {}
        for row in scored:
            by_fold.setdefault(fold[past.tasks[row].group or past.tasks[row].id], []).append(row)
        found = Parallel(n_jobs=arguments.jobs)(
            delayed(advice_of_fold)(past, task_type, trains[i], rows, n_batch) for i, rows in by_fold.items()
        )
        advice = {row: each for part in found for row, each in part.items()}
        missing = {
            (row, column)
            for row in scored
            for column in (*advice[row].metahp, *advice[row].portfolio)
            if np.isnan(past.losses[row, column])
        }
        jobs = [
            (
                f"{key[row]} {past.candidates[column].id}",
                run_configuration,
                (sources[row], past.candidates[column].values, metrics[row]),
            )
            for row, column in sorted(missing)
        ]
        cache.fill(jobs, arguments.jobs)
        for row in scored:
            now, default = cache[f"{key[row]} default"], past.defaults[LEARNER]
            if not np.isclose(now["loss"], past.losses[row, default], rtol=1e-4):
                # Another version of the table or of a library: its losses are not the seed's.
                n_other += 1
                continue
            pace = now["seconds"] / max(past.fit_seconds[row, default], 1e-9)

            courses = {
                "metahp": course(past, row, advice[row].metahp, pace, cache, key[row]),
                "greedy portfolio": course(past, row, advice[row].portfolio, pace, cache, key[row]),
                "default": course(past, row, (default,), pace, cache, key[row]),
            }
            if n:
                courses["tpe"] = [Timed(*result) for result in cache[f"{key[row]} tpe@{n}"]]
            for peer in peers:
                result = cache[f"{key[row]} {peer}"]
                n_failed += "reason" in result
                courses[peer] = [Timed(result["loss"], result["seconds"])]
            starts = {"metahp": now["describe_seconds"] + advice[row].seconds}
            known = [result.loss for each in courses.values() for result in each]
            best = float(np.nanmin([np.nanmin(past.losses[row]), *known]))
            regret = partial(default_scaled_regret, best=best, default=float(past.losses[row, default]))
            for name, each in courses.items():
                failed = name in peers and np.isnan(each[0].loss)
                values = np.minimum.accumulate(regret([result.loss for result in each]))
                curve = [float(values[min(k, len(values)) - 1]) for k in KS]
                curves.setdefault(name, []).append([np.nan] * len(KS) if failed else curve)
                clock = after(each, starts.get(name, 0.0), regret) if not failed else [np.nan] * len(SECONDS)
                clocks.setdefault(name, []).append(clock)
            pool = is_random(past) & ~np.isnan(past.losses[row])
            losses = np.nan_to_num(past.losses[row, pool], posinf=np.inf)
            curves.setdefault("random", []).append(expected_best_of_random(regret(losses), KS))
            clocks.setdefault("random", []).append(random_after(losses, past.fit_seconds[row, pool] * pace, regret))
            n_scored += 1
    if not n_scored:
        print("No table to compare on: all are flat, or other tables than the seed's.", file=sys.stderr)
        return 2
    write(arguments.json, published(curves, clocks, n_scored, n_flat, n_failed, n_other, n_batch))
    return 0


def published(
    curves: dict[str, list[list[float]]],
    clocks: dict[str, list[list[float]]],
    n_scored: int,
    n_flat: int,
    n_failed: int,
    n_other: int,
    n_trials: int,
) -> dict[str, float]:
    """The figures, which are also printed."""
    figures: dict[str, float] = {"tables": n_scored, "flat": n_flat, "failed": n_failed, "not_reproduced": n_other}
    first = {name: np.array(values)[:, 0] for name, values in curves.items()}
    ks = [k for k in KS if k <= n_trials]
    rows, times = [], []
    for name, values in curves.items():
        table = np.array(values)
        once = name in ("default", *PEERS)
        cells = []
        for i, k in enumerate(ks[:1] if once else ks):
            mean, error = float(np.nanmean(table[:, i])), standard_error(table[:, i])
            figures |= {f"{name}/regret@{k}": mean, f"{name}/standard_error@{k}": error}
            cells.append(f"{mean:.3f} ± {error:.3f}")
        share = ""
        if name not in ("metahp", "random"):
            figures[f"metahp_beats_{name}"] = beaten(first["metahp"], first[name])
            share = f"{figures[f'metahp_beats_{name}']:.0%}"
        rows.append([name, *cells, *[""] * (len(ks) - len(cells)), share])
        means = np.nanmean(np.array(clocks[name]), axis=0)
        figures |= {f"{name}/regret_after_{s}s": float(mean) for s, mean in zip(SECONDS, means, strict=True)}
        times.append([name, *(f"{mean:.3f}" for mean in means)])
    title = (
        f"{LEARNER}, {n_scored} tables ({n_flat} flat ones left out, {n_failed} failures of peers, {n_other} not "
        f"reproduced): default-scaled regret (at most {DEFAULT_SCALED_CLIP:g}) ± standard error after k trials"
    )
    report(title, ["method", *(f"k = {k}" for k in ks), "metahp's first is better on"], rows)
    report("Mean regret after s seconds of everything, one core", ["method", *(f"s = {s}" for s in SECONDS)], times)
    return figures


if __name__ == "__main__":
    sys.exit(main())
