"""Scorers of scikit-learn, and a user's own, on predictions that a fold already has."""

import hashlib
import inspect
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

from metahp.core.errors import InputError
from metahp.core.metric import METRICS, SCORERS, Metric, find_metric
from metahp.core.task import Task, TaskType
from metahp.datasets.table import Table
from metahp.datasets.target import convert_labels
from metahp.evaluation.losses import compute_losses, make_constant_predictions

# A loss below this is a rounded zero, and no unit.
LEAST_LOSS = 1e-9
# Probabilities below this give the decision value of this.
_SMALLEST = 1e-300
_NO_NAME = re.compile(r"\W+")


class _Predicted(BaseEstimator):
    """Stands in for a fitted estimator; it has the predictions of the rows of one frame and knows no others."""

    def __init__(self, outputs: np.ndarray, rows: pd.DataFrame | None) -> None:
        self.outputs = outputs
        self.rows = rows

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def find_outputs(self, X: Any) -> np.ndarray:
        """The outputs for some of the rows, which are known by their index."""
        if X is None or len(X) == len(self.outputs):
            return self.outputs
        if self.rows is None or not isinstance(X, pd.DataFrame):
            raise ValueError(f"predictions of {len(self.outputs)} rows are known, and {len(X)} others were asked for")
        return self.outputs[self.rows.index.get_indexer(X.index)]


