"""Starting hyperparameters for a new table, learned from past tasks.

Only the names that this module exports are public; all other modules may change without notice. Names are imported on
first use: `import metahp` alone loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metahp.api import (
        TuneResult,
        describe,
        load,
        load_result,
        read,
        recommend,
        refresh,
        train,
        tune,
        tune_objective,
    )
    from metahp.core.configuration import Configuration
    from metahp.core.errors import (
        InputError,
        KnowledgeBaseError,
        MetahpError,
        MetahpWarning,
        UnknownNameError,
        WorkerError,
    )
    from metahp.core.space import Categorical, Float, Integer, SearchSpace
    from metahp.core.task import Task, TaskType
    from metahp.core.trial import Origin, Trial, TrialState
    from metahp.datasets.table import Table
    from metahp.knowledge.store import KnowledgeBase
    from metahp.learners.base import Learner
    from metahp.learners.encoder import make_encoder
    from metahp.learners.registry import register_learner
    from metahp.learners.table_estimator import TableEstimator
    from metahp.metafeatures.extract import MetaFeatures
    from metahp.recommendation.result import Recommendation, Recommended
    from metahp.results.model import TunedModel

__all__ = [
    "Categorical",
    "Configuration",
    "Float",
    "InputError",
    "Integer",
    "KnowledgeBase",
    "KnowledgeBaseError",
    "Learner",
    "MetaFeatures",
    "MetahpError",
    "MetahpWarning",
    "Origin",
    "Recommendation",
    "Recommended",
    "SearchSpace",
    "Table",
    "TableEstimator",
    "Task",
    "TaskType",
    "Trial",
    "TrialState",
    "TuneResult",
    "TunedModel",
    "UnknownNameError",
    "WorkerError",
    "__version__",
    "describe",
    "load",
    "load_result",
    "make_encoder",
    "read",
    "recommend",
    "refresh",
    "register_learner",
    "train",
    "tune",
    "tune_objective",
]

_MODULES = {
    "Categorical": "core.space",
    "Configuration": "core.configuration",
    "Float": "core.space",
    "InputError": "core.errors",
    "Integer": "core.space",
    "KnowledgeBase": "knowledge.store",
    "KnowledgeBaseError": "core.errors",
    "Learner": "learners.base",
    "MetaFeatures": "metafeatures.extract",
    "MetahpError": "core.errors",
    "MetahpWarning": "core.errors",
    "Origin": "core.trial",
    "Recommendation": "recommendation.result",
    "Recommended": "recommendation.result",
    "SearchSpace": "core.space",
    "Table": "datasets.table",
    "TableEstimator": "learners.table_estimator",
    "Task": "core.task",
    "TaskType": "core.task",
    "Trial": "core.trial",
    "TrialState": "core.trial",
    "TuneResult": "api",
    "TunedModel": "results.model",
    "UnknownNameError": "core.errors",
    "WorkerError": "core.errors",
    "describe": "api",
    "load": "api",
    "load_result": "api",
    "make_encoder": "learners.encoder",
    "read": "api",
    "recommend": "api",
    "refresh": "api",
    "register_learner": "learners.registry",
    "train": "api",
    "tune": "api",
    "tune_objective": "api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Not at the top: importing `importlib.metadata` takes a sixth of the time of `metahp --help`.
        from importlib.metadata import version

        return version("metahp")
    if name not in _MODULES:
        raise AttributeError(f"module 'metahp' has no attribute '{name}'")
    value = getattr(import_module(f"metahp.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
