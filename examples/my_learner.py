"""A learner of your own: k nearest neighbours, as a module that worker processes can import."""

from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline

import metahp


class Neighbours(metahp.Learner):
    name = "neighbours"
    hyperparameters = (metahp.Integer("n_neighbors", 1, 50, 5, is_log=True),)
    trusted_types = (KNeighborsClassifier, KNeighborsRegressor)  # what a saved model may hold besides the usual

    def estimator(self, configuration, task_type, *, numeric, categorical, seed, n_jobs=1):
        kind = KNeighborsClassifier if task_type.is_classification else KNeighborsRegressor
        model = kind(**configuration, algorithm="brute", n_jobs=n_jobs)
        return make_pipeline(metahp.make_encoder(numeric, categorical), model)
