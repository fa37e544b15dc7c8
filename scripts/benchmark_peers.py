"""Recommended LightGBM configurations beside FLAML zero-shot, pytabkit's tuned default and Optuna's TPE from cold.

    pip install -e '.[peers]'
    python scripts/benchmark_peers.py --cache peers.jsonl [--tables 60] [--jobs 2]

Default-scaled regret after k trials, and after s seconds of everything: 0 is the best loss known on the table, that of
any method here included, 1 the library's default, 2 the clip. Every table of tier core that the seed knows is left out
with its group, and flat tables, whose default is as good as the best within the noise of the folds, are left out and
counted. All methods are scored by the seed's protocol on the same folds. FLAML's rules see the training rows of a
fold; pytabkit stops on a fifth of them, by the metric that is scored. metahp and the portfolio are batches that nothing
is observed for. Seconds are the processor's, metahp's with those of the meta-features; before its first trial ends, a
method has the library's default. `--data DIR` holds tables and their MANIFEST.csv; where the seed knows none of them,
the design is measured on them first. `--cache FILE` keeps what is measured, and a second call goes on with it.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from _benchmark import ROOT, columns_in, is_scored, parser, read_learners, report, write
from _peers import (
    KINDS,
    LEARNER,
    METRIC_SETS,
    PEERS,
    Advice,
    Cache,
    Job,
    Timed,
    advise,
    beaten,
    chosen_tables,
    evidence_of,
    fold_of,
    installed_peers,
    is_random,
    learn,
    part_of,
    standard_error,
    timed,
    tpe,
    tpe_key,
    with_measured,
)
from joblib import Parallel, delayed

from metahp import api
from metahp.core.metric import kin_metrics
from metahp.core.regret import default_scaled_regret
from metahp.datasets.read import TableSource
from metahp.evaluation.losses import losses_of
from metahp.evaluation.protocol import folds, sampled_rows
from metahp.knowledge.records import TaskRecord
from metahp.learners.registry import learner_named
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.validation import expected_best_of_random

KS = (1, 3, 5, 10, 15, 25, 30, 50)
SECONDS = (1, 3, 10, 30, 100)
# As many configurations as the longest search has trials.
N_TRIALS, N_TRIALS_QUICK, N_TABLES_QUICK, N_PAST_QUICK = 50, 12, 2, 40
# The budget that `recommend` gives the meta-features.
BUDGET_SECONDS = 2.0
N_ORDERS = 100
Course = list[Timed]


def run_default(source: TableSource, metric: str) -> dict[str, float]:
    """The library default now, which says how fast this machine is, and what the meta-features take."""
    table, learner = source.load(), learner_named(LEARNER)
    result = timed(table, learner, learner.space(table.task.type).default, api.SEED_PROTOCOL, metric)
    start = time.process_time()
    api.describe(table, budget_seconds=BUDGET_SECONDS)
    return {**asdict(result), "describe_seconds": time.process_time() - start}


def run_tpe(source: TableSource, n: int, metric: str) -> list[list[float]]:
    """Loss and seconds of each trial of a cold search."""
    _, results = tpe(source.load(), n, api.SEED_PROTOCOL, metric)
    return [[result.loss, result.seconds] for result in results]


def run_configuration(source: TableSource, values: dict, metric: str) -> dict[str, float]:
    """A configuration that the seed has not measured on this table."""
    table, learner = source.load(), learner_named(LEARNER)
    configuration = learner.space(table.task.type).configuration(values)
    return asdict(timed(table, learner, configuration, api.SEED_PROTOCOL, metric))


def run_peer(source: TableSource, name: str, metric: str) -> dict[str, float | str]:
    """Mean loss of a peer over the folds, and its seconds; why it failed where it did."""
    table = source.load()
    start, losses = time.process_time(), []
    try:
        for train, test in folds(table, sampled_rows(table, api.SEED_PROTOCOL), api.SEED_PROTOCOL):
            prediction = PEERS[name](part_of(table, train, test), metric)
            losses.append(losses_of(table.y[test], prediction, table.task.type)[metric])
    except Exception as error:  # whatever another library raises on an odd table is its result
        return {"loss": float("nan"), "seconds": float("nan"), "reason": f"{type(error).__name__}: {error}"}
    return {"loss": float(np.mean(losses)), "seconds": time.process_time() - start}


def advice_of_fold(past: Evidence, train: np.ndarray, rows: list[int], k: int) -> dict[int, Advice]:
    """Batches for the left-out rows, from what the others say."""
    known = learn(past.rows(train))
    column = columns_in(past, known.evidence).tolist()
    found = {}
    for row in rows:
        advice = advise(known, past.metafeatures[row], k)
        batches = (tuple(column[i] for i in batch) for batch in (advice.metahp, advice.portfolio))
        found[row] = Advice(*batches, advice.seconds)
    return found


def course(past: Evidence, row: int, columns: tuple[int, ...], pace: float, cache: Cache, key: str) -> Course:
    """How a batch went: looked up in the seed, its seconds at this machine's pace, or measured here."""
    return [
        Timed(**cache[f"{key} {past.candidates[j].id}"])
        if np.isnan(past.losses[row, j])
        else Timed(float(past.losses[row, j]), float(past.fit_seconds[row, j]) * pace)
        for j in columns
    ]


