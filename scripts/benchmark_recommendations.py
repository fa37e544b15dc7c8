"""Regret of recommended configurations, each past task left out with its group, beside what others would advise.

    python scripts/benchmark_recommendations.py [--learner lightgbm] [--metrics log_loss|default] [--seeds 5]

Default-scaled regret after k trials: 0 is the best loss known on the task, 1 the library's default, 2 the clip. Flat
tasks, whose default is as good as the best within the noise of the folds, are left out and counted. `--data DIR` is a
seed folder, or a folder of tables with a MANIFEST.csv: then the design is measured on those tables first, the seed is
the past, and only those tables are scored.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from _benchmark import ROOT, parser, report, write
from joblib import Parallel, delayed

from metahp import api
from metahp.core.metric import METRICS
from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.core.task import TaskType
from metahp.core.trial import Trial
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import read_seed
from metahp.learners.catalogue import learner_named
from metahp.recommendation.adviser import worth_in_random_trials
from metahp.recommendation.selection import greedy_batch
from metahp.surrogate.calibration import learn_calibrated
from metahp.surrogate.encoding import Evidence, normalised_losses
from metahp.surrogate.validation import leave_groups_out, random_regret

KS = (1, 3, 5, 10)
N_FOLDS = 10
N_NEAREST = 15
# One metric for classes and one for numbers: pairs as in DESIGN's evidence, or the ones users get by default.
METRIC_SETS = {
    "log_loss": {"classification": "neg_log_loss", "regression": "neg_root_mean_squared_error"},
    "default": {"classification": "roc_auc", "regression": "neg_root_mean_squared_error"},
}
Advise = Callable[[Evidence, np.ndarray], Mapping[int, Sequence[int]]]


def methods(everything: Evidence, learner: str, task_type: TaskType, seed: int) -> dict[str, Advise]:
    """What is compared, by name: each maps past evidence and left-out rows to batches."""
    space = {learner: learner_named(learner).space(task_type)}

    def worlds(past: Evidence) -> np.ndarray:
        losses, _ = normalised_losses(past.losses, list(past.defaults.values()), clip=DEFAULT_SCALED_CLIP)
        return np.nan_to_num(losses, nan=DEFAULT_SCALED_CLIP)

    def equal(past: Evidence, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), 1.0 / len(rows))

    def prior(past: Evidence, rows: np.ndarray) -> Mapping[int, Sequence[int]]:
        knowledge = learn_calibrated(past, space, seed=seed)
        priors = {int(row): knowledge.prior(everything.metafeatures[row]) for row in rows}
        return {
            row: knowledge.columns[greedy_batch(p.scenarios, p.weights, max(KS))].tolist() for row, p in priors.items()
        }

    def portfolio(past: Evidence, rows: np.ndarray) -> Mapping[int, Sequence[int]]:
        batch = greedy_batch(worlds(past), equal(past, past.losses), max(KS))
        return {int(row): batch for row in rows}

    def nearest(past: Evidence, rows: np.ndarray) -> Mapping[int, Sequence[int]]:
        spread = np.nanstd(past.metafeatures, axis=0)
        known = np.nan_to_num(past.metafeatures / np.where(spread > 0, spread, 1.0))
        batches = {}
        for row in rows:
            own = np.nan_to_num(everything.metafeatures[row] / np.where(spread > 0, spread, 1.0))
            near = np.argsort(((known - own) ** 2).sum(axis=1))[:N_NEAREST]
            batches[int(row)] = greedy_batch(worlds(past)[near], equal(past, near), max(KS))
        return batches

    return {"metahp": prior, "greedy portfolio": portfolio, f"{N_NEAREST}-nearest portfolio": nearest}


def collect(data: Path, names: Sequence[str] | None) -> tuple[list[TaskRecord], list[Trial], list[str] | None]:
    """Past records and trials, and the names of the tasks to score (None for all)."""
    if not (data / "MANIFEST.csv").exists():
        records, trials = read_seed(data)
        return records, trials, list(names) if names else None
    rows = [row for row in api.read_manifest(data / "MANIFEST.csv") if not names or row.source.name in names]
    records, trials = read_seed(ROOT / "knowledge_base")
    with tempfile.TemporaryDirectory() as folder:
        api.refresh(rows, Path(folder), learners=["lightgbm"], n_jobs=2)
        new_records, new_trials = read_seed(Path(folder))
    known = {record.task.id for record in new_records}
    return (
        [record for record in records if record.task.id not in known] + new_records,
        [trial for trial in trials if trial.task not in known] + new_trials,
        [record.task.name for record in new_records],
    )


def score_once(
    past: Evidence, learner: str, task_type: TaskType, scored: list[int], seed: int
) -> dict[str, np.ndarray]:
    """Regret by method for one split into folds, shape (t, len(KS))."""
    return {
        name: leave_groups_out(past, advise, ks=KS, n_folds=N_FOLDS, seed=seed, tasks=scored)
        for name, advise in methods(past, learner, task_type, seed).items()
    }


def score(past: Evidence, learner: str, task_type: TaskType, scored: np.ndarray, seeds: int) -> dict[str, np.ndarray]:
    """Regret of the scored tasks by method, shape (seeds, scored, len(KS)); one seed where chance plays no part."""
    by_seed = Parallel(n_jobs=2)(
        delayed(score_once)(past, learner, task_type, scored.tolist(), seed) for seed in range(seeds)
    )
    found = {name: np.array([regrets[name][scored] for regrets in by_seed]) for name in by_seed[0]}
    random = np.array([[random_regret(past, int(row), KS) for row in scored]])
    return {**found, "random": random, "default": np.ones_like(random)}


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = parser(__doc__, data=ROOT / "knowledge_base")
    options.add_argument("--learner", default="lightgbm")
    options.add_argument("--metrics", choices=METRIC_SETS, default="log_loss")
    options.add_argument("--seeds", type=int, default=5, help="fold seeds")
    arguments = options.parse_args()
    records, trials, names = collect(arguments.data, arguments.tasks)
    if arguments.quick:
        kept = {record.task.id for record in records[:60]}
        records = [record for record in records if record.task.id in kept]
        trials = [trial for trial in trials if trial.task in kept]
    parts: dict[str, list[np.ndarray]] = {}
    worth, n_tasks, n_flat = [], 0, 0
    for kind, task_type in (("classification", TaskType.BINARY), ("regression", TaskType.REGRESSION)):
        metric = METRICS[METRIC_SETS[arguments.metrics][kind]]
        past, _ = api.past_evidence(records, trials, task_type, metric, [arguments.learner])
        wanted = np.array([names is None or task.name in names for task in past.tasks])
        scored = np.flatnonzero(wanted & ~past.flat)
        n_flat += int((wanted & past.flat).sum())
        n_tasks += int(wanted.sum())
        if not scored.size:
            continue
        regrets = score(past, arguments.learner, task_type, scored, 1 if arguments.quick else arguments.seeds)
        for name, regret in regrets.items():
            parts.setdefault(name, []).append(regret)
        worth.append(
            [
                (scored.size, worth_in_random_trials(past, scored, float(r), 60))
                for r in regrets["metahp"].mean(axis=(0, 1))
            ]
        )
    if not parts:
        print("No task to score: all are flat or unknown.", file=sys.stderr)
        return 2
    figures: dict[str, float] = {"tasks": n_tasks, "flat": n_flat}
    table = []
    splits = {name: np.concatenate(values, axis=1) for name, values in parts.items()}
    regret = {name: values.mean(axis=0) for name, values in splits.items()}
    for name, values in regret.items():
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
        # Counted split by split: averaged over splits, a task that is won more often than lost would count as won.
        first = splits[name][:, :, 0]
        wins = float((first < 1).mean() + 0.5 * (first == 1).mean())
        figures |= {f"{name}/regret@{k}": float(m) for k, m in zip(KS, mean, strict=True)}
        figures |= {f"{name}/standard_error@{k}": float(e) for k, e in zip(KS, error, strict=True)}
        figures[f"{name}/beats_default"] = wins
        table.append([name, *(f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)), f"{wins:.0%}"])
    for rival in (name for name in regret if "portfolio" in name):
        gap = regret[rival] - regret["metahp"]
        error = gap.std(axis=0, ddof=1) / np.sqrt(len(gap))
        figures |= {f"metahp_below_{rival}@{k}": float(g) for k, g in zip(KS, gap.mean(axis=0), strict=True)}
        table.append(
            [
                f"metahp below {rival}, paired",
                *(f"{g:+.3f} ± {e:.3f}" for g, e in zip(gap.mean(axis=0), error, strict=True)),
                "",
            ]
        )
    counts = [
        float(sum(n * value for n, value in column) / sum(n for n, _ in column)) for column in zip(*worth, strict=True)
    ]
    figures |= {f"metahp/random_trials@{k}": count for k, count in zip(KS, counts, strict=True)}
    table.append(["metahp is worth so many random trials", *(f"{count:.1f}" for count in counts), ""])
    seeds = 1 if arguments.quick else arguments.seeds
    report(
        f"{arguments.learner}, {arguments.metrics}, {n_tasks - n_flat} tasks that are not flat of {n_tasks}, "
        f"leave-one-group-out in {N_FOLDS} folds, {seeds} fold seeds: default-scaled regret ± standard error",
        ["method", *(f"k = {k}" for k in KS), "first beats default"],
        table,
    )
    write(arguments.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
