"""Studies of objectives: what they give, what they remember, and from where they go on."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metahp
from builders import BOWL_SPACE, bowl, tune_bowl
from metahp.core.errors import InputError, MetahpError
from metahp.core.metric import METRICS
from metahp.core.trial import Origin, TrialState
from metahp.knowledge.store import KnowledgeBase
from metahp.study.objective import make_metric, make_task


def test_an_objective_is_tuned_and_remembered(base: KnowledgeBase) -> None:
    result = tune_bowl(base, trials=12, strategy="tpe", metafeatures={"size": 3.0})
    assert len(result.trials) == result.n_recorded == len(base.trials()) == 12
    assert result.best_score_ == max(bowl(trial.configuration.values) for trial in result.trials)
    assert bowl(result.best_params_) == result.best_score_
    assert result.trials[0].origin is Origin.DEFAULT
    assert [record.task.name for record in base.tasks()] == ["toy_service"]
    assert base.tasks()[0].metafeatures == {"size": 3.0}
    assert list(result.trials_frame()["score"]) == [bowl(trial.configuration.values) for trial in result.trials]
    with pytest.raises(InputError, match="no estimator"):
        _ = result.best_estimator_


def test_the_same_call_goes_on_without_repeating_anything(base: KnowledgeBase) -> None:
    calls = []

    def objective(values: dict) -> float:
        calls.append(tuple(values.values()))
        return bowl(values)

    options = {"function": objective, "space": BOWL_SPACE, "knowledge_base": base, "strategy": "tpe"}
    first = metahp.tune_objective(**options, trials=5)
    second = metahp.tune_objective(**options, trials=12, jobs=3)
    assert (second.n_earlier, second.n_recorded, len(second.trials)) == (5, 7, 12)
    assert {trial.id for trial in first.trials} <= {trial.id for trial in second.trials}
    assert len(set(calls)) == len(calls) == 12
    assert second.warnings == ()
    with pytest.warns(metahp.MetahpWarning, match="nothing left to do: the task 'toy_service' has 12 trials already"):
        again = metahp.tune_objective(**options, trials=12)
    assert len(again.warnings) == 1
    assert (again.n_recorded, len(calls), again.best_params_) == (0, 12, second.best_params_)


def test_only_a_strategy_that_goes_on_learning_from_past_tasks_begins_with_few_of_their_points(
    base: KnowledgeBase,
) -> None:
    for seed in range(2):
        tune_bowl(base, trials=12, name=f"past {seed}", seed=seed)
    for strategy, n_warm in (("transfer", 3), ("random", 10)):
        result = tune_bowl(base, trials=14, name="new", strategy=strategy, record=False, device="cpu")
        # The default may be one of them.
        assert sum(trial.origin is Origin.PORTFOLIO for trial in result.trials) in (n_warm - 1, n_warm)


def test_transfer_finds_the_optimum_that_past_tasks_share_sooner_than_a_cold_start(base: KnowledgeBase) -> None:
    def bowl_at(centre: float):
        return lambda values: -((np.log10(values["rate"]) - centre) ** 2) - (values["depth"] - 10) ** 2 / 50

    for centre in (-2.3, -2.1, -1.9, -1.8):
        options = {"metafeatures": {"centre": centre}, "strategy": "tpe", "knowledge_base": base, "trials": 12}
        metahp.tune_objective(bowl_at(centre), space=BOWL_SPACE, name=f"past {centre}", **options)
    options = {"function": bowl_at(-2.0), "space": BOWL_SPACE, "metafeatures": {"centre": -2.0}, "knowledge_base": base}
    options |= {"record": False, "trials": 9, "device": "cpu"}
    warm = metahp.tune_objective(**options, name="new", strategy="transfer")
    assert Origin.POSTERIOR in {trial.origin for trial in warm.trials}
    for seed in range(3):
        cold = metahp.tune_objective(**options, name=f"cold {seed}", strategy="transfer", cold=True, seed=seed)
        assert warm.best_score_ > cold.best_score_


def test_one_past_task_is_enough_to_go_on_learning_from(base: KnowledgeBase) -> None:
    tune_bowl(base, trials=12, strategy="tpe", name="first", metafeatures={"size": 1.0})
    near = tune_bowl(base, trials=9, strategy="transfer", device="cpu", name="near", metafeatures={"size": 1.1})
    origins = [trial.origin for trial in near.trials]
    assert origins[:4] == [Origin.PORTFOLIO, Origin.DEFAULT, Origin.PORTFOLIO, Origin.PORTFOLIO]
    assert set(origins[4:]) == {Origin.POSTERIOR}
    assert near.best_score_ >= near.warm_score_


def test_past_trials_may_have_scores_of_fewer_folds_than_others(base: KnowledgeBase) -> None:
    counts = itertools.cycle((3, 1, 2))
    for name in ("a", "b", "c"):
        tune_bowl(base, function=lambda values: [bowl(values)] * next(counts), trials=7, name=name)
    assert len(tune_bowl(base, strategy="transfer", device="cpu", trials=7, name="new").trials) == 7


def test_a_failing_objective_makes_failed_trials(base: KnowledgeBase) -> None:
    def objective(values: dict) -> float:
        if values["depth"] > 3:
            raise RuntimeError("the service is down")
        return float("nan") if values["kind"] == "b" else bowl(values)

    result = metahp.tune_objective(objective, space=BOWL_SPACE, knowledge_base=base, trials=40, strategy="random")
    failed = Counter(trial.reason for trial in result.trials if trial.state is TrialState.FAILED)
    assert set(failed) == {"RuntimeError: the service is down", "a score that is not finite"}
    assert result.best_params_["depth"] <= 3


def test_when_all_trials_fail_the_error_has_the_most_frequent_reason(base: KnowledgeBase) -> None:
    def objective(values: dict) -> float:
        raise RuntimeError("no licence")

    with pytest.raises(MetahpError, match=r"None of 3 trials is complete.*\(3 times\): RuntimeError: no licence"):
        metahp.tune_objective(objective, space=BOWL_SPACE, knowledge_base=base, trials=3)


def test_a_cost_is_minimised_and_shown_as_it_is(base: KnowledgeBase) -> None:
    def cost(values: dict) -> list[float]:
        return [-bowl(values), -bowl(values) + 1.0]

    result = metahp.tune_objective(
        cost, space=BOWL_SPACE, knowledge_base=base, trials=8, direction="minimize", strategy="random"
    )
    assert result.best_score_ == pytest.approx(min(np.mean(cost(t.configuration.values)) for t in result.trials))
    assert result.best_standard_error_ == pytest.approx(0.5)


@pytest.mark.parametrize("record", [True, False])
def test_an_objective_leaves_a_result_directory_from_which_it_goes_on(
    base: KnowledgeBase, tmp_path: Path, record: bool
) -> None:
    calls = []

    def cost(values: dict) -> float:
        calls.append(tuple(values.values()))
        return -bowl(values)

    folder = tmp_path / "out"
    options = {
        "space": BOWL_SPACE,
        "strategy": "tpe",
        "direction": "minimize",
        "record": record,
        "knowledge_base": base,
    }
    options |= {"function": cost, "metafeatures": {"size": 3.0, "age": float("nan")}, "output": folder}
    first = metahp.tune_objective(**options, trials=4, name="monday")
    second = metahp.tune_objective(**options, trials=6, name="monday", command="python tune.py")
    assert (second.trials[:4], second.n_earlier, second.directory) == (first.trials, 4, folder)
    assert len(set(calls)) == len(calls) == 6
    assert {path.name for path in folder.iterdir()} == {"best.json", "trials.parquet", "study"}
    described = json.loads((folder / "best.json").read_text())
    assert described["schema_version"] == 1
    assert described["task"]["name"] == "monday"
    assert described["task"]["direction"] == "minimize"
    assert described["task"]["metafeatures"] == {"size": 3.0, "age": None}
    assert described["best"]["learner"] == "toy_service"
    assert described["best"]["configuration"] == second.best_params_
    assert described["best"]["score"] == pytest.approx(second.best_score_)
    assert described["command"] == "python tune.py"
    trials = pd.read_parquet(folder / "trials.parquet")
    assert trials["score"].tolist() == pytest.approx([second.score_of(trial) for trial in second.trials])
    with pytest.raises(InputError, match=r"out' has no model: an objective was tuned there"):
        metahp.load_result(folder)
    with pytest.raises(InputError, match="is a file; expected a directory"):
        metahp.tune_objective(**{**options, "output": folder / "best.json"}, trials=7)


def test_an_objective_keeps_the_task_that_it_had_before() -> None:
    ids = {
        "maximize": "b8f4be61249e52909df291bb",
        "minimize": "6a40656254f83f7c48c30562",
    }
    for direction, task in ids.items():
        assert make_task("monday", {"size": 3.0, "age": float("nan")}, make_metric(None, direction)).id == task
    assert make_task("monday", {}, METRICS["roc_auc"]).id == "0def4ffea4d088de692c4e52"
