"""How far a study has come."""

from dataclasses import dataclass

from metahp.core.metric import Metric
from metahp.core.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of a study after a trial. Scores are in the metric's own sign, NaN where there is none.

    Attributes:
        trial: The trial that has just finished; None at the start.
        metric: What is tuned for.
        n_done: How many trials have finished, those of earlier runs included.
        n_trials: How many trials there are to be.
        n_earlier: How many trials are of earlier runs.
        best: The best trial so far; None where no trial is complete.
        best_number: The position of the best trial among all, from 1; 0 where there is none.
        default_score: The best score of a learner's default.
        warm_score: The best score of a warm-start trial.
        seconds_left: An estimate; NaN where there is none.
    """

    trial: Trial | None
    metric: Metric
    n_done: int
    n_trials: int
    n_earlier: int
    best: Trial | None
    best_number: int
    default_score: float
    warm_score: float
    seconds_left: float

    @property
    def score(self) -> float:
        """Score of the trial that has just finished; NaN where it has none."""
        return self.metric.score(self.trial.loss(self.metric.name)) if self.trial else float("nan")

    @property
    def best_score(self) -> float:
        """The best score so far; NaN where there is none."""
        return self.metric.score(self.best.loss(self.metric.name)) if self.best else float("nan")
