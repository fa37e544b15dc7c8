"""What the forecast expects of a candidate, by hand and on small synthetic evidence."""

from dataclasses import replace

import numpy as np
import pytest

from metahp.surrogate.forecast import Forecast, Levels, compute_log_ratios, compute_weighted_median
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks


@pytest.fixture(scope="module")
def learned(past):
    return PastTasks.read(replace(past, constants=np.full(60, 2.0)), MetaModel.make_untrained(past))


@pytest.fixture(scope="module")
def levels(learned):
    return Levels.fit(learned.evidence, seed=0)


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [
        ([3.0, 1.0, 2.0], [0.2, 0.3, 0.5], 2.0),
        ([3.0, 1.0, 2.0], [0.6, 0.3, 0.1], 3.0),
        ([5.0], [1.0], 5.0),
        ([1.0, 2.0], [1.0, 0.0], 1.0),
    ],
)
def test_weighted_median_by_hand(values: list[float], weights: list[float], median: float) -> None:
    assert compute_weighted_median(np.array(values), np.array(weights)) == median


def test_one_past_disaster_does_not_make_a_better_candidate_look_worse_than_the_default(learned, levels) -> None:
    # Candidate 1 was 5 % better than the default on four past tasks and ten times worse on a fifth.
    default = learned.evidence.defaults["toy"]
    assert default != 1
    ratios = np.zeros((5, 26))
    ratios[:, 1] = [np.log(0.95)] * 4 + [np.log(10.0)]
    forecast = replace(Forecast.of(learned, levels), ratios=ratios, units={"toy": np.full(5, 0.05)})
    prior = replace(learned.prior(None), weights=np.full(5, 0.2))
    (loss, of_default), (same, _) = forecast.predict_relative_losses([1, default], np.zeros(3), prior)
    assert loss == pytest.approx(of_default + np.log(0.95))
    assert same == of_default


def test_forecast_knows_ratios_and_seconds(learned, levels):
    forecast = Forecast.of(learned, levels)
    column = learned.evidence.defaults["toy"]
    [(loss, default)] = forecast.predict_relative_losses(
        [column], learned.evidence.metafeatures[0], learned.prior(None)
    )
    assert loss == pytest.approx(default)
    assert default == pytest.approx(
        compute_log_ratios(learned.evidence.losses[:, column], np.full(60, 2.0)).mean(), abs=0.1
    )
    # Three folds on two thirds of the rows took 0.15 s; one fit on all rows takes half of it.
    assert forecast.fit_seconds(learned.evidence.tasks[0], column) == pytest.approx(0.075, rel=0.1)


def test_forecast_expects_less_loss_where_the_surrogate_does(learned, levels):
    forecast, prior = Forecast.of(learned, levels), learned.prior(None)
    [before] = forecast.predict_relative_losses([3], learned.evidence.metafeatures[0], prior)
    shift = prior.shift.copy()
    shift[3] = -0.5
    [after] = forecast.predict_relative_losses([3], learned.evidence.metafeatures[0], replace(prior, shift=shift))
    assert after[0] < before[0]
    assert after[1] == before[1]


def test_a_learner_without_a_default_among_the_candidates_has_no_forecast(past, levels):
    columns = np.array([j for j in range(26) if j != past.defaults["toy"]])
    learned = PastTasks.read(past.columns(columns), MetaModel.make_untrained(past))
    [pair] = Forecast.of(learned, levels).predict_relative_losses([0], past.metafeatures[0], learned.prior(None))
    assert np.isnan(pair).all()


def test_levels_come_back_from_their_text_for_the_learners_asked_for(learned, levels):
    again = Levels.from_text(levels.to_text(), ["toy", "other"])
    assert again.learners == {"toy"}
    assert again.predict("toy", learned.evidence.metafeatures[0]) == pytest.approx(
        levels.predict("toy", learned.evidence.metafeatures[0])
    )
    assert Levels.from_text(levels.to_text(), ["other"]).learners == frozenset()
    assert np.isnan(again.predict("other", learned.evidence.metafeatures[0]))


def test_a_task_whose_default_failed_teaches_no_level(past, levels):
    losses = past.losses.copy()
    losses[::2, past.defaults["toy"]] = np.inf
    some = Levels.fit(replace(past, losses=losses), seed=0)
    assert np.isfinite(some.predict("toy", past.metafeatures[0]))


def test_one_task_teaches_no_level_and_stops_nobody(past):
    levels = Levels.fit(past.rows(np.array([0])), seed=0)
    assert levels.learners == frozenset()
    assert np.isnan(levels.predict("toy", past.metafeatures[0]))


def test_another_candidate_is_better_only_as_far_as_the_direct_comparison_agrees(learned, levels) -> None:
    # By its own learner's forecast candidate 1 has half of the loss of candidate 0.
    default = learned.evidence.defaults["toy"]
    first, second = [column for column in range(4) if column != default][:2]
    ratios = np.zeros((5, 26))
    ratios[:, second] = np.log(0.5)
    prior = replace(learned.prior(None), weights=np.full(5, 0.2), shift=np.zeros(26))
    for share, expected in ((0.9, 0.9), (1.2, 1.2), (0.3, 0.5)):
        past_losses = np.zeros((5, 26))
        past_losses[:, second] = np.log(share)
        forecast = replace(
            Forecast.of(learned, levels),
            ratios=ratios,
            units={"toy": np.full(5, 0.05)},
            past_losses=past_losses,
            spans=np.full(5, np.nan),
        )
        (one, _), (other, _) = forecast.predict_relative_losses([first, second], np.zeros(3), prior)
        assert other - one == pytest.approx(np.log(expected))
        # A candidate that no past task knows beside the first keeps its own forecast.
        unknown = replace(forecast, past_losses=np.full((5, 26), np.nan))
        (one, _), (other, _) = unknown.predict_relative_losses([first, second], np.zeros(3), prior)
        assert other - one == pytest.approx(np.log(0.5))
