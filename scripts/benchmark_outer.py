"""Recommended LightGBM configurations on rows that nothing has looked at, beside the default, the portfolio and peers.

    pip install -e '.[peers]'
    python scripts/benchmark_outer.py --cache outer.jsonl [--tables 60] [--jobs 2]

Of every table with at least 500 rows, 30 % (by class for classification) are set aside before anything looks at it.
The rest is described, and metahp's first configuration, the portfolio's first, the library default, the pick of 25
trials of TPE by cross-validation, FLAML's and pytabkit's are trained on it and scored on the rows set aside. metahp and
the portfolio know the seed without the table's group. Losses of tables do not compare, and no best is known on outer
rows: what is told is the mean rank, and the gain, how much lower a loss is as a share of the larger of the two, in
percent: mean and standard error over tables.
`--data DIR` holds tables and their MANIFEST.csv. `--cache FILE` keeps what is measured, and a second call goes on.
"""

import sys
from pathlib import Path

import numpy as np
from _benchmark import ROOT, parser, read_learners, report, write
from _outer import FEWEST_ROWS, divided, in_fold, is_kind, large_enough, trained, type_of
from _peers import (
    KINDS,
    LEARNER,
    METRIC_SETS,
    PEERS,
    Cache,
    Job,
    advise,
    beaten,
    chosen_tables,
    evidence_of,
    fold_of,
    installed_peers,
    learn,
    standard_error,
    tpe,
    tpe_key,
)
from scipy.stats import rankdata

from metahp import api
from metahp.core.metric import kin_metrics
from metahp.core.task import TaskType
from metahp.datasets.read import TableSource
from metahp.evaluation.losses import losses_of
from metahp.learners.registry import learner_named
from metahp.surrogate.prior import PastTasks

N_TRIALS, N_TRIALS_QUICK, N_TABLES_QUICK, N_PAST_QUICK = 25, 3, 2, 40
# The budget that `recommend` gives the meta-features.
BUDGET_SECONDS = 2.0
# Below this share of the constant prediction's loss, a ratio of two losses is noise.
SOLVED = 1e-3


def run_metahp(source: TableSource, past: PastTasks, metric: str) -> dict[str, float]:
    """Outer losses of metahp's first, the portfolio's first and the default, and of a constant prediction."""
    table, part, y = divided(source)
    metafeatures = api.describe(table, budget_seconds=BUDGET_SECONDS)
    advice, candidates = advise(past, metafeatures.vector(), 1), past.evidence.candidates
    constant = table.y.mean() if part.task_type is TaskType.REGRESSION else np.bincount(table.y) / len(table.y)
    predictions = {
        "metahp": trained(table, part, candidates[advice.metahp[0]]),
        "greedy portfolio": trained(table, part, candidates[advice.portfolio[0]]),
        "default": trained(table, part, learner_named(LEARNER).space(part.task_type).default),
        "constant": np.repeat(np.asarray(constant)[None], len(y), axis=0),
    }
    return {name: losses_of(y, values, part.task_type)[metric] for name, values in predictions.items()}


def run_tpe(source: TableSource, n: int, metric: str) -> dict[str, float]:
    """Outer loss of the best of `n` trials of TPE."""
    table, part, y = divided(source)
    tried, results = tpe(table, n, api.SEED_PROTOCOL, metric)
    best = tried[int(np.argmin([result.loss for result in results]))]
    return {"tpe": losses_of(y, trained(table, part, best), part.task_type)[metric]}


