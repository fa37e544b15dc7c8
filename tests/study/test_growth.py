"""Growing samples of a large table: which rungs a study has, and what goes from one to the next."""

import math
from itertools import pairwise

import pytest

from builders import BOWL_SPACE
from metahp.core.configuration import Configuration
from metahp.core.task import Task, TaskType
from metahp.core.trial import Origin, Protocol
from metahp.refinement.strategy import Observation, Suggestion
from metahp.study.growth import FACTOR, FEWEST_ROWS, N_PROMOTED, Growing, Rung, name_rung, plan_rungs


def make_task(n_rows: int, n_features: int = 30, n_classes: int = 2) -> Task:
    kind = TaskType.BINARY if n_classes == 2 else TaskType.MULTICLASS if n_classes else TaskType.REGRESSION
    return Task(id="t", type=kind, n_rows=n_rows, n_features=n_features, n_classes=n_classes, name="t")


LARGE = Protocol(folds=3, max_rows=10**7)


def test_without_a_limit_there_is_one_rung_however_large_the_table_is() -> None:
    assert plan_rungs(make_task(10**6), LARGE, None) == (Rung(10**6, 1.0),)


@pytest.mark.parametrize("n_rows", [1, 50, 1_000, 2 * FEWEST_ROWS - 1])
@pytest.mark.parametrize("timeout", [1e-6, 1.0, 1e6])
def test_a_small_table_has_one_rung_whatever_the_limit_is(n_rows: int, timeout: float) -> None:
    assert plan_rungs(make_task(n_rows), LARGE, timeout) == (Rung(n_rows, 1.0),)


@pytest.mark.parametrize("n_rows", [30_000, 100_000, 1_000_000])
@pytest.mark.parametrize("n_classes", [0, 2, 10])
@pytest.mark.parametrize("timeout", [1e-3, 10.0, 60.0, 3600.0, 1e6])
def test_rungs_have_more_and_more_rows_and_end_with_all(n_rows: int, n_classes: int, timeout: float) -> None:
    rungs = plan_rungs(make_task(n_rows, n_classes=n_classes), LARGE, timeout)
    counts, ends = [rung.n_rows for rung in rungs], [rung.until for rung in rungs]
    assert (counts[-1], ends[-1]) == (n_rows, 1.0)
    assert all(after > before for before, after in pairwise(counts))
    assert all(after == FACTOR * before for before, after in pairwise(counts[:-1]))
    assert ends == sorted(set(ends))
    assert len(rungs) == 1 or counts[0] >= FEWEST_ROWS


def test_more_time_fewer_folds_and_fewer_features_begin_on_more_rows() -> None:
    task = make_task(10**6)
    first = plan_rungs(task, LARGE, 60.0)[0].n_rows
    assert plan_rungs(task, LARGE, 6.0)[0].n_rows < first
    assert plan_rungs(task, Protocol(folds=10, max_rows=10**7), 60.0)[0].n_rows < first
    assert plan_rungs(make_task(10**6, n_classes=8), LARGE, 60.0)[0].n_rows < first
    assert plan_rungs(make_task(10**6, n_features=3), LARGE, 60.0)[0].n_rows > first
    assert len(plan_rungs(task, LARGE, 1e5)) == 1


def test_the_last_rung_has_the_rows_that_the_protocol_uses() -> None:
    rungs = plan_rungs(make_task(10**6), Protocol(folds=3, max_rows=50_000), 5.0)
    assert len(rungs) > 1
    assert rungs[-1].n_rows == 50_000
    assert name_rung(rungs[0], rungs) == f"{rungs[0].n_rows:,} of 50,000 rows"
    assert name_rung(rungs[-1], rungs[-1:]) == ""


DEPTHS = [BOWL_SPACE.configuration({"depth": depth}) for depth in range(1, 15)]


class Scripted:
    """A strategy that asks for what is left of a list, and remembers what it is told."""

    def __init__(self, left: list[Configuration]) -> None:
        self.left = list(left)
        self.told: list[Observation] = []

    def ask(self) -> Suggestion | None:
        return Suggestion(self.left.pop(0), Origin.SURROGATE) if self.left else None

    def tell(self, observation: Observation) -> None:
        self.told.append(observation)


def make_growing(left: list[Configuration]) -> tuple[Growing, Scripted]:
    growing, scripted = Growing(), Scripted(left)
    growing.strategy = scripted
    return growing, scripted


