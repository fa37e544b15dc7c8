"""Values as Python source code: plain data, and unfitted estimators with the arguments that are not their defaults."""

import inspect
import math
import sys
from typing import Any

import numpy as np

LINE_LENGTH = 100
# A list or a dictionary of more items than this, all of them short, fills its lines.
MAX_LISTED, MAX_FILLED_LENGTH = 8, 30


class Variable(str):
    """A variable of the script, which stands in for its value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def write_value(value: Any, imports: set[tuple[str, str]], *, depth: int = 0, prefix: int = 8) -> str:
    """Source code of a value: an unfitted estimator with the arguments that are not its defaults, or plain data.

    Args:
        value: What the code evaluates to.
        imports: What an estimator needs is added to it as (module, name).
        depth: Levels that the code is indented by.
        prefix: Characters before the code in its first line. It is broken over lines where one is too long.
    """
    if isinstance(value, dict):
        if len(value) > MAX_LISTED and len(set(map(repr, value.values()))) == 1:
            keys = write_value(list(value), imports, depth=depth, prefix=prefix + 2 * len("dict.fromkeys"))
            return f"dict.fromkeys({keys}, {write_value(next(iter(value.values())), imports)})"
        parts = [
            f"{write_value(key, imports)}: {write_value(item, imports, depth=depth + 1)}" for key, item in value.items()
        ]
        return _bracket("{", parts, "}", depth, prefix)
    if isinstance(value, list | tuple) and value and all(type(item) is Variable for item in value):
        listed = ", ".join(f"*{name}" for name in value)
        if isinstance(value, tuple):
            return f"({listed},)"
        return str(value[0]) if len(value) == 1 else f"[{listed}]"
    if isinstance(value, list):
        return _bracket("[", [write_value(item, imports, depth=depth + 1) for item in value], "]", depth, prefix)
    if isinstance(value, tuple):
        # A named step hugs what it names: `("encode", ColumnTransformer(`.
        parts = [write_value(item, imports, depth=depth) for item in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if type(value) is str:
        return repr(value) if '"' in value else f'"{escape(value)}"'
    if hasattr(value, "get_params") or type(value).__module__.startswith("sklearn."):
        kind = type(value)
        imports.add((_find_public_home(kind), kind.__name__))
        arguments = _find_changed_arguments(value)
        if len(arguments) == 1:
            [(name, given)] = arguments.items()
            return f"{kind.__name__}({name}={write_value(given, imports, depth=depth)})"
        parts = [f"{name}={write_value(given, imports, depth=depth + 1)}" for name, given in arguments.items()]
        return _bracket(f"{kind.__name__}(", parts, ")", depth, prefix)
    if isinstance(value, np.generic):
        return repr(value.item())
    return repr(value)


def write_call(function: str, parts: list[str], *, depth: int = 0, prefix: int = 8) -> str:
    """Source code of a call with arguments that are code already; `depth` and `prefix` as for `write_value`."""
    return _bracket(f"{function}(", parts, ")", depth, prefix)


def escape(text: str) -> str:
    """The text as it may stand between double quotes, in a docstring too: in one line, and ending no string.

    Whatever does not show (control characters, those that change the direction of writing, half characters) is an
    escape, as `repr` has it.
    """
    return repr(text)[1:-1].replace('"', '\\"')


def _find_public_home(kind: type) -> str:
    """The outermost module that a class can be imported from: `sklearn.pipeline`, `lightgbm`."""
    parts = kind.__module__.split(".")
    homes = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return next(home for home in homes if getattr(sys.modules.get(home), kind.__name__, None) is kind)


def _find_changed_arguments(value: Any) -> dict[str, Any]:
    """Constructor arguments that differ from their defaults."""
    signature = inspect.signature(type(value).__init__).parameters
    given = (
        value.get_params(deep=False)
        if hasattr(value, "get_params")
        else {name: getattr(value, name) for name in signature if hasattr(value, name)}
    )
    changed = {}
    for name, argument in given.items():
        # Arguments behind `**kwargs` are None where nothing was given.
        default = signature[name].default if name in signature else None
        is_same = type(argument) is type(default) and (argument is default or argument == default)
        if not is_same and not (isinstance(argument, float) and math.isnan(argument)):
            changed[name] = Variable("SEED") if name == "random_state" else argument
    return changed


def _bracket(start: str, parts: list[str], end: str, depth: int, prefix: int) -> str:
    line = start + ", ".join(parts) + end
    if "\n" not in line and len(line) + prefix + 4 * depth <= LINE_LENGTH:
        return line
    indent = "    " * (depth + 1)
    is_short = all("\n" not in part for part in parts) and max(map(len, parts)) < MAX_FILLED_LENGTH
    if is_short and len(parts) > MAX_LISTED:
        return start + "\n" + _fill(parts, indent) + "\n" + "    " * depth + end
    return start + "\n" + "".join(f"{indent}{part},\n" for part in parts) + "    " * depth + end


def _fill(parts: list[str], indent: str) -> str:
    lines, line = [], indent
    for part in parts:
        if len(line) + len(part) + 2 > LINE_LENGTH:
            lines.append(line.rstrip())
            line = indent
        line += f"{part}, "
    return "\n".join([*lines, line.rstrip()])
