"""`metahp kb`: contents and path of the knowledge base, and training of its models."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metahp.cli import options, output, phrases
from metahp.cli.help import GroupedCommand
from metahp.core.errors import KnowledgeBaseError
from metahp.core.metric import METRICS
from metahp.core.text import make_printable

if TYPE_CHECKING:
    from metahp.api.training import TrainingOutcome

# Contents whose names say too little.
_TITLES = {
    "size_bytes": "size in bytes",
    "defaults_by_learner": "trials of library defaults by learner",
    "pending_segments": "files in the journal that are still to be read in",
    "trials_set_aside": "trials outside of today's search spaces, not learned from",
    "trials_of_unknown_learners": "trials of learners that this metahp does not know, not learned from",
    "trials_without_metric": "trials without the default metric, not learned from",
}
app = typer.Typer(help="Show the knowledge base, and train its models.")


@app.command("info", cls=GroupedCommand)
def print_info(
    kb: options.KnowledgeBasePath = None,
    form: Annotated[options.Format, typer.Option("--format", help="Output format.")] = options.Format.TABLE,
    out: options.Output = None,
) -> None:
    """Show what the knowledge base holds.

    Counts tasks and trials by kind, and checks the file for damage. It also counts the trials on tables that metahp
    cannot learn from: trials of unknown learners, trials outside the current search spaces (set aside), and trials
    without the default metric.
    """
    from metahp.knowledge.coverage import count_unused
    from metahp.knowledge.locate import find_knowledge_base_path, open_snapshot
    from metahp.knowledge.store import KnowledgeBase

    base = KnowledgeBase(find_knowledge_base_path(kb))
    damage = base.verify()
    # The other contents of a damaged file cannot be trusted.
    contents: dict[str, Any] = {"path": str(base.file)}
    if not damage:
        _, snapshot = open_snapshot(kb)
        with snapshot:
            contents |= {**snapshot.totals, **count_unused(snapshot)}
    contents["damage"] = damage if damage or form is options.Format.JSON else "none found (every page in use was read)"
    _write_contents(contents, form, out)
    if damage:
        raise KnowledgeBaseError(
            f"{base.file} is damaged. Replace it by a backup, or move it away: the next command then starts from the "
            "knowledge that came with metahp and from your trials that are still in the journal."
        )


def _write_contents(contents: dict[str, Any], form: options.Format, out: Path | None) -> None:
    if form is options.Format.JSON:
        output.write(output.format_json(contents), out)
    else:
        lines = (f"{_format_title(name)}: {_format_value(value)}\n" for name, value in contents.items())
        output.write(make_printable("".join(lines)), out)


@app.command("path", cls=GroupedCommand)
def print_path(kb: options.KnowledgeBasePath = None) -> None:
    """Print the path of the knowledge base.

    The file is created on first use.
    """
    from metahp.knowledge.locate import find_knowledge_base_path
    from metahp.knowledge.store import KnowledgeBase

    output.write(f"{KnowledgeBase(find_knowledge_base_path(kb)).file}\n")


@app.command("train", cls=GroupedCommand)
def train(
    kb: options.KnowledgeBasePath = None,
    learners: options.Learners = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Number of models to train at the same time, each on one core.")
    ] = 1,
    quiet: options.Quiet = False,
) -> None:
    """Train the models of the knowledge base.

    Recommendations come from these models, which learn from all tasks and trials. For each common metric there
    is one model per learner and one for all learners together. A model that is up to date is kept, so run the command
    again to continue after an interruption. New trials are used without training; train again after a few dozen new
    tasks.
    """
    from metahp.learners.registry import find_reference

    for learner in learners or ():
        find_reference(learner)
    from metahp.api.training import TrainingOutcome, TrainingProgress
    from metahp.api.training import train as train_models

    output.set_quiet(quiet=quiet)

    def on_progress(progress: TrainingProgress, trained: TrainingOutcome | None) -> None:
        if quiet:
            return
        if trained is not None:
            output.say(f"{progress.n_done} of {progress.n_models}: {describe_trained(trained)}")
        left = phrases.format_duration(progress.seconds_left / min(jobs, max(progress.n_models - progress.n_done, 1)))
        if progress.n_done < progress.n_models:
            output.say(f"still to train: {progress.n_models - progress.n_done}, about {left} on an idle machine")

    models = train_models(kb, learners=learners, jobs=jobs, on_progress=on_progress)
    for skipped in (each for each in models if each.why_not):
        if not quiet:
            output.say(f"not trained: {describe_trained(skipped)}")
    n_trained = sum(not each.why_not for each in models)
    output.write(f"trained: {n_trained}\n" if n_trained else "nothing to train: all models are up to date\n")


def describe_trained(trained: "TrainingOutcome") -> str:
    """One line about a model: its kind, metric and learners, and how good its advice is."""
    metric = METRICS[trained.metric].label if trained.metric in METRICS else trained.metric
    text = make_printable(f"{trained.kind} {metric} {' + '.join(trained.learners)}".replace("  ", " "))
    if trained.why_not:
        return f"{text}: {make_printable(trained.why_not)}"
    wins = "" if trained.win_rate != trained.win_rate else f", #1 beats the default on {trained.win_rate:.0%} of them"
    return f"{text}: {trained.n_tasks} past tasks{wins}"


def _format_title(name: str) -> str:
    return _TITLES.get(name) or name.removeprefix("n_").replace("_", " ")


def _format_value(value: Any) -> str:
    if value == {}:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_format_value(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_value, value))
    if isinstance(value, bool | str) or value is None:
        return str(value)
    return f"{value:,}" if isinstance(value, int | float) else json.dumps(value)
