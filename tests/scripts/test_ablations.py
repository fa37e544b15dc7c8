"""The ablation's full method is the library's, and every variant can be judged."""

from pathlib import Path

import numpy as np
import pytest
from metahp.recommendation.selection import greedy_batch
from metahp.surrogate.encoding import Evidence

from metahp.core.space import Float, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.metafeatures.extract import NAMES
from metahp.surrogate.calibration import learn_calibrated
from metahp.surrogate.validation import batch_regret

SPACES = {"toy": SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5), Float("z", 0.0, 1.0, 0.5)))}
KS = (1, 3)
TRAIN, TEST = np.arange(24), np.arange(24, 30)


@pytest.fixture
def ablations(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    return __import__("_ablations")


@pytest.fixture
def past(rng):
    """Thirty tasks whose best x follows their first meta-feature; one loss was not measured."""
    configurations = [SPACES["toy"].default, *SPACES["toy"].from_unit(rng.uniform(size=(20, 2)))]
    metafeatures = rng.normal(size=(30, len(NAMES)))
    metafeatures[:, 0] = rng.uniform(size=30)
    xs = np.array([configuration.values["x"] for configuration in configurations])
    losses = 1.0 + (xs - metafeatures[:, :1]) ** 2 + rng.normal(scale=0.01, size=(30, 21))
    losses[2, 5] = np.nan
    return Evidence(
        tuple(Task(f"t{i}", TaskType.REGRESSION, 100 + i, 5, 0, f"t{i}", f"g{i}") for i in range(30)),
        metafeatures,
        tuple(configurations),
        (Origin.DEFAULT, *[Origin.DESIGN] * 20),
        np.ones(21, dtype=bool),
        losses,
        np.ones_like(losses),
        {"toy": 0},
        np.zeros(30, dtype=bool),
    )


def test_the_full_method_is_the_librarys(ablations, past):
    full = {ablations.FULL: ablations.VARIANTS[ablations.FULL]}
    regret = ablations.ablated(past, TRAIN, TEST, SPACES, full, ks=KS, seed=0)[ablations.FULL]
    knowledge = learn_calibrated(past.rows(TRAIN), SPACES, seed=0)
    for row, ours in zip(TEST, regret, strict=True):
        prior = knowledge.prior(past.metafeatures[row])
        batch = knowledge.columns[greedy_batch(*knowledge.drawn(prior), max(KS))]
        assert ours == pytest.approx(batch_regret(past, int(row), batch.tolist(), KS))


def test_variants_of_every_kind_are_judged_and_say_something_else(ablations, past):
    portfolio = "neither shift nor similarity (portfolio)"
    names = [
        name
        for name in ablations.VARIANTS
        if name.startswith(("similarity", "worlds", "batch", "100 ", "near", "local"))
    ]
    names += [ablations.FULL, portfolio, "target: ranks"]
    variants = {name: ablations.VARIANTS[name] for name in names}
    regrets = ablations.ablated(past, TRAIN, TEST, SPACES, variants, ks=KS, seed=0)
    assert set(regrets) == set(names)
    for regret in regrets.values():
        assert regret.shape == (len(TEST), len(KS))
        assert ((regret >= 0) & (regret <= 2)).all()
        assert (regret[:, 1] <= regret[:, 0]).all()
    assert regrets[ablations.FULL][:, 0].mean() < regrets[portfolio][:, 0].mean()


def test_a_target_of_ranks_keeps_nothing_but_the_order(ablations, past):
    split = ablations.Split(past.rows(TRAIN), past.rows(TEST), SPACES, 0)
    ranks = split.knowledge(ablations.Variant(target="rank")).worlds
    own = past.losses[TRAIN][:, split.knowledge(ablations.Variant()).columns]
    for row in (0, 7):
        assert np.array_equal(np.argsort(ranks[row]), np.argsort(own[row]))
    assert ranks.min() == 0.0
    assert ranks.max() == pytest.approx(2**0.5)
