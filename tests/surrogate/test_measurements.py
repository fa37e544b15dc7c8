"""Trials of past tasks as matrices: what is kept, what is left out, what a file brings back, and how two parts join."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from metahp.core.space import Float, Hyperparameter, Integer, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import EMPTY_CURVE, Curve, Origin, Protocol, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.surrogate.collecting import collect_evidence, collect_measurements
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.measurements import OWN_CANDIDATES, Measurements

METRIC = "neg_root_mean_squared_error"
X, TREES, GONE = Float("x", 0.0, 1.0, 0.5), Integer("trees", 1, 100, 10, is_log=True), Float("gone", 0.0, 1.0, 0.5)
SPACE = SearchSpace("toy", 1, (X, TREES, GONE), iteration_axis="trees")
TASKS = [Task(id=f"t{i}", type=TaskType.REGRESSION, n_rows=100, n_features=5, n_classes=0) for i in range(3)]
POINTS = [{}, {"x": 0.25}, {"x": 0.75, "trees": 20}, {"x": 1.0, "gone": 0.25}]


def trial(task: Task, values: dict, loss: float, origin: Origin = Origin.DESIGN) -> Trial:
    configuration = SPACE.configuration(values)
    trees = int(configuration.values["trees"])
    curve = Curve((5, trees), {METRIC: (loss + 1, loss)})
    losses = {METRIC: (loss, loss + 0.01, loss - 0.01)}
    return Trial(
        task=task.id,
        configuration=configuration,
        protocol=Protocol(),
        n_rows=100,
        state=TrialState.COMPLETE,
        origin=origin,
        fold_losses=losses,
        curve=curve,
        fit_seconds=1.0,
    )


TRIALS = [
    trial(task, values, 1.0 + place + i / 10, Origin.DESIGN if values else Origin.DEFAULT)
    for place, task in enumerate(TASKS)
    for i, values in enumerate(POINTS)
]


def evidence_of(space: SearchSpace, trials: Sequence[Trial] = TRIALS) -> Evidence:
    return collect_evidence(
        TASKS,
        np.zeros((3, 1)),
        TrialColumns.of(trials),
        metric=METRIC,
        metrics={"regression": METRIC},
        spaces={"toy": space},
    )


def changed(*axes: Hyperparameter, counted: str | None = "trees") -> SearchSpace:
    return SearchSpace("toy", 2, axes, iteration_axis=counted)


@pytest.mark.parametrize(
    "space",
    [
        changed(X, TREES, GONE, Float("added", 0.0, 1.0, 0.5)),
        changed(X, TREES),
        changed(Float("added", 0.0, 1.0, 0.5), X, TREES),
        changed(replace(X, high=2.0), TREES, GONE),
    ],
    ids=["one more", "one less", "another instead", "wider"],
)
def test_all_trials_stay_where_the_space_changes(space: SearchSpace, caplog: pytest.LogCaptureFixture) -> None:
    before, after = evidence_of(SPACE), evidence_of(space)
    assert not caplog.records
    assert after.tasks == before.tasks
    # In another order of candidates: their ids are others.
    for values in POINTS:
        old, new = SPACE.configuration(values), space.upgraded(SPACE.configuration(values))
        columns = before.candidates.index(old), after.candidates.index(new)
        np.testing.assert_array_equal(before.losses[:, columns[0]], after.losses[:, columns[1]])
    assert after.losses.shape == before.losses.shape
    assert after.candidates[after.defaults["toy"]] == space.default
    assert all(space.upgraded(candidate) == candidate for candidate in after.candidates)


def test_a_narrower_space_sets_aside_the_trials_outside_and_counts_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        past = evidence_of(changed(replace(X, high=0.8), replace(TREES, high=15), GONE))
    [record] = caplog.records
    assert record.getMessage().startswith("6 trial(s) of past tasks are left out")
    finals = [each for each, final in zip(past.candidates, past.is_final, strict=True) if final]
    assert {each.values["x"] for each in finals} == {0.5, 0.25}
    assert len(past.tasks) == 3


def test_trials_that_become_the_same_count_once_whatever_their_order(caplog: pytest.LogCaptureFixture) -> None:
    # Better than the default, and one configuration with it once `gone` is.
    twins = [trial(task, {"gone": 0.9}, 0.5) for task in TASKS]
    orders = [[*TRIALS, *twins], [*twins, *reversed(TRIALS)]]
    with caplog.at_level(logging.WARNING):
        first, second = (evidence_of(changed(X, TREES), order) for order in orders)
    assert [record.getMessage().partition(" of ")[0] for record in caplog.records] == ["3 trial(s)"] * 2
    assert first.candidates == second.candidates
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_allclose(first.losses[:, first.defaults["toy"]], [1.0, 2.0, 3.0])


def test_checkpoints_are_values_of_the_iteration_axis_that_the_space_names() -> None:
    counted, plain = evidence_of(changed(X, TREES, GONE)), evidence_of(changed(X, TREES, GONE, counted=None))
    assert (~counted.is_final).sum() == len(POINTS)
    assert {each.values["trees"] for each in itertools.compress(counted.candidates, ~counted.is_final)} == {5}
    assert plain.is_final.all()


def test_tasks_without_the_default_are_left_out_and_failures_marked(toy, rng):
    tasks, metafeatures, trials = toy.past(4, rng)
    failed = Trial(
        task="t1",
        configuration=trials[1].configuration,
        protocol=Protocol(),
        n_rows=0,
        state=TrialState.TIMEOUT,
        origin=Origin.DESIGN,
        fold_losses={},
        reason="slow",
    )
    trials = [t for t in trials if not (t.task == "t0" and t.origin is Origin.DEFAULT)]
    trials = [t for t in trials if not (t.task == "t1" and t.configuration == failed.configuration)] + [failed]
    found = toy.evidence(tasks, metafeatures, trials)
    assert [task.id for task in found.tasks] == ["t1", "t2", "t3"]
    column = found.candidates.index(failed.configuration)
    assert np.isinf(found.losses[0, column])
    assert np.isfinite(found.losses[1:, column]).all()


def test_only_trials_of_one_protocol_are_compared_and_none_that_were_pruned(toy, rng):
    tasks, metafeatures, trials = toy.past(3, rng)
    other = replace(trials[1], protocol=Protocol(folds=5), fold_losses={toy.metric: (9.0,) * 5})
    pruned = replace(
        trials[2], state=TrialState.PRUNED, reason="hopeless", fold_losses={toy.metric: (0.0,)}, curve=EMPTY_CURVE
    )
    trials = [trial for trial in trials if trial.id != pruned.id]
    found = toy.evidence(tasks, metafeatures, [other, *trials, pruned])
    assert np.nanmax(found.losses) < 9.0
    assert np.nanmin(found.losses) > 1.0


def test_weighted_trials_count_only_where_a_task_has_no_others(toy, rng):
    tasks, metafeatures, trials = toy.past(3, rng)
    weighted = [
        replace(trial, protocol=Protocol(splits="weighted:1f weights:2e"), fold_losses={toy.metric: (9.0,) * 3})
        for trial in trials
    ]
    few = [trial for trial in trials if trial.task != "t1" or trial.configuration == toy.space.default]
    found = toy.evidence(tasks, metafeatures, [*weighted, *few])
    # One trial without weights is enough, though there are more with them.
    assert np.nanmax(found.losses) < 9.0
    alone = [trial for trial in trials if trial.task != "t1"]
    found = toy.evidence(tasks, metafeatures, [*weighted, *alone])
    values = found.losses[[task.id == "t1" for task in found.tasks]][:, found.is_final]
    assert set(values[~np.isnan(values)]) == {9.0}
    assert np.nanmax(found.losses[[task.id != "t1" for task in found.tasks]]) < 9.0


def test_each_number_of_rows_of_a_task_is_a_row_of_its_own(toy, rng):
    tasks, metafeatures, trials = toy.past(3, rng)
    large = [
        replace(trial, protocol=Protocol(max_rows=30), n_rows=30, fold_losses={toy.metric: (7.0,) * 3})
        for trial in trials
        if trial.task == "t1" and trial.configuration in (toy.space.default, trials[1].configuration)
    ]
    found = toy.evidence(tasks, metafeatures, [*large, *trials])
    assert [(task.id, task.n_rows) for task in found.tasks][:3] == [("t0", 100), ("t1", 30), ("t1", 101)]
    np.testing.assert_array_equal(found.metafeatures[1], found.metafeatures[2])
    assert set(found.losses[1, ~np.isnan(found.losses[1]) & found.is_final]) == {7.0}
    assert np.nanmax(found.losses[[0, 2, 3]]) < 7.0


def test_a_longer_design_of_few_tasks_is_kept_where_others_have_rows_for_several_numbers_of_rows(toy, rng):
    tasks, metafeatures, trials = toy.past(40, rng)
    longer = toy.space.configuration({"x": 0.123, "n_estimators": 10})
    trials += [replace(trial, configuration=longer) for trial in trials if trial.origin is Origin.DEFAULT][:2]
    trials += [replace(trial, protocol=Protocol(max_rows=50)) for trial in trials if trial.task != "t0"]
    found = toy.evidence(tasks, metafeatures, trials)
    assert len(found.tasks) > 60
    assert longer.replaced(n_estimators=5) in found.candidates


# Measurements of several metrics and learners.

METRICS = {
    "roc_auc": {"binary": "roc_auc", "multiclass": "roc_auc_ovr"},
    "accuracy": {"binary": "accuracy", "multiclass": "accuracy"},
}
FIRST = SearchSpace("first", 1, (Float("x", 0.0, 1.0, 0.5),))
SECOND = SearchSpace("second", 1, (Integer("trees", 1, 100, 10),), iteration_axis="trees")
SPACES = {"first": FIRST, "second": SECOND}
CLASSES = [
    Task(
        id=f"c{i}",
        type=(TaskType.BINARY, TaskType.MULTICLASS)[i % 2],
        n_rows=200 + i,
        n_features=4,
        n_classes=2 + i % 2,
        name=f"c{i}",
        group=f"g{i}",
    )
    for i in range(6)
]


def class_trials(rng: np.random.Generator) -> list[Trial]:
    """Of each task the defaults and a few others of both learners, those of the second with a checkpoint."""
    points = [FIRST.configuration({"x": x}) for x in (0.5, 0.1, 0.9)]
    points += [SECOND.configuration({"trees": trees}) for trees in (10, 20)]
    trials = []
    for task in CLASSES:
        auc = METRICS["roc_auc"][task.type]
        for configuration in points:
            losses = {name: tuple(rng.uniform(0.1, 0.5, size=3)) for name in (auc, "accuracy")}
            is_default = configuration in (FIRST.default, SECOND.default)
            curve = EMPTY_CURVE
            if configuration.learner == "second":
                curve = Curve((5, int(configuration.values["trees"])), {name: (0.6, 0.3) for name in losses})
            origin = Origin.DEFAULT if is_default else Origin.DESIGN
            trials.append(
                Trial(
                    task=task.id,
                    configuration=configuration,
                    protocol=Protocol(),
                    n_rows=200,
                    state=TrialState.COMPLETE,
                    origin=origin,
                    fold_losses=losses,
                    curve=curve,
                    fit_seconds=1.0,
                )
            )
    return trials


def measured(trials: Sequence[Trial], tasks: Sequence[Task] = CLASSES, **options) -> Measurements:
    """Measurements of these trials, where a constant's losses differ between tasks and metrics."""
    numbers = np.array([int(task.id[1:]) for task in tasks], dtype=float)
    constants = {"roc_auc": 0.5 + numbers, "accuracy": 0.6 + numbers}
    options = {"metrics": METRICS, "spaces": SPACES, "constants": constants, **options}
    return collect_measurements(tasks, np.column_stack([numbers, -numbers]), TrialColumns.of(trials), **options)


