"""The command `metahp`: one sub-command per verb, each in its own file, and the exit codes of all of them.

Exit codes: 0 done, 1 something failed, 2 the input or the command line cannot be used, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from metahp.cli import describe, kb, output, predict, recommend, tune
from metahp.core.errors import MetahpError

DEBUG_VARIABLE = "METAHP_DEBUG"
INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: rich's panels would double the time of `metahp --help`.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("recommend")(recommend.recommend)
app.command("tune")(tune.tune)
app.command("describe")(describe.describe)
app.command("predict")(predict.predict)
app.add_typer(kb.app, name="kb")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        output.write(f"metahp {version('metahp')}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Starting hyperparameters for a table never seen before, learned from past tasks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors become one line on standard error.

    With the environment variable METAHP_DEBUG set, an error ends in its traceback instead.
    """
    try:
        words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
        result = typer.main.get_command(app).main(words, prog_name="metahp", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `head` does; without this the interpreter complains again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except typer.TyperException as error:
        output.complain(f"{error.format_message()} (see metahp --help)")
        return 2
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return _failed(error)
    if result == INTERRUPTED:
        output.complain("interrupted")
    return result if isinstance(result, int) else 0


def _failed(error: Exception) -> int:
    message = str(error) or type(error).__name__
    if isinstance(error, MetahpError):
        output.complain(message)
        return 2 if isinstance(error, ValueError | LookupError) else 1
    output.complain(f"{type(error).__name__}: {message} (set {DEBUG_VARIABLE}=1 to see where)")
    return 1
