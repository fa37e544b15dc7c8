"""Collecting measurements: from trials of past tasks to matrices of tasks by candidates."""

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TypeVar

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.task import Task
from metahp.core.trial import Origin, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.core.upgrade import upgrade_columns
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.measurements import LARGEST, Measurements, choose_best_candidates

# A candidate is shared if at least two tasks, and at least this share of the tasks of its learner, have measured it.
MIN_COVERAGE = 0.05
Key = TypeVar("Key", bound=Hashable)
Kind = TypeVar("Kind", bound=Hashable)
_log = logging.getLogger(__name__)


def collect_measurements(
    tasks: Sequence[Task],
    metafeatures: np.ndarray,
    trials: TrialColumns,
    *,
    metrics: Mapping[str, Mapping[str, str]],
    spaces: Mapping[str, SearchSpace],
    constants: Mapping[str, np.ndarray] | None = None,
) -> Measurements:
    """Collect the trials of `tasks` for the learners in `spaces`.

    Args:
        tasks: Past tasks; a task without a complete trial of any learner's default is left out.
        metafeatures: Shape (t, m), one row for each of `tasks`; absolute values above `LARGEST` count as missing.
        trials: Trials of any task and learner. Trials of other tasks and learners, pruned trials, and trials without
            the most frequent protocol of their task and number of rows are ignored. One logged warning counts unusable
            trials: a configuration outside its search space, or a complete trial without any of the metrics. Trials of
            older versions of a space are upgraded by `upgrade_columns`.
        metrics: Names by task type for each metric, so that tasks of several types can share one matrix.
        spaces: Search space by learner.
        constants: Losses of a constant prediction by metric, one for each of `tasks`; None means 1.

    Of the candidates that are not shared, the best ones of each task for each metric are kept.
    """
    found = _Collection.of(tasks, trials, metrics, spaces)
    losses = {metric: found.find_losses(metric) for metric in metrics}
    defaults = [found.columns[key] for space in spaces.values() if (key := (space.default.id, True)) in found.columns]
    has_default = [np.isfinite(values[:, defaults]).any(axis=1) for values in losses.values()]
    rows = np.flatnonzero(np.any(has_default, axis=0)) if has_default else np.arange(0)
    kept = np.zeros(len(found.candidates), dtype=bool)
    kept[defaults] = True
    ids = [tasks[found.rows[i][0]].id for i in rows]
    for values in losses.values():
        kept |= _choose_candidates(values[rows], ids, found.candidates, found.is_final)
    # Sorted by content, so that the order of the trials has no effect.
    columns = np.array(
        sorted(np.flatnonzero(kept), key=lambda j: (found.candidates[j].id, found.is_final[j])), dtype=int
    )
    places = [found.rows[i][0] for i in rows]
    vectors = metafeatures[places]
    return Measurements(
        spaces=spaces,
        tasks=tuple(replace(tasks[place], n_rows=n) for place, n in (found.rows[i] for i in rows)),
        metafeatures=np.where(np.abs(vectors) <= LARGEST, vectors, np.nan),
        constants={
            metric: np.ones(len(rows)) if constants is None else np.asarray(constants[metric], dtype=float)[places]
            for metric in metrics
        },
        candidates=tuple(found.candidates[j] for j in columns),
        origins=tuple(found.origins[j] for j in columns),
        is_final=found.is_final[columns],
        losses={metric: values[np.ix_(rows, columns)] for metric, values in losses.items()},
        fit_seconds=found.fill(found.cells.seconds, np.arange(len(found.cells.seconds)))[np.ix_(rows, columns)],
        folds={metric: found.find_folds(metric, losses[metric], rows) for metric in metrics},
    )


def collect_evidence(
    tasks: Sequence[Task],
    metafeatures: np.ndarray,
    trials: TrialColumns,
    *,
    metric: str,
    metrics: Mapping[str, str],
    spaces: Mapping[str, SearchSpace],
) -> Evidence:
    """The evidence of one metric; `metrics` has its name by task type, other arguments as in `collect_measurements`."""
    found = collect_measurements(tasks, metafeatures, trials, metrics={metric: metrics}, spaces=spaces)
    return found.evidence(metric, list(spaces))


def find_main_protocols(keys: Iterable[Key], protocols: Iterable[Kind]) -> dict[Key, Kind]:
    """The most frequent protocol for each key; losses on different rows or folds cannot be compared."""
    counts = Counter(zip(keys, protocols, strict=True))
    return {key: protocol for (key, protocol), _ in sorted(counts.items(), key=itemgetter(1))}


