"""Regret against the budget of work for describing the left-out table."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from metahp.surrogate.encoding import Evidence

from metahp import api
from metahp.core.space import SearchSpace
from metahp.datasets.read import TableSource
from metahp.metafeatures.extract import NAMES, at_rows
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.validation import batch_regret

# Task id to meta-features (b, m) and the processor seconds that they took (b,), for b budgets.
Described = Mapping[str, tuple[np.ndarray, np.ndarray]]


def described(tables: Path, names: Collection[str], budgets: Sequence[float], n_jobs: int) -> Described:
    """Tables of a folder with a MANIFEST.csv, by name, described within each of the budgets."""
    sources = [row.source for row in api.read_manifest(tables / "MANIFEST.csv") if row.source.name in names]
    return dict(Parallel(n_jobs=n_jobs)(delayed(_describe)(source, budgets) for source in sources))


def _describe(source: TableSource, budgets: Sequence[float]) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    table = source.load()
    vectors, seconds = [], []
    for budget in budgets:
        start = time.process_time()
        vectors.append(api.describe(table, budget_seconds=budget).vector())
        seconds.append(time.process_time() - start)
    return table.task.id, (np.array(vectors), np.array(seconds))


def regret_by_budget(
    past: Evidence,
    baselines: np.ndarray,
    spaces: Mapping[str, SearchSpace],
    metric: str,
    known: Described,
    train: np.ndarray,
    test: np.ndarray,
    *,
    ks: Sequence[int],
    seed: int,
) -> np.ndarray:
    """Regret on the tasks `test` by budget, having learned from `train`, shape (len(test), b, len(ks)).

    The past tasks are described without haste, as those of the seed are.
    """
    adviser = Adviser.learn(past.rows(train), baselines[train], spaces, metric=metric, seed=seed)
    columns = adviser.knowledge.columns
    regrets = []
    for row in test:
        task, baseline = past.tasks[row], float(baselines[row])
        among = np.flatnonzero(~np.isnan(past.losses[row, columns]))
        vectors = known[task.id][0]
        batches = [
            [item.column for item in adviser.advise(task, vector, NAMES, baseline, max(ks), among=among).items]
            for vector in at_rows(vectors, np.full(len(vectors), task.n_rows))
        ]
        regrets.append([batch_regret(past, int(row), columns[batch].tolist(), ks) for batch in batches])
    return np.array(regrets)
