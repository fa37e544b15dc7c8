import sys

import numpy as np
import pytest

from benchmarks import methods
from benchmarks.methods import Nearest, weigh_nearest
from benchmarks.suites import load_suite
from metahp.refinement.strategy import Observation


def test_a_missing_peer_is_named_with_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(methods, "find_spec", lambda name: None if name == "flaml" else sys)
    assert methods.find_peers() == ["pytabkit"]
    assert "flaml is not installed" in capsys.readouterr().err


def test_the_nearest_past_tasks_weigh_the_same_and_incomplete_ones_nothing():
    known = np.array([[float(i), 1.0] for i in range(20)])
    whole = np.arange(20) != 1
    weights = weigh_nearest(known, np.array([0.0, np.nan]), whole)
    assert np.flatnonzero(weights).tolist() == [0, *range(2, 16)]
    assert weights.sum() == pytest.approx(1.0)
    assert weigh_nearest(known, None, whole) == pytest.approx(whole / 19)


def test_a_proposal_is_moved_to_the_nearest_configuration_left_and_counts_as_failed(suite_folder, scripted):
    suite = load_suite("toy", suite_folder)
    table, [space] = suite.configurations[2], suite.spaces
    proposals = [table[4], space.configuration({**table[4].values, "x": 0.41})]
    sampler = scripted(*proposals)
    search = Nearest(sampler, suite, 2)
    asked = []
    for loss in (1.0, 2.0, 3.0):
        asked.append(search.ask().configuration)
        search.tell(Observation(configuration=asked[-1], loss=loss))
    assert asked[0] == table[4]
    assert asked[1].values == {"kind": "plain", "x": pytest.approx(0.6)}
    # The search has no proposal left, so the first one in the table follows.
    assert asked[2] == table[0]
    assert len(set(asked)) == 3
    told = [(observation.configuration, observation.loss) for observation in sampler.told]
    assert told == [(table[4], 1.0), (proposals[1], float("inf")), (asked[1], 2.0), (asked[2], 3.0)]
