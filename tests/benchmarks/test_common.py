import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from metahp.core.regret import default_scaled_regret


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    return __import__("_peers")


@pytest.fixture
def comparison(peers: ModuleType) -> ModuleType:
    return __import__("benchmark_peers")


def test_what_was_measured_is_not_measured_again_after_an_interrupt(peers, tmp_path):
    path = tmp_path / "cache.jsonl"
    cache = peers.Cache(path)
    cache.fill([("a", abs, (-1.5,)), ("b", abs, (-2,))], n_jobs=1)
    path.write_text(path.read_text() + '["c", 3')

    again = peers.Cache(path)
    again.fill([("a", "not called", ()), ("b", "not called", ()), ("c", abs, (-4,))], n_jobs=1)

    assert [again[key] for key in "abc"] == [1.5, 2, 4]
    assert [peers.Cache(path)[key] for key in "abc"] == [1.5, 2, 4]


def test_equal_losses_are_half_a_win_and_a_failed_peer_is_none(peers):
    ours = np.array([1.0, 2.0, 3.0, 4.0])
    assert peers.beaten(ours, np.array([2.0, 1.0, 3.0, np.nan])) == 0.5
    assert np.isnan(peers.beaten(ours, np.full(4, np.nan)))


def test_time_before_the_first_trial_counts_and_until_then_it_is_the_default(peers, comparison):
    regret = partial(default_scaled_regret, best=0.0, default=1.0)
    course = [peers.Timed(0.6, 1.0), peers.Timed(0.2, 5.0), peers.Timed(0.4, 50.0)]
    assert comparison.after(course, 0.0, regret) == pytest.approx([0.6, 0.6, 0.2, 0.2, 0.2])
    assert comparison.after(course, 2.5, regret) == pytest.approx([1.0, 1.0, 0.2, 0.2, 0.2])


def test_a_missing_peer_is_named_with_how_to_install_it(peers, monkeypatch, capsys):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None if name == "flaml" else sys)
    assert peers.installed_peers() == ["pytabkit"]
    assert "flaml is not installed" in capsys.readouterr().err


def test_every_table_has_a_seed_of_its_own_that_stays(peers):
    seeds = [peers.seed_of(name, seed) for name in ("iris", "wine") for seed in (0, 1)]
    assert len(set(seeds)) == 4
    assert seeds[0] == peers.seed_of("iris")
    assert all(0 <= each < 2**32 for each in seeds)
