"""Studies of a table: resume, pruning, early stopping, outer rows, the result and what is written back."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metahp
from builders import make_knowledge_base, make_task_record
from metahp.cli.tune import format_plan
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.core.trial import Origin, TrialState
from metahp.evaluation.design import make_design
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import find_learner
from metahp.study.request import Folds
from metahp.study.result import Plan
from metahp.study.rows import split_rows


@pytest.fixture(scope="module")
def tuned(frame: pd.DataFrame, tmp_path_factory):
    """Four trials on a file, then the same call for nine with two jobs; outer rows are set aside."""
    folder = tmp_path_factory.mktemp("tuned")
    path = folder / "iris.csv"
    frame.drop(columns=["farm", "day"]).to_csv(path, index=False)
    base = KnowledgeBase(folder / "kb")
    options = {
        "target": "kind",
        "learners": ["linear"],
        "strategy": "random",
        "cold": True,
        "cv": 3,
        "test_size": 0.3,
        "knowledge_base": base,
        "output": folder / "iris.metahp",
        "configurations": ["C=0.001"],
    }
    first = metahp.tune(path, **options, trials=4)
    return path, base, options, first, metahp.tune(path, **options, trials=9, jobs=2, ensemble=True)


def test_a_second_call_continues_the_first(tuned) -> None:
    _, base, _, first, second = tuned
    assert (len(first.trials), second.n_earlier, len(second.trials)) == (4, 4, 9)
    assert second.trials[:4] == first.trials
    assert len({trial.configuration for trial in second.trials}) == 9
    assert len(base.trials()) == 9


def test_user_and_default_come_first_and_are_measured_to_the_end(tuned) -> None:
    *_, second = tuned
    assert [trial.origin for trial in second.trials[:2]] == [Origin.USER, Origin.DEFAULT]
    assert {trial.state for trial in second.trials[:2]} == {TrialState.COMPLETE}
    assert second.default_score_ == second.score_of(second.trials[1])


def test_hopeless_trials_are_pruned_after_their_first_folds(tuned) -> None:
    *_, second = tuned
    for trial in second.trials:
        assert len(trial.fold_losses["neg_log_loss"]) == (3 if trial.state is TrialState.COMPLETE else 1)


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_boosted_trees_are_stopped_early_and_a_second_call_knows_what_was_run(
    frame: pd.DataFrame, base: KnowledgeBase, strategy: str
) -> None:
    options = {"learners": ["lightgbm"], "strategy": strategy, "cold": True, "cv": 3, "prune": False}
    own = {"configurations": ["n_estimators=300,learning_rate=0.3"], "knowledge_base": base, "target": "kind"}
    X = frame.drop(columns=["farm", "day"])
    metahp.tune(X, **options, **own, trials=5)
    result = metahp.tune(X, **options, **own, trials=8)
    trials, space = result.trials, find_learner("lightgbm").space(TaskType.MULTICLASS)
    for trial, row in zip(trials, result.trials_frame().to_dict("records"), strict=True):
        curve = dict(zip(row["curve_iterations"], row["curve_scores"], strict=True))
        assert max(curve) == trial.asked(space).values["n_estimators"]
        assert curve[trial.configuration.values["n_estimators"]] == pytest.approx(row["score"])
    assert len({trial.asked(space) for trial in trials}) == len({trial.id for trial in trials}) == 8
    for trial in trials:
        is_stopped = trial.asked(space) != trial.configuration
        assert not is_stopped or trial.origin not in (Origin.USER, Origin.DEFAULT)
        losses = dict(zip(trial.curve.checkpoints, trial.curve.losses["neg_log_loss"], strict=True))
        assert losses[trial.configuration.values["n_estimators"]] == pytest.approx(trial.loss("neg_log_loss"))
    assert any(trial.asked(space) != trial.configuration for trial in trials)
    whole = metahp.tune(X, **options, **own, trials=10, early_stopping=False).trials[8:]
    assert all(trial.asked(space) == trial.configuration for trial in whole)


def test_the_outer_rows_take_no_part(tuned) -> None:
    path, base, _, first, second = tuned
    assert second.n_test_rows == 45
    assert base.tasks()[0].task.n_rows == 105
    assert {trial.n_rows for trial in second.trials} == {105}
    rows = split_rows(path, target="kind", folds=Folds(test_size=0.3, cv=3))
    assert second.test_score_ == pytest.approx(second.best_estimator_.score(rows.outer))
    assert first.test_score_ == pytest.approx(first.best_estimator_.score(rows.outer))


def test_the_result_directory_predicts_as_the_estimator_does(tuned, frame: pd.DataFrame) -> None:
    path, _, options, _, second = tuned
    model = metahp.load_result(options["output"])
    expected = second.best_estimator_.predict_proba(pd.read_csv(path))
    np.testing.assert_allclose(model.predict_proba(path), expected, rtol=1e-6)
    assert sorted(entry.name for entry in options["output"].iterdir())[0] == "best.json"
    assert model.best_params_ == second.best_params_ == second.best_estimator_.best_params_
    assert model.best_score_ == pytest.approx(second.best_score_)
    assert model.metric == second.metric


def test_an_ensemble_survives_a_resume(tuned) -> None:
    *_, options, _, second = tuned
    assert second.ensemble_ is not None
    assert sum(weight for _, weight in second.ensemble_.members) == pytest.approx(1.0)
    assert second.ensemble_.gain is not None
    assert len(second.best_estimator_.members) == len(second.ensemble_.members)
    described = json.loads((options["output"] / "best.json").read_text())
    # The score on the outer rows stands beside the model that has it.
    assert described["best"]["test_score"] is None
    assert described["ensemble"]["test_score"] == pytest.approx(second.test_score_)
    earlier = {trial.configuration for trial in second.trials[:4]}
    # Predictions of the first call are there: the library is not that of the second call alone.
    assert earlier & {configuration for configuration, _ in second.ensemble_.members}


def test_with_nothing_left_to_do_it_reports(tuned) -> None:
    path, _, options, _, second = tuned
    again = metahp.tune(path, **options, trials=9)
    assert (again.n_recorded, again.best_params_, again.ended) == (0, second.best_params_, "trials")
    assert again.best_score_ == second.best_score_


def test_what_was_asked_for_and_not_done_is_told(tuned, tmp_path) -> None:
    path, _, options, *_ = tuned
    asked = {"configurations": ["C=0.001", "C=0.002"], "learners": ["linear", "lightgbm"]}
    with pytest.warns(metahp.MetahpWarning) as warned:
        result = metahp.tune(path, **(options | asked | {"output": tmp_path / "other"}), trials=9, ensemble=True)
    assert [str(each.message) for each in warned] == list(result.warnings)
    assert {each.filename for each in warned} == {__file__}
    for words in (
        "1 of your configurations was not tried, because no trial was left",
        "no trial of lightgbm",
        "the result is the best single model, not an ensemble: predictions of 0 of",
    ):
        assert any(words in line for line in result.warnings)


def test_trials_that_another_metric_has_chosen_are_told_from_own_ones(tuned) -> None:
    path, _, options, _, second = tuned
    n_pruned = sum(trial.state is TrialState.PRUNED for trial in second.trials)
    assert n_pruned
    again = metahp.tune(path, **(options | {"output": None}), trials=9, metric="accuracy")
    assert any(
        f"{n_pruned} earlier trial" in each and "stopped early by another metric" in each for each in again.warnings
    )
    assert not any("another metric" in each for each in second.warnings)


def test_trials_of_older_versions_without_the_metric_count_as_trials_without_a_score(
    frame: pd.DataFrame, base: KnowledgeBase, tmp_path: Path
) -> None:
    two = frame[frame["kind"] != frame["kind"].iloc[0]].drop(columns=["farm", "day"])
    options = {"target": "kind", "learners": ["linear"], "strategy": "random", "cold": True, "cv": 3}
    older = metahp.tune(two, **options, trials=9, knowledge_base=KnowledgeBase(tmp_path / "older"), prune=False)
    base.record(
        [
            replace(trial, fold_losses={name: losses for name, losses in trial.fold_losses.items() if name != "f1"})
            for trial in older.trials
        ],
        KnowledgeBase(tmp_path / "older").tasks(),
    )
    result = metahp.tune(two, **options, trials=11, knowledge_base=base, metric="f1")
    assert (result.n_earlier, len(result.trials)) == (9, 11)
    assert any("9 earlier trials without F1 cannot win" in warning for warning in result.warnings)
    assert result.number_of(result.best_trial_) > 9


def test_the_default_is_the_best_of_the_learners_defaults(frame: pd.DataFrame, base: KnowledgeBase) -> None:
    options = {"learners": ["linear", "lightgbm"], "metric": "accuracy", "cold": True, "cv": 3, "trials": 4}
    result = metahp.tune(frame, target="kind", strategy="random", knowledge_base=base, **options)
    defaults = [result.score_of(trial) for trial in result.trials if trial.origin is Origin.DEFAULT]
    assert len(defaults) == 2
    assert result.default_score_ == max(defaults)
    assert re.fullmatch(r"TuneResult\(\w+, accuracy 0\.\d+, best of 4 trials(; 1 warning)?\)", repr(result))


def test_meta_features_are_written_back(tuned) -> None:
    _, base, _, _, second = tuned
    record = base.task(second.trials[0].task)
    assert record is not None
    assert record.metafeatures_version > 0
    assert record.metafeatures["baseline:neg_log_loss"] == pytest.approx(np.log(3), abs=0.01)


def test_the_next_recommendation_knows_the_table(tuned) -> None:
    _, base, _, _, second = tuned
    inner = split_rows(tuned[0], target="kind", folds=Folds(test_size=0.3, cv=3)).table
    recommendation = metahp.recommend(inner, learners=["linear"], k=1, knowledge_base=base)
    assert recommendation.is_known_task
    assert recommendation.best.configuration == second.best_trial_.configuration


def test_without_record_the_result_directory_alone_lets_a_run_go_on(
    frame: pd.DataFrame, base: KnowledgeBase, tmp_path: Path
) -> None:
    options = {
        "target": "kind",
        "learners": ["linear"],
        "strategy": "random",
        "cold": True,
        "cv": 2,
        "knowledge_base": base,
        "record": False,
        "output": tmp_path / "out",
    }
    X = frame.drop(columns=["farm", "day"])
    first = metahp.tune(X, **options, trials=2)
    second = metahp.tune(X, **options, trials=3)
    assert second.trials[:2] == first.trials
    assert (second.n_earlier, second.n_recorded, base.trials(), base.tasks()) == (2, 0, [], [])


def test_a_knowledge_base_without_past_tasks_means_a_cold_start_that_says_so(
    frame: pd.DataFrame, base: KnowledgeBase
) -> None:
    result = metahp.tune(
        frame[["petal length (cm)", "petal width (cm)", "kind"]],
        target="kind",
        learners=["linear"],
        trials=1,
        cv=2,
        knowledge_base=base,
        record=False,
        strategy="random",
    )
    assert any("starts from library defaults" in warning for warning in result.warnings)
    assert result.warm_start() is None
    # A table of frames and arrays: the estimator takes the columns that were tuned on.
    assert set(result.best_estimator_.predict(frame)) <= {0, 1, 2}


@pytest.fixture
def contrary(tmp_path: Path) -> tuple[KnowledgeBase, pd.DataFrame]:
    """A table that needs a strong penalty, and past tasks, unlike it, that all did best with next to none."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 30))
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(30)])
    frame["target"] = np.where(X[:, 0] + rng.normal(scale=3.0, size=80) > 0, "yes", "no")
    values = metahp.describe(metahp.load(frame), budget_seconds=10.0).values
    learner = find_learner("linear")
    configurations = [configuration for configuration, _ in make_design(learner, TaskType.BINARY, 10)]
    configurations.append(learner.space(TaskType.BINARY).configuration({"C": 1e-4}))
    records = [
        make_task_record(number, {name: value * float(rng.lognormal(1.0, 0.5)) + 0.5 for name, value in values.items()})
        for number in range(14)
    ]

    def compute_losses(configuration: Configuration) -> tuple[float, ...]:
        loss = 0.4 + 0.05 * abs(np.log10(float(configuration.values["C"])) - 3)
        return tuple((loss + rng.normal(scale=0.002, size=3)).tolist())

    return make_knowledge_base(tmp_path / "past", records, configurations, compute_losses), frame


