"""The ensemble of a study: some of its trials, weighted, chosen by their out-of-fold predictions."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.trial import TrialState
from metahp.datasets.table import Table
from metahp.learners.arguments import make_arguments
from metahp.refinement.ensemble import Gain, cast_votes, compute_cross_fitted_gain, make_batch_loss, select_ensemble
from metahp.study.trials import StudyTrials

logger = logging.getLogger(__name__)

# More rows than this say nothing new about which models to average, and take their time.
MAX_ROWS = 20_000
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
    trials: StudyTrials, table: Table, *, is_voting: bool, seed: int, weights: np.ndarray | None = None
) -> Ensemble | None:
    """The greedy ensemble of the trials whose predictions are known; None for fewer than two of them.

    `weights` are those of the table's rows, shape (n,); None where all are equal.
    """
    shape = (table.task.n_rows, table.task.n_classes)[: 1 + table.task.type.is_classification]
    library = [
        trial
        for trial in trials.trials
        if trial.id in trials.predictions and trials.predictions[trial.id].shape == shape
    ]
    if len(library) < 2:
        return None
    rows = np.arange(table.task.n_rows)
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_ROWS, replace=False))
    singles = np.stack([trials.predictions[trial.id][rows] for trial in library])
    is_voting = is_voting and table.task.type.is_classification
    predictions = cast_votes(singles) if is_voting else singles
    loss = make_batch_loss(trials.metric.name, table.task.type)
    of_rows = None if weights is None else weights[rows]
    try:
        shares = select_ensemble(predictions, table.y[rows], loss, sample_weight=of_rows, seed=seed)
    except InputError as error:
        logger.warning("The result is the best single model, not an ensemble: %s", error)
        return None
    try:
        gain = compute_cross_fitted_gain(
            predictions, table.y[rows], loss, sample_weight=of_rows, singles=singles, seed=seed
        )
    except InputError as error:
        logger.warning("Whether the ensemble is better than a single model is not known: %s", error)
        gain = None
    used = np.flatnonzero(shares)
    members = tuple((library[i].configuration, float(shares[i])) for i in used[np.argsort(-shares[used])])
    return Ensemble(members, gain, is_voting)


def explain_single(trials: StudyTrials) -> str:
    """Why the ensemble of a study has fewer than two members."""
    n_kept, n_complete = len(trials.predictions), sum(trial.state is TrialState.COMPLETE for trial in trials.trials)
    if n_kept > 1 or n_complete < 2:
        return "nothing that was measured adds to it"
    where = "lie in this result directory; name the one that has them with `output`"
    return f"predictions of {n_kept} of {n_complete} complete trials {where}"
