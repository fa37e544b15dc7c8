"""The journal's owner: two knowledge bases that would share one are refused, one that was moved is at home."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.knowledge.journal import OWNER
from metahp.knowledge.store import KnowledgeBase

ACTS: list[Callable[[KnowledgeBase], object]] = [
    lambda kb: kb.record([a_trial(9)]),
    KnowledgeBase.ingest,
    KnowledgeBase.trials,
    KnowledgeBase.tasks,
    KnowledgeBase.info,
    KnowledgeBase.content_hash,
]


def a_trial(number: int = 0) -> Trial:
    configuration = Configuration.of("linear", {"C": float(number)})
    return Trial(
        task="t",
        configuration=configuration,
        protocol=Protocol(),
        n_rows=100,
        state=TrialState.COMPLETE,
        origin=Origin.USER,
        fold_losses={"r2": (0.1, 0.2, 0.3)},
    )


def in_use(path: Path) -> KnowledgeBase:
    """A knowledge base with a trial in its file and another one in its journal."""
    kb = KnowledgeBase(path)
    kb.record([a_trial(0)])
    kb.ingest()
    kb.record([a_trial(1)])
    return kb


def assert_refused(kb: KnowledgeBase, owner: KnowledgeBase) -> None:
    for act in ACTS:
        with pytest.raises(KnowledgeBaseError, match=r"belongs to the knowledge base .* would share it") as caught:
            act(kb)
        assert str(owner.file) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert len(owner.trials()) == 2


def test_two_files_whose_journals_have_one_name_are_refused(tmp_path: Path) -> None:
    owner = in_use(tmp_path / "x.duckdb")
    assert_refused(KnowledgeBase(tmp_path / "x.db"), owner)


def test_a_journal_that_is_a_link_to_that_of_another_home_is_refused(tmp_path: Path) -> None:
    owner, other = in_use(tmp_path / "one"), KnowledgeBase(tmp_path / "other")
    other.folder.mkdir()
    other.journal.folder.symlink_to(owner.journal.folder, target_is_directory=True)
    assert_refused(other, owner)


def test_a_home_that_was_moved_or_copied_is_adopted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = in_use(tmp_path / "home")
    home.folder.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copied")
    for number, place in enumerate(("moved", "copied"), start=2):
        kb = KnowledgeBase(tmp_path / place)
        assert len(kb.trials()) == 2
        kb.record([a_trial(number)])
        kb.ingest()
        assert len(kb.trials()) == 3
        assert str(kb.file) in (kb.journal.folder / OWNER).read_text()
    assert caplog.records == []


def test_a_home_may_have_several_names(tmp_path: Path) -> None:
    kb = in_use(tmp_path / "home")
    before = (kb.journal.folder / OWNER).stat().st_mtime_ns
    (tmp_path / "link").symlink_to(kb.folder, target_is_directory=True)
    other = KnowledgeBase(tmp_path / "link")
    other.record([a_trial(2)])
    assert other.ingest() == 2
    assert (kb.journal.folder / OWNER).stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"file": 3}', b'{"file": "/nowhere/kb.duckdb"}'])
def test_an_owner_that_cannot_be_told_is_none(tmp_path: Path, content: bytes) -> None:
    kb = in_use(tmp_path / "home")
    (kb.journal.folder / OWNER).write_bytes(content)
    assert len(kb.trials()) == 2
    kb.record([a_trial(2)])
    assert str(kb.file) in (kb.journal.folder / OWNER).read_text()
