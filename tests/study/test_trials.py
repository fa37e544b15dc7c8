from pathlib import Path

import numpy as np
import pytest

from builders import BOWL_SPACE, make_trial, tune_bowl
from metahp.core.errors import MetahpError
from metahp.core.metric import METRICS
from metahp.core.space import Categorical, Float, SearchSpace
from metahp.core.trial import Protocol, Trial
from metahp.evaluation.backend import Outcome
from metahp.knowledge.store import KnowledgeBase
from metahp.study import trials as trials_module
from metahp.study.trials import StudyTrials

PROTOCOL = Protocol(folds=2)


def open_trials(base: KnowledgeBase | None, folder: Path | None) -> StudyTrials:
    recorded = [] if base is None else base.trials(task="t")
    return StudyTrials("t", PROTOCOL, METRICS["roc_auc"], [BOWL_SPACE], base=base, recorded=recorded, folder=folder)


def outcome_of(loss: float, depth: int) -> Outcome:
    configuration = BOWL_SPACE.configuration({"depth": depth})
    return Outcome(make_trial(loss, loss, configuration=configuration), np.full((4, 2), loss, dtype=np.float32))


def summarise(trials: list[Trial]) -> list[tuple[str, float]]:
    return [(trial.id, trial.loss("roc_auc")) for trial in trials]


def test_a_study_goes_on_in_the_same_order_with_the_same_predictions(tmp_path: Path) -> None:
    first = open_trials(None, tmp_path / "study")
    for depth, loss in ((3, 0.3), (9, 0.1), (5, 0.2)):
        first.add(outcome_of(loss, depth))
    second = open_trials(None, tmp_path / "study")
    assert summarise(second.trials) == summarise(first.trials)
    assert (second.n_earlier, second.n_recorded, second.n_since_best) == (3, 0, 1)
    assert {key: float(values[0, 0]) for key, values in second.predictions.items()} == {
        trial.id: pytest.approx(trial.loss("roc_auc")) for trial in first.trials
    }


def test_knowledge_base_and_folder_each_get_what_only_the_other_has(base: KnowledgeBase, tmp_path: Path) -> None:
    open_trials(base, None).add(outcome_of(0.3, 3))
    open_trials(None, tmp_path / "study").add(outcome_of(0.1, 9))
    both = open_trials(base, tmp_path / "study")
    assert (both.n_trials, both.n_recorded) == (2, 0)
    known = sorted(summarise(both.trials))
    assert sorted(summarise(base.trials())) == known
    assert sorted(summarise(open_trials(None, tmp_path / "study").trials)) == known


def test_predictions_of_the_best_trials_alone_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "MAX_LIBRARY", 2)
    trials = open_trials(None, None)
    for depth, loss in ((3, 0.3), (9, 0.1), (5, 0.2), (7, 0.4)):
        trials.add(outcome_of(loss, depth))
    kept = [trial.loss("roc_auc") for trial in trials.trials if trial.id in trials.predictions]
    assert kept == [0.1, 0.2]


def test_without_a_complete_trial_the_error_says_what_was_most_frequent() -> None:
    trials = open_trials(None, None)
    assert "The time was up before a trial finished" in str(trials.explain_failure("Try more."))
    for depth, reason in ((3, "too large"), (5, "too slow"), (7, "too slow")):
        configuration = BOWL_SPACE.configuration({"depth": depth})
        trials.add(Outcome(make_trial(configuration=configuration, reason=reason)))
    error = trials.explain_failure("Try more.")
    assert isinstance(error, MetahpError)
    assert str(error) == ("None of 3 trials is complete. The most frequent reason (2 times): too slow. Try more.")
    assert trials.find_best() is None
    assert trials.n_since_best == 0


def test_trials_outside_of_a_narrower_space_are_left_out_and_counted(
    base: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    result = tune_bowl(base, trials=6)
    narrower = SearchSpace("toy_service", 2, (*BOWL_SPACE.hyperparameters[:2], Categorical("kind", ("a", "c"), "a")))
    first = result.trials[0]
    study = StudyTrials(
        first.task,
        first.protocol,
        result.metric,
        [narrower],
        base=base,
        recorded=base.trials(task=first.task),
        folder=None,
    )
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