def run_peer(source: TableSource, name: str, metric: str) -> dict[str, float | str]:
    """Outer loss of a peer, or why it failed."""
    _, part, y = divided(source)
    try:
        return {name: losses_of(y, PEERS[name](part, metric), part.task_type)[metric]}
    except Exception as error:  # whatever another library raises on an odd table is its result
        return {name: float("nan"), "reason": f"{type(error).__name__}: {error}"}


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = parser(__doc__, data=ROOT.parent / "shared" / "datasets")
    options.add_argument("--cache", type=Path, metavar="FILE", help="JSON lines of what was measured")
    options.add_argument("--metrics", choices=METRIC_SETS, default="log_loss")
    options.add_argument("--tables", type=int, metavar="N", help="compare on N tables")
    options.add_argument("--trials", type=int, default=N_TRIALS, metavar="N", help="of TPE; 0 leaves it out")
    options.add_argument("--jobs", type=int, default=2)
    arguments = options.parse_args()
    quick = arguments.quick
    tables = chosen_tables(arguments.data, arguments.tasks)
    records, trials = read_learners(ROOT / "knowledge_base", [LEARNER])
    everyone = records
    if quick:
        records = sorted(records, key=lambda record: record.task.n_rows)[:N_PAST_QUICK]
        ids = {record.task.id for record in records}
        trials = [trial for trial in trials if trial.task in ids]
    peers, cache, n = installed_peers(), Cache(arguments.cache), N_TRIALS_QUICK if quick else arguments.trials
    n_tables = N_TABLES_QUICK if quick else arguments.tables
    by_task: list[dict[str, float]] = []
    for kind, task_type in KINDS.items():
        metric = METRIC_SETS[arguments.metrics][kind]
        kin, evidence = kin_metrics(metric), evidence_of(records, trials, task_type, metric)
        sources = [row.source for row in tables.values() if is_kind(row.source, task_type)]
        sources = large_enough(sources, n_tables and max(1, round(n_tables / 2)), everyone)
        scored = {source.name: (source, kin[type_of(source)]) for source in sources}
        others = [*peers, *([tpe_key(n)] if n else [])]
        jobs: list[Job] = []
        for name, (source, its) in scored.items():
            jobs += [(f"{name} {its} {peer}", run_peer, (source, peer, its)) for peer in peers]
            if n:
                jobs.append((f"{name} {its} {tpe_key(n)}", run_tpe, (source, n, its)))
        cache.fill(jobs, arguments.jobs)
        # What is recommended changes with the seed and the library, so it is never taken from an earlier call.
        recommended = Cache(None)
        trains, fold = fold_of(evidence)
        fold_by_name = {name: in_fold(source, records, fold) for name, (source, _) in scored.items()}
        for i in sorted(set(fold_by_name.values())):
            past = learn(evidence.rows(trains[i]))
            its_tables = [name for name in scored if fold_by_name[name] == i]
            jobs = [(name, run_metahp, (scored[name][0], past, scored[name][1])) for name in its_tables]
            recommended.fill(jobs, arguments.jobs)
        for name, (_, its) in scored.items():
            parts = [recommended[name], *(cache[f"{name} {its} {other}"] for other in others)]
            by_task.append({method: loss for part in parts for method, loss in part.items() if method != "reason"})
    if not by_task:
        print(f"No table of {FEWEST_ROWS} rows or more.", file=sys.stderr)
        return 2
    write(arguments.json, published(by_task, n))
    return 0


def published(by_task: list[dict[str, float]], n_trials: int) -> dict[str, float]:
    """The figures, which are also printed."""
    names = [name for name in by_task[0] if name != "constant"]
    losses = np.array([[each[name] for name in names] for each in by_task])
    constant = np.array([each["constant"] for each in by_task])
    complete = ~np.isnan(losses).any(axis=1)
    ranks = np.array([rankdata(row) for row in losses[complete]]).reshape(-1, len(names)).mean(axis=0)
    figures: dict[str, float] = {"tables": len(by_task), "ranked": int(complete.sum())}
    rows = []
    own, default = losses[:, names.index("metahp")], losses[:, names.index("default")]
    for name, loss, rank in zip(names, losses.T, ranks, strict=True):
        gain, lead = _gain(loss, default, constant), _gain(own, loss, constant)
        figures |= {
            f"{name}/mean_rank": float(rank),
            f"{name}/beats_default": beaten(loss, default),
            f"{name}/gain_over_default": float(np.nanmean(gain)),
            f"{name}/gain_over_default_standard_error": standard_error(gain),
            f"metahp_beats_{name}": beaten(own, loss),
            f"metahp/gain_over_{name}": float(np.nanmean(lead)),
            f"metahp/gain_over_{name}_standard_error": standard_error(lead),
        }
        rows.append(
            [
                f"tpe, best of {n_trials}" if name == "tpe" else name,
                f"{rank:.2f}",
                "" if name == "default" else f"{beaten(loss, default):.0%}",
                "" if name == "default" else f"{100 * np.nanmean(gain):+.1f} ± {100 * standard_error(gain):.1f}",
                "" if name == "metahp" else f"{beaten(own, loss):.0%}",
                "" if name == "metahp" else f"{100 * np.nanmean(lead):+.1f} ± {100 * standard_error(lead):.1f}",
            ]
        )
    report(
        f"{LEARNER}, outer rows of {len(by_task)} tables ({int(complete.sum())} with all methods ranked)",
        ["method", "mean rank", "beats default", "gain over default, %", "metahp's first is better on", "by, %"],
        rows,
    )
    return figures


def _gain(loss: np.ndarray, other: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """How much lower `loss` is than `other`, as a share of the larger one: from -1 to 1, the same both ways round."""
    floor = SOLVED * constant
    return (other - loss) / np.maximum(np.maximum(loss, other), floor)


if __name__ == "__main__":
    sys.exit(main())
