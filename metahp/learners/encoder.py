"""A first step for a learner whose estimator takes only numbers without gaps."""

from collections.abc import Sequence

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# Most one-hot columns of a categorical column.
MAX_ONE_HOT = 50


def make_encoder(numeric: Sequence[str | int], categorical: Sequence[str | int]) -> ColumnTransformer:
    """A transformer that makes numbers without gaps, on one scale, of the columns that `Learner.estimator` is given.

    Missing numbers become the median, and numbers are standardised; a category becomes up to `MAX_ONE_HOT` columns.
    """
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    words = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MAX_ONE_HOT, sparse_output=False)
    return ColumnTransformer([("numeric", numbers, list(numeric)), ("categorical", words, list(categorical))])