def assert_same_evidence(left: Evidence, right: Evidence) -> None:
    """The same tasks and candidates, these in any order, with the same losses; a few digits may be gone."""
    assert left.tasks == right.tasks
    keys = [list(zip((c.id for c in each.candidates), each.is_final.tolist(), strict=True)) for each in (left, right)]
    assert sorted(keys[0]) == sorted(keys[1])
    aligned = right.columns(np.array([keys[1].index(key) for key in keys[0]], dtype=int))
    for name in ("metafeatures", "constants", "losses", "fit_seconds"):
        np.testing.assert_allclose(getattr(left, name), getattr(aligned, name), rtol=4e-5, err_msg=name)
    assert left.defaults == aligned.defaults
    assert left.origins == aligned.origins


def test_each_metric_has_its_own_losses_by_the_name_of_the_tasks_type(rng):
    trials = class_trials(rng)
    past = measured(trials)
    for metric in METRICS:
        found = past.evidence(metric, ["first", "second"])
        assert len(found.tasks) == 6
        for trial in trials:
            row = [task.id for task in found.tasks].index(trial.task)
            column = next(j for j, c in enumerate(found.candidates) if c == trial.configuration and found.is_final[j])
            name = METRICS[metric][found.tasks[row].type]
            assert found.losses[row, column] == pytest.approx(np.mean(trial.fold_losses[name]))
        assert found.constants == pytest.approx({"roc_auc": 0.5, "accuracy": 0.6}[metric] + np.arange(6))


