"""Fitted scikit-learn pipelines as skops files that hold data only, and back."""

import zipfile
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from metahp.core.errors import InputError
from metahp.learners.expected import Expected
from metahp.learners.fitted import check_fitted
from metahp.learners.skops_archive import Archive
from metahp.learners.skops_reader import ForeignError, check_types, read_skops

# A forest of 300 trees on 5,000 rows: 99 MB as it is, 20 MB at level 1, 16 MB at level 6 in more than twice the time.
COMPRESSION_LEVEL = 1


def dump_pipeline(model: Any, learner: str, trusted_types: Sequence[type] = ()) -> bytes:
    """The fitted model of a learner as a skops file.

    Raises:
        InputError: the model holds types that `load_pipeline` would refuse, or is too large.
    """
    # skops loads all of scikit-learn and torch, and only what writes a model needs it.
    skops = import_module("skops.io")
    data: bytes = skops.dumps(model, compression=zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)
    try:
        check_types(Archive.of(data).schema(), trusted_types)
    except ForeignError as error:
        raise InputError(
            f"The model holds {error}, which no learner of metahp uses and the trusted types of '{learner}' do not "
            "name; it is not written."
        ) from None
    except ValueError as error:
        raise InputError(f"The model is too large to be read again ({error}); limit its trees or depth.") from None
    return data


def load_pipeline(data: bytes, wanted: Any, expected: Expected, trusted_types: Sequence[type] = ()) -> Any:
    """The fitted model in a skops file, which must be what `wanted`, unfitted, becomes.

    Raises:
        ForeignError: it holds types that are neither known nor trusted.
        ValueError: it is damaged, or another model.
    """
    model = read_skops(data, trusted_types)
    if type(model) is not type(wanted):
        raise ValueError(f"holds {type(model).__name__}, expected a {type(wanted).__name__}")
    check_fitted(model, wanted, expected)
    return model
