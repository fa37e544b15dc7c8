"""Recommended LightGBM configurations beside FLAML, pytabkit, AutoGluon's portfolios and Optuna's TPE from cold.

    pip install -e '.[peers]'
    python -m benchmarks.peers --cache peers.jsonl [--tables 60] [--most 50] [--jobs 2]

Default-scaled regret after k trials, and after s seconds of everything: 0 is the best loss known on the table, that of
any method here included, 1 the library's default, 2 the clip. Every table of tier core that the seed knows is left out
with its group, and flat tables, whose default is as good as the best within the noise of the folds, are left out and
counted. All methods are scored by the seed's protocol on the same folds. FLAML's rules see the training rows of a
fold; pytabkit stops on a fifth of them, by the metric that is scored. AutoGluon's entries for LightGBM are tried in its
own order, each with up to 10,000 trees: the best number of them on a fifth of the training rows, by the same metric, is
that of a second fit on all training rows. metahp and all portfolios are batches that nothing is observed for. Seconds
are the processor's, metahp's with those of the meta-features; before its first trial ends, a method has the library's
default. `--data DIR` holds tables and their MANIFEST.csv; where the seed knows none of them, the design is measured on
them first. `--cache FILE` keeps what is measured, and a second call goes on with it.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.autogluon import ORDERS, fit_entry
from benchmarks.common import (
    SHARE,
    Cache,
    CachedCall,
    Cell,
    Cells,
    Figure,
    Figures,
    Report,
    average,
    derive_seed,
    parse_arguments,
    run_main,
    win_rate,
)
from benchmarks.methods import (
    ADVICE,
    BUDGET_SECONDS,
    PEERS,
    PORTFOLIO,
    FitPeer,
    NewTask,
    find_peers,
    measure_trial,
    search_table,
    tpe,
    tpe_key,
)
from benchmarks.tables import (
    LEARNER,
    METRIC_SETS,
    Past,
    Tables,
    TableSource,
    choose_tables,
    half,
    is_scored,
    make_table_parser,
    split_folds,
    tables_by_kind,
)
from metahp import MetahpError, describe
from metahp.core.regret import compute_default_scaled_regret
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.validation import compute_expected_best_of_random, is_random

KS = (1, 3, 5, 10, 15, 25, 30, 50)
SECONDS = (1, 3, 10, 30, 100)
# As many configurations as the longest search has trials.
N_TRIALS, QUICK_TRIALS, QUICK_ENTRIES, QUICK_TABLES = 50, 12, 2, 2
N_ORDERS = 100


class Timed(NamedTuple):
    """The loss of a configuration and what it cost, in processor seconds."""

    loss: float
    seconds: float


Trace = list[Timed]
# By name of a peer its fits in the order in which they are tried, each by the name that the cache has for it.
Fits = Mapping[str, Mapping[str, FitPeer]]


def choose_fits(peers: Sequence[str], n_entries: int) -> dict[str, dict[str, FitPeer]]:
    """The one fit of each of `peers`, and the first `n_entries` of each portfolio of AutoGluon."""
    fits = {peer: {peer: PEERS[peer]} for peer in peers}
    for order, entries in ORDERS.items():
        first = list(entries.items())[:n_entries]
        fits[order] = {f"{order} {entry}": partial(fit_entry, values) for entry, values in first}
    return fits


def run_default(source: TableSource, metric: str) -> dict[str, float]:
    """The library default now, which says how fast this machine is, and what the meta-features take."""
    table = source.load()
    trial = measure_trial(table, LEARNER.space(table.task.type).default)
    start = time.process_time()
    describe(table, budget_seconds=BUDGET_SECONDS)
    described = time.process_time() - start
    return {"loss": trial.loss(metric), "seconds": trial.fit_seconds, "describe_seconds": described}


def run_tpe(source: TableSource, n: int, metric: str) -> Trace:
    """Loss and seconds of each trial of a cold search."""
    table = source.load()
    trials = search_table(table, tpe(table, derive_seed(table.task.name)), n, metric)
    return [Timed(trial.loss(metric), trial.fit_seconds) for trial in trials]


def run_configuration(source: TableSource, values: dict, metric: str) -> dict[str, float]:
    """A configuration that the seed has not measured on this table."""
    table = source.load()
    trial = measure_trial(table, LEARNER.space(table.task.type).configuration(values))
    return {"loss": trial.loss(metric), "seconds": trial.fit_seconds}


def run_peer(source: TableSource, fit: FitPeer, metric: str) -> dict[str, float | str]:
    """Mean loss of a peer over the folds, and its seconds; why it failed where it did."""
    table = source.load()
    start, losses = time.process_time(), []
    try:
        for part in split_folds(table):
            losses.append(part.loss(fit(part, metric), metric))
    except Exception as error:  # whatever another library raises on an odd table is its result
        seconds = time.process_time() - start
        return {"loss": float("nan"), "seconds": seconds, "reason": f"{type(error).__name__}: {error}"}
    return {"loss": float(np.mean(losses)), "seconds": time.process_time() - start}


class Batches(NamedTuple):
    """Batches for one table by method, as columns of the evidence, and the processor seconds that metahp's took."""

    batches: dict[str, list[int]]
    seconds: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods on the tables of one kind, whose losses are looked up in the seed where it has them.

    By the name of a table `rows` has its row of the evidence and `keys` what the cache calls it.
    """

    tables: Tables
    rows: Mapping[str, int]
    keys: Mapping[str, str]

    @classmethod
    def of(cls, tables: Tables, records: Sequence) -> "Comparison":
        """Of tables that the seed knows."""
        past = tables.evidence
        row_of = {past.tasks[row].name: row for row in np.flatnonzero(is_scored(past, records)).tolist()}
        rows = {name: row_of[name] for name in tables.sources}
        return cls(tables, rows, {name: f"{past.tasks[row].id} {tables.metrics[name]}" for name, row in rows.items()})

    def jobs(self, fits: Fits, n_trials: int) -> list[CachedCall]:
        """What is measured whatever past tasks say."""
        jobs: list[CachedCall] = []
        for name, source in self.tables.sources.items():
            key, metric = self.keys[name], self.tables.metrics[name]
            jobs.append((f"{key} default", run_default, (source, metric)))
            for peer in fits.values():
                jobs += [(f"{key} {fit_name}", run_peer, (source, fit, metric)) for fit_name, fit in peer.items()]
            if n_trials:
                jobs.append((f"{key} {tpe_key(n_trials)}", run_tpe, (source, n_trials, metric)))
        return jobs

    def advise(self, k: int, n_jobs: int) -> dict[str, Batches]:
        """Batches of `k` for every table, each from past tasks without its group."""
        evidence, advised = self.tables.evidence, {}
        for name, past in self.tables.learn(n_jobs).items():
            own, columns = evidence.metafeatures[self.rows[name]], evidence.find_columns(past.evidence)
            start = time.process_time()
            with threadpool_limits(1):
                task = NewTask(past=past, prior=past.prior(own), metafeatures=own)
                batches = {"metahp": ADVICE["metahp"](task, k)}
            seconds = time.process_time() - start
            batches |= {method: ADVICE[method](task, k) for method in (PORTFOLIO, "default")}
            advised[name] = Batches({key: columns[batch].tolist() for key, batch in batches.items()}, seconds)
        return advised

    def missing(self, advised: Mapping[str, Batches]) -> list[CachedCall]:
        """What is advised and not in the seed."""
        evidence = self.tables.evidence
        cells = {
            (self.rows[name], column, name)
            for name, advice in advised.items()
            for batch in advice.batches.values()
            for column in batch
            if np.isnan(evidence.losses[self.rows[name], column])
        }
        return [
            (
                f"{self.keys[name]} {evidence.candidates[column].id}",
                run_configuration,
                (self.tables.sources[name], evidence.candidates[column].values, self.tables.metrics[name]),
            )
            for _, column, name in sorted(cells)
        ]

    def is_reproduced(self, name: str, cache: Cache) -> bool:
        """Whether the default has the loss here that it has in the seed.

        Otherwise the table or a library is of another version, and the seed's losses are not its own.
        """
        return bool(np.isclose(cache[f"{self.keys[name]} default"]["loss"], self.default(name), rtol=1e-4))

    def default(self, name: str) -> float:
        """The loss of the library default in the seed."""
        evidence = self.tables.evidence
        return float(evidence.losses[self.rows[name], evidence.defaults[LEARNER.name]])

    def traces(self, name: str, advised: Batches, cache: Cache, fits: Fits, n_trials: int) -> dict[str, Trace]:
        """How each method went on one table; the loss of a fit of a peer that failed is NaN."""
        key, row, evidence = self.keys[name], self.rows[name], self.tables.evidence
        default = evidence.defaults[LEARNER.name]
        pace = cache[f"{key} default"]["seconds"] / max(evidence.fit_seconds[row, default], 1e-9)

        def trace(columns: Sequence[int]) -> Trace:
            """Looked up in the seed, with seconds at this machine's pace, or measured here."""
            return [
                Timed(**cache[f"{key} {evidence.candidates[j].id}"])
                if np.isnan(evidence.losses[row, j])
                else Timed(float(evidence.losses[row, j]), float(evidence.fit_seconds[row, j]) * pace)
                for j in columns
            ]

        found = {method: trace(batch) for method, batch in advised.batches.items()}
        if n_trials:
            found["tpe"] = [Timed(*trial) for trial in cache[f"{key} {tpe_key(n_trials)}"]]
        for peer, names in fits.items():
            measured = [cache[f"{key} {fit_name}"] for fit_name in names]
            found[peer] = [Timed(each["loss"], each["seconds"]) for each in measured]
        pool = np.flatnonzero(is_random(evidence) & ~np.isnan(evidence.losses[row]))
        found["random"] = trace(pool.tolist())
        return found


