"""Fitted models as bytes that hold data only: LightGBM's text, and skops with a list of trusted types; no pickle."""

import zipfile
from importlib import import_module
from typing import Any

from lightgbm import Booster
from lightgbm.basic import LightGBMError
from sklearn.pipeline import Pipeline

from metahp.core.errors import InputError

# A forest of 300 trees on 5,000 rows: 99 MB as it is, 20 MB at level 1, 16 MB at level 6 in more than twice the time.
COMPRESSION_LEVEL = 1
# What the learners' pipelines hold beyond the types that skops trusts by itself (scikit-learn's estimators, arrays).
TRUSTED_TYPES = frozenset(
    {
        "numpy.dtype",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.tree._tree.Tree",
    }
)


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
    data = _skops().dumps(model, compression=zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL)
    _refuse_foreign(data, "the model")
    return data


def load_model(data: bytes, name: str) -> Any:
    """The model in `data`, the content of the file called `name`.

    Raises:
        InputError: it is damaged, or holds types that no learner of ours uses.
    """
    if name.endswith(".txt"):
        try:
            return Booster(model_str=data.decode())
        except (LightGBMError, UnicodeDecodeError) as error:
            raise InputError(f"'{name}' is not a LightGBM model ({_line(error)}); tune again to replace it.") from None
    _refuse_foreign(data, f"'{name}'")
    try:
        model = _skops().loads(data, trusted=sorted(TRUSTED_TYPES))
    except Exception as error:
        # Reading what another version of scikit-learn wrote fails in as many ways as its classes have changed.
        raise InputError(
            f"'{name}' cannot be read ({_line(error)}); use the version of scikit-learn in best.json, or tune again."
        ) from None
    if not isinstance(model, Pipeline):
        raise InputError(f"'{name}' holds {type(model).__name__}, expected a Pipeline; it is no model of metahp.")
    return model


def _skops() -> Any:
    """The module `skops.io`, imported on first use.

    It loads all of scikit-learn and torch, more than half of what `metahp predict` takes to start, and a LightGBM
    model needs none of it.
    """
    return import_module("skops.io")


def _refuse_foreign(data: bytes, name: str) -> None:
    try:
        foreign = sorted(set(_skops().get_untrusted_types(data=data)) - TRUSTED_TYPES)
    except Exception as error:
        raise InputError(f"{name} is not a skops model ({_line(error)}); tune again to replace it.") from None
    if foreign:
        raise InputError(f"{name} holds {', '.join(foreign[:3])}, which no model of metahp does; it is not loaded.")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
