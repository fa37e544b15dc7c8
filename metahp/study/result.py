"""What a study is about to do, and what it gives back."""

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.statistics import compute_standard_error
from metahp.core.text import format_count, format_number, format_seconds
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.table import Table
from metahp.learners.arguments import show_arguments
from metahp.results.content import make_trials_frame
from metahp.results.model import TunedModel
from metahp.study.ensemble import Ensemble
from metahp.study.outlook import SECONDS
from metahp.study.progress import Outlook
from metahp.study.trials import WARM, StudyTrials

# Origins of trials that the strategy chose by itself.
REFINED = (Origin.POSTERIOR, Origin.DESIGN)
# Trials in a notebook's table.
N_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What a study of a table is about to do.

    Attributes:
        table: The table that is tuned on.
        file: What to call it: the path of its file, or a name.
        metric: What is tuned for.
        protocol: How trials are measured.
        strategy: What chooses the trials after the warm start.
        device: Where the strategy computes, `cpu` or `cuda`; None for a strategy that has no use for one.
        n_trials: How many trials there are to be.
        n_earlier: How many of them there are already.
        n_warm: How many of them come from the warm start.
        n_past_tasks: How many past tasks the warm start rests on.
        n_test_rows: How many rows are set aside for the test.
        is_recorded: Whether trials go to the knowledge base.
        warnings: What a user should know.
        is_learning: Whether defaults are tried while past tasks are asked, as under a time limit: nothing is known of
            the warm start yet.
        fixed: What is fixed in all configurations, in words; empty for nothing.
    """

    table: Table
    file: str
    metric: Metric
    protocol: Protocol
    strategy: str
    device: str | None
    n_trials: int
    n_earlier: int
    n_warm: int
    n_past_tasks: int
    n_test_rows: int
    is_recorded: bool
    warnings: tuple[str, ...]
    is_learning: bool = False
    fixed: str = ""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TuneResult:
    """What a study found. Scores are in the metric's own sign.

    Attributes:
        metric: What was tuned for.
        best_trial_: The complete trial with the best score; that score is cross-validated, and selected on.
        trials: All finished trials in order, those of earlier runs (the first `n_earlier`) included.
        ensemble_: The greedy ensemble of the trials; None where there is none.
        test_score_: Score on outer rows that took no part in tuning; None without `test_size`.
        n_test_rows: How many rows these are.
        ended: Why it ended: trials, timeout, patience, flat, exhausted or interrupted.
        outlook: What more time was expected to bring after the last trial; None where that is not known.
        n_recorded: How many trials of this run went to the knowledge base.
        n_past_tasks: How many past tasks the warm start of this call rests on; 0 without one.
        warnings: What a user should know.
        directory: Where the result was written; None where it was not.
    """

    metric: Metric
    best_trial_: Trial
    trials: tuple[Trial, ...]
    n_earlier: int
    defaults: Mapping[str, Configuration]
    ended: str
    n_recorded: int
    n_past_tasks: int = 0
    ensemble_: Ensemble | None = None
    test_score_: float | None = None
    n_test_rows: int = 0
    warnings: tuple[str, ...] = ()
    directory: Path | None = None
    outlook: Outlook | None = None
    _fit: Callable[[], TunedModel] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        score = f"{self.metric.label} {self.metric.speak(self.best_score_):.4g}"
        warned = f"; {format_count(len(self.warnings), 'warning')}" if self.warnings else ""
        return f"TuneResult({self.best_learner_}, {score}, best of {format_count(len(self.trials), 'trial')}{warned})"

    def _repr_html_(self) -> str:
        """The best configuration and the best trials for notebooks, with the warnings below them."""
        complete = [trial for trial in self.trials if trial.state is TrialState.COMPLETE]
        best = sorted(complete, key=lambda trial: trial.loss(self.metric.name))[:N_SHOWN]
        table = pd.DataFrame([self._make_row(trial) for trial in best]).to_html(index=False)
        lines = "".join(f"<p>{html.escape(f'Warning: {line}')}</p>" for line in self.warnings)
        params = ", ".join(f"{name}={value!r}" for name, value in self.best_params_.items())
        return f"<p>{html.escape(repr(self))}</p><p>{html.escape(params)}</p>{table}{lines}"

    def _make_row(self, trial: Trial) -> dict[str, Any]:
        """A trial in the table for notebooks."""
        error = compute_standard_error(trial.fold_losses.get(self.metric.name, ()))
        return {
            "trial": self.number_of(trial),
            "learner": trial.configuration.learner,
            self.metric.label: format_number(self.metric.speak(self.score_of(trial))),
            "standard error": format_number(error, ".2g"),
            "fit time of all folds": format_seconds(trial.fit_seconds),
            "origin": trial.origin.words,
        }

    @property
    def best_score_(self) -> float:
        """Mean of the fold scores of the best trial: cross-validated, and selected on."""
        return self.score_of(self.best_trial_)

    @property
    def best_standard_error_(self) -> float:
        """Standard error of `best_score_` over the folds; NaN for fewer than two."""
        return compute_standard_error(self.best_trial_.fold_losses[self.metric.name])

    @property
    def best_learner_(self) -> str:
        """The learner of the best trial."""
        return self.best_trial_.configuration.learner

    @property
    def best_params_(self) -> dict[str, Any]:
        """The best configuration as arguments of the library's constructor, or of the objective."""
        return self.best_trial_.configuration.values

    @cached_property
    def best_estimator_(self) -> TunedModel:
        """The best configuration (the ensemble where that was asked for), fitted on all rows that were tuned on.

        Takes raw columns, as they were given to `tune`. Fitted on first use where no result directory was written.

        Raises:
            InputError: an objective was tuned, which has no estimator.
        """
        if self._fit is None:
            raise InputError("An objective has no estimator; use best_params_.")
        return self._fit()

    @property
    def default_score_(self) -> float | None:
        """Best score of the learners' library defaults; None where no such trial is complete."""
        return self._score(lambda trial: trial.configuration in self.defaults.values())

    @property
    def warm_score_(self) -> float | None:
        """Best score among the points of the warm start; None without."""
        return self._score(lambda trial: trial.origin in WARM)

    @property
    def expected_gain_(self) -> float | None:
        """Expected improvement of the score in another minute, in the metric's unit; None where it is not known."""
        return None if self.outlook is None else self.outlook.gain

    def score_of(self, trial: Trial) -> float:
        """Mean score of a trial over its folds; NaN where it has none."""
        return self.metric.score(trial.loss(self.metric.name))

    def number_of(self, trial: Trial) -> int:
        """The position of a trial among all, from 1."""
        return self.trials.index(trial) + 1

    def trials_frame(self) -> pd.DataFrame:
        """One row per trial: learner, configuration, state, origin, score, standard error, fold scores, seconds."""
        return make_trials_frame(self.trials, self.metric)

    def warm_start(self) -> dict[str, Any] | None:
        """What the warm start and the refinement after it reached; None where no warm point is among the trials."""
        points = [trial for trial in self.trials if trial.origin in WARM]
        if not points:
            return None
        refined = [trial for trial in self.trials if trial.origin in REFINED]
        return {
            "points": len(points),
            "past_tasks": self.n_past_tasks or None,
            "best_score": self.warm_score_,
            "refinement_trials": len(refined),
            "refinement_best_score": self._score(lambda trial: trial.origin in REFINED),
            "default_score": self.default_score_,
            "best_trial": self.number_of(self.best_trial_),
        }

    def describe_outlook(self) -> dict[str, Any] | None:
        """What another minute was expected to bring, ready for JSON; None where that is not known."""
        if self.outlook is None:
            return None
        noise, share = self.outlook.noise, self.outlook.share_of_noise
        return {
            "expected_gain": self.outlook.gain,
            "seconds": SECONDS,
            "trials": self.outlook.n_trials,
            "expected_gain_ahead": self.outlook.gain_ahead,
            "fold_noise": noise if math.isfinite(noise) else None,
            "share_of_fold_noise": share if math.isfinite(share) else None,
            "is_flat": self.outlook.is_flat,
        }

    def _score(self, where: Callable[[Trial], bool]) -> float | None:
        complete = [trial for trial in self.trials if where(trial) and trial.state is TrialState.COMPLETE]
        losses = [trial.loss(self.metric.name) for trial in complete]
        return self.metric.score(min(losses)) if losses else None


