"""Search strategies by name: Optuna's samplers through its public API, and a grid.

Optuna sees a number as a float in [0, 1]: its coordinate in the unit cube, where a special value (`reg_alpha=0`)
continues the axis. It sees a categorical as the index of its choice.

Several learners: `random` and `tpe` have one study with a categorical `learner`; a configuration has only the active
hyperparameters of its learner. `gp`, `cmaes` and `nsga2` need the same axes in every trial, and a grid is a product of
axes: there every learner has a study or grid, they take turns, and Optuna sees inactive hyperparameters too.
"""

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol

import numpy as np
import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState
from scipy.stats import qmc

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.space import Categorical, Hyperparameter, SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.strategy import Observation, Strategy, Suggestion, check_configuration, upgrade_observation

# Number of trials before TPE and GP have a model: Optuna's default. Warm points count.
N_STARTUP = 10
# With Optuna's default of 50, a run of forty trials would be a random search.
POPULATION_SIZE = 10
# CMA-ES starts from the best tenth of the given trials, and fails where that is no trial.
MIN_SOURCES = 10
# How often a sampler that repeats itself is asked again; then, how many changed copies of its last point are tried.
N_ASKS = 5
N_CHANGED = 1000
# Low, middle and high on every numeric axis.
N_LEVELS = 3
# Length of the walk over the grid: a power of two for Sobol sequences, and more than the trials of any run.
N_WALK = 4096

LEARNER = "learner"


class _Proposer(Protocol):
    """A source of new configurations; `RoundRobin` keeps account of the known ones."""

    def propose(self, seen: set[str]) -> Suggestion | None:
        """A configuration whose id is not in `seen`; None where none is left."""

    def begin(self, configuration: Configuration) -> None:
        """Learn that a configuration is being tried that this proposer did not choose."""

    def tell(self, observation: Observation) -> None:
        """Learn the result of a trial."""


