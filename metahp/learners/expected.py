"""What a model file must hold, according to the description of its result."""

from collections.abc import Mapping
from dataclasses import dataclass

from metahp.core.configuration import Configuration
from metahp.core.task import TaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The features, classes and configuration of one fitted model.

    Attributes:
        configuration: Its learner and hyperparameters.
        task_type: Type of the task that it was fitted on.
        features: Names of its features, in order.
        categories: Categories of its categorical features, by name.
        n_classes: Number of classes that it was fitted on; 0 for regression.
    """

    configuration: Configuration
    task_type: TaskType
    features: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    n_classes: int

    @property
    def categorical(self) -> list[str]:
        """Names of the categorical features, in order."""
        return [name for name in self.features if name in self.categories]

    @property
    def numeric(self) -> list[str]:
        """Names of the other features, in order."""
        return [name for name in self.features if name not in self.categories]