@dataclass(frozen=True, eq=False, kw_only=True)
class _Cells:
    """Cells of the matrix that trials fill: for each trial its own cell, then the cells of its curve; all shape (n,).

    Attributes:
        trials: Index of the trial.
        places: Index on the trial's curve; -1 for the trial's own cell.
        columns: Index of the candidate.
        seconds: Seconds of training.
    """

    trials: np.ndarray
    places: np.ndarray
    columns: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class _Collection:
    """The usable trials of some tasks, and the matrix that they fill.

    Attributes:
        tasks: The tasks.
        metrics: Names by task type for each metric.
        spaces: Search space by learner.
        trials: The usable trials.
        place_of: Index of each trial's task in `tasks`.
        rows: Index of the task and number of used table rows, for each row of the matrix.
        row_of: Row of the matrix for each trial.
        cells: Cells that the trials fill.
        candidates: Columns of the matrix, in the order of the trials.
        origins: Origin of each candidate.
        is_final: Whether each candidate is a trial's own configuration and not a checkpoint.
        columns: Index of a candidate by its id and whether it is final.
    """

    tasks: Sequence[Task]
    metrics: Mapping[str, Mapping[str, str]]
    spaces: Mapping[str, SearchSpace]
    trials: TrialColumns
    place_of: np.ndarray
    rows: list[tuple[int, int]]
    row_of: np.ndarray
    cells: _Cells
    candidates: list[Configuration]
    origins: list[Origin]
    is_final: np.ndarray
    columns: Mapping[tuple[str, bool], int]

    @classmethod
    def of(
        cls,
        tasks: Sequence[Task],
        trials: TrialColumns,
        metrics: Mapping[str, Mapping[str, str]],
        spaces: Mapping[str, SearchSpace],
    ) -> "_Collection":
        """Choose the usable trials and number their rows and candidates."""
        places = {task.id: place for place, task in enumerate(tasks)}
        place_of_task = np.array([places.get(task, -1) for task in trials.tasks], dtype=int)
        has_space = np.array([each.learner in spaces for each in trials.configurations], dtype=bool)
        trials = trials.take((place_of_task[trials.task_of] >= 0) & has_space[trials.configuration_of])
        trials = _keep_usable(trials, tasks, place_of_task[trials.task_of], metrics, spaces)
        n_rows = np.array([task.n_rows for task in tasks], dtype=np.int64)
        most_rows = np.array([protocol.max_rows for protocol in trials.protocols], dtype=np.int64)
        # Number of table rows that a trial used; also known for failed trials.
        n_used = np.minimum(n_rows[place_of_task[trials.task_of]], most_rows[trials.protocol_of])
        is_kept = _is_comparable(trials, n_used)
        trials, n_used = trials.take(is_kept), n_used[is_kept]
        # In an order of their own, which decides whose origin and checkpoint a candidate has.
        order = np.lexsort(
            (
                _rank([each.id for each in trials.configurations])[trials.configuration_of],
                _rank(trials.tasks)[trials.task_of],
            )
        )
        trials, n_used = trials.take(order), n_used[order]
        place_of = place_of_task[trials.task_of]
        pairs = list(zip(place_of.tolist(), n_used.tolist(), strict=True))
        rows = sorted(set(pairs))
        row = {pair: index for index, pair in enumerate(rows)}
        cells, candidates, origins, is_final, columns = _number_candidates(trials, spaces)
        return cls(
            tasks=tasks,
            metrics=metrics,
            spaces=spaces,
            trials=trials,
            place_of=place_of,
            rows=rows,
            row_of=np.array([row[pair] for pair in pairs], dtype=int),
            cells=cells,
            candidates=candidates,
            origins=origins,
            is_final=is_final,
            columns=columns,
        )

    def fill(self, values: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """The matrix with `values` in the cells of index `cells`, NaN elsewhere; later values replace earlier ones."""
        matrix = np.full((len(self.rows), len(self.candidates)), np.nan)
        matrix[self.row_of[self.cells.trials[cells]], self.cells.columns[cells]] = values
        return matrix

    def find_losses(self, metric: str) -> np.ndarray:
        """The matrix of a metric's losses: infinite for failed trials, NaN for missing losses."""
        cells, trials = self.cells, self.trials
        names = [self.metrics[metric][task.type] for task in self.tasks]
        folds = trials.fold_losses.choose(names, self.place_of)
        curves = trials.curve_losses.choose(names, self.place_of)
        is_complete = trials.states == TrialState.COMPLETE
        is_own = cells.places < 0
        is_on_curve = ~is_own & (cells.places < curves.counts[cells.trials])
        values = np.full(len(cells.trials), np.nan)
        values[is_own] = np.where(is_complete, folds.mean(), np.inf)[cells.trials[is_own]]
        values[is_on_curve] = curves.values[curves.starts[cells.trials[is_on_curve]] + cells.places[is_on_curve]]
        known = np.flatnonzero(is_on_curve | is_own & (~is_complete | (folds.counts > 0))[cells.trials])
        return self.fill(np.where(values[known] > LARGEST, np.inf, values[known]), known)

    def find_folds(self, metric: str, losses: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The losses on each fold of each learner's best configuration and default, as in `Measurements.folds`.

        Only for the given `rows` of `losses`, the matrix of the metric.
        """
        names = [self.metrics[metric][task.type] for task in self.tasks]
        folds = self.trials.fold_losses.choose(names, self.place_of)
        is_known = (folds.counts > 0) & (self.trials.states == TrialState.COMPLETE)
        n_folds = int(folds.counts[is_known].max(initial=1)) if is_known.any() else 1
        found = np.full((len(rows), len(self.spaces), 2, n_folds), np.nan)
        places = np.full(len(self.rows), -1)
        places[rows] = np.arange(len(rows))
        known = np.flatnonzero(is_known & (places[self.row_of] >= 0))
        configurations, codes = self.trials.configurations, self.trials.configuration_of[known]
        learners = {name: index for index, name in enumerate(self.spaces)}
        learner_of = np.array([learners.get(each.learner, -1) for each in configurations], dtype=int)[codes]
        own = self.cells.columns[self.cells.places < 0]
        values = losses[self.row_of[known], own[known]]
        at = places[self.row_of[known]], learner_of
        defaults = {space.default.id for space in self.spaces.values()}
        is_default = np.array([each.id in defaults for each in configurations], dtype=bool)[codes]
        lists = folds.matrix(known, n_folds)
        found[at[0][is_default], at[1][is_default], 1] = lists[is_default]
        # Ties are broken by the id of the configuration, so that the order of trials has no effect.
        order = np.lexsort((_rank([each.id for each in configurations])[codes], values, at[1], at[0]))
        order = order[values[order] < np.inf]
        best = order[np.unique(np.column_stack([at[0][order], at[1][order]]), axis=0, return_index=True)[1]]
        found[at[0][best], at[1][best], 0] = lists[best]
        return found


def _number_candidates(
    trials: TrialColumns, spaces: Mapping[str, SearchSpace]
) -> tuple[_Cells, list[Configuration], list[Origin], np.ndarray, dict[tuple[str, bool], int]]:
    """The cells that trials fill, and the candidates, as the fields of `_Collection`."""
    shape = len(trials.configurations)
    n_iterations, fewest, most = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    is_counted = np.zeros(shape, dtype=bool)
    for code in np.unique(trials.configuration_of).tolist():
        configuration = trials.configurations[code]
        space = spaces[configuration.learner]
        n = space.iterations_of(configuration)
        if n is not None:
            is_counted[code], n_iterations[code], (fewest[code], most[code]) = True, n, space.iterations
    rows, places, checkpoints = trials.checkpoints.flatten()
    codes, checkpoints = trials.configuration_of[rows], checkpoints.astype(np.int64)
    is_cell = (trials.states == TrialState.COMPLETE)[rows] & is_counted[codes]
    is_cell &= (fewest[codes] <= checkpoints) & (checkpoints <= most[codes]) & (checkpoints != n_iterations[codes])
    rows = np.concatenate([np.arange(len(trials)), rows[is_cell]])
    places = np.concatenate([np.full(len(trials), -1), places[is_cell]])
    # 0 stands for the trial's own cell; no checkpoint is 0.
    checkpoints = np.concatenate([np.zeros(len(trials), dtype=np.int64), checkpoints[is_cell]])
    order = np.lexsort((places, rows))
    rows, places, checkpoints = rows[order], places[order], checkpoints[order]
    codes = trials.configuration_of[rows]
    seconds = trials.fit_seconds[rows]
    on_curve = places >= 0
    seconds[on_curve] = seconds[on_curve] * checkpoints[on_curve] / n_iterations[codes[on_curve]]

    keys = codes * (checkpoints.max(initial=0) + 1) + checkpoints
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    column_of = np.empty(len(first), dtype=int)
    # Two runs that differ only in their iterations may share a checkpoint, which is then one candidate.
    columns: dict[tuple[str, bool], int] = {}
    candidates: list[Configuration] = []
    origins: list[Origin] = []
    final: list[bool] = []
    for key in np.argsort(first).tolist():
        cell = first[key]
        candidate, checkpoint = trials.configurations[codes[cell]], int(checkpoints[cell])
        if checkpoint:
            candidate = spaces[candidate.learner].with_iterations(candidate, checkpoint)
        column_of[key] = columns.setdefault((candidate.id, not checkpoint), len(candidates))
        if column_of[key] == len(candidates):
            candidates.append(candidate)
            origins.append(trials.origins[rows[cell]])
            final.append(not checkpoint)
    cells = _Cells(trials=rows, places=places, columns=column_of[inverse.reshape(-1)], seconds=seconds)
    return cells, candidates, origins, np.array(final, dtype=bool), columns


def _keep_usable(
    trials: TrialColumns,
    tasks: Sequence[Task],
    place_of: np.ndarray,
    metrics: Mapping[str, Mapping[str, str]],
    spaces: Mapping[str, SearchSpace],
) -> TrialColumns:
    """Trials upgraded to the current spaces that have a loss of a metric or failed; one warning counts the others.

    Trials that a user ran outside the spaces are left out without a warning.
    """
    is_inside = np.array([not each.is_outside for each in trials.configurations], dtype=bool)[trials.configuration_of]
    is_measured = trials.states != TrialState.COMPLETE
    for by_type in metrics.values():
        is_measured |= trials.fold_losses.choose([by_type[task.type] for task in tasks], place_of).counts > 0
    kept = upgrade_columns(trials.take(is_measured & is_inside), spaces)
    if len(kept) < is_inside.sum():
        _log.warning(
            "%d trial(s) of past tasks are left out, so the advice rests on the others: they no longer fit the search "
            "space, or have no loss of the metric asked for.",
            is_inside.sum() - len(kept),
        )
    return kept


def _is_comparable(trials: TrialColumns, n_used: np.ndarray) -> np.ndarray:
    """Whether each trial has the main protocol of its task and number of used rows and is not pruned, shape (n,).

    A pruned trial has losses of its first folds only. The main protocol is one without weights of rows, where there is
    one: meta-features and constant predictions know no weights.
    """
    keys = list(zip(trials.task_of.tolist(), n_used.tolist(), strict=True))
    is_weighted = np.array([each.is_weighted for each in trials.protocols], dtype=bool)[trials.protocol_of]
    main: dict[tuple[int, int], int] = {}
    for kind in (is_weighted, ~is_weighted):
        places = np.flatnonzero(kind).tolist()
        main |= find_main_protocols([keys[i] for i in places], trials.protocol_of[places].tolist())
    has_main = trials.protocol_of == np.array([main[key] for key in keys], dtype=int)
    return has_main & (trials.states != TrialState.PRUNED)


def _choose_candidates(
    losses: np.ndarray, task_ids: Sequence[str], candidates: Sequence[Configuration], is_final: np.ndarray
) -> np.ndarray:
    """Whether to keep each candidate, shape (c,): shared candidates, and the best few others of each task.

    A task that was measured on several numbers of table rows has several rows of losses but counts once.
    """
    measured = ~np.isnan(losses)
    tasks = np.array(task_ids)
    count = sum((measured[tasks == task].any(axis=0) for task in set(task_ids)), start=np.zeros(losses.shape[1], int))
    learners = np.array([candidate.learner for candidate in candidates])
    most = {learner: count[learners == learner].max(initial=0) for learner in set(learners.tolist())}
    kept = count >= np.maximum(MIN_COVERAGE * np.array([most[learner] for learner in learners.tolist()]), 2)
    kept |= (count > 0) & (count == np.array([most[learner] for learner in learners.tolist()]))
    return kept | choose_best_candidates(np.where(kept | ~is_final, np.nan, losses), len(losses))


def _rank(texts: Sequence[str]) -> np.ndarray:
    """The rank of each text in alphabetical order, shape (n,)."""
    ranks = np.empty(len(texts), dtype=int)
    ranks[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    return ranks
