"""Tuning from Python: a table and an objective, budgets, resume, splits and what is written back."""

import itertools
import json
import re
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import ShuffleSplit

import metahp
from metahp.api.tuning.objective import ObjectivePool, best_of_past, learn_past, metric_of, objective_task
from metahp.api.tuning.past import in_order
from metahp.api.tuning.rows import rows_of
from metahp.api.tuning.study import Study, run
from metahp.api.tuning.tuned import Plan
from metahp.cli.tune import plan_lines
from metahp.core.errors import InputError, MetahpError, UnknownHyperparameterError, UnknownNameError
from metahp.core.metric import metric_for
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.evaluation.budget import Budget
from metahp.evaluation.design import design
from metahp.evaluation.splits import from_splitter
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import learner_named
from metahp.metafeatures.extract import VERSION
from metahp.refinement.strategies import strategy_named
from metahp.refinement.strategy import Suggestion
from metahp.surrogate.metamodel import PriorSettings

SPACE = SearchSpace(
    "toy_service",
    1,
    (Float("rate", 1e-3, 1.0, 0.1, is_log=True), Integer("depth", 1, 20, 4), Categorical("kind", ("a", "b"), "a")),
)


def bowl(values: dict) -> float:
    """Best at rate 0.01 and depth 10."""
    return -((np.log10(values["rate"]) + 2) ** 2) - (values["depth"] - 10) ** 2 / 50


