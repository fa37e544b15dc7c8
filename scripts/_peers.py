"""What the comparisons with peers share: the peers themselves, the tables, and a cache of what was measured."""

import importlib.util
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _benchmark import read_learners, seed_of
from joblib import Parallel, delayed

from metahp import api
from metahp.api.past_knowledge import measure_past
from metahp.core.configuration import Configuration
from metahp.core.metric import canonical_metric
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, Trial
from metahp.core.trial_columns import TrialColumns
from metahp.datasets.table import Table
from metahp.evaluation.protocol import measure
from metahp.knowledge.records import TaskRecord
from metahp.learners.base import Learner
from metahp.learners.registry import learner_named
from metahp.refinement.strategies import strategy_named
from metahp.refinement.strategy import Observation
from metahp.surrogate.calibration import OF_TABLES
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks
from metahp.surrogate.validation import group_folds

LEARNER = "lightgbm"
N_FOLDS = 5
# A task type stands for its kin: classification learns from classification.
KINDS = {"classification": TaskType.BINARY, "regression": TaskType.REGRESSION}
# All of them are metrics that a meta-model is trained for.
METRIC_SETS = {
    "log_loss": {"classification": "neg_log_loss", "regression": "neg_root_mean_squared_error"},
    "default": {"classification": "roc_auc", "regression": "neg_root_mean_squared_error"},
}
# What pytabkit calls the loss that it stops on.
_STOPPED_ON = {
    "neg_log_loss": "cross_entropy",
    "roc_auc": "1-auc_ovr",
    "roc_auc_ovr": "1-auc_ovr",
    "neg_root_mean_squared_error": "rmse",
}


@dataclass(frozen=True, eq=False)
class Part:
    """Training and test rows of one table: `features` as in `Table`, `y` codes or numbers."""

    X_train: pd.DataFrame
    y_train: np.ndarray
    X_test: pd.DataFrame
    task_type: TaskType
    n_classes: int


def part_of(table: Table, train: np.ndarray, test: np.ndarray) -> Part:
    """A fold of a table; columns get plain names, which every library takes."""
    features = table.features.set_axis([f"f{i}" for i in range(table.features.shape[1])], axis=1)
    return Part(features.iloc[train], table.y[train], features.iloc[test], table.task.type, table.task.n_classes)


def flaml(part: Part, metric: str) -> np.ndarray:
    """Predictions of LightGBM as FLAML's zero-shot rules would have it on these training rows."""
    from flaml.default import suggest_hyperparams  # noqa: PLC0415

    kind = "classification" if part.task_type.is_classification else "regression"
    hyperparameters, estimator_class = suggest_hyperparams(kind, part.X_train, pd.Series(part.y_train), "lgbm")
    arguments = {"random_state": 0, "n_jobs": 1, "verbose": -1, **hyperparameters}
    return _predicted(estimator_class(**arguments).fit(part.X_train, part.y_train), part)


def pytabkit(part: Part, metric: str) -> np.ndarray:
    """Predictions of pytabkit's LGBM-TD, stopped early on a fifth of these training rows by the metric asked for.

    It takes no missing numbers: they become the median of the training rows.
    """
    from pytabkit import LGBM_TD_Classifier, LGBM_TD_Regressor  # noqa: PLC0415

    kind = LGBM_TD_Classifier if part.task_type.is_classification else LGBM_TD_Regressor
    model = kind(random_state=0, n_threads=1, device="cpu", val_metric_name=_STOPPED_ON[metric])
    medians = part.X_train.select_dtypes("number").median().fillna(0.0)
    filled = replace(part, X_train=part.X_train.fillna(medians), X_test=part.X_test.fillna(medians))
    return _predicted(model.fit(filled.X_train, filled.y_train), filled)


def _predicted(model: Any, part: Part) -> np.ndarray:
    if part.task_type is TaskType.REGRESSION:
        return np.asarray(model.predict(part.X_test), dtype=float).reshape(len(part.X_test))
    # A class that the training rows lack has no probability.
    probabilities = np.zeros((len(part.X_test), part.n_classes))
    probabilities[:, np.asarray(model.classes_, dtype=int)] = model.predict_proba(part.X_test)
    return probabilities


PEERS: Mapping[str, Callable[[Part, str], np.ndarray]] = {"flaml": flaml, "pytabkit": pytabkit}


def installed_peers() -> list[str]:
    """The peers that are installed; one line for each that is not."""
    found = [name for name in PEERS if importlib.util.find_spec(name)]
    for name in PEERS:
        if name not in found:
            print(f"{name} is not installed, so it is left out; pip install -e '.[peers]' adds it.", file=sys.stderr)
    return found


# A key, a function and its arguments.
Job = tuple[str, Callable[..., Any], tuple[Any, ...]]


