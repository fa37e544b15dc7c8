"""The heavy part of the start of a command."""

import gc
from types import ModuleType


def import_api() -> ModuleType:
    """`metahp.api`, imported without pauses of the garbage collector.

    What imports allocate stays until the process ends, so each look at it is in vain: a tenth of the time.
    """
    gc.disable()
    try:
        from metahp import api
    finally:
        gc.enable()
    return api
