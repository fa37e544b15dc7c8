"""`metahp kb`: what the knowledge base holds, where it is, and the models that are trained on it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metahp.cli import options, output, phrases
from metahp.core.errors import KnowledgeBaseError
from metahp.core.text import make_printable

if TYPE_CHECKING:
    from metahp.api.training import Trained

app = typer.Typer(help="Look at the knowledge base, and train its models.")


@app.command("info")
def info(
    kb: options.KnowledgeBasePath = None,
    form: Annotated[options.Format, typer.Option("--format", help="How to print it.")] = options.Format.TABLE,
    out: options.Output = None,
) -> None:
    """Say how many tasks and trials the knowledge base holds, and of what kind, and whether its file is damaged.

    Of the trials on tables it says how many nothing can be learned from: those of learners that this installation does
    not know, those outside of today's search spaces, and those without a loss of the usual metric.
    """
    from metahp.knowledge.coverage import count_unused
    from metahp.knowledge.locate import knowledge_base_path, open_snapshot
    from metahp.knowledge.store import KnowledgeBase

    base = KnowledgeBase(knowledge_base_path(kb))
    damage = base.verify()
    # Of a damaged file, what else it seems to hold is not to be trusted.
    contents: dict[str, Any] = {"path": str(base.file)}
    if not damage:
        _, snapshot = open_snapshot(kb)
        with snapshot:
            contents |= {**snapshot.totals, **count_unused(snapshot)}
    contents["damage"] = damage if damage or form is options.Format.JSON else "none found (every page in use was read)"
    _write_contents(contents, form, out)
    if damage:
        raise KnowledgeBaseError(
            f"{base.file} is damaged. Put a copy from a backup in its place, or move it away: the next command then "
            "starts from the knowledge that came with metahp, and from those of your trials that the journal still has."
        )


def _write_contents(contents: dict[str, Any], form: options.Format, out: Path | None) -> None:
    if form is options.Format.JSON:
        output.write(output.as_json(contents), out)
    else:
        output.write(
            make_printable("".join(f"{_title(name)}: {_shown(value)}\n" for name, value in contents.items())), out
        )


@app.command("path")
def path(kb: options.KnowledgeBasePath = None) -> None:
    """Print where the knowledge base is, or will be from its first use on."""
    from metahp.knowledge.locate import knowledge_base_path
    from metahp.knowledge.store import KnowledgeBase

    output.write(f"{KnowledgeBase(knowledge_base_path(kb)).file}\n")


@app.command("train")
def train(
    kb: options.KnowledgeBasePath = None,
    learners: options.Learners = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Models to train side by side, on a core each.")] = 1,
    quiet: options.Quiet = False,
) -> None:
    """Train the models that questions are answered with, on all that the knowledge base holds now.

    There is one of each learner and one between all of them, for each of the usual metrics. A model that is trained
    already stays, so that an interrupted command goes on where it was. New trials count without any training; after a
    few dozen new tasks it is worth while.
    """
    from metahp.api.training import Trained, TrainingProgress
    from metahp.api.training import train as train_models

    output.hush(quiet=quiet)

    def on_progress(progress: TrainingProgress, trained: Trained | None) -> None:
        if quiet:
            return
        if trained is not None:
            output.say(f"{progress.n_done} of {progress.n_models}: {describe_trained(trained)}")
        left = phrases.duration(progress.seconds_left / min(jobs, max(progress.n_models - progress.n_done, 1)))
        if progress.n_done < progress.n_models:
            output.say(f"still to train: {progress.n_models - progress.n_done}, about {left} on an idle machine")

    models = train_models(kb, learners=learners, jobs=jobs, on_progress=on_progress)
    for skipped in (each for each in models if each.why_not):
        if not quiet:
            output.say(f"not trained: {describe_trained(skipped)}")
    n_trained = sum(not each.why_not for each in models)
    output.write(f"trained: {n_trained}\n" if n_trained else "nothing to train: all models are up to date\n")


def describe_trained(trained: "Trained") -> str:
    """A model in one line: what it is of, and how well its advice does."""
    text = make_printable(f"{trained.kind} {trained.metric} {' + '.join(trained.learners)}".replace("  ", " "))
    if trained.why_not:
        return f"{text}: {make_printable(trained.why_not)}"
    wins = "" if trained.win_rate != trained.win_rate else f", first beats the default on {trained.win_rate:.0%}"
    return f"{text}: {trained.n_tasks} past tasks{wins}"


def _title(name: str) -> str:
    return name.removeprefix("n_").replace("_", " ")


def _shown(value: Any) -> str:
    if value == {}:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool | str) or value is None:
        return str(value)
    return f"{value:,}" if isinstance(value, int | float) else json.dumps(value)
