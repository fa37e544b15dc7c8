from dataclasses import dataclass

import numpy as np
import pytest

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, OutOfRangeError, UnknownNameError
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.trial import Origin
from metahp.refinement.pool import (
    N_FIXED,
    SMALLEST_SIDE,
    START_SIDE,
    compute_trust_region_side,
    make_fixed_pool,
    sample_trust_region,
)
from metahp.refinement.strategy import Observation, Suggestion
from metahp.refinement.transfer import Transfer
from metahp.surrogate.prior import Scenarios

BOWL = SearchSpace("bowl", 1, (Float("x", 0.0, 1.0, 0.5), Float("y", 0.0, 1.0, 0.5)))
# Where past tasks had their optimum.
CENTRES = np.array([[0.2, 0.2], [0.3, 0.25], [0.2, 0.4], [0.35, 0.3], [0.8, 0.7]])


@dataclass(frozen=True)
class BowlPrior:
    """Past tasks are bowls around `CENTRES`."""

    space: SearchSpace = BOWL
    candidates: tuple[Configuration, ...] = ()
    unit: float = 1.0
    log_scale: tuple[float, float] = (0.0, 0.5)

    @property
    def weights(self) -> np.ndarray:
        return np.full(len(CENTRES), 1 / len(CENTRES))

    def at(self, configurations) -> Scenarios:
        points = self.space.to_unit(configurations)
        values = 4 * ((points[None, :, :2] - CENTRES[:, None]) ** 2).sum(axis=2)
        return Scenarios(values, self.weights, points / 0.4)


def bowl(configuration: Configuration, centre=(0.28, 0.3)) -> float:
    values = configuration.values
    return 10.0 + 4 * ((values["x"] - centre[0]) ** 2 + (values["y"] - centre[1]) ** 2)


def at(x: float, y: float) -> Configuration:
    return BOWL.configuration({"x": x, "y": y})


def grid(n: int = 9) -> list[Configuration]:
    return [at(x, y) for x in np.linspace(0, 1, n).tolist() for y in np.linspace(0, 1, n).tolist()]


def transfer(**options) -> Transfer:
    prior = BowlPrior(**{name: options.pop(name) for name in ("candidates", "unit") if name in options})
    return Transfer(prior, [BOWL], **{"seed": 0, "device": "cpu", **options})


def run(strategy: Transfer, n: int, loss=bowl, noise=np.nan) -> list[Suggestion]:
    asked = []
    for _ in range(n):
        suggestion = strategy.ask()
        asked.append(suggestion)
        strategy.tell(
            Observation(configuration=suggestion.configuration, loss=loss(suggestion.configuration), noise=noise)
        )
    return asked


def test_warm_points_come_first_with_their_own_origins_and_then_the_posterior():
    warm = [Suggestion(at(0.9, 0.9), Origin.SURROGATE), Suggestion(at(0.1, 0.1), Origin.USER)]
    asked = run(transfer(table=grid(), warm=[*warm, warm[0]]), 4)
    assert asked[:2] == warm
    assert [each.origin for each in asked[2:]] == [Origin.POSTERIOR] * 2


def test_where_there_is_a_table_nothing_else_that_past_tasks_know_is_asked():
    asked = run(transfer(candidates=(at(0.2812345, 0.3012345),), table=grid(4)), 16)
    assert {each.configuration.id for each in asked} == {each.id for each in grid(4)}


def test_a_table_is_asked_through_without_repeats_and_then_nothing_is_left():
    strategy = transfer(table=grid(4))
    asked = {each.configuration.id for each in run(strategy, 16)}
    assert asked == {each.id for each in grid(4)}
    assert strategy.ask() is None


def test_several_pending_points_are_all_different_and_apart():
    strategy = transfer(table=grid())
    first = [strategy.ask().configuration for _ in range(5)]
    assert len({each.id for each in first}) == 5
    # Before any trial the picks serve different scenarios, the far one too.
    assert any(each.values["x"] > 0.6 for each in first)
    strategy.tell(Observation(configuration=first[0], loss=bowl(first[0])))
    assert strategy.ask().configuration.id not in {each.id for each in first}


@pytest.mark.parametrize("centre", [(0.28, 0.3), (0.75, 0.8), (0.1, 0.9)])
def test_it_finds_the_optimum_in_the_middle_of_past_ones_and_elsewhere(centre):
    asked = run(transfer(), 20, lambda each: bowl(each, centre))
    assert min(bowl(each.configuration, centre) for each in asked) < 10.0 + 4 * 0.12**2


