"""Trust in similarity and surrogate, calibrated on tasks left out."""

import numpy as np
import pytest

from metahp.surrogate.calibration import MIN_TASKS, MOST_SHIFT, MOST_TRUST, Unseen, calibrate, fit_calibrated
from metahp.surrogate.metamodel import PriorSettings


def _unseen(rng, n_tasks, *, similar_share, moved_share):
    for _ in range(n_tasks):
        average, similar, moved = rng.normal(size=(3, 50))
        losses = average + similar_share * (similar - average) + moved_share * moved + rng.normal()
        losses[:5] = np.nan
        yield Unseen(average=average, similar=similar, moved=moved, losses=losses)


def test_shares_that_made_the_losses_are_found_whatever_their_level(rng):
    settings = calibrate(list(_unseen(rng, 20, similar_share=0.6, moved_share=0.3)))
    assert settings.trust == pytest.approx(0.6, abs=1e-6)
    assert settings.shift == pytest.approx(0.3, abs=1e-6)


def test_misleading_similarity_gets_no_trust_and_the_shift_is_bounded(rng):
    settings = calibrate(list(_unseen(rng, 20, similar_share=-0.5, moved_share=2.0)))
    assert settings.trust == pytest.approx(0.0, abs=1e-9)
    assert settings.shift == pytest.approx(MOST_SHIFT)


def test_few_tasks_keep_the_settings_given(rng):
    assert calibrate(list(_unseen(rng, MIN_TASKS - 1, similar_share=1.0, moved_share=0.0))) == PriorSettings()


def test_settings_of_past_tasks_lie_within_their_bounds_and_tasks_are_read_with_them(past):
    learned = fit_calibrated(past.rows(np.arange(20)), seed=0)
    settings = learned.model.settings
    # Meta-features tell the losses of these tasks well.
    assert 0 < settings.trust <= MOST_TRUST
    assert 0 < settings.shift <= MOST_SHIFT
    assert [task.id for task in learned.evidence.tasks] == [f"t{i}" for i in range(20)]
    few = fit_calibrated(past.rows(np.arange(MIN_TASKS - 1)), seed=0)
    assert few.model.settings == PriorSettings()