def test_a_near_copy_is_recommended_what_was_best_on_the_original(contrary) -> None:
    base, frame = contrary
    options = {"learners": ["linear"], "metric": "neg_log_loss", "knowledge_base": base, "budget_seconds": 10}
    copy = frame.drop(index=[3, 30])
    before = metahp.recommend(copy, k=1, **options).best.configuration
    tuned = metahp.tune(frame, **options, trials=6, warm=3, cv=3, strategy="random", configurations=["C=0.0001"])
    assert tuned.best_params_["C"] < 0.1 < before.values["C"]
    after = metahp.recommend(copy, k=1, **options)
    assert not after.is_known_task
    assert after.best.configuration.values["C"] < 0.1


def test_a_strategy_that_computes_says_before_it_starts_where(contrary) -> None:
    base, frame = contrary
    options = {"learners": ["linear"], "metric": "neg_log_loss", "knowledge_base": base, "cv": 2, "trials": 1}
    plans: list[Plan] = []
    metahp.tune(frame, **options, strategy="transfer", device="cpu", record=False, on_start=plans.append)
    metahp.tune(frame, **options, strategy="random", cold=True, record=False, on_start=plans.append)
    assert [(plan.strategy, plan.device) for plan in plans] == [("transfer", "cpu"), ("random", None)]
    assert format_plan(plans[0])[2].endswith(" past tasks · strategy transfer on cpu")
    assert format_plan(plans[1])[2:] == [
        "starts from library defaults · strategy random",
        "1 trial · results are not added to your knowledge base",
    ]


