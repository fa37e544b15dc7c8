"""Metrics: scikit-learn scorer names at the border, losses (lower is better) inside."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.task import TaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How a score becomes a loss (lower is better): `loss = sign * (best - score)`.

    Scores come from the scikit-learn scorer called `name`, or from a user's own objective.

    Attributes:
        name: Name of the metric in trials.
        best: The score of a perfect prediction: 1 for ROC AUC, 0 for `neg_log_loss`.
        task_types: Task types for which it is defined.
        sign: +1 where a greater score is better, -1 for a cost.
        stand_in: The metric whose losses on past tasks stand in for its own, which they do not have; empty for none.
    """

    name: str = field(kw_only=False)
    best: float = field(kw_only=False)
    task_types: tuple[TaskType, ...] = field(kw_only=False)
    sign: int = 1
    stand_in: str = ""

    def loss(self, score: float) -> float:
        """The loss of a score."""
        # Not factored out: a cost of zero has to give a loss of 0.0, not -0.0.
        return self.sign * self.best - self.sign * score

    def score(self, loss: float) -> float:
        """The score of a loss."""
        return self.best - self.sign * loss

    @property
    def label(self) -> str:
        """The name in texts for a person: `RMSE` for `neg_root_mean_squared_error`."""
        if self.name in _LABELS or not self.task_types:
            return _LABELS.get(self.name, self.name)
        return self.name.removeprefix(_NEGATED).replace("_", " ")

    @property
    def past_name(self) -> str:
        """Name of the metric by which past tasks are asked: its own, or that of its stand-in."""
        return self.stand_in or self.name

    def speak(self, score: float) -> float:
        """The number in texts for a person: scikit-learn's negated errors as the errors that people know.

        It belongs to `label`: a score of -5.2 by `neg_root_mean_squared_error` is an RMSE of 5.2.
        """
        # Not negated, so that an error of zero is 0.0 and not -0.0.
        return 0.0 - score if self.is_negated else score

    @property
    def is_negated(self) -> bool:
        """Whether the number that people know is the negated score."""
        return self.name.startswith(_NEGATED) and bool(self.task_types)


