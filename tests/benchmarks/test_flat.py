"""Where a search is called flat, and what more trials gained from there."""

import numpy as np
import pytest

from benchmarks import flat


def make_course(losses, outer, default: int = 0) -> flat.Course:
    return {
        "trials": [{"configuration": {}, "run": {}, "losses": [loss, loss], "seconds": 2.0} for loss in losses],
        "outer": outer,
        "default": default,
        "outer_default": 12.0,
    }


# The default, a better trial, a worse one, and the best one.
COURSE = make_course([10.0, 6.0, 7.0, 5.0], [12.0, 9.0, 9.0, 9.5])


def test_gains_are_over_the_default_and_over_the_best_so_far():
    np.testing.assert_allclose(flat.compute_gains(COURSE, 3), [[4.0, 1.0], [3.0, -0.5]])
    np.testing.assert_allclose(flat.compute_gains(COURSE, 4), [[5.0, 0.0], [2.5, 0.0]])


def test_where_it_is_flat_the_share_is_what_more_trials_gained_of_what_was_gained_before():
    never = make_course([10.0, 9.0, 8.0, 7.0], [12.0, 11.0, 10.0, 9.0])
    found = [(COURSE, {"flat": 3, "gains": [], "drawn": []}), (never, {"flat": 0, "gains": [], "drawn": []})]
    table = flat.tabulate_words(["a", "b"], found)
    rows = [[str(cell) for cell in row] for row in table.rows]
    assert rows[0] == ["a", "3", "6", "4", "1", "25%", "3", "-0.5", "0%"]
    assert rows[1][:3] == ["b", "inf", "8"]
    (note,) = table.notes
    assert note.figures["share_called_flat"] == 0.5
    assert note.figures["median_share"] == 0.25
    assert note.figures["median_outer_share"] == 0.0


def test_expected_and_real_gains_are_shares_of_the_gain_in_the_end():
    course = make_course(np.linspace(10.0, 8.0, 20).tolist(), np.linspace(12.0, 8.0, 20).tolist())
    forecast: flat.Forecast = {"flat": 0, "gains": [np.nan] * 9 + [0.5] * 11, "drawn": [np.nan] * 9 + [0.1] * 11}
    (row,) = flat.tabulate_agreement([(course, forecast)]).rows
    real, expected, by_posterior = (cell.value for cell in row[1:4])
    assert real == pytest.approx(10 / 19)
    assert expected == pytest.approx(0.25)
    assert by_posterior == pytest.approx(flat.POSTERIOR_FACTOR * 0.1 / 2.0)
    assert row[-1] == "1"
