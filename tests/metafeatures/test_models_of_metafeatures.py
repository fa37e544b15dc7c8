"""Probes and landmarks react to the tables that they are made for."""

import math
import time

import numpy as np
import pandas as pd
import pytest

from metahp.core.task import Task, TaskType
from metahp.datasets.table import Table
from metahp.metafeatures import probes
from metahp.metafeatures.extract import extract
from metahp.metafeatures.probes import compute_order_loss, compute_row_losses, predict_constant
from metahp.metafeatures.view import MODEL_CLASSES, Sample, View

PLENTY = 1e6


def table(X: np.ndarray, y: np.ndarray, n_classes: int) -> Table:
    kind = {0: TaskType.REGRESSION, 2: TaskType.BINARY}.get(n_classes, TaskType.MULTICLASS)
    task = Task(id="id", type=kind, n_rows=X.shape[0], n_features=X.shape[1], n_classes=n_classes)
    return Table(task=task, features=pd.DataFrame(X), y=y, target="y")


def sample(y: list[float], n_classes: int) -> Sample:
    kind = {0: TaskType.REGRESSION, 2: TaskType.BINARY}.get(n_classes, TaskType.MULTICLASS)
    codes = np.array(y, dtype=np.int64 if n_classes else float)
    return Sample(
        X=np.zeros((len(y), 1)),
        y=codes,
        is_categorical=np.array([False]),
        task_type=kind,
        n_classes=n_classes,
        fold=np.zeros(len(y), dtype=np.int64),
    )


def test_row_losses_by_hand() -> None:
    binary = sample([0, 1], 2)
    np.testing.assert_allclose(
        compute_row_losses(binary, np.arange(2), np.array([0.0, math.log(3)])), [math.log(2), -math.log(0.75)]
    )
    classes = sample([2, 0], 3)
    np.testing.assert_allclose(
        compute_row_losses(classes, np.arange(2), np.log([[0.2, 0.3, 0.5], [0.1, 0.4, 0.5]])),
        [-math.log(0.5), -math.log(0.1)],
    )
    np.testing.assert_allclose(compute_row_losses(sample([1.0, 2.0], 0), np.arange(2), np.zeros(2)), [1.0, 4.0])


def test_order_loss_by_hand() -> None:
    # Of four pairs, one is in the wrong order and one is a tie.
    assert compute_order_loss(sample([0, 0, 1, 1], 2), np.arange(4), np.array([1.0, 3.0, 3.0, 2.0])) == pytest.approx(
        1.5 / 4
    )
    assert compute_order_loss(sample([0, 0], 2), np.arange(2), np.zeros(2)) == 0.5
    assert compute_order_loss(sample([0, 1, 2, 2], 3), np.arange(4), np.eye(3)[[0, 1, 2, 0]]) == 0.25


def test_constant_prediction_is_smoothed_class_shares() -> None:
    raw = predict_constant(sample([0, 0, 1], 2), np.arange(3), 2)
    np.testing.assert_allclose(raw, math.log(2 / 3))


def test_noise_has_no_skill_and_signal_has() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    noise = extract(table(X, rng.integers(0, 2, 600), 2), budget_seconds=PLENTY, clock=time.process_time).values
    signal = extract(table(X, (X[:, 0] > 0).astype(np.int64), 2), budget_seconds=PLENTY, clock=time.process_time).values
    assert noise["probe_skill"] > -0.02
    assert signal["probe_skill"] < -2
    assert noise["probe_four_leaves"] < 0
    assert signal["landmark_stump"] < -1


def test_linear_target_favours_the_linear_landmark_and_steps_the_trees() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 5))
    line = extract(table(X, X @ np.arange(1.0, 6.0), 0), budget_seconds=PLENTY, clock=time.process_time).values
    boxes = extract(
        table(X, np.sign(X[:, 0]) * np.sign(X[:, 1]), 0), budget_seconds=PLENTY, clock=time.process_time
    ).values
    assert line["landmark_linear_to_probe"] < -1
    assert boxes["landmark_linear_to_probe"] > 1


def test_deep_interaction_favours_more_leaves() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(1500, 4)).astype(float)
    y = X.sum(axis=1) % 2
    found = extract(table(X, y.astype(np.int64), 2), budget_seconds=PLENTY, clock=time.process_time).values
    assert found["probe_four_leaves"] > 0.1


def test_model_sample_keeps_frequent_classes_and_floors_rare_ones() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(8), [3000, 900, 500, 300, 30, 20, 10, 1])
    chosen = View(table(rng.normal(size=(y.size, 3)), y, 8), 0).model_sample
    counts = np.bincount(chosen.y)
    assert counts.size == MODEL_CLASSES == chosen.n_classes
    assert counts[4] == 20
    assert len(chosen.y) <= 1030
    for c in range(MODEL_CLASSES):
        assert abs(np.bincount(chosen.fold[chosen.y == c], minlength=2) @ [1, -1]) <= 1


def test_class_of_two_rows_is_never_wholly_held_out() -> None:
    y = np.repeat(np.arange(12), 2)
    chosen = View(table(np.random.default_rng(0).normal(size=(24, 2)), y, 12), 0).model_sample
    assert all(len(set(chosen.fold[chosen.y == c])) == 2 for c in range(chosen.n_classes))


@pytest.mark.parametrize("n_classes", [0, 2, 4])
def test_probes_do_not_depend_on_the_number_of_threads(n_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(300, 5))
    y = X[:, 0] + rng.normal(size=300)
    if n_classes:
        y = np.digitize(y, np.quantile(y, np.linspace(0, 1, n_classes + 1)[1:-1]))
    described = []
    for threads in (1, 3):
        monkeypatch.setattr(probes, "THREADS", threads)
        described.append(extract(table(X, y, n_classes), budget_seconds=PLENTY, clock=time.process_time).vector())
    np.testing.assert_array_equal(*described)
