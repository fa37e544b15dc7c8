"""Configurations for the first seconds: which are chosen, how they are kept, and what a damaged file does."""

import json
from pathlib import Path

import numpy as np
import pytest

import metahp
from builders import make_frame
from metahp.api import quick_points, training, tuning
from metahp.api.quick_points import (
    FILE,
    N_POINTS,
    choose_quick_points,
    name_question,
    read_quick_points,
    write_quick_points,
)
from metahp.core.configuration import Configuration
from metahp.core.metric import find_guiding_metric, find_metric
from metahp.core.space import Float, Integer, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.knowledge import seed
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS, find_learner
from metahp.surrogate.evidence import Evidence

SPACE = SearchSpace("toy", 1, (Integer("depth", 1, 20, 4), Float("rate", 0.0, 1.0, 0.5)))
SPACES = {"toy": SPACE}
SHIPPED = Path(__file__).parents[2] / "knowledge_base"


def at(depth: int) -> Configuration:
    return SPACE.configuration({"depth": depth})


def make_evidence(losses: dict[int, list[float]], seconds: dict[int, float], default: int = 4) -> Evidence:
    """Losses on each task and seconds, by depth."""
    depths, n_tasks = list(losses), len(next(iter(losses.values())))
    tasks = [Task(id=f"t{i}", type=TaskType.BINARY, n_rows=99, n_features=3, n_classes=2) for i in range(n_tasks)]
    matrix = np.array([losses[depth] for depth in depths]).T
    return Evidence(
        metric="roc_auc",
        spaces=SPACES,
        tasks=tuple(tasks),
        metafeatures=np.zeros((n_tasks, 1)),
        constants=np.ones(n_tasks),
        candidates=tuple(at(depth) for depth in depths),
        origins=(Origin.DESIGN,) * len(depths),
        is_final=np.ones(len(depths), dtype=bool),
        losses=matrix,
        fit_seconds=np.where(np.isnan(matrix), np.nan, [seconds[depth] for depth in depths]),
        defaults={"toy": depths.index(default)} if default in depths else {},
    )


# On each of two tasks the default has 1.0 and the best 0.0, so that losses are normalised as they are.
LOSSES = {4: [1.0, 1.0], 5: [0.0, 0.9], 6: [0.9, 0.0], 7: [0.4, 0.4], 8: [1.0, 1.1]}


def choose(seconds: dict[int, float], losses: dict[int, list[float]] = LOSSES) -> list[int]:
    return [each.values["depth"] for each in choose_quick_points(make_evidence(losses, seconds))]


def test_with_equal_seconds_the_best_on_average_comes_first_and_the_next_add_to_it() -> None:
    chosen = choose(dict.fromkeys(LOSSES, 1.0))
    # The worse one than the default is never tried, and the default itself is tried before.
    assert chosen[0] == 7
    assert sorted(chosen[1:]) == [5, 6]


def test_the_gain_is_counted_by_the_second() -> None:
    assert choose({4: 1.0, 5: 1.0, 6: 1.0, 7: 100.0, 8: 1.0}) == [5, 6]
    assert choose({4: 1.0, 5: 9.0, 6: 1.0, 7: 1.0, 8: 1.0}) == [7, 6, 5]
    # Between two trials some time passes, so that a tiny gain is not bought because it costs nothing.
    losses = {**LOSSES, 9: [0.999, 0.999]}
    assert choose({**dict.fromkeys(losses, 0.01), 9: 1e-6}, losses)[0] == 7


def test_no_more_are_chosen_than_are_ever_tried() -> None:
    rng = np.random.default_rng(0)
    losses = {4: [1.0] * 40, **{depth: rng.random(40).tolist() for depth in range(5, 20)}}
    chosen = choose(dict.fromkeys(losses, 1.0), losses)
    assert len(chosen) == N_POINTS == len(set(chosen))