def run(growing: Growing, losses: list[float], seconds: float = 1.0) -> list[Suggestion]:
    asked = []
    for loss in losses:
        suggestion = growing.ask()
        asked.append(suggestion)
        growing.tell(Observation(configuration=suggestion.configuration, loss=loss, seconds=seconds))
    return asked


LOSSES = [0.5, 0.1, math.inf, 0.3, 0.2, 0.4]


def test_the_best_of_a_rung_are_the_first_of_the_next_one_with_their_origins() -> None:
    growing, _ = make_growing(DEPTHS)
    growing.rise(0.25)
    low = run(growing, LOSSES)
    assert [each.configuration for each in low] == DEPTHS[:6]
    growing.rise(1.0)
    high = run(growing, [0.3] * (N_PROMOTED + 1))
    assert high == [low[1], low[4], low[3], low[5], Suggestion(DEPTHS[6], Origin.SURROGATE)]


def test_a_run_that_was_stopped_early_is_run_again_as_it_was_asked_for() -> None:
    growing, _ = make_growing(DEPTHS)
    growing.rise(0.25)
    asked = growing.ask().configuration
    growing.tell(Observation(configuration=asked.replaced(depth=20), loss=0.2, run=asked))
    growing.rise(1.0)
    assert growing.ask() == Suggestion(asked, Origin.SURROGATE)


def test_losses_of_the_rung_below_are_moved_by_the_mean_difference() -> None:
    growing, scripted = make_growing(DEPTHS)
    growing.rise(0.25)
    run(growing, LOSSES)
    growing.rise(1.0)
    scripted.told.clear()
    # The best, which had 0.1; then the second, which had 0.2.
    run(growing, [0.05])
    assert scripted.told[0] == Observation(configuration=DEPTHS[1], loss=0.05, seconds=1.0)
    moved = {told.configuration: told for told in scripted.told[1:]}
    # Not the failed one, and not those of this rung.
    assert set(moved) == {DEPTHS[i] for i in (0, 3, 4, 5)}
    assert moved[DEPTHS[0]].loss == pytest.approx(0.45)
    scripted.told.clear()
    run(growing, [0.05])
    moved = {told.configuration: told for told in scripted.told[1:]}
    assert set(moved) == {DEPTHS[i] for i in (0, 3, 5)}
    assert moved[DEPTHS[0]].loss == pytest.approx(0.5 - (0.05 + 0.15) / 2)
    # Their seconds are of fewer rows, and were told already.
    assert all(math.isnan(told.seconds) for told in moved.values())


def test_what_was_not_tried_below_moves_nothing() -> None:
    growing, scripted = make_growing(DEPTHS)
    growing.rise(0.25)
    run(growing, [0.3, 0.2])
    growing.rise(1.0)
    scripted.told.clear()
    growing.tell(Observation(configuration=DEPTHS[9], loss=0.1))
    growing.tell(Observation(configuration=DEPTHS[1], loss=math.inf))
    assert [told.configuration for told in scripted.told] == [DEPTHS[9], DEPTHS[1]]


def test_seconds_are_told_as_if_all_rows_had_been_used() -> None:
    growing, scripted = make_growing(DEPTHS)
    growing.rise(0.25)
    run(growing, [0.3], seconds=2.0)
    growing.rise(1.0)
    run(growing, [0.3], seconds=7.0)
    assert [told.seconds for told in scripted.told] == [8.0, 7.0]


def test_a_promoted_configuration_that_is_known_on_this_rung_is_not_asked_for() -> None:
    growing, _ = make_growing(DEPTHS)
    growing.rise(0.25)
    run(growing, [0.1, 0.2])
    growing.rise(1.0)
    # Of an earlier call.
    growing.tell(Observation(configuration=DEPTHS[0], loss=0.1))
    assert [growing.ask().configuration for _ in range(2)] == [DEPTHS[1], DEPTHS[2]]


def test_a_rung_without_a_loss_promotes_nothing() -> None:
    growing, _ = make_growing(DEPTHS)
    growing.rise(0.25)
    run(growing, [math.inf, math.inf])
    growing.rise(1.0)
    assert growing.ask().configuration == DEPTHS[2]


def test_it_is_out_of_time_where_its_strategy_is() -> None:
    growing, scripted = make_growing([])
    assert not growing.is_out_of_time
    scripted.is_out_of_time = True
    assert growing.is_out_of_time
