"""Past tasks judged as if they were new: what is judged, and the models that are trained without them."""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _benchmark import ROOT, is_scored, read_learners
from joblib import Parallel, delayed

from metahp import api
from metahp.api.advisers import adviser_of
from metahp.api.models import train_model
from metahp.api.past_knowledge import measure_past
from metahp.core.metric import METRICS, canonical_metric, guiding_metric
from metahp.core.trial import Trial
from metahp.core.trial_columns import TrialColumns
from metahp.knowledge.records import TaskRecord
from metahp.learners.registry import LEARNERS
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.measurements import Measurements
from metahp.surrogate.validation import group_folds

# Figures about some left-out rows of one part: the rows (n,), and by name values of shape (n, …).
Judged = tuple[np.ndarray, dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """What past tasks of one kind say by one metric: `wanted` (t,) marks the tasks that are judged."""

    evidence: Evidence
    wanted: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """Indices of the judged tasks that are not flat."""
        assert self.evidence.flat is not None
        return np.flatnonzero(self.wanted & ~self.evidence.flat)


@dataclass(frozen=True, eq=False, kw_only=True)
class Guided:
    """Parts, by name, that one meta-model serves: one of the metric `guide`, trained on `learners`."""

    past: Measurements
    guide: str
    learners: tuple[str, ...]
    parts: Mapping[str, Part]

    def without(self, left_out: frozenset[str]) -> Measurements:
        """What the tasks that are not left out measured."""
        return self.past.drop_tasks(left_out)

    def rows(self, name: str, left_out: frozenset[str]) -> np.ndarray:
        """The rows of a part that are judged among those left out."""
        part = self.parts[name]
        return np.flatnonzero(part.wanted & [task.id in left_out for task in part.evidence.tasks])

    def advisers(self, left_out: frozenset[str], *, seed: int, is_validated: bool) -> dict[str, Adviser]:
        """What `metahp recommend` would ask for each part if it had never seen the tasks left out."""
        known = self.without(left_out)
        served = {part.evidence.metric for part in self.parts.values()}
        judged = replace(known, losses={metric: known.losses[metric] for metric in sorted(served)})
        guide = known.evidence(self.guide, self.learners)
        model = train_model(judged, guide, seed=seed, is_validated=is_validated)
        return {
            name: adviser_of(known.evidence(part.evidence.metric, list(part.evidence.spaces)), model)
            for name, part in self.parts.items()
        }


# Judges the tasks with some ids, which no model may know, and has a seed.
Work = Callable[[Guided, frozenset[str], int], dict[str, Judged]]


def collect(
    data: Path, learners: Sequence[str], names: Sequence[str] | None
) -> tuple[list[TaskRecord], list[Trial], list[str] | None]:
    """Past records and trials, and the names of the tasks to score (None for all)."""
    if not (data / "MANIFEST.csv").exists():
        return *read_learners(data, learners), list(names) if names else None
    rows = [row for row in api.read_manifest(data / "MANIFEST.csv") if not names or row.source.name in names]
    records, trials = read_learners(ROOT / "knowledge_base", learners)
    with tempfile.TemporaryDirectory() as folder:
        api.refresh(rows, Path(folder), learners=learners, n_jobs=2)
        new_records, new_trials = read_learners(Path(folder), learners)
    known = {record.task.id for record in new_records}
    return (
        [record for record in records if record.task.id not in known] + new_records,
        [trial for trial in trials if trial.task not in known] + new_trials,
        [record.task.name for record in new_records],
    )


def trained_on(learners: Sequence[str]) -> tuple[str, ...]:
    """The learners of the model that is asked about some: there is one of each, and one between all."""
    return tuple(learners) if len(learners) == 1 else tuple(LEARNERS)


def guided_parts(
    records: list[TaskRecord],
    trials: list[Trial],
    metrics: Sequence[str],
    learners: Sequence[str],
    names: Sequence[str] | None,
    rows: str,
) -> list[Guided]:
    """Parts for all metrics by their names, those together that one meta-model serves.

    Tasks are judged where every learner's default was measured.
    """
    found = []
    for is_classification in (True, False):
        its_metrics = [name for name in metrics if METRICS[name].task_types[0].is_classification == is_classification]
        if not its_metrics:
            continue
        past = measure_past(
            records, TrialColumns.of(trials), METRICS[its_metrics[0]].task_types[0], trained_on(learners)
        )
        known = tuple(sorted({candidate.learner for candidate in past.candidates}))
        for guide in dict.fromkeys(map(guiding_metric, its_metrics)):
            parts = {}
            for metric in (name for name in its_metrics if guiding_metric(name) == guide):
                evidence = past.evidence(canonical_metric(metric), learners)
                wanted = is_scored(evidence, records, rows)
                wanted &= [names is None or task.name in names for task in evidence.tasks]
                wanted &= np.isfinite(evidence.losses[:, list(evidence.defaults.values())]).all(axis=1)
                parts[metric] = Part(evidence=evidence, wanted=wanted)
            used = {guide, *map(canonical_metric, parts)}
            # Losses of single folds are in the way of the processes that the rest is sent to.
            needed = replace(
                past,
                losses={metric: past.losses[metric] for metric in sorted(used)},
                folds={metric: past.folds[metric] for metric in sorted(used)},
            )
            found.append(Guided(past=needed, guide=guide, learners=known, parts=parts))
    return found


def judge_left_out(
    guided: Sequence[Guided], work: Work, n_folds: int, n_seeds: int, n_jobs: int
) -> dict[str, dict[str, np.ndarray]]:
    """What `work` says by part, of every fold of every split: values of shape (n_seeds, t, …), NaN where not judged.

    `fold` (n_seeds, t) says with which others each task was left out. All metrics of a kind share their folds.
    """
    jobs = []
    for place, each in enumerate(guided):
        tasks = each.past.tasks
        groups = [task.group or task.id for task in tasks]
        for seed in range(n_seeds):
            for fold, (_, test) in enumerate(group_folds(groups, n_folds, seed=seed)):
                left_out = frozenset(tasks[i].id for i in test)
                if any(each.rows(name, left_out).size for name in each.parts):
                    jobs.append((place, left_out, seed, fold))
    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(work)(guided[place], left_out, seed) for place, left_out, seed, _ in jobs
    )
    gathered: dict[str, dict[str, np.ndarray]] = {name: {} for each in guided for name in each.parts}
    parts = {name: part for each in guided for name, part in each.parts.items()}
    for done, ((_, _, seed, fold), judged) in enumerate(zip(jobs, results, strict=True), start=1):
        print(f"{done} of {len(jobs)} folds", file=sys.stderr, flush=True)
        for name, (rows, values) in judged.items():
            for what, array in {**values, "fold": np.full(len(rows), float(fold))}.items():
                shape = n_seeds, parts[name].wanted.size, *array.shape[1:]
                gathered[name].setdefault(what, np.full(shape, np.nan))[seed, rows] = array
    return gathered