def test_evidence_of_some_learners_has_their_candidates_and_defaults_alone(rng):
    past = measured(class_trials(rng))
    both, second = past.evidence("accuracy", ["second", "first"]), past.evidence("accuracy", ["second"])
    assert list(both.spaces) == ["first", "second"]
    assert list(second.spaces) == list(second.defaults) == ["second"]
    assert {candidate.learner for candidate in second.candidates} == {"second"}
    assert second.candidates[second.defaults["second"]] == SECOND.default
    is_second = np.array([candidate.learner == "second" for candidate in both.candidates])
    np.testing.assert_array_equal(second.losses, both.losses[:, is_second])


def test_a_task_without_a_default_of_the_learners_asked_for_has_no_part(rng):
    trials = [t for t in class_trials(rng) if not (t.task == "c2" and t.configuration == FIRST.default)]
    past = measured(trials)
    assert "c2" in [task.id for task in past.tasks]
    assert "c2" not in [task.id for task in past.evidence("accuracy", ["first"]).tasks]
    assert "c2" in [task.id for task in past.evidence("accuracy", ["first", "second"]).tasks]


@pytest.mark.parametrize("constant", [np.nan, np.inf, 0.0, -1.0, 1e200])
def test_a_task_without_a_usable_loss_of_a_constant_has_no_part_in_that_metric(rng, constant):
    constants = {"roc_auc": np.full(6, 0.5), "accuracy": np.array([0.5, constant, *[0.5] * 4])}
    past = measured(class_trials(rng), constants=constants)
    assert [task.id for task in past.evidence("accuracy", ["first"]).tasks] == ["c0", "c2", "c3", "c4", "c5"]
    assert len(past.evidence("roc_auc", ["first"]).tasks) == 6


