"""Trials of past tasks as one matrix: tasks by candidates, where every curve checkpoint is a candidate."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.regret import is_flat
from metahp.core.space import SearchSpace
from metahp.core.task import Task
from metahp.core.trial import Origin, Trial, TrialState
from metahp.core.upgrade import upgrade_trials

# A candidate is shared where at least this share of the tasks that know its learner have measured it, and two have.
MIN_COVERAGE = 0.05
# Of the candidates that are not shared, the best of each task are kept, which a search has found: so many of a task,
# fewer where all together would be more than the second number.
OWN_CANDIDATES, MOST_OWN_CANDIDATES = 20, 2000
# How far a worst loss may be from the best, as a multiple of the median's distance: one that diverged says nothing.
MOST_MEDIANS = 100.0
# Squares of much larger numbers do not fit a float: such a loss counts as one without a bound.
LARGEST = 1e100
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What past tasks say about a set of candidates, for one metric.

    `losses` and `fit_seconds` have shape (t, c): NaN where a trial is missing, infinite loss where it failed or met a
    limit. A task that was measured on several numbers of rows has a row for each, with `n_rows` as many as were used.
    `is_final` marks candidates that are a trial's own configuration, not an earlier checkpoint of its curve;
    `defaults` holds the column of each learner's library default (none where there is no such thing). `flat` marks the
    tasks whose default is as good as their best, within the noise of the folds.
    """

    tasks: tuple[Task, ...]
    metafeatures: np.ndarray
    candidates: tuple[Configuration, ...]
    origins: tuple[Origin, ...]
    is_final: np.ndarray
    losses: np.ndarray
    fit_seconds: np.ndarray
    defaults: Mapping[str, int]
    flat: np.ndarray

    def rows(self, index: np.ndarray) -> "Evidence":
        """The evidence of some tasks only."""
        return Evidence(
            tuple(self.tasks[i] for i in np.arange(len(self.tasks))[index]),
            self.metafeatures[index],
            self.candidates,
            self.origins,
            self.is_final,
            self.losses[index],
            self.fit_seconds[index],
            self.defaults,
            self.flat[index],
        )

    def columns(self, index: np.ndarray) -> "Evidence":
        """The evidence about some candidates only, every library default among them."""
        place = {int(column): position for position, column in enumerate(index)}
        return Evidence(
            self.tasks,
            self.metafeatures,
            tuple(self.candidates[j] for j in index),
            tuple(self.origins[j] for j in index),
            self.is_final[index],
            self.losses[:, index],
            self.fit_seconds[:, index],
            {learner: place[column] for learner, column in self.defaults.items()},
            self.flat,
        )


def evidence(
    tasks: Sequence[Task],
    metafeatures: np.ndarray,
    trials: Sequence[Trial],
    *,
    metrics: Mapping[str, str],
    spaces: Mapping[str, SearchSpace],
) -> Evidence:
    """Collect the trials of `tasks` for the learners in `spaces`.

    Args:
        tasks: Past tasks; those without a complete trial of some learner's default are left out.
        metafeatures: One row for each of `tasks`, m of them; those beyond `LARGEST` count as missing.
        trials: Trials of any task and learner; others are passed over, and so are pruned ones and those that do not
            share the protocol most used on their task and number of rows. One logged warning counts those that cannot
            be used: a configuration outside its search space, or a complete trial without the metric. Trials of older
            versions of a space count as what `upgrade_trials` makes of them.
        metrics: Metric name by task type, so that tasks of several types can share one matrix.
        spaces: Search space by learner.
    """
    n_rows = {task.id: task.n_rows for task in tasks}
    trials = [trial for trial in trials if trial.task in n_rows and trial.configuration.learner in spaces]
    trials = comparable(_keep_usable(trials, {task.id: metrics[task.type] for task in tasks}, spaces), n_rows)
    used = sorted({(trial.task, _n_used(trial, n_rows)) for trial in trials})
    measured = [
        (place, replace(task, n_rows=n))
        for place, task in enumerate(tasks)
        for task_id, n in used
        if task_id == task.id
    ]
    metafeatures = metafeatures[[place for place, _ in measured]]
    metafeatures = np.where(np.abs(metafeatures) <= LARGEST, metafeatures, np.nan)
    tasks = [task for _, task in measured]
    row = {(task.id, task.n_rows): index for index, task in enumerate(tasks)}
    columns: dict[tuple[str, int | None], int] = {}
    candidates: list[Configuration] = []
    origins: list[Origin] = []
    final: list[bool] = []
    cells: list[tuple[int, int, float, float]] = []
    folds: dict[tuple[int, int], np.ndarray] = {}

    def column_of(trial: Trial, checkpoint: int | None) -> int:
        key = (trial.configuration.id, checkpoint)
        if key not in columns:
            columns[key] = len(candidates)
            candidates.append(
                trial.configuration
                if checkpoint is None
                else spaces[trial.configuration.learner].with_iterations(trial.configuration, checkpoint)
            )
            origins.append(trial.origin)
            final.append(checkpoint is None)
        return columns[key]

    for trial in trials:
        i = row[trial.task, _n_used(trial, n_rows)]
        metric = metrics[tasks[i].type]
        own = column_of(trial, None)
        if trial.state is not TrialState.COMPLETE:
            cells.append((i, own, np.inf, trial.fit_seconds))
            continue
        cells.append((i, own, _bound(trial.loss(metric)), trial.fit_seconds))
        folds[i, own] = np.asarray(trial.fold_losses[metric])
        space = spaces[trial.configuration.learner]
        n_iterations = space.iterations_of(trial.configuration)
        if n_iterations is not None:
            fewest, most = space.iterations
            for checkpoint, loss in zip(trial.curve.checkpoints, trial.curve.losses.get(metric, ()), strict=False):
                if not fewest <= checkpoint <= most or checkpoint == n_iterations:
                    continue
                seconds_then = trial.fit_seconds * checkpoint / n_iterations
                cells.append((i, column_of(trial, checkpoint), _bound(loss), seconds_then))

    losses = np.full((len(tasks), len(candidates)), np.nan)
    seconds = losses.copy()
    for i, j, loss, second in cells:
        losses[i, j], seconds[i, j] = loss, second
    defaults = {
        learner: columns[space.default.id, None]
        for learner, space in spaces.items()
        if (space.default.id, None) in columns
    }
    kept_rows = np.flatnonzero(np.isfinite(losses[:, list(defaults.values())]).any(axis=1))
    kept_tasks = [int(i) for i in kept_rows]
    covered = _kept_columns(
        losses[kept_rows], [tasks[i].id for i in kept_tasks], candidates, np.array(final, dtype=bool)
    )
    covered[list(defaults.values())] = True
    # In the order of their content, so that the order of the trials changes nothing.
    kept = np.array(sorted(np.flatnonzero(covered), key=lambda j: (candidates[j].id, final[j])), dtype=int)
    is_final = np.array(final, dtype=bool)
    flat = np.array([_is_flat(losses[i], is_final, folds, i, list(defaults.values())) for i in kept_tasks], dtype=bool)
    place = {int(column): index for index, column in enumerate(kept)}
    return Evidence(
        tuple(tasks[i] for i in kept_tasks),
        metafeatures[kept_rows],
        tuple(candidates[j] for j in kept),
        tuple(origins[j] for j in kept),
        is_final[kept],
        losses[np.ix_(kept_rows, kept)],
        seconds[np.ix_(kept_rows, kept)],
        {learner: place[column] for learner, column in defaults.items()},
        flat,
    )


