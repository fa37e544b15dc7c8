"""The methods that benchmarks compare, in tables by name.

`ADVICE`: which candidates to try first on a task. `WEIGHTS`: the past tasks that a portfolio is made for. `SEARCHES`:
what searches a task of a look-up suite. `PEERS`: other tools, which train on the rows of a table.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import derive_seed
from benchmarks.suites import Suite
from benchmarks.tables import LEARNER, TrainTest
from metahp import Configuration, SearchSpace, Table, TaskType, Trial, api
from metahp.core.trial import Origin, TrialState
from metahp.evaluation.backend import Backend, InTurn, Outcome
from metahp.evaluation.losses import compute_constant_losses
from metahp.evaluation.protocol import measure
from metahp.refinement.posterior import MixtureSettings
from metahp.refinement.strategies import make_named_strategy
from metahp.refinement.strategy import Observation, Strategy, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.study.loop import MemoryLog, run_search
from metahp.study.request import Budget, Start
from metahp.study.strategy import make_strategy, order_suggestions
from metahp.surrogate.calibration import fit_calibrated
from metahp.surrogate.prior import PastTasks, Prior, Scenarios, draw_scenarios
from metahp.surrogate.selection import choose_greedy_batch

# The budget that `recommend` and `tune` give the meta-features.
BUDGET_SECONDS = 2.0
N_NEAREST = 15
PORTFOLIO, NEAREST = "greedy portfolio", f"{N_NEAREST}-nearest portfolio"


def weigh_equally(known: np.ndarray, own: np.ndarray | None, whole: np.ndarray) -> np.ndarray:
    """Equal weights of the past tasks that have all learners, shape (t,)."""
    return whole / whole.sum()


def weigh_nearest(known: np.ndarray, own: np.ndarray | None, whole: np.ndarray) -> np.ndarray:
    """Equal weights of the `N_NEAREST` past tasks with the nearest meta-features, or of all where there are none."""
    if own is None:
        return weigh_equally(known, own, whole)
    spread = np.nanstd(known, axis=0)
    apart = np.nan_to_num((known - own) / np.where(spread > 0, spread, 1.0))
    distance = np.where(whole, (apart**2).sum(axis=1), np.inf)
    near = np.argsort(distance, kind="stable")[: min(N_NEAREST, int(whole.sum()))]
    return np.isin(np.arange(len(known)), near) / len(near)


# Meta-features of past tasks (t, m) and of the new one (m,), and which past tasks have all learners (t,).
WEIGHTS: Mapping[str, Callable[[np.ndarray, np.ndarray | None, np.ndarray], np.ndarray]] = {
    PORTFOLIO: weigh_equally,
    NEAREST: weigh_nearest,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class NewTask:
    """What to try first on a task with these meta-features: of the candidates `among`, of all where that is None."""

    past: PastTasks
    prior: Prior
    metafeatures: np.ndarray
    among: np.ndarray | None = None


def advise_metahp(task: NewTask, k: int) -> list[int]:
    """The first k of metahp."""
    return task.prior.batch(k, task.among)


def advise_default(task: NewTask, k: int) -> list[int]:
    """The default of the first learner, and nothing else."""
    return list(task.past.evidence.defaults.values())[:1]


def advise_portfolio(name: str, task: NewTask, k: int) -> list[int]:
    """The first k of the portfolio for past tasks with the weights of that name."""
    past = task.past
    weights = WEIGHTS[name](past.evidence.metafeatures, task.metafeatures, past.whole)
    return replace(past.prior(None), weights=weights).batch(k, task.among)


# Columns of `past.evidence`.
ADVICE: Mapping[str, Callable[[NewTask, int], list[int]]] = {
    "metahp": advise_metahp,
    PORTFOLIO: partial(advise_portfolio, PORTFOLIO),
    NEAREST: partial(advise_portfolio, NEAREST),
    "default": advise_default,
}


def choose_batch(prior: Prior, scenarios: Scenarios, k: int) -> list[int]:
    """Places of the first k of the configurations that the scenarios are of, as metahp chooses them."""
    return choose_greedy_batch(*draw_scenarios(scenarios, local=prior.local), k)


def run_trials(
    search: Strategy, backend: Backend[Suggestion], n_trials: int, metric: str, spaces: Sequence[SearchSpace]
) -> list[Trial]:
    """The trials of a search: `n_trials`, or all that it asks for."""
    log = MemoryLog(metric, spaces)
    run_search(search, backend, log, Budget(trials=n_trials), make_job=lambda suggestion: suggestion)
    return log.trials


class Nearest:
    """A search of spaces, as one of the configurations of a look-up task.

    What it asks for is moved to the nearest configuration that is left, of the same learner where there is one.
    """

    def __init__(self, search: Strategy, suite: Suite, task: int) -> None:
        self._search, self._table = search, suite.configurations[task]
        self._spaces = {space.learner: space for space in suite.spaces}
        self._places = {
            learner: np.array([i for i, each in enumerate(self._table) if each.learner == learner], dtype=int)
            for learner in self._spaces
        }
        self._points = {
            learner: np.nan_to_num(space.to_unit([self._table[i] for i in self._places[learner]]), nan=0.5)
            for learner, space in self._spaces.items()
        }
        self._is_left = np.ones(len(self._table), dtype=bool)
        self._proposal: Suggestion | None = None

    def ask(self) -> Suggestion | None:
        """The configuration that is nearest to the search's proposal, the first one left where it has none."""
        if not self._is_left.any():
            return None
        self._proposal = self._search.ask()
        place = int(np.flatnonzero(self._is_left)[0])
        if self._proposal and self._is_left[self._places[self._proposal.configuration.learner]].any():
            learner = self._proposal.configuration.learner
            point = np.nan_to_num(self._spaces[learner].to_unit([self._proposal.configuration]), nan=0.5)
            distance = ((self._points[learner] - point) ** 2).sum(axis=1)
            places = self._places[learner]
            place = int(places[np.where(self._is_left[places], distance, np.inf).argmin()])
        self._is_left[place] = False
        return Suggestion(self._table[place], self._proposal.origin if self._proposal else Origin.DESIGN)

    def tell(self, observation: Observation) -> None:
        """Tell the search, and that its proposal failed where another configuration was nearest."""
        if self._proposal and self._proposal.configuration != observation.configuration:
            # Samplers pass over failed trials; pending, the proposal would keep them away from its surroundings.
            self._search.tell(Observation(configuration=self._proposal.configuration, loss=float("inf")))
        self._search.tell(observation)


