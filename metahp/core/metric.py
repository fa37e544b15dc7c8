"""Metrics: scikit-learn scorer names at the border, losses (lower is better) inside."""

from dataclasses import dataclass

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.task import TaskType


@dataclass(frozen=True, slots=True)
class Metric:
    """How a score becomes a loss (lower is better): `loss = sign * (best - score)`.

    Scores come from the scikit-learn scorer called `name`, or from a user's own objective.

    Attributes:
        name: Name of the metric in trials.
        best: The score of a perfect prediction: 1 for ROC AUC, 0 for `neg_log_loss`.
        task_types: Task types for which it is defined.
        sign: +1 where a greater score is better, -1 for a cost.
    """

    name: str
    best: float
    task_types: tuple[TaskType, ...]
    sign: int = 1

    def loss(self, score: float) -> float:
        """The loss of a score."""
        # Not factored out: a cost of zero has to give a loss of 0.0, not -0.0.
        return self.sign * self.best - self.sign * score

    def score(self, loss: float) -> float:
        """The score of a loss."""
        return self.best - self.sign * loss


_CLASSES = (TaskType.BINARY, TaskType.MULTICLASS)
_ALL = (
    Metric("neg_log_loss", 0.0, _CLASSES),
    Metric("roc_auc", 1.0, (TaskType.BINARY,)),
    Metric("roc_auc_ovr", 1.0, (TaskType.MULTICLASS,)),
    Metric("accuracy", 1.0, _CLASSES),
    Metric("balanced_accuracy", 1.0, _CLASSES),
    Metric("f1_macro", 1.0, _CLASSES),
    Metric("neg_root_mean_squared_error", 0.0, (TaskType.REGRESSION,)),
    Metric("neg_mean_absolute_error", 0.0, (TaskType.REGRESSION,)),
    Metric("r2", 1.0, (TaskType.REGRESSION,)),
)
METRICS = {metric.name: metric for metric in _ALL}
# Key: whether the target is a number.
_GUIDES = {True: "neg_root_mean_squared_error", False: "accuracy"}

DEFAULT_METRIC = {
    TaskType.BINARY: "roc_auc",
    TaskType.MULTICLASS: "neg_log_loss",
    TaskType.REGRESSION: "neg_root_mean_squared_error",
}


def find_canonical_metric(name: str) -> str:
    """The name under which losses of metric `name` are stored; only ROC AUC has two names."""
    return "roc_auc" if name == "roc_auc_ovr" else name


def find_stored_metrics(*, is_classification: bool) -> tuple[str, ...]:
    """Canonical names of the metrics whose losses every trial of classification or regression has."""
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


def find_metric(task_type: TaskType, name: str | None = None) -> Metric:
    """The metric called `name`, or the default of the task type.

    Raises:
        UnknownNameError: the task type has no such metric.
        InputError: `name` is not a text.
    """
    known = [metric.name for metric in find_metrics(task_type)]
    chosen = name or DEFAULT_METRIC[task_type]
    if not isinstance(chosen, str):
        raise InputError(f"A metric is known by its name, such as '{known[0]}'; got a {type(chosen).__name__}.")
    if chosen not in known:
        raise UnknownNameError(f"'{chosen}' is not a metric for a {task_type} task. {did_you_mean(chosen, known)}")
    return METRICS[chosen]


def find_kin_metrics(name: str) -> dict[TaskType, str]:
    """The metric closest to `name` for each task type, so that tasks of different types can be compared.

    The two ROC AUC metrics belong together. For any other metric of classification, regression uses root mean squared
    error; for a metric of regression, classification uses log loss.
    """
    kin = {task_type: name for task_type in METRICS[name].task_types}
    if name in ("roc_auc", "roc_auc_ovr"):
        kin = {TaskType.BINARY: "roc_auc", TaskType.MULTICLASS: "roc_auc_ovr"}
    for task_type in TaskType:
        kin.setdefault(task_type, "neg_log_loss" if task_type.is_classification else "neg_root_mean_squared_error")
    return kin