_NEGATED = "neg_"
_CLASSES = (TaskType.BINARY, TaskType.MULTICLASS)
_OF_LABELS = ("f1", "precision", "recall", "jaccard")
_OF_CLASSES_MACRO = {"precision": "f1_macro", "recall": "balanced_accuracy", "jaccard": "f1_macro"}
_ALL = (
    Metric("neg_log_loss", 0.0, _CLASSES),
    Metric("roc_auc", 1.0, (TaskType.BINARY,)),
    Metric("roc_auc_ovr", 1.0, (TaskType.MULTICLASS,)),
    Metric("accuracy", 1.0, _CLASSES),
    Metric("balanced_accuracy", 1.0, _CLASSES),
    Metric("f1_macro", 1.0, _CLASSES),
    Metric("f1", 1.0, (TaskType.BINARY,), stand_in="f1_macro"),
    Metric("average_precision", 1.0, _CLASSES, stand_in="roc_auc"),
    Metric("neg_brier_score", 0.0, _CLASSES, stand_in="neg_log_loss"),
    Metric("neg_root_mean_squared_error", 0.0, (TaskType.REGRESSION,)),
    Metric("neg_mean_absolute_error", 0.0, (TaskType.REGRESSION,)),
    Metric("neg_mean_absolute_percentage_error", 0.0, (TaskType.REGRESSION,), stand_in="neg_mean_absolute_error"),
    Metric("neg_root_mean_squared_log_error", 0.0, (TaskType.REGRESSION,), stand_in="neg_mean_absolute_error"),
    Metric("r2", 1.0, (TaskType.REGRESSION,)),
)
METRICS = {metric.name: metric for metric in _ALL}
# scikit-learn's other scorers of predictions, as losses without a lower bound, each with the nearest stored metric.
_NUMBERS, _TWO, _SEVERAL = (TaskType.REGRESSION,), (TaskType.BINARY,), (TaskType.MULTICLASS,)
_NEAREST: tuple[tuple[str, tuple[TaskType, ...], str], ...] = (
    ("matthews_corrcoef", _CLASSES, "balanced_accuracy"),
    ("precision", _TWO, "f1_macro"),
    ("recall", _TWO, "f1_macro"),
    ("jaccard", _TWO, "f1_macro"),
    *((f"{name}_macro", _CLASSES, near) for name, near in _OF_CLASSES_MACRO.items()),
    *((f"{name}_{mean}", _CLASSES, "accuracy") for name in _OF_LABELS for mean in ("micro", "weighted")),
    ("positive_likelihood_ratio", _TWO, "balanced_accuracy"),
    ("neg_negative_likelihood_ratio", _TWO, "balanced_accuracy"),
    ("d2_log_loss_score", _CLASSES, "neg_log_loss"),
    ("d2_brier_score", _CLASSES, "neg_log_loss"),
    ("top_k_accuracy", _SEVERAL, "neg_log_loss"),
    ("roc_auc_ovo", _SEVERAL, "roc_auc_ovr"),
    ("roc_auc_ovr_weighted", _SEVERAL, "roc_auc_ovr"),
    ("roc_auc_ovo_weighted", _SEVERAL, "roc_auc_ovr"),
    ("explained_variance", _NUMBERS, "r2"),
    ("d2_absolute_error_score", _NUMBERS, "neg_mean_absolute_error"),
    ("neg_max_error", _NUMBERS, "neg_root_mean_squared_error"),
    ("neg_mean_squared_error", _NUMBERS, "neg_root_mean_squared_error"),
    ("neg_median_absolute_error", _NUMBERS, "neg_mean_absolute_error"),
    ("neg_mean_squared_log_error", _NUMBERS, "neg_mean_absolute_error"),
    ("neg_mean_poisson_deviance", _NUMBERS, "neg_root_mean_squared_error"),
    ("neg_mean_gamma_deviance", _NUMBERS, "neg_mean_absolute_error"),
)
SCORERS = {name: Metric(name, 0.0, task_types, stand_in=near) for name, task_types, near in _NEAREST}
_LABELS = {
    "neg_log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "roc_auc_ovr": "ROC AUC (one-vs-rest)",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "f1": "F1",
    "average_precision": "average precision",
    "neg_brier_score": "Brier score",
    "neg_root_mean_squared_error": "RMSE",
    "neg_mean_absolute_error": "MAE",
    "neg_mean_absolute_percentage_error": "MAPE",
    "neg_root_mean_squared_log_error": "RMSLE",
    "r2": "R²",
}
# Other names of metrics, in lower case with `_` between words. The first metric that the task type has is meant.
ALIASES: dict[str, tuple[str, ...]] = {
    "log_loss": ("neg_log_loss",),
    "logloss": ("neg_log_loss",),
    "cross_entropy": ("neg_log_loss",),
    "auc": ("roc_auc", "roc_auc_ovr"),
    "rocauc": ("roc_auc", "roc_auc_ovr"),
    "auroc": ("roc_auc", "roc_auc_ovr"),
    "acc": ("accuracy",),
    "bacc": ("balanced_accuracy",),
    "macro_f1": ("f1_macro",),
    "f1_score": ("f1",),
    "ap": ("average_precision",),
    "pr_auc": ("average_precision",),
    "auprc": ("average_precision",),
    "brier": ("neg_brier_score",),
    "brier_score": ("neg_brier_score",),
    "rmsle": ("neg_root_mean_squared_log_error",),
    "root_mean_squared_log_error": ("neg_root_mean_squared_log_error",),
    "rmse": ("neg_root_mean_squared_error",),
    "root_mean_squared_error": ("neg_root_mean_squared_error",),
    "mae": ("neg_mean_absolute_error",),
    "mean_absolute_error": ("neg_mean_absolute_error",),
    "mape": ("neg_mean_absolute_percentage_error",),
    "mean_absolute_percentage_error": ("neg_mean_absolute_percentage_error",),
    "r2_score": ("r2",),
    "r²": ("r2",),
    "r_squared": ("r2",),
}
# The metric whose losses on past tasks stand in for those of another, which the seed's trials do not have.
STAND_INS = {metric.name: metric.stand_in for metric in _ALL if metric.stand_in}
# Key: whether the target is a number.
_GUIDES = {True: "neg_root_mean_squared_error", False: "accuracy"}

DEFAULT_METRIC = {
    TaskType.BINARY: "roc_auc",
    TaskType.MULTICLASS: "neg_log_loss",
    TaskType.REGRESSION: "neg_root_mean_squared_error",
}


def find_canonical_metric(name: str) -> str:
    """The metric whose losses on past tasks answer questions about `name`.

    ROC AUC has two names, for two classes and for several, and is kept under one. Metrics that past tasks were not
    measured by have a stand-in.
    """
    return "roc_auc" if name == "roc_auc_ovr" else STAND_INS.get(name, name)