class _PredictedClasses(ClassifierMixin, _Predicted):
    """Probabilities of `classes_`, which are in order."""

    def __init__(self, outputs: np.ndarray, rows: pd.DataFrame | None, classes: np.ndarray) -> None:
        super().__init__(outputs, rows)
        self.classes = classes
        self.classes_ = classes

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[self.find_outputs(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.find_outputs(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """Logarithms of the odds of two classes, and of the probabilities of several: they rank as these do."""
        logs = np.log(np.maximum(self.find_outputs(X), _SMALLEST))
        return logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs


class _PredictedNumbers(RegressorMixin, _Predicted):
    """Numbers."""

    def predict(self, X: Any) -> np.ndarray:
        return self.find_outputs(X)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """A scorer `(estimator, X, y)` that no trial stores by itself.

    Attributes:
        metric: How its score becomes a loss, and the name of that loss in trials.
        identity: What a protocol calls it: the name, and of a user's own scorer a hash of what it does.
        content: The pickled callable.
        path: Folders where a worker process searches for modules beside its own.
        classes: The classes of the task in the order of their codes; empty for regression.
        takes_weights: Whether it takes `sample_weight`.
        features: The prepared features of all rows, for a scorer that may look at them; None for one of scikit-learn.
    """

    metric: Metric
    identity: str
    content: bytes
    path: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    takes_weights: bool = True
    features: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def looks_at_rows(self) -> bool:
        """Whether it gets features."""
        return self.features is not None

    def compute_loss(
        self, y: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None, rows: np.ndarray | None = None
    ) -> float:
        """The loss of predictions; NaN where the scorer is not defined on them.

        Args:
            y: Class codes or numbers, shape (n,).
            predictions: Probabilities, shape (n, n_classes), or numbers, shape (n,).
            weights: Weights of the rows, shape (n,); None where all weigh the same.
            rows: Their numbers in the table, for a scorer that looks at features.

        Errors of the scorer are passed on, but for a ValueError or an arithmetic one.
        """
        X = None if self.features is None or rows is None else self.features.iloc[rows]
        try:
            return self.metric.loss(self.score(y, predictions, weights, X))
        except (ValueError, ArithmeticError):
            return float("nan")

    def score(
        self, y: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None, X: pd.DataFrame | None = None
    ) -> float:
        """The score, as the scorer gives it for a fitted estimator with these predictions; NaN for infinity.

        Errors of the scorer are passed on.
        """
        model: _Predicted
        if self.classes:
            labels = _convert(self.classes)
            order = np.argsort(labels, kind="stable")
            # Rounded, the probabilities of float32 do not add up to one closely enough for scikit-learn.
            outputs = predictions[:, order].astype(float)
            total = outputs.sum(axis=1, keepdims=True)
            outputs = outputs / np.where(total > 0, total, 1.0)
            model, y = _PredictedClasses(outputs, X, labels[order]), labels[y]
        else:
            model = _PredictedNumbers(predictions, X)
        more = {"sample_weight": weights} if weights is not None and self.takes_weights else {}
        with warnings.catch_warnings():
            # A fold without predictions of a class, and the like: the score says it.
            warnings.simplefilter("ignore")
            value = _load(self.content, self.path)(model, X, y, **more)
        if not np.isscalar(value) and getattr(value, "shape", None) != ():
            raise TypeError(f"expected a number as the score of {self.metric.label}, got {type(value).__name__}")
        return float(value) if np.isfinite(value) else float("nan")

    def forget_rows(self) -> "Scorer":
        """The scorer without features, as a model keeps it."""
        return replace(self, features=None)


@lru_cache(maxsize=8)
def _load(content: bytes, path: tuple[str, ...]) -> Callable[..., Any]:
    sys.path.extend(entry for entry in path if entry not in sys.path)
    scorer: Callable[..., Any] = pickle.loads(content)
    return scorer


def find_scorer(given: Any, table: Table) -> tuple[Metric, Scorer | None]:
    """The metric that a person asked for, and its scorer where trials do not store it.

    Args:
        given: A name of `METRICS` or of a scorer of scikit-learn, or a callable `(estimator, X, y)`; None for the
            default.
        table: The table that is scored.

    Raises:
        UnknownNameError: the task has no such metric.
        InputError: no name and no scorer, or a scorer that no other process can get.
    """
    if given is None or isinstance(given, str):
        metric = find_metric(table.task.type, given)
        return metric, (None if metric.name in METRICS else make_named_scorer(metric, table.task.type, table.classes))
    _check_is_scorer(given)
    name = _name(given)
    sign = getattr(given, "_sign", 1)
    metric = Metric(
        f"neg_{name}" if sign < 0 and not name.startswith("neg_") else name,
        0.0,
        (table.task.type,),
        stand_in=_choose_stand_in(given, table.task.type),
    )
    digest = hashlib.blake2b(repr(_describe(given)).encode(), digest_size=8).hexdigest()
    return metric, Scorer(
        metric=metric,
        identity=f"{metric.name}-{digest}",
        content=_pickle(given, name),
        path=tuple(sys.path),
        classes=table.classes,
        takes_weights=_takes_weights(given),
        features=None if _is_made(given) else table.features,
    )


def make_named_scorer(metric: Metric, task_type: TaskType, classes: tuple[str, ...]) -> Scorer:
    """A scorer of scikit-learn; of two classes it is about the second, as F1 is, whatever their names."""
    try:
        scorer = get_scorer(metric.name)
    except ValueError:
        raise InputError(
            f"The installed scikit-learn has no scorer '{metric.name}'; upgrade it, or choose another `metric`.",
            argument="metric",
        ) from None
    known, is_binary = inspect.signature(scorer._score_func).parameters, task_type is TaskType.BINARY
    if is_binary and "pos_label" in known and scorer._kwargs.get("average", "binary") == "binary":
        scorer._kwargs["pos_label"] = _convert(classes)[1]
    elif classes and "labels" in known and scorer._response_method != "predict":
        # A fold may lack a class.
        scorer._kwargs["labels"] = np.sort(_convert(classes))
    return Scorer(
        metric=metric,
        identity=metric.name,
        content=pickle.dumps(scorer),
        classes=classes,
        takes_weights=_takes_weights(scorer),
    )


def _convert(classes: tuple[str, ...]) -> np.ndarray:
    """The classes as the predictions of a model have them, and not as objects, which scikit-learn may not compare."""
    labels = convert_labels(classes)
    return labels.astype(str) if labels.dtype == object else labels


def _is_made(scorer: Any) -> bool:
    """Whether `make_scorer` made it, so that it looks at predictions alone."""
    return hasattr(scorer, "_score_func") and hasattr(scorer, "_kwargs")


def _check_is_scorer(given: Any) -> None:
    if not callable(given):
        raise InputError(
            f"A metric is a name, such as 'roc_auc', or a scorer `(estimator, X, y)`; got a {type(given).__name__}.",
            argument="metric",
        )
    if isinstance(given, FunctionType) and given.__module__.startswith("sklearn.metrics."):
        raise InputError(
            f"{given.__name__} is a function of targets and predictions, not a scorer: give "
            f"sklearn.metrics.make_scorer({given.__name__}).",
            argument="metric",
        )
    try:
        inspect.signature(given).bind(None, None, None)
    except TypeError:
        raise InputError(
            f"A scorer is called as `scorer(estimator, X, y)`, which {_name(given)} does not take; "
            "sklearn.metrics.make_scorer makes one of a function of targets and predictions.",
            argument="metric",
        ) from None
    except ValueError:
        return


def _name(scorer: Any) -> str:
    """The name of a user's own scorer: no name of a metric, and a word."""
    function = getattr(scorer, "_score_func", scorer)
    function = getattr(function, "func", function)
    name = getattr(function, "__name__", type(function).__name__)
    name = _NO_NAME.sub("_", name).strip("_") or "scorer"
    return f"own_{name}" if name in METRICS or name in SCORERS else name


def _takes_weights(scorer: Any) -> bool:
    function = getattr(scorer, "_score_func", scorer)
    if getattr(scorer, "_kwargs", {}).get("multi_class") == "ovo":
        # Of classes in pairs, scikit-learn refuses weights.
        return False
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _choose_stand_in(scorer: Any, task_type: TaskType) -> str:
    """The stored metric that is nearest to a user's own scorer."""
    if not task_type.is_classification:
        return _find_like(scorer, task_type) or "neg_root_mean_squared_error"
    method = getattr(scorer, "_response_method", "")
    first = method[0] if isinstance(method, Sequence) and not isinstance(method, str) else method
    usual = {"predict_proba": "neg_log_loss", "decision_function": "roc_auc", "predict": "balanced_accuracy"}
    stand_in = _find_like(scorer, task_type) or usual.get(first) or find_metric(task_type).name
    return "roc_auc_ovr" if stand_in == "roc_auc" and task_type is TaskType.MULTICLASS else stand_in


def _find_like(scorer: Any, task_type: TaskType) -> str:
    """The stored metric that stands for scikit-learn's scorer of the same function; empty where there is none."""
    function = getattr(scorer, "_score_func", None)
    if function is None:
        return ""
    for metric in (*METRICS.values(), *SCORERS.values()):
        if task_type in metric.task_types and getattr(get_scorer(metric.name), "_score_func", None) is function:
            return metric.stand_in or metric.name
    return ""


def _pickle(scorer: Any, name: str) -> bytes:
    """The scorer for worker processes; what they cannot import by its name travels with it.

    Raises:
        InputError: it cannot be pickled.
    """
    try:
        return bytes(cloudpickle.dumps(scorer))
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"The scorer {name} cannot be sent to worker processes ({type(error).__name__}: {reason}). Define it "
            "at the top of a module, without open files, locks or connections, and import it from there.",
            argument="metric",
        ) from None


def _describe(value: Any, depth: int = 0) -> Any:
    """What a scorer does, as values whose text is the same in every process; functions by their code."""
    if depth > 6:
        return "…"
    deeper = depth + 1
    if _is_made(value):
        parts = [value._sign, value._response_method, sorted(value._kwargs.items(), key=lambda item: item[0])]
        return [type(value).__qualname__, *_describe(parts, deeper), _describe(value._score_func, deeper)]
    if isinstance(value, FunctionType):
        if value.__module__.startswith(("sklearn.", "numpy.", "scipy.")):
            return [value.__module__, value.__qualname__]
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [_describe(part, deeper) for part in (value.__code__, value.__defaults__, value.__kwdefaults__, cells)]
    if isinstance(value, CodeType):
        return [value.co_code.hex(), value.co_names, [_describe(each, deeper) for each in value.co_consts]]
    if isinstance(value, list | tuple):
        return [_describe(each, deeper) for each in value]
    if isinstance(value, dict):
        return sorted((repr(key), _describe(each, deeper)) for key, each in value.items())
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return repr(value)
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes().hex()]
    if hasattr(value, "func") and hasattr(value, "keywords"):
        return [_describe(part, deeper) for part in (value.func, value.args, value.keywords)]
    state = getattr(value, "__dict__", None)
    return [type(value).__module__, type(value).__qualname__, _describe(state, deeper) if state else ""]


def compute_reference_loss(
    table: Table, metric: Metric, scorer: Scorer | None, weights: np.ndarray | None = None
) -> float:
    """The size of the loss of a constant prediction: the unit in which past tasks are read.

    Where a scorer gives none, or zero, it is that of the metric by which past tasks are asked.
    """
    task, rows = table.task, np.arange(table.task.n_rows)
    constant = make_constant_predictions(table.y, task.type, task.n_classes, weights)
    losses = compute_losses(table.y, constant, task.type, weights)
    if scorer is None:
        loss = losses[metric.name]
    else:
        try:
            loss = abs(scorer.compute_loss(table.y, constant, weights, rows))
        except Exception:
            # The scorer itself is checked on the folds, and its error told there.
            loss = float("nan")
    return loss if loss > LEAST_LOSS or not metric.stand_in else losses[metric.stand_in]


def explain_undefined(scorer: Scorer, y: np.ndarray, weights: np.ndarray | None, rows: np.ndarray, task: Task) -> str:
    """Why a scorer gives no number on these rows, in one line; empty where it gives one for some predictions.

    Asked are a constant prediction, and one that is right for all rows but every third.
    """
    constant = make_constant_predictions(y, task.type, task.n_classes, weights)
    moved = np.where(np.arange(len(y)) % 3 == 0, np.roll(y, 1), y)
    good = 0.8 * np.eye(task.n_classes)[moved] + 0.2 * constant if task.type.is_classification else moved
    why = ""
    for predictions in (good, constant):
        X = None if scorer.features is None else scorer.features.iloc[rows]
        try:
            if np.isfinite(scorer.score(y, predictions, weights, X)):
                return ""
            why = why or "it gives no number"
        except Exception as error:
            why = why or f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return why
