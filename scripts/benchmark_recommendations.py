"""Regret of recommended configurations, each past task left out with its group, beside what others would advise.

    python scripts/benchmark_recommendations.py [--learner lightgbm] [--metrics log_loss|default] [--seeds 5]
    python scripts/benchmark_recommendations.py --learner lightgbm --learner linear --metric roc_auc --metric r2
    python scripts/benchmark_recommendations.py --ablate [trust "without probes" …]
    python scripts/benchmark_recommendations.py --budget-seconds 0 0.25 0.5 1 2 [--tables DIR]

Default-scaled regret after k trials: 0 is the best loss known on the task, 1 the library's default, 2 the clip. Flat
tasks, whose default is as good as the best within the noise of the folds, are left out and counted. With several
learners the family is chosen too: the best is that of all of them, the default that of the first. Only candidates that
were measured on the left-out task are advised, or there would be nothing to score. `--ablate` compares the prior with
variants that differ in one thing each; `--budget-seconds` describes each left-out table anew within each of these
budgets, from the folder of tables `--tables`. `--data DIR` is a seed folder, or a folder of tables with a MANIFEST.csv:
then the design is measured on those tables first, the seed is the past, and only those tables are scored.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from _ablations import FULL, VARIANTS, Variant, ablated
from _benchmark import ROOT, ROWS, is_scored, parser, report, write
from _budgets import Described, described, regret_by_budget
from joblib import Parallel, delayed
from metahp.recommendation.selection import greedy_batch
from metahp.surrogate.encoding import Evidence

from metahp import api
from metahp.core.metric import METRICS
from metahp.core.space import SearchSpace
from metahp.core.trial import Trial
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.seed import read_seed
from metahp.learners.registry import LEARNERS
from metahp.metafeatures.extract import NAMES
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.validation import batch_regret, group_folds, n_random, random_regret, worth_in_random_trials

KS = (1, 3, 5, 10, 25)
# Where the negative-transfer rate is taken.
TRANSFER_K = 5
N_FOLDS, QUICK_FOLDS, QUICK_TASKS = 10, 3, 60
N_NEAREST = 15
PORTFOLIO, NEAREST = "greedy portfolio", f"{N_NEAREST}-nearest portfolio"
# One metric for classes and one for numbers: pairs as in DESIGN's evidence, or the ones users get by default.
METRIC_SETS = {
    "log_loss": ("neg_log_loss", "neg_root_mean_squared_error"),
    "default": ("roc_auc", "neg_root_mean_squared_error"),
}


@dataclass(frozen=True, eq=False)
class Part:
    """The past tasks of one kind under one metric: `wanted` (t,) marks those that are judged."""

    metric: str
    past: Evidence
    baselines: np.ndarray
    spaces: Mapping[str, SearchSpace]
    wanted: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """Indices of the judged tasks that are not flat."""
        return np.flatnonzero(self.wanted & ~self.past.flat)


@dataclass(frozen=True, eq=False)
class Judged:
    """What came of the advice for left-out tasks `rows`, (n,).

    `regret` has shape (n, len(KS)) by method; `inside` (n, max(KS)) says whether the expected interval of each
    configuration holds its loss, `abstained` (n,) whether the adviser did.
    """

    rows: np.ndarray
    regret: Mapping[str, np.ndarray]
    inside: np.ndarray
    abstained: np.ndarray


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


def part_of(
    records: list[TaskRecord],
    trials: list[Trial],
    metric: str,
    learners: Sequence[str],
    names: Sequence[str] | None,
    rows: str,
) -> Part:
    """The tasks that `metric` can measure, judged where every learner's default was measured."""
    task_type = METRICS[metric].task_types[0]
    past, baselines = api.past_evidence(records, trials, task_type, METRICS[metric], learners)
    wanted = is_scored(past, records, rows) & [names is None or task.name in names for task in past.tasks]
    wanted &= np.isfinite(past.losses[:, list(past.defaults.values())]).all(axis=1)
    return Part(metric, past, baselines, {name: LEARNERS[name].space(task_type) for name in learners}, wanted)