@pytest.mark.parametrize("centre", [(0.28, 0.3), (0.75, 0.8), (0.1, 0.9)])
def test_where_trials_tell_their_noise_it_comes_closer_than_the_pool_is_dense(centre):
    asked = run(transfer(), 20, lambda each: bowl(each, centre), noise=1e-4)
    assert min(bowl(each.configuration, centre) for each in asked) < 10.0 + 4 * 0.01**2


def test_where_trials_tell_their_noise_several_pending_points_are_apart():
    strategy = transfer()
    run(strategy, 8, noise=1e-4)
    points = BOWL.to_unit([strategy.ask().configuration for _ in range(4)])
    assert min(np.linalg.norm(a - b) for i, a in enumerate(points) for b in points[:i]) > 0.05


@pytest.mark.parametrize("noise", [np.nan, 0.05])
def test_the_unit_of_the_loss_changes_nothing(noise):
    one = run(transfer(table=grid()), 8, noise=noise)
    thousand = run(transfer(table=grid(), unit=1000.0), 8, lambda each: 1000 * bowl(each), 1000 * noise)
    assert one == thousand


@pytest.mark.parametrize("noise", [np.nan, 0.05])
def test_told_again_in_the_same_order_it_asks_the_same(noise):
    one = transfer(seed=3)
    asked = run(one, 6, noise=noise)
    resumed = transfer(seed=3)
    for each in asked:
        resumed.tell(Observation(configuration=each.configuration, loss=bowl(each.configuration), noise=noise))
    assert resumed.ask() == one.ask()


@pytest.mark.parametrize("noise", [np.nan, 0.05])
def test_a_failed_region_is_left(noise):
    strategy = transfer(table=grid())
    asked = run(strategy, 12, lambda each: np.inf if each.values["x"] < 0.5 else bowl(each), noise)
    assert sum(each.configuration.values["x"] >= 0.5 for each in asked[-6:]) >= 4


def test_only_failures_still_leave_something_to_ask():
    asked = run(transfer(table=grid(3)), 9, lambda each: np.inf)
    assert len({each.configuration.id for each in asked}) == 9


TREES = SearchSpace(
    "trees",
    1,
    (*BOWL.hyperparameters, Integer("n_estimators", 10, 400, 100, is_log=True)),
    iteration_axis="n_estimators",
)


def trees(*warm: Suggestion) -> Transfer:
    prior, default = BowlPrior(TREES), Suggestion(TREES.default, Origin.DEFAULT)
    return Transfer(prior, [TREES], warm=[default, *warm], stopped_early=["trees"], seed=0, device="cpu")


def stopped(suggestion: Suggestion, kept: int = 40) -> Observation:
    asked = suggestion.configuration
    return Observation(configuration=asked.replaced(n_estimators=kept), loss=bowl(asked), run=asked)


def test_where_runs_are_stopped_early_longer_ones_are_asked_for_and_never_again():
    search = trees()
    assert search.ask().configuration == TREES.default
    search.tell(Observation(configuration=TREES.default, loss=bowl(TREES.default)))
    asked = []
    for _ in range(12):
        asked.append(search.ask())
        search.tell(stopped(asked[-1]))
    runs = [each.configuration for each in asked]
    # To the end of the space: early stopping decides how many are kept.
    assert all(run.values["n_estimators"] == 400 for run in runs)
    assert len(set(runs)) == 12
    assert min(bowl(run) for run in runs) < 10.01


def test_a_run_that_was_stopped_early_is_not_pending_any_more_and_told_again_it_is_not_asked():
    search, again = trees(), trees()
    told = [Observation(configuration=search.ask().configuration, loss=bowl(TREES.default))]
    search.tell(told[0])
    for _ in range(3):
        told.append(stopped(search.ask()))
        search.tell(told[-1])
    assert search._find_pending() == []
    for observation in told:
        again.tell(observation)
    suggestion = again.ask()
    assert suggestion == search.ask()
    assert suggestion.configuration not in {observation.asked for observation in told}


def test_after_a_failure_runs_are_as_long_as_seems_best():
    finite, failing = trees(), trees()
    finite.tell(Observation(configuration=TREES.default, loss=bowl(TREES.default)))
    failing.tell(Observation(configuration=TREES.default, loss=bowl(TREES.default)))
    failing.tell(Observation(configuration=TREES.configuration({"x": 0.9, "y": 0.9}), loss=np.inf))
    lengths = [[search.ask().configuration.values["n_estimators"] for _ in range(12)] for search in (finite, failing)]
    assert all(n == 400 for n in lengths[0])
    assert any(n < 400 for n in lengths[1])


