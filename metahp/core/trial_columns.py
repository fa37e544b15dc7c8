"""Trials as columns: the training data, without one object per trial."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.trial import Origin, Protocol, Trial, TrialState

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberLists:
    """A list of numbers for each of n rows: row i has `values[starts[i] : starts[i] + counts[i]]`.

    Attributes:
        starts: Place of each list's first number in `values`, shape (n,).
        counts: Length of each list, shape (n,).
        values: The numbers of all lists, one-dimensional.
    """

    starts: np.ndarray
    counts: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, lists: Sequence[Sequence[float]]) -> "NumberLists":
        """The lists of these rows."""
        counts = np.array([len(numbers) for numbers in lists], dtype=np.int64)
        values = np.array(list(chain.from_iterable(lists)), dtype=float)
        return cls(starts=np.cumsum(counts) - counts, counts=counts, values=values)

    @classmethod
    def join(cls, parts: Sequence["NumberLists"]) -> "NumberLists":
        """The rows of all parts, one after the other."""
        n_values = np.cumsum([0, *(len(part.values) for part in parts)])
        return cls(
            starts=np.concatenate([part.starts + n for part, n in zip(parts, n_values[:-1], strict=True)]),
            counts=np.concatenate([part.counts for part in parts]),
            values=np.concatenate([part.values for part in parts]),
        )

    def take(self, rows: np.ndarray) -> "NumberLists":
        """The lists of some rows, selected by index or by mask."""
        return replace(self, starts=self.starts[rows], counts=self.counts[rows])

    def mean(self) -> np.ndarray:
        """The mean of each list, shape (n,), bit for bit as `np.mean` of that list; NaN for an empty list."""
        means = np.full(len(self.counts), np.nan)
        with np.errstate(over="ignore"):
            for count in np.unique(self.counts[self.counts > 0]).tolist():
                rows = np.flatnonzero(self.counts == count)
                means[rows] = self.matrix(rows, count).mean(axis=1)
        return means

    def matrix(self, rows: np.ndarray, width: int) -> np.ndarray:
        """The lists of `rows` as a matrix, shape (len(rows), width); NaN after the end of a list."""
        offsets = np.arange(width)
        is_inside = offsets < self.counts[rows, None]
        matrix = np.full(is_inside.shape, np.nan)
        matrix[is_inside] = self.values[(self.starts[rows, None] + offsets)[is_inside]]
        return matrix

    def flatten(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, position in its list, and value of each number, sorted by row and position."""
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        return rows, places, self.values[self.starts[rows] + places]


