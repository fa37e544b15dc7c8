"""The slow part of starting a command: importing the Python interface."""

import gc
from types import ModuleType


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
