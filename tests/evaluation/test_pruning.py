from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.core.trial import EMPTY_CURVE, Origin, Protocol, Trial, TrialState
from metahp.datasets.infer import build_table
from metahp.evaluation.protocol import measure
from metahp.evaluation.pruning import Pruning, find_pruning
from metahp.learners.registry import find_learner


def trial(*losses: float, number: int = 0) -> Trial:
    return Trial(
        task="t",
        configuration=Configuration.of("toy", {"n": number, "losses": str(losses)}),
        protocol=Protocol(folds=len(losses)),
        n_rows=30,
        state=TrialState.COMPLETE,
        origin=Origin.USER,
        fold_losses={"roc_auc": losses},
    )


def test_thresholds_are_the_best_trials_first_folds_plus_the_luck_of_the_others() -> None:
    # Against the best (0.2, 0.4 after one fold, 0.3 in all), leads after one fold of +.1 −.1 +.1 −.1 more than in all.
    best = trial(0.2, 0.4)
    others = [trial(0.5, 0.5), trial(0.3, 0.7), trial(0.6, 0.6), trial(0.4, 0.8)]
    pruning = find_pruning([*others, best], "roc_auc", multiple=2.0)
    assert pruning == Pruning("roc_auc", (pytest.approx(0.2 + 2 * 0.1),))


def test_folds_that_are_hard_for_all_do_not_prune() -> None:
    hard_first = [trial(0.9 + level, 0.1 + level, 0.1 + level) for level in (0.0, 0.01, 0.02, 0.03, 0.04)]
    thresholds = find_pruning(hard_first, "roc_auc").thresholds
    np.testing.assert_allclose(thresholds, [0.9, 0.5], atol=1e-9)


def test_too_few_complete_trials_prune_nothing() -> None:
    trials = [trial(0.1 * i, 0.2, number=i) for i in range(5)]
    assert find_pruning(trials, "roc_auc") is not None
    assert find_pruning(trials[:4], "roc_auc") is None
    pruned = replace(trials[4], state=TrialState.PRUNED, fold_losses={"roc_auc": (0.4,)}, reason="pruned")
    assert find_pruning([*trials[:4], pruned], "roc_auc") is None
    undefined = replace(trials[4], fold_losses={"roc_auc": (np.nan, 0.1)})
    assert find_pruning([*trials[:4], undefined], "roc_auc") is None
    assert find_pruning([], "roc_auc") is None


def test_trials_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="one task under one protocol"):
        find_pruning([trial(0.1, 0.2), trial(0.1, 0.2, 0.3)], "roc_auc")
    with pytest.raises(InputError, match="no losses of 'accuracy'"):
        find_pruning([trial(0.1, 0.2)], "accuracy")
    with pytest.raises(InputError, match="needs the name of a metric"):
        Pruning("", (0.1,))


def test_a_best_trial_is_hardly_ever_lost_and_hopeless_ones_are_found(rng: np.random.Generator) -> None:
    # Five folds; the levels of trials spread as much as the luck of a fold. Fixed seed; at most 1 % may be lost.
    lost, saved = 0, []
    for _ in range(100):
        levels, hardness = rng.normal(0.0, 0.02, size=30), rng.normal(0.0, 0.05, size=5)
        losses = 0.5 + levels[:, None] + hardness + rng.normal(0.0, 0.02, size=(30, 5))
        done: list[Trial] = []
        n_folds = 0
        for number, row in enumerate(losses):
            pruning = find_pruning(done, "roc_auc")
            stops = [n for n in range(1, 5) if pruning and pruning.explain(row[:n])]
            n_folds += stops[0] if stops else 5
            if not stops:
                done.append(trial(*row, number=number))
        lost += min(t.loss("roc_auc") for t in done) > losses.mean(axis=1).min() + 1e-12
        saved.append(1 - n_folds / losses.size)
    assert lost <= 1
    assert np.mean(saved) > 0.05


def test_a_measurement_stops_after_the_fold_that_is_hopeless(raw_frame: pd.DataFrame) -> None:
    table = build_table(raw_frame[["signal", "gaps", "colour", "binary"]], target="binary")
    learner = find_learner("linear")
    default = learner.space(TaskType.BINARY).default
    whole = measure(table, learner, default, Protocol())
    first, second, _ = whole.fold_losses["roc_auc"]
    mean = (first + second) / 2

    def pruned_at(*thresholds: float):
        pruning = Pruning("roc_auc", thresholds)
        return measure(table, learner, default, Protocol(), pruning=pruning, keep_predictions=True)

    after_one = pruned_at(first - 1e-9, 1.0)
    assert {name: losses[:1] for name, losses in whole.fold_losses.items()} == after_one.fold_losses
    assert after_one.pruned.startswith("pruned after 1 of 3 folds")
    assert after_one.curve == EMPTY_CURVE
    assert after_one.predictions is None
    assert after_one.fit_seconds > 0
    after_two = pruned_at(first, mean - 1e-9)
    assert after_two.fold_losses["roc_auc"] == (first, second)
    unpruned = pruned_at(first, mean)
    assert not unpruned.pruned
    assert (unpruned.fold_losses, unpruned.curve) == (whole.fold_losses, whole.curve)
