"""The command `metahp`: its sub-commands, each in its own file, and their exit codes.

Exit codes: 0 done, 1 something failed, 2 the input or the command line cannot be used; 130, 143 or 129 ended by SIGINT,
SIGTERM or SIGHUP.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from metahp.cli import describe, kb, options, output, predict, recommend, tune
from metahp.cli.help import GroupedCommand
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
app.command("recommend", cls=GroupedCommand)(recommend.recommend)
app.command("tune", cls=GroupedCommand)(tune.tune)
app.command("describe", cls=GroupedCommand)(describe.describe)
app.command("predict", cls=GroupedCommand)(predict.predict)
app.add_typer(kb.app, name="kb")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        output.write(f"metahp {version('metahp')}\n")
        raise typer.Exit


@app.callback()
def handle_global_options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Recommend and tune hyperparameters for a table, based on past tasks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors become one line on standard error.

    After SIGINT, SIGTERM or SIGHUP the command still writes the result found so far. Where the environment variable
    METAHP_DEBUG is set, an error ends in its traceback instead.
    """
    output.prepare_streams()
    # Imported here, because the streams have to be safe first.
    from metahp.evaluation import interrupts

    def notify() -> None:
        output.complain(f"{interrupts.describe_signal()}: finishing the result; interrupt again to end at once")

    with interrupts.handle_signals(notify), output.show_logs():
        try:
            words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
            result = typer.main.get_command(app).main(words, prog_name="metahp", standalone_mode=False)
            with output.report_write_errors():
                if sys.stdout is not None:
                    sys.stdout.flush()
            if (interrupts.get_signal() or result == INTERRUPTED) and not isinstance(result, output.Reported):
                # Typer turns an interrupt into an exit code.
                output.complain(interrupts.describe_signal())
                return interrupts.get_exit_code() if interrupts.get_signal() else INTERRUPTED
            return int(result) if isinstance(result, int) else 0
        except BrokenPipeError:
            # The reader closed the pipe, as `head` does.
            output.silence()
            return interrupts.get_exit_code() if interrupts.get_signal() else 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | typer.Abort) or interrupts.get_signal():
                # Native code may have turned the interrupt into an error of its own.
                output.complain(interrupts.describe_signal())
                return interrupts.get_exit_code() if interrupts.get_signal() else INTERRUPTED
            if not isinstance(error, Exception) or (os.environ.get(DEBUG_VARIABLE) and not _is_usage(error)):
                raise
            return _report_error(error)


def _is_usage(error: Exception) -> bool:
    return isinstance(error, typer.TyperException)


def _report_error(error: Exception) -> int:
    if isinstance(error, typer.TyperException):
        dash = "; write a file name that begins with '-' as ./-…" if "No such option" in error.format_message() else ""
        output.complain(f"{error.format_message()} (see metahp --help{dash})")
        return 2
    message = str(error) or type(error).__name__
    if isinstance(error, MetahpError):
        output.complain(options.reword_error(error) or message)
        return 2 if isinstance(error, ValueError | LookupError) else 1
    output.complain(f"{type(error).__name__}: {message} (set {DEBUG_VARIABLE}=1 to see where)")
    return 1
