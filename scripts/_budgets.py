"""Regret against the budget of work for describing the left-out table."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from _benchmark import columns_in
from joblib import Parallel, delayed

from metahp import api
from metahp.datasets.read import TableSource
from metahp.metafeatures.extract import NAMES, replace_n_rows
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.evidence import Evidence
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
    adviser: Adviser, evidence: Evidence, rows: np.ndarray, known: Described, *, ks: Sequence[int]
) -> np.ndarray:
    """Regret of the advice for left-out tasks `rows` of the evidence by budget, shape (n, b, len(ks)).

    The past tasks are described without haste, as those of the seed are.
    """
    columns = columns_in(evidence, adviser.past.evidence)
    regrets = []
    for row in rows:
        task, constant = evidence.tasks[row], float(evidence.constants[row])
        among = np.flatnonzero(~np.isnan(evidence.losses[row, columns]))
        vectors = known[task.id][0]
        priors = [
            adviser.prior(task, vector, NAMES, constant)
            for vector in replace_n_rows(vectors, np.full(len(vectors), task.n_rows))
        ]
        batches = [columns[prior.batch(max(ks), among)].tolist() for prior in priors]
        regrets.append([batch_regret(evidence, int(row), batch, ks) for batch in batches])
    return np.array(regrets)
