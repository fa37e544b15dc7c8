"""A knowledge base grows by one's own tables: measured once, continued after an interruption, then asked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metahp
from metahp import api
from metahp.core.errors import InputError
from metahp.core.trial import TrialState
from metahp.knowledge.store import KnowledgeBase


def make_table(seed: int, n_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n_rows, 2)), columns=["a", "b"])
    frame["target"] = np.where(frame["a"] + rng.normal(size=n_rows) > 0, "yes", "no")
    return frame


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase(tmp_path / "kb")


@pytest.fixture
def tables(tmp_path: Path) -> list[object]:
    """The same task as a file, a frame and a `Table`, and two others."""
    make_table(0).to_csv(tmp_path / "t0.csv", index=False)
    return [tmp_path / "t0.csv", make_table(0), make_table(1), api.load(make_table(2), target="target")]


def test_every_kind_of_table_is_measured_once_and_described(tables: list[object], kb: KnowledgeBase) -> None:
    seen = []
    options = {"target": "target", "configurations": 3, "knowledge_base": kb}
    grown = metahp.refresh(tables, "linear", **options, on_trial=lambda *news: seen.append(news))
    assert grown is kb
    assert [done for done, _, _ in seen] == list(range(10))
    trials = kb.trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}, [trial.reason for trial in trials]
    assert len({trial.task for trial in trials}) == 3
    assert {record.task.id for record in kb.tasks()} == {trial.task for trial in trials}
    assert "t0" in {record.task.name for record in kb.tasks()}
    again = []
    metahp.refresh(tables, ["linear"], **options, on_trial=lambda *news: again.append(news))
    assert again == [(0, 0, None)]


def test_a_folder_is_all_its_tables(tmp_path: Path, kb: KnowledgeBase) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    options = {"target": "target", "configurations": 2, "knowledge_base": kb}
    with pytest.raises(InputError, match=r"has no file with one of the endings \.csv"):
        metahp.refresh(folder, "linear", **options)
    for seed in range(2):
        make_table(seed).to_csv(folder / f"t{seed}.csv", index=False)
    (folder / "notes.md").write_text("No table.")
    metahp.refresh(folder, "linear", **options)
    assert {record.task.name for record in kb.tasks()} == {"t0", "t1"}
    assert len(kb.trials()) == 4


def test_it_continues_after_an_interruption(tables: list[object], kb: KnowledgeBase) -> None:
    def interrupt(done: int, total: int, trial: object) -> None:
        if done == 4:
            raise KeyboardInterrupt

    options = {"target": "target", "configurations": 3, "knowledge_base": kb}
    with pytest.raises(KeyboardInterrupt):
        metahp.refresh(tables, "linear", **options, on_trial=interrupt)
    totals = []
    metahp.refresh(tables, "linear", **options, on_trial=lambda done, total, trial: totals.append(total))
    assert set(totals) == {5}
    assert len(kb.trials()) == 9


def test_then_the_advice_and_the_search_start_from_it(tables: list[object], kb: KnowledgeBase) -> None:
    metahp.refresh(tables, "linear", target="target", configurations=4, knowledge_base=kb)
    options = {"target": "target", "learners": "linear", "knowledge_base": kb}
    recommendation = metahp.recommend(make_table(9), k=2, **options)
    assert recommendation.n_past_tasks == 3
    result = metahp.tune(make_table(9), trials=3, cv=2, **options)
    assert {str(trial.origin) for trial in result.trials} & {"portfolio", "surrogate"}


def test_progress_is_printed_on_request(kb: KnowledgeBase, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"target": "target", "configurations": 2, "knowledge_base": kb}
    metahp.refresh(make_table(0), "linear", **options, verbose=1)
    lines = capsys.readouterr().err.splitlines()
    assert (lines[0], lines[-1]) == ("metahp: 0 of 2 trials", "metahp: 2 of 2 trials")
    metahp.refresh(make_table(1), "linear", **options)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("tables", "learners", "message"),
    [
        ([], "linear", "this one is empty"),
        (3, "linear", "is a list of paths, frames or `Table`s, got 3"),
        ([make_table(0)], "", "Expected the name of a learner"),
        ([make_table(0)], "linera", "Did you mean 'linear'"),
        (["no.csv"], "linear", "no.csv"),
    ],
)
def test_bad_input_gets_one_line(tables: object, learners: str, message: str, kb: KnowledgeBase) -> None:
    with pytest.raises((InputError, LookupError), match=message):
        metahp.refresh(tables, learners, target="target", knowledge_base=kb)
