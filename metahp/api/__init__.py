"""The story, one function per verb: load, describe, recommend and refresh."""

from metahp.api.advice import adviser_key, known_learners, past_evidence, recommend, train_adviser
from metahp.api.growth import SEED_LIMITS, SEED_PROTOCOL, ManifestRow, read_manifest, refresh
from metahp.api.tables import describe, load, task_type_named

__all__ = [
    "SEED_LIMITS",
    "SEED_PROTOCOL",
    "ManifestRow",
    "adviser_key",
    "describe",
    "known_learners",
    "load",
    "past_evidence",
    "read_manifest",
    "recommend",
    "refresh",
    "task_type_named",
    "train_adviser",
]
