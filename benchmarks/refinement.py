"""Regret of sequential search on published look-up tables, each task left out and all others known.

    python -m benchmarks.refinement [--suite hylap_svm] [--methods transfer,tpe,gp,random] [--seeds 5] [--jobs 2]
        [--folds 10]
    python -m benchmarks.refinement --overhead

Range-scaled regret after k evaluations, (best so far - best) / (worst - best) of the task: mean over tasks and its
standard error. All tasks count but those whose best equals their worst. Each method chooses among the configurations
of the table: a proposal of Optuna's samplers is moved to the nearest one in the unit cube that was not evaluated yet,
and that one is told. `--folds` leaves tasks out together, which takes fewer trainings. `--data DIR` takes other tables
of the same form (see `benchmarks/suites.py`). `--overhead` instead times ask and tell of `transfer` with 425 past
tasks, 200 trials and a pool of 10,000, on a task whose trials tell their noise and on one whose trials do not.
"""

import sys
import time
from collections.abc import Sequence

import numpy as np
from joblib import Parallel, delayed

from benchmarks.common import Cells, Figure, Figures, Report, average, parse_arguments, run_main
from benchmarks.methods import SEARCHES, run_trials
from benchmarks.suites import Suite, make_suite_parser, read_suites
from benchmarks.tables import LEARNER
from metahp import Configuration, TaskType
from metahp.core.errors import UnknownNameError, did_you_mean
from metahp.core.regret import compute_range_scaled_regret
from metahp.core.statistics import compute_standard_error
from metahp.evaluation.backend import InTurn, Outcome
from metahp.evaluation.design import make_design
from metahp.evaluation.lookup import Lookup
from metahp.refinement.strategy import Observation, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.surrogate.gaussian_process import Interpolation, Kernel
from metahp.surrogate.prior import Prior
from metahp.surrogate.validation import make_group_folds

KS = (1, 3, 5, 10, 15, 20, 25, 30, 50, 100)
QUICK_TASKS, QUICK_EVALUATIONS = 4, 10
# What the losses of a suite are called.
METRIC = "score"
# A past of so many tasks, and a task in the middle of its run.
OVERHEAD_TASKS, OVERHEAD_TRIALS, OVERHEAD_REPEATS = 425, 200, 10


def search_tasks(
    method: str, suite: Suite, known: Sequence[int], tasks: Sequence[int], n: int, seed: int
) -> np.ndarray:
    """Range-scaled regret on some tasks after 1 to n evaluations, shape (t, n); 0 once a table is used up."""
    search_of = SEARCHES[method](suite, known, seed)
    found = []
    for task in tasks:
        losses = suite.losses[task]
        pairs = zip(suite.configurations[task], losses.tolist(), strict=True)
        table = Lookup({configuration: (loss,) for configuration, loss in pairs}, metric=METRIC)
        trials = run_trials(search_of(task), table, n, METRIC, suite.spaces)
        best = np.minimum.accumulate([trial.loss(METRIC) for trial in trials])
        curve = compute_range_scaled_regret(best, float(losses.min()), float(losses.max()))
        found.append(np.concatenate([curve, np.full(n - len(curve), curve[-1])]))
    return np.array(found)


def average_curves(
    method: str, suite: Suite, tasks: Sequence[int], n_folds: int, n_seeds: int, n: int, workers: Parallel
) -> np.ndarray:
    """Regret of a method on some tasks of a suite, shape (t, n), mean over split seeds."""
    jobs = [
        (known.tolist(), [task for task in left_out.tolist() if task in tasks], seed)
        for seed in range(n_seeds)
        for known, left_out in make_group_folds(suite.tasks, n_folds or len(suite.tasks), seed=seed)
    ]
    jobs = [job for job in jobs if job[1]]
    found = workers(delayed(search_tasks)(method, suite, known, its, n, seed) for known, its, seed in jobs)
    of_task = np.array([task for _, its, _ in jobs for task in its])
    return np.array([np.concatenate(found)[of_task == task].mean(axis=0) for task in tasks])