def random_regret_after(pool: Trace, regret: partial) -> list[float]:
    """Mean regret after each of `SECONDS` over random orders of the design."""
    rng = np.random.default_rng(0)
    orders = [[pool[i] for i in rng.permutation(len(pool))] for _ in range(N_ORDERS)]
    return np.mean([regret_after(order, 0.0, regret) for order in orders], axis=0).tolist()


def regret_after(trace: Trace, start: float, regret: partial) -> list[float]:
    """Regret after each of `SECONDS`, the first trial beginning at `start`."""
    ends = start + np.cumsum([trial.seconds for trial in trace])
    best = np.minimum.accumulate(regret([trial.loss for trial in trace]))
    return [float(best[done - 1]) if (done := int(np.searchsorted(ends, s, side="right"))) else 1.0 for s in SECONDS]


@dataclass(eq=False)
class Scores:
    """Regret by method after each of `KS` trials and of `SECONDS`, a list per table, and what could not be scored.

    `n_tried` has the most trials of a method on any table.
    """

    trials: dict[str, list[list[float]]] = field(default_factory=dict)
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    n_tried: dict[str, int] = field(default_factory=dict)
    n_tables: int = 0
    n_flat: int = 0
    n_failed: int = 0
    n_not_reproduced: int = 0

    def add(self, traces: Mapping[str, Trace], start: float, best: float, default: float) -> None:
        """Score one table; metahp's first trial begins at `start`."""
        best = float(np.nanmin([best, *(trial.loss for trace in traces.values() for trial in trace)]))
        regret = partial(compute_default_scaled_regret, best=best, default=default)
        for name, trace in traces.items():
            losses = np.array([trial.loss for trial in trace])
            self.n_tried[name] = max(len(losses), self.n_tried.get(name, 0))
            if np.isnan(losses).all():
                self.n_failed += 1
                after_trials, after_seconds = [np.nan] * len(KS), [np.nan] * len(SECONDS)
            elif name == "random":
                after_trials = compute_expected_best_of_random(regret(losses), KS)
                after_seconds = random_regret_after(trace, regret)
            else:
                values = np.minimum.accumulate(regret(losses))
                after_trials = [float(values[min(k, len(values)) - 1]) for k in KS]
                after_seconds = regret_after(trace, start if name == "metahp" else 0.0, regret)
            self.trials.setdefault(name, []).append(after_trials)
            self.seconds.setdefault(name, []).append(after_seconds)
        self.n_tables += 1


