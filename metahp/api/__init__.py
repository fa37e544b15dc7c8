"""The main functions: load, describe, recommend, tune, tune_objective, train and refresh."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from metahp.api.advice import find_known_learners, recommend
from metahp.api.tables import describe
from metahp.datasets.load import load

if TYPE_CHECKING:
    from metahp.api.growth import LARGE_LIMITS, SEED_LIMITS, SEED_PROTOCOL, ManifestRow, read_manifest, refresh
    from metahp.api.training import train
    from metahp.api.tuning import tune, tune_objective
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
    "read_manifest",
    "recommend",
    "refresh",
    "train",
    "tune",
    "tune_objective",
]

# Imported on first use: a recommendation needs neither search nor results.
_LAZY_MODULES = {
    **dict.fromkeys(
        ("LARGE_LIMITS", "SEED_LIMITS", "SEED_PROTOCOL", "ManifestRow", "read_manifest", "refresh"), "api.growth"
    ),
    "TuneResult": "study.result",
    "train": "api.training",
    "tune": "api.tuning",
    "tune_objective": "api.tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_MODULES:
        raise AttributeError(f"module 'metahp.api' has no attribute '{name}'")
    value = getattr(import_module(f"metahp.{_LAZY_MODULES[name]}"), name)
    globals()[name] = value
    return value
