"""Refuse functions with many parameters: `python scripts/check_parameters.py` names each that has more than 12.

Arguments that always travel together are a value that is missing (see `metahp.study.request`).
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 12
# People call the two verbs with flat keywords, and typer makes an option of each parameter of a command.
EXEMPT = {("metahp/api/verbs.py", "tune"), ("metahp/api/verbs.py", "tune_objective"), ("metahp/cli/tune.py", "tune")}
EXEMPT |= {("metahp/cli/recommend.py", "recommend")}

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def count_parameters(function: Function) -> int:
    """How many parameters a function has, `self` among them."""
    arguments = function.args
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return len(named) + (arguments.vararg is not None) + (arguments.kwarg is not None)


def find_offenders(path: Path) -> Iterator[str]:
    """A line for each function of a file that has too many parameters."""
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, Function):
            continue
        function, n = getattr(node, "name", "lambda"), count_parameters(node)
        if n > MOST and (name, function) not in EXEMPT:
            yield f"{name}:{node.lineno}: {function} has {n} parameters, at most {MOST} are allowed"


def main() -> int:
    """Print the offenders of the package; returns the exit code."""
    offenders = [line for path in sorted((ROOT / "metahp").rglob("*.py")) for line in find_offenders(path)]
    for line in offenders:
        print(line, file=sys.stderr)
    return 1 if offenders else 0


if __name__ == "__main__":
    sys.exit(main())