def make_result(
    trials: StudyTrials,
    best: Trial,
    ended: str,
    *,
    n_past_tasks: int,
    directory: Path | None,
    ensemble: Ensemble | None = None,
    test: tuple[float, int] | None = None,
    outlook: Outlook | None = None,
    warnings: tuple[str, ...] = (),
    fit: Callable[[], TunedModel] | None = None,
) -> TuneResult:
    """The result of a study.

    Args:
        trials: Its trials.
        best: The best complete one.
        ended: Why it ended.
        n_past_tasks: How many past tasks its warm start rests on.
        directory: Where it is written; None where it is not.
        ensemble: The ensemble of its trials.
        test: Score on the outer rows, and how many rows that are; None without outer rows.
        outlook: What more time is expected to bring; None where that is not known.
        warnings: What a user should know.
        fit: Fits the model; None of an objective.
    """
    shown = [replace(trial, configuration=show_arguments(trial.configuration)) for trial in trials.trials]
    return TuneResult(
        metric=trials.metric,
        best_trial_=shown[trials.trials.index(best)],
        trials=tuple(shown),
        n_earlier=trials.n_earlier,
        defaults={learner: trials.fixed.apply(space.default) for learner, space in trials.spaces.items()},
        ended=ended,
        n_recorded=trials.n_recorded,
        n_past_tasks=n_past_tasks,
        ensemble_=ensemble,
        test_score_=None if test is None else test[0],
        n_test_rows=0 if test is None else test[1],
        warnings=warnings,
        directory=directory,
        outlook=outlook,
        _fit=fit,
    )
