"""The way of a study over rungs: by itself with made-up trials, and of a small table as if it were a large one."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metahp
from builders import BOWL_SPACE, make_trial
from metahp.core.metric import METRICS
from metahp.core.trial import Origin, Protocol, Trial
from metahp.evaluation import countdown
from metahp.evaluation.backend import Outcome
from metahp.knowledge.store import KnowledgeBase
from metahp.refinement.strategy import Observation
from metahp.study import growth
from metahp.study.growth import Growing, Rung, plan_rungs
from metahp.study.progress import Progress
from metahp.study.request import Budget
from metahp.study.rungs import Stage, climb_rungs
from metahp.study.trials import Storage, StudyTrials

METRIC = METRICS["roc_auc"]
RUNGS = (Rung(100, 0.3), Rung(400, 0.6), Rung(1000, 1.0))


def make_protocol(rung: Rung) -> Protocol:
    return Protocol(folds=2, max_rows=rung.n_rows)


def make_rung_trial(rung: Rung, number: int, loss: float, seconds: float = 0.1) -> Trial:
    return make_trial(
        *((loss, loss) if math.isfinite(loss) else ()),
        configuration=BOWL_SPACE.configuration({"rate": 0.001 * (number + 1)}),
        protocol=make_protocol(rung),
        n_rows=rung.n_rows,
        fit_seconds=seconds,
    )


def make_log(rung: Rung, losses: tuple[float, ...] = ()) -> StudyTrials:
    """The trials of a rung, with those of an earlier run."""
    recorded = [make_rung_trial(rung, number, loss) for number, loss in enumerate(losses)]
    return StudyTrials("t", make_protocol(rung), METRIC, [BOWL_SPACE], base=None, recorded=recorded, folder=None)


class Climb:
    """A climb whose trials are made up: on each rung as many as it may have, or as `n_run` says.

    Args:
        budget: Of the study.
        earlier: Losses of an earlier run, by place.
        n_run: How many trials a rung runs at most, by place; -1 for an interrupt.
        seconds_per_row: Of each trial.
        after: Called after each rung with its place.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        earlier: dict[int, tuple[float, ...]] | None = None,
        n_run: dict[int, int] | None = None,
        loss: float = 0.3,
        seconds_per_row: float = 1e-6,
        after: Callable[[int], None] = lambda place: None,
    ) -> None:
        self.logs = [make_log(rung, (earlier or {}).get(place, ())) for place, rung in enumerate(RUNGS)]
        self.visits: list[tuple[int, int, float]] = []
        self.told: list[Observation] = []
        growing = Growing()
        growing.strategy = SimpleNamespace(ask=lambda: None, tell=self.told.append)

        def run(place: int, part: Budget, below: Stage | None) -> Stage:
            log = self.logs[place]
            self.visits.append((place, part.trials, round(part.timeout / budget.timeout, 9)))
            n = (n_run or {}).get(place, 99)
            if n < 0:
                if not log.has_best:
                    raise KeyboardInterrupt
                return Stage(best=log.find_best(), ended="interrupted", trials=log, outlook=None)
            while log.n_trials < part.trials and n > 0 and part.seconds_left > 0:
                trial = make_rung_trial(RUNGS[place], log.n_trials, loss, seconds_per_row * RUNGS[place].n_rows)
                growing.tell(log.add(Outcome(trial)))
                n -= 1
            ended = "trials" if log.n_trials >= part.trials else "timeout"
            after(place)
            if log.find_best() is None:
                raise log.explain_failure("")
            return Stage(best=log.find_best(), ended=ended, trials=log, outlook=None)

        self.climb = lambda: climb_rungs(RUNGS, self.logs, budget, growing, run, lambda log: 0.5)


