"""A user's own learner in a separate module; the documentation promises that it takes under twenty-five lines."""

from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline

import metahp


class Neighbours(metahp.Learner):
    name = "neighbours"
    hyperparameters = (
        metahp.Integer("n_neighbors", 1, 50, 5, is_log=True),
        metahp.Categorical("weights", ("uniform", "distance"), "uniform"),
    )
    trusted_types = (KNeighborsClassifier, KNeighborsRegressor)

    def estimator(self, configuration, task_type, *, numeric, categorical, seed, n_jobs=1):
        kind = KNeighborsClassifier if task_type.is_classification else KNeighborsRegressor
        model = kind(**configuration.values, algorithm="brute", n_jobs=n_jobs)
        return make_pipeline(metahp.make_encoder(numeric, categorical), model)
