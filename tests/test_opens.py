"""How often a command opens the file of the knowledge base, and lists its journal."""

import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

import metahp
from metahp.cli.main import main
from metahp.core.trial import Protocol
from metahp.knowledge import journal
from metahp.knowledge.store import KnowledgeBase


class Counts:
    """Opens of a DuckDB file, and listings of the segments of a journal, from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opens: list[str] = []
        self.n_listings = 0
        connect, list_segments = duckdb.connect, journal._list_segments

        def count_open(path: str, *, read_only: bool, config: object) -> duckdb.DuckDBPyConnection:
            self.opens.append("read" if read_only else "write")
            return connect(path, read_only=read_only, config=config)

        def count_listing(folder: Path) -> list[Path]:
            self.n_listings += folder.name == "journal"
            return list_segments(folder)

        monkeypatch.setattr(duckdb, "connect", count_open)
        monkeypatch.setattr(journal, "_list_segments", count_listing)


def add_pending(base: KnowledgeBase) -> None:
    """Trials in the journal that a past task has new, so that what is kept has to be brought up to date."""
    trials = [replace(trial, protocol=Protocol(seed=7)) for trial in base.trials()[:3]]
    base.record(trials[:1])
    base.record(trials[1:])


@pytest.fixture(scope="module", params=["as it was trained", "with segments", "with a new tuning"])
def home(request: pytest.FixtureRequest, known, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = known.copied(tmp_path_factory.mktemp("base") / "home")
    if request.param == "with segments":
        add_pending(base)
    if request.param == "with a new tuning":
        metahp.tune(str(known.table), trials=2, learners="linear", knowledge_base=base, max_rows=60, cv=2)
        assert base.info()["n_trials"] > KnowledgeBase(known.home).info()["n_trials"]
    return base.folder


@pytest.fixture
def base(home: Path, tmp_path: Path) -> KnowledgeBase:
    shutil.copytree(home, tmp_path / "home")
    return KnowledgeBase(tmp_path / "home")


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("as_path", [False, True])
def test_recommend_opens_the_file_once(base, known, tmp_path, monkeypatch, is_known, as_path) -> None:
    table = str(known.table.with_name("t0.csv") if is_known else _write_unknown(known.table, tmp_path))
    counts = Counts(monkeypatch)
    source = base.folder if as_path else base
    found = metahp.recommend(table, target="target", learners="linear", knowledge_base=source, k=3)
    assert found.is_known_task == is_known
    assert counts.opens == ["read"]
    assert counts.n_listings == 1


def test_the_command_recommend_opens_the_file_once(base, known, tmp_path, monkeypatch, capsys) -> None:
    table = _write_unknown(known.table, tmp_path)
    counts = Counts(monkeypatch)
    assert main(["recommend", str(table), "--target", "target", "--kb", str(base.folder)]) == 0
    assert "expected ROC AUC" in capsys.readouterr().out
    assert counts.opens == ["read"]
    assert counts.n_listings == 1


def test_a_question_whose_past_is_not_kept_opens_the_file_once_too(known, tmp_path, monkeypatch, caplog) -> None:
    base = known.copied(tmp_path / "home")
    for path in (base.folder / "surrogate").iterdir():
        path.unlink()
    counts = Counts(monkeypatch)
    metahp.recommend(str(known.table), learners="linear", knowledge_base=base)
    assert "reading all trials" in caplog.text
    assert counts.opens == ["read"]


def test_training_and_the_contents_open_the_file_once(known, tmp_path, monkeypatch, capsys) -> None:
    base = known.copied(tmp_path / "home")
    counts = Counts(monkeypatch)
    metahp.train(base, learners="linear")
    assert counts.opens == ["read"]
    counts.opens.clear()
    assert main(["kb", "info", "--kb", str(base.folder)]) == 0
    # Once for every page, and once for what they hold.
    assert counts.opens == ["read"] * 2


def test_tune_opens_the_file_once_before_its_trials_and_once_after_them(base, known, tmp_path, monkeypatch) -> None:
    table = str(_write_unknown(known.table, tmp_path))
    options = {"target": "target", "learners": "linear", "knowledge_base": base, "max_rows": 60, "cv": 2}
    counts = Counts(monkeypatch)
    seen = []
    metahp.tune(table, trials=2, on_trial=lambda progress: seen.append(list(counts.opens)), **options)
    assert seen == [["read"]] * 3
    assert counts.opens == ["read", "write"]
    counts.opens.clear()
    # What the first ingest archived is read back by the second one.
    metahp.tune(table, trials=3, test_size=0.2, **options)
    assert counts.opens == ["read", "write"]


def test_tuning_an_objective_opens_the_file_once_before_its_trials_and_once_after_them(base, monkeypatch) -> None:
    space = metahp.SearchSpace("service", 1, (metahp.Float("rate", 0.0, 1.0, 0.5),))
    options = {"function": lambda values: -values["rate"], "space": space, "knowledge_base": base}
    metahp.tune_objective(trials=2, name="first", **options)
    counts = Counts(monkeypatch)
    metahp.tune_objective(trials=2, name="second", **options)
    assert counts.opens == ["read", "write"]


def _write_unknown(table: Path, folder: Path) -> Path:
    """A table of which the knowledge base has no trial: all but the last rows of another one."""
    path = folder / "unknown.csv"
    path.write_text("\n".join(table.read_text(encoding="utf-8").splitlines()[:-7]) + "\n", encoding="utf-8")
    return path
