"""Linear models (scikit-learn): logistic regression, ridge and elastic net, with several kinds of preprocessing."""

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, SplineTransformer, StandardScaler, TargetEncoder

from metahp.core.configuration import Configuration, Value
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.base import Learner

MAX_ITERATIONS = 300
# Most one-hot columns of a categorical column.
MAX_ONE_HOT = 50
# Folds of the target encoder.
TARGET_FOLDS = 5

_PREPROCESSING = (
    Categorical("numeric", ("standard", "quantile", "spline"), "standard"),
    Integer("n_knots", 3, 10, 5, only_if=("numeric", ("spline",))),
    Categorical("categorical", ("onehot", "target"), "onehot"),
)
_CLASSIFICATION = SearchSpace(
    "linear",
    1,
    (
        Float("C", 1e-4, 1e3, 1.0, is_log=True),
        Float("l1_ratio", 0.05, 1.0, 0.0, below=(0.0,)),
        Categorical("class_weight", (None, "balanced"), None),
        *_PREPROCESSING,
    ),
)
_REGRESSION = SearchSpace(
    "linear",
    1,
    (
        Categorical("model", ("ridge", "elasticnet"), "ridge"),
        Float("ridge__alpha", 1e-3, 1e4, 1.0, is_log=True, only_if=("model", ("ridge",))),
        Float("elasticnet__alpha", 1e-4, 1.0, 1e-2, is_log=True, only_if=("model", ("elasticnet",))),
        Float("elasticnet__l1_ratio", 0.05, 1.0, 0.5, only_if=("model", ("elasticnet",))),
        *_PREPROCESSING,
    ),
)
# Further arguments with the defaults of the learner; None where its default depends on other hyperparameters.
_LOGISTIC: dict[str, Value] = {"fit_intercept": True, "intercept_scaling": 1, "max_iter": MAX_ITERATIONS, "tol": None}
_LINEAR: dict[str, dict[str, Value]] = {
    "ridge": {"fit_intercept": True, "positive": False, "solver": "auto", "tol": 1e-4},
    "elasticnet": {
        "fit_intercept": True,
        "max_iter": MAX_ITERATIONS,
        "positive": False,
        "selection": "cyclic",
        "tol": 1e-4,
    },
}


class Linear(Learner):
    """The `linear` learner."""

    name = "linear"
    iterations = MAX_ITERATIONS

    def space(self, task_type: TaskType) -> SearchSpace:
        """Penalty and preprocessing; for regression also the choice between ridge and elastic net."""
        return _CLASSIFICATION if task_type.is_classification else _REGRESSION

    def further_arguments(self, task_type: TaskType) -> Mapping[str, Value]:
        """Other arguments of `LogisticRegression`; for regression those of `Ridge` and `ElasticNet`, by a prefix."""
        if task_type.is_classification:
            return _LOGISTIC
        return {f"{model}__{name}": value for model, values in _LINEAR.items() for name, value in values.items()}

    def estimator(
        self,
        configuration: Configuration,
        task_type: TaskType,
        *,
        numeric: Sequence[str | int],
        categorical: Sequence[str | int],
        seed: int,
        n_jobs: int = 1,
    ) -> Any:
        """A `Pipeline` with the steps `encode` and `model`; for regression, `model` standardises the target."""
        values = configuration.hyperparameters
        encode = ColumnTransformer(
            [
                ("numeric", _make_numeric_encoder(values, seed), list(numeric)),
                ("categorical", _make_categorical_encoder(values, task_type, seed), list(categorical)),
            ]
        )
        model = _make_classifier(values, seed) if task_type.is_classification else _make_regressor(values, seed)
        return Pipeline([("encode", encode), ("model", model)])


def _make_classifier(values: Mapping[str, Any], seed: int) -> LogisticRegression:
    l1_ratio = values["l1_ratio"]
    model = LogisticRegression(
        C=values["C"],
        l1_ratio=l1_ratio,
        class_weight=values["class_weight"],
        random_state=seed,
        solver="lbfgs" if l1_ratio == 0 else "saga",
        max_iter=MAX_ITERATIONS,
        tol=1e-3 if l1_ratio else 1e-4,
    )
    return model.set_params(**{name: value for name, value in values.items() if name in _LOGISTIC})


def _make_regressor(values: Mapping[str, Any], seed: int) -> TransformedTargetRegressor:
    model: Ridge | ElasticNet
    if values["model"] == "ridge":
        model = Ridge(alpha=values["ridge__alpha"])
    else:
        model = ElasticNet(
            alpha=values["elasticnet__alpha"],
            l1_ratio=values["elasticnet__l1_ratio"],
            max_iter=MAX_ITERATIONS,
            random_state=seed,
        )
    prefix = f"{values['model']}__"
    given = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    further = {name: value for name, value in given.items() if name in _LINEAR[values["model"]]}
    return TransformedTargetRegressor(model.set_params(**further), transformer=StandardScaler())


def _make_numeric_encoder(values: Mapping[str, Any], seed: int) -> Pipeline:
    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    if values["numeric"] == "quantile":
        return make_pipeline(
            impute, QuantileTransformer(n_quantiles=100, output_distribution="normal", random_state=seed)
        )
    if values["numeric"] == "spline":
        return make_pipeline(
            impute,
            StandardScaler(),
            SplineTransformer(n_knots=values["n_knots"], knots="quantile", extrapolation="linear"),
            StandardScaler(),
        )
    return make_pipeline(impute, StandardScaler())


def _make_categorical_encoder(values: Mapping[str, Any], task_type: TaskType, seed: int) -> Any:
    if values["categorical"] == "target":
        kind = {TaskType.REGRESSION: "continuous"}.get(task_type, str(task_type))
        splitter = StratifiedKFold if task_type.is_classification else KFold
        cv = splitter(TARGET_FOLDS, shuffle=True, random_state=seed)
        return make_pipeline(TargetEncoder(target_type=kind, cv=cv), StandardScaler())
    return OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MAX_ONE_HOT, sparse_output=False)
