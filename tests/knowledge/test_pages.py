"""Damaged pages of the database file are told, and healthy ones never are."""

import random
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.knowledge import database, pages, queries
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase

N_FLIPS = 30


def some_trials(rng: np.random.Generator, n: int, task: str) -> list[Trial]:
    return [
        Trial(
            task=task,
            configuration=Configuration.of("linear", {"C": float(number), "rate": float(rng.random())}),
            protocol=Protocol(),
            n_rows=100,
            state=TrialState.COMPLETE,
            origin=Origin.DESIGN,
            fold_losses={name: tuple(rng.random(3).tolist()) for name in ("r2", "neg_mean_absolute_error")},
        )
        for number in range(n)
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A knowledge base of a dozen blocks, some of them free."""
    kb = KnowledgeBase(tmp_path_factory.mktemp("built") / "kb")
    for part in range(3):
        add(kb, np.random.default_rng(part), 500, f"t{part}")
    return kb.folder


@pytest.fixture
def kb(built: Path, tmp_path: Path) -> KnowledgeBase:
    shutil.copytree(built, tmp_path / "kb")
    return KnowledgeBase(tmp_path / "kb")


def add(kb: KnowledgeBase, rng: np.random.Generator, n: int, task: str) -> None:
    record = TaskRecord(
        task=Task(id=task, type=TaskType.REGRESSION, n_rows=100, n_features=4),
        metafeatures={"skew": 0.5},
        metafeatures_version=1,
    )
    kb.add([record], trials_to_table(some_trials(rng, n, task)))


def layout(kb: KnowledgeBase) -> tuple[int, int, set[int]]:
    """The number of blocks, the bytes of each, and the free ones."""
    with kb.file.open("rb") as raw:
        n_blocks, size, free_list = pages._read_header(raw)
        return n_blocks, size, set(pages._read_free_blocks(raw, n_blocks, size, free_list))


def flip(kb: KnowledgeBase, place: int, bit: int) -> None:
    with kb.file.open("r+b") as file:
        file.seek(place)
        [byte] = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ (1 << bit)]))


def test_every_flipped_bit_of_a_used_block_is_told_and_none_of_a_free_one(kb: KnowledgeBase) -> None:
    n_blocks, size, free = layout(kb)
    assert free
    rng = random.Random(0)
    places = [rng.randrange(kb.file.stat().st_size) for _ in range(N_FLIPS)]
    # Of each block one, of all that is used; and of each header.
    places += [pages._find_start(block, size) + rng.randrange(size) for block in range(n_blocks)]
    places += [header * 4096 + rng.randrange(4096) for header in range(3)]
    for place in places:
        bit = rng.randrange(8)
        flip(kb, place, bit)
        damage = kb.verify()
        is_free = (place - pages._find_start(0, size)) // size in free
        assert bool(damage) != is_free, place
        assert all("\n" not in part for part in damage)
        flip(kb, place, bit)
    assert kb.verify() == []


def test_a_healthy_file_is_never_called_damaged(kb: KnowledgeBase, rng: np.random.Generator) -> None:
    for round_ in range(10):
        add(kb, rng, int(rng.integers(1, 400)), f"r{round_}")
        with database.open_file(kb.file, read_only=False, wait_seconds=1) as connection:
            connection.execute("DELETE FROM trials WHERE hash(id) % 5 = ?", [round_ % 5])
        assert kb.verify() == []
        with database.open_file(kb.file, read_only=True, wait_seconds=1) as connection:
            n_blocks, _, free = layout(kb)
            assert queries.count_blocks(connection) == (n_blocks, len(free))


def test_a_layout_that_is_not_known_is_left_to_duckdb(kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    n_blocks, size, free = layout(kb)
    monkeypatch.setattr(pages, "_PARTS", 32)
    assert kb.verify() == []
    found = []
    for block in set(range(n_blocks)) - free:
        flip(kb, pages._find_start(block, size) + 1000, 3)
        found.append(bool(kb.verify()))
        flip(kb, pages._find_start(block, size) + 1000, 3)
    # Blocks of indexes are the ones that reading all values does not reach.
    assert sum(found) > len(found) / 2


def test_many_damaged_blocks_are_counted(kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_MOST_LISTED", 3)
    n_blocks, size, free = layout(kb)
    with database.open_file(kb.file, read_only=True, wait_seconds=1) as connection:
        counts = queries.count_blocks(connection)
    # The first ones hold the catalogue, without which the file does not open.
    bad = sorted(set(range(2, n_blocks)) - free)
    for block in bad:
        flip(kb, pages._find_start(block, size) + 77, 1)
    with kb.file.open("rb") as raw:
        told = pages._find_bad_blocks(raw, counts)
    assert len(told) == 4
    assert told[0].startswith(f"block {bad[0]} of {n_blocks}, from byte ")
    assert told[-1] == f"and {len(bad) - 3} more blocks"


def test_a_file_that_was_cut_is_damaged(kb: KnowledgeBase) -> None:
    content = kb.file.read_bytes()
    for share in (0.001, 0.3, 0.9, 0.999):
        kb.file.write_bytes(content[: int(len(content) * share)])
        assert kb.verify()


def test_what_is_no_knowledge_base_is_not_called_a_damaged_one(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.duckdb"
    with duckdb.connect(str(foreign)) as connection:
        connection.execute("CREATE TABLE customers (a INTEGER)")
    with pytest.raises(KnowledgeBaseError, match="not a knowledge base of metahp"):
        KnowledgeBase(foreign).verify()
    assert KnowledgeBase(tmp_path / "none").verify() == []


def test_verifying_reads_back_what_was_ingested(kb: KnowledgeBase) -> None:
    kb.record(some_trials(np.random.default_rng(9), 2, "t"))
    kb.ingest()
    assert len(kb.journal.list_archived()) == 1
    assert kb.verify() == []
    assert kb.journal.list_archived() == []
