import gc

from metahp import api
from metahp.cli.startup import import_api


def test_the_garbage_collector_runs_again_after_the_import() -> None:
    assert import_api() is api
    assert gc.isenabled()