@pytest.fixture
def skip(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """What moves the clock of budgets on by seconds."""
    skipped = [0.0]
    monkeypatch.setattr(countdown, "time", SimpleNamespace(perf_counter=lambda: time.perf_counter() + skipped[0]))

    def move(seconds: float) -> None:
        skipped[0] += seconds

    return move


LONG = 1000.0


def test_rungs_share_the_trials_as_they_share_the_time() -> None:
    climb = Climb(Budget(trials=20, timeout=LONG))
    stage = climb.climb()
    # The first has the trials up to 0.3 of all, the second up to 0.6, and the last one what is left.
    assert climb.visits == [(0, 6, 0.3), (1, 6, 0.6), (2, 8, 1.0)]
    assert (stage.ended, stage.trials, sum(log.n_trials for log in climb.logs)) == ("trials", climb.logs[2], 20)


@pytest.mark.parametrize(("trials", "visited"), [(1, [2]), (2, [1, 2]), (4, [0, 1, 2])])
def test_of_few_trials_all_rows_have_the_first_one(trials: int, visited: list[int]) -> None:
    climb = Climb(Budget(trials=trials, timeout=LONG))
    assert climb.climb().trials is climb.logs[2]
    assert [place for place, *_ in climb.visits] == visited
    assert sum(log.n_trials for log in climb.logs) == trials


def test_a_second_run_begins_on_the_highest_rung_and_is_told_of_those_below() -> None:
    climb = Climb(Budget(trials=20, timeout=LONG), earlier={0: (0.4, 0.3), 1: (0.2,)})
    climb.climb()
    assert [place for place, *_ in climb.visits] == [1, 2]
    assert sorted(told.loss for told in climb.told[:2]) == [pytest.approx(0.3), pytest.approx(0.4)]
    done = Climb(Budget(trials=4, timeout=LONG), earlier={0: (0.4,), 2: (0.2, 0.3, 0.1)})
    stage = done.climb()
    assert (done.visits, stage.ended) == ([(2, 3, 1.0)], "trials")
    assert stage.best.loss("roc_auc") == pytest.approx(0.1)
    assert [log.n_trials for log in done.logs] == [1, 0, 3]


def test_failed_trials_of_an_earlier_run_are_no_beginning() -> None:
    climb = Climb(Budget(trials=20, timeout=LONG), earlier={0: (0.4,), 1: (math.inf,)})
    climb.climb()
    assert climb.visits[0][0] == 0


def test_a_rung_whose_time_is_over_is_passed_over(skip: Callable[[float], None]) -> None:
    climb = Climb(Budget(trials=20, timeout=LONG), after=lambda place: skip(0.7 * LONG) if place == 0 else None)
    assert climb.climb().trials is climb.logs[2]
    assert [place for place, *_ in climb.visits] == [0, 2]


def test_where_a_trial_above_would_take_too_long_the_rest_of_the_time_is_spent_below() -> None:
    # On 400 rows a trial takes all of the time.
    climb = Climb(Budget(trials=20, timeout=LONG), n_run={0: 3}, seconds_per_row=LONG / 400)
    stage = climb.climb()
    assert (climb.visits, stage.trials) == ([(0, 6, 0.3), (0, 20, 1.0)], climb.logs[0])


def test_where_only_the_last_rung_is_too_large_the_largest_one_below_has_the_rest(
    skip: Callable[[float], None],
) -> None:
    climb = Climb(
        Budget(trials=20, timeout=LONG),
        n_run={0: 3},
        # A trial takes 80 seconds on 400 rows and 200 on 1,000.
        seconds_per_row=0.2,
        after=lambda place: skip(0.85 * LONG) if place == 0 else None,
    )
    assert climb.climb().trials is climb.logs[1]
    assert climb.visits == [(0, 6, 0.3), (1, 17, 1.0)]


@pytest.mark.parametrize("loss", [0.3, math.inf])
def test_a_rung_without_a_complete_trial_leaves_the_result_of_the_one_below(loss: float) -> None:
    climb = Climb(
        Budget(trials=20, timeout=LONG), earlier={0: (0.4,)}, n_run={0: 0, 1: 3 if loss > 1 else 0}, loss=loss
    )
    stage = climb.climb()
    assert (stage.ended, stage.trials, stage.best.n_rows) == ("timeout", climb.logs[0], 100)


def test_without_any_complete_trial_the_reason_is_raised() -> None:
    with pytest.raises(metahp.MetahpError, match=r"None of 6 trials is complete.*it failed"):
        Climb(Budget(trials=20, timeout=LONG), loss=math.inf).climb()


def test_an_interrupt_leaves_what_was_found() -> None:
    for place in (1, 2):
        climb = Climb(Budget(trials=20, timeout=LONG), n_run={place: -1})
        stage = climb.climb()
        assert (stage.ended, stage.trials) == ("interrupted", climb.logs[place - 1])
    with pytest.raises(KeyboardInterrupt):
        Climb(Budget(trials=20, timeout=LONG), n_run={0: -1}).climb()


def test_trials_of_a_task_are_read_before_the_knowledge_base_is_closed(base: KnowledgeBase) -> None:
    trials = [make_rung_trial(rung, number, 0.3) for rung in RUNGS[:2] for number in range(2)]
    base.record(trials)
    with base.take_snapshot() as snapshot:
        storage = Storage(base=base, snapshot=snapshot, directory=None)
        first = storage.open_trials("t", make_protocol(RUNGS[0]), METRIC, [BOWL_SPACE])
        storage.close_snapshot()
        second = storage.open_trials("t", make_protocol(RUNGS[1]), METRIC, [BOWL_SPACE])
    assert [log.n_earlier for log in (first, second)] == [2, 2]


# From here on a small table is tuned as a large one is.

N_ROWS = 1_200


@pytest.fixture(scope="module")
def large() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N_ROWS, 8)), columns=list("abcdefgh"))
    frame["target"] = np.where(frame["a"] + frame["b"] + rng.normal(size=N_ROWS) > 0, "yes", "no")
    return frame


