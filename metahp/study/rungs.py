"""The way of a study over its rungs: where it begins, which one comes next, and what is left where one has no trial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from metahp.core.trial import Trial
from metahp.study.growth import Growing, Rung
from metahp.study.progress import Outlook
from metahp.study.request import Budget
from metahp.study.trials import NoCompleteTrialError, StudyTrials


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """What a study has on a rung.

    Attributes:
        best: The best complete trial.
        ended: Why no more trials were run there.
        trials: All trials of the rung, those of earlier runs included.
        outlook: What more time is expected to bring; None where that is not known.
    """

    best: Trial
    ended: str
    trials: StudyTrials
    outlook: Outlook | None = None


def climb_rungs(
    rungs: Sequence[Rung],
    logs: Sequence[StudyTrials],
    budget: Budget,
    growing: Growing,
    run: Callable[[int, Budget, Stage | None], Stage],
    estimate_reserve: Callable[[StudyTrials], float],
) -> Stage:
    """The highest rung with a complete trial, after the time or the trials of a study.

    It begins where an earlier run has ended: what was measured on more rows is not measured anew on fewer.

    Args:
        rungs: The stages, the last one with all rows.
        logs: The trials of each rung.
        budget: The limits of the study.
        growing: Goes along from rung to rung.
        run: Runs the trials of the rung in this place within a budget; its third argument is the rung below, None for
            the first one that is run.
        estimate_reserve: Seconds of the time limit to keep for what follows, as far as the trials of a rung tell.

    Raises:
        NoCompleteTrialError, KeyboardInterrupt: before any rung had a complete trial.
    """
    place = _find_first(rungs, logs, budget)
    for rung, log in zip(rungs[:place], logs, strict=False):
        growing.rise(rung.n_rows / rungs[-1].n_rows)
        for observation in log.list_observations():
            growing.tell(observation)
    stage: Stage | None = None
    until, last_place = rungs[place].until, -1
    while True:
        if place != last_place:
            growing.rise(rungs[place].n_rows / rungs[-1].n_rows)
        try:
            stage = run(place, _limit(rungs, logs, budget, place, until), stage)
        except (NoCompleteTrialError, KeyboardInterrupt) as error:
            if stage is None:
                raise
            # A model on fewer rows is better than none.
            return replace(stage, ended="interrupted" if isinstance(error, KeyboardInterrupt) else "timeout")
        if stage.ended == "interrupted" or until >= 1.0:
            return stage
        seconds_left = budget.seconds_left - estimate_reserve(stage.trials)
        seconds_per_row = (stage.best.fit_seconds + stage.best.predict_seconds) / rungs[place].n_rows
        last_place = place
        place, until = _choose_next(rungs, logs, budget, place, seconds_left / max(seconds_per_row, 1e-12))


def _find_first(rungs: Sequence[Rung], logs: Sequence[StudyTrials], budget: Budget) -> int:
    """The highest rung with a complete trial of an earlier run; without one, the first that may have trials."""
    known = [place for place, log in enumerate(logs) if log.has_best]
    return known[-1] if known else _list_open(rungs, logs, budget, 0)[0]


def _choose_next(
    rungs: Sequence[Rung], logs: Sequence[StudyTrials], budget: Budget, place: int, most_rows: float
) -> tuple[int, float]:
    """The next rung and when it ends, as a share of the time; the present one where no trial above ends in time.

    It is the next one whose time is not over. Where a trial on its rows would take too long, it is the largest one
    below it that does not, for all the time that is left.

    Args:
        rungs: The stages.
        logs: The trials of each rung.
        budget: The limits of the study.
        place: The present rung.
        most_rows: Rows on which a trial ends in the time that is left.
    """
    later = _list_open(rungs, logs, budget, place + 1)
    planned = next((i for i in later if rungs[i].until >= 1.0 or budget.make_part(rungs[i].until).seconds_left > 0), -1)
    within = [i for i in later if i <= planned and rungs[i].n_rows <= most_rows]
    if not within:
        return place, 1.0
    return within[-1], rungs[planned].until if within[-1] == planned else 1.0


def _list_open(rungs: Sequence[Rung], logs: Sequence[StudyTrials], budget: Budget, first: int) -> list[int]:
    """The rungs from `first` on that may have a trial; the last one is among them."""
    counts = [_count_trials(logs, budget, place, rungs[place].until) for place in range(len(rungs))]
    return [place for place in range(first, len(rungs)) if counts[place] > 0 or place == len(rungs) - 1]


def _count_trials(logs: Sequence[StudyTrials], budget: Budget, place: int, until: float) -> int:
    """How many trials a rung may have: together with those below, as large a share of all as it has of the time."""
    return int(until * budget.trials) - sum(log.n_trials for log in logs[:place])


def _limit(rungs: Sequence[Rung], logs: Sequence[StudyTrials], budget: Budget, place: int, until: float) -> Budget:
    """The budget of a rung that ends after the share `until` of the time."""
    if len(rungs) == 1:
        return budget
    part = budget if until >= 1.0 else budget.make_part(until)
    return part.limit_trials(max(1, _count_trials(logs, budget, place, until)))