def test_what_few_tasks_have_measured_is_not_considered_and_a_gap_counts_as_the_default() -> None:
    nan = float("nan")
    losses = {4: [1.0] * 20, 5: [0.0] * 10 + [nan] * 10, 6: [0.5] * 19 + [nan], 7: [0.0] + [1.0] * 19}
    assert choose(dict.fromkeys(losses, 1.0), losses) == [6, 7]


def test_without_a_default_or_a_task_there_are_none() -> None:
    evidence = make_evidence({5: [0.0, 1.0], 6: [1.0, 0.0]}, {5: 1.0, 6: 1.0})
    assert choose_quick_points(evidence) == []
    assert choose_quick_points(make_evidence(LOSSES, dict.fromkeys(LOSSES, 1.0)).rows(np.zeros(2, dtype=bool))) == []


BINARY = name_question(TaskType.BINARY, "roc_auc", ["toy"])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    points = [at(7), SPACE.configuration({"depth": 2, "rate": 0.25})]
    write_quick_points(
        tmp_path / "new",
        {BINARY: points, name_question(TaskType.REGRESSION, "neg_root_mean_squared_error", ["toy"]): []},
    )
    assert read_quick_points(tmp_path / "new", TaskType.BINARY, "roc_auc", SPACES) == points
    # By what guides: classes, and the metric that a metric follows.
    assert read_quick_points(tmp_path / "new", TaskType.MULTICLASS, "roc_auc", SPACES) == points
    for kind, metric in ((TaskType.BINARY, "neg_log_loss"), (TaskType.REGRESSION, "neg_root_mean_squared_error")):
        assert read_quick_points(tmp_path / "new", kind, metric, SPACES) == []


def test_without_the_same_learners_the_largest_set_that_they_include_answers(tmp_path: Path) -> None:
    other, third = (SearchSpace(name, 1, SPACE.hyperparameters) for name in ("other", "third"))
    sets = {("toy",): at(1), ("other", "toy"): at(2), ("other", "third", "toy"): at(3)}
    points = {name_question(TaskType.BINARY, "roc_auc", names): [point] for names, point in sets.items()}
    write_quick_points(tmp_path, points)
    asked = {"toy": SPACE, "other": other, "fourth": SearchSpace("fourth", 1, SPACE.hyperparameters)}
    assert read_quick_points(tmp_path, TaskType.BINARY, "roc_auc", asked) == [at(2)]
    assert read_quick_points(tmp_path, TaskType.BINARY, "roc_auc", SPACES) == [at(1)]
    assert read_quick_points(tmp_path, TaskType.BINARY, "roc_auc", {"third": third}) == []


