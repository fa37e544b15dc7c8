"""What past tasks say for one metric: tasks by candidates, and both as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.task import Task
from metahp.core.trial import Origin

# How far a worst loss may be from the best, as a multiple of the median's distance: one that diverged says nothing.
MOST_MEDIANS = 100.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What past tasks say about a set of candidates, for one metric.

    `losses` and `fit_seconds` have shape (t, c): NaN where a trial is missing, infinite loss where it failed or met a
    limit. A task that was measured on several numbers of rows has a row for each, with `n_rows` as many as were used.
    `constants` (t,) are the losses of a constant prediction, 1 where there is no such thing.
    `is_final` marks candidates that are a trial's own configuration, not an earlier checkpoint of its curve;
    `defaults` holds the column of each learner's library default (none where there is no such thing). `flat` marks the
    tasks whose default is as good as their best, within the noise of the folds; None where nobody has looked.
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
        """The group of each task, which is its own where it has none: tasks of a group are left out together."""
        return [task.group or task.id for task in self.tasks]

    def rows(self, index: np.ndarray) -> "Evidence":
        """The evidence of some tasks only."""
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
        """The evidence about some candidates only; library defaults that are not among them are none of it."""
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

    def columns_of(self, part: "Evidence") -> np.ndarray:
        """The columns that have the candidates of `part`, shape (c,).

        Raises:
            KeyError: `part` has a candidate that is none of these.
        """
        place = {key: column for column, key in enumerate(self._keys())}
        return np.array([place[key] for key in part._keys()], dtype=int)

    def _keys(self) -> list[tuple[str, bool]]:
        pairs = zip(self.candidates, self.is_final.tolist(), strict=True)
        return [(candidate.id, is_final) for candidate, is_final in pairs]

    def measured(self) -> "Evidence":
        """The evidence about candidates that some task has measured: another one may be a left-out optimum."""
        return self.columns(np.flatnonzero(~np.isnan(self.losses).all(axis=0)))


def encode(candidates: Sequence[Configuration], spaces: Mapping[str, SearchSpace]) -> np.ndarray:
    """Candidates as numbers, shape (c, d): a learner index, then the unit-cube axes of every learner.

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
    """Losses per task with the best known at 0 and the best library default at 1, clipped, shape (t, c); NaN stays.

    Also what one unit is worth in losses, shape (t,). It is at least a quarter of the distance from best to median, so
    that a task whose default is nearly the best does not blow up the noise of its other losses. Without defaults it is
    the geometric mean of the distances from best to median and from best to worst, the latter at most `MOST_MEDIANS` of
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
