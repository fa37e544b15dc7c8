"""Training in the open: which models are made, what stays, and what is said of it."""

import logging

import pytest

from metahp.api.training import train
from metahp.core.errors import UnknownNameError
from metahp.core.task import TaskType
from metahp.knowledge import cache
from metahp.surrogate.metamodel import MetaModel

BOTH = ("linear", "random_forest")
METRICS = ("neg_log_loss", "roc_auc", "accuracy")


def scopes(folder):
    return sorted(tuple(path.name.split("-")[3:5]) for path in (folder / cache.FOLDER_NAME).glob("*-model-*"))


def test_a_model_of_each_learner_and_one_between_all_is_trained_for_each_guiding_metric_and_serves(
    tiny, tmp_path, monkeypatch
):
    base = tiny.base(tmp_path / "kb")
    seen = []
    done = train(base, on_progress=lambda progress, trained: seen.append((progress, trained)))
    trained = [each for each in done if not each.why_not]
    expected = {(m, names) for m in METRICS for names in (("linear",), ("random_forest",), BOTH)}
    assert {(each.metric, each.learners) for each in trained} == expected
    assert scopes(base.folder) == sorted((m, ".".join(names)) for m, names in expected)
    for each in trained:
        assert (each.kind, each.n_tasks) == ("classification", 12)
        assert 0 <= each.win_rate <= 1
    # There is no regression task, which is said once.
    [skipped] = [each for each in done if each.why_not]
    assert (skipped.kind, skipped.metric, skipped.n_tasks) == ("regression", "", 0)
    assert "no regression task" in skipped.why_not
    assert [progress.n_done for progress, _ in seen] == list(range(10))
    assert {progress.n_models for progress, _ in seen} == {9}
    assert seen[0][1] is None
    assert [each for _, each in seen[1:]] == trained
    left = [progress.seconds_left for progress, _ in seen]
    assert left == sorted(left, reverse=True)
    assert left[0] > 0
    assert left[-1] == 0
    # The longest first.
    assert [each.learners for each in trained[:3]] == [BOTH] * 3

    def refuse(*arguments, **named):
        raise AssertionError("trained again")

    monkeypatch.setattr(MetaModel, "fit", refuse)
    again = train(base)
    assert [each.why_not for each in again] == [skipped.why_not]
    for metric in ("roc_auc", "neg_log_loss", "accuracy", "balanced_accuracy", "f1_macro"):
        for learners in (("linear",), BOTH):
            _, advice, notes = tiny.ask(base, metric, learners)
            assert notes == ()
            assert not advice.prior.abstained


def test_models_go_to_another_folder_where_one_is_given_and_side_by_side(tiny, tmp_path, caplog):
    base = tiny.base(tmp_path / "kb")
    with caplog.at_level(logging.WARNING):
        train(base, learners="linear", output=tmp_path / "out", jobs=2)
    assert scopes(tmp_path / "out") == [(metric, "linear") for metric in sorted(METRICS)]
    assert not list((base.folder / cache.FOLDER_NAME).glob("*-model-*"))
    assert len(list((tmp_path / "out" / cache.FOLDER_NAME).glob("*-measured-*"))) == 1
    train(base, learners="linear", output=tmp_path / "alone")
    for path in (tmp_path / "out" / cache.FOLDER_NAME).iterdir():
        [(_, one), (_, other)] = cache.read([path, tmp_path / "alone" / cache.FOLDER_NAME / path.name])
        assert {name: array.tobytes() for name, array in one.items()} == {
            name: array.tobytes() for name, array in other.items()
        }


def test_what_cannot_be_trained_is_told_why(tiny, tmp_path):
    base = tiny.base(tmp_path / "kb", range(3))
    forest = tiny.trials_of(tiny.record_of(0, TaskType.REGRESSION), ["linear"])
    base.record(forest, [tiny.record_of(0, TaskType.REGRESSION)])
    done = train(base, learners=["linear"])
    assert {each.kind for each in done if not each.why_not} == {"classification"}
    [regression] = [each for each in done if each.kind == "regression"]
    assert (regression.metric, regression.learners) == ("neg_root_mean_squared_error", ("linear",))
    assert regression.why_not == "fewer than two distinct tasks have trials"


def test_after_new_trials_all_is_trained_anew(tiny, tmp_path):
    base = tiny.base(tmp_path / "kb", range(4))
    n_first = sum(not each.why_not for each in train(base, learners=["linear"]))
    tiny.add(base, [4])
    second = [each for each in train(base, learners=["linear"]) if not each.why_not]
    assert (n_first, len(second)) == (3, 3)
    assert {each.n_tasks for each in second} == {5}


def test_a_learner_that_is_none_is_refused(tiny, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        train(tiny.base(tmp_path / "kb", range(2)), learners=["linaer"])