class RoundRobin:
    """A `Strategy` that gives the warm points first and then proposals of its proposers in turn, nothing twice.

    Args:
        spaces: Search spaces, one per learner.
        warm: Suggestions to give first, in this order; empty for a cold start.
        proposers: Sources of all further configurations; with more than one, the i-th belongs to the i-th space.

    Raises:
        UnknownNameError, OutOfRangeError: a warm point is in none of the spaces.
    """

    def __init__(
        self, spaces: Sequence[SearchSpace], warm: Sequence[Suggestion], proposers: Sequence[_Proposer]
    ) -> None:
        self._spaces = {space.learner: space for space in spaces}
        self._proposers = proposers
        owners = proposers if len(proposers) > 1 else [proposers[0]] * len(spaces)
        self._proposer_of = dict(zip(self._spaces, owners, strict=True))
        for suggestion in warm:
            check_configuration(suggestion.configuration, self._spaces)
        self._warm = deque(warm)
        self._seen: set[str] = set()
        self._n_trials = 0

    def ask(self) -> Suggestion | None:
        """The next configuration, new to this search; None where none is left."""
        while self._warm:
            suggestion = self._warm.popleft()
            if suggestion.configuration.id not in self._seen:
                self._proposer_of[suggestion.configuration.learner].begin(suggestion.configuration)
                return self._record_suggestion(suggestion)
        # Told trials count too, so that a resumed run continues with the learner whose turn it is.
        turn = self._n_trials % len(self._proposers)
        for proposer in (*self._proposers[turn:], *self._proposers[:turn]):
            proposed = proposer.propose(self._seen)
            if proposed is not None:
                return self._record_suggestion(proposed)
        return None

    def tell(self, observation: Observation) -> None:
        """Learn from a trial: one that was asked for, a user's own, or one of an earlier run.

        Raises:
            UnknownNameError, OutOfRangeError: the configuration is in none of the search spaces.
        """
        observation = upgrade_observation(observation, self._spaces)
        self._proposer_of[observation.asked.learner].tell(observation)
        self._record(observation.asked)
        self._seen.add(observation.configuration.id)

    def _record_suggestion(self, suggestion: Suggestion) -> Suggestion:
        self._record(suggestion.configuration)
        return suggestion

    def _record(self, configuration: Configuration) -> None:
        self._n_trials += configuration.id not in self._seen
        self._seen.add(configuration.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Method:
    """How to make and use one of Optuna's samplers.

    Attributes:
        sampler: Makes the sampler from a seed and the complete trials that the sampler did not choose itself.
        n_startup: Number of finite trials before the first proposal that learns from them.
        is_joint: Whether one study can hold several learners and conditional hyperparameters.
        is_numeric: Whether a categorical is given to the sampler as a number.
        has_generations: Whether the trials form generations.
    """

    sampler: Callable[[int, list[FrozenTrial]], BaseSampler]
    n_startup: float
    is_joint: bool = False
    is_numeric: bool = False
    has_generations: bool = False


class _SamplerProposer:
    """Proposals of an Optuna sampler.

    Each proposal has a new sampler, seeded by (seed, number of trials so far). So the next proposal depends on the
    known trials and not on the start of the process, and a resumed run does not repeat its first points. CMA-ES and
    NSGA-II keep their state in the study.
    """

    def __init__(self, spaces: Sequence[SearchSpace], method: _Method, seed: int) -> None:
        self._spaces = {space.learner: space for space in spaces}
        self._method = method
        self._seed = seed
        with _silence_optuna():
            self._study = optuna.create_study(direction="minimize", sampler=method.sampler(0, []))
        self._pending: dict[str, Trial] = {}
        self._begun: set[int] = set()
        self._n_trials = 0
        self._n_finite = 0

    def propose(self, seen: set[str]) -> Suggestion | None:
        """The proposal of the sampler; where it repeats itself, a changed copy of its last point that is new."""
        is_informed = self._n_finite >= self._method.n_startup
        origin = Origin.POSTERIOR if is_informed else Origin.DESIGN
        known = [
            trial
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if trial.number in self._begun
        ]
        for attempt in range(N_ASKS):
            self._study.sampler = self._method.sampler(_derive_seed(self._seed, self._n_trials, attempt), known)
            with _silence_optuna():
                trial = self._study.ask()
                configuration = self._suggest(trial)
            if configuration.id not in seen:
                self._pending[configuration.id] = trial
                self._n_trials += 1
                return Suggestion(configuration, origin)
            self._study.tell(trial, state=TrialState.FAIL)
        rng = np.random.default_rng([self._seed, self._n_trials])
        for space in sorted(self._spaces.values(), key=lambda space: space.learner != configuration.learner):
            start = configuration if space.learner == configuration.learner else space.default
            changed = _change_until_new(space, start, seen, rng)
            if changed is not None:
                self.begin(changed)
                return Suggestion(changed, origin)
        return None

    def begin(self, configuration: Configuration) -> None:
        """Enter `configuration` as a running trial."""
        self._study.enqueue_trial(self._make_parameters(configuration))
        trial = self._study.ask()
        if self._method.has_generations:
            # Reading the sampler's values makes the trial a member of the current generation, as if the sampler had
            # chosen it; the enqueued values are still used.
            _ = trial.relative_params
        self._suggest(trial)
        self._pending[configuration.id] = trial
        self._begun.add(trial.number)
        self._n_trials += 1

    def tell(self, observation: Observation) -> None:
        """Finish the trial; without a finite loss it counts as failed."""
        if observation.asked.id not in self._pending:
            self.begin(observation.asked)
        trial = self._pending.pop(observation.asked.id)
        if math.isfinite(observation.loss):
            self._n_finite += 1
            self._study.tell(trial, observation.loss)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _suggest(self, trial: Trial) -> Configuration:
        learners = list(self._spaces)
        learner = trial.suggest_categorical(LEARNER, learners) if len(learners) > 1 else learners[0]
        space = self._spaces[learner]
        point = np.full(len(space), np.nan)
        for index, axis in enumerate(space):
            # Parents come before their children, so the first part of the point says which axes are active.
            is_asked = axis.only_if is None or not self._method.is_joint
            if is_asked or axis.name in space.from_unit(point)[0].values:
                point[index] = self._suggest_position(trial, f"{learner}.{axis.name}", axis)
        return space.from_unit(point)[0]

    def _suggest_position(self, trial: Trial, name: str, axis: Hyperparameter) -> float:
        if isinstance(axis, Categorical) and not self._method.is_numeric:
            return (trial.suggest_categorical(name, range(len(axis.choices))) + 0.5) / len(axis.choices)
        return trial.suggest_float(name, 0.0, 1.0)

    def _make_parameters(self, configuration: Configuration) -> dict[str, float | int | str]:
        learner, space = configuration.learner, self._spaces[configuration.learner]
        parameters: dict[str, float | int | str] = {LEARNER: learner} if len(self._spaces) > 1 else {}
        for axis, position in zip(space, space.to_unit([configuration])[0], strict=True):
            at = axis.to_unit(axis.default) if math.isnan(position) else float(position)
            if isinstance(axis, Categorical) and not self._method.is_numeric:
                parameters[f"{learner}.{axis.name}"] = min(int(at * len(axis.choices)), len(axis.choices) - 1)
            else:
                parameters[f"{learner}.{axis.name}"] = at
        return parameters


class _GridProposer:
    """All combinations of a few levels per axis; the first points of the order are always spread over the grid.

    Optuna's `GridSampler` holds the whole product in memory (350,000 points on lightgbm's twelve axes), shuffles it
    without balance, and does not count configurations that were enqueued or added. Here a scrambled Sobol sequence
    walks over the grid; the points that it left out follow. The order does not depend on told trials, so a resumed run
    continues where it stopped.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._points = _walk_grid(space, seed)

    def propose(self, seen: set[str]) -> Suggestion | None:
        """The next point of the grid; None at its end."""
        for point in self._points:
            [configuration] = self._space.from_unit(point)
            if configuration.id not in seen:
                return Suggestion(configuration, Origin.DESIGN)
        return None

    def begin(self, configuration: Configuration) -> None:
        """Do nothing: `propose` gets all known configurations in `seen`."""

    def tell(self, observation: Observation) -> None:
        """Do nothing: a grid does not learn."""


def _walk_grid(space: SearchSpace, seed: int) -> Iterator[np.ndarray]:
    levels = [_find_levels(axis) for axis in space]
    shape = np.array([len(each) for each in levels])
    walk = (qmc.Sobol(len(space), rng=seed).random(N_WALK) * shape).astype(int)
    for cell in chain(np.minimum(walk, shape - 1), np.ndindex(*shape)):
        yield np.array([each[level] for each, level in zip(levels, cell, strict=True)])


def _find_levels(axis: Hyperparameter) -> np.ndarray:
    """Positions on the unit axis: every choice, or even levels of which the nearest to the default is moved there."""
    n = len(axis.choices) if isinstance(axis, Categorical) else N_LEVELS
    levels = (np.arange(n) + 0.5) / n
    default = axis.to_unit(axis.default)
    levels[np.argmin(np.abs(levels - default))] = default
    # Two levels of an integer with a short range may have the same value.
    return np.array(list({axis.from_unit(level): level for level in levels}.values()))


def _change_until_new(
    space: SearchSpace, configuration: Configuration, seen: set[str], rng: np.random.Generator
) -> Configuration | None:
    """The configuration with more and more hyperparameters redrawn until it is new; None after `N_CHANGED` draws."""
    [start] = space.to_unit([configuration])
    # An inactive axis needs a position too, because it may become active.
    start = np.where(np.isnan(start), rng.random(len(space)), start)
    for share in np.linspace(1.0 / max(len(space), 1), 1.0, N_CHANGED):
        point = np.where(rng.random(len(space)) < share, rng.random(len(space)), start)
        [changed] = space.from_unit(point)
        if changed.id not in seen:
            return changed
    return None


def _derive_seed(*keys: int) -> int:
    return int(np.random.SeedSequence(keys).generate_state(1)[0])


@contextmanager
def _silence_optuna() -> Iterator[None]:
    """Silence Optuna's messages while the body runs, and then restore the user's log level."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _make_random_sampler(seed: int, known: list[FrozenTrial]) -> BaseSampler:
    return RandomSampler(seed=seed)


def _make_tpe_sampler(seed: int, known: list[FrozenTrial]) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=N_STARTUP)


