"""What README and the documentation say can be typed exists, and their Python runs."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

import metahp
from metahp.cli.main import app

ROOT = Path(__file__).parents[1]
MOST_LINES = 150
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
}
FENCED = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Options of the tools of other people.
FOREIGN = {"--index-url", "--keep-going"}
# Of metahp itself, without a command.
GLOBAL = {"--help", "--version"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command that does something, by its words."""
    commands = getattr(command, "commands", None)
    if commands is None:
        return {path: command}
    return {key: leaf for name, child in commands.items() for key, leaf in leaves(child, (*path, name)).items()}


LEAVES = leaves(typer.main.get_command(app))


def options_of(path: tuple[str, ...]) -> set[str]:
    """The options of a command of metahp."""
    return {option for parameter in LEAVES[path].params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }


def code_in(page: str) -> list[str]:
    """The lines of code of a page, and what it has in backticks."""
    lines = [line for _, block in FENCED.findall(PAGES[page]) for line in block.splitlines()]
    return lines + [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCED.sub("", PAGES[page]))]


def source_of(script: str) -> Path:
    """The file of `benchmarks.NAME`, or of a script in `scripts/`."""
    return ROOT / (script if "/" in script else f"{script.replace('.', '/')}.py")


def options_in(script: Path) -> set[str]:
    """The options that a script adds to its parser, and those that the benchmarks it imports from add."""
    text = script.read_text(encoding="utf-8")
    own = set(re.findall(r"add_argument\(\s*\"(--[a-z][a-z-]+)\"", text))
    imported = [source_of(name) for name in re.findall(r"^from (benchmarks\.\w+) import", text, re.MULTILINE)]
    return own.union({"--help"}, *map(options_in, imported))


SCRIPTS = re.compile(r"python (?:-m )?(benchmarks\.\w+|scripts/\w+\.py)([^#|&]*)")


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_is_in_the_documentation_and_has_help(path: tuple[str, ...]) -> None:
    assert f"`metahp {' '.join(path)}" in PAGES["docs/command-line.md"]
    assert LEAVES[path].help
    for parameter in LEAVES[path].params:
        if parameter.param_type_name == "option" and "--help" not in parameter.opts:
            assert parameter.help, parameter.name


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_a_page_exists_with_its_options(page: str) -> None:
    for line in code_in(page):
        for said in re.findall(r"(?<![\w.])metahp ((?:recommend|describe|kb|tune|predict)[^|&]*)", line):
            words = [word for word in shlex.split(said) if word != ">"]
            path = next((key for key in LEAVES if tuple(words[: len(key)]) == key), None)
            assert path is not None, line
            for word in words:
                assert not word.startswith("-") or word in {*options_of(path), "-"}, line
        for script, rest in SCRIPTS.findall(line):
            assert source_of(script).exists(), line
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest):
                assert option in options_in(source_of(script)), line


@pytest.mark.parametrize("page", PAGES)
def test_the_files_and_options_that_a_page_names_exist(page: str) -> None:
    known = {option for path in LEAVES for option in options_of(path)} | FOREIGN | GLOBAL
    for script in {script for text in PAGES.values() for script, _ in SCRIPTS.findall(text)}:
        known |= options_in(source_of(script))
    for code in code_in(page):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            assert option in known, code
        for name in re.findall(r"(?<![\w/.])(?:examples|scripts|tests|metahp)/[\w./]*\w", code):
            assert (ROOT / name).exists(), name
    links = re.findall(r"\]\(([^)#:]+)\)", PAGES[page]) + re.findall(r"^```\{\w+\} (\S+)", PAGES[page], re.MULTILINE)
    for link in links:
        assert ((ROOT / page).parent / link).exists(), link


def test_readme_is_read_in_a_minute() -> None:
    assert len(PAGES["README.md"].splitlines()) <= MOST_LINES


def test_the_reference_has_every_public_name_and_no_other() -> None:
    named = re.findall(r"(?:autofunction|autoclass|autoexception):: metahp\.(\w+)", PAGES["docs/api.md"])
    assert sorted([*named, "__version__"]) == sorted(metahp.__all__)
    assert "`metahp.__version__`" in PAGES["docs/api.md"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder as the pages have it, with a smaller table, and a knowledge base that is new."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "examples").mkdir()
    digits = pd.read_csv(ROOT / "examples" / "digits.csv").sample(300, random_state=0)
    digits.to_csv(folder / "examples" / "digits.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("METAHP_HOME", str(folder / "home"))
        yield folder


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "\n```python\n" in text])
def test_the_python_of_a_page_runs_and_prints_what_the_page_says(page: str, place: Path) -> None:
    names: dict[str, Any] = {}
    blocks = FENCED.findall(PAGES[page])
    for (kind, code), (below, shown) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        # A block of text that follows directly is what is printed.
        if f"{code}```\n\n```text\n" in PAGES[page]:
            assert below == "text"
            assert printed.getvalue() == shown
        else:
            assert printed.getvalue()
