"""The help of a command: options in groups, in words, within 80 columns."""

import re

import pytest

from metahp.cli.main import main


def read_help(command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [["recommend"], ["tune"], ["describe"], ["predict"], ["kb", "info"], ["kb", "path"], ["kb", "train"]]
)
def test_the_help_is_plain_and_fits(command: list[str], monkeypatch, capsys) -> None:
    text = read_help(command, monkeypatch, capsys)
    assert max(map(len, text.splitlines())) <= 80
    for internal in ("<", "list[", "range", "x>=", "{", "…\n"):
        assert internal not in text
    # Every option is in one group.
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", text, re.MULTILINE)
    assert len(options) == len(set(options))
    assert "--help" in options


def test_the_options_of_a_command_are_in_groups(monkeypatch, capsys) -> None:
    text = read_help(["tune"], monkeypatch, capsys)
    titles = re.findall(r"^(\w.*):$", text, re.MULTILINE)
    assert titles == ["Arguments", "Table", "Score", "Learners and search", "Limits", "Result", "Other options"]
    others = text.partition("Other options:")[2]
    assert re.findall(r"--[a-z-]+", others) == ["--help"]
    assert "Usage: metahp tune [OPTIONS] FILE" in text
    assert "[default: 300]" in text
