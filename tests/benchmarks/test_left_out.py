"""Left-out tasks are judged on the same folds by all metrics, by models that do not know them."""

import numpy as np
import pytest

from benchmarks import left_out, recommendations
from metahp.core.space import Float, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.metafeatures.extract import NAMES
from metahp.surrogate.measurements import Measurements

METRICS = ("accuracy", "f1_macro")
SPACES = {"toy": SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5),))}
N_TASKS = 16


@pytest.fixture
def guided(rng):
    """Pairs of kin tasks with two metrics that accuracy guides; one has no usable constant by the second."""
    candidates = (SPACES["toy"].default, *SPACES["toy"].from_unit(rng.uniform(size=(29, 1))))
    losses = {metric: rng.uniform(0.1, 1.0, size=(N_TASKS, 30)) for metric in METRICS}
    constants = {metric: np.ones(N_TASKS) for metric in METRICS}
    constants["f1_macro"][3] = np.nan
    past = Measurements(
        spaces=SPACES,
        tasks=tuple(
            Task(
                id=f"t{i}",
                type=TaskType.BINARY,
                n_rows=100,
                n_features=5,
                n_classes=2,
                name=f"t{i}",
                group=f"g{i // 2}",
            )
            for i in range(N_TASKS)
        ),
        metafeatures=rng.normal(size=(N_TASKS, len(NAMES))),
        constants=constants,
        candidates=candidates,
        origins=(Origin.DEFAULT, *[Origin.DESIGN] * 29),
        is_final=np.ones(30, dtype=bool),
        losses=losses,
        fit_seconds=np.ones((N_TASKS, 30)),
        folds={metric: np.full((N_TASKS, 1, 2, 3), np.nan) for metric in METRICS},
    )
    scored = {}
    for metric in METRICS:
        evidence = past.evidence(metric, ["toy"])
        scored[metric] = left_out.Scored(evidence=evidence, wanted=np.ones(len(evidence.tasks), dtype=bool))
    return left_out.Guided(past=past, guide="accuracy", learners=("toy",), scored=scored)


def test_all_metrics_share_their_folds_and_kin_stays_together(guided):

    def work(guided, ids, seed):
        rows = {name: guided.rows(name, ids) for name in guided.scored}
        return {name: (of, {"row": of.astype(float)}) for name, of in rows.items()}

    found = left_out.judge_left_out([guided], work, n_folds=3, n_seeds=2, n_jobs=1)
    by_task = []
    for metric, scored in guided.scored.items():
        assert np.array_equal(found[metric]["row"], [range(len(scored.evidence.tasks))] * 2)
        ids = [task.id for task in scored.evidence.tasks]
        by_task.append(dict(zip(ids, found[metric]["fold"].T.tolist(), strict=True)))
    assert "t3" not in by_task[1]
    assert all(by_task[0][task] == folds for task, folds in by_task[1].items())
    assert all(by_task[0][f"t{i}"] == by_task[0][f"t{i + 1}"] for i in range(0, N_TASKS, 2))


@pytest.mark.parametrize("has_intervals", [True, False])
def test_the_tasks_left_out_are_judged_by_a_model_that_does_not_know_them(guided, has_intervals):
    ids = frozenset(["t2", "t3"])
    for adviser in guided.advisers(ids, seed=0, is_validated=False).values():
        assert not ids & {task.id for task in adviser.past.evidence.tasks}
        assert adviser.past.model.metric == "accuracy"
    judged = recommendations.judge(guided, ids, 0, has_intervals=has_intervals)
    assert {name: rows.tolist() for name, (rows, _) in judged.items()} == {"accuracy": [2, 3], "f1_macro": [2]}
    for rows, values in judged.values():
        assert values["metahp"].shape == (len(rows), len(recommendations.KS))
        assert values["inside"].any() == has_intervals


def test_versions_are_compared_by_task_on_what_both_have(tmp_path):
    def regrets(rows):
        metric, task, seed, fold, regret = zip(*rows, strict=True)
        return left_out.Regrets(
            learners="toy",
            ks=np.array([1, 3]),
            metric=np.array(metric),
            task=np.array(task),
            n_rows=np.full(len(task), 100),
            seed=np.array(seed),
            fold=np.array(fold),
            regret=np.array(regret),
        )

    older = regrets([("r2", "a", 0, 0, (0.5, 0.4)), ("r2", "a", 1, 2, (0.7, 0.4)), ("r2", "b", 0, 1, (0.2, 0.1))])
    newer = regrets([("r2", "a", 1, 2, (0.5, 0.4)), ("r2", "a", 0, 0, (0.5, 0.2)), ("r2", "c", 0, 1, (0.0, 0.0))])
    older.save(tmp_path / "older")
    below, n_moved = newer.below(left_out.Regrets.load(tmp_path / "older"))
    assert below == pytest.approx(np.array([[0.1, 0.1]]))
    assert n_moved == 0
    elsewhere, n_moved = newer.below(regrets([("r2", "c", 0, 0, (1.0, 0.5))]))
    assert elsewhere == pytest.approx(np.array([[1.0, 0.5]]))
    assert n_moved == 1
    nothing, _ = newer.below(regrets([("accuracy", "a", 0, 0, (1.0, 0.5))]))
    assert nothing.shape == (0, 2)