def tabulate_trials(scores: Scores, most: int) -> Figures:
    """Regret after up to `most` trials."""
    ks = [k for k in KS if k <= most]
    first = np.array(scores.trials["metahp"])[:, 0]
    rows: Cells = []
    for name, values in scores.trials.items():
        n_shown = len(ks) if name == "random" else sum(k <= scores.n_tried[name] for k in ks)
        regret = np.array(values)[:, :n_shown]
        share: Cell = ""
        if name not in ("metahp", "random"):
            share = Figure(win_rate(first, regret[:, 0]), form=SHARE)
        rows.append([name, *average(regret), *[""] * (len(ks) - n_shown), share])
    title = (
        f"{LEARNER.name}, {scores.n_tables} tables ({scores.n_flat} flat ones left out, {scores.n_failed} failures of "
        f"peers, {scores.n_not_reproduced} not reproduced): default-scaled regret ± standard error after k trials"
    )
    return Figures(title, ["method", *(f"k = {k}" for k in ks), "metahp's first is better on"], rows)


def tabulate_seconds(scores: Scores) -> Figures:
    """Mean regret after some seconds."""
    rows: Cells = [[name, *average(np.array(values), "{:.3f}")] for name, values in scores.seconds.items()]
    return Figures(
        "Mean regret after s seconds of everything, one core", ["method", *(f"s = {s}" for s in SECONDS)], rows
    )


