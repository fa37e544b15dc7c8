"""How far to trust similarity and surrogate: measured on past tasks that were left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import lsq_linear

from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.core.space import SearchSpace
from metahp.surrogate.encoding import Evidence, normalised_losses
from metahp.surrogate.prior import Knowledge, Settings, unknown_learners
from metahp.surrogate.validation import group_folds

INNER_FOLDS = 3
MIN_KNOWN = 3
# With fewer tasks the two slopes would be noise.
MIN_TASKS = 12
# The least squared error asks for a larger shift (.8 on the seed), which a batch pays for: among 425 tables shifts of
# 1, .5 and .3 gave .14, .12 and .12 at k = 5, and were worse than the portfolio there on 35, 27 and 24 % of them.
MOST_SHIFT = 0.33
# Nor is full trust well placed, though it may have the least squared error: where the similar tasks mislead, the others
# are what a batch can fall back on. A trust of 1 instead of .75 gave .33 instead of .31 at k = 1.
MOST_TRUST = 0.75


@dataclass(frozen=True, eq=False)
class Unseen:
    """A left-out task: what knowledge of the others says of the candidates, and its own normalised losses, each (c,).

    `average` is the mean of the worlds, `similar` their mean weighted by similarity, `moved` how far the surrogate
    moves this task from the average one.
    """

    average: np.ndarray
    similar: np.ndarray
    moved: np.ndarray
    losses: np.ndarray


def unseen(knowledge: Knowledge, past: Evidence, rows: Sequence[int]) -> Iterator[Unseen]:
    """What `knowledge`, learned without the tasks `rows` of `past`, says of each of them.

    A task that shares hardly any candidate with the others, or lacks learners that the others have, says nothing of how
    well they foretell it, and is passed over.
    """
    settings = replace(knowledge.settings, shift=1.0, trust=1.0)
    trusting = replace(knowledge, settings=settings)
    average = knowledge.worlds[knowledge.whole].mean(axis=0)
    part = past.columns(knowledge.columns)
    rows = [row for row in rows if (~np.isnan(part.losses[row])).sum() >= MIN_KNOWN]
    defaults = list(part.defaults.values())
    losses, _ = normalised_losses(part.losses[rows], defaults, clip=DEFAULT_SCALED_CLIP)
    for own, prior in zip(losses, trusting.priors(past.metafeatures[rows]), strict=True):
        if not knowledge.whole.all() and unknown_learners(own[None], knowledge.encoded).any():
            continue
        yield Unseen(average, prior.weights @ knowledge.worlds, prior.shift, own)


def calibrated(found: Sequence[Unseen], settings: Settings | None = None) -> Settings:
    """The shares of similarity and surrogate with which the prior's mean has least squared error on unseen tasks.

    The shape of a task's losses counts, not their level: each task is centred on its own mean.
    """
    settings = settings or Settings()
    if len(found) < MIN_TASKS:
        return settings
    rows, targets = [], []
    for task in found:
        known = ~np.isnan(task.losses)
        columns = (task.similar - task.average, task.moved, task.losses - task.average)
        similar, moved, target = (column[known] - column[known].mean() for column in columns)
        rows.append(np.column_stack([similar, moved]))
        targets.append(target)
    trust, shift = lsq_linear(np.vstack(rows), np.concatenate(targets), bounds=(0.0, [MOST_TRUST, MOST_SHIFT])).x
    return replace(settings, trust=float(trust), shift=float(shift))


def learn_calibrated(
    past: Evidence, spaces: Mapping[str, SearchSpace], *, seed: int, baselines: np.ndarray | None = None
) -> Knowledge:
    """Knowledge of past tasks whose settings are calibrated on these same tasks, left out by groups."""
    found: list[Unseen] = []
    if len(past.tasks) >= MIN_TASKS:
        groups = [task.group or task.id for task in past.tasks]
        for train, test in group_folds(groups, INNER_FOLDS, seed=seed):
            found += unseen(Knowledge.learn(past.rows(train), spaces, seed=seed), past, test.tolist())
    return Knowledge.learn(past, spaces, seed=seed, settings=calibrated(found), baselines=baselines)
