"""The seed's data card, written from what the knowledge base holds."""

from collections import Counter
from datetime import UTC, datetime

from metahp import api
from metahp.core.trial import Trial
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.catalogue import DESIGN_SIZES


def data_card(base: KnowledgeBase) -> str:
    """The card as Markdown."""
    records, trials = base.tasks(), base.trials()
    protocol, limits = api.SEED_PROTOCOL, api.SEED_LIMITS
    hours = sum(trial.fit_seconds + trial.predict_seconds for trial in trials) / 3600
    versions = Counter(f"{library} {version}" for trial in trials for library, version in trial.versions.items())
    kinds = Counter(str(record.task.type) for record in records)
    described = {record.task.id for record in records}
    complete = _complete([trial for trial in trials if trial.task in described])
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
        f"{protocol.max_rows:,} rows (a stratified sample), one thread, {limits.seconds:g} s and "
        f"{limits.memory_mib:g} MiB a trial over all folds; a trial that met a limit is kept with its state and "
        "reason.",
        "- **Design**: the library default, published tuned defaults (their sources stand in `metahp/learners/`), then "
        "a prefix of one scrambled Sobol' sequence: the same configurations on every table of a task type.",
        "- **Stored of a trial**: losses per fold for every metric (`metahp/core/metric.py`), the learning curve at "
        "fixed iteration checkpoints, seconds, state and reason, origin, versions.",
        "- **How to make it again**: `python scripts/refresh_knowledge_base.py MANIFEST.csv --out knowledge_base/`.",
        "",
        "## Counts",
        "",
        "| learner | trials | complete | failed | timeout | out of memory | tasks measured whole | core-hours |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for learner in sorted({trial.configuration.learner for trial in trials}):
        own = [trial for trial in trials if trial.configuration.learner == learner]
        states = Counter(str(trial.state) for trial in own)
        spent = sum(trial.fit_seconds + trial.predict_seconds for trial in own) / 3600
        lines.append(
            f"| {learner} | {len(own):,} | {states['complete']:,} | {states['failed']} | {states['timeout']} "
            f"| {states['out_of_memory']} | {complete[learner]} | {spent:.2f} |"
        )
    lines += [
        "",
        "## Known weaknesses",
        "",
        "- Small: at most 2,500 rows of any table are used, so that the best capacity for large tables is "
        "extrapolated.",
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


def _complete(trials: list[Trial]) -> Counter[str]:
    """How many tasks have as many trials of a learner as the design asks for."""
    counts = Counter((trial.configuration.learner, trial.task) for trial in trials)
    return Counter(learner for (learner, _), n in counts.items() if n >= DESIGN_SIZES.get(learner, 1))