class Shuffled:
    """A search that tries configurations in a random order."""

    def __init__(self, configurations: Sequence[Configuration], rng: np.random.Generator) -> None:
        self._left = iter([configurations[i] for i in rng.permutation(len(configurations))])

    def ask(self) -> Suggestion | None:
        """The next one."""
        return next((Suggestion(configuration, Origin.DESIGN) for configuration in self._left), None)

    def tell(self, observation: Observation) -> None:
        """Nothing: the order is fixed."""


# Makes the search of a task, by its place in the suite.
MakeSearch = Callable[[int], Strategy]


def search_by_transfer(suite: Suite, known: Sequence[int], seed: int) -> MakeSearch:
    """Searches that begin with what past tasks say, and go on learning from them."""
    past = fit_calibrated(suite.evidence().rows(np.array(known)), seed=seed)

    def search_of(task: int) -> Strategy:
        table = suite.configurations[task]
        prior = past.prior(None if suite.metafeatures is None else suite.metafeatures[task])
        scenarios = prior.at(table)
        scenarios = replace(scenarios, values=np.minimum(scenarios.values, MixtureSettings().clip))
        warm = [Suggestion(table[i], Origin.SURROGATE) for i in choose_batch(prior, scenarios, Start().n_warm)]
        return Transfer(prior, suite.spaces, table=table, warm=warm, seed=seed, device="cpu")

    return search_of


def search_by_sampler(name: str, suite: Suite, known: Sequence[int], seed: int) -> MakeSearch:
    """Searches by one of Optuna's samplers, from cold."""

    def search_of(task: int) -> Strategy:
        search = make_named_strategy(name, suite.spaces, seed=derive_seed(suite.tasks[task], seed))
        return Nearest(search, suite, task)

    return search_of


def search_at_random(suite: Suite, known: Sequence[int], seed: int) -> MakeSearch:
    """Searches in a random order."""
    return lambda task: Shuffled(suite.configurations[task], np.random.default_rng([seed, task]))


# Of a suite, whose tasks at the places `known` are past tasks, and a seed.
SEARCHES: Mapping[str, Callable[[Suite, Sequence[int], int], MakeSearch]] = {
    "transfer": search_by_transfer,
    "tpe": partial(search_by_sampler, "tpe"),
    "gp": partial(search_by_sampler, "gp"),
    "random": search_at_random,
}


def tpe_key(n_trials: int) -> str:
    """What a cache calls so many trials of TPE."""
    return f"tpe@{n_trials} seeded by table"


def tpe(table: Table, seed: int) -> Strategy:
    """Optuna's TPE from cold."""
    return make_named_strategy("tpe", [LEARNER.space(table.task.type)], seed=seed)


def transfer(table: Table, past: PastTasks, metric: str, seed: int) -> Strategy:
    """What `metahp tune` does: recommended points and the default first, then what past tasks and trials say."""
    space, metafeatures = LEARNER.space(table.task.type), api.describe(table, budget_seconds=BUDGET_SECONDS).vector()
    constant = compute_constant_losses(table.y, table.task.type, table.task.n_classes)[metric]
    prior, start = past.prior(metafeatures, unit=constant), Start(device="cpu")
    points = [Suggestion(prior.candidates[i], Origin.SURROGATE) for i in prior.batch(start.n_warm)]
    ordered = order_suggestions((), points, [space.default])
    search, _ = make_strategy(start, prior, [space], ordered, seed=seed, stopped_early=[LEARNER.name])
    return search