def _make_gp_sampler(seed: int, known: list[FrozenTrial]) -> BaseSampler:
    return GPSampler(seed=seed, n_startup_trials=N_STARTUP, warn_independent_sampling=False)


def _make_cmaes_sampler(seed: int, known: list[FrozenTrial]) -> BaseSampler:
    """CMA-ES that starts at the best `known` trials: warm points, a user's own, and those of an earlier run.

    The best tenth of these trials gives mean and spread. A resumed run starts a new covariance there, because the
    evolution path of the old one is not public. Without known trials the start is the middle of the cube.
    """
    sources = known * math.ceil(MIN_SOURCES / len(known)) if known else None
    with warnings.catch_warnings():
        # `source_trials` is experimental, but the only public way to set the start: `x0` and `sigma0` are deprecated.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return CmaEsSampler(seed=seed, source_trials=sources, warn_independent_sampling=False)


def _make_nsga2_sampler(seed: int, known: list[FrozenTrial]) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=POPULATION_SIZE)


_METHODS: dict[str, _Method] = {
    "random": _Method(sampler=_make_random_sampler, n_startup=math.inf, is_joint=True),
    "tpe": _Method(sampler=_make_tpe_sampler, n_startup=N_STARTUP, is_joint=True),
    "gp": _Method(sampler=_make_gp_sampler, n_startup=N_STARTUP),
    # CMA-ES draws categoricals at random and never learns from them; as numbers they have an order to learn from.
    "cmaes": _Method(sampler=_make_cmaes_sampler, n_startup=1, is_numeric=True),
    # Told trials join the generations in the order of telling, so that a resumed run breeds from them.
    "nsga2": _Method(sampler=_make_nsga2_sampler, n_startup=POPULATION_SIZE, has_generations=True),
}