def test_a_metric_that_some_trials_lack_is_missing_there_alone(rng, caplog):
    trials = class_trials(rng)
    lacks = trials[1]
    assert lacks.task == "c0"
    without = replace(lacks, fold_losses={"roc_auc": lacks.fold_losses["roc_auc"]})
    past = measured([without, *[t for t in trials if t is not lacks]])
    assert not caplog.records
    for metric, is_missing in (("roc_auc", False), ("accuracy", True)):
        found = past.evidence(metric, ["first"])
        column = found.candidates.index(lacks.configuration)
        assert np.isnan(found.losses[:, column]).tolist() == [is_missing, *[False] * 5]
    assert np.isfinite(past.fit_seconds[0, past.candidates.index(lacks.configuration)])


def test_the_order_of_the_trials_changes_nothing(rng):
    trials = class_trials(rng)
    one, other = measured(trials), measured([trials[i] for i in rng.permutation(len(trials))])
    assert one.candidates == other.candidates
    assert one.origins == other.origins
    for name, array in one.to_arrays().items():
        np.testing.assert_array_equal(array, other.to_arrays()[name], err_msg=name)


def test_arrays_bring_back_all_but_the_last_digits_and_then_the_same(rng):
    past = measured(class_trials(rng))
    past.losses["accuracy"][1, 2] = np.nan
    past.losses["roc_auc"][1, 2], past.losses["roc_auc"][2, 0] = np.inf, 0.0
    arrays = past.to_arrays()
    assert not any(array.dtype.hasobject for array in arrays.values())
    again = Measurements.from_arrays(arrays, SPACES)
    assert (again.tasks, again.candidates, again.origins) == (past.tasks, past.candidates, past.origins)
    assert again.spaces == SPACES
    np.testing.assert_array_equal(again.is_final, past.is_final)
    for metric in METRICS:
        np.testing.assert_allclose(again.losses[metric], past.losses[metric], rtol=4e-5)
        np.testing.assert_array_equal(again.constants[metric], past.constants[metric])
        np.testing.assert_array_equal(np.isinf(again.losses[metric]), np.isinf(past.losses[metric]))
    np.testing.assert_allclose(again.fit_seconds, past.fit_seconds, rtol=4e-5)
    for name, array in again.to_arrays().items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