@dataclass(frozen=True, eq=False, kw_only=True)
class LossLists:
    """A list of losses for each metric and each of n rows; empty if a row has no loss of that metric.

    Attributes:
        metrics: Names of the metrics.
        starts: Place of each list's first loss in `values`, shape (len(metrics), n).
        counts: Length of each list, same shape.
        values: The losses of all lists, one-dimensional.
    """

    metrics: tuple[str, ...]
    starts: np.ndarray
    counts: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Sequence[float]]]) -> "LossLists":
        """The lists of these rows; each row maps a metric to its losses."""
        metrics = tuple(dict.fromkeys(chain.from_iterable(rows)))
        lists = NumberLists.of([row.get(metric, ()) for metric in metrics for row in rows])
        shape = len(metrics), len(rows)
        return cls(
            metrics=metrics,
            starts=lists.starts.reshape(shape),
            counts=lists.counts.reshape(shape),
            values=lists.values,
        )

    @classmethod
    def join(cls, parts: Sequence["LossLists"]) -> "LossLists":
        """The rows of all parts, one after the other."""
        metrics = tuple(dict.fromkeys(chain.from_iterable(part.metrics for part in parts)))
        n_rows = [part.starts.shape[1] for part in parts]
        starts, counts = (np.zeros((len(metrics), sum(n_rows)), dtype=np.int64) for _ in range(2))
        n_before = n_values = 0
        for part, n in zip(parts, n_rows, strict=True):
            for place, metric in enumerate(part.metrics):
                at = metrics.index(metric), slice(n_before, n_before + n)
                starts[at], counts[at] = part.starts[place] + n_values, part.counts[place]
            n_before, n_values = n_before + n, n_values + len(part.values)
        values = np.concatenate([part.values for part in parts])
        return cls(metrics=metrics, starts=starts, counts=counts, values=values)

    def take(self, rows: np.ndarray) -> "LossLists":
        """The losses of some rows, selected by index or by mask."""
        return replace(self, starts=self.starts[:, rows], counts=self.counts[:, rows])

    def choose(self, metrics: Sequence[str], codes: np.ndarray) -> NumberLists:
        """One list of losses per row: row i has its losses of `metrics[codes[i]]`."""
        # An empty row at the end stands for metrics that no trial has.
        places = {metric: place for place, metric in enumerate(self.metrics)}
        place = np.array([places.get(metric, len(places)) for metric in metrics], dtype=int)[codes]
        empty, columns = np.zeros((1, self.starts.shape[1]), dtype=np.int64), np.arange(self.starts.shape[1])
        return NumberLists(
            starts=np.concatenate([self.starts, empty])[place, columns],
            counts=np.concatenate([self.counts, empty])[place, columns],
            values=self.values,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class TrialColumns:
    """The fields of n trials as arrays of shape (n,), for training.

    Trial i has the task `tasks[task_of[i]]`, the configuration `configurations[configuration_of[i]]` and the protocol
    `protocols[protocol_of[i]]`. Each task, configuration and protocol is stored once; configurations are the same if
    their ids are.

    Attributes:
        ids: Ids of the trials, an object array.
        tasks: Ids of the tasks.
        task_of: Index into `tasks`.
        configurations: The distinct configurations.
        configuration_of: Index into `configurations`.
        protocols: The distinct protocols.
        protocol_of: Index into `protocols`.
        states: `TrialState` of each trial, an object array.
        origins: `Origin` of each trial, an object array.
        fit_seconds: Seconds of training, summed over the folds.
        fold_losses: Losses per fold and repeat.
        checkpoints: Checkpoints of the curves.
        curve_losses: Losses at the checkpoints.
    """

    ids: np.ndarray
    tasks: tuple[str, ...]
    task_of: np.ndarray
    configurations: tuple[Configuration, ...]
    configuration_of: np.ndarray
    protocols: tuple[Protocol, ...]
    protocol_of: np.ndarray
    states: np.ndarray
    origins: np.ndarray
    fit_seconds: np.ndarray
    fold_losses: LossLists
    checkpoints: NumberLists
    curve_losses: LossLists

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> "TrialColumns":
        """The columns of these trials, in their order."""
        trials = list(trials)
        return cls.from_fields(
            ids=[trial.id for trial in trials],
            tasks=[trial.task for trial in trials],
            configurations=[trial.configuration for trial in trials],
            protocols=[trial.protocol for trial in trials],
            states=[trial.state for trial in trials],
            origins=[trial.origin for trial in trials],
            fit_seconds=np.array([trial.fit_seconds for trial in trials], dtype=float),
            fold_losses=LossLists.of([trial.fold_losses for trial in trials]),
            checkpoints=NumberLists.of([trial.curve.checkpoints for trial in trials]),
            curve_losses=LossLists.of([trial.curve.losses for trial in trials]),
        )

    @classmethod
    def from_fields(
        cls,
        *,
        ids: Sequence[str],
        tasks: Sequence[str],
        configurations: Sequence[Configuration],
        protocols: Sequence[Protocol],
        states: Sequence[TrialState],
        origins: Sequence[Origin],
        fit_seconds: np.ndarray,
        fold_losses: LossLists,
        checkpoints: NumberLists,
        curve_losses: LossLists,
    ) -> "TrialColumns":
        """The columns of trials with these fields; each argument has one entry per trial."""
        distinct_tasks, task_of = _number_distinct(tasks, tasks)
        distinct, configuration_of = _number_configurations(configurations)
        distinct_protocols, protocol_of = _number_distinct(protocols, protocols)
        return cls(
            ids=_to_objects(ids),
            tasks=distinct_tasks,
            task_of=task_of,
            configurations=distinct,
            configuration_of=configuration_of,
            protocols=distinct_protocols,
            protocol_of=protocol_of,
            states=_to_objects(states),
            origins=_to_objects(origins),
            fit_seconds=fit_seconds,
            fold_losses=fold_losses,
            checkpoints=checkpoints,
            curve_losses=curve_losses,
        )

    @classmethod
    def join(cls, parts: Sequence["TrialColumns"]) -> "TrialColumns":
        """The trials of all parts, one after the other."""
        return cls.from_fields(
            ids=[key for part in parts for key in part.ids],
            tasks=[part.tasks[i] for part in parts for i in part.task_of.tolist()],
            configurations=[part.configurations[i] for part in parts for i in part.configuration_of.tolist()],
            protocols=[part.protocols[i] for part in parts for i in part.protocol_of.tolist()],
            states=[state for part in parts for state in part.states],
            origins=[origin for part in parts for origin in part.origins],
            fit_seconds=np.concatenate([part.fit_seconds for part in parts]),
            fold_losses=LossLists.join([part.fold_losses for part in parts]),
            checkpoints=NumberLists.join([part.checkpoints for part in parts]),
            curve_losses=LossLists.join([part.curve_losses for part in parts]),
        )

    def take(self, rows: np.ndarray) -> "TrialColumns":
        """Some of the trials, selected by index or by mask."""
        return replace(
            self,
            ids=self.ids[rows],
            task_of=self.task_of[rows],
            configuration_of=self.configuration_of[rows],
            protocol_of=self.protocol_of[rows],
            states=self.states[rows],
            origins=self.origins[rows],
            fit_seconds=self.fit_seconds[rows],
            fold_losses=self.fold_losses.take(rows),
            checkpoints=self.checkpoints.take(rows),
            curve_losses=self.curve_losses.take(rows),
        )

    def replace_configurations(self, configurations: Sequence[Configuration]) -> "TrialColumns":
        """The same trials with each entry of `self.configurations` replaced by the one at the same place."""
        distinct, code_of = _number_configurations(configurations)
        return replace(self, configurations=distinct, configuration_of=code_of[self.configuration_of])


def _number_distinct(values: Sequence[Value], keys: Sequence[Hashable]) -> tuple[tuple[Value, ...], np.ndarray]:
    """The first value of each distinct key, and the place of each value's key among them, shape (n,)."""
    places: dict[Hashable, int] = {}
    distinct: list[Value] = []
    codes = np.empty(len(values), dtype=np.int64)
    for row, (key, value) in enumerate(zip(keys, values, strict=True)):
        place = places.setdefault(key, len(distinct))
        if place == len(distinct):
            distinct.append(value)
        codes[row] = place
    return tuple(distinct), codes


def _number_configurations(configurations: Sequence[Configuration]) -> tuple[tuple[Configuration, ...], np.ndarray]:
    # By id: configurations with 1 and 1.0 are equal but have different ids.
    return _number_distinct(configurations, [configuration.id for configuration in configurations])


def _to_objects(values: Sequence[object]) -> np.ndarray:
    """An array of objects, shape (n,); numpy does not unpack sequences in it."""
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return objects
