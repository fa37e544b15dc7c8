"""A file is read once, whatever is asked of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

import metahp
from metahp.core.errors import InputError
from metahp.datasets import load, read
from metahp.datasets.raw import RawTable
from metahp.datasets.source import Source

TUNE = {"trials": 1, "learners": "linear", "strategy": "random", "cold": True, "cv": 2, "record": False}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened, in their order."""
    names: list[str] = []
    original: Callable[[str], Source] = read.open_source

    def counted(name: str) -> Source:
        names.append(name)
        return original(name)

    monkeypatch.setattr(read, "open_source", counted)
    return names


@pytest.mark.parametrize(
    "options", [{}, {"test_size": 0.2}, {"groups": "c"}, {"time": "b"}, {"groups": "c", "test_size": 0.3}], ids=repr
)
def test_tuning_reads_the_file_once(known, tmp_path: Path, opened: list[str], options: dict) -> None:
    base = known.copied(tmp_path / "home")
    metahp.tune(known.table, target="target", knowledge_base=base, output=tmp_path / "out", **TUNE, **options)
    assert opened == [str(known.table)]


def test_describing_and_advising_read_the_file_once(known, tmp_path: Path, opened: list[str]) -> None:
    metahp.describe(known.table, target="target")
    assert opened == [str(known.table)]
    metahp.recommend(known.table, target="target", learners="linear", knowledge_base=known.copied(tmp_path / "home"))
    assert opened == [str(known.table)] * 2


def test_a_raw_table_is_a_table_without_another_read(known, opened: list[str]) -> None:
    raw = load.read(known.table, target="target")
    assert isinstance(raw, RawTable)
    table = load.load(raw)
    assert table.task == load.load(known.table, target="target").task
    assert load.load(raw, target="a").target == "a"
    assert opened == [str(known.table)] * 2
    with pytest.raises(InputError, match="leave out y"):
        load.load(raw, [1])
