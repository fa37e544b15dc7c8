"""Past tasks judged as if they were new: what is judged, the models that do not know them, and pairing by task."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from benchmarks.tables import Past, is_scored
from metahp.api.advisers import make_adviser
from metahp.api.models import train_model
from metahp.api.past_knowledge import measure_past
from metahp.core.metric import METRICS, find_canonical_metric, find_guiding_metric
from metahp.core.trial_columns import TrialColumns
from metahp.learners.registry import LEARNERS
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.measurements import Measurements
from metahp.surrogate.validation import make_group_folds

# Figures about some left-out rows of one metric: the rows (n,), and by name values of shape (n, …).
Judged = tuple[np.ndarray, dict[str, np.ndarray]]
# What was judged by a metric, by name: values of shape (n_seeds, t, …).
JudgedTasks = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class Scored:
    """What past tasks of one kind say by one metric: `wanted` (t,) marks the tasks that are judged."""

    evidence: Evidence
    wanted: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Indices of the judged tasks that are not flat."""
        assert self.evidence.flat is not None
        return np.flatnonzero(self.wanted & ~self.evidence.flat)


@dataclass(frozen=True, eq=False, kw_only=True)
class Guided:
    """What is scored by the metrics that one meta-model serves: one of the metric `guide`, trained on `learners`."""

    past: Measurements
    guide: str
    learners: tuple[str, ...]
    scored: Mapping[str, Scored]

    def rows(self, metric: str, left_out: frozenset[str]) -> np.ndarray:
        """The rows of a metric's evidence that are judged among those left out."""
        scored = self.scored[metric]
        return np.flatnonzero(scored.wanted & [task.id in left_out for task in scored.evidence.tasks])

    def advisers(self, left_out: frozenset[str], *, seed: int, is_validated: bool) -> dict[str, Adviser]:
        """What `metahp recommend` would ask by each metric if it had never seen the tasks left out."""
        known = self.past.drop_tasks(left_out)
        served = {scored.evidence.metric for scored in self.scored.values()}
        judged = replace(known, losses={metric: known.losses[metric] for metric in sorted(served)})
        guide = known.evidence(self.guide, self.learners)
        model = train_model(judged, guide, seed=seed, is_validated=is_validated)
        return {
            name: make_adviser(known.evidence(scored.evidence.metric, list(scored.evidence.spaces)), model)
            for name, scored in self.scored.items()
        }


# Judges the tasks with some ids, which no model may know, and has a seed.
Work = Callable[[Guided, frozenset[str], int], dict[str, Judged]]


def name_model_learners(learners: Sequence[str]) -> tuple[str, ...]:
    """The learners of the model that is asked about some: there is one of each, and one between all."""
    return tuple(learners) if len(learners) == 1 else tuple(LEARNERS)


def score_by_guide(
    past: Past, metrics: Sequence[str], learners: Sequence[str], names: Sequence[str] | None, rows: str
) -> list[Guided]:
    """What is scored by all metrics, those together that one meta-model serves.

    Tasks, of these names where there are any, are judged where every learner's default was measured.
    """
    found = []
    for is_classification in (True, False):
        of_kind = [name for name in metrics if METRICS[name].task_types[0].is_classification == is_classification]
        if not of_kind:
            continue
        measured = measure_past(
            past.records,
            TrialColumns.of(past.trials),
            METRICS[of_kind[0]].task_types[0],
            name_model_learners(learners),
        )
        known = tuple(sorted({candidate.learner for candidate in measured.candidates}))
        for guide in dict.fromkeys(map(find_guiding_metric, of_kind)):
            scored = {}
            for metric in (name for name in of_kind if find_guiding_metric(name) == guide):
                evidence = measured.evidence(find_canonical_metric(metric), learners)
                wanted = is_scored(evidence, past.records, rows)
                wanted &= [names is None or task.name in names for task in evidence.tasks]
                wanted &= np.isfinite(evidence.losses[:, list(evidence.defaults.values())]).all(axis=1)
                scored[metric] = Scored(evidence=evidence, wanted=wanted)
            used = {guide, *map(find_canonical_metric, scored)}
            # Losses of single folds are in the way of the processes that the rest is sent to.
            needed = replace(
                measured,
                losses={metric: measured.losses[metric] for metric in sorted(used)},
                folds={metric: measured.folds[metric] for metric in sorted(used)},
            )
            found.append(Guided(past=needed, guide=guide, learners=known, scored=scored))
    return found


