"""A time limit: it holds for learning from past tasks too, which is ended, and every run ends with a model."""

import logging
from pathlib import Path

import pandas as pd
import pytest
import torch

import metahp
from builders import BOWL_SPACE, bowl
from metahp.api import background
from metahp.core.trial import Origin
from metahp.evaluation.runner import Runner

NOTE = "past tasks could not be learned from (the time limit is too short; give a longer `timeout`)"


def tune(tiny, base, **options):
    return metahp.tune(
        tiny.frame, target="target", learners=["random_forest", "linear"], knowledge_base=base, **options
    )


def test_a_tiny_limit_gives_the_cheapest_default_and_says_so(tiny, tmp_path: Path, caplog) -> None:
    base = tiny.base(tmp_path / "kb")
    with caplog.at_level(logging.WARNING):
        result = tune(tiny, base, timeout=0.01, output=tmp_path / "out")
    assert [trial.configuration.learner for trial in result.trials] == ["linear"]
    assert (result.ended, result.default_score_) == ("timeout", result.best_score_)
    assert f"the search starts from library defaults: {NOTE}" in result.warnings
    assert sum(NOTE in warning for warning in result.warnings) == 1
    assert len(metahp.load_result(tmp_path / "out").predict(tiny.frame)) == len(tiny.frame)
    # The trial is on record, and counts in the next run.
    assert base.trials(task=tiny.table.task.id) == list(result.trials)


def test_learning_that_takes_too_long_is_ended_and_the_search_starts_cold(tiny, tmp_path: Path, monkeypatch) -> None:
    # Its process is killed before it has imported anything.
    monkeypatch.setattr(background, "SHORT_SHARE", 0.0)
    monkeypatch.setattr(background, "LEARNING_SHARE", 0.0)
    result = tune(tiny, tiny.base(tmp_path / "kb"), timeout=120, trials=3)
    assert [trial.origin for trial in result.trials[:2]] == [Origin.DEFAULT, Origin.DEFAULT]
    assert (result.ended, len(result.trials), result.n_past_tasks) == ("trials", 3, 0)
    assert f"the search starts from library defaults: {NOTE}" in result.warnings


def test_within_a_long_limit_past_tasks_are_learned_from_beside_the_defaults(tiny, tmp_path: Path) -> None:
    base = tiny.base(tmp_path / "kb")
    result = tune(tiny, base, timeout=300, trials=5)
    assert result.trials[0].configuration.learner == "linear"
    assert result.trials[0].origin is Origin.DEFAULT
    assert result.n_past_tasks == 12
    assert {trial.origin for trial in result.trials} & {Origin.SURROGATE, Origin.PORTFOLIO}
    # The table is described in the worker, and recorded here.
    with base.take_snapshot() as snapshot:
        assert snapshot.read_task(tiny.table.task.id) is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_error_of_the_search_is_raised(tiny, tmp_path: Path) -> None:
    with pytest.raises(metahp.MetahpError, match="No CUDA device"):
        tune(tiny, tiny.base(tmp_path / "kb"), timeout=300, device="cuda")


def test_what_a_worker_logs_is_logged_here(tiny, tmp_path: Path, caplog) -> None:
    base = tiny.base(tmp_path / "kb", range(4))
    with caplog.at_level(logging.WARNING):
        tune(tiny, base, timeout=300, trials=3)
    assert "reading all trials of the knowledge base" in caplog.text


def test_an_objective_ends_in_its_limit_with_the_default(tmp_path: Path) -> None:
    result = metahp.tune_objective(bowl, BOWL_SPACE, timeout=0.01, knowledge_base=tmp_path / "kb")
    assert [trial.configuration for trial in result.trials] == [BOWL_SPACE.default]
    assert result.ended == "timeout"


def test_an_objective_learns_beside_its_default(tmp_path: Path) -> None:
    for number in range(3):
        metahp.tune_objective(bowl, BOWL_SPACE, name=str(number), trials=3, knowledge_base=tmp_path / "kb", cold=True)
    result = metahp.tune_objective(bowl, BOWL_SPACE, timeout=300, trials=4, knowledge_base=tmp_path / "kb")
    assert result.trials[0].configuration == BOWL_SPACE.default
    assert result.n_past_tasks == 3


def test_closing_a_background_search_kills_its_process(tiny, tmp_path: Path, monkeypatch) -> None:
    runners: list[Runner] = []
    init = Runner.__init__

    def remember(self: Runner, *arguments: object) -> None:
        init(self, *arguments)
        runners.append(self)

    monkeypatch.setattr(Runner, "__init__", remember)
    tune(tiny, tiny.base(tmp_path / "kb"), timeout=300, trials=1)
    assert len(runners) == 2
    assert all(runner._worker is None for runner in runners)


def test_a_worker_that_dies_is_no_reason_to_end(tiny, tmp_path: Path, monkeypatch) -> None:
    def die(self: Runner, *_: object) -> None:
        raise metahp.WorkerError("the worker process died with exit code -9")

    monkeypatch.setattr(Runner, "call", die)
    result = tune(tiny, tiny.base(tmp_path / "kb"), timeout=300, trials=3)
    assert len(result.trials) == 3
    assert any("could not be learned from (the worker process died" in note for note in result.warnings)


def test_the_work_of_describing_is_a_share_of_the_limit() -> None:
    assert background.limit_describing(2.0, None) == 2.0
    assert background.limit_describing(2.0, 5.0) == 0.5
    assert background.limit_describing(2.0, 600.0) == 2.0


def test_a_limit_leaves_the_model_nothing_to_fit(tiny, tmp_path: Path, monkeypatch) -> None:
    result = tune(tiny, tiny.base(tmp_path / "kb"), timeout=0.01)
    monkeypatch.setattr("metahp.study.final_model.fit_model", None)
    assert isinstance(result.best_estimator_.predict(pd.DataFrame(tiny.frame)).shape, tuple)
