"""What past tasks of a space say about a new objective of that space."""

from pathlib import Path

import numpy as np
import pytest

import metahp
from builders import BOWL_SPACE, bowl, tune_bowl
from metahp.api.past_objectives import learn_past, rank_past
from metahp.core.space import Float, SearchSpace
from metahp.core.trial import Origin
from metahp.knowledge.store import KnowledgeBase
from metahp.study.objective import make_metric
from metahp.surrogate.metamodel import Settings


@pytest.fixture
def base(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase(tmp_path / "kb")


def test_past_tasks_of_the_space_give_the_warm_start_most_similar_first(base: KnowledgeBase) -> None:
    for name, size in (("near", 1.0), ("far", 9.0)):
        tune_bowl(base, trials=4, metafeatures={"size": size}, name=name, seed=int(size))
    near = {t.configuration: t for t in base.trials() if base.task(t.task).task.name == "near"}
    best = max(near, key=lambda configuration: bowl(configuration.values))
    result = tune_bowl(base, trials=4, metafeatures={"size": 1.5}, name="new", warm=2)
    assert result.n_past_tasks == 2
    warm = [trial.configuration for trial in result.trials if trial.origin is Origin.PORTFOLIO]
    assert best == (warm[0] if best != BOWL_SPACE.default else BOWL_SPACE.default)
    cold = tune_bowl(base, trials=3, metafeatures={"size": 1.5}, name="cold", cold=True)
    assert cold.warm_start() is None
    assert {trial.origin for trial in cold.trials} == {Origin.DEFAULT, Origin.DESIGN}


def test_what_several_past_tasks_share_keeps_its_first_place(base: KnowledgeBase) -> None:
    for name, best, other in (("near", 0.1, 0.2), ("far", 0.2, 0.1)):
        metahp.tune_objective(
            lambda values, best=best: -abs(values["rate"] - best),
            space=BOWL_SPACE,
            metafeatures={"size": float(name == "far")},
            configurations=[{"rate": best}, {"rate": other}],
            trials=2,
            name=name,
            knowledge_base=base,
            cold=True,
        )
    with base.take_snapshot() as snapshot:
        points, n_tasks = rank_past(snapshot, BOWL_SPACE, make_metric(None, "maximize"), "new", {"size": 0.0}, 2)
    assert n_tasks == 2
    assert [point.configuration.values["rate"] for point in points] == [0.1, 0.2]


def with_past_tasks(base: KnowledgeBase, own: list[list[float]]) -> None:
    """One past task for each list of rates, measured at these; its best rate is 10 to the power of `centre`."""
    for centre, rates in zip(np.linspace(-2.8, -0.2, len(own)), own, strict=True):
        metahp.tune_objective(
            lambda values, centre=centre: -((np.log10(values["rate"]) - centre) ** 2),
            space=BOWL_SPACE,
            metafeatures={"centre": centre},
            configurations=[{"rate": rate} for rate in rates],
            trials=len(rates) + 1,
            knowledge_base=base,
            strategy="random",
            cold=True,
        )


def test_many_described_past_tasks_give_a_warm_start_by_what_was_learned_of_them(base: KnowledgeBase) -> None:
    with_past_tasks(base, [np.logspace(-3, 0, 12).tolist()] * 14)
    options = {
        "space": BOWL_SPACE,
        "knowledge_base": base,
        "strategy": "random",
        "record": False,
        "trials": 4,
        "warm": 3,
    }
    for centre in (-2.5, -0.5):
        result = metahp.tune_objective(
            lambda values, centre=centre: -((np.log10(values["rate"]) - centre) ** 2),
            metafeatures={"centre": centre},
            name="new",
            **options,
        )
        assert result.n_past_tasks == 14
        origins = {trial.origin for trial in result.trials}
        assert Origin.SURROGATE in origins
        assert Origin.PORTFOLIO not in origins
        # Neighbours on the grid of rates are 0.27 apart.
        assert abs(np.log10(result.best_params_["rate"]) - centre) < 0.3
    few = metahp.tune_objective(bowl, metafeatures={"other": 1.0}, name="undescribed", **options)
    assert Origin.SURROGATE not in {trial.origin for trial in few.trials}


def test_meta_features_that_tell_past_tasks_hardly_apart_are_no_error(base: KnowledgeBase) -> None:
    for index in range(13):
        metafeatures = {"is_large": float(index == 0), "same": 1.0}
        tune_bowl(base, trials=6, metafeatures=metafeatures, name=f"past{index}", cold=True)
    metric = make_metric(None, "maximize")
    for own in ({"is_large": 0.0, "same": 1.0}, {"same": 2.0}, {"other": 1.0}, {}):
        with base.take_snapshot() as snapshot:
            learned = learn_past(snapshot, BOWL_SPACE, metric, "new", own, 0)
        assert learned is not None
        assert len(learned.points(3)) == (3 if "is_large" in own else 0)
        assert np.isfinite(learned.prior().weights).all()


@pytest.mark.parametrize("are_shared", [False, True])
def test_similarity_is_calibrated_where_past_tasks_share_configurations(base: KnowledgeBase, are_shared: bool) -> None:
    exponents = np.random.default_rng(0).uniform(-3, 0, (14, 6))
    with_past_tasks(base, (10 ** (exponents[:1].repeat(14, axis=0) if are_shared else exponents)).tolist())
    with base.take_snapshot() as snapshot:
        learned = learn_past(snapshot, BOWL_SPACE, make_metric(None, "maximize"), "new", {"centre": -1.0}, 0)
    assert learned is not None
    assert (learned.past.model.settings != Settings()) == are_shared


@pytest.mark.parametrize("described", [{}, {"size": 1.0}])
def test_past_tasks_of_an_older_space_are_learned_from(base: KnowledgeBase, described: dict) -> None:
    for number in range(3):
        tune_bowl(base, name=f"past {number}", trials=6, metafeatures=described and {"size": float(number)})
    best = max(base.trials(), key=lambda trial: bowl(trial.configuration.values)).configuration
    newer = SearchSpace("toy_service", 2, (*BOWL_SPACE.hyperparameters, Float("added", 0.0, 1.0, 0.5)))
    with base.take_snapshot() as snapshot:
        points, n_past = rank_past(snapshot, newer, make_metric(None, "maximize"), "new", {}, 20)
    assert n_past == 3
    assert best.replaced(added=0.5) in [point.configuration for point in points]
    assert all(newer.upgraded(point.configuration) == point.configuration for point in points)
    with base.take_snapshot() as snapshot:
        found = learn_past(snapshot, newer, make_metric(None, "maximize"), "new", described, 0)
    assert found.n_tasks == 3
