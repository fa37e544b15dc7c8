"""Fitted models as bytes that hold data only (LightGBM's text, skops), and back; a file may come from anybody."""

import zipfile
from importlib import import_module
from typing import Any

from lightgbm import Booster
from sklearn.pipeline import Pipeline

from metahp.core.errors import InputError
from metahp.results.expected import Expected
from metahp.results.fitted import check_fitted
from metahp.results.lightgbm_text import checked_text, n_models
from metahp.results.skops_archive import Archive
from metahp.results.skops_reader import ForeignError, check_types, read_skops

# A forest of 300 trees on 5,000 rows: 99 MB as it is, 20 MB at level 1, 16 MB at level 6 in more than twice the time.
COMPRESSION_LEVEL = 1


def suffix_of(model: Any) -> str:
    """The suffix of the file that the model is kept in."""
    return "txt" if isinstance(model, Booster) else "skops"


def dump_model(model: Any) -> bytes:
    """The model as bytes.

    Raises:
        InputError: the model holds types that `load_model` would refuse.
    """
    if isinstance(model, Booster):
        return model.model_to_string().encode()
    # skops loads all of scikit-learn and torch, and only what writes a model needs it.
    skops = import_module("skops.io")
    data: bytes = skops.dumps(model, compression=zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)
    try:
        check_types(Archive.of(data).schema())
    except ForeignError as error:
        raise InputError(f"The model holds {error}, which no learner of metahp uses; it is not written.") from None
    except ValueError as error:
        raise InputError(f"The model is too large to be read again ({error}); limit its trees or depth.") from None
    return data


def load_model(data: bytes, name: str, expected: Expected) -> Any:
    """The model in `data`, the content of the file called `name`.

    Raises:
        InputError: it is damaged, holds what no learner of ours writes, or is not the model that was expected.
    """
    is_text = name.endswith(".txt")
    try:
        return _booster(data, expected) if is_text else _pipeline(data, expected)
    except ForeignError as error:
        raise InputError(
            f"'{name}' holds {reason_of(error)}, which no model of metahp does; it is not loaded."
        ) from None
    except Exception as error:
        # A crafted or damaged file, or one of another version of a library, fails in as many ways as there are classes.
        raise InputError(
            f"'{name}' is not a {'LightGBM' if is_text else 'skops'} model that metahp wrote for this result "
            f"({reason_of(error)}); use the versions in best.json, or tune again."
        ) from None


def _booster(data: bytes, expected: Expected) -> Booster:
    if expected.configuration.learner != "lightgbm":
        raise ValueError(f"expected a model of {expected.configuration.learner}")
    booster = Booster(model_str=checked_text(data, expected))
    found = booster.num_feature(), booster.num_model_per_iteration()
    if found != (len(expected.features), n_models(expected)):
        raise ValueError(f"expected {len(expected.features)} features, found {found[0]}")
    return booster


def _pipeline(data: bytes, expected: Expected) -> Pipeline:
    model = read_skops(data)
    if type(model) is not Pipeline:
        raise ValueError(f"holds {type(model).__name__}, expected a Pipeline")
    check_fitted(model, expected)
    return model


def reason_of(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".") or type(error).__name__
