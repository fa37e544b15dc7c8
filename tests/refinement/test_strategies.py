import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import optuna
import pytest

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, OutOfRangeError, UnknownNameError
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import TaskType
from metahp.core.trial import Origin
from metahp.learners.registry import find_learner
from metahp.refinement.strategies import STRATEGIES, make_named_strategy
from metahp.refinement.strategy import Observation, Strategy, Suggestion, upgrade_observation

NAMES = ["random", "grid", "tpe", "gp", "cmaes", "nsga2"]
LIGHTGBM = find_learner("lightgbm").space(TaskType.REGRESSION)
LINEAR = find_learner("linear").space(TaskType.REGRESSION)
# Six configurations: two of `kind` plain, four of wavy.
SMALL = SearchSpace(
    "small",
    1,
    (
        Categorical("on", (False, True), False),
        Categorical("kind", ("plain", "wavy"), "plain"),
        Integer("waves", 1, 2, 1, only_if=("kind", ("wavy",))),
    ),
)

Objective = Callable[[Configuration], float]


def bowl(space: SearchSpace, at: float = 0.7) -> Objective:
    """Mean squared distance from the point that has `at` on every axis."""
    return lambda configuration: float(np.nanmean((space.to_unit([configuration])[0] - at) ** 2))


def run(strategy: Strategy, objective: Objective, n: int) -> list[Observation]:
    told = []
    for _ in range(n):
        suggestion = strategy.ask()
        assert suggestion is not None
        told.append(Observation(configuration=suggestion.configuration, loss=objective(suggestion.configuration)))
        strategy.tell(told[-1])
    return told


def losses(observations: Sequence[Observation]) -> np.ndarray:
    return np.array([observation.loss for observation in observations])


def ids(observations: Sequence[Observation]) -> list[str]:
    return [observation.configuration.id for observation in observations]


def warm_points(space: SearchSpace, n: int, seed: int = 5) -> list[Suggestion]:
    unit = np.random.default_rng(seed).random((n, len(space)))
    return [Suggestion(configuration, Origin.SURROGATE) for configuration in space.from_unit(unit)]


def test_the_strategies_of_the_design_are_there() -> None:
    assert set(NAMES) <= set(STRATEGIES)


@pytest.mark.parametrize(("name", "n"), [("tpe", 60), ("gp", 22), ("cmaes", 80), ("nsga2", 80)])
def test_a_strategy_that_learns_ends_far_below_its_first_points(name: str, n: int) -> None:
    told = losses(run(make_named_strategy(name, [LIGHTGBM], seed=1), bowl(LIGHTGBM), n))
    assert told[-10:].mean() < 0.6 * told[:10].mean()
    assert told[10:].min() < told[:10].min()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_asked_twice_also_while_pending_and_all_is_valid(name: str, space: SearchSpace) -> None:
    strategy = make_named_strategy(name, [space], seed=0)
    told = run(strategy, bowl(space), 12)
    pending = [strategy.ask() for _ in range(6)]
    asked = [o.configuration for o in told] + [s.configuration for s in pending if s is not None]
    assert len({configuration.id for configuration in asked}) == 18
    assert all(space.configuration(configuration.values) == configuration for configuration in asked)
    for suggestion in reversed(pending):
        assert suggestion is not None
        strategy.tell(Observation(configuration=suggestion.configuration, loss=1.0))
    assert strategy.ask() is not None


@pytest.mark.parametrize("name", NAMES)
def test_warm_points_come_first_with_their_origin(name: str) -> None:
    warm = warm_points(LINEAR, 4)
    strategy = make_named_strategy(name, [LINEAR], seed=0, warm=warm)
    strategy.tell(Observation(configuration=warm[1].configuration, loss=0.5))
    assert [strategy.ask() for _ in range(3)] == [warm[0], warm[2], warm[3]]
    after = strategy.ask()
    assert after is not None
    assert after.origin is not Origin.SURROGATE
    assert after.configuration not in [suggestion.configuration for suggestion in warm]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_gives_new_points(name: str) -> None:
    told = run(make_named_strategy(name, [LIGHTGBM], seed=0), bowl(LIGHTGBM), 10)
    resumed = make_named_strategy(name, [LIGHTGBM], seed=0)
    for observation in reversed(told):
        resumed.tell(observation)
    assert not set(ids(told)) & set(ids(run(resumed, bowl(LIGHTGBM), 3)))


