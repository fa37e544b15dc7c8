"""Metrics: scikit-learn scorer names at the border, losses (lower is better) inside."""

from dataclasses import dataclass

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.task import TaskType


@dataclass(frozen=True, slots=True)
class Metric:
    """How a score becomes a loss, of which less is better: `loss = sign * (best - score)`.

    Scores are those of the scikit-learn scorer called `name`, or of a user's own objective.

    Attributes:
        name: What trials call the metric.
        best: The score of a perfect prediction: 1 for ROC AUC, 0 for `neg_log_loss`.
        task_types: The task types that it is defined for.
        sign: +1 where a greater score is better, -1 for a cost.
    """

    name: str
    best: float
    task_types: tuple[TaskType, ...]
    sign: int = 1

    def loss(self, score: float) -> float:
        """The loss of a score."""
        # Not factored out, so that a cost of zero is a loss of 0.0 and not of -0.0.
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
# By whether the target is a number.
_GUIDES = {True: "neg_root_mean_squared_error", False: "accuracy"}

DEFAULT_METRIC = {
    TaskType.BINARY: "roc_auc",
    TaskType.MULTICLASS: "neg_log_loss",
    TaskType.REGRESSION: "neg_root_mean_squared_error",
}


def find_canonical_metric(name: str) -> str:
    """The metric under which the losses of `name` are kept for all task types of its kind: ROC AUC has two names."""
    return "roc_auc" if name == "roc_auc_ovr" else name


def find_stored_metrics(*, is_classification: bool) -> tuple[str, ...]:
    """The canonical metrics of classification or regression, whose losses every trial has."""
    types = _CLASSES if is_classification else (TaskType.REGRESSION,)
    return tuple(dict.fromkeys(find_canonical_metric(each.name) for each in _ALL if set(each.task_types) & set(types)))


def find_guiding_metric(name: str) -> str:
    """The metric whose meta-model serves `name`, as a canonical name: similar tasks are similar by either.

    Rankings are guided by ROC AUC, probabilities by log loss and decisions by accuracy; scores of numbers by root mean
    squared error. Log loss was a poorer guide for accuracy: on 202 tables left out once it gave a regret of .57, .35,
    .29 and .24 at k = 1, 3, 5 and 10, a model of accuracy .55, .33, .29 and .21.
    """
    own = find_canonical_metric(name)
    return own if own in ("roc_auc", "neg_log_loss") else _GUIDES[METRICS[name].task_types == (TaskType.REGRESSION,)]


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
    elif name not in METRICS:
        raise UnknownNameError(f"'{name}' is not a metric. {did_you_mean(name, list(METRICS))}", argument="metric")


def find_metric(task_type: TaskType, name: str | None = None) -> Metric:
    """The metric called `name`, or the default of the task type.

    Raises:
        UnknownNameError: no such metric for this task type; InputError: what is given is no name.
    """
    known = [metric.name for metric in find_metrics(task_type)]
    chosen = name or DEFAULT_METRIC[task_type]
    if not isinstance(chosen, str):
        raise InputError(f"A metric is known by its name, such as '{known[0]}'; got a {type(chosen).__name__}.")
    if chosen not in known:
        raise UnknownNameError(f"'{chosen}' is not a metric for a {task_type} task. {did_you_mean(chosen, known)}")
    return METRICS[chosen]


def find_kin_metrics(name: str) -> dict[TaskType, str]:
    """For each task type the metric that is closest to `name`, so that tasks of different types can be compared.

    A ranking of two classes is closest to rankings of several; a regression is measured by its root mean squared
    error beside any metric of classes, and classes by their log loss beside any metric of numbers.
    """
    own = METRICS[name]
    kin = {task_type: name for task_type in own.task_types}
    if name in ("roc_auc", "roc_auc_ovr"):
        kin = {TaskType.BINARY: "roc_auc", TaskType.MULTICLASS: "roc_auc_ovr"}
    for task_type in TaskType:
        kin.setdefault(task_type, "neg_log_loss" if task_type.is_classification else "neg_root_mean_squared_error")
    return kin