def measure_trial(
    table: Table, configuration: Configuration, *, origin: Origin = Origin.USER, early_stopping: str = ""
) -> Trial:
    """A trial by the seed's protocol, measured in this process.

    Its seconds are those of a processor, as a busy machine must not count, and of them the share of fitting.

    Raises whatever the learner raises.
    """
    wall, start = time.perf_counter(), time.process_time()
    measured = measure(table, LEARNER, configuration, api.SEED_PROTOCOL, early_stopping=early_stopping)
    share = measured.fit_seconds / max(time.perf_counter() - wall, 1e-9)
    return Trial(
        task=table.task.id,
        configuration=measured.configuration,
        protocol=api.SEED_PROTOCOL,
        n_rows=measured.n_rows,
        state=TrialState.COMPLETE,
        origin=origin,
        fold_losses=measured.fold_losses,
        curve=measured.curve,
        fit_seconds=(time.process_time() - start) * min(share, 1.0),
    )


def search_table(
    table: Table, search: Strategy, n_trials: int, metric: str, *, stops_early: bool = False
) -> list[Trial]:
    """The trials of a search on a table, as `measure_trial` has them; their seconds with what the search takes."""
    ended = time.process_time()

    def evaluate(suggestion: Suggestion) -> Outcome:
        nonlocal ended
        seconds, configuration, origin = time.process_time() - ended, suggestion.configuration, suggestion.origin
        early_stopping = metric if stops_early and origin is not Origin.DEFAULT else ""
        try:
            trial = measure_trial(table, configuration, origin=origin, early_stopping=early_stopping)
        except Exception as error:  # whatever LightGBM raises is a failed trial
            trial = Trial(
                task=table.task.id,
                configuration=configuration,
                protocol=api.SEED_PROTOCOL,
                n_rows=0,
                state=TrialState.FAILED,
                origin=origin,
                fold_losses={},
                reason=f"{type(error).__name__}: {error}",
            )
        ended = time.process_time()
        return Outcome(replace(trial, fit_seconds=trial.fit_seconds + seconds), asked=configuration)

    return run_trials(search, InTurn(evaluate), n_trials, metric, [LEARNER.space(table.task.type)])


# What pytabkit calls the loss that it stops on.
_STOPPED_ON = {
    "neg_log_loss": "cross_entropy",
    "roc_auc": "1-auc_ovr",
    "roc_auc_ovr": "1-auc_ovr",
    "neg_root_mean_squared_error": "rmse",
}


def flaml(part: TrainTest, metric: str) -> np.ndarray:
    """Predictions of LightGBM as FLAML's zero-shot rules would have it on these training rows."""
    suggest_hyperparams = import_module("flaml.default").suggest_hyperparams
    kind = "classification" if part.train.task.type.is_classification else "regression"
    X_train, X_test = part.frames
    hyperparameters, estimator_class = suggest_hyperparams(kind, X_train, pd.Series(part.train.y), "lgbm")
    model = estimator_class(**{"random_state": 0, "n_jobs": 1, "verbose": -1, **hyperparameters})
    return predict_rows(model.fit(X_train, part.train.y), part, X_test)


def pytabkit(part: TrainTest, metric: str) -> np.ndarray:
    """Predictions of pytabkit's LGBM-TD, stopped early on a fifth of these training rows by the metric asked for.

    It takes no missing numbers: they become the median of the training rows.
    """
    suffix = "Classifier" if part.train.task.type.is_classification else "Regressor"
    estimator_class = getattr(import_module("pytabkit"), f"LGBM_TD_{suffix}")
    model = estimator_class(random_state=0, n_threads=1, device="cpu", val_metric_name=_STOPPED_ON[metric])
    X_train, X_test = part.frames
    medians = X_train.select_dtypes("number").median().fillna(0.0)
    return predict_rows(model.fit(X_train.fillna(medians), part.train.y), part, X_test.fillna(medians))


def predict_rows(model: Any, part: TrainTest, X_test: pd.DataFrame) -> np.ndarray:
    """Predictions of a fitted estimator for the test rows: probabilities of all classes of the task, or numbers."""
    if part.train.task.type is TaskType.REGRESSION:
        return np.asarray(model.predict(X_test), dtype=float).reshape(len(X_test))
    # A class that the training rows lack has no probability.
    probabilities = np.zeros((len(X_test), part.train.task.n_classes))
    probabilities[:, np.asarray(model.classes_, dtype=int)] = model.predict_proba(X_test)
    return probabilities


# Predictions for the test rows, by the metric that is scored.
FitPeer = Callable[[TrainTest, str], np.ndarray]
PEERS: Mapping[str, FitPeer] = {"flaml": flaml, "pytabkit": pytabkit}


def find_peers() -> list[str]:
    """The peers that are installed; one line for each that is not."""
    found = [name for name in PEERS if find_spec(name)]
    for name in PEERS:
        if name not in found:
            print(f"{name} is not installed, so it is left out; pip install -e '.[peers]' adds it.", file=sys.stderr)
    return found
