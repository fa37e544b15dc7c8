"""One run of a study: from the trials so far to the best one, whatever ends it."""

import math
from collections.abc import Callable

import numpy as np

from metahp.core.trial import Trial
from metahp.evaluation.backend import Backend, JobT
from metahp.evaluation.countdown import Countdown
from metahp.evaluation.interrupts import Held
from metahp.evaluation.processes import count_cores
from metahp.refinement.strategy import Strategy, Suggestion
from metahp.study.loop import run_search
from metahp.study.outlook import OutlookKeeper
from metahp.study.progress import Outlook, Progress
from metahp.study.request import Budget, Request
from metahp.study.trials import WARM, StudyTrials


def run_study(
    request: Request,
    trials: StudyTrials,
    strategy: Strategy,
    backend: Backend[JobT],
    make_job: Callable[[Suggestion], JobT],
    held: Held,
    *,
    hint: str,
    stage: str = "",
    estimate_reserve: Callable[[], float] = lambda: 0.0,
    is_patient: bool = True,
    part: Budget | None = None,
) -> tuple[Trial, str, Outlook | None]:
    """Run to the end: the best complete trial, why the run ended, and what more time is expected to bring.

    A signal ends the run at once; before and after it, signals are `held`.

    Args:
        request: What was asked for.
        trials: The trials so far; new ones are added.
        strategy: Chooses.
        backend: Evaluates.
        make_job: What the backend is given for a suggestion.
        held: Holds signals back around the run.
        hint: What to try where no trial is complete, for the message.
        stage: Which rows trials use, in words, where it is not all of them from the start.
        estimate_reserve: Seconds of the time limit to keep for what comes after the run, as far as is known.
        is_patient: Whether the time limit waits for a trial with a loss.
        part: A part of the request's budget, with fewer trials or less time, after which none begins; None for all.

    Raises:
        NoCompleteTrialError: no trial is complete; the message has the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete.
    """
    budget = part or request.budget
    # The trials of the part, and the clock of the whole.
    shown = request.budget.limit_trials(budget.trials)
    keeper = OutlookKeeper(strategy, trials, shown)
    outlook: Outlook | None = None
    try:
        with held.release_signals():
            clock = Countdown(math.inf)

            def show(trial: Trial | None) -> None:
                nonlocal outlook
                if trial is not None:
                    keeper.note_trial()
                    outlook = keeper.look()
                request.on_trial(find_progress(trials, trial, shown, clock, outlook, stage=stage))

            show(None)
            ended = run_search(
                strategy,
                backend,
                trials,
                budget,
                make_job=make_job,
                on_trial=show,
                estimate_reserve=estimate_reserve,
                is_patient=is_patient,
                whole=None if budget.timeout == request.budget.timeout else request.budget,
                n_free_cores=count_cores() - request.n_jobs,
                is_flat=keeper.is_flat,
            )
        if ended == "exhausted" and getattr(strategy, "is_out_of_time", False):
            ended = "timeout"
    except KeyboardInterrupt:
        ended = "interrupted"
    best = trials.find_best()
    if best is None and ended == "interrupted":
        raise KeyboardInterrupt
    if best is None:
        raise trials.explain_failure(hint)
    return best, ended, outlook


def find_progress(
    trials: StudyTrials,
    last: Trial | None,
    budget: Budget,
    clock: Countdown,
    outlook: Outlook | None = None,
    *,
    stage: str = "",
) -> Progress:
    """How far a study has come with the trial `last`; `clock` runs since this run asked for its first trial."""
    best = trials.find_best()
    default = trials.find_best_default()
    warm = trials.find_best(lambda trial: trial.origin in WARM)
    n_new, n_missing = trials.n_trials - trials.n_earlier, max(0, budget.trials - trials.n_trials)
    seconds_left = clock.measure_spent() / n_new * n_missing if n_new else math.nan
    if budget.timeout is not None:
        # The smaller one, or the one that is known.
        seconds_left = float(np.fmin(seconds_left, max(0.0, budget.seconds_left)))
    name, score = trials.metric.name, trials.metric.score
    return Progress(
        trial=last,
        metric=trials.metric,
        n_done=trials.n_trials,
        n_trials=budget.trials,
        n_earlier=trials.n_earlier,
        best=best,
        best_number=trials.find_number(best) if best else 0,
        default_score=score(default.loss(name)) if default else math.nan,
        warm_score=score(warm.loss(name)) if warm else math.nan,
        seconds_left=seconds_left,
        outlook=outlook,
        stage=stage,
    )
