"""How far to trust similarity and surrogate: measured on past tasks that were left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import lsq_linear

from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.surrogate.evidence import Evidence, normalise_losses
from metahp.surrogate.metamodel import MetaModel, PriorSettings, find_unknown_learners
from metahp.surrogate.prior import PastTasks
from metahp.surrogate.validation import make_group_folds

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
# On tables both caps bind for every set of learners and metric that was calibrated on the seed, so that nothing is left
# to calibrate there.
OF_TABLES = PriorSettings(shift=MOST_SHIFT, trust=MOST_TRUST)


@dataclass(frozen=True, eq=False, kw_only=True)
class Unseen:
    """A left-out task: what knowledge of the others says of the candidates, and its own normalised losses, each (c,).

    `average` is the mean of the past tasks, `similar` their mean weighted by similarity, `moved` how far the surrogate
    moves this task from the average one.
    """

    average: np.ndarray
    similar: np.ndarray
    moved: np.ndarray
    losses: np.ndarray


def predict_unseen(past: PastTasks, evidence: Evidence, rows: Sequence[int]) -> Iterator[Unseen]:
    """What `past`, learned without the tasks `rows` of `evidence`, says of each of them.

    A task that shares hardly any candidate with the others, or lacks learners that the others have, says nothing of how
    well they foretell it, and is passed over.
    """
    settings = replace(past.model.settings, shift=1.0, trust=1.0)
    trusting = replace(past, model=replace(past.model, settings=settings))
    average = past.values[past.whole].mean(axis=0)
    part = evidence.columns(evidence.columns_of(past.evidence))
    rows = [row for row in rows if (~np.isnan(part.losses[row])).sum() >= MIN_KNOWN]
    losses, _ = normalise_losses(part.losses[rows], list(part.defaults.values()), clip=DEFAULT_SCALED_CLIP)
    for own, prior in zip(losses, trusting.priors(evidence.metafeatures[rows]), strict=True):
        if not past.whole.all() and find_unknown_learners(own[None], past.encoded).any():
            continue
        yield Unseen(average=average, similar=prior.weights @ past.values, moved=prior.shift, losses=own)


def calibrate(left_out: Sequence[Unseen], settings: PriorSettings | None = None) -> PriorSettings:
    """The shares of similarity and surrogate with which the prior's mean has least squared error on unseen tasks.

    The shape of a task's losses counts, not their level: each task is centred on its own mean.
    """
    settings = settings or PriorSettings()
    if len(left_out) < MIN_TASKS:
        return settings
    rows, targets = [], []
    for task in left_out:
        known = ~np.isnan(task.losses)
        columns = (task.similar - task.average, task.moved, task.losses - task.average)
        similar, moved, target = (column[known] - column[known].mean() for column in columns)
        rows.append(np.column_stack([similar, moved]))
        targets.append(target)
    trust, shift = lsq_linear(np.vstack(rows), np.concatenate(targets), bounds=(0.0, [MOST_TRUST, MOST_SHIFT])).x
    return replace(settings, trust=float(trust), shift=float(shift))


def fit_calibrated(evidence: Evidence, *, seed: int) -> PastTasks:
    """Past tasks as read by a meta-model whose settings are calibrated on these same tasks, left out by groups."""
    left_out: list[Unseen] = []
    if len(evidence.tasks) >= MIN_TASKS:
        for train, test in make_group_folds(evidence.groups, INNER_FOLDS, seed=seed):
            part = evidence.rows(train)
            left_out += predict_unseen(PastTasks.read(part, MetaModel.fit(part, seed=seed)), evidence, test.tolist())
    return PastTasks.read(evidence, MetaModel.fit(evidence, seed=seed, settings=calibrate(left_out)), seed=seed)