def find_stored_metrics(*, is_classification: bool) -> tuple[str, ...]:
    """The canonical metrics of classification or regression, whose losses past tasks have."""
    types = _CLASSES if is_classification else (TaskType.REGRESSION,)
    return tuple(dict.fromkeys(find_canonical_metric(each.name) for each in _ALL if set(each.task_types) & set(types)))


def find_guiding_metric(name: str) -> str:
    """Canonical name of the metric whose meta-model is used for `name`: similar tasks are similar by both metrics.

    ROC AUC serves rankings, log loss serves probabilities, accuracy serves decisions, and root mean squared error
    serves regression. Accuracy is not served by log loss: on 202 tables, each left out once, log loss
    gave a regret of .57, .35, .29 and .24 at k = 1, 3, 5 and 10, and a model of accuracy .55, .33, .29 and .21.
    """
    canonical = find_canonical_metric(name)
    if canonical in ("roc_auc", "neg_log_loss"):
        return canonical
    return _GUIDES[METRICS[name].task_types == (TaskType.REGRESSION,)]


def find_metrics(task_type: TaskType) -> tuple[Metric, ...]:
    """The metrics that every trial of a task of this type stores."""
    return tuple(metric for metric in _ALL if task_type in metric.task_types)


def check_metric_name(name: object, task_type: TaskType | None = None) -> None:
    """Refuse a name that no metric has, or none of this task type; None is the default metric.

    Raises:
        UnknownNameError, InputError: as of `find_metric`.
    """
    if name is None or not isinstance(name, str) or not name:
        return
    if task_type is not None:
        find_metric(task_type, name)
    elif not any(meant in METRICS or meant in SCORERS for meant in _find_meant(name)):
        raise UnknownNameError(f"'{name}' is not a metric. {_suggest(name, list(METRICS))}", argument="metric")


def find_metric(task_type: TaskType, name: str | None = None) -> Metric:
    """The metric called `name`, or the default of the task type.

    `name` is that of a scikit-learn scorer or one of `ALIASES`, in upper or lower case: `RMSE`, `log loss`, `auc`.

    Raises:
        UnknownNameError: the task type has no such metric.
        InputError: `name` is not a text.
    """
    known = [metric.name for metric in find_metrics(task_type)]
    chosen = name or DEFAULT_METRIC[task_type]
    if not isinstance(chosen, str):
        raise InputError(f"A metric is known by its name, such as '{known[0]}'; got a {type(chosen).__name__}.")
    for meant in _find_meant(chosen):
        if meant in known:
            return METRICS[meant]
        if meant in SCORERS and task_type in SCORERS[meant].task_types:
            return SCORERS[meant]
    others = [name for name, metric in SCORERS.items() if task_type in metric.task_types]
    raise UnknownNameError(
        f"'{chosen}' is not a metric for a {task_type} task. {_suggest(chosen, known)} "
        f"Also scikit-learn's {', '.join(others)}.",
        argument="metric",
    )


def _find_word(name: str) -> str:
    """A name in lower case, with `_` between words."""
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def _find_meant(name: str) -> tuple[str, ...]:
    """Names of metrics that a name may mean, among names that no metric has."""
    word = _find_word(name)
    return (name, word, *ALIASES.get(word, ()))


def _suggest(name: str, known: Sequence[str]) -> str:
    """The known metrics, each by one name, and the closest one."""
    aliases = {meant: alias for alias, all_meant in reversed(ALIASES.items()) for meant in all_meant}
    return did_you_mean(
        _find_word(name), [aliases.get(each, each) if each.startswith(_NEGATED) else each for each in known]
    )


def find_kin_metrics(name: str) -> dict[TaskType, str]:
    """The metric closest to `name` for each task type, so that tasks of different types can be compared.

    The two ROC AUC metrics belong together. For any other metric of classification, regression uses root mean squared
    error; for a metric of regression, classification uses log loss.
    """
    kin = {task_type: name for task_type in METRICS[name].task_types}
    if name in ("roc_auc", "roc_auc_ovr"):
        kin = {TaskType.BINARY: "roc_auc", TaskType.MULTICLASS: "roc_auc_ovr"}
    if name == "f1":
        kin[TaskType.MULTICLASS] = "f1_macro"
    for task_type in TaskType:
        kin.setdefault(task_type, "neg_log_loss" if task_type.is_classification else "neg_root_mean_squared_error")
    return kin