@pytest.mark.parametrize("name", ["random", "grid"])
def test_a_strategy_that_does_not_learn_goes_on_as_if_never_interrupted(name: str) -> None:
    told = run(make_named_strategy(name, [LIGHTGBM], seed=0), bowl(LIGHTGBM), 8)
    resumed = make_named_strategy(name, [LIGHTGBM], seed=0)
    for observation in told[:5]:
        resumed.tell(observation)
    assert ids(run(resumed, bowl(LIGHTGBM), 3)) == ids(told[5:])


@pytest.mark.parametrize("name", ["cmaes", "nsga2"])
def test_a_resumed_population_goes_on_from_the_told_trials(name: str) -> None:
    told = run(make_named_strategy(name, [LIGHTGBM], seed=0), bowl(LIGHTGBM), 60)
    resumed = make_named_strategy(name, [LIGHTGBM], seed=0)
    for observation in told:
        resumed.tell(observation)
    assert losses(run(resumed, bowl(LIGHTGBM), 20)).mean() < 0.7 * losses(told[:20]).mean()


@pytest.mark.parametrize("name", ["tpe", "cmaes", "nsga2"])
def test_good_warm_points_give_a_better_start_than_none(name: str) -> None:
    unit = np.random.default_rng(0).normal(0.7, 0.1, size=(10, len(LIGHTGBM)))
    warm = [Suggestion(configuration, Origin.SURROGATE) for configuration in LIGHTGBM.from_unit(unit)]
    warmed = run(make_named_strategy(name, [LIGHTGBM], seed=0, warm=warm), bowl(LIGHTGBM), 25)[10:]
    cold = run(make_named_strategy(name, [LIGHTGBM], seed=0), bowl(LIGHTGBM), 25)[10:]
    assert losses(warmed).mean() < 0.7 * losses(cold).mean()


@pytest.mark.parametrize("name", NAMES)
def test_failed_trials_are_survived(name: str) -> None:
    strategy = make_named_strategy(name, [LIGHTGBM], seed=0)
    run(strategy, lambda configuration: math.inf, 3)
    run(strategy, lambda configuration: math.nan, 1)
    run(strategy, bowl(LIGHTGBM), 10)
    told = run(strategy, lambda configuration: math.inf, 2)
    assert len(set(ids(told))) == 2


@pytest.mark.parametrize("name", NAMES)
def test_several_learners_are_searched_each_on_its_own_axes(name: str) -> None:
    spaces = {space.learner: space for space in (LIGHTGBM, LINEAR, SMALL)}
    warm = [*warm_points(LINEAR, 1), *warm_points(SMALL, 1)]
    strategy = make_named_strategy(name, list(spaces.values()), seed=0, warm=warm)
    strategy.tell(Observation(configuration=LIGHTGBM.default, loss=0.3))
    told = run(strategy, lambda configuration: bowl(spaces[configuration.learner])(configuration), 24)
    assert len(set(ids(told))) == 24
    assert {observation.configuration.learner for observation in told} == set(spaces)
    for observation in told:
        configuration = observation.configuration
        assert spaces[configuration.learner].configuration(configuration.values) == configuration


def test_tpe_spends_its_trials_on_the_better_learner() -> None:
    penalty = {"lightgbm": 0.0, "linear": 1.0}
    spaces = {"lightgbm": LIGHTGBM, "linear": LINEAR}
    strategy = make_named_strategy("tpe", list(spaces.values()), seed=0)
    told = run(strategy, lambda c: bowl(spaces[c.learner])(c) + penalty[c.learner], 50)
    assert sum(observation.configuration.learner == "lightgbm" for observation in told[10:]) > 28


def test_gp_gives_every_learner_its_turn() -> None:
    told = run(make_named_strategy("gp", [LIGHTGBM, LINEAR], seed=0), lambda configuration: 1.0, 6)
    assert all(a.configuration.learner != b.configuration.learner for a, b in pairwise(told))


@pytest.mark.parametrize("name", NAMES)
def test_a_small_space_is_exhausted_without_a_repeat(name: str) -> None:
    strategy = make_named_strategy(name, [SMALL], seed=0)
    assert len(set(ids(run(strategy, bowl(SMALL), 6)))) == 6
    assert strategy.ask() is None


