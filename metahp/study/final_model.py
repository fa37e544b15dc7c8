"""The final model of a study, fitted when it is first asked for."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.metric import Metric
from metahp.core.trial import Trial
from metahp.datasets.table import Table
from metahp.evaluation.scoring import Scorer
from metahp.learners.arguments import show_arguments
from metahp.results.model import TunedModel, fit_model


class FinalModel:
    """Fits the final model once; it can be pickled, before with the table and after without.

    Args:
        table: What it is fitted on.
        members: Its configurations with their weights.
        metric: Its metric.
        best: The best single trial.
        seed: Its seed.
        is_voting: Whether its members vote.
        n_jobs: How many threads fit it.
        fixed_n_jobs: How many threads fit a member of a learner, in place of `n_jobs`.
        sample_weight: Weights of the table's rows, shape (n,); None where all are equal.
        scorer: Of a metric that trials do not store by themselves; None for one that they do.
    """

    def __init__(
        self,
        table: Table,
        members: tuple[tuple[Configuration, float], ...],
        metric: Metric,
        best: Trial,
        *,
        seed: int,
        is_voting: bool,
        n_jobs: int,
        fixed_n_jobs: Mapping[str, int] = MappingProxyType({}),
        sample_weight: np.ndarray | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        self._table: Table | None = table
        self._members, self._metric, self._best = members, metric, best
        self._options: dict[str, Any] = {
            "seed": seed,
            "is_voting": is_voting,
            "n_jobs": n_jobs,
            "fixed_n_jobs": dict(fixed_n_jobs),
            "scorer": None if scorer is None else scorer.forget_rows(),
        }
        self._weights = sample_weight
        self._model: TunedModel | None = None

    def __call__(self) -> TunedModel:
        """The fitted model."""
        if self._model is None:
            assert self._table is not None
            model = fit_model(self._table, self._members, self._metric, sample_weight=self._weights, **self._options)
            score = self._metric.score(self._best.loss(self._metric.name))
            params = show_arguments(self._best.configuration).values
            self._model = replace(model, best_params_=params, best_score_=score)
            self._table = self._weights = None
        return self._model
