"""Many trials as columns: what is learned from, without an object for each trial."""

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
    """A list of numbers for each of n rows: row i has `values[starts[i] : starts[i] + counts[i]]`."""

    starts: np.ndarray
    counts: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, lists: Sequence[Sequence[float]]) -> "NumberLists":
        """The lists of these rows."""
        counts = np.array([len(each) for each in lists], dtype=np.int64)
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
        """The lists of some rows, chosen by their places or by a mask."""
        return replace(self, starts=self.starts[rows], counts=self.counts[rows])

    def mean(self) -> np.ndarray:
        """The mean of each list, shape (n,), as `np.mean` computes it for that list alone; NaN where it is empty."""
        means = np.full(len(self.counts), np.nan)
        with np.errstate(over="ignore"):
            for count in np.unique(self.counts[self.counts > 0]).tolist():
                rows = np.flatnonzero(self.counts == count)
                means[rows] = self.matrix(rows, count).mean(axis=1)
        return means

    def matrix(self, rows: np.ndarray, width: int) -> np.ndarray:
        """The lists of the rows at these places, shape (len(rows), width); NaN behind the end of a list."""
        offsets = np.arange(width)
        is_inside = offsets < self.counts[rows, None]
        found = np.full(is_inside.shape, np.nan)
        found[is_inside] = self.values[(self.starts[rows, None] + offsets)[is_inside]]
        return found

    def flatten(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The row, the place in the list and the value of each number, in the order of rows and places."""
        rows = np.repeat(np.arange(len(self.counts)), self.counts)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        return rows, places, self.values[self.starts[rows] + places]


@dataclass(frozen=True, eq=False, kw_only=True)
class LossLists:
    """Lists of losses by metric for each of n rows, empty where a row has none of that metric.

    `starts` and `counts` have shape (len(metrics), n); the losses of all of them lie in `values`.
    """

    metrics: tuple[str, ...]
    starts: np.ndarray
    counts: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Sequence[float]]]) -> "LossLists":
        """The losses of these rows, each of which has them by metric."""
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
        """The losses of some rows, chosen by their places or by a mask."""
        return replace(self, starts=self.starts[:, rows], counts=self.counts[:, rows])

    def choose(self, metrics: Sequence[str], codes: np.ndarray) -> NumberLists:
        """The losses of one metric of each row: of row i those of `metrics[codes[i]]`."""
        # The last one, which is empty, stands for metrics that no row has.
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
    """The trials that are learned from, n of them: the fields of `Trial` as arrays of shape (n,).

    Trial i is of the task `tasks[task_of[i]]`, of `configurations[configuration_of[i]]` and of
    `protocols[protocol_of[i]]`, each of which is named once; configurations are told apart by their ids. `states`,
    `origins` and `ids` are objects.
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
        """The columns of trials with these fields, one of each for each trial."""
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
        """Some of the trials, chosen by their places or by a mask."""
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

    def with_configurations(self, configurations: Sequence[Configuration]) -> "TrialColumns":
        """The same trials with other configurations, one for each of those that are here, in their order."""
        distinct, code_of = _number_configurations(configurations)
        return replace(self, configurations=distinct, configuration_of=code_of[self.configuration_of])


def _number_distinct(values: Sequence[Value], keys: Sequence[Hashable]) -> tuple[tuple[Value, ...], np.ndarray]:
    """The values with distinct keys, the first of each, and the place of each value's among them, shape (n,)."""
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
    # 1 and 1.0 are equal, and have different ids.
    return _number_distinct(configurations, [each.id for each in configurations])


def _to_objects(values: Sequence[object]) -> np.ndarray:
    """An array of objects, shape (n,), whatever these are."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found