def test_a_warm_point_is_asked_also_within_a_run_and_once():
    within = Suggestion(TREES.default.replaced(n_estimators=50), Origin.USER)
    stopped_warm = Suggestion(TREES.configuration({"x": 0.1}), Origin.SURROGATE)
    first, second = trees(within, stopped_warm), trees(within, stopped_warm)
    longest = stopped_warm.configuration.replaced(n_estimators=400)
    assert [first.ask().configuration for _ in range(3)][1:] == [within.configuration, longest]
    second.tell(stopped(stopped_warm))
    assert second.ask().configuration == TREES.default
    assert second.ask() == within
    assert second.ask().origin is Origin.POSTERIOR


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"unit": 0.0}, InputError, "above zero"),
        ({"device": "tpu"}, InputError, "auto, cpu, cuda"),
        ({"candidates": [Configuration.of("other", {})]}, UnknownNameError, "not searched here"),
        ({"table": [Configuration.of("other", {})]}, UnknownNameError, "not searched here"),
        ({"candidates": [Configuration.of("bowl", {"x": 2.0, "y": 0.0})]}, OutOfRangeError, "'x' lies in"),
    ],
)
def test_what_cannot_be_searched_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        transfer(**options)


def test_no_space_or_one_learner_twice_is_refused():
    for spaces in ([], [BOWL, BOWL]):
        with pytest.raises(InputError, match="one search space per learner"):
            Transfer(BowlPrior(), spaces, seed=0, device="cpu")


def test_the_fixed_pool_is_large_keeps_the_known_and_gives_every_space_its_share(space):
    pool = make_fixed_pool([BOWL, space], grid(), seed=1)
    assert len(pool) >= N_FIXED
    assert len({each.id for each in pool}) == len(pool)
    assert {each.id for each in grid()} <= {each.id for each in pool}
    assert sum(each.learner == "toy" for each in pool) >= 0.4 * N_FIXED
    assert pool == make_fixed_pool([BOWL, space], grid(), seed=1)


def test_a_small_space_is_a_small_pool():
    coin = SearchSpace("coin", 1, (Categorical("side", ("heads", "tails"), "heads"),))
    assert len(make_fixed_pool([coin], [], seed=0)) == 2


def test_the_trust_region_grows_after_successes_and_shrinks_after_failures():
    assert compute_trust_region_side([3, 2, 1], 2) > START_SIDE
    assert compute_trust_region_side([1, 2, 3, 4, 5], 2) < START_SIDE
    assert compute_trust_region_side([1, *range(2, 9)], 20) == START_SIDE
    sides = [compute_trust_region_side([1] * n, 2) for n in range(1, 60)]
    assert min(sides) >= SMALLEST_SIDE
    assert sides.count(START_SIDE) > 5


def test_trust_region_points_lie_within_half_a_side_and_change_only_some_axes(space, rng):
    incumbent = space.configuration({"rate": 0.03, "depth": 7, "penalty": 0.3})
    points = sample_trust_region(space, incumbent, 0.2, 300, known={incumbent.id}, rng=rng)
    assert len(points) > 100
    assert incumbent.id not in {each.id for each in points}
    moved = np.abs(space.to_unit(points)[:, 0] - space.to_unit([incumbent])[0, 0])
    assert moved.max() <= 0.1 + 1e-6
    assert (moved < 1e-6).any()
    assert {each.values["kind"] for each in points} == {"plain", "wavy"}


def test_trials_of_an_older_version_of_the_space_are_told_as_ones_of_this_version():
    flat = SearchSpace("bowl", 0, (BOWL.hyperparameters[0], Float("gone", 0.0, 1.0, 0.5)))
    old_way, new_way = transfer(), transfer()
    for configuration in flat.from_unit(np.random.default_rng(1).random((4, 2))):
        old_way.tell(Observation(configuration=configuration, loss=10.0))
        new_way.tell(Observation(configuration=BOWL.upgraded(configuration), loss=10.0))
    assert old_way.ask() == new_way.ask()


def test_a_learner_without_an_iteration_axis_is_not_stopped_early():
    search = Transfer(BowlPrior(), [BOWL], stopped_early=["bowl"], seed=0, device="cpu")
    search.tell(Observation(configuration=BOWL.default, loss=10.0))
    assert search.ask().configuration != BOWL.default