def _make_sampler_search(
    method: _Method, spaces: Sequence[SearchSpace], seed: int, warm: Sequence[Suggestion]
) -> Strategy:
    if method.is_joint:
        return RoundRobin(spaces, warm, [_SamplerProposer(spaces, method, seed)])
    return RoundRobin(
        spaces, warm, [_SamplerProposer([space], method, _derive_seed(seed, i)) for i, space in enumerate(spaces)]
    )


def _make_grid_search(spaces: Sequence[SearchSpace], seed: int, warm: Sequence[Suggestion]) -> Strategy:
    return RoundRobin(spaces, warm, [_GridProposer(space, _derive_seed(seed, i)) for i, space in enumerate(spaces)])


# Builds a strategy without trials from spaces, a seed and warm points.
Build = Callable[[Sequence[SearchSpace], int, Sequence[Suggestion]], Strategy]

STRATEGIES: Mapping[str, Build] = {
    "grid": _make_grid_search,
    **{name: partial(_make_sampler_search, method) for name, method in _METHODS.items()},
}


def make_named_strategy(
    name: str, spaces: Sequence[SearchSpace], *, seed: int, warm: Sequence[Suggestion] = ()
) -> Strategy:
    """The strategy called `name`.

    Args:
        name: One of `STRATEGIES`.
        spaces: Search spaces, one per learner.
        seed: Seed and told trials together decide all suggestions.
        warm: Suggestions to give first; empty for a cold start.

    Raises:
        UnknownNameError: no such strategy, or a warm point of a learner without a space.
        OutOfRangeError: a warm point outside its space.
        InputError: no space, or two of the same learner.
    """
    if name not in STRATEGIES:
        raise UnknownNameError(f"'{name}' is not a search strategy. {did_you_mean(name, list(STRATEGIES))}")
    learners = [space.learner for space in spaces]
    if not learners or len(set(learners)) < len(learners):
        raise InputError(f"A search needs one search space per learner, got {', '.join(learners) or 'none'}.")
    return STRATEGIES[name](spaces, seed, warm)