def random_after(pool: Course, regret: partial) -> list[float]:
    """Mean regret after each of `SECONDS` over random orders of the design."""
    rng = np.random.default_rng(0)
    orders = [[pool[i] for i in rng.permutation(len(pool))] for _ in range(N_ORDERS)]
    return np.mean([after(order, 0.0, regret) for order in orders], axis=0).tolist()


def after(course: Course, start: float, regret: partial) -> list[float]:
    """Regret after each of `SECONDS`, the first trial beginning at `start`."""
    ends = start + np.cumsum([result.seconds for result in course])
    best = np.minimum.accumulate(regret([result.loss for result in course]))
    return [float(best[done - 1]) if (done := int(np.searchsorted(ends, s, side="right"))) else 1.0 for s in SECONDS]


@dataclass(frozen=True, eq=False)
class Side:
    """The tables of one kind that are compared on: rows of the evidence, with their metric, source and cache key."""

    past: Evidence
    rows: list[int]
    metrics: dict[int, str]
    sources: dict[int, TableSource]
    keys: dict[int, str]
    n_flat: int

    @classmethod
    def of(
        cls,
        past: Evidence,
        metric: str,
        records: Sequence[TaskRecord],
        tables: Mapping[str, api.ManifestRow],
        n: int | None,
    ) -> "Side":
        """The first `n` tables that are not flat."""
        kin = kin_metrics(metric)
        wanted = [row for row in np.flatnonzero(is_scored(past, records)) if past.tasks[row].name in tables]
        assert past.flat is not None
        rows = [row for row in wanted if not past.flat[row]]
        metrics = {row: kin[past.tasks[row].type] for row in rows[:n]}
        sources = {row: tables[past.tasks[row].name].source for row in rows[:n]}
        keys = {row: f"{past.tasks[row].id} {metrics[row]}" for row in rows[:n]}
        return cls(past, rows[:n], metrics, sources, keys, len(wanted) - len(rows))

    def jobs(self, peers: Sequence[str], n_trials: int) -> list[Job]:
        """What is measured whatever past tasks say."""
        jobs: list[Job] = []
        for row in self.rows:
            key, source, metric = self.keys[row], self.sources[row], self.metrics[row]
            jobs.append((f"{key} default", run_default, (source, metric)))
            jobs += [(f"{key} {peer}", run_peer, (source, peer, metric)) for peer in peers]
            if n_trials:
                jobs.append((f"{key} {tpe_key(n_trials)}", run_tpe, (source, n_trials, metric)))
        return jobs

    def advice(self, k: int, n_jobs: int) -> dict[int, Advice]:
        """Batches of `k` for every row, each from past tasks without its group."""
        (trains, fold), groups = fold_of(self.past), self.past.groups
        by_fold: dict[int, list[int]] = {}
        for row in self.rows:
            by_fold.setdefault(fold[groups[row]], []).append(row)
        found = Parallel(n_jobs=n_jobs)(
            delayed(advice_of_fold)(self.past, trains[i], rows, k) for i, rows in by_fold.items()
        )
        return {row: each for part in found for row, each in part.items()}

    def missing(self, advice: Mapping[int, Advice]) -> list[Job]:
        """What is advised and not in the seed."""
        cells = {
            (row, column)
            for row, each in advice.items()
            for column in (*each.metahp, *each.portfolio)
            if np.isnan(self.past.losses[row, column])
        }
        return [
            (
                f"{self.keys[row]} {self.past.candidates[column].id}",
                run_configuration,
                (self.sources[row], self.past.candidates[column].values, self.metrics[row]),
            )
            for row, column in sorted(cells)
        ]

    def courses(self, row: int, advice: Advice, cache: Cache, peers: Sequence[str], n_trials: int) -> dict[str, Course]:
        """How each method went on one table; its only loss is NaN where a peer failed."""
        key, default = self.keys[row], self.past.defaults[LEARNER]
        pace = cache[f"{key} default"]["seconds"] / max(self.past.fit_seconds[row, default], 1e-9)
        batches = {"metahp": advice.metahp, "greedy portfolio": advice.portfolio, "default": (default,)}
        found = {name: course(self.past, row, batch, pace, cache, key) for name, batch in batches.items()}
        if n_trials:
            found["tpe"] = [Timed(*result) for result in cache[f"{key} {tpe_key(n_trials)}"]]
        for peer in peers:
            found[peer] = [Timed(cache[f"{key} {peer}"]["loss"], cache[f"{key} {peer}"]["seconds"])]
        pool = np.flatnonzero(is_random(self.past) & ~np.isnan(self.past.losses[row]))
        found["random"] = course(self.past, row, tuple(pool.tolist()), pace, cache, key)
        return found