def judge_left_out(
    guided: Sequence[Guided], work: Work, n_folds: int, n_seeds: int, n_jobs: int
) -> dict[str, dict[str, np.ndarray]]:
    """What `work` says by metric, of every fold of every split: values of shape (n_seeds, t, …), NaN where not judged.

    `fold` (n_seeds, t) says with which others each task was left out. All metrics of a kind share their folds.
    """
    jobs = []
    for place, each in enumerate(guided):
        tasks = each.past.tasks
        groups = [task.group or task.id for task in tasks]
        for seed in range(n_seeds):
            for fold, (_, test) in enumerate(make_group_folds(groups, n_folds, seed=seed)):
                left_out = frozenset(tasks[i].id for i in test)
                if any(each.rows(name, left_out).size for name in each.scored):
                    jobs.append((place, left_out, seed, fold))
    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(work)(guided[place], left_out, seed) for place, left_out, seed, _ in jobs
    )
    scored = {name: each for some in guided for name, each in some.scored.items()}
    gathered: dict[str, dict[str, np.ndarray]] = {name: {} for name in scored}
    for done, ((_, _, seed, fold), judged) in enumerate(zip(jobs, results, strict=True), start=1):
        print(f"{done} of {len(jobs)} folds", file=sys.stderr, flush=True)
        for name, (rows, values) in judged.items():
            for what, array in {**values, "fold": np.full(len(rows), float(fold))}.items():
                shape = n_seeds, scored[name].wanted.size, *array.shape[1:]
                gathered[name].setdefault(what, np.full(shape, np.nan))[seed, rows] = array
    return gathered


def pool(scored: Sequence[Scored], found: Sequence[JudgedTasks], name: str) -> np.ndarray:
    """What is called `name` of all tasks that count, shape (n_seeds, t, …)."""
    return np.concatenate([of[name][:, each.rows] for of, each in zip(found, scored, strict=True)], axis=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Regrets:
    """Regret of advice for left-out tasks, in a file, so that two versions of metahp are compared paired by task.

    `regret` has shape (n, k); `metric`, `task` and `n_rows` (n,) say of what, `seed` (n,) in which split into folds,
    and `fold` (n,) with which other tasks it was left out. `ks` (k,) are the numbers of configurations.
    """

    learners: str
    ks: np.ndarray
    metric: np.ndarray
    task: np.ndarray
    n_rows: np.ndarray
    seed: np.ndarray
    fold: np.ndarray
    regret: np.ndarray

    @classmethod
    def of(cls, scored: Sequence[Scored], found: Sequence[JudgedTasks], ks: Sequence[int]) -> "Regrets":
        """Those of metahp, of all tasks that count."""
        rows = [
            (each.evidence.metric, task.id, task.n_rows, seed, int(of["fold"][seed, row]), of["metahp"][seed, row])
            for each, of in zip(scored, found, strict=True)
            for seed in range(len(of["fold"]))
            for row, task in ((row, each.evidence.tasks[row]) for row in each.rows)
        ]
        columns = map(np.array, zip(*rows, strict=True))
        names = ("metric", "task", "n_rows", "seed", "fold", "regret")
        learners = "+".join(scored[0].evidence.spaces)
        return cls(learners=learners, ks=np.array(ks), **dict(zip(names, columns, strict=True)))

    def save(self, path: Path) -> None:
        """Write everything as plain arrays."""
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Regrets":
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{**arrays, "learners": str(arrays["learners"])})

    def below(self, older: "Regrets") -> tuple[np.ndarray, int]:
        """How much lower the regret is than an older one, shape (t, k), and how often a task's fold was another.

        Only what both have counts, over any number of tasks; a task's splits are averaged.
        """
        place = {key: index for index, key in enumerate(older._keys())}
        both = [(i, place[key]) for i, key in enumerate(self._keys()) if key in place]
        here, there = np.array(both, dtype=int).reshape(-1, 2).T
        below = older.regret[there] - self.regret[here]
        names = np.array([f"{self.metric[i]} {self.task[i]} {self.n_rows[i]}" for i in here])
        means = np.array([below[names == name].mean(axis=0) for name in np.unique(names)])
        return means.reshape(-1, len(self.ks)), int((self.fold[here] != older.fold[there]).sum())

    def _keys(self) -> list[tuple]:
        return list(zip(*(each.tolist() for each in (self.metric, self.task, self.n_rows, self.seed)), strict=True))
