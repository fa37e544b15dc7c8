"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[str, typer.Argument(help="CSV, TSV, Parquet, JSON lines or ARFF; '-' for standard input.")]
Target = Annotated[str | None, typer.Option("--target", help="Target column.  [default: guessed]")]
Task = Annotated[str | None, typer.Option("--task", help="binary, multiclass or regression.  [default: inferred]")]
Budget = Annotated[float, typer.Option("--budget-seconds", min=0.0, help="Time for the meta-features.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of samples and models.")]
KnowledgeBasePath = Annotated[
    Path | None, typer.Option("--kb", help="Knowledge base to use.  [default: your own, in METAHP_HOME]")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, not to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No warnings and no progress.")]
