"""Regret of recommended configurations on other people's evaluations, replayed as look-ups, tasks left out.

    python scripts/benchmark_transfer.py [--suite hylap_svm …] [--folds 5 | --folds 0] [--seeds 8]

Range-scaled regret after k trials: 0 is the task's best configuration, 1 its worst. The tasks of a suite are split into
folds (`--folds 0`: each task alone), the configurations of a left-out task are ranked by the prior and selection code
that `metahp recommend` uses, and looked up. The greedy portfolio minimises the mean regret of the past tasks; where
tasks share no configuration, past tasks are interpolated for it as they are for metahp. `--data DIR` is a folder with
`SUITE.parquet` and, where there are any, `SUITE_metafeatures.parquet`.
"""

import sys
from collections.abc import Sequence

import numpy as np
from _benchmark import ROOT, parser, report, write
from _lookups import Suite, load_suite
from joblib import Parallel, delayed

from metahp.core.configuration import Configuration
from metahp.core.errors import MetahpError
from metahp.surrogate.calibration import fit_calibrated
from metahp.surrogate.gaussian_process import Interpolation
from metahp.surrogate.prior import Prior, Scenarios, draw_scenarios
from metahp.surrogate.selection import greedy_batch
from metahp.surrogate.validation import expected_best_of_random, group_folds

KS = (1, 3, 5, 10, 25)
SUITES = (
    "hylap_svm",
    "hylap_adaboost",
    "pmlb_sklearn",
    "openml_adaboost",
    "openml_random_forest",
    "quantile_xgboost",
)
N_NEAREST = 15
RIVALS = ("greedy portfolio", f"{N_NEAREST}-nearest portfolio")


def range_scaled(losses: np.ndarray) -> np.ndarray:
    """Losses per task with the best at 0 and the worst at 1; NaN stays."""
    best, worst = np.nanmin(losses, axis=-1, keepdims=True), np.nanmax(losses, axis=-1, keepdims=True)
    return (losses - best) / (worst - best)


def batches(
    suite: Suite, train: np.ndarray, test: Sequence[int], methods: Sequence[str], seed: int
) -> dict[str, dict[int, list[int]]]:
    """By method and left-out task: places among the task's configurations, in the order in which to try them."""
    evidence = suite.evidence().rows(train).measured()
    past = fit_calibrated(evidence, seed=seed)
    kernel, regrets = past.model.kernel, range_scaled(evidence.losses)
    interpolated = Interpolation.fit(kernel, kernel.inputs(evidence.candidates), regrets, seed=seed)
    column = {candidate: index for index, candidate in enumerate(evidence.candidates)}
    equal = np.full(len(train), 1.0 / len(train))
    found: dict[str, dict[int, list[int]]] = {method: {} for method in methods}
    for task in test:
        own = suite.configurations[task]
        features = None if suite.metafeatures is None else suite.metafeatures[task]
        if "metahp" in methods:
            prior = past.prior(features)
            found["metahp"][task] = greedy_batch(*draw_scenarios(_scenarios(prior, own), local=prior.local), max(KS))
        losses = interpolated.at(kernel.inputs(own))
        shared = [(i, column[each]) for i, each in enumerate(own) if each in column]
        if shared:
            here, there = (list(each) for each in zip(*shared, strict=True))
            measured = regrets[:, there]
            losses[:, here] = np.where(np.isnan(measured), losses[:, here], measured)
        if RIVALS[0] in methods:
            found[RIVALS[0]][task] = greedy_batch(losses, equal, max(KS))
        if RIVALS[1] in methods:
            near = _nearest(evidence.metafeatures, features) if features is not None else np.arange(len(train))
            found[RIVALS[1]][task] = greedy_batch(losses[near], np.full(len(near), 1 / len(near)), max(KS))
    return found


def _scenarios(prior: Prior, own: Sequence[Configuration]) -> Scenarios:
    """Scenarios at the configurations of one task: as measured where past tasks share them."""
    column = {candidate: index for index, candidate in enumerate(prior.candidates)}
    if prior.abstained or not all(each in column for each in own):
        return prior.at(own)
    columns = [column[each] for each in own]
    return Scenarios(prior.values[:, columns], prior.weights, prior.inputs[columns])


