"""The `transfer` strategy: it chooses the next trial from past tasks' scenarios and the trials so far."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.acquisition import compute_expected_best_loss
from metahp.refinement.gain import compute_expected_gains
from metahp.refinement.pace import Pace
from metahp.refinement.pool import N_LOCAL, compute_trust_region_side, make_fixed_pool, sample_trust_region
from metahp.refinement.posterior import (
    MIN_VARIANCE,
    Cross,
    MixtureSettings,
    ObservedTrials,
    Points,
    Posterior,
    find_torch_device,
)
from metahp.refinement.strategy import Observation, Suggestion, check_configuration, lengthen, upgrade_observation
from metahp.refinement.task_process import TaskProcess
from metahp.surrogate.prior import Prior

# Weight of the mean loss of a candidate itself, beside the expected best loss of the chosen ones with it.
TIE_BREAK = 1e-6
# After the pool, the search climbs from its best candidates: through trust regions with these sides, one after the
# other, each with `N_TOP` centres and `N_CLIMBING` new candidates around each centre. On 12 axes even 10,000 points are
# a coarse sample.
N_TOP, N_CLIMBING = 3, 33
CLIMBING_SIDES = (0.2, 0.14, 0.1, 0.07)
# Number of the best candidates of the pool for which the expected gain is computed.
N_GAIN_CANDIDATES = 64


@dataclass(frozen=True, eq=False)
class _Assessment:
    """The posterior of the trials so far, what gives the value of points by it, and the values of the pool."""

    model: TaskProcess | Posterior | None
    compute_value: Callable[[Points], torch.Tensor]
    of_pool: torch.Tensor


class Transfer:
    """A `Strategy`: first the warm points, then the candidate with the greatest expected improvement.

    The improvement comes from the mixture of past tasks' scenarios (`metahp.refinement.posterior`). Where trials have
    a known noise, it comes from a Gaussian process of this task (`metahp.refinement.task_process`) from the fifth
    finished trial on.

    Args:
        prior: The prior of this task from past tasks.
        spaces: Search spaces, one per learner.
        table: The only configurations to suggest beside the warm points (a look-up table); None for the whole spaces,
            where the known configurations are a part of the pool.
        known: Known configurations of the spaces; None for the prior's candidates.
        warm: Suggestions to give first, in this order.
        stopped_early: Learners with early stopping: their trials may keep fewer iterations than were asked for, so
            they are asked for longer runs.
        seed: Seed and told trials together decide all suggestions.
        device: `auto`, `cpu` or `cuda`.
        settings: Settings of the posterior; None for the defaults.
        pace: Costs of trials and the time that is left; None where time does not count.

    Raises:
        InputError: no space, two spaces of one learner, a prior whose unit is not above zero, or no such device.
        UnknownNameError, OutOfRangeError: a warm point or candidate is in none of the spaces.
    """

    def __init__(
        self,
        prior: Prior,
        spaces: Sequence[SearchSpace],
        *,
        table: Sequence[Configuration] | None = None,
        known: Sequence[Configuration] | None = None,
        warm: Sequence[Suggestion] = (),
        stopped_early: Collection[str] = (),
        seed: int,
        device: str = "auto",
        settings: MixtureSettings | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._spaces = {space.learner: space for space in spaces}
        if not spaces or len(self._spaces) < len(spaces):
            learners = ", ".join(space.learner for space in spaces)
            raise InputError(f"A search needs one search space per learner, got {learners or 'none'}.")
        if not prior.unit > 0:
            raise InputError(f"The unit of the loss is a number above zero, got {prior.unit}.")
        self._prior, self._seed, self._pace = prior, seed, pace
        self._device = find_torch_device(device)
        self._settings = settings or MixtureSettings()
        self._is_table = table is not None
        candidates = (prior.candidates if known is None else known) if table is None else table
        self._stopped_early = frozenset(
            space.learner for space in spaces if space.learner in stopped_early and space.iteration_axis
        )
        for configuration in (*candidates, *(suggestion.configuration for suggestion in warm)):
            check_configuration(configuration, self._spaces)
        self._pool = make_fixed_pool(spaces, candidates, seed=seed) if table is None else list(table)
        self._indices = {configuration.id: index for index, configuration in enumerate(self._pool)}
        self._weights = torch.as_tensor(prior.weights, dtype=torch.float64, device=self._device)
        self._fixed = self._make_points(self._pool)
        self._variance = max(float((self._fixed.deviations**2).sum(dim=0).mean()), MIN_VARIANCE)
        self._is_open = torch.ones(len(self._pool), dtype=torch.bool, device=self._device)
        self._warm = deque(warm)
        # Suggested and told configurations by id, in that order: their prior, their covariance with the pool, and
        # their observation once it is told.
        self._tried: dict[str, tuple[Points, Cross]] = {}
        self._observations: dict[str, Observation] = {}
        # For learners with early stopping, by stem: indices in the pool of configurations that differ in iterations
        # only, and the number of iterations up to which none of them is suggested again.
        self._same_stem: dict[str, list[int]] = {}
        for index, configuration in enumerate(self._pool):
            if configuration.learner in self._stopped_early:
                self._same_stem.setdefault(self._find_stem(configuration), []).append(index)
        self._longest_runs: dict[str, float] = {}
        # Ids of runs of which early stopping kept fewer iterations.
        self._run_ids: set[str] = set()
        # None once it is out of date.
        self._assessment: _Assessment | None = None

    @property
    def device(self) -> str:
        """Where the posterior is computed: `cpu` or `cuda`."""
        return self._device.type

    def ask(self) -> Suggestion | None:
        """The next configuration, new to this search; None where none is left."""
        while self._warm:
            suggestion = self._warm.popleft()
            if suggestion.origin in (Origin.USER, Origin.DEFAULT):
                is_known = suggestion.configuration.id in self._tried.keys() | self._run_ids
            else:
                suggestion = Suggestion(self._lengthen(suggestion.configuration), suggestion.origin)
                is_known = self._is_left_out(suggestion.configuration)
            if not is_known:
                self._note(suggestion.configuration)
                return suggestion
        chosen = self._choose_best()
        if chosen is None:
            return None
        chosen = self._lengthen(chosen)
        self._note(chosen)
        return Suggestion(chosen, Origin.POSTERIOR)

    def estimate_gains(self) -> np.ndarray | None:
        """Expected decrease of the best loss without noise after 1, 2, … more trials, shape (k,).

        None where it is not known yet: before the trials that past tasks advise have finished.
        """
        finite = [each for each in self._observations.values() if math.isfinite(each.loss)]
        if not finite or (self._warm and not self._has_task_process()):
            return None
        assessment = self._assess()
        if assessment.model is None:
            return None
        values = torch.where(self._is_open, assessment.of_pool, -math.inf)
        top_values, candidates = values.topk(min(N_GAIN_CANDIDATES, len(values)))
        candidates = candidates[top_values > -math.inf]
        if not len(candidates):
            return np.zeros(1)
        # A pruned trial has no known noise, and its few folds may be the easy ones.
        whole = [each for each in finite if math.isfinite(each.noise)] or finite
        incumbent = min(whole, key=lambda each: each.loss)
        points = Points.join([self._tried[incumbent.configuration.id][0], self._fixed.select(candidates.tolist())])
        joint = assessment.model.predict_jointly(points)
        return self._prior.unit * compute_expected_gains(joint, incumbent.loss / self._prior.unit)

    def tell(self, observation: Observation) -> None:
        """Learn from a trial: one that was asked for, a user's own, or one of an earlier run.

        Raises:
            UnknownNameError, OutOfRangeError: the configuration is in none of the search spaces.
        """
        self._assessment = None
        observation = upgrade_observation(observation, self._spaces)
        if self._pace is not None:
            self._pace.tell(observation)
        if observation.run is not None:
            # Fewer iterations were better than all of them, so more iterations would be worse.
            self._tried.pop(observation.run.id, None)
            self._run_ids.add(observation.run.id)
            self._leave_out(observation.run, math.inf)
        self._note(observation.configuration)
        self._observations[observation.configuration.id] = observation

    def _note(self, configuration: Configuration) -> None:
        if configuration.id in self._tried:
            return
        self._assessment = None
        index = self._indices.get(configuration.id)
        if index is None:
            points = self._make_points([configuration])
        else:
            points = self._fixed.select([index])
            self._is_open[index] = False
        self._tried[configuration.id] = points, Cross.of(points, self._fixed)
        if configuration.learner in self._stopped_early:
            self._leave_out(configuration, self._count_iterations(configuration))

    def _is_left_out(self, configuration: Configuration) -> bool:
        """Whether it was suggested or told, or a run with early stopping has already covered its iterations."""
        if configuration.learner not in self._stopped_early:
            return configuration.id in self._tried
        return self._count_iterations(configuration) <= self._longest_runs.get(self._find_stem(configuration), 0)

    def _leave_out(self, run: Configuration, n_iterations: float) -> None:
        """Never suggest the configuration of `run` again with at most `n_iterations` iterations."""
        stem = self._find_stem(run)
        self._longest_runs[stem] = max(n_iterations, self._longest_runs.get(stem, 0))
        for index in self._same_stem.get(stem, ()):
            if self._count_iterations(self._pool[index]) <= n_iterations:
                self._is_open[index] = False

    def _lengthen(self, chosen: Configuration) -> Configuration:
        """`chosen` with the most iterations, if its learner has early stopping and no failed trial.

        A failed trial may have met a limit, which a longer run would meet too.
        """
        learner_losses = (
            seen.loss for seen in self._observations.values() if seen.configuration.learner == chosen.learner
        )
        if chosen.learner not in self._stopped_early or not all(map(math.isfinite, learner_losses)):
            return chosen
        return lengthen(chosen, self._spaces[chosen.learner])

    def _count_iterations(self, configuration: Configuration) -> int:
        """Iterations of a configuration; its learner has early stopping."""
        n_iterations = self._spaces[configuration.learner].iterations_of(configuration)
        assert n_iterations is not None
        return n_iterations

    def _find_stem(self, configuration: Configuration) -> str:
        """An id that configurations share which differ in their iterations only."""
        space = self._spaces[configuration.learner]
        return space.with_iterations(configuration, space.iterations[0]).id

    def _make_points(self, configurations: Sequence[Configuration]) -> Points:
        scenarios = self._prior.at(configurations)
        return Points.of(scenarios.inputs, np.minimum(scenarios.values, self._settings.clip), self._weights)

    def _choose_best(self) -> Configuration | None:
        assessment = self._assess()
        value, process = assessment.compute_value, isinstance(assessment.model, TaskProcess)
        weigh = self._weigh if self._pace and any(map(math.isfinite, self._list_losses())) else None
        values = assessment.of_pool + (weigh(self._pool) if weigh else 0.0)
        top = _rank(self._pool, torch.where(self._is_open, values, -math.inf))
        incumbent = min(self._observations.values(), key=lambda each: each.loss, default=None)
        if not self._is_table and incumbent is not None and math.isfinite(incumbent.loss):
            space = self._spaces[incumbent.configuration.learner]
            learner_losses = [
                seen.loss for seen in self._observations.values() if seen.configuration.learner == space.learner
            ]
            rng = np.random.default_rng([self._seed, len(self._tried)])
            steps = [(compute_trust_region_side(learner_losses, len(space)), N_LOCAL)]
            # Only for the process: the mixture takes longer for each candidate, and climbing did not improve it.
            steps += [(side, N_CLIMBING) for side in CLIMBING_SIDES if process]
            centres = [incumbent.configuration]
            for side, n in steps:
                if near := self._find_near(centres, side, n, rng):
                    values = value(self._make_points(near)) + (weigh(near) if weigh else 0.0)
                    top = _rank(near, values, top)
                centres = [configuration for _, configuration in top]
        return top[0][1] if top else None

    def _list_losses(self) -> list[float]:
        return [each.loss for each in self._observations.values()]

    def _weigh(self, configurations: list[Configuration]) -> torch.Tensor:
        """What time adds to the log improvement of each configuration, shape (n,)."""
        assert self._pace is not None
        weights = self._pace.weigh(configurations, are_kept=configurations is self._pool)
        return torch.as_tensor(weights, dtype=torch.float64, device=self._device)

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
        """The process of this task, where the noise of its trials is known and there are enough of them."""
        return TaskProcess(self._make_observed()) if self._has_task_process() else None

    def _has_task_process(self) -> bool:
        finite = [each for each in self._observations.values() if math.isfinite(each.loss)]
        is_noise_known = any(math.isfinite(each.noise) for each in finite)
        return is_noise_known and len(finite) >= self._settings.min_own_trials

    def _assess(self) -> _Assessment:
        """What is known of points now; computed once from one trial to the next."""
        if self._assessment is None:
            model = self._make_task_process() or self._make_posterior()
            value = self._make_value(model)
            self._assessment = _Assessment(model, value, value(self._fixed))
        return self._assessment

    def _make_posterior(self) -> Posterior | None:
        """The mixture of past tasks' scenarios; None before a trial has a loss."""
        if not any(math.isfinite(each.loss) for each in self._observations.values()):
            return None
        return Posterior(self._weights, self._prior.log_scale, self._variance, self._make_observed(), self._settings)

    def _make_value(self, model: TaskProcess | Posterior | None) -> Callable[[Points], torch.Tensor]:
        """A function that gives the value of points; higher is better."""
        if model is None:
            return self._value_before_any_trial
        if isinstance(model, TaskProcess):
            return model.compute_log_improvement
        order = [*self._observations, *self._find_pending()]

        def improvement(points: Points) -> torch.Tensor:
            kept = Cross.join([self._tried[name][1] for name in order]) if points is self._fixed else None
            return model.compute_log_improvement(points, kept)

        return improvement

    def _find_pending(self) -> list[str]:
        return [name for name in self._tried if name not in self._observations]

    def _value_before_any_trial(self, points: Points) -> torch.Tensor:
        """Minus the expected best loss, with a small weight on the mean loss of each point itself.

        The mean loss decides where the chosen points are already good in every scenario.
        """
        chosen = torch.cat(
            [self._fixed.scenarios[:, :0], *(self._tried[name][0].scenarios for name in self._find_pending())], dim=1
        )
        expected = compute_expected_best_loss(points.scenarios, self._weights, chosen)
        return -(expected + TIE_BREAK * (self._weights @ points.scenarios))

    def _make_observed(self) -> ObservedTrials:
        losses, noise = (
            torch.tensor(values, dtype=torch.float64, device=self._device) / self._prior.unit
            for values in zip(*((each.loss, each.noise) for each in self._observations.values()), strict=True)
        )
        points = Points.join([self._tried[name][0] for name in (*self._observations, *self._find_pending())])
        return ObservedTrials(points, losses, noise)


def _rank(
    configurations: Sequence[Configuration], values: torch.Tensor, others: Sequence[tuple[float, Configuration]] = ()
) -> list[tuple[float, Configuration]]:
    """The best `N_TOP` configurations with their values, the best first, without those at minus infinity."""
    top_values, indices = values.topk(min(N_TOP, len(values)))
    new = [(value, configurations[index]) for value, index in zip(top_values.tolist(), indices.tolist(), strict=True)]
    ranked = sorted([*others, *new], key=lambda pair: pair[0], reverse=True)[:N_TOP]
    return [pair for pair in ranked if pair[0] > -math.inf]