def main() -> None:
    """Run the benchmark."""
    options = make_table_parser(__doc__)
    options.add_argument("--trials", type=int, default=N_TRIALS, metavar="N", help="of TPE; 0 leaves it out")
    options.add_argument("--most", type=int, default=N_TRIALS, metavar="K", help="configurations of any other method")
    arguments = parse_arguments(options, "metrics", "most")
    tables, past = choose_tables(arguments.data, arguments.tasks), Past.read([LEARNER.name])
    if not tables.keys() & {record.task.name for record in past.records}:
        past = past.updated(Past.measure(list(tables.values()), [LEARNER.name], arguments.jobs))
    n_tables, n_trials, k, n_entries = arguments.tables, arguments.trials, arguments.most, arguments.most
    if arguments.quick:
        n_tables, n_trials, k, n_entries = QUICK_TABLES, QUICK_TRIALS, QUICK_TRIALS, QUICK_ENTRIES
        past = past.only([record for record in past.records if record.task.name in tables]).smallest()
    scores = Scores()

    def choose(evidence: Evidence, task_type: object) -> list[TableSource]:
        """The first tables that the seed knows and that are not flat."""
        assert evidence.flat is not None
        known = np.flatnonzero(is_scored(evidence, past.records)).tolist()
        known = [row for row in known if evidence.tasks[row].name in tables]
        chosen = [row for row in known if not evidence.flat[row]]
        scores.n_flat += len(known) - len(chosen)
        return [tables[evidence.tasks[row].name].source for row in chosen[: half(n_tables)]]

    fits, cache = choose_fits(find_peers(), n_entries), Cache(arguments.cache)
    for chosen in tables_by_kind(past, METRIC_SETS[arguments.metrics], choose):
        compared = Comparison.of(chosen, past.records)
        cache.fill(compared.jobs(fits, n_trials), arguments.jobs)
        advised = compared.advise(k, arguments.jobs)
        cache.fill(compared.missing(advised), arguments.jobs)
        for name, advice in advised.items():
            if not compared.is_reproduced(name, cache):
                scores.n_not_reproduced += 1
                continue
            start = cache[f"{compared.keys[name]} default"]["describe_seconds"] + advice.seconds
            traces = compared.traces(name, advice, cache, fits, n_trials)
            best = float(np.nanmin(chosen.evidence.losses[compared.rows[name]]))
            scores.add(traces, start, best, compared.default(name))
    if not scores.n_tables:
        raise MetahpError("No table to compare on: all are flat, or other tables than the seed's.")
    report = Report("peers", __doc__ or "", arguments)
    report.add(tabulate_trials(scores, max(k, n_trials)))
    report.add(tabulate_seconds(scores))
    report.publish()


if __name__ == "__main__":
    sys.exit(run_main(main))