def _nearest(known: np.ndarray, own: np.ndarray) -> np.ndarray:
    spread = np.nanstd(known, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return np.argsort((np.nan_to_num((known - own) / spread) ** 2).sum(axis=1))[:N_NEAREST]


def regret_of(losses: np.ndarray, batch: Sequence[int]) -> list[float]:
    """Range-scaled regret of the best of the first k, for every k."""
    best = np.minimum.accumulate(range_scaled(losses)[list(batch)])
    return [float(best[min(k, len(best)) - 1]) for k in KS]


def score(suite: Suite, folds: int, seed: int, wanted: Sequence[int], methods: Sequence[str]) -> dict[str, np.ndarray]:
    """Regret by method for one split, shape (t, len(KS)); NaN for tasks that are not wanted."""
    n = len(suite.tasks)
    regret = {method: np.full((n, len(KS)), np.nan) for method in methods}
    for train, test in group_folds(suite.tasks, folds or n, seed=seed):
        chosen = [int(task) for task in test if task in wanted]
        if chosen:
            for method, by_task in batches(suite, train, chosen, methods, seed).items():
                for task, batch in by_task.items():
                    regret[method][task] = regret_of(suite.losses[task], batch)
    return regret


def run_suite(name: str, arguments) -> tuple[list[list[str]], dict[str, float]]:
    """Rows of the table and figures of one suite."""
    suite = load_suite(name, arguments.data)
    wanted = [i for i, task in enumerate(suite.tasks) if arguments.tasks is None or task in arguments.tasks]
    if arguments.quick:
        wanted = wanted[:3]
    methods = ("metahp", *RIVALS)
    seeds = 1 if arguments.quick or not arguments.folds else arguments.seeds
    by_seed = Parallel(n_jobs=arguments.jobs)(
        delayed(score)(suite, arguments.folds, seed, wanted, methods) for seed in range(seeds)
    )
    regret = {method: np.mean([found[method][wanted] for found in by_seed], axis=0) for method in methods}
    regret["random"] = np.array([expected_best_of_random(range_scaled(suite.losses[task]), KS) for task in wanted])
    figures, rows = {f"{name}/tasks": float(len(wanted))}, []
    for method, values in regret.items():
        mean, error = values.mean(axis=0), _error(values)
        figures |= {f"{name}/{method}/regret@{k}": float(m) for k, m in zip(KS, mean, strict=True)}
        figures |= {f"{name}/{method}/standard_error@{k}": float(e) for k, e in zip(KS, error, strict=True)}
        rows.append([name, method, *(f"{m:.4f} ± {e:.4f}" for m, e in zip(mean, error, strict=True))])
    portfolio = regret[RIVALS[0]].mean(axis=0)
    ratio = regret["metahp"].mean(axis=0) / portfolio
    error = _error(regret["metahp"] - regret[RIVALS[0]]) / portfolio
    figures |= {f"{name}/ratio_to_portfolio@{k}": float(r) for k, r in zip(KS, ratio, strict=True)}
    rows.append([name, "metahp / greedy portfolio", *(f"{r:.2f} ± {e:.2f}" for r, e in zip(ratio, error, strict=True))])
    return rows, figures


def _error(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(values.shape[1], np.nan)


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = parser(__doc__, data=ROOT.parent / "shared" / "transfer_benchmarks")
    options.add_argument(
        "--suite", action="append", metavar="NAME", help=f"may be repeated; default: {', '.join(SUITES)}"
    )
    options.add_argument("--folds", type=int, default=5, help="over the tasks; 0 leaves each task out alone")
    options.add_argument("--seeds", type=int, default=8, help="split seeds")
    options.add_argument("--jobs", type=int, default=2)
    arguments = options.parse_args()
    names = arguments.suite or (SUITES[:1] if arguments.quick else SUITES)
    table, figures = [], {}
    try:
        for name in names:
            rows, found = run_suite(name, arguments)
            table += rows
            figures |= found
            print(*(" | ".join(row) for row in rows), sep="\n", file=sys.stderr, flush=True)
    except MetahpError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    split = f"{arguments.folds}-fold over the tasks" if arguments.folds else "each task left out"
    report(
        f"{split}, {arguments.seeds} split seeds: range-scaled regret ± standard error over tasks",
        ["suite", "method", *(f"k = {k}" for k in KS)],
        table,
    )
    write(arguments.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
