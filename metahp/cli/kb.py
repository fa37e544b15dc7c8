"""`metahp kb info` and `metahp kb path`: what the knowledge base holds and where it is."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from metahp.cli import options, output
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
    """Say how many tasks and trials the knowledge base holds, and of what kind."""
    from metahp.knowledge.locate import open_knowledge_base

    base = open_knowledge_base(kb)
    contents = base.info()
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
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool | str) or value is None:
        return str(value)
    return f"{value:,}" if isinstance(value, int | float) else json.dumps(value)
