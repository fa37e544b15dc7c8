"""Regret of recommended configurations on other people's evaluations, replayed as look-ups, tasks left out.

    python -m benchmarks.transfer [--suite hylap_svm …] [--folds 5 | --folds 0] [--seeds 8]

Range-scaled regret after k trials: 0 is the task's best configuration, 1 its worst. The tasks of a suite are split into
folds (`--folds 0`: each task alone), the configurations of a left-out task are ranked by the prior and selection code
that `metahp recommend` uses, and looked up. The greedy portfolio minimises the mean regret of the past tasks; where
tasks share no configuration, past tasks are interpolated for it as they are for metahp. `--data DIR` is a folder with
`SUITE.parquet` and, where there are any, `SUITE_metafeatures.parquet`.
"""

import sys
from collections.abc import Sequence

import numpy as np
from joblib import Parallel, delayed

from benchmarks.common import Cells, Figure, Figures, Report, average, mean_and_error, parse_arguments, run_main
from benchmarks.methods import PORTFOLIO, WEIGHTS, choose_batch
from benchmarks.suites import Suite, make_suite_parser, read_suites
from metahp import Configuration
from metahp.core.regret import compute_range_scaled_regret
from metahp.surrogate.calibration import fit_calibrated
from metahp.surrogate.gaussian_process import Interpolation
from metahp.surrogate.prior import Prior, Scenarios
from metahp.surrogate.selection import choose_greedy_batch
from metahp.surrogate.validation import compute_expected_best_of_random, make_group_folds

KS = (1, 3, 5, 10, 25)
QUICK_TASKS = 3
METHODS = ("metahp", *WEIGHTS)


def scale(losses: np.ndarray) -> np.ndarray:
    """Regret of the losses of one task; NaN stays."""
    return compute_range_scaled_regret(losses, float(np.nanmin(losses)), float(np.nanmax(losses)))


def choose_batches(suite: Suite, known: np.ndarray, tasks: Sequence[int], seed: int) -> dict[str, list[list[int]]]:
    """By method and left-out task: places among the task's configurations, in the order in which to try them."""
    evidence = suite.evidence().rows(known).drop_unmeasured()
    past = fit_calibrated(evidence, seed=seed)
    kernel, regrets = past.model.kernel, np.array([scale(losses) for losses in evidence.losses])
    interpolated = Interpolation.fit(kernel, kernel.inputs(evidence.candidates), regrets, seed=seed)
    column = {candidate: index for index, candidate in enumerate(evidence.candidates)}
    found: dict[str, list[list[int]]] = {method: [] for method in METHODS}
    for task in tasks:
        own = suite.configurations[task]
        features = None if suite.metafeatures is None else suite.metafeatures[task]
        prior = past.prior(features)
        found["metahp"].append(choose_batch(prior, _scenarios(prior, own), max(KS)))
        losses = interpolated.at(kernel.inputs(own))
        shared = [(i, column[each]) for i, each in enumerate(own) if each in column]
        if shared:
            here, there = (list(each) for each in zip(*shared, strict=True))
            measured = regrets[:, there]
            losses[:, here] = np.where(np.isnan(measured), losses[:, here], measured)
        for name, weigh in WEIGHTS.items():
            weights = weigh(evidence.metafeatures, features, np.ones(len(known), dtype=bool))
            found[name].append(choose_greedy_batch(losses, weights, max(KS)))
    return found


def _scenarios(prior: Prior, own: Sequence[Configuration]) -> Scenarios:
    """Scenarios at the configurations of one task: as measured where past tasks share them."""
    column = {candidate: index for index, candidate in enumerate(prior.candidates)}
    if prior.abstained or not all(each in column for each in own):
        return prior.at(own)
    columns = [column[each] for each in own]
    return Scenarios(prior.values[:, columns], prior.weights, prior.inputs[columns])


def regret_of(losses: np.ndarray, batch: Sequence[int]) -> list[float]:
    """Range-scaled regret of the best of the first k, for every k."""
    best = np.minimum.accumulate(scale(losses)[list(batch)])
    return [float(best[min(k, len(best)) - 1]) for k in KS]


def score(suite: Suite, n_folds: int, seed: int, wanted: Sequence[int]) -> dict[str, np.ndarray]:
    """Regret by method for one split, shape (t, len(KS)); NaN for tasks that are not wanted."""
    n = len(suite.tasks)
    regret = {method: np.full((n, len(KS)), np.nan) for method in METHODS}
    for known, left_out in make_group_folds(suite.tasks, n_folds or n, seed=seed):
        tasks = [task for task in left_out.tolist() if task in wanted]
        if tasks:
            for method, batches in choose_batches(suite, known, tasks, seed).items():
                regret[method][tasks] = [
                    regret_of(suite.losses[task], batch) for task, batch in zip(tasks, batches, strict=True)
                ]
    return regret


def rows_of_suite(suite: Suite, wanted: Sequence[int], n_folds: int, n_seeds: int, n_jobs: int) -> Cells:
    """How all methods do on one suite, a row each."""
    by_seed = Parallel(n_jobs=n_jobs)(delayed(score)(suite, n_folds, seed, wanted) for seed in range(n_seeds))
    regret = {method: np.mean([found[method][wanted] for found in by_seed], axis=0) for method in METHODS}
    regret["random"] = np.array([compute_expected_best_of_random(scale(suite.losses[task]), KS) for task in wanted])
    rows: Cells = [[suite.name, method, *average(values, "{:.4f} ± {:.4f}")] for method, values in regret.items()]
    portfolio = regret[PORTFOLIO].mean(axis=0)
    # NaN where the portfolio leaves nothing to gain.
    portfolio = np.where(portfolio > 0, portfolio, np.nan)
    ratio = regret["metahp"].mean(axis=0) / portfolio
    error = mean_and_error(regret["metahp"] - regret[PORTFOLIO])[1] / portfolio
    pairs = zip(ratio.tolist(), error.tolist(), strict=True)
    return [*rows, [suite.name, f"metahp / {PORTFOLIO}", *(Figure(r, e, "{:.2f} ± {:.2f}") for r, e in pairs)]]


def main() -> None:
    """Run the benchmark."""
    arguments = parse_arguments(make_suite_parser(__doc__, folds=5, seeds=8), "suite")
    n_seeds = 1 if arguments.quick or not arguments.folds else arguments.seeds
    rows: Cells = []
    for suite, wanted in read_suites(arguments, QUICK_TASKS):
        found = rows_of_suite(suite, wanted, arguments.folds, n_seeds, arguments.jobs)
        print(*(" | ".join(map(str, row)) for row in found), sep="\n", file=sys.stderr, flush=True)
        rows += found
    split = f"{arguments.folds}-fold over the tasks" if arguments.folds else "each task left out"
    title = f"{split}, {n_seeds} split seeds: range-scaled regret ± standard error over tasks"
    report = Report("transfer", __doc__ or "", arguments)
    report.add(Figures(title, ["suite", "method", *(f"k = {k}" for k in KS)], rows))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
