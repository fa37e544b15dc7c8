"""Regret of sequential search on published look-up tables, each task left out and all others known.

    python scripts/benchmark_refinement.py [--suite hylap_svm] [--methods transfer,tpe,gp,random] [--seeds 5] [--jobs 2]
        [--folds 10]
    python scripts/benchmark_refinement.py --overhead

Range-scaled regret after k evaluations, (best so far - best) / (worst - best) of the task: mean over tasks and its
standard error. All tasks count but those whose best equals their worst. Each method chooses among the configurations
of the table: a proposal of Optuna's samplers is moved to the nearest one in the unit cube that was not evaluated yet,
and that one is told. `--folds` leaves tasks out together, which takes fewer trainings. `--data DIR` takes other tables
of the same form (see `_lookups.py`). `--overhead` instead times ask and tell of `transfer` with 425 past tasks, 200
trials and a pool of 10,000, on a task whose trials tell their noise and on one whose trials do not.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _benchmark import ROOT, parser, report, seed_of, write
from _lookups import Suite, load_suite
from joblib import Parallel, delayed

from metahp.api.tuning.tune import N_WARM_TRANSFER
from metahp.core.configuration import Configuration
from metahp.core.task import TaskType
from metahp.core.trial import Origin
from metahp.evaluation.design import design
from metahp.learners.registry import learner_named
from metahp.refinement.posterior import MixtureSettings
from metahp.refinement.strategies import strategy_named
from metahp.refinement.strategy import Observation, Strategy, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.surrogate.calibration import fit_calibrated
from metahp.surrogate.gaussian_process import Interpolation, Kernel
from metahp.surrogate.prior import PastTasks, Prior, draw_scenarios
from metahp.surrogate.selection import greedy_batch
from metahp.surrogate.validation import group_folds

SUITES = ("hylap_svm", "hylap_adaboost", "pmlb_sklearn", "openml_adaboost", "openml_random_forest", "quantile_xgboost")
METHODS = ("transfer", "tpe", "gp", "random")
KS = (1, 3, 5, 10, 15, 20, 25, 30, 50, 100)
# A past of so many tasks, and a task in the middle of its run.
OVERHEAD_TASKS, OVERHEAD_TRIALS = 425, 200

# A suite, the place of a task in it, those of the tasks known, evaluations and seed, to the places evaluated.
Choose = Callable[[Suite, int, tuple[int, ...], int, int], list[int]]
# What was learned last, by suite, tasks known and seed: tasks left out together share it.
_learned: dict[tuple[str, tuple[int, ...], int], PastTasks] = {}


def _past_tasks(suite: Suite, known: tuple[int, ...], seed: int) -> PastTasks:
    key = suite.name, known, seed
    if key not in _learned:
        _learned.clear()
        _learned[key] = fit_calibrated(suite.evidence().rows(np.array(known)), seed=seed)
    return _learned[key]


def transfer(suite: Suite, task: int, known: tuple[int, ...], n: int, seed: int) -> list[int]:
    """Places of the `n` configurations that the strategy evaluates, knowing the tasks `known`."""
    table, losses = suite.configurations[task], suite.losses[task]
    past = _past_tasks(suite, known, seed)
    prior = past.prior(None if suite.metafeatures is None else suite.metafeatures[task])
    scenarios = prior.at(table)
    scenarios = replace(scenarios, values=np.minimum(scenarios.values, MixtureSettings().clip))
    batch = greedy_batch(*draw_scenarios(scenarios, local=prior.local), N_WARM_TRANSFER)
    warm = [Suggestion(table[i], Origin.SURROGATE) for i in batch]
    search = Transfer(prior, suite.spaces, table=table, warm=warm, seed=seed, device="cpu")
    place = {each.id: index for index, each in enumerate(table)}
    chosen: list[int] = []
    while len(chosen) < n and (suggestion := search.ask()):
        chosen.append(place[suggestion.configuration.id])
        search.tell(Observation(suggestion.configuration, float(losses[chosen[-1]])))
    return chosen


def sampled(name: str) -> Choose:
    """The choice of one of Optuna's samplers, from cold."""

    def choose(suite: Suite, task: int, known: tuple[int, ...], n: int, seed: int) -> list[int]:
        table, losses = suite.configurations[task], suite.losses[task]
        search = strategy_named(name, suite.spaces, seed=seed_of(suite.tasks[task], seed))
        nearest = _Nearest(suite, table)
        chosen: list[int] = []
        while len(chosen) < n:
            chosen.append(_told(search, nearest, table, losses))
        return chosen

    return choose


def _told(search: Strategy, nearest: "_Nearest", table: Sequence[Configuration], losses: np.ndarray) -> int:
    suggestion = search.ask()
    place = nearest.take(suggestion.configuration if suggestion else None)
    if suggestion and suggestion.configuration != table[place]:
        # Samplers pass over failed trials; pending, the proposal would keep them away from its surroundings.
        search.tell(Observation(suggestion.configuration, float("inf")))
    search.tell(Observation(table[place], float(losses[place])))
    return place


class _Nearest:
    """Which configurations of a table are left, by learner as points of its unit cube."""

    def __init__(self, suite: Suite, table: Sequence[Configuration]) -> None:
        self._spaces = {space.learner: space for space in suite.spaces}
        self._places = {
            learner: np.array([i for i, each in enumerate(table) if each.learner == learner], dtype=int)
            for learner in self._spaces
        }
        self._points = {
            learner: np.nan_to_num(space.to_unit([table[i] for i in self._places[learner]]), nan=0.5)
            for learner, space in self._spaces.items()
        }
        self._is_left = np.ones(len(table), dtype=bool)

    def take(self, proposal: Configuration | None) -> int:
        """The place of the nearest one left, of the same learner where there is one; it is not left any more."""
        place = int(np.flatnonzero(self._is_left)[0])
        if proposal is not None and self._is_left[self._places[proposal.learner]].any():
            point = np.nan_to_num(self._spaces[proposal.learner].to_unit([proposal]), nan=0.5)
            distance = ((self._points[proposal.learner] - point) ** 2).sum(axis=1)
            own = self._places[proposal.learner]
            place = int(own[np.where(self._is_left[own], distance, np.inf).argmin()])
        self._is_left[place] = False
        return place


