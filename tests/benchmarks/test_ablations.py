"""The ablation's full method is the library's, and every variant can be judged."""

import numpy as np
import pytest

from benchmarks import ablations
from metahp.core.space import Float, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin
from metahp.metafeatures.extract import NAMES
from metahp.surrogate.calibration import OF_TABLES
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.metamodel import MetaModel
from metahp.surrogate.prior import PastTasks
from metahp.surrogate.validation import compute_batch_regret

SPACES = {"toy": SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5), Float("z", 0.0, 1.0, 0.5)))}
KS = (1, 3)
TRAIN, TEST = np.arange(48), np.arange(48, 60)


@pytest.fixture
def past(rng):
    """Sixty tasks whose best x follows their first meta-feature; one loss was not measured."""
    configurations = [SPACES["toy"].default, *SPACES["toy"].from_unit(rng.uniform(size=(20, 2)))]
    metafeatures = rng.normal(size=(60, len(NAMES)))
    metafeatures[:, 0] = rng.uniform(size=60)
    xs = np.array([configuration.values["x"] for configuration in configurations])
    losses = 1.0 + (xs - metafeatures[:, :1]) ** 2 + rng.normal(scale=0.01, size=(60, 21))
    losses[2, 5] = np.nan
    return Evidence(
        metric="neg_root_mean_squared_error",
        spaces=SPACES,
        tasks=tuple(
            Task(
                id=f"t{i}",
                type=TaskType.REGRESSION,
                n_rows=100 + i,
                n_features=5,
                n_classes=0,
                name=f"t{i}",
                group=f"g{i}",
            )
            for i in range(60)
        ),
        metafeatures=metafeatures,
        constants=np.ones(60),
        candidates=tuple(configurations),
        origins=(Origin.DEFAULT, *[Origin.DESIGN] * 20),
        is_final=np.ones(21, dtype=bool),
        losses=losses,
        fit_seconds=np.ones_like(losses),
        defaults={"toy": 0},
        flat=np.zeros(60, dtype=bool),
    )


@pytest.fixture
def judge(past):
    """Regret of some variants on the tasks left out."""
    known = past.rows(TRAIN)
    read = ablations.make_reader(known, seed=0)

    def regrets(variants):
        return ablations.score_variants(read, known, past, TEST, variants, ks=KS)

    return regrets


def test_the_full_method_is_the_librarys(past, judge):
    regret = judge({ablations.FULL: ablations.VARIANTS[ablations.FULL]})[ablations.FULL]
    known = past.rows(TRAIN)
    read = PastTasks.read(known, MetaModel.fit(known, seed=0, settings=OF_TABLES))
    for row, ours in zip(TEST, regret, strict=True):
        batch = read.prior(past.metafeatures[row]).batch(max(KS))
        assert ours == pytest.approx(compute_batch_regret(past, int(row), batch, KS))


def test_variants_of_every_kind_are_judged_and_say_something_else(judge):
    portfolio = "neither shift nor similarity (portfolio)"
    kinds = ("similarity", "losses", "batch", "20 ", "near", "local", "target", "without landmarks")
    variants = {name: variant for name, variant in ablations.VARIANTS.items() if name.startswith(kinds)}
    variants |= {name: ablations.VARIANTS[name] for name in (ablations.FULL, portfolio)}
    # From 48 tasks a surrogate has 192 rounds.
    variants["20 rounds"] = ablations.Variant(rounds=20)
    regrets = judge(variants)
    assert set(regrets) == set(variants)
    for regret in regrets.values():
        assert regret.shape == (len(TEST), len(KS))
        assert ((regret >= 0) & (regret <= 2)).all()
        assert (regret[:, 1] <= regret[:, 0]).all()
    assert regrets[ablations.FULL][:, 0].mean() < regrets[portfolio][:, 0].mean()


def test_a_variant_changes_the_prior_by_what_it_says(past):
    known = past.rows(TRAIN)
    read = ablations.make_reader(known, seed=0)

    def prior_of(**changes):
        variant = ablations.Variant(**changes)
        return next(ablations.make_priors(read(variant, known), variant, past.metafeatures[TEST]))

    full, by_forest, shorter = prior_of(), prior_of(similarity=("forest",)), prior_of(rounds=20)
    assert not np.allclose(by_forest.weights, full.weights)
    assert np.array_equal(by_forest.values, full.values)
    assert np.array_equal(shorter.weights, full.weights)
    assert not np.allclose(shorter.shift, full.shift)
    assert not np.allclose(prior_of(is_smooth=True).values, full.values)


def test_a_target_of_ranks_keeps_nothing_but_the_order(past):
    ranks = ablations.rescale_losses(past, "rank")
    assert not ranks.defaults
    values = ablations.make_reader(past, seed=0)(ablations.Variant(target="rank"), past).values
    for row in (0, 7):
        assert np.array_equal(np.argsort(ranks.losses[row]), np.argsort(past.losses[row]))
        assert np.array_equal(np.argsort(values[row]), np.argsort(past.losses[row]))
    assert values.min() == 0.0
    assert values.max() == pytest.approx(2**0.5)
