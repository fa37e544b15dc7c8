"""Rules of the house that no linter knows, read from the source of the package."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import metahp

PACKAGE = Path(metahp.__file__).parent


def find_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Each class of the package with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield f"{path.relative_to(PACKAGE.parent)}:{node.lineno}", node


def test_a_class_name_stands_for_one_thing_in_the_whole_package() -> None:
    places = defaultdict(list)
    for place, node in find_classes():
        # An underscore is no other name to a reader.
        places[node.name.lstrip("_")].append(place)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


# Smaller ones are read at a glance; in a row of five values two are swapped and nobody sees it.
MOST_POSITIONAL = 4


def test_dataclasses_of_many_fields_are_made_by_keyword() -> None:
    positional = [
        f"{place} {node.name}"
        for place, node in find_classes()
        for decorator in map(ast.unparse, node.decorator_list)
        if decorator.startswith("dataclass") and "kw_only=True" not in decorator
        if sum(isinstance(each, ast.AnnAssign) for each in node.body) > MOST_POSITIONAL
    ]
    assert positional == []
