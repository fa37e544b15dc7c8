"""Fitted scikit-learn pipelines to and from skops files, which hold data and no code."""

import zipfile
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from metahp.core.errors import InputError
from metahp.learners.expected import Expected
from metahp.learners.pipeline_check import check_fitted
from metahp.learners.skops_archive import Archive
from metahp.learners.skops_reader import ForeignError, check_types, read_skops

# A forest of 300 trees on 5,000 rows takes 99 MB uncompressed, 20 MB at level 1, and 16 MB at level 6, which takes more
# than twice as long.
COMPRESSION_LEVEL = 1


def dump_pipeline(model: Any, learner: str, trusted_types: Sequence[type] = ()) -> bytes:
    """The content of a skops file of the learner's fitted model.

    Raises:
        InputError: the model holds types that `load_pipeline` would refuse, or is too large.
    """
    # Imported here, as skops loads all of scikit-learn and torch, and reading a model does not need it.
    skops = import_module("skops.io")
    data: bytes = skops.dumps(model, compression=zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)
    try:
        check_types(Archive.open(data).read_schema(), trusted_types)
    except ForeignError as error:
        raise InputError(
            f"The model holds {error}, which no learner of metahp uses, so it is not written; "
            f"add it to trusted_types of the learner '{learner}' if you trust it."
        ) from None
    except ValueError as error:
        raise InputError(
            f"The model is too large to be read again ({error}); limit its number or depth of trees."
        ) from None
    return data


def load_pipeline(data: bytes, unfitted: Any, expected: Expected, trusted_types: Sequence[type] = ()) -> Any:
    """The fitted model in the skops file `data`; it must be a fit of the estimator `unfitted`.

    Raises:
        ForeignError: the file holds types that are neither known nor trusted.
        ValueError: the file is damaged, or holds another model.
    """
    model = read_skops(data, trusted_types)
    if type(model) is not type(unfitted):
        raise ValueError(f"holds {type(model).__name__}, expected a {type(unfitted).__name__}")
    check_fitted(model, unfitted, expected)
    return model
