"""The prior of a task: past tasks as scenarios of its losses, with weights, over any configurations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.surrogate.evidence import Evidence, encode, normalise_losses
from metahp.surrogate.forest import compute_leaf_shares, compute_proximities
from metahp.surrogate.gaussian_process import Interpolation, Kernel, draw_matern52, make_raw_inputs
from metahp.surrogate.metamodel import (
    MetaModel,
    choose_interpolated_share,
    choose_reference_columns,
    find_unknown_learners,
    find_whole_tasks,
)
from metahp.surrogate.selection import choose_greedy_batch
from metahp.surrogate.similarity import compute_feature_distances, compute_similarities, measure_copies

# Large enough that a batch does not depend on the draw.
N_DRAWS = 512
# Scenarios with less weight are not drawn from.
LEAST_WEIGHT = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Scenarios:
    """Possible losses of some configurations on one task.

    `values` (t, n) are normalised losses, `weights` (t,) sum to one, and `inputs` (n, p) are the kernel's coordinates
    of the configurations.
    """

    values: np.ndarray
    weights: np.ndarray
    inputs: np.ndarray


def draw_scenarios(
    scenarios: Scenarios, *, local: float, moved: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scenarios with a local term: each drawn several times, with a random function of the configuration added.

    Without it a batch is chosen as if the new task were one of the past ones, shifted.

    Args:
        scenarios: Of n configurations.
        local: Standard deviation of the random functions, times the square root of the number of scenarios with weight.
        moved: The share of it that each scenario takes, shape (t,): a near copy of the task has none.

    Returns:
        Values (d, n) and weights (d,), d being `N_DRAWS` or a little more; those without weight are left out.
    """
    values, weights = scenarios.values, scenarios.weights
    used = np.flatnonzero(weights > LEAST_WEIGHT)
    repeats = -(-N_DRAWS // len(used))
    share = np.tile(np.broadcast_to(moved, weights.shape)[used], repeats)
    functions = draw_matern52(scenarios.inputs, repeats * len(used), seed=0)
    added = functions * (local / np.sqrt(len(used)) * share)[:, None]
    return np.tile(values[used], (repeats, 1)) + added, np.tile(weights[used], repeats) / repeats


@dataclass(frozen=True, eq=False, kw_only=True)
class Prior:
    """What past tasks say about the losses of one task, before any trial of it.

    A normalised loss is 0 at the best known and 1 at the library default of the past task. `values` (t, c) are the
    scenarios at the `candidates`: as measured, with gaps interpolated, and shifted. `moved` (t,) is the share of the
    shift (c,) that each took: a near copy of the task takes none. `unit` is the loss that `log_scale` is in units of:
    that of a constant prediction, 1 where there is none. `similarity` (t,) is 1 for the same task. `abstained` says
    why past tasks are not trusted and all scenarios weigh the same; it is empty where they are.
    """

    candidates: tuple[Configuration, ...]
    inputs: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    similarity: np.ndarray
    shift: np.ndarray
    moved: np.ndarray
    unit: float
    units: np.ndarray
    interpolation: Interpolation
    local: float
    abstained: str = ""

    def at(self, configurations: Sequence[Configuration]) -> Scenarios:
        """The scenarios at any n configurations, as smooth functions: at a candidate, without its measurement's noise.

        Raises:
            UnknownHyperparameterError, OutOfRangeError: a configuration that is in none of the search spaces.
        """
        inputs = self.kernel.inputs(configurations)
        values = self.interpolation.at(inputs)
        if self.shift.any():
            values = values + self.moved[:, None] * self._shift.at(inputs)
        return Scenarios(values, self.weights, inputs)

    def batch(self, k: int, among: np.ndarray | None = None) -> list[int]:
        """Places of the `k` candidates to try first, chosen together, of all or of those `among` (n,).

        Where the prior abstained, they are the portfolio.
        """
        chosen = np.arange(len(self.candidates)) if among is None else among
        scenarios = Scenarios(self.values[:, chosen], self.weights, self.inputs[chosen])
        if self.abstained:
            return chosen[choose_greedy_batch(scenarios.values, scenarios.weights, k)].tolist()
        return chosen[choose_greedy_batch(*draw_scenarios(scenarios, local=self.local, moved=self.moved), k)].tolist()

    @property
    def n_tasks(self) -> int:
        """The number of past tasks."""
        return len(self.weights)

    @property
    def kernel(self) -> Kernel:
        """The kernel that the scenarios share."""
        return self.interpolation.kernel

    @cached_property
    def log_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the log of what a normalised loss of 1 was worth on past tasks, in `unit`."""
        # A task whose losses are all the same has no scale, but `normalise_losses` gives it the tiniest unit.
        scaled = (self.units > np.sqrt(np.finfo(float).tiny)) & (self.weights > 0)
        if not scaled.any():
            return 0.0, 1.0
        log_units, weights = np.log(self.units[scaled]), self.weights[scaled] / self.weights[scaled].sum()
        mean = float(weights @ log_units)
        # One more task, a factor of e away, stands for all that was not seen: few tasks hardly tell the spread.
        t = len(log_units)
        return mean, float(np.sqrt((t * (weights @ (log_units - mean) ** 2) + 1.0) / (t + 1)))

    @cached_property
    def _shift(self) -> Interpolation:
        return Interpolation.fit(self.kernel, self.inputs, self.shift[None, :])


@dataclass(frozen=True, eq=False, kw_only=True)
class PastTasks:
    """The evidence of past tasks as a meta-model reads it, ready to be the scenarios of any new task.

    `evidence` is that of the candidates: those that some task has measured, or a sample of them where hardly any two
    tasks share one. `values` (t, c) are their normalised losses with no gap left, `units` (t,) what one unit is worth
    in losses of a constant prediction. `whole` (t,) marks the tasks that have trials of every learner. The others say
    nothing of how learners compare, as their best is the best of some of them: they count for near copies alone.
    """

    model: MetaModel
    evidence: Evidence
    encoded: np.ndarray
    values: np.ndarray
    units: np.ndarray
    whole: np.ndarray
    interpolation: Interpolation

    @classmethod
    def read(cls, evidence: Evidence, model: MetaModel, *, seed: int = 0) -> "PastTasks":
        """Normalise the losses of past tasks and interpolate what is missing; nothing is trained.

        `seed` chooses the sample of candidates, where one is taken.
        """
        evidence = evidence.measured()
        kernel = model.kernel
        encoded = encode(evidence.candidates, kernel.spaces)
        losses, units = normalise_losses(evidence.losses, list(evidence.defaults.values()), clip=DEFAULT_SCALED_CLIP)
        unknown, whole = find_unknown_learners(losses, encoded), find_whole_tasks(losses, encoded)
        inputs = make_raw_inputs(encoded, kernel.spaces) / kernel.length_scales
        interpolation = Interpolation.fit(kernel, inputs, losses, seed=seed)
        kept = choose_reference_columns(evidence, seed=seed)
        values = losses[:, kept]
        if (gaps := np.isnan(values)).any():
            share = choose_interpolated_share(kept, len(inputs))
            values = np.where(gaps, interpolation.at(inputs[kept], share=share, wanted=gaps), values)
        if (lacking := unknown[:, kept]).any():
            # Nothing to interpolate from: what the tasks have on average that know all learners.
            values = np.where(lacking, values[whole].mean(axis=0), values)
        return cls(
            model=model,
            evidence=evidence.columns(kept),
            encoded=encoded[kept],
            values=values,
            units=units / evidence.constants,
            whole=whole,
            interpolation=interpolation,
        )

    def prior(self, metafeatures: np.ndarray | None, *, unit: float = 1.0, abstained: str = "") -> Prior:
        """The prior of a task with these meta-features, shape (m,); None where it has none.

        With `abstained` (why no past task can be trusted) the scenarios are neither shifted nor weighted by similarity,
        so that a batch chosen from them is the portfolio. `unit` is the loss of a constant prediction on the task.
        """
        if metafeatures is None:
            abstained = abstained or "no meta-features"
            metafeatures = np.full(self.evidence.metafeatures.shape[1], np.nan)
        shift = np.zeros(len(self.evidence.candidates))
        if not abstained:
            [shift] = self.model.shifts(metafeatures[None, :], self.evidence.candidates, self.encoded)
        return self._prior(metafeatures, shift, unit, abstained)

    def priors(self, metafeatures: np.ndarray) -> Iterator[Prior]:
        """The priors of several tasks, shape (n, m): together they take a fraction of what they take one by one."""
        shifts = self.model.shifts(metafeatures, self.evidence.candidates, self.encoded)
        for own, shift in zip(metafeatures, shifts, strict=True):
            yield self._prior(own, shift, 1.0, "")

    def _prior(self, metafeatures: np.ndarray, shift: np.ndarray, unit: float, abstained: str) -> Prior:
        settings, past, whole = self.model.settings, self.evidence.metafeatures, self.whole
        own_leaves, copied = self.model.forest.leaves(metafeatures[None, :])[0], self.copied(metafeatures)
        weights = equal = whole / whole.sum()
        moved = np.zeros(len(whole))
        if not abstained:
            weights = np.zeros(len(whole))
            weights[whole] = compute_similarities(
                compute_feature_distances(metafeatures, past)[whole],
                compute_leaf_shares(own_leaves, self._leaves[whole]),
                near=self.model.near_width,
            )
            weights = settings.trust * weights + (1 - settings.trust) * equal
            # What was measured on the same table with a few rows changed counts for more than any model of it.
            if (nearest := float(copied.max())) > 0:
                weights = (1 - nearest) * weights + nearest * copied / copied.sum()
            moved, shift = 1 - copied, settings.shift * shift
        return Prior(
            candidates=self.evidence.candidates,
            inputs=self.inputs,
            values=self.values + moved[:, None] * shift if shift.any() else self.values,
            weights=weights,
            similarity=np.maximum(compute_proximities(own_leaves, self._leaves), copied),
            shift=shift,
            moved=moved,
            unit=unit,
            units=self.units,
            interpolation=self.interpolation,
            local=settings.local,
            abstained=abstained,
        )

    def copied(self, metafeatures: np.ndarray) -> np.ndarray:
        """How nearly each past task is a copy of the one with these meta-features (m,): 1 for the same, shape (t,)."""
        return measure_copies(metafeatures, self.evidence.metafeatures, self.model.copy_width)

    @cached_property
    def inputs(self) -> np.ndarray:
        """The kernel's coordinates of the candidates, shape (c, p)."""
        return make_raw_inputs(self.encoded, self.model.kernel.spaces) / self.model.kernel.length_scales

    @cached_property
    def _leaves(self) -> np.ndarray:
        return self.model.forest.leaves(self.evidence.metafeatures)
