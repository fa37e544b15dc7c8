"""Options that several commands share."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from metahp.core.errors import MetahpError
from metahp.learners.registry import LEARNERS


class Format(StrEnum):
    """Output format of a command."""

    TABLE = "table"
    JSON = "json"


File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="Table: CSV, TSV, Parquet, JSON, ARFF or a workbook; '-' is standard input."),
]
Target = Annotated[str | None, typer.Option("--target", help="Name of the target column.  [default: guessed]")]
Task = Annotated[
    str | None, typer.Option("--task", help="Task type: binary, multiclass or regression.  [default: inferred]")
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="Classification: log_loss, auc, accuracy, balanced_accuracy, f1 (of two classes) or f1_macro. Regression: "
        "rmse, mae, mape or r2. scikit-learn's names of scorers are known too.  [default: by task type]",
    ),
]
Learners = Annotated[
    list[str] | None,
    typer.Option(
        "--learner",
        help=f"{', '.join(list(LEARNERS)[:-1])} or {list(LEARNERS)[-1]}; repeat for several.  [default: all]",
    ),
]
Weight = Annotated[
    str | None,
    typer.Option("--weight", help="Column with the weights of rows, used in fit and score. Not a feature."),
]
Budget = Annotated[
    float,
    typer.Option(
        "--budget-seconds",
        min=0.0,
        help="Seconds of one core to describe the table; fewer make advice less certain.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Random seed of samples and models.")]
KnowledgeBasePath = Annotated[
    Path | None, typer.Option("--kb", help="Path of the knowledge base.  [default: METAHP_HOME, else your data folder]")
]
Fixed = Annotated[
    list[str] | None,
    typer.Option(
        "--fixed",
        help="Argument that every configuration has: NAME=VALUE or LEARNER:NAME=VALUE; repeat for several.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no warnings and no progress.")]

# Options whose name differs from the argument's; all others have the argument's name, with dashes.
_OPTIONS = {
    "configurations": "--try",
    "early_stopping": "--no-early-stopping",
    "groups": "--group",
    "knowledge_base": "--kb",
    "learners": "--learner",
    "prune": "--no-prune",
    "record": "--no-record",
    "sample_weight": "--weight",
}
_ARGUMENTS = (
    *("budget_seconds", "cold", "cv", "device", "ensemble", "jobs", "max_rows", "memory_limit", "metric", "output"),
    *("stop_when_flat", "fixed"),
    *("patience", "seed", "strategy", "target", "task", "test_size", "time", "timeout", "trial_timeout", "trials"),
    *("voting", "warm", "drop", "categorical", "numeric", "dayfirst", "na", "decimal", "sep", "sheet", "id", *_OPTIONS),
)
_MENTION = re.compile(rf"`({'|'.join(_ARGUMENTS)})(?:=([^`]*))?`")


def find_option(argument: str) -> str:
    """The option of an argument of the Python interface; empty where there is none."""
    if argument not in _ARGUMENTS:
        return ""
    return _OPTIONS.get(argument, f"--{argument.replace('_', '-')}")


def reword(message: str) -> str:
    """The message with options instead of arguments in backticks: `` `max_rows=5` `` becomes `--max-rows 5`."""
    return _MENTION.sub(
        lambda found: f"{find_option(found[1])} {found[2].strip(chr(39))}" if found[2] else find_option(found[1]),
        message,
    )


def reword_error(error: MetahpError) -> str:
    """The message of an error for the command line; it always names the option to change, if there is one."""
    message = reword(str(error))
    option = find_option(error.argument)
    return message if not option or option in message else f"{message} (see {option})"
