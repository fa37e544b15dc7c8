"""What the description of a result says of a model file, and the file must agree with."""

from collections.abc import Mapping
from dataclasses import dataclass

from metahp.core.configuration import Configuration
from metahp.core.task import TaskType


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The features, classes and configuration of one fitted model.

    Attributes:
        configuration: Which learner it is, and with which hyperparameters.
        task_type: Of the task that it was fitted on.
        features: Names of its features, in order.
        categories: Categories of those features that have them, by name.
        n_classes: Number of classes it was fitted on; 0 for a regression.
    """

    configuration: Configuration
    task_type: TaskType
    features: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    n_classes: int

    @property
    def categorical(self) -> list[str]:
        """Names of the features that have categories, in order."""
        return [name for name in self.features if name in self.categories]

    @property
    def numeric(self) -> list[str]:
        """Names of the other features, in order."""
        return [name for name in self.features if name not in self.categories]
