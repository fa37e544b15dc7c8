"""The start of a command: names that a person gave are checked, then what is heavy is imported."""

import gc
from collections.abc import Sequence
from types import ModuleType


def check_names(file: str, *, learners: Sequence[str] | None = None, **names: str | None) -> None:
    """Refuse a missing file and wrong names before anything heavy is imported; names as of `metahp.tune`.

    Raises:
        InputError, UnknownNameError: they are refused.
    """
    from metahp.api import checks

    checks.check_names(file, learners=learners or None, **names)


def import_api() -> ModuleType:
    """`metahp.api`, imported while the garbage collector is off.

    Objects that an import makes live until the process ends, so collecting them only costs time: a tenth of the import.
    """
    gc.disable()
    try:
        from metahp import api
    finally:
        gc.enable()
    return api
