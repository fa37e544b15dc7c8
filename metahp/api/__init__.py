"""The story, one function per verb: load, describe, recommend, tune, tune_objective, train and refresh.

All of it is imported on first use, so that a wrong name is refused before anything heavy is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metahp.api.growth import LARGE_LIMITS, SEED_LIMITS, SEED_PROTOCOL, ManifestRow, read_manifest, refresh_seed
    from metahp.api.known_learners import find_known_learners
    from metahp.api.own_tables import refresh
    from metahp.api.training import train
    from metahp.api.verbs import describe, load, load_result, read, recommend, tune, tune_objective
    from metahp.study.result import TuneResult

__all__ = [
    "LARGE_LIMITS",
    "SEED_LIMITS",
    "SEED_PROTOCOL",
    "ManifestRow",
    "TuneResult",
    "describe",
    "find_known_learners",
    "load",
    "load_result",
    "read",
    "read_manifest",
    "recommend",
    "refresh",
    "refresh_seed",
    "train",
    "tune",
    "tune_objective",
]

_LAZY_MODULES = {
    **dict.fromkeys(
        ("LARGE_LIMITS", "SEED_LIMITS", "SEED_PROTOCOL", "ManifestRow", "read_manifest", "refresh_seed"), "api.growth"
    ),
    **dict.fromkeys(("describe", "load", "load_result", "read", "recommend", "tune", "tune_objective"), "api.verbs"),
    "TuneResult": "study.result",
    "find_known_learners": "api.known_learners",
    "refresh": "api.own_tables",
    "train": "api.training",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_MODULES:
        raise AttributeError(f"module 'metahp.api' has no attribute '{name}'")
    value = getattr(import_module(f"metahp.{_LAZY_MODULES[name]}"), name)
    globals()[name] = value
    return value
