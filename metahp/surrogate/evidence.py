"""Losses of past tasks for one metric: a matrix of tasks by candidates, and candidates as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.task import Task
from metahp.core.trial import Origin

# Largest distance from best to worst loss, as a multiple of the distance to the median; limits diverged losses.
MOST_MEDIANS = 100.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Losses of past tasks on a set of candidates, for one metric.

    A task that was measured on several numbers of table rows has one entry for each, whose `n_rows` is the number used.

    Attributes:
        metric: Name of the metric.
        spaces: Search space by learner.
        tasks: Past tasks, t of them.
        metafeatures: Shape (t, m); NaN where unknown.
        constants: Loss of a constant prediction, shape (t,); 1 if there is none.
        candidates: c configurations.
        origins: Origin of each candidate.
        is_final: Whether a candidate is a trial's own configuration and not an earlier checkpoint, shape (c,).
        losses: Shape (t, c); NaN for a missing trial, infinity for one that failed or exceeded a limit.
        fit_seconds: Seconds of training, shape (t, c); NaN for a missing trial.
        defaults: Column of the library default by learner; a learner without a default is missing.
        flat: Whether a task's default is as good as its best within the noise of the folds, shape (t,); None if
            unknown.
    """

    metric: str
    spaces: Mapping[str, SearchSpace]
    tasks: tuple[Task, ...]
    metafeatures: np.ndarray
    constants: np.ndarray
    candidates: tuple[Configuration, ...]
    origins: tuple[Origin, ...]
    is_final: np.ndarray
    losses: np.ndarray
    fit_seconds: np.ndarray
    defaults: Mapping[str, int]
    flat: np.ndarray | None = None

    @property
    def groups(self) -> list[str]:
        """The group of each task, or its id if it has no group; tasks of a group are left out together."""
        return [task.group or task.id for task in self.tasks]

    def rows(self, index: np.ndarray) -> "Evidence":
        """The evidence of the tasks selected by `index` (indices or a mask)."""
        return replace(
            self,
            tasks=tuple(self.tasks[i] for i in np.arange(len(self.tasks))[index]),
            metafeatures=self.metafeatures[index],
            constants=self.constants[index],
            losses=self.losses[index],
            fit_seconds=self.fit_seconds[index],
            flat=None if self.flat is None else self.flat[index],
        )

    def columns(self, index: np.ndarray) -> "Evidence":
        """The evidence of the candidates with indices `index`; `defaults` loses those that are not among them."""
        place = {int(column): position for position, column in enumerate(index)}
        return replace(
            self,
            candidates=tuple(self.candidates[j] for j in index),
            origins=tuple(self.origins[j] for j in index),
            is_final=self.is_final[index],
            losses=self.losses[:, index],
            fit_seconds=self.fit_seconds[:, index],
            defaults={learner: place[column] for learner, column in self.defaults.items() if column in place},
        )

    def find_columns(self, part: "Evidence") -> np.ndarray:
        """Column of each candidate of `part` in this evidence, shape (c,).

        Raises:
            KeyError: `part` has a candidate that this evidence lacks.
        """
        place = {key: column for column, key in enumerate(self._keys())}
        return np.array([place[key] for key in part._keys()], dtype=int)

    def _keys(self) -> list[tuple[str, bool]]:
        pairs = zip(self.candidates, self.is_final.tolist(), strict=True)
        return [(candidate.id, is_final) for candidate, is_final in pairs]

    def drop_unmeasured(self) -> "Evidence":
        """The evidence of candidates that at least one task has measured; others may come from left-out tasks."""
        return self.columns(np.flatnonzero(~np.isnan(self.losses).all(axis=0)))


def encode(candidates: Sequence[Configuration], spaces: Mapping[str, SearchSpace]) -> np.ndarray:
    """Candidates as numbers, shape (c, d): the index of the learner, then the unit-cube axes of all learners.

    The axes of other learners, and inactive hyperparameters, are NaN.
    """
    width = 1 + sum(len(space) for space in spaces.values())
    encoded = np.full((len(candidates), width), np.nan)
    start = 1
    for index, (learner, space) in enumerate(spaces.items()):
        own = [i for i, candidate in enumerate(candidates) if candidate.learner == learner]
        if own:
            encoded[own, 0] = index
            encoded[own, start : start + len(space)] = space.to_unit([candidates[i] for i in own])
        start += len(space)
    return encoded


def normalise_losses(losses: np.ndarray, defaults: Sequence[int], *, clip: float) -> tuple[np.ndarray, np.ndarray]:
    """Losses of each task scaled so that its best loss is 0 and its best library default 1.

    Returns:
        Normalised losses, clipped to [0, `clip`], shape (t, c); NaN stays. And the unit: the loss difference of each
        task that is scaled to 1, shape (t,). It is at least a quarter of the distance from best to median, so that a
        default close to the best does not amplify the noise of the other losses. Without `defaults` it is the geometric
        mean of the distances from best to median and from best to worst; the latter counts at most `MOST_MEDIANS` times
        the former.
    """
    best = np.nanmin(losses, axis=1)
    middle = np.nanmedian(losses, axis=1) - best
    middle = np.where(np.isfinite(middle), middle, 0.0)
    if len(defaults):
        unit = np.maximum(np.nanmin(losses[:, list(defaults)], axis=1) - best, middle / 4)
    else:
        worst = np.nanmax(np.where(np.isfinite(losses), losses, np.nan), axis=1) - best
        unit = np.where(middle > 0, np.sqrt(middle * np.minimum(worst, MOST_MEDIANS * middle)), worst)
    unit = np.maximum(unit, np.finfo(float).tiny)
    return np.clip((losses - best[:, None]) / unit[:, None], 0.0, clip), unit