class Cache:
    """Measured values by key, a line of JSON each, so that an interrupted run goes on where it was."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        if path and path.exists():
            # A line without its end is what an interrupt left.
            lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
            path.write_text("".join(lines), encoding="utf-8")
            self._values = dict(json.loads(line) for line in lines)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def add(self, key: str, value: Any) -> None:
        """Keep a value, on disk before the call returns."""
        self._values[key] = value
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value]) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def fill(self, jobs: Iterable[Job], n_jobs: int) -> None:
        """Run the jobs (key, function, arguments) whose keys are not here yet."""
        todo = [job for job in jobs if job[0] not in self]
        runs = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(
            delayed(_run)(key, function, arguments) for key, function, arguments in todo
        )
        for number, (key, value) in enumerate(runs, start=1):
            self.add(key, value)
            reason = value.get("reason", "") if isinstance(value, dict) else ""
            print(f"{number}/{len(todo)} {key} {reason}".rstrip(), file=sys.stderr, flush=True)


def _run(key: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    with warnings.catch_warnings():
        # Other libraries' deprecations are not ours to fix.
        warnings.simplefilter("ignore")
        return key, function(*arguments)


@dataclass(frozen=True, slots=True)
class Timed:
    """The loss of a configuration and what it cost, in processor seconds: a busy machine must not count."""

    loss: float
    seconds: float


def timed(table: Table, learner: Learner, configuration: Configuration, protocol: Protocol, metric: str) -> Timed:
    """Cross-validate; of the processor seconds only the share of fitting counts, as in the seed."""
    wall, start = time.perf_counter(), time.process_time()
    found = measure(table, learner, configuration, protocol)
    share = found.fit_seconds / max(time.perf_counter() - wall, 1e-9)
    return Timed(float(np.mean(found.fold_losses[metric])), (time.process_time() - start) * min(share, 1.0))


def tpe_key(n: int) -> str:
    """What the cache calls `n` trials of TPE."""
    return f"tpe@{n} seeded by table"


def tpe(table: Table, n: int, protocol: Protocol, metric: str) -> tuple[list[Configuration], list[Timed]]:
    """The configurations of Optuna's TPE from cold, and how they went; seconds with what the sampler takes."""
    learner = learner_named(LEARNER)
    search = strategy_named("tpe", [learner.space(table.task.type)], seed=seed_of(table.task.name))
    tried, results = [], []
    while len(tried) < n:
        start = time.process_time()
        suggestion = search.ask()
        asked = time.process_time() - start
        assert suggestion is not None
        result = timed(table, learner, suggestion.configuration, protocol, metric)
        search.tell(Observation(suggestion.configuration, result.loss))
        tried.append(suggestion.configuration)
        results.append(Timed(result.loss, result.seconds + asked))
    return tried, results


def with_measured(
    records: list[TaskRecord], trials: list[Trial], rows: Sequence[api.ManifestRow], n_jobs: int
) -> tuple[list[TaskRecord], list[Trial]]:
    """Past records and trials with those of other tables, on which the design is measured now."""
    with tempfile.TemporaryDirectory() as folder:
        api.refresh(rows, Path(folder), learners=[LEARNER], n_jobs=n_jobs)
        new_records, new_trials = read_learners(Path(folder), [LEARNER])
    new = {record.task.id for record in new_records}
    return (
        [record for record in records if record.task.id not in new] + new_records,
        [trial for trial in trials if trial.task not in new] + new_trials,
    )


def chosen_tables(folder: Path, names: Sequence[str] | None) -> dict[str, api.ManifestRow]:
    """The tables of a manifest by name: those asked for, else those of tier core, or all where none has a tier."""
    rows = api.read_manifest(folder / "MANIFEST.csv")
    has_tiers = any(row.tier for row in rows)
    wanted = [row for row in rows if (row.source.name in names if names else row.tier == "core" or not has_tiers)]
    return {row.source.name: row for row in wanted}


@dataclass(frozen=True, eq=False)
class Advice:
    """Batches for one task, by columns of the evidence, with the processor seconds that metahp's took."""

    metahp: tuple[int, ...]
    portfolio: tuple[int, ...]
    seconds: float


def evidence_of(records: Sequence[TaskRecord], trials: Sequence[Trial], task_type: TaskType, metric: str) -> Evidence:
    """What the past tasks of one kind say of the learner compared."""
    return measure_past(records, TrialColumns.of(trials), task_type, [LEARNER]).evidence(
        canonical_metric(metric), [LEARNER]
    )


def fold_of(evidence: Evidence) -> tuple[list[np.ndarray], dict[str, int]]:
    """Training rows of each fold, and the fold in which a group is left out."""
    groups = evidence.groups
    parts = list(group_folds(groups, N_FOLDS, seed=0))
    return [train for train, _ in parts], {groups[row]: i for i, (_, test) in enumerate(parts) for row in test}


def learn(evidence: Evidence) -> PastTasks:
    """Past tasks as `metahp recommend` reads them, by a meta-model trained on them."""
    return PastTasks.read(evidence, MetaModel.fit(evidence, seed=0, settings=OF_TABLES))


def advise(past: PastTasks, metafeatures: np.ndarray, k: int) -> Advice:
    """The first k of metahp and of the greedy portfolio, by columns of `past.evidence`."""
    start = time.process_time()
    batch = past.prior(metafeatures).batch(k)
    seconds = time.process_time() - start
    return Advice(tuple(batch), tuple(past.prior(None).batch(k)), seconds)


def beaten(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of tables on which `ours` is the lower loss; equal ones count half, NaN is left out."""
    known = ~(np.isnan(ours) | np.isnan(theirs))
    if not known.any():
        return float("nan")
    return float(np.mean((ours < theirs)[known] + 0.5 * (ours == theirs)[known]))


def standard_error(values: np.ndarray) -> float:
    """Of the mean of the values that are known."""
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else float("nan")


def is_random(past: Evidence) -> np.ndarray:
    """Which candidates random search may draw: points of the design, shape (c,)."""
    return past.is_final & np.array([origin is Origin.DESIGN for origin in past.origins])
