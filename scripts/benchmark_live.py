"""Refinement with past tasks beside TPE from cold, on real tables: LightGBM trained trial by trial.

    python scripts/benchmark_live.py --cache live.jsonl [--tables 40] [--seed 0] [--jobs 2]

Of every table with at least 500 rows, 30 % are set aside before anything looks at it; the rest is cross-validated as in
the seed. `transfer` does as `metahp tune` does: it begins with recommended points and the default, stops its trials
early, and knows the seed without the table's group; `tpe` is Optuna's, from cold. What is told: how many trials
transfer needs for the loss that TPE has after all of its trials, and for the lowest on the learning curves of those
trials, which TPE would have found had they been stopped early; on how many tables transfer is not worse than TPE at the
same number of trials by more than a standard error over folds, of the paired differences; and both picks on the rows
set aside.
`--data DIR` holds tables and their MANIFEST.csv. `--cache FILE` keeps the trials of TPE, and a second call goes on;
with another `--seed` it compares other trials of transfer with the same of TPE.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _benchmark import ROOT, parser, read_learners, report, seed_of, write
from _outer import divided, in_fold, is_kind, large_enough, trained, type_of
from _peers import (
    KINDS,
    LEARNER,
    METRIC_SETS,
    Cache,
    Job,
    beaten,
    chosen_tables,
    evidence_of,
    fold_of,
    learn,
    standard_error,
    tpe_key,
)
from joblib import Parallel, delayed

from metahp import api
from metahp.core.metric import kin_metrics
from metahp.core.trial import Origin
from metahp.datasets.read import TableSource
from metahp.datasets.table import Table
from metahp.evaluation.losses import constant_losses, losses_of
from metahp.evaluation.protocol import measure
from metahp.learners.registry import learner_named
from metahp.refinement.strategies import strategy_named
from metahp.refinement.strategy import Observation, Strategy, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.study.request import N_WARM_TRANSFER
from metahp.study.strategy import order_suggestions
from metahp.surrogate.prior import PastTasks

N_TRIALS, N_COLD, N_TABLES = 50, 100, 40
QUICK_TRIALS, QUICK_COLD, QUICK_TABLES, QUICK_PAST = 4, 6, 2, 40
# Where the comparison at equal budget is made, and the picks are tried on the rows set aside.
KS = (3, 5, 10, 25, 50)
BUDGET_SECONDS = 2.0

# Losses per fold of every trial, the lowest mean loss of its learning curve, and the outer loss of the best of the
# first k.
Course = dict[str, list]


def counts(n: int) -> list[int]:
    """Numbers of trials that are told of `n`."""
    return sorted({*(k for k in KS if k <= n), n})


def run(table: Table, search: Strategy, n: int, metric: str, *, stops_early: bool) -> tuple[Course, list]:
    """Losses and configurations of `n` trials of a strategy; a trial that fails has infinite losses."""
    learner, protocol = learner_named(LEARNER), api.SEED_PROTOCOL
    found: Course = {"losses": [], "lowest": []}
    tried = []
    while len(tried) < n and (suggestion := search.ask()) is not None:
        asked = kept = suggestion.configuration
        early_stopping = metric if stops_early and suggestion.origin is not Origin.DEFAULT else ""
        try:
            measured = measure(table, learner, asked, protocol, early_stopping=early_stopping)
            kept, folds = measured.configuration, np.array(measured.fold_losses[metric])
            lowest = min(measured.curve.losses[metric])
        except Exception:  # whatever LightGBM raises is a failed trial
            folds, lowest = np.full(protocol.folds, np.inf), np.inf
        noise = float(folds.std(ddof=1) / np.sqrt(len(folds))) if np.isfinite(folds).all() else float("nan")
        search.tell(Observation(kept, float(folds.mean()), noise, asked if kept != asked else None))
        found["losses"].append(folds.tolist())
        found["lowest"].append(lowest)
        tried.append(kept)
    return found, tried


def course(source: TableSource, search_of, n: int, metric: str, *, stops_early: bool) -> Course:
    """The trials of one strategy on the inner rows, and its picks on the outer ones."""
    table, part, y = divided(source)
    found, tried = run(table, search_of(table), n, metric, stops_early=stops_early)
    means = np.mean(found["losses"], axis=1)
    picks = {k: int(np.argmin(means[:k])) for k in counts(len(means))}
    outer = {i: losses_of(y, trained(table, part, tried[i]), part.task_type)[metric] for i in set(picks.values())}
    return {**found, "outer": [outer[i] for i in picks.values()]}


def cold(source: TableSource, n: int, metric: str, seed: int) -> Course:
    """TPE from cold."""
    return course(
        source,
        lambda table: strategy_named(
            "tpe", [learner_named(LEARNER).space(table.task.type)], seed=seed_of(source.name, seed)
        ),
        n,
        metric,
        stops_early=False,
    )


def warm(source: TableSource, past: PastTasks, n: int, metric: str, seed: int) -> Course:
    """Transfer with what past tasks say of the table."""

    def search_of(table: Table) -> Transfer:
        space = learner_named(LEARNER).space(table.task.type)
        metafeatures = api.describe(table, budget_seconds=BUDGET_SECONDS).vector()
        constant = constant_losses(table.y, table.task.type, table.task.n_classes)[metric]
        prior = past.prior(metafeatures, unit=constant)
        points = [Suggestion(prior.candidates[i], Origin.SURROGATE) for i in prior.batch(N_WARM_TRANSFER)]
        return Transfer(
            prior,
            [space],
            warm=order_suggestions((), points, [space.default]),
            stopped_early=[LEARNER],
            seed=seed_of(source.name, seed),
            device="cpu",
        )

    return course(source, search_of, n, metric, stops_early=True)


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = parser(__doc__, data=ROOT.parent / "shared" / "datasets")
    options.add_argument("--cache", type=Path, metavar="FILE", help="JSON lines of what was measured")
    options.add_argument("--metrics", choices=METRIC_SETS, default="log_loss")
    options.add_argument("--tables", type=int, default=N_TABLES, metavar="N", help="compare on N tables")
    options.add_argument("--seed", type=int, default=0, help="of transfer")
    options.add_argument("--cold-seed", type=int, default=0, metavar="SEED", help="of TPE")
    options.add_argument("--jobs", type=int, default=2)
    arguments = options.parse_args()
    tables = chosen_tables(arguments.data, arguments.tasks)
    records, trials = read_learners(ROOT / "knowledge_base", [LEARNER])
    everyone, n_tables, n, n_cold = records, arguments.tables, N_TRIALS, N_COLD
    if arguments.quick:
        n_tables, n, n_cold = QUICK_TABLES, QUICK_TRIALS, QUICK_COLD
        records = sorted(records, key=lambda record: record.task.n_rows)[:QUICK_PAST]
        ids = {record.task.id for record in records}
        trials = [trial for trial in trials if trial.task in ids]
    cache, found, names = Cache(arguments.cache), [], []
    for kind, task_type in KINDS.items():
        metric = METRIC_SETS[arguments.metrics][kind]
        kin, evidence = kin_metrics(metric), evidence_of(records, trials, task_type, metric)
        sources = [row.source for row in tables.values() if is_kind(row.source, task_type)]
        sources = large_enough(sources, max(1, round(n_tables / 2)), everyone)
        metrics = {source.name: kin[type_of(source)] for source in sources}
        keys = {s.name: f"{s.name} {metrics[s.name]} {tpe_key(n_cold)} {arguments.cold_seed}" for s in sources}
        jobs: list[Job] = [
            (keys[source.name], cold, (source, n_cold, metrics[source.name], arguments.cold_seed)) for source in sources
        ]
        cache.fill(jobs, arguments.jobs)
        trains, fold = fold_of(evidence)
        folds = {source.name: in_fold(source, records, fold) for source in sources}
        used = sorted(set(folds.values()))
        found_by_fold = Parallel(n_jobs=arguments.jobs)(delayed(learn)(evidence.rows(trains[i])) for i in used)
        learned = dict(zip(used, found_by_fold, strict=True))
        # What transfer does changes with the seed and the library, so it is never taken from an earlier call.
        ours = Cache(None)
        ours.fill(
            [(s.name, warm, (s, learned[folds[s.name]], n, metrics[s.name], arguments.seed)) for s in sources],
            arguments.jobs,
        )
        names += [source.name for source in sources]
        found += [(ours[source.name], cache[keys[source.name]]) for source in sources]
    if not found:
        print("No table of enough rows.", file=sys.stderr)
        return 2
    write(arguments.json, published(names, found))
    return 0


def published(names: Sequence[str], found: Sequence[tuple[Course, Course]]) -> dict[str, float]:
    """The figures, which are also printed."""
    rows, figures = [], {"tables": float(len(found))}
    reached: dict[str, list[float]] = {"": [], "_stopped_early": []}
    for name, (ours, theirs) in zip(names, found, strict=True):
        best = np.minimum.accumulate(np.mean(ours["losses"], axis=1))
        goals = float(np.mean(theirs["losses"], axis=1).min()), float(min(theirs["lowest"]))
        for needed, goal in zip(reached.values(), goals, strict=True):
            needed.append(next((count for count, loss in enumerate(best, start=1) if loss <= goal), np.inf))
        counted = [f"{needed[-1]:.0f}" for needed in reached.values()]
        rows.append([name, *(f"{goal:.4g}" for goal in goals), f"{best[-1]:.4g}", *counted])
    n_cold, n_ours = len(found[0][1]["losses"]), len(found[0][0]["losses"])
    theirs_after = f"TPE after {n_cold}"
    report(
        f"trials of transfer until the loss of TPE after {n_cold}",
        ["table", theirs_after, "lowest on its curves", f"transfer after {n_ours}", "trials", "trials to the lowest"],
        rows,
    )
    for suffix, needed in reached.items():
        figures[f"trials_to_reach_cold{suffix}"] = float(np.median(needed))
        figures[f"share_reached{suffix}"] = float(np.isfinite(needed).mean())
        print(
            f"{theirs_after}{', its trials stopped early' if suffix else ''}: median {np.median(needed):.1f} trials; "
            f"reached within {n_ours} on {np.isfinite(needed).mean():.0%} of {len(found)} tables.\n"
        )
    table = []
    for k in counts(n_ours):
        pairs = [(_best_folds(ours, k), _best_folds(theirs, k)) for ours, theirs in found]
        gaps = [ours - theirs for ours, theirs in pairs]
        worse = [float(gap.mean()) > _error(gap) for gap in gaps]
        wins = beaten(np.array([a.mean() for a, _ in pairs]), np.array([b.mean() for _, b in pairs]))
        i, j = counts(n_ours).index(k), sum(each < k for each in counts(n_cold))
        outer = np.array([[ours["outer"][i], theirs["outer"][j], theirs["outer"][-1]] for ours, theirs in found])
        gain = 100 * (outer[:, 1] - outer[:, 0]) / np.maximum(np.abs(outer[:, :2]).max(axis=1), 1e-12)
        figures |= {
            f"not_worse@{k}": 1 - float(np.mean(worse)),
            f"negative_transfer@{k}": float(np.mean([gap.mean() > 0 for gap in gaps])),
            f"wins@{k}": wins,
            f"outer_wins@{k}": beaten(outer[:, 0], outer[:, 1]),
            f"outer_wins_against_all_cold@{k}": beaten(outer[:, 0], outer[:, 2]),
            f"outer_gain@{k}": float(gain.mean()),
        }
        table.append(
            [
                str(k),
                f"{figures[f'not_worse@{k}']:.0%}",
                f"{figures[f'negative_transfer@{k}']:.0%}",
                f"{wins:.0%}",
                f"{figures[f'outer_wins@{k}']:.0%}",
                f"{figures[f'outer_wins_against_all_cold@{k}']:.0%}",
                f"{gain.mean():+.2f} ± {standard_error(gain):.2f} %",
            ]
        )
    report(
        f"transfer beside TPE at equal trials, {len(found)} tables",
        [
            "trials",
            "not worse by a standard error",
            "worse at all",
            "wins",
            "wins on outer rows",
            f"wins there against TPE after {n_cold}",
            "lower loss on outer rows",
        ],
        table,
    )
    return figures


def _best_folds(course: Course, k: int) -> np.ndarray:
    """Fold losses of the best of the first k trials."""
    losses = np.array(course["losses"][:k])
    return losses[int(losses.mean(axis=1).argmin())]


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


if __name__ == "__main__":
    sys.exit(main())
