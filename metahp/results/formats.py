"""The file of a fitted model, read by its learner; a file may come from anybody, so every failure is one line."""

from typing import Any

from metahp.core.errors import InputError
from metahp.learners.expected import Expected
from metahp.learners.registry import find_learner
from metahp.learners.skops_reader import ForeignError


def load_model(data: bytes, name: str, expected: Expected) -> Any:
    """The model in `data`, the content of the file called `name`.

    Raises:
        InputError: it is damaged, holds what its learner does not write, or is not the model that was expected.
        UnknownNameError: there is no such learner.
    """
    learner = find_learner(expected.configuration.learner)
    try:
        return learner.load(data, expected)
    except ForeignError as error:
        raise InputError(
            f"'{name}' holds {describe_error(error)}, which no model of metahp does; it is not loaded."
        ) from None
    except Exception as error:
        # A crafted or damaged file, or one of another version of a library, fails in as many ways as there are classes.
        raise InputError(
            f"'{name}' is not a {learner.file_format} model that metahp wrote for this result "
            f"({describe_error(error)}); use the versions in best.json, or tune again."
        ) from None


def describe_error(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".") or type(error).__name__
