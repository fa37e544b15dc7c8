"""What the README says can be typed exists."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from metahp.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = typer.main.get_command(app)


def leaves(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command that does something, by its words."""
    commands = getattr(command, "commands", None)
    if commands is None:
        return {path: command}
    return {key: leaf for name, child in commands.items() for key, leaf in leaves(child, (*path, name)).items()}


LEAVES = leaves(COMMAND)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_is_in_the_readme_and_has_help(path: tuple[str, ...]) -> None:
    assert f"metahp {' '.join(path)}" in README
    assert LEAVES[path].help
    for parameter in LEAVES[path].params:
        if parameter.param_type_name == "option" and "--help" not in parameter.opts:
            assert parameter.help, parameter.name


def test_every_command_in_the_readme_exists_with_its_options() -> None:
    for line in re.findall(r"metahp ((?:recommend|describe|kb|tune)[^`|&\n]*)", README):
        words = [word for word in shlex.split(line) if word != ">"]
        path = next((key for key in LEAVES if tuple(words[: len(key)]) == key), None)
        assert path is not None, line
        known = {option for parameter in LEAVES[path].params for option in parameter.opts}
        for word in words:
            assert not word.startswith("-") or word in {*known, "-"}, line


def test_the_files_and_options_that_the_readme_names_exist() -> None:
    for name in re.findall(r"(?:examples|scripts|tests)/[\w./]+\w", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"python -m (benchmarks\.\w+)", README):
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").exists(), name
    options = {option for leaf in LEAVES.values() for parameter in leaf.params for option in parameter.opts}
    outside = {
        "--ablate",
        "--save",
        "--against",
        "--cache",
        "--configurations",
        "--data",
        "--evaluations",
        "--folds",
        "--help",
        "--index-url",
        "--json",
        "--large",
        "--learner",
        "--methods",
        "--most",
        "--out",
        "--quick",
        "--rows",
        "--search",
        "--seeds",
        "--suite",
        "--tables",
        "--tasks",
        "--tier",
    }
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", README):
        assert option in options | outside, option