def test_the_beginning_of_a_grid_is_spread_and_the_default_belongs_to_it() -> None:
    strategy = make_named_strategy("grid", [LIGHTGBM], seed=3)
    unit = LIGHTGBM.to_unit([o.configuration for o in run(strategy, bowl(LIGHTGBM), 32)])
    default = LIGHTGBM.to_unit([LIGHTGBM.default])[0]
    for index, axis in enumerate(LIGHTGBM):
        levels, counts = np.unique(unit[:, index].round(2), return_counts=True)
        assert len(levels) == (2 if isinstance(axis, Categorical) else 3)
        assert counts.min() >= 8
        assert np.isclose(levels, default[index], atol=0.006).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    first, same, other = (
        ids(run(make_named_strategy(name, [LIGHTGBM], seed=seed), bowl(LIGHTGBM), 12)) for seed in (4, 4, 5)
    )
    assert first == same
    assert not set(first) & set(other)


def test_a_suggestion_says_whether_it_learned_from_trials() -> None:
    strategy = make_named_strategy("tpe", [LIGHTGBM], seed=0, warm=warm_points(LIGHTGBM, 8))
    origins = []
    for _ in range(12):
        suggestion = strategy.ask()
        assert suggestion is not None
        origins.append(suggestion.origin)
        strategy.tell(
            Observation(configuration=suggestion.configuration, loss=bowl(LIGHTGBM)(suggestion.configuration))
        )
    assert origins == [Origin.SURROGATE] * 8 + [Origin.DESIGN] * 2 + [Origin.POSTERIOR] * 2


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsga2"])
def test_optuna_says_nothing_and_keeps_the_users_level(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    level = optuna.logging.get_verbosity()
    run(make_named_strategy(name, [LINEAR, LIGHTGBM], seed=0), lambda configuration: 1.0, 23)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_stopped_early_is_finished_and_what_was_kept_of_it_is_not_asked(name: str) -> None:
    space = find_learner("lightgbm").space(TaskType.REGRESSION)
    search = make_named_strategy(name, [space], seed=0)
    seen = set()
    for _ in range(14):
        asked = search.ask().configuration
        assert asked.id not in seen
        kept = asked.replaced(n_estimators=max(10, int(asked.values["n_estimators"]) // 2))
        search.tell(Observation(configuration=kept, loss=bowl(space)(kept), run=None if kept == asked else asked))
        seen |= {asked.id, kept.id}


@pytest.mark.parametrize("name", NAMES)
def test_trials_of_an_older_version_of_the_space_are_told_as_ones_of_this_version(name: str) -> None:
    older = SearchSpace("small", 1, (*SMALL.hyperparameters[:-1], Float("gone", 0.0, 1.0, 0.5)))
    old_way, new_way = (make_named_strategy(name, [SMALL], seed=0) for _ in range(2))
    rng = np.random.default_rng(1)
    for configuration in older.from_unit(rng.random((5, len(older)))):
        old_way.tell(Observation(configuration=configuration, loss=1.0))
        new_way.tell(Observation(configuration=SMALL.upgraded(configuration), loss=1.0))
    assert old_way.ask() == new_way.ask()


def test_a_run_that_is_longer_than_the_space_allows_now_is_told_as_what_was_kept() -> None:
    shorter = SearchSpace("trees", 2, (Integer("n_estimators", 1, 50, 10),), iteration_axis="n_estimators")
    kept, run_ = (Configuration.of("trees", {"n_estimators": n, "gone": 1}) for n in (40, 80))
    upgraded = upgrade_observation(Observation(configuration=kept, loss=0.5, noise=0.1, run=run_), {"trees": shorter})
    assert upgraded == Observation(
        configuration=Configuration.of("trees", {"n_estimators": 40}), loss=0.5, noise=0.1, run=None
    )


def test_an_unknown_name_is_refused_with_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cmaes'"):
        make_named_strategy("cma-es", [LIGHTGBM], seed=0)
    with pytest.raises(UnknownNameError, match=r"'linear' is not searched here\. Known: lightgbm"):
        make_named_strategy("tpe", [LIGHTGBM], seed=0, warm=warm_points(LINEAR, 1))
    with pytest.raises(UnknownNameError, match="'linear' is not searched here"):
        make_named_strategy("tpe", [LIGHTGBM], seed=0).tell(Observation(configuration=LINEAR.default, loss=1.0))


def test_a_search_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="got none"):
        make_named_strategy("tpe", [], seed=0)
    with pytest.raises(InputError, match="got linear, linear"):
        make_named_strategy("tpe", [LINEAR, LINEAR], seed=0)
    with pytest.raises(OutOfRangeError, match="lies in"):
        make_named_strategy("tpe", [SMALL], seed=0).tell(
            Observation(configuration=Configuration.of("small", {"on": True, "kind": "wavy", "waves": 3}), loss=1.0)
        )
