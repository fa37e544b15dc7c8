"""The options of commands that read a table, which a command gets as one value."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from metahp.datasets.reading import make_reading_options

_HELP = "Reading the table"


def _make_option(name: str, help: str) -> Any:
    return typer.Option(name, help=help, rich_help_panel=_HELP)


_OPTIONS: dict[str, tuple[Any, Any]] = {
    "drop": (list[str] | None, _make_option("--drop", "Leave out this column; repeat for several.")),
    "categorical": (
        list[str] | None,
        _make_option("--categorical", "This column is categories though it looks like numbers; repeat for several."),
    ),
    "numeric": (
        list[str] | None,
        _make_option("--numeric", "This column is numbers; its other cells are missing; repeat for several."),
    ),
    "dayfirst": (
        bool | None,
        _make_option("--dayfirst/--monthfirst", "Dates such as 03/04/2020 are the 3rd of April.  [default: found]"),
    ),
    "na": (
        list[str] | None,
        _make_option("--na", "This text or number stands for a missing value, as -200; repeat for several."),
    ),
    "decimal": (str | None, _make_option("--decimal", "Decimal mark, a point or a comma.  [default: found]")),
    "sep": (str | None, _make_option("--sep", "Separator between the fields of a row.  [default: found]")),
    "sheet": (str | None, _make_option("--sheet", "Sheet of a workbook.  [default: the first]")),
    "id": (str | None, _make_option("--id", "Column that names a row: no feature, but kept beside predictions.")),
}


def reads_table(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options of reading a table; it gets them as the argument `reading`."""
    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "reading"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
        for name, (kind, option) in _OPTIONS.items()
    ]

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        given = {name: values.pop(name) for name in _OPTIONS}
        if given["sep"] in ("\\t", "tab"):
            given["sep"] = "\t"
        return command(**values, reading=make_reading_options(**given))

    run.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {name: hint for name, hint in hints.items() if name != "reading"} | {
        parameter.name: parameter.annotation for parameter in more
    }
    del run.__dict__["__wrapped__"]
    return run
