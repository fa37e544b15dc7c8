"""What more time is expected to bring, and where a search is called flat."""

import math

import numpy as np
import pytest

from builders import BOWL_SPACE, make_trial, tune_bowl
from metahp.evaluation.backend import Outcome
from metahp.knowledge.store import KnowledgeBase
from metahp.study.objective import PROTOCOL, make_metric
from metahp.study.outlook import (
    CURVE_FACTOR,
    LEAST_TRIALS,
    POSTERIOR_FACTOR,
    OutlookKeeper,
    estimate_gain,
    measure_fold_noise,
)
from metahp.study.progress import Outlook, format_gain, format_outlook
from metahp.study.request import Budget
from metahp.study.trials import StudyTrials

METRIC = make_metric("score", "maximize")


class Expecting:
    """A strategy that expects the gains that it is given."""

    def __init__(self, gains: list[float] | None) -> None:
        self._gains = gains

    def estimate_gains(self) -> np.ndarray | None:
        return None if self._gains is None else np.array(self._gains)


def make_trials(*losses: tuple[float, ...], n: int = 0) -> StudyTrials:
    """Trials with these fold losses, the first of them the default's, and further bad ones up to `n` trials."""
    trials = StudyTrials("t", PROTOCOL, METRIC, [BOWL_SPACE], base=None, recorded=None, folder=None)
    for number, values in enumerate([*losses, *[(90.0, 90.0)] * (n - len(losses))]):
        configuration = BOWL_SPACE.configuration({"rate": 0.1 + 0.001 * number})
        trials.add(Outcome(make_trial(*values, metric="score", configuration=configuration, protocol=PROTOCOL)))
    return trials


def look(gains: list[float] | None, trials: StudyTrials, n_trials: int = 500) -> Outlook | None:
    return OutlookKeeper(Expecting(gains), trials, Budget(trials=n_trials)).look()


def test_the_noise_is_that_of_the_difference_between_the_best_trial_and_the_default() -> None:
    trials = make_trials((3.0, 5.0), (2.0, 2.0), (2.5, 2.5))
    best = trials.find_best()
    assert best is not None
    assert measure_fold_noise(trials, best) == pytest.approx(1.0)
    # Where the default is the best, the next best one takes its place.
    trials = make_trials((1.0, 1.0), (2.0, 4.0), (9.0, 9.0))
    assert measure_fold_noise(trials, trials.trials[0]) == pytest.approx(1.0)
    for trials in (make_trials((1.0, 2.0)), make_trials((2.0,), (1.0,))):
        assert math.isnan(measure_fold_noise(trials, trials.trials[0]))


def test_posterior_and_past_curves_have_equal_weight() -> None:
    gains = np.array([1.0, 2.0, 3.0])
    assert estimate_gain(gains, 8.0, 10, 1) == pytest.approx(
        0.5 * (POSTERIOR_FACTOR * 1.0 + CURVE_FACTOR * (1 / 10 - 1 / 11) * 8)
    )
    # The posterior knows of three more trials, the curves of any number.
    assert estimate_gain(gains, 8.0, 10, 90) == pytest.approx(
        0.5 * (POSTERIOR_FACTOR * 3.0 + CURVE_FACTOR * (1 / 10 - 1 / 100) * 8)
    )
    assert estimate_gain(gains, None, 10, 90) == POSTERIOR_FACTOR * 3.0


def test_a_search_is_flat_where_a_tenth_of_its_gain_is_too_much_to_expect() -> None:
    # The search has gained 10, with a standard error of 1.
    losses, n = ((19.0, 21.0), (10.0, 10.0)), 2 * LEAST_TRIALS
    limit = (2 * 1.0 - CURVE_FACTOR * (1 / n - 1 / (n + 100)) * 10) / POSTERIOR_FACTOR
    outlook = look([0.0, 0.99 * limit], make_trials(*losses, n=n))
    assert (outlook.is_flat, outlook.noise) == (True, pytest.approx(1.0))
    assert outlook.gain_ahead == pytest.approx(1.0, rel=0.01)
    assert not look([0.0, 1.01 * limit], make_trials(*losses, n=n)).is_flat
    # The curves of past tasks expect more of 100 trials while there are few.
    assert not look([0.0, 0.99 * limit], make_trials(*losses, n=LEAST_TRIALS)).is_flat
    assert not look([0.0, 0.0], make_trials(*losses, n=LEAST_TRIALS - 1)).is_flat
    # One trial is left, which is expected to bring little.
    assert look([0.0, limit], make_trials(*losses, n=n), n + 1).is_flat


def test_without_a_gain_so_far_the_noise_decides() -> None:
    # The next best trial is worse by 1 ± 1.
    trials = make_trials((10.0, 10.0), (10.0, 12.0), n=LEAST_TRIALS)
    gains = (0.09 * 2 / POSTERIOR_FACTOR, 0.11 * 2 / POSTERIOR_FACTOR)
    assert [look([gain], trials).is_flat for gain in gains] == [True, False]


def test_nothing_is_expected_before_the_strategy_or_a_trial_says_something() -> None:
    assert look(None, make_trials((1.0, 2.0))) is None
    assert look([1.0], make_trials()) is None
    assert look([1.0], make_trials((math.inf, 1.0))) is None


def test_the_words_are_about_the_noise_of_the_folds() -> None:
    outlook = Outlook(gain=0.0123, n_trials=40, noise=0.05, gain_ahead=0.0, is_flat=False)
    assert format_outlook(outlook) == "next minute: 0.012 better (0.25 × the fold noise)"
    assert format_gain(Outlook(gain=3.0, n_trials=1, noise=0.1, gain_ahead=0.0, is_flat=False), "RMSE") == (
        "3 RMSE (30 × the fold noise)"
    )
    assert format_gain(Outlook(gain=0.02, n_trials=1, noise=math.nan, gain_ahead=0.0, is_flat=False)) == "0.02 better"
    assert format_gain(Outlook(gain=0.001, n_trials=1, noise=1.0, gain_ahead=0.0, is_flat=True)) == "almost nothing"
    assert format_outlook(None) == ""


def test_an_objective_ends_where_it_is_flat_and_the_result_says_so(base: KnowledgeBase) -> None:
    for seed in range(3):
        tune_bowl(base, trials=20, name=f"past {seed}", seed=seed)
    seen = []
    options = {"strategy": "transfer", "device": "cpu", "trials": 80, "name": "new"}
    result = tune_bowl(base, **options, stop_when_flat=True, on_trial=seen.append)
    assert result.ended == "flat"
    assert LEAST_TRIALS <= len(result.trials) < 80
    assert result.expected_gain_ == seen[-1].outlook.gain
    assert result.outlook.is_flat
    assert not any(progress.outlook.is_flat for progress in seen[5:-1])
    assert result.warnings == ()
    # It goes on with the same trials where it was not asked to end.
    n = len(result.trials) + 1
    other = tune_bowl(base, **{**options, "trials": n}, record=False, seed=0)
    assert len(other.trials) == n


def test_without_past_tasks_a_note_says_that_nothing_ends_the_search(base: KnowledgeBase) -> None:
    with pytest.warns(match="`stop_when_flat` had no effect: without past tasks"):
        result = tune_bowl(base, strategy="transfer", trials=LEAST_TRIALS, stop_when_flat=True)
    assert (result.ended, result.expected_gain_) == ("trials", None)