def _keep_usable(trials: Sequence[Trial], metrics: Mapping[str, str], spaces: Mapping[str, SearchSpace]) -> list[Trial]:
    """Trials of the current spaces with a loss of their task's metric; one logged warning counts the others."""
    measured = [
        trial
        for trial in trials
        if trial.state is not TrialState.COMPLETE or trial.fold_losses.get(metrics[trial.task])
    ]
    kept = [trial for _, trial in upgrade_trials(measured, spaces)]
    if len(kept) < len(trials):
        _log.warning(
            "%d trial(s) of past tasks are left out: their configuration lies outside its search space or is that of "
            "another since a hyperparameter was removed, or they are complete without a loss of the metric asked for.",
            len(trials) - len(kept),
        )
    return kept


def _bound(loss: float) -> float:
    return loss if not loss > LARGEST else float("inf")


def comparable(trials: Sequence[Trial], n_rows: Mapping[str, int] | None = None) -> list[Trial]:
    """Of each task the trials of the protocol that most of its trials have, without the pruned ones.

    Losses on other rows or folds are other losses, and a pruned trial has those of its first folds only. With the
    number of rows `n_rows` of each task, each number of rows used of it has a protocol of its own.
    """
    keys = [(trial.task, _n_used(trial, n_rows) if n_rows else 0) for trial in trials]
    counts = Counter((key, trial.protocol) for key, trial in zip(keys, trials, strict=True))
    main = {key: protocol for (key, protocol), _ in sorted(counts.items(), key=lambda item: item[1])}
    return [
        trial
        for key, trial in zip(keys, trials, strict=True)
        if trial.protocol == main[key] and trial.state is not TrialState.PRUNED
    ]


def _n_used(trial: Trial, n_rows: Mapping[str, int]) -> int:
    """The rows that a trial used, also where it failed."""
    return min(n_rows[trial.task], trial.protocol.max_rows)


def _kept_columns(
    losses: np.ndarray, task_ids: Sequence[str], candidates: Sequence[Configuration], is_final: np.ndarray
) -> np.ndarray:
    """Which candidates to keep, shape (c,): the shared ones, and of the others the best few of each task.

    A task with a row of losses for each of several numbers of rows counts once.
    """
    measured = ~np.isnan(losses)
    tasks = np.array(task_ids)
    count = sum((measured[tasks == task].any(axis=0) for task in set(task_ids)), start=np.zeros(losses.shape[1], int))
    learners = np.array([candidate.learner for candidate in candidates])
    most = {learner: count[learners == learner].max(initial=0) for learner in set(learners.tolist())}
    kept = count >= np.maximum(MIN_COVERAGE * np.array([most[learner] for learner in learners.tolist()]), 2)
    kept |= (count > 0) & (count == np.array([most[learner] for learner in learners.tolist()]))
    own = np.where(measured & ~kept & is_final, losses, np.inf)
    n_own = min(OWN_CANDIDATES, max(1, MOST_OWN_CANDIDATES // len(losses))) if len(losses) else 0
    for values in own:
        best = np.argsort(values)[:n_own]
        kept[best[np.isfinite(values[best])]] = True
    return kept


def _is_flat(
    losses: np.ndarray, is_final: np.ndarray, folds: Mapping[tuple[int, int], np.ndarray], row: int, defaults: list[int]
) -> bool:
    default = min((column for column in defaults if (row, column) in folds), key=lambda column: losses[column])
    best = int(np.nanargmin(np.where(is_final, losses, np.nan)))
    pair = folds[row, best], folds[row, default]
    # An objective of a user's own may have left some folds out; then only the means can be compared.
    return is_flat(*(pair if len(pair[0]) == len(pair[1]) else (each.mean(keepdims=True) for each in pair)))


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


def normalised_losses(losses: np.ndarray, defaults: Sequence[int], *, clip: float) -> tuple[np.ndarray, np.ndarray]:
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