@dataclass(eq=False)
class Scores:
    """Regret by method after each of `KS` trials and of `SECONDS`, a list per table, and what could not be scored."""

    trials: dict[str, list[list[float]]] = field(default_factory=dict)
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    n_tables: int = 0
    n_flat: int = 0
    n_failed: int = 0
    n_not_reproduced: int = 0

    def add(self, courses: Mapping[str, Course], start: float, best: float, default: float) -> None:
        """Score one table; metahp's first trial begins at `start`."""
        best = float(np.nanmin([best, *(result.loss for each in courses.values() for result in each)]))
        regret = partial(default_scaled_regret, best=best, default=default)
        for name, each in courses.items():
            losses = np.array([result.loss for result in each])
            if np.isnan(losses).all():
                self.n_failed += 1
                after_trials, after_seconds = [np.nan] * len(KS), [np.nan] * len(SECONDS)
            elif name == "random":
                after_trials = expected_best_of_random(regret(losses), KS)
                after_seconds = random_after(each, regret)
            else:
                values = np.minimum.accumulate(regret(losses))
                after_trials = [float(values[min(k, len(values)) - 1]) for k in KS]
                after_seconds = after(each, start if name == "metahp" else 0.0, regret)
            self.trials.setdefault(name, []).append(after_trials)
            self.seconds.setdefault(name, []).append(after_seconds)
        self.n_tables += 1