@pytest.fixture
def base(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase(tmp_path / "kb")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    iris = load_iris(as_frame=True).frame.rename(columns={"target": "kind"})
    rng = np.random.default_rng(0)
    iris["farm"] = rng.integers(0, 12, len(iris)).astype(str)
    iris["day"] = rng.permutation(pd.date_range("2026-01-01", periods=len(iris)))
    return iris


def tune_objective(base: KnowledgeBase, **options):
    return metahp.tune(**{"objective": bowl, "space": SPACE, "knowledge_base": base, "strategy": "random", **options})


# An objective


def test_an_objective_is_tuned_and_remembered(base: KnowledgeBase) -> None:
    result = tune_objective(base, trials=12, strategy="tpe", metafeatures={"size": 3.0})
    assert len(result.trials) == result.n_recorded == len(base.trials()) == 12
    assert result.best_score_ == max(bowl(trial.configuration.values) for trial in result.trials)
    assert bowl(result.best_params_) == result.best_score_
    assert result.trials[0].origin is Origin.DEFAULT
    assert [record.task.name for record in base.tasks()] == ["toy_service"]
    assert base.tasks()[0].metafeatures == {"size": 3.0}
    assert list(result.trials_frame()["score"]) == [bowl(trial.configuration.values) for trial in result.trials]
    with pytest.raises(InputError, match="no estimator"):
        _ = result.best_estimator_


def test_every_trial_is_on_record_before_the_next_one_starts(base: KnowledgeBase) -> None:
    seen = []

    def objective(values: dict) -> float:
        seen.append(len(base.trials()))
        return bowl(values)

    metahp.tune(objective=objective, space=SPACE, knowledge_base=base, trials=6, strategy="random")
    assert seen == list(range(6))


def test_the_same_call_goes_on_without_repeating_anything(
    base: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def objective(values: dict) -> float:
        calls.append(tuple(values.values()))
        return bowl(values)

    options = {"objective": objective, "space": SPACE, "knowledge_base": base, "strategy": "tpe"}
    first = metahp.tune(**options, trials=5)
    second = metahp.tune(**options, trials=12, jobs=3)
    assert (second.n_earlier, second.n_recorded, len(second.trials)) == (5, 7, 12)
    assert {trial.id for trial in first.trials} <= {trial.id for trial in second.trials}
    assert len(set(calls)) == len(calls) == 12
    assert "nothing left to do" not in caplog.text
    again = metahp.tune(**options, trials=12)
    assert "nothing left to do: the task 'toy_service' has 12 trials already" in caplog.text
    assert (again.n_recorded, len(calls), again.best_params_) == (0, 12, second.best_params_)


def test_past_tasks_of_the_space_give_the_warm_start_likest_first(base: KnowledgeBase) -> None:
    for name, size in (("near", 1.0), ("far", 9.0)):
        tune_objective(base, trials=4, metafeatures={"size": size}, name=name, seed=int(size))
    near = {t.configuration: t for t in base.trials() if base.task(t.task).task.name == "near"}
    best = max(near, key=lambda configuration: bowl(configuration.values))
    result = tune_objective(base, trials=4, metafeatures={"size": 1.5}, name="new", warm=2)
    assert result.n_past_tasks == 2
    warm = [trial.configuration for trial in result.trials if trial.origin is Origin.PORTFOLIO]
    assert best == (warm[0] if best != SPACE.default else SPACE.default)
    cold = tune_objective(base, trials=3, metafeatures={"size": 1.5}, name="cold", cold=True)
    assert cold.warm_start() is None
    assert {trial.origin for trial in cold.trials} == {Origin.DEFAULT, Origin.DESIGN}


def test_only_a_strategy_that_goes_on_learning_from_past_tasks_begins_with_few_of_their_points(
    base: KnowledgeBase,
) -> None:
    for seed in range(2):
        tune_objective(base, trials=12, name=f"past {seed}", seed=seed)
    for strategy, n_warm in (("transfer", 3), ("random", 10)):
        result = tune_objective(base, trials=14, name="new", strategy=strategy, record=False, device="cpu")
        # The default may be one of them.
        assert sum(trial.origin is Origin.PORTFOLIO for trial in result.trials) in (n_warm - 1, n_warm)


def test_what_several_past_tasks_share_keeps_its_first_place(base: KnowledgeBase) -> None:
    for name, best, other in (("near", 0.1, 0.2), ("far", 0.2, 0.1)):
        metahp.tune(
            objective=lambda values, best=best: -abs(values["rate"] - best),
            space=SPACE,
            metafeatures={"size": float(name == "far")},
            configurations=[{"rate": best}, {"rate": other}],
            trials=2,
            name=name,
            knowledge_base=base,
            cold=True,
        )
    with base.take_snapshot() as snapshot:
        points, n_tasks = best_of_past(snapshot, SPACE, metric_of(None, "maximize"), "new", {"size": 0.0}, 2)
    assert n_tasks == 2
    assert [point.configuration.values["rate"] for point in points] == [0.1, 0.2]


@pytest.mark.parametrize("own", [SPACE.default, SPACE.configuration({"rate": 0.3})])
def test_own_configurations_come_first_wherever_else_they_are_recommended(own) -> None:
    points = [Suggestion(SPACE.configuration({"rate": rate}), Origin.SURROGATE) for rate in (0.2, 0.3)]
    ordered = in_order([own], points, [SPACE.default])
    assert ordered[0] == Suggestion(own, Origin.USER)
    assert len({each.configuration for each in ordered}) == len(ordered) == 3


def with_past_tasks(base: KnowledgeBase, own: list[list[float]]) -> None:
    """One past task for each list of rates, measured at these; its best rate is 10 to the power of `centre`."""
    for centre, rates in zip(np.linspace(-2.8, -0.2, len(own)), own, strict=True):
        metahp.tune(
            objective=lambda values, centre=centre: -((np.log10(values["rate"]) - centre) ** 2),
            space=SPACE,
            metafeatures={"centre": centre},
            configurations=[{"rate": rate} for rate in rates],
            trials=len(rates) + 1,
            knowledge_base=base,
            strategy="random",
            cold=True,
        )


def test_many_described_past_tasks_give_a_warm_start_by_what_was_learned_of_them(base: KnowledgeBase) -> None:
    with_past_tasks(base, [np.logspace(-3, 0, 12).tolist()] * 14)
    options = {"space": SPACE, "knowledge_base": base, "strategy": "random", "record": False, "trials": 4, "warm": 3}
    for centre in (-2.5, -0.5):
        result = metahp.tune(
            objective=lambda values, centre=centre: -((np.log10(values["rate"]) - centre) ** 2),
            metafeatures={"centre": centre},
            name="new",
            **options,
        )
        assert result.n_past_tasks == 14
        origins = {trial.origin for trial in result.trials}
        assert Origin.SURROGATE in origins
        assert Origin.PORTFOLIO not in origins
        # Neighbours on the grid of rates are 0.27 apart.
        assert abs(np.log10(result.best_params_["rate"]) - centre) < 0.3
    few = metahp.tune(objective=bowl, metafeatures={"other": 1.0}, name="undescribed", **options)
    assert Origin.SURROGATE not in {trial.origin for trial in few.trials}


def test_meta_features_that_tell_past_tasks_hardly_apart_are_no_error(base: KnowledgeBase) -> None:
    for index in range(13):
        metafeatures = {"is_large": float(index == 0), "same": 1.0}
        tune_objective(base, trials=6, metafeatures=metafeatures, name=f"past{index}", cold=True)
    metric = metric_of(None, "maximize")
    for own in ({"is_large": 0.0, "same": 1.0}, {"same": 2.0}, {"other": 1.0}, {}):
        with base.take_snapshot() as snapshot:
            learned = learn_past(snapshot, SPACE, metric, "new", own, 0)
        assert learned is not None
        assert len(learned.points(3)) == (3 if "is_large" in own else 0)
        assert np.isfinite(learned.prior().weights).all()


@pytest.mark.parametrize("are_shared", [False, True])
def test_similarity_is_calibrated_where_past_tasks_share_configurations(base: KnowledgeBase, are_shared: bool) -> None:
    exponents = np.random.default_rng(0).uniform(-3, 0, (14, 6))
    with_past_tasks(base, (10 ** (exponents[:1].repeat(14, axis=0) if are_shared else exponents)).tolist())
    with base.take_snapshot() as snapshot:
        learned = learn_past(snapshot, SPACE, metric_of(None, "maximize"), "new", {"centre": -1.0}, 0)
    assert learned is not None
    assert (learned.past.model.settings != PriorSettings()) == are_shared


def test_transfer_finds_the_optimum_that_past_tasks_share_sooner_than_a_cold_start(base: KnowledgeBase) -> None:
    def bowl_at(centre: float):
        return lambda values: -((np.log10(values["rate"]) - centre) ** 2) - (values["depth"] - 10) ** 2 / 50

    for centre in (-2.3, -2.1, -1.9, -1.8):
        options = {"metafeatures": {"centre": centre}, "strategy": "tpe", "knowledge_base": base, "trials": 12}
        metahp.tune(objective=bowl_at(centre), space=SPACE, name=f"past {centre}", **options)
    options = {"objective": bowl_at(-2.0), "space": SPACE, "metafeatures": {"centre": -2.0}, "knowledge_base": base}
    options |= {"record": False, "trials": 9, "device": "cpu"}
    warm = metahp.tune(**options, name="new", strategy="transfer")
    assert Origin.POSTERIOR in {trial.origin for trial in warm.trials}
    for seed in range(3):
        cold = metahp.tune(**options, name=f"cold {seed}", strategy="transfer", cold=True, seed=seed)
        assert warm.best_score_ > cold.best_score_


def test_one_past_task_is_enough_to_go_on_learning_from(base: KnowledgeBase) -> None:
    tune_objective(base, trials=12, strategy="tpe", name="first", metafeatures={"size": 1.0})
    near = tune_objective(base, trials=9, strategy="transfer", device="cpu", name="near", metafeatures={"size": 1.1})
    origins = [trial.origin for trial in near.trials]
    assert origins[:4] == [Origin.PORTFOLIO, Origin.DEFAULT, Origin.PORTFOLIO, Origin.PORTFOLIO]
    assert set(origins[4:]) == {Origin.POSTERIOR}
    assert near.best_score_ >= near.warm_score_


def test_past_trials_may_have_scores_of_fewer_folds_than_others(base: KnowledgeBase) -> None:
    counts = itertools.cycle((3, 1, 2))
    for name in ("a", "b", "c"):
        tune_objective(base, objective=lambda values: [bowl(values)] * next(counts), trials=7, name=name)
    assert len(tune_objective(base, strategy="transfer", device="cpu", trials=7, name="new").trials) == 7


def test_a_failing_objective_makes_failed_trials(base: KnowledgeBase) -> None:
    def objective(values: dict) -> float:
        if values["depth"] > 3:
            raise RuntimeError("the service is down")
        return float("nan") if values["kind"] == "b" else bowl(values)

    result = metahp.tune(objective=objective, space=SPACE, knowledge_base=base, trials=40, strategy="random")
    failed = Counter(trial.reason for trial in result.trials if trial.state is TrialState.FAILED)
    assert set(failed) == {"RuntimeError: the service is down", "a score that is not finite"}
    assert result.best_params_["depth"] <= 3


def test_when_all_trials_fail_the_error_has_the_most_frequent_reason(base: KnowledgeBase) -> None:
    def objective(values: dict) -> float:
        raise RuntimeError("no licence")

    with pytest.raises(MetahpError, match=r"None of 3 trials is complete.*\(3 times\): RuntimeError: no licence"):
        metahp.tune(objective=objective, space=SPACE, knowledge_base=base, trials=3)


def test_a_cost_is_minimised_and_shown_as_it_is(base: KnowledgeBase) -> None:
    def cost(values: dict) -> list[float]:
        return [-bowl(values), -bowl(values) + 1.0]

    result = metahp.tune(
        objective=cost, space=SPACE, knowledge_base=base, trials=8, direction="minimize", strategy="random"
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
    options = {"space": SPACE, "strategy": "tpe", "direction": "minimize", "record": record, "knowledge_base": base}
    options |= {"objective": cost, "metafeatures": {"size": 3.0, "age": float("nan")}, "output": folder}
    first = metahp.tune(**options, trials=4, name="monday")
    second = metahp.tune(**options, trials=6, name="monday", command="python tune.py")
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
        metahp.tune(**{**options, "output": folder / "best.json"}, trials=7)


def test_an_interrupt_ends_with_what_was_found(base: KnowledgeBase) -> None:
    calls = []

    def objective(values: dict) -> float:
        calls.append(values)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return bowl(values)

    result = metahp.tune(objective=objective, space=SPACE, knowledge_base=base, trials=9, strategy="random")
    assert (result.ended, len(result.trials), len(base.trials())) == ("interrupted", 3, 3)


def test_an_interrupt_before_any_trial_is_complete_is_passed_on(base: KnowledgeBase) -> None:
    def objective(values: dict) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        metahp.tune(objective=objective, space=SPACE, knowledge_base=base, trials=9)


def test_patience_ends_on_a_plateau(base: KnowledgeBase) -> None:
    result = metahp.tune(
        objective=lambda values: 1.0, space=SPACE, knowledge_base=base, trials=50, patience=4, strategy="random"
    )
    assert (result.ended, len(result.trials)) == ("patience", 5)


def test_the_time_limit_abandons_what_still_runs(base: KnowledgeBase) -> None:
    release = threading.Event()

    def objective(values: dict) -> float:
        if values != SPACE.default.values:
            release.wait(30)
        return 1.0

    metric = metric_of(None, "maximize")
    task, protocol = objective_task("slow", {}, metric)
    study = Study(task.id, protocol, metric, [SPACE], base=base, recorded=base.trials(task=task.id), folder=None)
    strategy = strategy_named("random", [SPACE], seed=0, warm=[Suggestion(SPACE.default, Origin.DEFAULT)])
    try:
        with ObjectivePool(objective, SPACE, task.id, protocol, metric, 2) as pool:
            ended = run(study, strategy, pool, lambda suggestion: suggestion, n_trials=9, budget=Budget(1.0))
    finally:
        release.set()
    assert (ended, len(study.trials), len(base.trials())) == ("timeout", 1, 1)


def test_a_grid_that_is_exhausted_ends_the_run(base: KnowledgeBase) -> None:
    space = SearchSpace("two", 1, (Categorical("kind", ("a", "b"), "a"),))
    result = metahp.tune(objective=lambda values: 1.0, space=space, knowledge_base=base, trials=9, strategy="grid")
    assert (result.ended, len(result.trials)) == ("exhausted", 2)


def test_a_users_own_configurations_come_first(base: KnowledgeBase) -> None:
    own = ["rate=0.02,depth=7", {"rate": 1, "kind": "b"}, SPACE.default]
    result = tune_objective(base, trials=4, configurations=own)
    assert [trial.origin for trial in result.trials[:3]] == [Origin.USER] * 3
    assert result.trials[0].configuration.values == {"rate": 0.02, "depth": 7, "kind": "a"}
    assert repr(result.trials[1].configuration.values["rate"]) == "1.0"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("rat=0.1", "'rat' is not a hyperparameter of toy_service.*Did you mean 'rate'"),
        ("rate", "key=value pairs"),
        ("depth=2.5", "whole number"),
        ("kind=c", "one of 'a', 'b'"),
        ("toy_servic:rate=0.1", "Did you mean 'toy_service'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(base: KnowledgeBase, own: str, words: str) -> None:
    with pytest.raises((InputError, UnknownHyperparameterError, MetahpError), match=words):
        tune_objective(base, trials=4, configurations=[own])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": 0}, "--timeout is a number of seconds above 0"),
        ({"trial_timeout": 60.0}, "trial_timeout is not for an objective"),
        ({"y": np.zeros(3)}, "y is not for an objective"),
        ({"groups": np.zeros(3)}, "groups is not for an objective"),
        ({"trials": 0}, "--trials is a whole number of at least 1"),
        ({"jobs": 0}, "--jobs is a whole number of at least 1"),
        ({"device": "tpu"}, "--device is one of"),
        ({"direction": "up"}, "maximize or minimize"),
        ({"trials": "3"}, "--trials is a whole number of at least 1, got '3'"),
        ({"X": "x.csv"}, "with a SearchSpace, and without a table"),
        ({"space": {"rate": (0, 1)}}, "with a SearchSpace"),
        ({"objective": 3}, "is a function"),
        ({"metafeatures": [1]}, r"numbers by name, got \[1\]"),
        ({"metafeatures": {"size": "big"}}, "numbers by name"),
        ({"strategy": "tqe"}, "Did you mean 'tpe'"),
        ({"seed": -1}, "--seed is a whole number of at least 0, got -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(base: KnowledgeBase, options: dict, words: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=words):
        tune_objective(base, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"Expected a table \(X\), or an objective"),
        ({"X": "x.csv", "space": SPACE}, "space is not for a table"),
        ({"X": "x.csv", "metafeatures": {"size": 1.0}}, "metafeatures is not for a table"),
        ({"X": "x.csv", "direction": "minimize"}, "direction is not for a table"),
        ({"X": "x.csv", "trial_timeout": -1}, "--trial-timeout"),
        ({"X": "x.csv", "memory_limit": 0}, "--memory-limit"),
    ],
)
def test_options_that_a_table_has_no_use_for_are_refused(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        metahp.tune(**options)


def test_an_objective_cannot_take_the_name_of_a_learner(base: KnowledgeBase) -> None:
    with pytest.raises(InputError, match="name of a learner"):
        metahp.tune(
            objective=bowl, space=SearchSpace("linear", 1, SPACE.hyperparameters), knowledge_base=base, trials=1
        )


# A table


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
    trials, space = result.trials, learner_named("lightgbm").space(TaskType.MULTICLASS)
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
    rows = rows_of(path, target="kind", test_size=0.3, cv=3)
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


def test_what_was_asked_for_and_not_done_is_told(tuned, caplog: pytest.LogCaptureFixture, tmp_path) -> None:
    path, _, options, *_ = tuned
    asked = {"configurations": ["C=0.001", "C=0.002"], "learners": ["linear", "lightgbm"]}
    metahp.tune(path, **(options | asked | {"output": tmp_path / "other"}), trials=9, ensemble=True)
    for words in (
        "own configurations that were not tried: 1",
        "no trial of lightgbm",
        "no ensemble, the best model instead: predictions of 0 of",
    ):
        assert words in caplog.text


def test_trials_that_another_metric_has_chosen_are_told_from_own_ones(tuned) -> None:
    path, _, options, _, second = tuned
    n_pruned = sum(trial.state is TrialState.PRUNED for trial in second.trials)
    assert n_pruned
    again = metahp.tune(path, **(options | {"output": None}), trials=9, metric="accuracy")
    assert any(f"{n_pruned} earlier trials were pruned by another metric" in each for each in again.warnings)
    assert not any("another metric" in each for each in second.warnings)


def test_the_default_is_the_best_of_the_learners_defaults(frame: pd.DataFrame, base: KnowledgeBase) -> None:
    options = {"learners": ["linear", "lightgbm"], "metric": "accuracy", "cold": True, "cv": 3, "trials": 4}
    result = metahp.tune(frame, target="kind", strategy="random", knowledge_base=base, **options)
    defaults = [result.score_of(trial) for trial in result.trials if trial.origin is Origin.DEFAULT]
    assert len(defaults) == 2
    assert result.default_score_ == max(defaults)
    assert re.fullmatch(r"TuneResult\(best_score_=0\.\d+, metric='accuracy', .*, 4 trials\)", repr(result))


def test_meta_features_are_written_back(tuned) -> None:
    _, base, _, _, second = tuned
    record = base.task(second.trials[0].task)
    assert record is not None
    assert record.metafeatures_version > 0
    assert record.metafeatures["baseline:neg_log_loss"] == pytest.approx(np.log(3), abs=0.01)


def test_the_next_recommendation_knows_the_table(tuned) -> None:
    _, base, _, _, second = tuned
    inner = rows_of(tuned[0], target="kind", test_size=0.3, cv=3).table
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
    assert any("a cold start" in warning for warning in result.warnings)
    assert result.warm_start() is None
    # A table of frames and arrays: the estimator takes the columns that were tuned on.
    assert set(result.best_estimator_.predict(frame)) <= {0, 1, 2}


@pytest.fixture
def contrary(base: KnowledgeBase) -> tuple[KnowledgeBase, pd.DataFrame]:
    """A table that needs a strong penalty, and past tasks, unlike it, that all did best with next to none."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 30))
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(30)])
    frame["target"] = np.where(X[:, 0] + rng.normal(scale=3.0, size=80) > 0, "yes", "no")
    table = metahp.load(frame)
    values = {**metahp.describe(table, budget_seconds=10.0).values, "baseline:neg_log_loss": 0.69}
    learner = learner_named("linear")
    configurations = [configuration for configuration, _ in design(learner, TaskType.BINARY, 10)]
    configurations.append(learner.space(TaskType.BINARY).configuration({"C": 1e-4}))
    for index in range(14):
        task = metahp.Task(
            id=f"{index:024d}",
            type=TaskType.BINARY,
            n_rows=80,
            n_features=30,
            n_classes=2,
            name=f"past{index}",
            group=f"past{index}",
        )
        unlike = {
            name: value if name.startswith("baseline") else value * float(rng.lognormal(1.0, 0.5)) + 0.5
            for name, value in values.items()
        }
        trials = []
        for configuration in configurations:
            loss = 0.4 + 0.05 * abs(np.log10(float(configuration.values["C"])) - 3)
            folds = tuple((loss + rng.normal(scale=0.002, size=3)).tolist())
            trials.append(
                Trial(
                    task=task.id,
                    configuration=configuration,
                    protocol=Protocol(),
                    n_rows=80,
                    state=TrialState.COMPLETE,
                    origin=Origin.DESIGN,
                    fold_losses={"neg_log_loss": folds},
                )
            )
        base.record(trials, [TaskRecord(task=task, metafeatures=unlike, metafeatures_version=VERSION)])
    return base, frame


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
    assert plan_lines(plans[0])[2].endswith("past tasks · strategy transfer · device cpu · nothing recorded")
    assert plan_lines(plans[1])[2] == "cold start · strategy random · nothing recorded"


# Rows and parts


def test_groups_stay_together_and_their_column_is_no_feature(frame: pd.DataFrame) -> None:
    rows = rows_of(frame, target="kind", groups="farm", cv=4, test_size=0.25)
    assert "farm" not in rows.table.features
    assert rows.protocol.splits.startswith("group:")
    inner = frame.loc[~frame.index.isin(rows.outer.index)]
    assert not set(inner["farm"]) & set(rows.outer["farm"])
    farms = inner["farm"].to_numpy()
    for train, test in rows.splits.parts:
        assert not set(farms[train]) & set(farms[test])


def test_times_are_trained_on_in_order_and_the_latest_rows_are_set_aside(frame: pd.DataFrame) -> None:
    rows = rows_of(frame, target="kind", time="day", cv=4, test_size=0.2)
    inner = frame.loc[~frame.index.isin(rows.outer.index)]
    assert inner["day"].max() < rows.outer["day"].min()
    days = inner["day"].to_numpy()
    for train, test in rows.splits.parts:
        assert days[train].max() < days[test].min()


@pytest.mark.parametrize(("option", "column"), [("time", "day"), ("groups", "farm")])
def test_rows_without_a_time_or_group_are_refused_also_where_they_would_be_set_aside(
    frame: pd.DataFrame, option: str, column: str
) -> None:
    gaps = frame.assign(**{column: frame[column].where(frame.index > 1)})
    with pytest.raises(InputError, match="of 2 rows are missing"):
        rows_of(gaps, target="kind", test_size=0.3, **{option: column})


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
        warned.append(any("so their score flatters" in warning for warning in result.warnings))
    assert warned == [True, False]


def test_groups_may_be_labels_of_rows_some_of_which_have_no_target(frame: pd.DataFrame) -> None:
    X = frame.drop(columns=["kind", "day"])
    y = frame["kind"].astype(float).where(frame.index > 9)
    rows = rows_of(X.drop(columns="farm"), y, task="multiclass", groups=frame["farm"].to_numpy(), cv=3)
    farms = frame["farm"].to_numpy()[10:]
    assert rows.table.task.n_rows == 140
    for train, test in rows.splits.parts:
        assert not set(farms[train]) & set(farms[test])


def test_any_splitter_of_scikit_learn_will_do(frame: pd.DataFrame) -> None:
    splitter = ShuffleSplit(3, random_state=0)
    rows = rows_of(frame, target="kind", splitter=splitter)
    assert rows.protocol == from_splitter(rows.table, splitter).protocol(max_rows=150)


def test_the_rows_of_an_array_are_those_of_its_frame(frame: pd.DataFrame) -> None:
    X = frame.iloc[:, :4].to_numpy()
    plain = rows_of(X, frame["kind"].to_numpy())
    parted = rows_of(X, frame["kind"].to_numpy(), groups=np.arange(150) % 7)
    assert plain.table.task.id == parted.table.task.id
    assert (plain.protocol.folds, plain.protocol.max_rows) == (5, 150)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"groups": "farmm"}, UnknownNameError, "Did you mean 'farm'"),
        ({"groups": "kind"}, InputError, "is the target"),
        ({"groups": "farm", "cv": 50}, InputError, "50 folds need at least 50 groups"),
        ({"groups": [1, 2]}, InputError, "one group for each of 150 rows"),
        ({"time": "farm", "cv": 30}, InputError, "different times"),
        ({"time": "day", "groups": "farm"}, InputError, "ask for one"),
        ({"time": "name"}, InputError, "column 'name' of --time that are numbers or dates, such as 2026-01-31; got 'a"),
        ({"splitter": ShuffleSplit(3), "cv": 3}, InputError, "leave out cv"),
        ({"test_size": 1.0}, InputError, "between 0 and 1"),
        ({"test_size": 0.95}, InputError, "at least 20 rows"),
        ({"cv": 1}, InputError, "Expected 2 to 75 folds"),
        ({"max_rows": 6, "cv": 4}, InputError, "--max-rows"),
    ],
)
def test_rows_that_cannot_be_parted_are_refused(frame: pd.DataFrame, options: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        rows_of(frame.assign(name="a" + frame["farm"]), target="kind", **options)


# A study


def test_trials_outside_of_a_narrower_space_are_left_out_and_counted(
    base: KnowledgeBase, caplog: pytest.LogCaptureFixture
) -> None:
    result = tune_objective(base, trials=6)
    narrower = SearchSpace("toy_service", 2, (*SPACE.hyperparameters[:2], Categorical("kind", ("a", "c"), "a")))
    first = result.trials[0]
    study = Study(
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
    first = tune_objective(base, trials=5, **options)
    added = Float("added", 0.0, 1.0, 0.5)
    second = tune_objective(
        base, space=SearchSpace("toy_service", 2, (*SPACE.hyperparameters, added)), trials=7, **options
    )
    assert (second.n_earlier, second.n_recorded) == (5, 2)
    earlier = [trial.configuration for trial in second.trials[:5]]
    # In the same order, which the result directory keeps.
    assert earlier == [trial.configuration.replaced(added=0.5) for trial in first.trials]
    assert [trial.space_version for trial in second.trials] == [2] * 7
    # What was recorded stays as it was.
    assert sorted(trial.space_version for trial in base.trials()) == [1] * 5 + [2] * 2
    third = tune_objective(base, space=SearchSpace("toy_service", 3, SPACE.hyperparameters[:2]), trials=8, **options)
    assert third.n_earlier == len({trial.configuration.replaced(added=0, kind="a") for trial in second.trials})
    assert ("earlier trial(s) are left out" in caplog.text) == (third.n_earlier < 7)


@pytest.mark.parametrize("described", [{}, {"size": 1.0}])
def test_past_tasks_of_an_older_space_are_learned_from(base: KnowledgeBase, described: dict) -> None:
    for number in range(3):
        tune_objective(base, name=f"past {number}", trials=6, metafeatures=described and {"size": float(number)})
    best = max(base.trials(), key=lambda trial: bowl(trial.configuration.values)).configuration
    newer = SearchSpace("toy_service", 2, (*SPACE.hyperparameters, Float("added", 0.0, 1.0, 0.5)))
    with base.take_snapshot() as snapshot:
        points, n_past = best_of_past(snapshot, newer, metric_of(None, "maximize"), "new", {}, 20)
    assert n_past == 3
    assert best.replaced(added=0.5) in [point.configuration for point in points]
    assert all(newer.upgraded(point.configuration) == point.configuration for point in points)
    with base.take_snapshot() as snapshot:
        found = learn_past(snapshot, newer, metric_of(None, "maximize"), "new", described, 0)
    assert found.n_tasks == 3


def test_a_strategy_is_told_what_failed_and_what_was_pruned(tuned) -> None:
    _, base, _, _, second = tuned
    first = second.trials[0]
    space = [SearchSpace("linear", 1, ())]
    study = Study(
        first.task,
        first.protocol,
        metric_for(TaskType.MULTICLASS),
        space,
        base=base,
        recorded=base.trials(task=first.task),
        folder=None,
    )
    complete = study.observation(first)
    assert complete.loss == first.loss("neg_log_loss")
    assert complete.noise > 0
    for trial in second.trials:
        if trial.state is TrialState.PRUNED:
            assert np.isfinite(study.observation(trial).loss)
            assert np.isnan(study.observation(trial).noise)