@given(
    arrays_of.arrays(
        float,
        (3, 4),
        elements=st.one_of(st.floats(1e-30, 1e30), st.just(0.0), st.just(np.nan), st.just(np.inf)),
    )
)
def test_losses_of_any_size_keep_four_digits_in_a_file(values):
    candidates = tuple(FIRST.configuration({"x": x}) for x in (0.1, 0.2, 0.3, 0.4))
    past = Measurements(
        spaces={"first": FIRST},
        tasks=tuple(CLASSES[:3]),
        metafeatures=np.zeros((3, 0)),
        constants={"accuracy": np.ones(3)},
        candidates=candidates,
        origins=(Origin.DESIGN,) * 4,
        is_final=np.ones(4, dtype=bool),
        losses={"accuracy": values},
        fit_seconds=np.ones((3, 4)),
        folds={"accuracy": np.full((3, 1, 2, 1), np.nan)},
    )
    again = Measurements.from_arrays(past.to_arrays(), {"first": FIRST})
    np.testing.assert_allclose(again.losses["accuracy"], values, rtol=4e-5)
    twice = Measurements.from_arrays(again.to_arrays(), {"first": FIRST})
    np.testing.assert_array_equal(twice.losses["accuracy"], again.losses["accuracy"])


def test_a_learner_whose_space_has_changed_or_is_not_asked_for_is_left_out_of_what_is_read(rng):
    past = measured(class_trials(rng))
    changed = SearchSpace("second", 2, (Integer("trees", 1, 200, 10),), iteration_axis="trees")
    for spaces in ({"first": FIRST, "second": changed}, {"first": FIRST}):
        again = Measurements.from_arrays(past.to_arrays(), spaces)
        assert list(again.spaces) == ["first"]
        assert {candidate.learner for candidate in again.candidates} == {"first"}
        assert_same_evidence(again.evidence("accuracy", ["first"]), past.evidence("accuracy", ["first"]))


def test_parts_that_are_joined_say_what_is_collected_at_once(rng):
    trials = class_trials(rng)
    # A configuration that two of the later tasks have alone.
    late = [t for t in trials if t.task in ("c4", "c5") and t.configuration == FIRST.default]
    trials += [replace(t, configuration=FIRST.configuration({"x": 0.77}), origin=Origin.DESIGN) for t in late]
    whole = measured(trials)
    outdated = [replace(t, fold_losses={k: (0.9,) * 3 for k in t.fold_losses}) if t.task == "c4" else t for t in trials]
    early = measured([t for t in outdated if t.task != "c5"], CLASSES[:5])
    changed = measured([t for t in trials if t.task in ("c4", "c5")], CLASSES[4:])
    joined = early.drop_tasks(frozenset({"c4", "c5"})).join(changed)
    for metric in METRICS:
        for learners in (["first"], ["second"], ["first", "second"]):
            assert_same_evidence(joined.evidence(metric, learners), whole.evidence(metric, learners))
    # What nobody has measured any more is no evidence.
    assert whole.drop_tasks(frozenset({"c4", "c5"})).evidence("accuracy", ["first"]).drop_unmeasured().losses.shape == (
        4,
        3,
    )


def test_parts_of_other_checkpoints_keep_them_apart_from_final_trials(rng):
    past = measured(class_trials(rng))
    joined = past.drop_tasks(frozenset({"c0"})).join(past.drop_tasks(frozenset(f"c{i}" for i in range(1, 6))))
    assert joined.candidates == past.candidates
    np.testing.assert_array_equal(joined.is_final, past.is_final)
    np.testing.assert_array_equal(joined.losses["accuracy"], np.roll(past.losses["accuracy"], -1, axis=0))