def main() -> int:
    """Run the benchmark; returns the exit code."""
    options = parser(__doc__, data=ROOT.parent / "shared" / "datasets")
    options.add_argument("--cache", type=Path, metavar="FILE", help="JSON lines of what was measured")
    options.add_argument("--metrics", choices=METRIC_SETS, default="log_loss")
    options.add_argument("--tables", type=int, metavar="N", help="compare on the first N tables, in the order of ids")
    options.add_argument("--trials", type=int, default=N_TRIALS, metavar="N", help="of TPE; 0 leaves it out")
    options.add_argument("--jobs", type=int, default=2)
    arguments = options.parse_args()
    tables = chosen_tables(arguments.data, arguments.tasks)
    records, trials = read_learners(ROOT / "knowledge_base", [LEARNER])
    if not tables.keys() & {record.task.name for record in records}:
        records, trials = with_measured(records, trials, list(tables.values()), arguments.jobs)
    n_tables, n_trials, k = arguments.tables, arguments.trials, N_TRIALS
    if arguments.quick:
        n_tables, n_trials, k = N_TABLES_QUICK, N_TRIALS_QUICK, N_TRIALS_QUICK
        records = [record for record in records if record.task.name in tables]
        records = sorted(records, key=lambda record: record.task.n_rows)[:N_PAST_QUICK]
        kept = {record.task.id for record in records}
        trials = [trial for trial in trials if trial.task in kept]
    peers, cache, scores = installed_peers(), Cache(arguments.cache), Scores()
    for kind, task_type in KINDS.items():
        metric = METRIC_SETS[arguments.metrics][kind]
        past = evidence_of(records, trials, task_type, metric)
        side = Side.of(past, metric, records, tables, n_tables and max(1, round(n_tables / 2)))
        cache.fill(side.jobs(peers, n_trials), arguments.jobs)
        advice = side.advice(k, arguments.jobs)
        cache.fill(side.missing(advice), arguments.jobs)
        scores.n_flat += side.n_flat
        for row in side.rows:
            now, default = cache[f"{side.keys[row]} default"], float(past.losses[row, past.defaults[LEARNER]])
            if not np.isclose(now["loss"], default, rtol=1e-4):
                # Another version of the table or of a library: its losses are not the seed's.
                scores.n_not_reproduced += 1
                continue
            courses = side.courses(row, advice[row], cache, peers, n_trials)
            start = now["describe_seconds"] + advice[row].seconds
            scores.add(courses, start, float(np.nanmin(past.losses[row])), default)
    if not scores.n_tables:
        print("No table to compare on: all are flat, or other tables than the seed's.", file=sys.stderr)
        return 2
    write(arguments.json, published(scores, k))
    return 0


def published(scores: Scores, k: int) -> dict[str, float]:
    """The figures, which are also printed; batches have `k` configurations."""
    figures: dict[str, float] = {
        "tables": scores.n_tables,
        "flat": scores.n_flat,
        "failed": scores.n_failed,
        "not_reproduced": scores.n_not_reproduced,
    }
    first = {name: np.array(values)[:, 0] for name, values in scores.trials.items()}
    ks = [each for each in KS if each <= k]
    rows, times = [], []
    for name, values in scores.trials.items():
        table = np.array(values)
        once = name in ("default", *PEERS)
        cells = []
        for i, tried in enumerate(ks[:1] if once else ks):
            mean, error = float(np.nanmean(table[:, i])), standard_error(table[:, i])
            figures |= {f"{name}/regret@{tried}": mean, f"{name}/standard_error@{tried}": error}
            cells.append(f"{mean:.3f} ± {error:.3f}")
        share = ""
        if name not in ("metahp", "random"):
            figures[f"metahp_beats_{name}"] = beaten(first["metahp"], first[name])
            share = f"{figures[f'metahp_beats_{name}']:.0%}"
        rows.append([name, *cells, *[""] * (len(ks) - len(cells)), share])
        means = np.nanmean(np.array(scores.seconds[name]), axis=0)
        figures |= {f"{name}/regret_after_{s}s": float(mean) for s, mean in zip(SECONDS, means, strict=True)}
        times.append([name, *(f"{mean:.3f}" for mean in means)])
    title = (
        f"{LEARNER}, {scores.n_tables} tables ({scores.n_flat} flat ones left out, {scores.n_failed} failures of "
        f"peers, {scores.n_not_reproduced} not reproduced): default-scaled regret ± standard error after k trials"
    )
    report(title, ["method", *(f"k = {each}" for each in ks), "metahp's first is better on"], rows)
    report("Mean regret after s seconds of everything, one core", ["method", *(f"s = {s}" for s in SECONDS)], times)
    return figures


if __name__ == "__main__":
    sys.exit(main())
