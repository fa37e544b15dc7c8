"""The prior of a task: weighted past tasks as scenarios of its losses, at any configurations."""

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

    Attributes:
        values: Normalised losses, shape (t, n).
        weights: Weights of the scenarios, shape (t,); sum to one.
        inputs: The kernel's coordinates of the configurations, shape (n, p).
    """

    values: np.ndarray
    weights: np.ndarray
    inputs: np.ndarray


def draw_scenarios(
    scenarios: Scenarios, *, local: float, moved: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat each scenario several times and add a random function of the configuration to each copy.

    Without these functions a batch is chosen as if the new task were exactly a shifted past task.

    Args:
        scenarios: Scenarios of n configurations.
        local: Standard deviation of the random functions, times the square root of the number of scenarios with weight.
        moved: Factor of the random functions for each scenario, shape (t,); 0 for a near copy of the task.

    Returns:
        Values (d, n) and weights (d,), where d is `N_DRAWS` or slightly more; scenarios without weight are left out.
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
    """Expected losses of one task from past tasks, before any trial of it.

    A normalised loss is 0 at the best known configuration of the past task and 1 at its library default.

    Attributes:
        candidates: c configurations.
        inputs: The kernel's coordinates of the candidates, shape (c, p).
        values: The scenarios at the candidates, shape (t, c): measured losses with gaps interpolated, then shifted.
        weights: Weights of the scenarios, shape (t,); sum to one.
        similarity: Similarity of each past task, shape (t,); 1 for the same task.
        shift: Shift of each candidate, shape (c,), in normalised loss.
        moved: Factor of the shift for each scenario, shape (t,); 0 for a near copy of the task.
        unit: Loss of a constant prediction, 1 if there is none; the unit of `log_scale`.
        units: Loss difference normalised to 1 on each past task, in losses of a constant prediction, shape (t,).
        interpolation: The scenarios at any configuration, not shifted.
        local: As in `PriorSettings`.
        abstained: Why past tasks are not trusted and all scenarios have equal weight; empty if they are trusted.
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
        """The scenarios at any n configurations as smooth functions, also at a candidate, without measurement noise.

        Raises:
            UnknownHyperparameterError, OutOfRangeError: a configuration lies outside its search space.
        """
        inputs = self.kernel.inputs(configurations)
        values = self.interpolation.at(inputs)
        if self.shift.any():
            values = values + self.moved[:, None] * self._shift.at(inputs)
        return Scenarios(values, self.weights, inputs)

    def batch(self, k: int, among: np.ndarray | None = None) -> list[int]:
        """Indices of the `k` candidates to try first, chosen as a set from all, or from the indices `among` (n,).

        If the prior abstained, the set is the portfolio.
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
        """Mean and standard deviation of the log loss difference normalised to 1 on past tasks, in units of `unit`."""
        # A task with equal losses has no scale; `normalise_losses` gives it the smallest positive unit.
        scaled = (self.units > np.sqrt(np.finfo(float).tiny)) & (self.weights > 0)
        if not scaled.any():
            return 0.0, 1.0
        log_units, weights = np.log(self.units[scaled]), self.weights[scaled] / self.weights[scaled].sum()
        mean = float(weights @ log_units)
        # Few tasks hardly determine the spread: add one hypothetical task, a factor of e away.
        t = len(log_units)
        return mean, float(np.sqrt((t * (weights @ (log_units - mean) ** 2) + 1.0) / (t + 1)))

    @cached_property
    def _shift(self) -> Interpolation:
        return Interpolation.fit(self.kernel, self.inputs, self.shift[None, :])


@dataclass(frozen=True, eq=False, kw_only=True)
class PastTasks:
    """Past tasks prepared by a meta-model as scenarios of any new task.

    Tasks without trials of every learner cannot compare learners, because their best is the best of some learners only.
    They count only as near copies.

    Attributes:
        model: The meta-model.
        evidence: Losses of the candidates that at least one task has measured, or of a sample of these.
        encoded: The candidates as numbers, shape (c, d).
        values: Normalised losses without gaps, shape (t, c).
        units: Loss difference that is normalised to 1, in losses of a constant prediction, shape (t,).
        whole: Whether a task has trials of every learner, shape (t,).
        interpolation: The normalised losses at any configuration.
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
        """Normalise the losses of past tasks and interpolate the missing ones; nothing is trained.

        `seed` determines the sample of candidates, if one is needed.
        """
        evidence = evidence.drop_unmeasured()
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
            # Nothing can be interpolated: take the mean of the tasks that have trials of all learners.
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
        """The prior of a task.

        Args:
            metafeatures: Meta-features of the task, shape (m,); None if it has none.
            unit: Loss of a constant prediction on the task.
            abstained: Why no past task can be trusted, or empty. With a reason, scenarios are neither shifted nor
                weighted by similarity, so that a batch is the portfolio.
        """
        if metafeatures is None:
            abstained = abstained or "no meta-features"
            metafeatures = np.full(self.evidence.metafeatures.shape[1], np.nan)
        shift = np.zeros(len(self.evidence.candidates))
        if not abstained:
            [shift] = self.model.compute_shifts(metafeatures[None, :], self.evidence.candidates, self.encoded)
        return self._make_prior(metafeatures, shift, unit, abstained)

    def make_priors(self, metafeatures: np.ndarray) -> Iterator[Prior]:
        """The priors of several tasks with meta-features (n, m); much faster than one by one."""
        shifts = self.model.compute_shifts(metafeatures, self.evidence.candidates, self.encoded)
        for vector, shift in zip(metafeatures, shifts, strict=True):
            yield self._make_prior(vector, shift, 1.0, "")

    def _make_prior(self, metafeatures: np.ndarray, shift: np.ndarray, unit: float, abstained: str) -> Prior:
        settings, past, whole = self.model.settings, self.evidence.metafeatures, self.whole
        own_leaves, copied = self.model.forest.leaves(metafeatures[None, :])[0], self.measure_copies(metafeatures)
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
            # Losses measured on the same table with a few rows changed count more than any model's predictions.
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

    def measure_copies(self, metafeatures: np.ndarray) -> np.ndarray:
        """Degree to which each past task is a copy of the task with `metafeatures` (m,), shape (t,); 1 if identical."""
        return measure_copies(metafeatures, self.evidence.metafeatures, self.model.copy_width)

    @cached_property
    def inputs(self) -> np.ndarray:
        """The kernel's coordinates of the candidates, shape (c, p)."""
        return make_raw_inputs(self.encoded, self.model.kernel.spaces) / self.model.kernel.length_scales

    @cached_property
    def _leaves(self) -> np.ndarray:
        return self.model.forest.leaves(self.evidence.metafeatures)
