"""`metahp kb info` and `metahp kb path`: what the knowledge base holds and where it is."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from metahp.cli import options, output
from metahp.core.errors import KnowledgeBaseError
from metahp.core.text import printable

app = typer.Typer(help="Look at the knowledge base.")


class Format(StrEnum):
    """How the contents are printed."""

    TABLE = "table"
    JSON = "json"


@app.command("info")
def info(
    kb: options.KnowledgeBasePath = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    out: options.Output = None,
) -> None:
    """Say how many tasks and trials the knowledge base holds, and of what kind, and whether its file is damaged.

    Of the trials on tables it says how many nothing can be learned from: those of learners that this installation does
    not know, those outside of today's search spaces, and those without a loss of the usual metric.
    """
    from metahp.knowledge.coverage import count_unused
    from metahp.knowledge.locate import knowledge_base_path, open_knowledge_base
    from metahp.knowledge.store import KnowledgeBase

    base = KnowledgeBase(knowledge_base_path(kb))
    damage = base.verify()
    # Of a damaged file, what else it seems to hold is not to be trusted.
    contents: dict[str, Any] = {"path": str(base.file)}
    if not damage:
        opened = open_knowledge_base(kb)
        contents |= {**opened.info(), **count_unused(opened)}
    contents["damage"] = damage if damage or form is Format.JSON else "none found (every page in use was read)"
    _write_contents(contents, form, out)
    if damage:
        raise KnowledgeBaseError(
            f"{base.file} is damaged. Put a copy from a backup in its place, or move it away: the next command then "
            "starts from the knowledge that came with metahp, and from those of your trials that the journal still has."
        )


def _write_contents(contents: dict[str, Any], form: Format, out: Path | None) -> None:
    if form is Format.JSON:
        output.write(output.as_json(contents), out)
    else:
        output.write(printable("".join(f"{_title(name)}: {_shown(value)}\n" for name, value in contents.items())), out)


@app.command("path")
def path(kb: options.KnowledgeBasePath = None) -> None:
    """Print where the knowledge base is, or will be from its first use on."""
    from metahp.knowledge.locate import knowledge_base_path
    from metahp.knowledge.store import KnowledgeBase

    output.write(f"{KnowledgeBase(knowledge_base_path(kb)).file}\n")


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