def time_overhead(noise: float) -> float:
    """Median seconds of ask and tell late in a run, with past tasks of random but smooth losses.

    `noise` is the standard error that trials tell, 0 where they tell none.
    """
    space = LEARNER.space(TaskType.BINARY)
    known = [configuration for configuration, _ in make_design(LEARNER, TaskType.BINARY, OVERHEAD_TRIALS)]
    rng = np.random.default_rng(0)
    n_columns = Kernel({space.learner: space}, np.ones(1)).inputs(known).shape[1]
    kernel = Kernel({space.learner: space}, np.full(n_columns, 0.7))
    inputs = kernel.inputs(known)
    values = np.abs(inputs @ rng.normal(size=(n_columns, OVERHEAD_TASKS))).T
    values /= np.median(values, axis=1, keepdims=True)
    equal = np.full(OVERHEAD_TASKS, 1 / OVERHEAD_TASKS)
    prior = Prior(
        candidates=tuple(known),
        inputs=inputs,
        values=values,
        weights=equal,
        similarity=equal,
        shift=np.zeros(len(known)),
        moved=np.ones(OVERHEAD_TASKS),
        unit=1.0,
        units=np.exp(rng.normal(-4.0, 1.0, size=OVERHEAD_TASKS)),
        interpolation=Interpolation.fit(kernel, inputs, values),
        local=0.0,
    )
    search = Transfer(prior, [space], stopped_early=[LEARNER.name], seed=0)
    target = rng.normal(size=n_columns)
    seconds: list[float] = []
    started = time.perf_counter()

    def losses_of(configuration: Configuration) -> tuple[float, ...]:
        """One loss, or two with this standard error of their mean."""
        loss = 0.01 * abs(float(kernel.inputs([configuration])[0] @ target))
        return (loss - noise, loss + noise) if noise else (loss,)

    def evaluate(suggestion: Suggestion) -> Outcome:
        nonlocal started
        seconds.append(time.perf_counter() - started)
        table = Lookup({suggestion.configuration: losses_of(suggestion.configuration)}, metric=METRIC)
        table.submit(suggestion)
        outcome = table.await_outcome()
        started = time.perf_counter()
        return outcome

    for configuration in known:
        losses = losses_of(configuration)
        search.tell(
            Observation(configuration=configuration, loss=float(np.mean(losses)), noise=compute_standard_error(losses))
        )
    run_trials(search, InTurn(evaluate), OVERHEAD_REPEATS + 1, METRIC, [space])
    # From one trial to the next it is told of the one and asked for the other.
    return float(np.median(seconds[1:]))


def main() -> None:
    """Run the benchmark."""
    options = make_suite_parser(__doc__, folds=0, seeds=5)
    methods = list(SEARCHES)
    options.add_argument("--methods", type=lambda text: text.split(","), default=methods, metavar="NAME,…")
    options.add_argument("--evaluations", type=int, default=max(KS), metavar="N", help="of each run")
    options.add_argument("--overhead", action="store_true", help="time ask and tell instead")
    arguments = parse_arguments(options, "suite", "methods", "evaluations")
    if arguments.overhead:
        measured = {"with noise": time_overhead(1e-3), "without noise": time_overhead(0.0)}
        rows: Cells = [[trials, Figure(seconds, form="{:.3f}")] for trials, seconds in measured.items()]
        report = Report("overhead", __doc__ or "", arguments)
        report.add(Figures(f"Ask and tell after {OVERHEAD_TRIALS} trials", ["trials", "seconds"], rows))
        report.publish()
        return
    if unknown := [name for name in arguments.methods if name not in SEARCHES]:
        raise UnknownNameError(f"'{unknown[0]}' is not a method. {did_you_mean(unknown[0], methods)}")
    n_seeds, n = arguments.seeds, arguments.evaluations
    if arguments.quick:
        n_seeds, n = 1, min(n, QUICK_EVALUATIONS)
    ks = [k for k in KS if k <= n]
    report = Report("refinement", __doc__ or "", arguments)
    with Parallel(n_jobs=arguments.jobs) as workers:
        for suite, tasks in read_suites(arguments, QUICK_TASKS):
            of = {
                method: average_curves(method, suite, tasks, arguments.folds, n_seeds, n, workers)
                for method in arguments.methods
            }
            shown = {name: values[:, [k - 1 for k in ks]] for name, values in of.items()}
            by_method: Cells = [[name, *average(values, "{:.4f} ± {:.4f}")] for name, values in shown.items()]
            title = f"{suite.name}: regret after k evaluations, {len(tasks)} tasks"
            report.add(Figures(title, ["method", *map(str, ks)], by_method))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