DAMAGED = {
    "no text": b"\xff\xfe\x00",
    "no JSON": b"{",
    "a list": b"[1, 2]",
    "a number": b"3",
    "no list of points": json.dumps({BINARY: 5}).encode(),
    "points that are none": json.dumps({BINARY: [5, None, "x"]}).encode(),
    "a point without values": json.dumps({BINARY: [{"learner": "toy"}]}).encode(),
    "values that are none": json.dumps({BINARY: [{"learner": "toy", "values": 7}]}).encode(),
    "a point by a list": json.dumps({BINARY: [{"learner": ["toy"], "values": {}}]}).encode(),
    "too deep": b"[" * 100_000,
    "nothing": b"",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_as_good_as_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert read_quick_points(tmp_path, TaskType.BINARY, "roc_auc", SPACES) == []


def test_of_another_version_of_a_space_only_what_fits_is_read(tmp_path: Path) -> None:
    write_quick_points(tmp_path, {BINARY: [at(18), at(7)]})
    narrow = SearchSpace("toy", 2, (Integer("depth", 1, 9, 4), Float("rate", 0.0, 1.0, 0.5)))
    read = read_quick_points(tmp_path, TaskType.BINARY, "roc_auc", {"toy": narrow})
    assert [each.values["depth"] for each in read] == [7]
    other = SearchSpace("toy", 3, (Integer("leaves", 1, 9, 4),))
    assert read_quick_points(tmp_path, TaskType.BINARY, "roc_auc", {"toy": other}) == []


def test_where_a_folder_has_no_file_or_no_answer_the_seed_answers(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "tasks.parquet").write_bytes(b"")
    monkeypatch.setattr(quick_points, "find_seed_folder", lambda: tmp_path / "seed")
    write_quick_points(tmp_path / "seed", {BINARY: [at(3)]})
    assert read_quick_points(tmp_path / "none", TaskType.BINARY, "roc_auc", SPACES) == [at(3)]
    write_quick_points(tmp_path / "home", {name_question(TaskType.BINARY, "accuracy", ["toy"]): [at(5)]})
    assert read_quick_points(tmp_path / "home", TaskType.BINARY, "roc_auc", SPACES) == [at(3)]
    assert read_quick_points(tmp_path / "home", TaskType.BINARY, "accuracy", SPACES) == [at(5)]
    (tmp_path / "home" / FILE).write_bytes(b"{")
    assert read_quick_points(tmp_path / "home", TaskType.BINARY, "roc_auc", SPACES) == [at(3)]


@pytest.mark.parametrize("task_type", TaskType)
def test_what_is_shipped_answers_for_every_learner_and_all_of_them_by_the_default_metric(
    task_type: TaskType, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(seed, "_FOLDERS", (SHIPPED,))
    metric = find_metric(task_type, None).name
    spaces = {name: find_learner(name).space(task_type) for name in LEARNERS}
    known = {name for name in spaces if (SHIPPED / f"trials-{name}.parquet").exists()}
    scopes = [*((name,) for name in known), tuple(known)]
    for scope in scopes:
        points = read_quick_points(tmp_path, task_type, metric, {name: spaces[name] for name in scope})
        assert 1 <= len(points) <= N_POINTS
        assert {each.learner for each in points} <= set(scope)
        assert len({each.id for each in points}) == len(points)
    content = json.loads((SHIPPED / FILE).read_text(encoding="utf-8"))
    # No point is lost: all are of the present version of their space.
    asked = content[name_question(task_type, metric, sorted(known))]
    assert len(read_quick_points(tmp_path, task_type, metric, {name: spaces[name] for name in known})) == len(asked)


def test_training_writes_the_points_of_each_question(tiny, tmp_path: Path, monkeypatch) -> None:
    # The models themselves are not needed here.
    monkeypatch.setattr(training, "_is_trained", lambda *arguments, **named: True)
    base = tiny.base(tmp_path / "kb")
    training.train(base)
    content = json.loads((base.folder / FILE).read_text(encoding="utf-8"))
    metrics = {find_guiding_metric(name) for name in ("neg_log_loss", "roc_auc", "accuracy")}
    scopes = (("linear",), ("random_forest",), ("linear", "random_forest"))
    assert set(content) == {name_question(TaskType.BINARY, metric, scope) for metric in metrics for scope in scopes}
    spaces = {name: find_learner(name).space(TaskType.BINARY) for name in ("linear", "random_forest")}
    points = read_quick_points(base.folder, TaskType.BINARY, "roc_auc", spaces)
    assert points
    recorded = {trial.configuration for trial in base.trials()}
    assert set(points) <= recorded
    training.train(base, learners="linear", output=tmp_path / "out")
    names = json.loads((tmp_path / "out" / FILE).read_text(encoding="utf-8"))
    assert set(names) == {name_question(TaskType.BINARY, metric, ("linear",)) for metric in metrics}


@pytest.mark.parametrize("is_path", [True, False])
def test_a_study_reads_the_points_of_its_own_knowledge_base(is_path: bool, tmp_path: Path, monkeypatch) -> None:
    folders = []
    monkeypatch.setattr(tuning, "read_quick_points", lambda folder, *_: folders.append(folder) or [])
    base = KnowledgeBase(tmp_path / "own")
    place = base.folder if is_path else base
    metahp.tune(make_frame(0), target="target", learners="linear", trials=1, timeout=60.0, knowledge_base=place)
    assert folders == [tmp_path / "own"]