def test_a_checkpoint_that_two_runs_share_is_one_candidate_whatever_their_order(rng):
    trials = class_trials(rng)
    five = SECOND.configuration({"trees": 5})
    for some in (trials, trials[::-1]):
        past = measured(some)
        assert [final for c, final in zip(past.candidates, past.is_final, strict=True) if c == five] == [False]
        assert past.losses["accuracy"][:, past.candidates.index(five)] == pytest.approx(0.6)
        # In a share of the seconds of the same run, whichever comes first.
        assert (
            past.fit_seconds[:, past.candidates.index(five)].tolist()
            == [past.fit_seconds[0, past.candidates.index(five)]] * 6
        )


def test_measurements_that_name_a_candidate_twice_can_be_joined(rng):
    trials = class_trials(rng)
    past, later = measured(trials).drop_tasks(frozenset({"c0"})), measured([t for t in trials if t.task == "c0"])
    twice = replace(
        past,
        candidates=(*past.candidates, past.candidates[1]),
        origins=(*past.origins, past.origins[1]),
        is_final=np.append(past.is_final, past.is_final[1]),
        losses={metric: values[:, [*range(len(past.candidates)), 1]] for metric, values in past.losses.items()},
        fit_seconds=past.fit_seconds[:, [*range(len(past.candidates)), 1]],
    )
    joined = twice.join(later)
    assert joined.losses["accuracy"].shape == (6, len(twice.candidates))
    np.testing.assert_array_equal(joined.losses["accuracy"][:, :-1], past.join(later).losses["accuracy"])


def test_which_tasks_are_flat_is_known_after_a_file_and_a_join_too(rng):
    past = measured(class_trials(rng))
    ids = frozenset(task.id for task in past.tasks[:2])
    again = Measurements.from_arrays(past.to_arrays(), SPACES)
    joined = past.drop_tasks(ids).join(again.drop_tasks(frozenset(task.id for task in past.tasks) - ids))
    for metric in METRICS:
        flat = {
            task.id: is_flat
            for task, is_flat in zip(
                past.evidence(metric, list(SPACES)).tasks, past.evidence(metric, list(SPACES)).flat, strict=True
            )
        }
        for other in (again, joined):
            evidence = other.evidence(metric, list(SPACES))
            assert {task.id: is_flat for task, is_flat in zip(evidence.tasks, evidence.flat, strict=True)} == flat


def test_a_long_search_on_a_new_task_adds_its_best_candidates_alone(rng):
    known = measured(class_trials(rng))
    task = Task(id="c9", type=TaskType.BINARY, n_rows=200, n_features=3, n_classes=2)
    losses = {"roc_auc": 0.2, "accuracy": 0.3}
    points = [FIRST.default, *(FIRST.configuration({"x": x}) for x in np.linspace(0.01, 0.99, 60))]
    trials = [
        Trial(
            task=task.id,
            configuration=point,
            protocol=Protocol(),
            n_rows=200,
            state=TrialState.COMPLETE,
            origin=Origin.POSTERIOR,
            fold_losses={name: (loss + 0.001 * place,) * 3 for name, loss in losses.items()},
        )
        for place, point in enumerate(points)
    ]
    joined = known.join(measured(trials, [task]))
    n_new = len(joined.candidates) - len(known.candidates)
    assert 0 < n_new <= 2 * OWN_CANDIDATES
    # The best of it and its default are there.
    own = joined.losses["accuracy"][-1]
    assert np.nanmin(own) == pytest.approx(0.3)
    assert joined.evidence("accuracy", ["first"]).tasks[-1] == task


def test_a_learner_that_was_never_measured_changes_nothing_for_the_others(rng):
    past = Measurements.from_arrays(measured(class_trials(rng)).to_arrays(), SPACES)
    third = SearchSpace("a_third", 1, (Float("x", 0.0, 1.0, 0.5),))
    wider = past.with_learners({"a_third": third, "second": SECOND})
    for learners in (["second"], ["first", "second"]):
        alone, beside = past.evidence("accuracy", learners), wider.evidence("accuracy", learners)
        np.testing.assert_array_equal(beside.flat, alone.flat)
        np.testing.assert_array_equal(beside.losses, alone.losses)
    together = wider.evidence("accuracy", ["a_third", "first", "second"])
    np.testing.assert_array_equal(together.flat, past.evidence("accuracy", ["first", "second"]).flat)
    assert together.defaults.keys() == {"first", "second"}
