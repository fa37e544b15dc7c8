"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from metahp.learners.registry import LEARNERS

File = Annotated[str, typer.Argument(help="CSV, TSV, Parquet, JSON lines or ARFF; '-' for standard input.")]
Target = Annotated[str | None, typer.Option("--target", help="Target column.  [default: guessed]")]
Task = Annotated[str | None, typer.Option("--task", help="binary, multiclass or regression.  [default: inferred]")]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="neg_log_loss, roc_auc, roc_auc_ovr (several classes), accuracy, balanced_accuracy or f1_macro; "
        "neg_root_mean_squared_error, neg_mean_absolute_error or r2.  [default: by task type]",
    ),
]
Learners = Annotated[
    list[str] | None,
    typer.Option(
        "--learner",
        help=f"{', '.join(list(LEARNERS)[:-1])} or {list(LEARNERS)[-1]}; may be repeated.  [default: all]",
    ),
]
Budget = Annotated[
    float,
    typer.Option("--budget-seconds", min=0.0, help="Work for the meta-features, in seconds of a common core."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of samples and models.")]
KnowledgeBasePath = Annotated[
    Path | None, typer.Option("--kb", help="Knowledge base to use.  [default: METAHP_HOME, else in your data folder]")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, not to standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No warnings and no progress.")]
