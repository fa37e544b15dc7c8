"""The `transfer` strategy: past tasks' scenarios and the trials so far say what to try next."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.acquisition import compute_expected_best_loss
from metahp.refinement.pool import N_LOCAL, compute_trust_region_side, make_fixed_pool, sample_trust_region
from metahp.refinement.posterior import (
    MIN_VARIANCE,
    Cross,
    MixtureSettings,
    Observed,
    Points,
    Posterior,
    find_torch_device,
)
from metahp.refinement.strategy import Observation, Suggestion, check_configuration, upgrade_observation
from metahp.refinement.task_process import TaskProcess
from metahp.surrogate.prior import Prior

# Weight of a candidate's own mean loss beside what it adds to the chosen ones.
TIE_BREAK = 1e-6
# So many times the iterations that seem best are asked for where early stopping will say how many to keep.
LONGER = 2
# From the best candidates of the pool the search climbs on: in trust regions with these sides, one after the other,
# with so many best candidates as centres and so many new ones around each. On 12 axes even 10,000 points are a coarse
# sample.
N_TOP, N_CLIMBING = 3, 33
CLIMBING_SIDES = (0.2, 0.14, 0.1, 0.07)


class Transfer:
    """A `Strategy`: the warm points, then the candidate of the greatest expected improvement.

    It is expected by the mixture of past tasks' scenarios (`metahp.refinement.posterior`); where trials tell their
    noise, from the fifth that finished by a process of the task's own (`metahp.refinement.task_process`).

    Args:
        prior: What past tasks say about this one.
        spaces: Search spaces, one per learner.
        table: Ask for nothing but these configurations (a look-up table) and the warm points; None for all of the
            spaces, of which the prior's candidates are then a part of the pool.
        warm: What is asked first, in this order.
        stopped_early: Learners of which fewer iterations may be told than were asked for; those get longer runs.
        seed: Decides, with what is told, all that is asked.
        device: `auto`, `cpu` or `cuda`.
        settings: What the posterior is made of.

    Raises:
        InputError: no space, two of the same learner, a prior whose unit is not above zero, or a device that is not
            there.
        UnknownNameError, OutOfRangeError: a warm point or candidate that is in none of the spaces.
    """

    def __init__(
        self,
        prior: Prior,
        spaces: Sequence[SearchSpace],
        *,
        table: Sequence[Configuration] | None = None,
        warm: Sequence[Suggestion] = (),
        stopped_early: Collection[str] = (),
        seed: int,
        device: str = "auto",
        settings: MixtureSettings | None = None,
    ) -> None:
        self._spaces = {space.learner: space for space in spaces}
        if not spaces or len(self._spaces) < len(spaces):
            learners = ", ".join(space.learner for space in spaces)
            raise InputError(f"A search needs one search space per learner, got {learners or 'none'}.")
        if not prior.unit > 0:
            raise InputError(f"The unit of the loss is a number above zero, got {prior.unit}.")
        self._prior, self._seed = prior, seed
        self._device = find_torch_device(device)
        self._settings = settings or MixtureSettings()
        self._is_table = table is not None
        candidates = prior.candidates if table is None else table
        self._stopped_early = frozenset(
            space.learner for space in spaces if space.learner in stopped_early and space.iteration_axis
        )
        for configuration in (*candidates, *(each.configuration for each in warm)):
            check_configuration(configuration, self._spaces)
        self._pool = make_fixed_pool(spaces, candidates, seed=seed) if table is None else list(table)
        self._indices = {each.id: place for place, each in enumerate(self._pool)}
        self._weights = torch.as_tensor(prior.weights, dtype=torch.float64, device=self._device)
        self._fixed = self._make_points(self._pool)
        self._variance = max(float((self._fixed.deviations**2).sum(dim=0).mean()), MIN_VARIANCE)
        self._is_open = torch.ones(len(self._pool), dtype=torch.bool, device=self._device)
        self._warm = deque(warm)
        # What the prior says of each configuration asked for or told, in that order, what it has to do with the pool,
        # and what was told of it.
        self._tried: dict[str, tuple[Points, Cross]] = {}
        self._told: dict[str, Observation] = {}
        # Of learners that are stopped early: places in the pool of what differs in iterations only, and up to how many
        # of them nothing is left to ask for.
        self._same: dict[str, list[int]] = {}
        for place, each in enumerate(self._pool):
            if each.learner in self._stopped_early:
                self._same.setdefault(self._find_stem(each), []).append(place)
        self._ran: dict[str, float] = {}
        # Ids of what was run where fewer iterations were told.
        self._runs: set[str] = set()

    @property
    def device(self) -> str:
        """Where the posterior is computed: `cpu` or `cuda`."""
        return self._device.type

    def ask(self) -> Suggestion | None:
        """The next configuration, never one that was asked for or told before; None where none is left."""
        while self._warm:
            suggestion = self._warm.popleft()
            if suggestion.configuration.id not in self._tried.keys() | self._runs:
                self._note(suggestion.configuration)
                return suggestion
        chosen = self._choose_best()
        if chosen is None:
            return None
        chosen = self._lengthen(chosen)
        self._note(chosen)
        return Suggestion(chosen, Origin.POSTERIOR)

    def tell(self, observation: Observation) -> None:
        """Learn from a trial: one that was asked for, a user's own, or one of an earlier run.

        Raises:
            UnknownNameError, OutOfRangeError: the configuration is in none of the search spaces.
        """
        observation = upgrade_observation(observation, self._spaces)
        if observation.run is not None:
            # Fewer iterations were better than all, so more would be worse.
            self._tried.pop(observation.run.id, None)
            self._runs.add(observation.run.id)
            self._leave_out(observation.run, math.inf)
        self._note(observation.configuration)
        self._told[observation.configuration.id] = observation

    def _note(self, configuration: Configuration) -> None:
        if configuration.id in self._tried:
            return
        place = self._indices.get(configuration.id)
        if place is None:
            points = self._make_points([configuration])
        else:
            points = self._fixed.part([place])
            self._is_open[place] = False
        self._tried[configuration.id] = points, Cross.of(points, self._fixed)
        if configuration.learner in self._stopped_early:
            self._leave_out(configuration, self._count_iterations(configuration))

    def _is_left_out(self, configuration: Configuration) -> bool:
        """Whether it was asked for or told, or a run that may be stopped early says all about it."""
        if configuration.learner not in self._stopped_early:
            return configuration.id in self._tried
        return self._count_iterations(configuration) <= self._ran.get(self._find_stem(configuration), 0)

    def _leave_out(self, run: Configuration, n_iterations: float) -> None:
        """Never ask for up to so many iterations of what was run."""
        stem = self._find_stem(run)
        self._ran[stem] = max(n_iterations, self._ran.get(stem, 0))
        for place in self._same.get(stem, ()):
            if self._count_iterations(self._pool[place]) <= n_iterations:
                self._is_open[place] = False

    def _lengthen(self, chosen: Configuration) -> Configuration:
        """`chosen`, in a longer run where that is stopped early and no run has failed: it may have met a limit."""
        own = (each.loss for each in self._told.values() if each.configuration.learner == chosen.learner)
        if chosen.learner not in self._stopped_early or not all(map(math.isfinite, own)):
            return chosen
        space = self._spaces[chosen.learner]
        return space.with_iterations(chosen, min(LONGER * self._count_iterations(chosen), space.iterations[1]))

    def _count_iterations(self, configuration: Configuration) -> int:
        """Of a configuration of a learner that is stopped early."""
        n_iterations = self._spaces[configuration.learner].iterations_of(configuration)
        assert n_iterations is not None
        return n_iterations

    def _find_stem(self, configuration: Configuration) -> str:
        """An id of what configurations that differ in their iterations only have in common."""
        space = self._spaces[configuration.learner]
        return space.with_iterations(configuration, space.iterations[0]).id

    def _make_points(self, configurations: Sequence[Configuration]) -> Points:
        scenarios = self._prior.at(configurations)
        return Points.of(scenarios.inputs, np.minimum(scenarios.values, self._settings.clip), self._weights)

    def _choose_best(self) -> Configuration | None:
        process = self._make_task_process()
        value = process.compute_log_improvement if process else self._make_value()
        top = _rank(self._pool, torch.where(self._is_open, value(self._fixed), -math.inf))
        incumbent = min(self._told.values(), key=lambda each: each.loss, default=None)
        if not self._is_table and incumbent is not None and math.isfinite(incumbent.loss):
            space = self._spaces[incumbent.configuration.learner]
            own = [each.loss for each in self._told.values() if each.configuration.learner == space.learner]
            rng = np.random.default_rng([self._seed, len(self._tried)])
            steps = [(compute_trust_region_side(own, len(space)), N_LOCAL)]
            # The mixture takes longer for each candidate, and gained nothing from climbing.
            steps += [(side, N_CLIMBING) for side in CLIMBING_SIDES if process]
            centres = [incumbent.configuration]
            for side, n in steps:
                if near := self._find_near(centres, side, n, rng):
                    top = _rank(near, value(self._make_points(near)), top)
                centres = [each for _, each in top]
        return top[0][1] if top else None

    def _find_near(
        self, centres: Sequence[Configuration], side: float, n: int, rng: np.random.Generator
    ) -> list[Configuration]:
        """Up to `n` untried configurations around each of the centres."""
        around = (
            sample_trust_region(self._spaces[each.learner], each, side, n, known=self._indices, rng=rng)
            for each in centres
        )
        near = {each.id: each for each in itertools.chain.from_iterable(around)}
        return [each for each in near.values() if not self._is_left_out(each)]

    def _make_task_process(self) -> TaskProcess | None:
        """The task's own process, where its trials tell their noise and are enough."""
        finite = [each for each in self._told.values() if math.isfinite(each.loss)]
        is_told = any(math.isfinite(each.noise) for each in finite)
        return TaskProcess(self._make_observed()) if is_told and len(finite) >= self._settings.least_own else None

    def _make_value(self) -> Callable[[Points], torch.Tensor]:
        """What past tasks say each of some points is worth."""
        if not any(math.isfinite(each.loss) for each in self._told.values()):
            return self._value_before_any_trial
        observed, order = self._make_observed(), [*self._told, *self._find_pending()]
        posterior = Posterior(self._weights, self._prior.log_scale, self._variance, observed, self._settings)

        def improvement(points: Points) -> torch.Tensor:
            kept = Cross.join([self._tried[name][1] for name in order]) if points is self._fixed else None
            return posterior.compute_log_improvement(points, kept)

        return improvement

    def _find_pending(self) -> list[str]:
        return [name for name in self._tried if name not in self._told]

    def _value_before_any_trial(self, points: Points) -> torch.Tensor:
        """Minus the expected best loss; once every scenario is served, a further pick should be good by itself."""
        chosen = torch.cat(
            [self._fixed.scenarios[:, :0], *(self._tried[name][0].scenarios for name in self._find_pending())], dim=1
        )
        expected = compute_expected_best_loss(points.scenarios, self._weights, chosen)
        return -(expected + TIE_BREAK * (self._weights @ points.scenarios))

    def _make_observed(self) -> Observed:
        losses, noise = (
            torch.tensor(values, dtype=torch.float64, device=self._device) / self._prior.unit
            for values in zip(*((each.loss, each.noise) for each in self._told.values()), strict=True)
        )
        points = Points.join([self._tried[name][0] for name in (*self._told, *self._find_pending())])
        return Observed(points, losses, noise)


def _rank(
    configurations: Sequence[Configuration], values: torch.Tensor, others: Sequence[tuple[float, Configuration]] = ()
) -> list[tuple[float, Configuration]]:
    """The best `N_TOP` of all, with their values, the best first; none whose value is minus infinity."""
    found, places = values.topk(min(N_TOP, len(values)))
    new = [(value, configurations[place]) for value, place in zip(found.tolist(), places.tolist(), strict=True)]
    ranked = sorted([*others, *new], key=lambda each: each[0], reverse=True)[:N_TOP]
    return [each for each in ranked if each[0] > -math.inf]