def judge(part: Part, train: np.ndarray, test: np.ndarray, seed: int) -> Judged:
    """Learn from the tasks `train`, advise the tasks `test`, and look up what that was worth."""
    past = part.past
    adviser = Adviser.learn(past.rows(train), part.baselines[train], part.spaces, metric=part.metric, seed=seed)
    knowledge = adviser.knowledge
    spread = np.nanstd(knowledge.metafeatures, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    regret: dict[str, list[list[float]]] = {"metahp": [], PORTFOLIO: [], NEAREST: []}
    inside = np.zeros((len(test), max(KS)), dtype=bool)
    abstained = np.zeros(len(test), dtype=bool)
    for i, row in enumerate(test):
        among = np.flatnonzero(~np.isnan(past.losses[row, knowledge.columns]))
        metafeatures = past.metafeatures[row]
        advice = adviser.advise(past.tasks[row], metafeatures, NAMES, float(part.baselines[row]), max(KS), among=among)
        apart = np.nan_to_num((knowledge.metafeatures - metafeatures) / spread)
        near = np.argsort((apart**2).sum(axis=1), kind="stable")[:N_NEAREST]
        batches = {
            "metahp": [item.column for item in advice.items],
            PORTFOLIO: _portfolio(knowledge.worlds, among),
            NEAREST: _portfolio(knowledge.worlds[near], among),
        }
        for name, batch in batches.items():
            regret[name].append(batch_regret(past, int(row), knowledge.columns[batch].tolist(), KS))
        for j, item in enumerate(advice.items):
            inside[i, j] = item.low <= past.losses[row, knowledge.columns[item.column]] <= item.high
        abstained[i] = bool(advice.abstained)
    return Judged(test, {name: np.array(values) for name, values in regret.items()}, inside, abstained)


def _portfolio(worlds: np.ndarray, among: np.ndarray) -> list[int]:
    return among[greedy_batch(worlds[:, among], np.full(len(worlds), 1.0 / len(worlds)), max(KS))].tolist()


def left_out(parts: Sequence[Part], work: Callable, n_folds: int, n_seeds: int) -> Iterator[tuple[int, int, object]]:
    """`work(part, train, test, seed)` of every fold of every split, with the places of its part and its seed."""
    jobs = []
    for place, part in enumerate(parts):
        groups = [task.group or task.id for task in part.past.tasks]
        for seed in range(n_seeds):
            for train, test in group_folds(groups, n_folds, seed=seed):
                judged = test[part.wanted[test]]
                if judged.size:
                    jobs.append((place, seed, train, judged))
    results = Parallel(n_jobs=2, return_as="generator")(
        delayed(work)(parts[place], train, test, seed) for place, seed, train, test in jobs
    )
    for done, ((place, seed, _, _), result) in enumerate(zip(jobs, results, strict=True), start=1):
        print(f"{done} of {len(jobs)} folds", file=sys.stderr)
        yield place, seed, result


def compare(parts: Sequence[Part], title: str, n_folds: int, n_seeds: int) -> dict[str, float]:
    """Judge all methods on all parts, print the table and give its figures."""
    methods = ("metahp", PORTFOLIO, NEAREST)
    regrets = [{name: np.full((n_seeds, part.wanted.size, len(KS)), np.nan) for name in methods} for part in parts]
    inside = [np.zeros((n_seeds, part.wanted.size, max(KS))) for part in parts]
    abstained = [np.zeros((n_seeds, part.wanted.size), dtype=bool) for part in parts]
    for place, seed, result in left_out(parts, judge, n_folds, n_seeds):
        assert isinstance(result, Judged)
        for name in methods:
            regrets[place][name][seed, result.rows] = result.regret[name]
        inside[place][seed, result.rows] = result.inside
        abstained[place][seed, result.rows] = result.abstained
    splits = {
        name: np.concatenate([of[name][:, part.scored] for of, part in zip(regrets, parts, strict=True)], axis=1)
        for name in methods
    }
    random = [np.array([[random_regret(part.past, int(row), KS) for row in part.scored]]) for part in parts]
    splits["random"] = np.concatenate([some for some in random if some.size], axis=1)
    splits["default"] = np.ones_like(splits["random"])

    figures: dict[str, float] = {}
    table = []
    for name, values in splits.items():
        mean, error = _mean_and_error(values.mean(axis=0))
        # Counted split by split: averaged over splits, a task that is won more often than lost would count as won.
        first = values[:, :, 0]
        wins = float((first < 1).mean() + 0.5 * (first == 1).mean())
        figures |= _by_k(f"{name}/regret", mean) | _by_k(f"{name}/standard_error", error)
        figures[f"{name}/beats_default"] = wins
        table.append([name, *_pairs(mean, error), f"{wins:.0%}"])
    for rival in (PORTFOLIO, NEAREST):
        mean, error = _mean_and_error((splits[rival] - splits["metahp"]).mean(axis=0))
        figures |= _by_k(f"metahp_below_{rival}", mean) | _by_k(f"metahp_below_{rival}_standard_error", error)
        table.append([f"metahp below {rival}, paired", *_pairs(mean, error, sign="+"), ""])
    for depth, (n_tasks, most, worth) in _worth(parts, splits["metahp"].mean(axis=0)).items():
        figures |= _by_k(f"metahp/{depth}", np.minimum(worth, most)) | {f"metahp/{depth}/tasks": float(n_tasks)}
        shown = [f"{count:.1f}" if np.isfinite(count) else f"> {most}" for count in worth]
        table.append([f"metahp is worth so many random trials ({n_tasks} tasks, {most} counted)", *shown, ""])
    report(title, ["method", *(f"k = {k}" for k in KS), "first beats default"], table)

    at = KS.index(TRANSFER_K)
    worse = splits["metahp"][:, :, at] > splits[PORTFOLIO][:, :, at]
    held = np.concatenate([some[:, part.wanted] for some, part in zip(inside, parts, strict=True)], axis=1)
    held = held.mean(axis=(0, 1))
    silent = np.concatenate([some[:, part.scored] for some, part in zip(abstained, parts, strict=True)], axis=1)
    figures |= {
        f"metahp/negative_transfer@{TRANSFER_K}": float(worse.mean()),
        "metahp/coverage": float(held[0]),
        f"metahp/coverage_first_{TRANSFER_K}": float(held[:TRANSFER_K].mean()),
        "metahp/abstained": float(silent.mean()),
    }
    print(f"Worse than the {PORTFOLIO} at k = {TRANSFER_K}: {worse.mean():.0%} of the tasks.")
    print(
        f"The 80 % interval of the expected score holds the truth: {held[0]:.0%} (first), "
        f"{held[:TRANSFER_K].mean():.0%} (first {TRANSFER_K})."
    )
    abstaining = f"Abstained on {silent.mean():.1%} of the tasks"
    if silent.any():
        ours, theirs = splits["metahp"][silent].mean(axis=0), splits["metahp"][~silent].mean(axis=0)
        figures |= _by_k("metahp/abstained/regret", ours)
        abstaining += "; regret there " + " ".join(f"{value:.2f}" for value in ours)
        abstaining += ", elsewhere " + " ".join(f"{value:.2f}" for value in theirs)
    print(f"{abstaining}.\n")
    return figures


def _worth(parts: Sequence[Part], regret: np.ndarray) -> dict[str, tuple[int, int, np.ndarray]]:
    """Tasks, most trials counted and worth at each k, on nearly all tasks and on those with the longest design."""
    sizes = [[n_random(part.past, int(row)) for row in part.scored] for part in parts]
    flat = np.array([size for some in sizes for size in some])
    curves = [
        random_regret(part.past, int(row), range(1, size + 1))
        for part, some in zip(parts, sizes, strict=True)
        for row, size in zip(part.scored, some, strict=True)
    ]
    found = {}
    for name, depth in (("random_trials", np.median(flat)), ("random_trials_long_design", flat.max())):
        chosen = np.flatnonzero(flat >= 0.9 * depth)
        most = int(flat[chosen].min())
        curve = np.mean([curves[i][:most] for i in chosen], axis=0)
        worth = np.array([worth_in_random_trials(curve, float(value)) for value in regret[chosen].mean(axis=0)])
        found[name] = (chosen.size, most, worth)
    if found["random_trials"][1] == found["random_trials_long_design"][1]:
        del found["random_trials_long_design"]
    return found


def _ablate(
    part: Part, train: np.ndarray, test: np.ndarray, seed: int, variants: Mapping[str, Variant]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return test, ablated(part.past, train, test, part.spaces, variants, ks=KS, seed=seed)


def ablate(
    parts: Sequence[Part], title: str, n_folds: int, n_seeds: int, variants: Mapping[str, Variant]
) -> dict[str, float]:
    """Judge variants of the prior on all parts, print the table and give its figures."""
    regrets = [{name: np.full((n_seeds, part.wanted.size, len(KS)), np.nan) for name in variants} for part in parts]
    work = partial(_ablate, variants=variants)
    for place, seed, (rows, found) in left_out(parts, work, n_folds, n_seeds):  # type: ignore[misc]
        for name, values in found.items():
            regrets[place][name][seed, rows] = values
    means = {
        name: np.concatenate([of[name][:, part.scored] for of, part in zip(regrets, parts, strict=True)], axis=1)
        for name in variants
    }
    means = {name: values.mean(axis=0) for name, values in means.items()}
    figures: dict[str, float] = {}
    table = []
    for name, values in means.items():
        mean, error = _mean_and_error(values - means[FULL])
        figures |= _by_k(f"{name}/regret", values.mean(axis=0))
        figures |= _by_k(f"{name}/above_full", mean) | _by_k(f"{name}/above_full_standard_error", error)
        differences = _pairs(mean, error, sign="+") if name != FULL else [""] * len(KS)
        pairs = zip(values.mean(axis=0), differences, strict=True)
        table.append([name, *(f"{value:.3f}" + (f" ({gap})" if gap else "") for value, gap in pairs)])
    report(f"{title} (paired difference from the full method)", ["variant", *(f"k = {k}" for k in KS)], table)
    return figures


def _walk(part: Part, train: np.ndarray, test: np.ndarray, seed: int, known: Described) -> object:
    test = np.array([row for row in test if part.past.tasks[row].id in known], dtype=int)
    return test, regret_by_budget(
        part.past, part.baselines, part.spaces, part.metric, known, train, test, ks=KS, seed=seed
    )


def walk(parts: Sequence[Part], title: str, n_folds: int, n_seeds: int, budgets: Sequence[float], known: Described):
    """Judge the advice by the seconds spent on describing the table, print the table and give its figures."""
    shape = (n_seeds, len(budgets), len(KS))
    regrets = [np.full((part.wanted.size, *shape), np.nan) for part in parts]
    for place, seed, (rows, found) in left_out(parts, partial(_walk, known=known), n_folds, n_seeds):  # type: ignore[misc]
        regrets[place][rows, seed] = found
    scored = [np.array([row for row in part.scored if part.past.tasks[row].id in known]) for part in parts]
    values = np.concatenate([of[rows] for of, rows in zip(regrets, scored, strict=True) if rows.size])
    spent = np.array(
        [known[part.past.tasks[row].id][1] for part, rows in zip(parts, scored, strict=True) for row in rows]
    )
    figures, table = {"tasks_described": float(len(values))}, []
    for i, budget in enumerate(budgets):
        mean, error = _mean_and_error(values[:, :, i].mean(axis=1))
        middle, most = np.quantile(spent[:, i], [0.5, 0.9])
        figures |= _by_k(f"budget_{budget:g}/regret", mean) | {f"budget_{budget:g}/median_seconds": float(middle)}
        table.append([f"{budget:g} s", f"{middle:.2f} s", f"{most:.2f} s", *_pairs(mean, error)])
    report(
        f"{title}; {len(values)} tasks described anew",
        ["budget", "median", "9 of 10", *(f"k = {k}" for k in KS)],
        table,
    )
    return figures


def _mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over tasks and its standard error, each (len(KS),), of values (t, len(KS))."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _pairs(means: np.ndarray, errors: np.ndarray, *, sign: str = "") -> list[str]:
    return [f"{mean:{sign}.3f} ± {error:.3f}" for mean, error in zip(means, errors, strict=True)]


def _by_k(name: str, values: np.ndarray) -> dict[str, float]:
    return {f"{name}@{k}": float(value) for k, value in zip(KS, values, strict=True)}


def _options() -> argparse.Namespace:
    options = parser(__doc__, data=ROOT / "knowledge_base")
    options.add_argument(
        "--learner", action="append", choices=LEARNERS, help="repeatable, to choose the family too; default: lightgbm"
    )
    options.add_argument("--metrics", choices=METRIC_SETS, default="log_loss", help="a pair of metrics, tasks pooled")
    options.add_argument(
        "--metric", action="append", choices=METRICS, help="repeatable; a table of its own for each, instead of a pair"
    )
    options.add_argument(
        "--seeds", type=int, help="splits into folds; default: 5, or 1 with --quick, --ablate or --budget-seconds"
    )
    options.add_argument("--folds", type=int, help=f"default: {N_FOLDS}, or {QUICK_FOLDS} with --quick")
    options.add_argument(
        "--ablate",
        nargs="*",
        metavar="WORD",
        help="compare the prior with variants of itself, or with those whose names begin with one of the words",
    )
    options.add_argument(
        "--budget-seconds", nargs="+", type=float, metavar="S", help="describe the left-out tables within each budget"
    )
    options.add_argument(
        "--rows",
        choices=ROWS,
        default=ROWS[0],
        help="judge on as many rows of each table as the seed's protocol uses, or on more or fewer where measured",
    )
    options.add_argument("--tables", type=Path, default=ROOT.parent / "shared" / "datasets", help="folder of tables")
    return options.parse_args()


def main() -> int:
    """Run the benchmark; returns the exit code."""
    arguments = _options()
    learners = arguments.learner or ["lightgbm"]
    is_short = arguments.quick or arguments.ablate is not None or arguments.budget_seconds
    n_seeds = arguments.seeds or (1 if is_short else 5)
    n_folds = arguments.folds or (QUICK_FOLDS if arguments.quick else N_FOLDS)
    variants = {
        name: variant
        for name, variant in VARIANTS.items()
        if not arguments.ablate or name == FULL or name.startswith(tuple(arguments.ablate))
    }
    records, trials, names = collect(arguments.data, arguments.tasks)
    if arguments.quick:
        kept = {record.task.id for record in records[:QUICK_TASKS]}
        records = [record for record in records if record.task.id in kept]
        trials = [trial for trial in trials if trial.task in kept]
    sets = [(metric,) for metric in arguments.metric or ()] or [METRIC_SETS[arguments.metrics]]
    known: Described = {}
    if arguments.budget_seconds:
        scored = set(names or [record.task.name for record in records])
        known = described(arguments.tables, scored, arguments.budget_seconds, 2)
    figures: dict[str, float] = {}
    for metrics in sets:
        parts = [part_of(records, trials, metric, learners, names, arguments.rows) for metric in metrics]
        n_tasks = sum(int(part.wanted.sum()) for part in parts)
        n_scored = sum(part.scored.size for part in parts)
        if not n_scored:
            print("No task to score: all are flat or unknown.", file=sys.stderr)
            return 2
        title = (
            f"{' + '.join(learners)}, {' and '.join(metrics)}, {n_scored} tasks that are not flat of {n_tasks}, "
            f"leave-one-group-out in {n_folds} folds, {n_seeds} fold seeds: default-scaled regret ± standard error"
        )
        if arguments.budget_seconds:
            found = walk(parts, title, n_folds, n_seeds, arguments.budget_seconds, known)
        elif arguments.ablate is None:
            found = compare(parts, title, n_folds, n_seeds)
        else:
            found = ablate(parts, title, n_folds, n_seeds, variants)
        prefix = f"{metrics[0]}/" if arguments.metric else ""
        figures |= {f"{prefix}tasks": float(n_tasks), f"{prefix}flat": float(n_tasks - n_scored)}
        figures |= {prefix + name: value for name, value in found.items()}
    write(arguments.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
