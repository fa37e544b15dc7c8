"""The surrogate: a LightGBM model of normalised loss across tasks, learners and hyperparameters."""

from functools import cached_property

import lightgbm
import numpy as np

from metahp.surrogate.trees import Tree, average_trees, compact_text, predict_trees, read_trees

# Chosen by regret on left-out tasks. On 80 of 425 tables, without the forest, 400, 800, 1,600 and 4,000 rounds gave
# .12, .11, .11 and .09 at k = 5, and 64 leaves had the effect of twice as many rounds. With the forest, 1,600 rounds
# were not better than 800.
PARAMETERS = {
    "objective": "regression",
    "learning_rate": 0.06,
    "num_leaves": 24,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "max_bin": 63,
    "verbosity": -1,
    "force_row_wise": True,
    "deterministic": True,
}
ROUNDS = 800
# Few past tasks need fewer rounds: on 28 tasks of a published suite (grids of an SVM and an AdaBoost), 100 rounds gave
# less regret than 200 and 400.
ROUNDS_PER_TASK = 4
# Training on more measured cells takes too long; a sample of this size is used instead.
MOST_CELLS = 250_000
# From this number of tasks on, the matrix product of `trees` is faster than LightGBM: with the seed's 2,181 candidates
# it takes 1.2 s of one core for 55 tasks (LightGBM 7.9 s), and hardly less for one task (LightGBM .15 s).
MANY_TASKS = 8


def choose_n_rounds(n_tasks: int) -> int:
    """Number of boosting rounds of a surrogate that is trained on `n_tasks` tasks."""
    return min(ROUNDS, ROUNDS_PER_TASK * n_tasks)


class Surrogate:
    """Mean normalised loss of candidates, given a task's meta-features."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._booster = lightgbm.Booster(model_str=text)

    @classmethod
    def fit(
        cls,
        metafeatures: np.ndarray,
        encoded: np.ndarray,
        target: np.ndarray,
        *,
        seed: int,
    ) -> "Surrogate":
        """Train on the measured cells, or on `MOST_CELLS` of them.

        Args:
            metafeatures: Shape (t, m); NaN where unknown.
            encoded: Candidates, shape (c, d).
            target: Normalised losses, shape (t, c); NaN cells are left out.
            seed: Seed of feature and row sampling.
        """
        rows, columns = np.nonzero(~np.isnan(target))
        if rows.size > MOST_CELLS:
            kept = np.sort(np.random.default_rng(seed).choice(rows.size, MOST_CELLS, replace=False))
            rows, columns = rows[kept], columns[kept]
        X = np.hstack([metafeatures[rows], encoded[columns]]).astype(np.float32)
        data = lightgbm.Dataset(X, target[rows, columns], free_raw_data=True)
        parameters = {**PARAMETERS, "seed": seed, "num_threads": 1}
        booster = lightgbm.train(parameters, data, num_boost_round=choose_n_rounds(len(metafeatures)))
        # Rounded as in a file, so that a stored model predicts the same as one that was just trained.
        return cls(compact_text(booster.model_to_string(), has_counts=True))

    def predict(self, metafeatures: np.ndarray, encoded: np.ndarray) -> np.ndarray:
        """Mean normalised loss, shape (t, c), for meta-features (t, m) and candidates (c, d)."""
        t, c = len(metafeatures), len(encoded)
        if not 0 < t < MANY_TASKS:
            return predict_trees(self._trees, metafeatures, encoded)
        X = np.hstack([np.repeat(metafeatures, c, axis=0), np.tile(encoded, (t, 1))])
        return np.asarray(self._booster.predict(X, num_threads=1)).reshape(t, c)

    def average(self, metafeatures: np.ndarray, encoded: np.ndarray) -> np.ndarray:
        """Mean prediction for candidates (c, d) over tasks with meta-features (t, m), shape (c,)."""
        return average_trees(self._trees, metafeatures, encoded)

    @cached_property
    def _trees(self) -> list[Tree]:
        return read_trees(self._text)

    def compute_contributions(self, metafeatures: np.ndarray, encoded: np.ndarray) -> np.ndarray:
        """Shapley values of the meta-features (m,) of one task for candidates (c, d), shape (c, m)."""
        X = np.hstack([np.tile(metafeatures, (len(encoded), 1)), encoded])
        return np.asarray(self._booster.predict(X, pred_contrib=True, num_threads=1))[:, : len(metafeatures)]

    def to_text(self) -> str:
        """The model in LightGBM's text format."""
        return self._text

    @classmethod
    def from_text(cls, text: str) -> "Surrogate":
        """The model that `to_text` wrote."""
        return cls(text)
