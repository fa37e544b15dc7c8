"""A user's own learner, registered while the tests of a file run."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import metahp
from metahp.learners import registry


@pytest.fixture(scope="module")
def neighbours() -> Iterator[type[metahp.Learner]]:
    """The class in `nearest_neighbours.py`, registered while these tests run."""
    before = dict(registry._learners.references)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        patch.delitem(sys.modules, "nearest_neighbours", raising=False)
        kind = import_module("nearest_neighbours").Neighbours
        metahp.register_learner(kind)
        yield kind
    registry._learners.references = before
    registry._learners._loaded.pop("neighbours")
