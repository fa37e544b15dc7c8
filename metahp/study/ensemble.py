"""The ensemble of a study: some of its trials, weighted, chosen by their out-of-fold predictions."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.trial import TrialState
from metahp.datasets.table import Table
from metahp.evaluation.scoring import Scorer
from metahp.learners.arguments import make_arguments
from metahp.refinement.ensemble import (
    Gain,
    Loss,
    cast_votes,
    compute_cross_fitted_gain,
    make_batch_loss,
    select_ensemble,
)
from metahp.study.trials import StudyTrials

logger = logging.getLogger(__name__)

# More rows than this say nothing new about which models to average, and take their time.
MAX_ROWS = 20_000
# Most members of an ensemble; and models and rows where a scorer measures them, a thousand times in all.
MAX_MEMBERS, MAX_SCORED, MAX_SCORED_ROWS = 50, 12, 5_000
# Predictions of one trial that are larger than this (numbers) are not kept: fifty of them would fill the memory.
MAX_PREDICTIONS = 2_000_000
# Seconds that choosing an ensemble takes for each number that a model predicts (measured: 2e-6 to 4e-6).
SECONDS_PER_OUTPUT = 3e-6


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Configurations with their weights, and what they gain together over a single one.

    `gain` was measured on rows that chose neither of the two; None where there were too few.
    """

    members: tuple[tuple[Configuration, float], ...]
    gain: Gain | None
    is_voting: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "members": [
                {
                    "learner": configuration.learner,
                    "configuration": make_arguments(configuration),
                    "weight": weight,
                }
                for configuration, weight in self.members
            ],
            "is_voting": self.is_voting,
            "gain": None if self.gain is None else self.gain.gain,
            "gain_standard_error": None if self.gain is None else self.gain.standard_error,
            "gain_is": "over a single model, each chosen on other rows than it is measured on",
        }


def can_keep_predictions(table: Table) -> bool:
    """Whether the predictions of a trial on a table are few enough to keep."""
    return table.task.n_rows * max(1, table.task.n_classes) <= MAX_PREDICTIONS


def estimate_ensemble_seconds(n_models: int, n_outputs: int) -> float:
    """About how long `choose_ensemble` takes for so many models with so many numbers each, on one core."""
    return SECONDS_PER_OUTPUT * n_models * min(n_outputs, MAX_ROWS * 2)


def choose_ensemble(
    trials: StudyTrials,
    table: Table,
    *,
    is_voting: bool,
    seed: int,
    weights: np.ndarray | None = None,
    scorer: Scorer | None = None,
) -> Ensemble | None:
    """The greedy ensemble of the trials whose predictions are known; None for fewer than two of them.

    `weights` are those of the table's rows, shape (n,); None where all are equal. A `scorer` takes a thousand times as
    long as a metric that trials store, so with one the search is a small one.
    """
    shape = (table.task.n_rows, table.task.n_classes)[: 1 + table.task.type.is_classification]
    library = [
        trial
        for trial in trials.trials
        if trial.id in trials.predictions and trials.predictions[trial.id].shape == shape
    ]
    if len(library) < 2:
        return None
    if scorer is not None:
        library = sorted(library, key=lambda trial: trial.loss(trials.metric.name))[:MAX_SCORED]
    rows, most = np.arange(table.task.n_rows), MAX_ROWS if scorer is None else MAX_SCORED_ROWS
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    singles = np.stack([trials.predictions[trial.id][rows] for trial in library])
    is_voting = is_voting and table.task.type.is_classification
    predictions = cast_votes(singles) if is_voting else singles
    of_rows, size = None if weights is None else weights[rows], MAX_MEMBERS if scorer is None else MAX_SCORED
    if scorer is None:
        targets, loss = table.y[rows], make_batch_loss(trials.metric.name, table.task.type)
    else:
        # A scorer may look at features, so the search takes numbers of rows for targets.
        targets, loss = rows, _make_scorer_loss(table, scorer)
    try:
        shares = select_ensemble(predictions, targets, loss, sample_weight=of_rows, size=size, seed=seed)
    except InputError as error:
        logger.warning("The result is the best single model, not an ensemble: %s", error)
        return None
    try:
        gain = compute_cross_fitted_gain(
            predictions,
            targets,
            loss,
            sample_weight=of_rows,
            strata=table.y[rows],
            singles=singles,
            size=size,
            seed=seed,
        )
    except InputError as error:
        logger.warning("Whether the ensemble is better than a single model is not known: %s", error)
        gain = None
    used = np.flatnonzero(shares)
    members = tuple((library[i].configuration, float(shares[i])) for i in used[np.argsort(-shares[used])])
    return Ensemble(members, gain, is_voting)


def _make_scorer_loss(table: Table, scorer: Scorer) -> Loss:
    """The loss of many predictions by a scorer, for rows with some numbers, which it takes for targets."""

    def compute(rows: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        if weights is not None and not weights.any():
            return np.full(len(predictions), np.nan)
        return np.array([scorer.compute_loss(table.y[rows], each, weights, rows) for each in predictions])

    return compute


def explain_single(trials: StudyTrials) -> str:
    """Why the ensemble of a study has fewer than two members."""
    n_kept, n_complete = len(trials.predictions), sum(trial.state is TrialState.COMPLETE for trial in trials.trials)
    if n_kept > 1 or n_complete < 2:
        return "nothing that was measured adds to it"
    where = "lie in this result directory; name the one that has them with `output`"
    return f"predictions of {n_kept} of {n_complete} complete trials {where}"
