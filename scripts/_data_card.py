"""The seed's data card, written from what the knowledge base holds."""

from collections import Counter
from datetime import UTC, datetime

from metahp import api
from metahp.core.trial import Origin, Trial
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS


def data_card(base: KnowledgeBase) -> str:
    """The card as Markdown."""
    records, trials = base.tasks(), base.trials()
    protocol, limits, large = api.SEED_PROTOCOL, api.SEED_LIMITS, api.LARGE_LIMITS
    hours = sum(trial.fit_seconds + trial.predict_seconds for trial in trials) / 3600
    versions = Counter(f"{library} {version}" for trial in trials for library, version in trial.versions.items())
    kinds = Counter(str(record.task.type) for record in records)
    described = {record.task.id for record in records}
    unfinished = sum(trial.task not in described for trial in trials)
    lines = [
        "# Data card of the seed",
        "",
        "Scores of hyperparameter configurations on real tables, with the tables' meta-features. No row, cell value or "
        "column name of a table is here.",
        "",
        f"- **When**: written {datetime.now(UTC):%Y-%m-%d}. **With**: {', '.join(sorted(versions))}.",
        f"- **What**: {len(records)} tasks ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}), "
        f"{len(trials):,} trials, {hours:.1f} core-hours of fitting and predicting.",
        f"- **Protocol**: {protocol.folds} folds (stratified for classes, seed {protocol.seed}), at most "
        f"{protocol.max_rows:,} rows (a stratified sample), one thread, {limits.seconds:g} s (half of that in the "
        f"oldest trials) and {limits.memory_mib:g} MiB a trial over all folds; a trial that met a limit is kept with "
        "its state and reason. Some large tables are also measured on a quarter of their rows and on up to 20,000, "
        f"with {large.seconds:g} s.",
        "- **Design**: the library default, published tuned defaults (their sources stand in `metahp/learners/`), then "
        "a prefix of one scrambled Sobol' sequence: the same configurations on every table of a task type. A search "
        "of a few trials goes on from there on some tables (Optuna's Gaussian process, origin `posterior`).",
        "- **Stored of a trial**: losses per fold for every metric (`metahp/core/metric.py`), the learning curve at "
        "fixed iteration checkpoints, seconds, state and reason, origin, versions.",
        "- **How to make it again**: `python scripts/refresh_knowledge_base.py MANIFEST.csv --out knowledge_base/`, "
        "with `--configurations lightgbm=250`, `--rows 0.25,20000` or `--search lightgbm=12` on the tables (`--tasks`, "
        "`--most`) that have more.",
        "",
        "## Counts",
        "",
        "| learner | trials | complete | failed | timeout | out of memory | tables with the whole design | with a "
        "longer one | found by a search | on other numbers of rows | core-hours |",
        "|" + " --- |" * 11,
    ]
    whole: list[int] = []
    for learner in sorted({trial.configuration.learner for trial in trials}):
        own = [trial for trial in trials if trial.configuration.learner == learner]
        states = Counter(str(trial.state) for trial in own)
        spent = sum(trial.fit_seconds + trial.predict_seconds for trial in own) / 3600
        plain = [trial for trial in own if trial.protocol == protocol and trial.task in described]
        designs = Counter(trial.task for trial in plain if trial.origin is not Origin.POSTERIOR).values()
        size = LEARNERS[learner].design_size if learner in LEARNERS else 1
        whole.append(sum(n >= size for n in designs))
        searched = [trial for trial in plain if trial.origin is Origin.POSTERIOR]
        resized = [trial for trial in own if trial.protocol != protocol]
        lines.append(
            f"| {learner} | {len(own):,} | {states['complete']:,} | {states['failed']} | {states['timeout']} "
            f"| {states['out_of_memory']} | {whole[-1]} "
            f"| {_several([n for n in designs if n > size])} | {_on_tables(searched)} | {_on_tables(resized)} "
            f"| {spent:.2f} |"
        )
    lines += [
        "",
        "## Known weaknesses",
        "",
        "- Small: most tables are measured on at most 2,500 rows and none on more than 20,000, so that the best "
        "capacity for larger tables is extrapolated.",
        "- Three folds, one repeat: on tables of a few hundred rows, the best of many candidates is partly luck.",
        "- Many tables are classics of the UCI, StatLib and Weka collections; text, images and long time series are "
        "missing, and some tables are old simulations.",
        "- A trial that met its time limit has no loss: slow configurations on tables with many classes are unknown.",
        "- Seconds were taken on two shared cores and are good for ratios, not for absolute times.",
        "",
        "## Tables",
        "",
        "| name | type | rows | features | source | licence note |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    if whole and min(whole) < len(records):
        lines.insert(
            lines.index("## Tables") - 1,
            "- Some learners lack the tables that cost them most: how learners compare on those is extrapolated.",
        )
    if unfinished:
        lines.insert(
            lines.index("## Known weaknesses"),
            f"{unfinished} of these trials are of tables not measured to the end; nothing learns from them yet.\n",
        )
    for record in sorted(records, key=lambda record: record.task.name):
        task = record.task
        lines.append(
            f"| {task.name} | {task.type} | {task.n_rows} | {task.n_features} | {record.source} | "
            f"{record.licence.replace('|', '/')} |"
        )
    return "\n".join(lines) + "\n"


def _several(sizes: list[int]) -> str:
    """How many tables have a longer design, and how long."""
    return f"{len(sizes)} ({max(sizes)} configurations)" if sizes else "0"


def _on_tables(trials: list[Trial]) -> str:
    """How many trials, on how many tables."""
    return f"{len(trials):,} on {len({trial.task for trial in trials})}" if trials else "0"
