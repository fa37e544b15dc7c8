"""A learner of your own: k nearest neighbours, as a module that worker processes can import."""

from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import metahp


class Neighbours(metahp.Learner):
    name = "neighbours"
    trusted_types = (KNeighborsClassifier, KNeighborsRegressor)  # what a saved model may hold besides the usual

    def space(self, task_type):
        return metahp.SearchSpace(self.name, 1, (metahp.Integer("n_neighbors", 1, 50, 5, is_log=True),))

    def estimator(self, configuration, task_type, *, numeric, categorical, seed, n_jobs=1):
        numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
        words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        encode = make_column_transformer((numbers, list(numeric)), (words, list(categorical)))
        kind = KNeighborsClassifier if task_type.is_classification else KNeighborsRegressor
        return make_pipeline(encode, kind(**configuration.values, algorithm="brute", n_jobs=n_jobs))
