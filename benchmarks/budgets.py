"""Regret against the budget of work for describing the left-out table."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from benchmarks.common import Cells, Figure, Figures, average
from benchmarks.left_out import Guided, Judged, JudgedTasks, Scored
from benchmarks.tables import TableSource
from metahp import api
from metahp.metafeatures.extract import NAMES, replace_n_rows
from metahp.recommendation.adviser import Adviser
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.validation import compute_batch_regret

# Task id to meta-features (b, m) and the processor seconds that they took (b,), for b budgets.
Described = Mapping[str, tuple[np.ndarray, np.ndarray]]


def describe_tables(tables: Path, names: Collection[str], budgets: Sequence[float], n_jobs: int) -> Described:
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


def judge_budgets(
    guided: Guided, left_out: frozenset[str], seed: int, *, described: Described, ks: Sequence[int]
) -> dict[str, Judged]:
    """Regret by budget on those tasks left out that were described anew."""
    judged = {}
    for name, adviser in guided.advisers(left_out, seed=seed, is_validated=False).items():
        evidence = guided.scored[name].evidence
        rows = [row for row in guided.rows(name, left_out).tolist() if evidence.tasks[row].id in described]
        if rows:
            regret = [_regret(adviser, evidence, row, described[evidence.tasks[row].id][0], ks) for row in rows]
            judged[name] = np.array(rows), {"regret": np.array(regret)}
    return judged


def _regret(
    adviser: Adviser, evidence: Evidence, row: int, vectors: np.ndarray, ks: Sequence[int]
) -> list[list[float]]:
    """Regret of the advice for a left-out task by budget, shape (b, len(ks)).

    The past tasks are described without haste, as those of the seed are.
    """
    columns = evidence.find_columns(adviser.past.evidence)
    task, constant = evidence.tasks[row], float(evidence.constants[row])
    among = np.flatnonzero(~np.isnan(evidence.losses[row, columns]))
    regrets = []
    for vector in replace_n_rows(vectors, np.full(len(vectors), task.n_rows)):
        batch = adviser.make_prior(task, vector, NAMES, constant).batch(max(ks), among)
        regrets.append(compute_batch_regret(evidence, row, columns[batch].tolist(), ks))
    return regrets


def tabulate_budgets(
    scored: Sequence[Scored],
    found: Sequence[JudgedTasks],
    title: str,
    *,
    described: Described,
    budgets: Sequence[float],
    ks: Sequence[int],
) -> Figures:
    """What the advice is worth by the budget for describing the table."""
    regrets, spent = [], []
    for each, of in zip(scored, found, strict=True):
        known = [row for row in each.rows.tolist() if each.evidence.tasks[row].id in described]
        if known:
            regrets.append(of["regret"][:, known])
            spent += [described[each.evidence.tasks[row].id][1] for row in known]
    values = np.concatenate(regrets, axis=1).mean(axis=0)
    quantiles = np.quantile(np.array(spent), [0.5, 0.9], axis=0).T
    rows: Cells = [
        [f"{budget:g} s", *(Figure(float(seconds), form="{:.2f} s") for seconds in taken), *average(values[:, i])]
        for i, (budget, taken) in enumerate(zip(budgets, quantiles, strict=True))
    ]
    columns = ["budget", "median", "9 of 10", *(f"k = {k}" for k in ks)]
    return Figures(f"{title}; {len(values)} tasks described anew", columns, rows)