def test_a_metric_that_a_fold_does_not_define_is_refused_before_any_trial(
    frame: pd.DataFrame, base: KnowledgeBase
) -> None:
    late = frame.sort_values("day").assign(kind=np.r_[1, np.zeros(99), np.ones(50)].astype(int))
    with pytest.raises(InputError, match="roc_auc is not defined on the test rows of fold 1, which have no row of"):
        metahp.tune(late, target="kind", time="day", learners=["linear"], trials=1, knowledge_base=base)
    assert not base.trials()


def test_outer_rows_of_a_class_that_was_never_seen_do_not_count(frame: pd.DataFrame, base: KnowledgeBase) -> None:
    late = frame.sort_values("day").assign(kind=np.r_[np.arange(140) % 3, np.full(10, 3)])
    options = {"metric": "accuracy", "learners": ["linear"], "trials": 1, "knowledge_base": base, "cold": True}
    result = metahp.tune(late, target="kind", time="day", cv=3, test_size=0.1, **options)
    assert 0 < result.n_test_rows < 15
    assert 0 <= result.test_score_ <= 1


def test_a_test_on_rows_that_past_trials_have_seen_is_told_from_one_on_unseen_rows(
    frame: pd.DataFrame, base: KnowledgeBase
) -> None:
    for index in range(3):
        options = {"target": "kind", "learners": ["linear"], "trials": 3, "knowledge_base": base, "cv": 3}
        metahp.tune(frame.drop(columns=["farm", "day"]).iloc[index:], **options, cold=True)
    warned = []
    for part in (frame, frame.iloc[5:]):
        result = metahp.tune(part.drop(columns=["farm", "day"]), **options, test_size=0.2)
        warned.append(any("the test score may be too good" in warning for warning in result.warnings))
    assert warned == [True, False]