@pytest.fixture(autouse=True)
def slow_rows() -> Iterator[None]:
    """Every row is believed to take long, so that rungs begin with 150 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growth, "SECONDS_PER_CELL", 10.0)
        patch.setattr(growth, "FEWEST_ROWS", 150)
        yield


def tune(frame: pd.DataFrame, output: Path, **options: Any) -> metahp.TuneResult:
    """A search in the result directory alone, which asks no past task."""
    fixed = {"target": "target", "learners": ["linear"], "strategy": "random", "cold": True, "cv": 2}
    return metahp.tune(frame, output=output, record=False, timeout=600, **fixed, **options)


def test_a_table_that_is_large_for_its_limit_begins_on_some_rows_and_ends_on_all(
    large: pd.DataFrame, tmp_path: Path
) -> None:
    task = metahp.load(large, target="target").task
    assert [rung.n_rows for rung in plan_rungs(task, Protocol(folds=2), 600)] == [150, 600, N_ROWS]
    stages: list[str] = []
    with pytest.warns(metahp.MetahpWarning, match=f"the time limit is short for {N_ROWS:,} rows"):
        result = tune(large, tmp_path / "out", trials=7, on_trial=lambda progress: stages.append(progress.stage))
    note = next(line for line in result.warnings if "the time limit is short" in line)
    assert "trials began on fewer: 2 on 150, 2 on 600, 3 on 1,200 rows" in note
    assert "scores are of trials on all rows" in note
    assert {trial.n_rows for trial in result.trials} == {N_ROWS}
    assert {trial.protocol.max_rows for trial in result.trials} != {150}
    assert list(dict.fromkeys(stages)) == [f"{n} of {N_ROWS:,} rows" for n in ("150", "600", "1,200")]
    assert result.ended == "trials"
    # While a study runs, each rung has its best trial so far.
    kept = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("best_so_far.json")]
    assert sorted(each["rows"] for each in kept) == [150, 600, N_ROWS]
    assert len(result.best_estimator_.predict(large)) == N_ROWS
    # The default was among the first, and was tried again on more rows as what it is.
    assert Origin.DEFAULT in {trial.origin for trial in result.trials}
    again = tune(large, tmp_path / "out", trials=9)
    assert again.n_earlier == 3
    assert again.trials[:3] == result.trials
    assert len(again.trials) == 5
    assert any("2 on 150, 2 on 600, 5 on 1,200 rows" in line for line in again.warnings)


def interrupt_at(stage: str, n: int) -> Callable[[Progress], None]:
    """What interrupts a study before its trial `n` + 1 on a stage."""

    def show(progress: Progress) -> None:
        if progress.stage.startswith(stage) and progress.n_done == n:
            raise KeyboardInterrupt

    return show


@pytest.mark.filterwarnings("ignore::metahp.MetahpWarning")
def test_an_interrupt_before_the_first_trial_on_more_rows_still_gives_a_result(
    large: pd.DataFrame, tmp_path: Path
) -> None:
    result = tune(large, tmp_path / "out", trials=7, on_trial=interrupt_at("600", 0))
    assert (result.ended, {trial.n_rows for trial in result.trials}) == ("interrupted", {150})
    assert any("scores are of trials on 150 rows, and the model is fitted on all" in w for w in result.warnings)
    assert len(metahp.load_result(tmp_path / "out").predict(large)) == N_ROWS


def test_an_interrupt_before_the_first_trial_is_passed_on(large: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(large, tmp_path / "out", trials=7, on_trial=interrupt_at("150", 0))
