"""The worker process behind `Runner`: loads tables and measures configurations until its parent goes away."""

import functools
import math
import sys
from multiprocessing.connection import Client
from typing import Any

from metahp.core.trial import TrialState
from metahp.datasets.read import TableSource
from metahp.datasets.table import Table
from metahp.evaluation.protocol import measure
from metahp.learners.catalogue import learner_named


@functools.lru_cache(maxsize=2)
def _load(source: TableSource) -> Table:
    return source.load()


def _answer(kind: str, content: Any) -> tuple[TrialState | None, Any]:
    try:
        if kind == "load":
            _load(content)
            return None, None
        measurement = measure(
            _load(content.source), learner_named(content.configuration.learner), content.configuration, content.protocol
        )
    except MemoryError:
        return TrialState.OUT_OF_MEMORY, "out of memory"
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return TrialState.FAILED, f"{type(error).__name__}: {lines[0][:300]}"
    first = next(iter(measurement.fold_losses.values()))
    if not all(math.isfinite(loss) for loss in first):
        return TrialState.FAILED, "a loss that is not finite"
    return None, measurement


def main() -> None:
    """Serve one parent, whose address and key come on standard input; end when it closes the connection."""
    address, key = (sys.stdin.readline().strip() for _ in range(2))
    with Client(address, authkey=bytes.fromhex(key)) as connection:
        while True:
            try:
                kind, content = connection.recv()
                connection.send(_answer(kind, content))
            except (EOFError, BrokenPipeError, ConnectionResetError):
                return


if __name__ == "__main__":
    main()
