"""Regret of recommended configurations, each past task left out with its group, beside what others would advise.

    python -m benchmarks.recommendations [--learner lightgbm] [--metrics log_loss|default] [--seeds 5]
    python -m benchmarks.recommendations --learner lightgbm --learner linear --metric roc_auc --metric r2
    python -m benchmarks.recommendations --no-intervals --save new.npz --against old.npz
    python -m benchmarks.recommendations --ablate [trust "without probes" …]
    python -m benchmarks.recommendations --budget-seconds 0 0.25 0.5 1 2 [--tables DIR]

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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.ablations import choose_variants, judge_variants, tabulate_variants
from benchmarks.budgets import describe_tables, judge_budgets, tabulate_budgets
from benchmarks.common import (
    DATASETS,
    DIFFERENCE,
    SEED_FOLDER,
    SHARE,
    Cells,
    Figure,
    Figures,
    Note,
    Report,
    average,
    make_parser,
    parse_arguments,
    run_main,
)
from benchmarks.left_out import (
    Guided,
    Judged,
    JudgedTasks,
    Regrets,
    Scored,
    Work,
    judge_left_out,
    name_model_learners,
    pool,
    score_by_guide,
)
from benchmarks.methods import ADVICE, NEAREST, PORTFOLIO, NewTask
from benchmarks.tables import METRIC_SETS, ROWS, Past
from metahp import MetahpError, api
from metahp.core.metric import METRICS
from metahp.learners.registry import LEARNERS
from metahp.metafeatures.extract import NAMES
from metahp.surrogate.validation import (
    compute_batch_regret,
    compute_random_regret,
    compute_worth_in_random_trials,
    count_random,
)

KS = (1, 3, 5, 10, 25)
# Where the negative-transfer rate is taken.
TRANSFER_K = 5
N_FOLDS, QUICK_FOLDS, QUICK_TASKS = 10, 3, 60
RIVALS = (PORTFOLIO, NEAREST)


def judge(guided: Guided, left_out: frozenset[str], seed: int, *, has_intervals: bool) -> dict[str, Judged]:
    """Advise the tasks left out, and look up what that was worth.

    Regret has shape (n, len(KS)) by method; `inside` (n, max(KS)) says whether the expected interval of each
    configuration holds its loss, `abstained` (n,) whether the adviser did.
    """
    judged = {}
    for name, adviser in guided.advisers(left_out, seed=seed, is_validated=has_intervals).items():
        evidence, rows = guided.scored[name].evidence, guided.rows(name, left_out)
        columns = evidence.find_columns(adviser.past.evidence)
        regret = {method: np.zeros((len(rows), len(KS))) for method in ("metahp", *RIVALS)}
        inside, abstained = np.zeros((len(rows), max(KS))), np.zeros(len(rows))
        for i, row in enumerate(rows.tolist()):
            among = np.flatnonzero(~np.isnan(evidence.losses[row, columns]))
            own, constant = evidence.metafeatures[row], float(evidence.constants[row])
            advice = adviser.advise(evidence.tasks[row], own, NAMES, constant, max(KS), among=among)
            task = NewTask(past=adviser.past, prior=advice.prior, metafeatures=own, among=among)
            batches = {rival: ADVICE[rival](task, max(KS)) for rival in RIVALS}
            # As chosen: of k items the best expected one moves to the front, which changes no regret after k trials.
            batches["metahp"] = advice.prior.batch(max(KS), among)
            for method, batch in batches.items():
                regret[method][i] = compute_batch_regret(evidence, row, columns[batch].tolist(), KS)
            for j, item in enumerate(advice.items):
                inside[i, j] = item.low <= evidence.losses[row, columns[item.column]] <= item.high
            abstained[i] = bool(advice.prior.abstained)
        judged[name] = rows, {**regret, "inside": inside, "abstained": abstained}
    return judged


def tabulate_methods(
    scored: Sequence[Scored], found: Sequence[JudgedTasks], title: str, *, has_intervals: bool, older: Regrets | None
) -> Figures:
    """How all methods do by some metrics."""
    splits = {name: pool(scored, found, name) for name in ("metahp", *RIVALS)}
    random = [np.array([[compute_random_regret(each.evidence, int(row), KS) for row in each.rows]]) for each in scored]
    splits["random"] = np.concatenate([some for some in random if some.size], axis=1)
    splits["default"] = np.ones_like(splits["random"])
    rows: Cells = []
    for name, values in splits.items():
        # Counted split by split: averaged over splits, a task that is won more often than lost would count as won.
        first = values[:, :, 0]
        wins = float((first < 1).mean() + 0.5 * (first == 1).mean())
        rows.append([name, *average(values.mean(axis=0)), Figure(wins, form=SHARE)])
    below = {rival: (splits[rival] - splits["metahp"]).mean(axis=0) for rival in RIVALS}
    if older is not None:
        below["saved run"], n_moved = Regrets.of(scored, found, KS).below(older)
        if n_moved:
            print(f"In the saved run {n_moved} of the tasks were left out with others.", file=sys.stderr)
    for rival, values in below.items():
        if not len(values):
            print(f"The {rival} has none of these tasks by this metric.", file=sys.stderr)
            continue
        rows.append([f"metahp below {rival}, paired ({len(values)} tasks)", *average(values, DIFFERENCE), ""])
    for n_tasks, most, worth in _worth(scored, splits["metahp"].mean(axis=0)):
        shown = [Figure(min(count, most), form="{:.1f}" if count <= most else f"> {most}") for count in worth]
        rows.append([f"metahp is worth so many random trials ({n_tasks} tasks, {most} counted)", *shown, ""])
    columns = ["method", *(f"k = {k}" for k in KS), "first beats default"]
    return Figures(title, columns, rows, _notes(scored, found, splits, has_intervals=has_intervals))


def _notes(
    scored: Sequence[Scored], found: Sequence[JudgedTasks], splits: dict[str, np.ndarray], *, has_intervals: bool
) -> list[Note]:
    """What else there is to say of metahp: negative transfer, intervals and abstention."""
    at = KS.index(TRANSFER_K)
    worse = splits["metahp"][:, :, at] > splits[PORTFOLIO][:, :, at]
    form = f"Worse than the {PORTFOLIO} at k = {TRANSFER_K}: {{negative_transfer:.0%}} of the tasks."
    notes = [Note(form, {"negative_transfer": float(worse.mean())})]
    if has_intervals:
        held = [of["inside"][:, each.wanted] for of, each in zip(found, scored, strict=True)]
        inside = np.concatenate(held, axis=1).mean(axis=(0, 1))
        form = (
            "The 80 % interval of the expected score holds the truth: {coverage:.0%} (first), "
            f"{{coverage_of_several:.0%}} (first {TRANSFER_K})."
        )
        covered = {"coverage": float(inside[0]), "coverage_of_several": float(inside[:TRANSFER_K].mean())}
        notes.append(Note(form, covered))
    silent = pool(scored, found, "abstained") > 0
    figures, form = {"abstained": float(silent.mean())}, "Abstained on {abstained:.1%} of the tasks"
    if silent.any():
        for where, those in {"there": silent, "elsewhere": ~silent}.items():
            regret = splits["metahp"][those].mean(axis=0)
            figures |= {f"regret_{where}_{k}": float(value) for k, value in zip(KS, regret, strict=True)}
        form += "; regret there " + " ".join(f"{{regret_there_{k}:.2f}}" for k in KS)
        form += ", elsewhere " + " ".join(f"{{regret_elsewhere_{k}:.2f}}" for k in KS)
    return [*notes, Note(f"{form}.", figures)]


def _worth(scored: Sequence[Scored], regret: np.ndarray) -> list[tuple[int, int, list[float]]]:
    """Tasks, most trials counted and worth at each k, on nearly all tasks and on those with the longest design."""
    places = [(each.evidence, int(row)) for each in scored for row in each.rows]
    sizes = np.array([count_random(evidence, row) for evidence, row in places])
    found: dict[int, tuple[int, int, list[float]]] = {}
    for depth in (np.median(sizes), sizes.max()):
        chosen = np.flatnonzero(sizes >= 0.9 * depth)
        most = int(sizes[chosen].min())
        curve = np.mean([compute_random_regret(*places[i], range(1, most + 1)) for i in chosen], axis=0)
        worth = [compute_worth_in_random_trials(curve, float(value)) for value in regret[chosen].mean(axis=0)]
        found.setdefault(most, (chosen.size, most, worth))
    return list(found.values())


def collect(data: Path, learners: Sequence[str], names: Sequence[str] | None) -> tuple[Past, Sequence[str] | None]:
    """Past tasks with what is scored, and the names of the tasks to score (None for all)."""
    if not (data / "MANIFEST.csv").exists():
        return Past.read(learners, data), names or None
    rows = [row for row in api.read_manifest(data / "MANIFEST.csv") if not names or row.source.name in names]
    measured = Past.measure(rows, learners, n_jobs=2)
    return Past.read(learners).updated(measured), [record.task.name for record in measured.records]


def _options() -> argparse.Namespace:
    options = make_parser(__doc__, data=SEED_FOLDER)
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
    options.add_argument("--tables", type=Path, default=DATASETS, help="folder of tables")
    options.add_argument("--jobs", type=int, default=2, help="folds side by side")
    arguments = parse_arguments(options, "learner", "metrics", "metric", "rows", "against")
    if (arguments.save or arguments.against) and (arguments.ablate is not None or arguments.budget_seconds):
        options.error("--save and --against are about the full method, not about variants or budgets")
    if arguments.ablate:
        arguments.narrowed.append("ablate WORD")
    return arguments


def main() -> None:
    """Run the benchmark."""
    arguments = _options()
    learners = arguments.learner or ["lightgbm"]
    is_short = arguments.quick or arguments.ablate is not None or arguments.budget_seconds
    n_seeds = arguments.seeds or (1 if is_short else 5)
    n_folds = arguments.folds or (QUICK_FOLDS if arguments.quick else N_FOLDS)
    has_intervals = not (arguments.quick or arguments.no_intervals)
    older = Regrets.load(arguments.against) if arguments.against else None
    if older is not None and (older.learners, tuple(older.ks)) != ("+".join(sorted(learners)), KS):
        raise MetahpError(f"{arguments.against} is about {older.learners} at k = {older.ks.tolist()}.")
    past, names = collect(arguments.data, name_model_learners(learners), arguments.tasks)
    if arguments.quick:
        past = past.only(past.records[:QUICK_TASKS])
    sets = [[metric] for metric in arguments.metric or ()] or [list(METRIC_SETS[arguments.metrics].values())]
    metrics = list(dict.fromkeys(metric for some in sets for metric in some))
    guided = score_by_guide(past, metrics, learners, names, arguments.rows)
    scored = {name: each for some in guided for name, each in some.scored.items() if each.rows.size}
    if any(scored.keys().isdisjoint(some) for some in sets):
        raise MetahpError("No task to score: all are flat or unknown.")
    page = "recommendations"
    work: Work = partial(judge, has_intervals=has_intervals)
    tabulate: Callable[..., Figures] = partial(tabulate_methods, has_intervals=has_intervals, older=older)
    if arguments.budget_seconds:
        page, budgets = "budgets", arguments.budget_seconds
        named = set(names or [record.task.name for record in past.records])
        described = describe_tables(arguments.tables, named, budgets, arguments.jobs)
        work = partial(judge_budgets, described=described, ks=KS)
        tabulate = partial(tabulate_budgets, described=described, budgets=budgets, ks=KS)
    elif arguments.ablate is not None:
        page, variants = "ablations", choose_variants(arguments.ablate)
        work = partial(judge_variants, variants=variants, ks=KS)
        tabulate = partial(tabulate_variants, variants=list(variants), ks=KS)
    judged = judge_left_out(guided, work, n_folds, n_seeds, arguments.jobs)
    if arguments.save:
        Regrets.of(list(scored.values()), [judged[name] for name in scored], KS).save(arguments.save)
    report = Report(page, __doc__ or "", arguments)
    for some in sets:
        those = [metric for metric in some if metric in scored]
        n_tasks = sum(int(scored[metric].wanted.sum()) for metric in those)
        n_scored = sum(scored[metric].rows.size for metric in those)
        title = (
            f"{' + '.join(learners)}, {' and '.join(some)}, {n_scored} tasks that are not flat of {n_tasks}, "
            f"leave-one-group-out in {n_folds} folds, {n_seeds} fold seeds: default-scaled regret ± standard error"
        )
        report.add(tabulate([scored[metric] for metric in those], [judged[metric] for metric in those], title))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
