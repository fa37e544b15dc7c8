"""The loop of every search: what ends it, what is on record before what, and what a strategy is told."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from builders import BOWL_SPACE, bowl, make_trial, tune_bowl
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.space import Categorical, SearchSpace
from metahp.core.task import TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.evaluation.backend import InTurn, Outcome
from metahp.evaluation.lookup import Lookup
from metahp.evaluation.threads import ObjectiveThreads
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import find_learner
from metahp.refinement.strategies import make_named_strategy
from metahp.refinement.strategy import Observation, Suggestion
from metahp.study.loop import MemoryLog, observe, observe_outcome, run_search
from metahp.study.objective import PROTOCOL, make_metric, make_task
from metahp.study.request import Budget
from metahp.study.trials import StudyTrials

DEPTHS = [BOWL_SPACE.configuration({"depth": depth}) for depth in (3, 7, 10, 12, 20)]
TABLE = {configuration: (-bowl(configuration.values),) for configuration in DEPTHS}


class InOrder:
    """A strategy that asks for configurations in the order given, and remembers what it is told."""

    def __init__(self, configurations: list[Configuration]) -> None:
        self.told: list[Observation] = []
        self._left = list(configurations)

    def ask(self) -> Suggestion | None:
        return Suggestion(self._left.pop(0), Origin.DESIGN) if self._left else None

    def tell(self, observation: Observation) -> None:
        self.told.append(observation)


def look_up(budget: Budget, log: MemoryLog, configurations: list[Configuration] = DEPTHS) -> tuple[str, InOrder]:
    """Why a search of the table ended, and its strategy."""
    strategy = InOrder(configurations)
    backend = Lookup(TABLE, metric="score")
    return run_search(strategy, backend, log, budget, make_job=lambda suggestion: suggestion), strategy


@pytest.mark.parametrize(
    ("budget", "ended", "n_trials"),
    [
        (Budget(trials=3), "trials", 3),
        (Budget(trials=9), "exhausted", 5),
        # The third is the best one.
        (Budget(trials=9, patience=1), "patience", 4),
        # The first trial runs whatever the limit is, so that there is a result.
        (Budget(trials=9, timeout=1e-9), "timeout", 1),
    ],
)
def test_a_search_ends_where_its_budget_does(budget: Budget, ended: str, n_trials: int) -> None:
    log = MemoryLog("score", [BOWL_SPACE])
    assert look_up(budget, log)[0] == ended
    assert [trial.configuration for trial in log.trials] == DEPTHS[:n_trials]


def test_a_search_goes_on_from_the_trials_that_it_is_given() -> None:
    first = MemoryLog("score", [BOWL_SPACE])
    look_up(Budget(trials=2), first)
    recorded = []
    second = MemoryLog("score", [BOWL_SPACE], first.trials, recorded.append)
    ended, strategy = look_up(Budget(trials=4), second, DEPTHS[2:])
    assert (ended, second.n_trials, recorded) == ("trials", 4, second.trials[2:])
    assert [told.configuration for told in strategy.told] == DEPTHS[:4]
    assert [told.loss for told in strategy.told] == [TABLE[each][0] for each in DEPTHS[:4]]


def test_a_trial_is_on_record_before_the_strategy_is_told_and_the_next_one_starts() -> None:
    events: list[str] = []

    class Told(InOrder):
        def tell(self, observation: Observation) -> None:
            events.append("told")

    def evaluate(suggestion: Suggestion) -> Outcome:
        events.append("run")
        return Outcome(make_trial(0.5, 0.5, metric="score", configuration=suggestion.configuration))

    log = MemoryLog("score", [BOWL_SPACE], record=lambda trial: events.append("recorded"))
    run_search(
        Told(DEPTHS),
        InTurn(evaluate),
        log,
        Budget(trials=2),
        make_job=lambda suggestion: suggestion,
        on_trial=lambda trial: events.append("shown"),
    )
    assert events == ["run", "recorded", "told", "shown"] * 2


def test_what_the_table_does_not_have_is_an_error() -> None:
    with pytest.raises(InputError, match="The table has no losses of"):
        look_up(Budget(trials=3), MemoryLog("score", [BOWL_SPACE]), [BOWL_SPACE.default])


def test_every_trial_is_in_the_knowledge_base_before_the_next_one_starts(base: KnowledgeBase) -> None:
    seen = []

    def objective(values: dict) -> float:
        seen.append(len(base.trials()))
        return bowl(values)

    tune_bowl(base, function=objective, trials=6)
    assert seen == list(range(6))


def test_an_interrupt_ends_with_what_was_found(base: KnowledgeBase) -> None:
    calls = []

    def objective(values: dict) -> float:
        calls.append(values)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return bowl(values)

    result = tune_bowl(base, function=objective, trials=9)
    assert (result.ended, len(result.trials), len(base.trials())) == ("interrupted", 3, 3)


def test_an_interrupt_before_any_trial_is_complete_is_passed_on(base: KnowledgeBase) -> None:
    def objective(values: dict) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_bowl(base, function=objective, trials=9)


def test_patience_ends_on_a_plateau(base: KnowledgeBase) -> None:
    result = tune_bowl(base, function=lambda values: 1.0, trials=50, patience=4)
    assert (result.ended, len(result.trials)) == ("patience", 5)


def test_the_time_limit_abandons_what_still_runs(base: KnowledgeBase) -> None:
    release = threading.Event()

    def objective(values: dict) -> float:
        if values != BOWL_SPACE.default.values:
            release.wait(30)
        return 1.0

    metric = make_metric(None, "maximize")
    task = make_task("slow", {}, metric)
    trials = StudyTrials(
        task.id, PROTOCOL, metric, [BOWL_SPACE], base=base, recorded=base.trials(task=task.id), folder=None
    )
    strategy = make_named_strategy(
        "random", [BOWL_SPACE], seed=0, warm=[Suggestion(BOWL_SPACE.default, Origin.DEFAULT)]
    )
    try:
        with ObjectiveThreads(
            objective, BOWL_SPACE, task=task.id, protocol=PROTOCOL, metric=metric, n_jobs=2
        ) as backend:
            ended = run_search(strategy, backend, trials, Budget(trials=9, timeout=1.0), make_job=lambda each: each)
    finally:
        release.set()
    assert (ended, trials.n_trials, len(base.trials())) == ("timeout", 1, 1)


def test_a_grid_that_is_exhausted_ends_the_run(base: KnowledgeBase) -> None:
    space = SearchSpace("two", 1, (Categorical("kind", ("a", "b"), "a"),))
    result = tune_bowl(base, function=lambda values: 1.0, space=space, trials=9, strategy="grid")
    assert (result.ended, len(result.trials)) == ("exhausted", 2)


def test_a_strategy_is_told_a_loss_and_its_noise() -> None:
    complete = observe(make_trial(0.2, 0.4), "roc_auc", BOWL_SPACE)
    assert (complete.loss, complete.noise) == (pytest.approx(0.3), pytest.approx(0.1))
    pruned = make_trial(0.6, protocol=PROTOCOL, state=TrialState.PRUNED, reason="pruned")
    assert observe(pruned, "roc_auc", BOWL_SPACE).loss == 0.6
    assert np.isnan(observe(pruned, "roc_auc", BOWL_SPACE).noise)
    for failed in (make_trial(), make_trial(np.nan, 0.2)):
        assert observe(failed, "roc_auc", BOWL_SPACE).loss == np.inf


def test_a_pruned_trial_counts_by_its_distance_from_the_best_one_on_the_same_folds() -> None:
    protocol = Protocol(folds=3)
    configurations = iter(DEPTHS)

    def trial(*losses: float, state: TrialState = TrialState.COMPLETE) -> Trial:
        return make_trial(
            *losses, configuration=next(configurations), protocol=protocol, state=state, metric="score", reason="r"
        )

    # The first fold is easy: on it the pruned trial is worse than the best one, though its mean is lower.
    trials = [trial(0.1, 0.6, 0.5), trial(0.2, state=TrialState.PRUNED), trial(0.0, 0.1, 0.2)]
    trials.append(trial(0.2, 0.3, state=TrialState.PRUNED))
    told = [0.4, 0.5, 0.1, 0.3]
    # Also where the pruned one came first: nothing better is known.
    early = MemoryLog("score", [BOWL_SPACE], trials[1:2])
    assert [each.loss for each in early.list_observations()] == [0.2]
    log = MemoryLog("score", [BOWL_SPACE])
    assert [log.add(Outcome(each)).loss for each in trials] == pytest.approx(told)
    assert [each.loss for each in log.list_observations()] == pytest.approx(told)


def test_a_strategy_is_told_what_was_run_where_early_stopping_kept_less() -> None:
    space = find_learner("lightgbm").space(TaskType.BINARY)
    run = space.configuration({"n_estimators": 200})
    kept = space.with_iterations(run, 80)
    curve = Curve((80, 200), {"roc_auc": (0.3, 0.4)})
    told = observe(make_trial(0.3, 0.3, configuration=kept, curve=curve), "roc_auc", space)
    assert (told.configuration, told.asked) == (kept, run)
    assert observe(make_trial(0.3, 0.3, configuration=run, curve=curve), "roc_auc", space).run is None


def test_past_its_limit_a_search_goes_on_until_a_trial_has_a_loss() -> None:
    values = {**TABLE, DEPTHS[0]: (float("nan"),), DEPTHS[1]: (float("nan"),)}
    log = MemoryLog("score", [BOWL_SPACE])
    backend = Lookup(values, metric="score")
    ended = run_search(InOrder(DEPTHS), backend, log, Budget(trials=9, timeout=1e-9), make_job=lambda each: each)
    assert (ended, log.n_trials, log.has_best) == ("timeout", 3, True)


def test_the_reserve_of_a_limit_ends_the_search() -> None:
    log = MemoryLog("score", [BOWL_SPACE])
    ended = run_search(
        InOrder(DEPTHS),
        Lookup(TABLE, metric="score"),
        log,
        Budget(trials=9, timeout=1e6),
        make_job=lambda each: each,
        estimate_reserve=lambda: 1e6 if log.n_trials == 2 else 0.0,
    )
    assert (ended, log.n_trials) == ("timeout", 2)


class Delayed:
    """A backend of two trials side by side, which end when they are waited for, once the time of a budget is up.

    Without losses its trials never end.
    """

    n_jobs = 2

    def __init__(self, losses: list[float], until: Budget) -> None:
        self._losses = list(losses)
        self._until = until
        self._running: list[Suggestion] = []
        self.timeouts: list[float | None] = []

    @property
    def n_pending(self) -> int:
        return len(self._running)

    def submit(self, suggestion: Suggestion) -> None:
        self._running.append(suggestion)

    def await_outcome(self, timeout: float | None = None) -> Outcome | None:
        self.timeouts.append(timeout)
        if timeout == 0.0 or not self._losses:
            return None
        while self._until.seconds_left > 0:
            pass
        suggestion = self._running.pop(0)
        losses = (self._losses.pop(0),) * 2
        return Outcome(make_trial(*losses, metric="score", configuration=suggestion.configuration), seconds=1.5)


def search_part(losses: list[float], log: MemoryLog) -> tuple[str, Delayed]:
    """Why a search ended that has a short part of a long time, and its backend."""
    whole = Budget(trials=99, timeout=1000.0)
    part = whole.make_part(0.05 / 1000.0)
    backend = Delayed(losses, part)
    return run_search(InOrder(DEPTHS), backend, log, part, make_job=lambda each: each, whole=whole), backend


def test_after_the_time_of_a_part_nothing_begins_and_what_runs_may_end() -> None:
    log = MemoryLog("score", [BOWL_SPACE])
    ended, backend = search_part([0.3, 0.2], log)
    assert ended == "timeout"
    assert [trial.loss("score") for trial in log.trials] == [0.3, 0.2]
    assert backend.n_pending == 0
    # The second trial has the time of the whole.
    assert 900 < backend.timeouts[-1] < 1000


def test_what_follows_the_search_is_kept_from_the_whole_time_and_not_from_a_part_of_it() -> None:
    whole, log = Budget(trials=4, timeout=1000.0), MemoryLog("score", [BOWL_SPACE])
    for seconds, n_trials in ((900.0, 4), (2000.0, 1)):
        log.trials.clear()
        run_search(
            InOrder(DEPTHS),
            Lookup(TABLE, metric="score"),
            log,
            whole.make_part(0.5),
            make_job=lambda each: each,
            estimate_reserve=lambda seconds=seconds: seconds,
            whole=whole,
        )
        # The part ends after 500 seconds, of which the reserve takes none.
        assert log.n_trials == n_trials


def test_what_runs_longer_than_the_whole_time_is_lost_in_a_part_too() -> None:
    log = MemoryLog("score", [BOWL_SPACE])
    log.trials.append(make_trial(0.3, 0.3, metric="score", configuration=DEPTHS[4]))
    ended, backend = search_part([], log)
    assert (ended, log.n_trials, backend.n_pending) == ("timeout", 1, 2)


@pytest.mark.parametrize("is_patient", [True, False])
def test_only_a_patient_search_waits_past_its_limit_for_a_trial_with_a_loss(is_patient: bool) -> None:
    nan = float("nan")
    values = {**TABLE, DEPTHS[0]: (nan,), DEPTHS[1]: (nan,)}
    log = MemoryLog("score", [BOWL_SPACE])
    ended = run_search(
        InOrder(DEPTHS),
        Lookup(values, metric="score"),
        log,
        Budget(trials=9, timeout=1e-9),
        make_job=lambda each: each,
        is_patient=is_patient,
    )
    assert ended == "timeout"
    assert (log.n_trials, log.has_best) == ((3, True) if is_patient else (0, False))


def test_a_search_that_is_not_patient_leaves_what_runs() -> None:
    log, budget = MemoryLog("score", [BOWL_SPACE]), Budget(trials=9, timeout=0.05)
    backend = Delayed([], budget)
    ended = run_search(InOrder(DEPTHS), backend, log, budget, make_job=lambda each: each, is_patient=False)
    assert (ended, log.n_trials, backend.n_pending) == ("timeout", 0, 2)
    assert all(timeout is not None and timeout <= 0.05 for timeout in backend.timeouts)


def test_a_part_of_a_budget_has_the_same_clock() -> None:
    whole = Budget(trials=7, timeout=100.0, patience=3)
    part = whole.make_part(0.25)
    assert (part.timeout, part.trials, part.patience) == (25.0, 7, 3)
    assert whole.seconds_left - part.seconds_left == pytest.approx(75.0, abs=0.01)
    assert part.seconds_spent == pytest.approx(whole.seconds_spent, abs=0.01)


def test_a_strategy_is_told_the_seconds_of_complete_trials_alone() -> None:
    complete = make_trial(0.3, 0.3, metric="score")
    assert observe_outcome(Outcome(complete, seconds=2.5), "score", BOWL_SPACE).seconds == 2.5
    pruned = replace(complete, fold_losses={"score": (0.3,)}, state=TrialState.PRUNED, reason="pruned")
    for other in (pruned, make_trial(metric="score")):
        assert np.isnan(observe_outcome(Outcome(other, seconds=2.5), "score", BOWL_SPACE).seconds)
    assert np.isnan(observe_outcome(Outcome(complete), "score", BOWL_SPACE).seconds)
    assert np.isnan(observe(complete, "score", BOWL_SPACE).seconds)
