"""Constructor arguments as configurations and back, those outside the search space included."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from metahp.core.configuration import FIXED, Arguments, Configuration, Value
from metahp.core.errors import InputError, OutOfRangeError, UnknownHyperparameterError, did_you_mean
from metahp.core.space import Categorical, Hyperparameter, SearchSpace
from metahp.core.task import TaskType
from metahp.learners.registry import LEARNERS, find_learner

if TYPE_CHECKING:
    from metahp.learners.base import Learner

# Texts that stand for other values than numbers and texts.
_SPOKEN: dict[str, Value] = {"none": None, "true": True, "false": False}
# Arguments that belong to the run and not to a configuration; these change no result, so they are left out.
IDLE = ("n_jobs", "verbose", "verbosity", "silent", "warm_start", "importance_type", "oob_score")


def make_arguments(configuration: Configuration) -> dict[str, Any]:
    """The arguments of the learner's constructor; for a user's own objective, the values of the configuration."""
    bare = configuration.with_arguments(None)
    if configuration.learner not in LEARNERS:
        return bare.hyperparameters
    fixed = {} if configuration.seed is None else {"random_state": configuration.seed}
    return {**find_learner(configuration.learner).constructor_arguments(bare), **fixed}


def show_arguments(configuration: Configuration) -> Configuration:
    """The same configuration, which as a mapping has the arguments of the learner's constructor."""
    return configuration.with_arguments(make_arguments(configuration))


def read_arguments(learner: "Learner", given: Mapping[str, Any], task_type: TaskType) -> Configuration:
    """The configuration with these arguments of the learner's constructor, and defaults for the others.

    It lies outside the search space where a value does, or where an argument is none of its hyperparameters and is not
    the library's default. Arguments without an effect on the result (`n_jobs`, `verbose`) are left out.

    Raises:
        UnknownHyperparameterError: the constructor takes no such argument.
        OutOfRangeError: it takes no such value.
        InputError: `random_state`, which belongs to the study, or a value that no configuration can hold.
    """
    space = learner.space(task_type)
    if isinstance(given, Arguments) and given.is_unchanged and given.configuration.arguments is not None:
        bare = given.configuration.with_arguments(None)
        if FIXED not in bare.stored:
            return bare
        # What another study fixed are values like the others here, its seed aside.
        given = bare.hyperparameters
    values = {name: make_plain(learner, name, value) for name, value in given.items() if name not in IDLE}
    values = convert_types(values, space)
    _drop_random_state(values)
    known = {name: value for name, value in values.items() if name in space.names}
    further = {name: value for name, value in values.items() if name not in space.names}
    for name, value in values.items():
        check_argument(learner, space, name, value, task_type)
    chosen = space.activate(known)
    configuration = Configuration.outside(learner.name, chosen)
    with suppress(OutOfRangeError):
        configuration = space.configuration(known)
    usual = {**learner.further_arguments(task_type), **make_arguments(configuration)}
    further = {name: value for name, value in further.items() if not _is_same(value, usual[name])}
    return Configuration.outside(learner.name, {**chosen, **further}) if further else configuration


def check_outside(configuration: Configuration, task_type: TaskType) -> bool:
    """Whether the learner of a configuration outside its search space takes all its values."""
    learner = find_learner(configuration.learner)
    space = learner.space(task_type)
    try:
        for name, value in configuration.hyperparameters.items():
            check_argument(learner, space, name, value, task_type)
    except (UnknownHyperparameterError, OutOfRangeError):
        return False
    return True


def convert_types(values: Mapping[str, Value], space: SearchSpace) -> dict[str, Value]:
    """The same values with the types that the space gives: on a continuous axis, 1 becomes 1.0."""
    axes = {axis.name: axis for axis in space}
    return {name: _convert_type(axes[name], value) if name in axes else value for name, value in values.items()}


def _convert_type(axis: Hyperparameter, value: Value) -> Value:
    specials = axis.choices if isinstance(axis, Categorical) else (*axis.below, *axis.above)
    for special in specials:
        if _is_same(value, special):
            return special
    if isinstance(axis, Categorical) or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if axis.is_integer:
        return int(value) if float(value).is_integer() else value
    return float(value)


def make_plain(learner: "Learner", name: str, value: Any) -> Value:
    """A value as a configuration holds it: signs of monotone constraints as text, a number of numpy as one of Python.

    Raises:
        InputError: no configuration can hold it.
    """
    if name == learner.monotone_argument and isinstance(value, list | tuple | np.ndarray):
        return ",".join(str(sign) for sign in value)
    if name == learner.monotone_argument and isinstance(value, str):
        return value.strip("()")
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    raise InputError(
        f"The value of '{name}' is a number, a text, a truth value or None, got {value!r:.60}. A configuration is kept "
        "as such values."
    )


def _drop_random_state(values: dict[str, Value]) -> None:
    given = values.pop("random_state", None)
    if given is not None:
        raise InputError(
            f"`random_state` of a configuration is that of the study: leave it out, and give `seed={given}`.",
            argument="configurations",
        )


def check_argument(learner: "Learner", space: SearchSpace, name: str, value: Value, task_type: TaskType) -> None:
    """Refuse an argument or a value that the learner's constructor does not take.

    Raises:
        UnknownHyperparameterError, OutOfRangeError: it is refused.
    """
    axis = next((axis for axis in space if axis.name == name), None)
    if axis is None and name not in learner.further_arguments(task_type):
        raise UnknownHyperparameterError(
            f"'{name}' is not a hyperparameter of {learner.name}, and no argument of its constructor that a "
            f"configuration may have. {did_you_mean(name, list(space.names))}"
        )
    if axis is not None:
        try:
            axis.to_unit(value)
            return
        except OutOfRangeError:
            if learner.takes(name, value, task_type):
                return
            raise
    if not learner.takes(name, value, task_type):
        raise OutOfRangeError(f"{learner.name} takes no value {value!r} for '{name}' here.")


def read_text(axis: Hyperparameter | None, text: str) -> Value:
    """The value that a text means on an axis, or of an argument without one; the space refuses one that means none.

    Raises:
        InputError: the axis has whole numbers, and the text is another number.
    """
    if axis is None:
        return _SPOKEN.get(text.lower(), _read_number(text))
    specials = axis.choices if isinstance(axis, Categorical) else (*axis.below, *axis.above)
    for special in specials:
        if text.lower() == str(special).lower():
            return special
    if isinstance(axis, Categorical):
        return text
    number = _read_number(text)
    if isinstance(number, float) and axis.is_integer:
        if not number.is_integer():
            raise InputError(f"'{axis.name}' is a whole number, got {text}.")
        return int(number)
    return number


def _read_number(text: str) -> Value:
    """The number that a text means; the text itself where it means none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _is_same(value: Value, other: Any) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)