def random(suite: Suite, task: int, known: tuple[int, ...], n: int, seed: int) -> list[int]:
    """A random order."""
    return np.random.default_rng([seed, task]).permutation(len(suite.losses[task]))[:n].tolist()


CHOICES: Mapping[str, Choose] = {"transfer": transfer, "tpe": sampled("tpe"), "gp": sampled("gp"), "random": random}


def regrets(method: str, suite: Suite, task: int, known: tuple[int, ...], n: int, seed: int) -> np.ndarray:
    """Range-scaled regret after 1 to n evaluations, shape (n,); 0 once the table is used up."""
    losses = suite.losses[task]
    chosen = CHOICES[method](suite, task, known, min(n, len(losses)), seed)
    best = np.minimum.accumulate(losses[chosen])
    curve = (best - losses.min()) / (losses.max() - losses.min())
    return np.concatenate([curve, np.full(n - len(curve), curve[-1])])


def overhead(noise: float) -> float:
    """Median seconds of ask and tell late in a run, with past tasks of random but smooth losses.

    `noise` is the standard error that trials tell.
    """
    learner = learner_named("lightgbm")
    space = learner.space(TaskType.BINARY)
    known = [configuration for configuration, _ in design(learner, TaskType.BINARY, OVERHEAD_TRIALS)]
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
    search = Transfer(prior, [space], stopped_early=[learner.name], seed=0)
    target = rng.normal(size=n_columns)

    def loss(configuration: Configuration) -> float:
        return 0.01 * abs(float(kernel.inputs([configuration])[0] @ target))

    for configuration in known:
        search.tell(Observation(configuration, loss(configuration), noise))
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        suggestion = search.ask()
        asked = time.perf_counter() - start
        assert suggestion is not None
        value = loss(suggestion.configuration)
        start = time.perf_counter()
        search.tell(Observation(suggestion.configuration, value, noise))
        seconds.append(asked + time.perf_counter() - start)
    return float(np.median(seconds))


def suites_in(folder: Path) -> list[str]:
    """The known suites of a folder, or, where there is none of them, its other tables."""
    found = [name for name in SUITES if (folder / f"{name}.parquet").exists()]
    return found or sorted(each.stem for each in folder.glob("*.parquet") if not each.stem.endswith("_metafeatures"))


def main() -> None:
    """Run, print, and write where asked."""
    options = parser(__doc__, data=ROOT.parent / "shared" / "transfer_benchmarks")
    options.add_argument("--suite", action="append", metavar="NAME", help="repeatable; default: all of the folder")
    options.add_argument("--methods", type=lambda text: text.split(","), default=METHODS, metavar="NAME,…")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--folds", type=int, default=0, help="over the tasks; 0 leaves each task out alone")
    options.add_argument("--evaluations", type=int, default=max(KS), metavar="N", help="of each run")
    options.add_argument("--jobs", type=int, default=2)
    options.add_argument("--overhead", action="store_true", help="time ask and tell instead")
    arguments = options.parse_args()
    if arguments.overhead:
        name = f"ask_tell_seconds@{OVERHEAD_TRIALS}"
        figures = {f"overhead/{name}": overhead(1e-3), f"overhead_without_noise/{name}": overhead(float("nan"))}
        report("Ask and tell", ["figure", "seconds"], [[name, f"{value:.3f}"] for name, value in figures.items()])
        write(arguments.json, figures)
        return
    names, seeds, n = arguments.suite or suites_in(arguments.data), arguments.seeds, arguments.evaluations
    if arguments.quick:
        names, seeds, n = names[:1], 1, min(n, 10)
    ks = [k for k in KS if k <= n]
    figures = {}
    with Parallel(n_jobs=arguments.jobs) as workers:
        for name in names:
            suite = load_suite(name, arguments.data)
            tasks = [i for i, task in enumerate(suite.tasks) if not arguments.tasks or task in arguments.tasks]
            tasks = tasks[:4] if arguments.quick else tasks
            rows = []
            for method in arguments.methods:
                runs = [
                    (int(task), tuple(map(int, train)), seed)
                    for seed in range(seeds)
                    for train, test in group_folds(suite.tasks, arguments.folds or len(suite.tasks), seed=seed)
                    for task in test
                    if task in tasks
                ]
                curves = workers(delayed(regrets)(method, suite, task, known, n, seed) for task, known, seed in runs)
                of_task = np.array([task for task, _, _ in runs])
                by_task = np.array([np.mean(np.array(curves)[of_task == task], axis=0) for task in tasks])
                mean = by_task.mean(axis=0)
                error = by_task.std(axis=0, ddof=min(1, len(tasks) - 1)) / np.sqrt(len(tasks))
                for k in ks:
                    figures[f"{name}/{method}/regret@{k}"] = float(mean[k - 1])
                    figures[f"{name}/{method}/standard_error@{k}"] = float(error[k - 1])
                rows.append([method, *(f"{mean[k - 1]:.4f} ± {error[k - 1]:.4f}" for k in ks)])
            report(f"{name}: regret after k evaluations, {len(tasks)} tasks", ["method", *map(str, ks)], rows)
            write(arguments.json, figures)


if __name__ == "__main__":
    main()
