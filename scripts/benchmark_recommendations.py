"""Regret of recommended configurations, each past task left out with its group, beside what others would advise.

    python scripts/benchmark_recommendations.py [--learner lightgbm] [--metrics log_loss|default] [--seeds 5]
    python scripts/benchmark_recommendations.py --learner lightgbm --learner linear --metric roc_auc --metric r2
    python scripts/benchmark_recommendations.py --no-intervals --save new.npz --against old.npz
    python scripts/benchmark_recommendations.py --ablate [trust "without probes" …]
    python scripts/benchmark_recommendations.py --budget-seconds 0 0.25 0.5 1 2 [--tables DIR]

Default-scaled regret after k trials: 0 is the best loss known on the task, 1 the library's default, 2 the clip. Flat
tasks, whose default is as good as the best within the noise of the folds, are left out and counted. With several
learners the family is chosen too: the best is that of all of them, the default that of the first, and the model is the
one between all learners. Only candidates that were measured on the left-out task are advised, or there would be nothing
to score.

What is judged is what `metahp recommend` would say. For each fold a model of the metric that guides the judged one is
trained on the other tasks; metrics with the same guide share it. The intervals of expected scores need five more
trainings for each fold, which `--no-intervals` saves. `--save` keeps the regret by task, and `--against` compares with
a saved run, paired by task: two versions of metahp, on the same folds.

`--ablate` compares the prior with variants that differ in one thing each; `--budget-seconds` describes each left-out
table anew within each of these budgets, from the folder of tables `--tables`. `--data DIR` is a seed folder, or a
folder of tables with a MANIFEST.csv: then the design is measured on those tables first, the seed is the past, and only
those tables are scored.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from _ablations import FULL, VARIANTS, Variant, reader_of, regret_by_variant
from _benchmark import ROOT, ROWS, columns_in, parser, report, write
from _budgets import Described, described, regret_by_budget
from _left_out import Guided, Judged, Part, collect, guided_parts, judge_left_out, trained_on
from _paired import Regrets

from metahp.core.metric import METRICS
from metahp.learners.registry import LEARNERS
from metahp.metafeatures.extract import NAMES
from metahp.surrogate.prior import PastTasks
from metahp.surrogate.validation import batch_regret, n_random, random_regret, worth_in_random_trials

KS = (1, 3, 5, 10, 25)
# Where the negative-transfer rate is taken.
TRANSFER_K = 5
N_FOLDS, QUICK_FOLDS, QUICK_TASKS = 10, 3, 60
N_NEAREST = 15
PORTFOLIO, NEAREST = "greedy portfolio", f"{N_NEAREST}-nearest portfolio"
METHODS = ("metahp", PORTFOLIO, NEAREST)
SAVED = "saved run"
# One metric for classes and one for numbers: pairs as in DESIGN's evidence, or the ones users get by default.
METRIC_SETS = {
    "log_loss": ("neg_log_loss", "neg_root_mean_squared_error"),
    "default": ("roc_auc", "neg_root_mean_squared_error"),
}
# What was judged of a part, by name: values of shape (n_seeds, t, …).
Found = Mapping[str, np.ndarray]


def judge(guided: Guided, left_out: frozenset[str], seed: int, *, has_intervals: bool) -> dict[str, Judged]:
    """Advise the tasks left out, and look up what that was worth.

    Regret has shape (n, len(KS)) by method; `inside` (n, max(KS)) says whether the expected interval of each
    configuration holds its loss, `abstained` (n,) whether the adviser did.
    """
    judged = {}
    for name, adviser in guided.advisers(left_out, seed=seed, is_validated=has_intervals).items():
        evidence, rows = guided.parts[name].evidence, guided.rows(name, left_out)
        columns = columns_in(evidence, adviser.past.evidence)
        batches: dict[str, list[list[int]]] = {method: [] for method in METHODS}
        inside, abstained = np.zeros((len(rows), max(KS))), np.zeros(len(rows))
        for i, row in enumerate(rows):
            among = np.flatnonzero(~np.isnan(evidence.losses[row, columns]))
            own, constant = evidence.metafeatures[row], float(evidence.constants[row])
            advice = adviser.advise(evidence.tasks[row], own, NAMES, constant, max(KS), among=among)
            portfolio = adviser.past.prior(None)
            nearest = replace(portfolio, weights=nearest_weights(adviser.past, own))
            batches["metahp"].append([item.column for item in advice.items])
            batches[PORTFOLIO].append(portfolio.batch(max(KS), among))
            batches[NEAREST].append(nearest.batch(max(KS), among))
            for j, item in enumerate(advice.items):
                inside[i, j] = item.low <= evidence.losses[row, columns[item.column]] <= item.high
            abstained[i] = bool(advice.prior.abstained)
        values = {
            method: np.array(
                [
                    batch_regret(evidence, int(row), columns[batch].tolist(), KS)
                    for row, batch in zip(rows, its_batches, strict=True)
                ]
            ).reshape(len(rows), len(KS))
            for method, its_batches in batches.items()
        }
        judged[name] = rows, {**values, "inside": inside, "abstained": abstained}
    return judged


def nearest_weights(past: PastTasks, metafeatures: np.ndarray) -> np.ndarray:
    """Equal weights of the `N_NEAREST` past tasks whose meta-features are nearest, shape (t,)."""
    known = past.evidence.metafeatures
    spread = np.nanstd(known, axis=0)
    apart = np.nan_to_num((known - metafeatures) / np.where(spread > 0, spread, 1.0))
    distance = np.where(past.whole, (apart**2).sum(axis=1), np.inf)
    near = np.argsort(distance, kind="stable")[: min(N_NEAREST, int(past.whole.sum()))]
    return np.isin(np.arange(len(known)), near) / len(near)


def compare(
    parts: Sequence[Part], found: Sequence[Found], title: str, *, has_intervals: bool, older: Regrets | None
) -> dict[str, float]:
    """Print how all methods do on all parts, and give the figures."""
    splits = {name: _pooled(parts, found, name) for name in METHODS}
    random = [np.array([[random_regret(part.evidence, int(row), KS) for row in part.scored]]) for part in parts]
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
    below = {rival: (splits[rival] - splits["metahp"]).mean(axis=0) for rival in (PORTFOLIO, NEAREST)}
    if older is not None:
        values, n_moved = regrets_of(parts, found).below(older)
        figures[f"{SAVED}/tasks"] = float(len(values))
        if len(values):
            below[SAVED] = values
        else:
            print("The saved run has none of these tasks by this metric.", file=sys.stderr)
        if n_moved:
            print(f"In the saved run {n_moved} of the tasks were left out with others.", file=sys.stderr)
    for rival, values in below.items():
        mean, error = _mean_and_error(values)
        figures |= _by_k(f"metahp_below_{rival}", mean) | _by_k(f"metahp_below_{rival}_standard_error", error)
        table.append([f"metahp below {rival}, paired ({len(values)} tasks)", *_pairs(mean, error, sign="+"), ""])
    for depth, (n_tasks, most, worth) in _worth(parts, splits["metahp"].mean(axis=0)).items():
        figures |= _by_k(f"metahp/{depth}", np.minimum(worth, most)) | {f"metahp/{depth}/tasks": float(n_tasks)}
        shown = [f"{count:.1f}" if np.isfinite(count) else f"> {most}" for count in worth]
        table.append([f"metahp is worth so many random trials ({n_tasks} tasks, {most} counted)", *shown, ""])
    report(title, ["method", *(f"k = {k}" for k in KS), "first beats default"], table)

    at = KS.index(TRANSFER_K)
    worse = splits["metahp"][:, :, at] > splits[PORTFOLIO][:, :, at]
    figures[f"metahp/negative_transfer@{TRANSFER_K}"] = float(worse.mean())
    print(f"Worse than the {PORTFOLIO} at k = {TRANSFER_K}: {worse.mean():.0%} of the tasks.")
    if has_intervals:
        held = [of["inside"][:, part.wanted] for of, part in zip(found, parts, strict=True)]
        inside = np.concatenate(held, axis=1).mean(axis=(0, 1))
        first, several = float(inside[0]), float(inside[:TRANSFER_K].mean())
        figures |= {"metahp/coverage": first, f"metahp/coverage_first_{TRANSFER_K}": several}
        print(
            f"The 80 % interval of the expected score holds the truth: {first:.0%} (first), "
            f"{several:.0%} (first {TRANSFER_K})."
        )
    silent = _pooled(parts, found, "abstained") > 0
    figures["metahp/abstained"] = float(silent.mean())
    abstaining = f"Abstained on {silent.mean():.1%} of the tasks"
    if silent.any():
        ours, theirs = splits["metahp"][silent].mean(axis=0), splits["metahp"][~silent].mean(axis=0)
        figures |= _by_k("metahp/abstained/regret", ours)
        abstaining += "; regret there " + " ".join(f"{value:.2f}" for value in ours)
        abstaining += ", elsewhere " + " ".join(f"{value:.2f}" for value in theirs)
    print(f"{abstaining}.\n")
    return figures


def _pooled(parts: Sequence[Part], found: Sequence[Found], name: str) -> np.ndarray:
    """What is called `name` of all tasks that count, shape (n_seeds, t, …)."""
    return np.concatenate([of[name][:, part.scored] for of, part in zip(found, parts, strict=True)], axis=1)


def regrets_of(parts: Sequence[Part], found: Sequence[Found]) -> Regrets:
    """The regret of metahp by metric, task and split, as it is saved."""
    metrics, tasks, n_rows, seeds, folds, regrets = [], [], [], [], [], []
    for part, of in zip(parts, found, strict=True):
        for seed, row in np.ndindex(len(of["fold"]), part.scored.size):
            place = part.scored[row]
            metrics.append(part.evidence.metric)
            tasks.append(part.evidence.tasks[place].id)
            n_rows.append(part.evidence.tasks[place].n_rows)
            seeds.append(seed)
            folds.append(int(of["fold"][seed, place]))
            regrets.append(of["metahp"][seed, place])
    return Regrets(
        learners="+".join(parts[0].evidence.spaces),
        ks=np.array(KS),
        metric=np.array(metrics),
        task=np.array(tasks),
        n_rows=np.array(n_rows),
        seed=np.array(seeds),
        fold=np.array(folds),
        regret=np.array(regrets),
    )


def _worth(parts: Sequence[Part], regret: np.ndarray) -> dict[str, tuple[int, int, np.ndarray]]:
    """Tasks, most trials counted and worth at each k, on nearly all tasks and on those with the longest design."""
    sizes = [[n_random(part.evidence, int(row)) for row in part.scored] for part in parts]
    flat = np.array([size for some in sizes for size in some])
    curves = [
        random_regret(part.evidence, int(row), range(1, size + 1))
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


def judge_variants(
    guided: Guided, left_out: frozenset[str], seed: int, *, variants: Mapping[str, Variant]
) -> dict[str, Judged]:
    """Regret of variants of the prior on the tasks left out."""
    known, judged = guided.without(left_out), {}
    read = reader_of(known.evidence(guided.guide, guided.learners), seed=seed)
    for name, part in guided.parts.items():
        past, rows = known.evidence(part.evidence.metric, list(part.evidence.spaces)), guided.rows(name, left_out)
        if rows.size:
            judged[name] = rows, regret_by_variant(read, past, part.evidence, rows, variants, ks=KS)
    return judged


def ablate(parts: Sequence[Part], found: Sequence[Found], title: str, variants: Sequence[str]) -> dict[str, float]:
    """Print how variants of the prior do on all parts, and give the figures."""
    means = {name: _pooled(parts, found, name).mean(axis=0) for name in variants}
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


def judge_budgets(guided: Guided, left_out: frozenset[str], seed: int, *, known: Described) -> dict[str, Judged]:
    """Regret by budget on those tasks left out that were described anew."""
    judged = {}
    for name, adviser in guided.advisers(left_out, seed=seed, is_validated=False).items():
        evidence = guided.parts[name].evidence
        rows = [row for row in guided.rows(name, left_out) if evidence.tasks[row].id in known]
        if rows:
            regret = regret_by_budget(adviser, evidence, np.array(rows), known, ks=KS)
            judged[name] = np.array(rows), {"regret": regret}
    return judged


def walk(
    parts: Sequence[Part], found: Sequence[Found], title: str, budgets: Sequence[float], known: Described
) -> dict[str, float]:
    """Print what the advice is worth by the budget for describing the table, and give the figures."""
    scored = [
        np.array([row for row in part.scored if part.evidence.tasks[row].id in known], dtype=int) for part in parts
    ]
    values = np.concatenate(
        [of["regret"][:, rows] for of, rows in zip(found, scored, strict=True) if rows.size], axis=1
    )
    spent = np.array(
        [known[part.evidence.tasks[row].id][1] for part, rows in zip(parts, scored, strict=True) for row in rows]
    )
    figures, table = {"tasks_described": float(values.shape[1])}, []
    for i, budget in enumerate(budgets):
        mean, error = _mean_and_error(values[:, :, i].mean(axis=0))
        middle, most = np.quantile(spent[:, i], [0.5, 0.9])
        figures |= _by_k(f"budget_{budget:g}/regret", mean) | {f"budget_{budget:g}/median_seconds": float(middle)}
        table.append([f"{budget:g} s", f"{middle:.2f} s", f"{most:.2f} s", *_pairs(mean, error)])
    report(
        f"{title}; {values.shape[1]} tasks described anew",
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
        "--no-intervals", action="store_true", help="train once a fold, not six times; so does --quick"
    )
    options.add_argument("--save", type=Path, metavar="FILE", help="write the regret by metric, task and split")
    options.add_argument("--against", type=Path, metavar="FILE", help="compare with a saved run, paired by task")
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
    options.add_argument("--jobs", type=int, default=2, help="folds side by side")
    arguments = options.parse_args()
    if (arguments.save or arguments.against) and (arguments.ablate is not None or arguments.budget_seconds):
        options.error("--save and --against are about the full method, not about variants or budgets")
    return arguments


def main() -> int:
    """Run the benchmark; returns the exit code."""
    arguments = _options()
    learners = arguments.learner or ["lightgbm"]
    is_short = arguments.quick or arguments.ablate is not None or arguments.budget_seconds
    n_seeds = arguments.seeds or (1 if is_short else 5)
    n_folds = arguments.folds or (QUICK_FOLDS if arguments.quick else N_FOLDS)
    has_intervals = not (arguments.quick or arguments.no_intervals)
    variants = {
        name: variant
        for name, variant in VARIANTS.items()
        if not arguments.ablate or name == FULL or name.startswith(tuple(arguments.ablate))
    }
    older = Regrets.load(arguments.against) if arguments.against else None
    if older is not None and (older.learners, tuple(older.ks)) != ("+".join(sorted(learners)), KS):
        print(f"{arguments.against} is about {older.learners} at k = {older.ks.tolist()}.", file=sys.stderr)
        return 2
    records, trials, names = collect(arguments.data, trained_on(learners), arguments.tasks)
    if arguments.quick:
        kept = {record.task.id for record in records[:QUICK_TASKS]}
        records = [record for record in records if record.task.id in kept]
        trials = [trial for trial in trials if trial.task in kept]
    sets = [(metric,) for metric in arguments.metric or ()] or [METRIC_SETS[arguments.metrics]]
    metrics = list(dict.fromkeys(metric for some in sets for metric in some))
    guided = guided_parts(records, trials, metrics, learners, names, arguments.rows)
    parts = {name: part for each in guided for name, part in each.parts.items() if part.scored.size}
    if any(parts.keys().isdisjoint(some) for some in sets):
        print("No task to score: all are flat or unknown.", file=sys.stderr)
        return 2
    known: Described = {}
    if arguments.budget_seconds:
        scored = set(names or [record.task.name for record in records])
        known = described(arguments.tables, scored, arguments.budget_seconds, arguments.jobs)
        work = partial(judge_budgets, known=known)
    elif arguments.ablate is not None:
        work = partial(judge_variants, variants=variants)
    else:
        work = partial(judge, has_intervals=has_intervals)
    judged = judge_left_out(guided, work, n_folds, n_seeds, arguments.jobs)
    if arguments.save:
        regrets_of(list(parts.values()), [judged[name] for name in parts]).save(arguments.save)
    figures: dict[str, float] = {}
    for some in sets:
        its_parts = [parts[metric] for metric in some if metric in parts]
        found = [judged[metric] for metric in some if metric in parts]
        n_tasks = sum(int(part.wanted.sum()) for part in its_parts)
        n_scored = sum(part.scored.size for part in its_parts)
        title = (
            f"{' + '.join(learners)}, {' and '.join(some)}, {n_scored} tasks that are not flat of {n_tasks}, "
            f"leave-one-group-out in {n_folds} folds, {n_seeds} fold seeds: default-scaled regret ± standard error"
        )
        if arguments.budget_seconds:
            its_figures = walk(its_parts, found, title, arguments.budget_seconds, known)
        elif arguments.ablate is not None:
            its_figures = ablate(its_parts, found, title, list(variants))
        else:
            its_figures = compare(its_parts, found, title, has_intervals=has_intervals, older=older)
        prefix = f"{some[0]}/" if arguments.metric else ""
        figures |= {f"{prefix}tasks": float(n_tasks), f"{prefix}flat": float(n_tasks - n_scored)}
        figures |= {prefix + name: value for name, value in its_figures.items()}
    write(arguments.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
