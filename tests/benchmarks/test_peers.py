from functools import partial

import pytest

from benchmarks.peers import Scores, Timed, choose_fits, regret_after, tabulate_trials
from metahp.core.regret import compute_default_scaled_regret


def test_time_before_the_first_trial_counts_and_until_then_it_is_the_default():
    regret = partial(compute_default_scaled_regret, best=0.0, default=1.0)
    trace = [Timed(0.6, 1.0), Timed(0.2, 5.0), Timed(0.4, 50.0)]
    assert regret_after(trace, 0.0, regret) == pytest.approx([0.6, 0.6, 0.2, 0.2, 0.2])
    assert regret_after(trace, 2.5, regret) == pytest.approx([1.0, 1.0, 0.2, 0.2, 0.2])


def test_regret_is_to_the_best_of_all_methods_and_a_failed_peer_is_counted():
    scores = Scores()
    traces = {"metahp": [Timed(3.0, 1.0), Timed(1.0, 1.0)], "flaml": [Timed(float("nan"), float("nan"))]}
    scores.add(traces, start=0.0, best=2.0, default=5.0)
    assert scores.trials["metahp"][0][:2] == pytest.approx([0.5, 0.0])
    assert scores.trials["flaml"][0] == pytest.approx([float("nan")] * 8, nan_ok=True)
    assert (scores.n_tables, scores.n_failed) == (1, 1)


def test_a_portfolio_is_cut_and_its_entries_have_keys_of_their_own():
    fits = choose_fits(["flaml"], 2)
    assert list(fits) == ["flaml", "AutoGluon 2025", "AutoGluon 2023"]
    assert list(fits["flaml"]) == ["flaml"]
    assert list(fits["AutoGluon 2023"]) == ["AutoGluon 2023 LightGBMXT", "AutoGluon 2023 LightGBM"]
    assert len(choose_fits([], 50)["AutoGluon 2025"]) == 14


def test_a_method_is_shown_up_to_its_last_configuration():
    scores = Scores()
    traces = {"metahp": [Timed(2.0, 1.0)] * 10, "portfolio": [Timed(4.0, 1.0), Timed(3.0, 1.0), Timed(2.0, 1.0)]}
    scores.add(traces, start=0.0, best=2.0, default=4.0)
    rows = {row[0]: [str(cell)[:5] for cell in row[1:]] for row in tabulate_trials(scores, 10).rows}
    assert rows["portfolio"] == ["1.000", "0.000", "", "", "100%"]
    assert rows["metahp"] == ["0.000"] * 4 + [""]
