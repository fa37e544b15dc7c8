from pathlib import Path

import pytest

from builders import BOWL_SPACE, tune_bowl
from metahp.core.space import Categorical, Float, SearchSpace
from metahp.knowledge.store import KnowledgeBase
from metahp.study.trials import StudyTrials


def test_trials_outside_of_a_narrower_space_are_left_out_and_counted(
    base: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    result = tune_bowl(base, trials=6)
    narrower = SearchSpace("toy_service", 2, (*BOWL_SPACE.hyperparameters[:2], Categorical("kind", ("a", "c"), "a")))
    first = result.trials[0]
    study = StudyTrials(first.task, first.protocol, result.metric, [narrower], base=base, folder=None)
    kept = [trial for trial in result.trials if trial.configuration.values["kind"] == "a"]
    assert sorted(trial.id for trial in study.trials) == sorted(trial.id for trial in kept)
    assert 0 < len(kept) < 6
    assert f"{6 - len(kept)} earlier trial(s) are left out" in caplog.text


def test_trials_of_an_older_space_count_for_the_history_of_a_study(
    base: KnowledgeBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"strategy": "tpe", "output": tmp_path / "out"}
    first = tune_bowl(base, trials=5, **options)
    added = Float("added", 0.0, 1.0, 0.5)
    second = tune_bowl(
        base, space=SearchSpace("toy_service", 2, (*BOWL_SPACE.hyperparameters, added)), trials=7, **options
    )
    assert (second.n_earlier, second.n_recorded) == (5, 2)
    earlier = [trial.configuration for trial in second.trials[:5]]
    # In the same order, which the result directory keeps.
    assert earlier == [trial.configuration.replaced(added=0.5) for trial in first.trials]
    assert [trial.space_version for trial in second.trials] == [2] * 7
    # What was recorded stays as it was.
    assert sorted(trial.space_version for trial in base.trials()) == [1] * 5 + [2] * 2
    third = tune_bowl(base, space=SearchSpace("toy_service", 3, BOWL_SPACE.hyperparameters[:2]), trials=8, **options)
    assert third.n_earlier == len({trial.configuration.replaced(added=0, kind="a") for trial in second.trials})
    assert ("earlier trial(s) are left out" in caplog.text) == (third.n_earlier < 7)
