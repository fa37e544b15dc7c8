"""A user's own configurations: dictionaries, texts and `Configuration`s, checked against the search spaces."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from metahp.core.configuration import Arguments, Configuration, Given, Value
from metahp.core.errors import InputError, UnknownHyperparameterError, did_you_mean
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.learners.arguments import convert_types, read_arguments, read_text
from metahp.learners.fixed import Fixed
from metahp.learners.registry import find_learner


def read_configurations(
    given: Iterable[Given], spaces: Sequence[SearchSpace], task_type: TaskType | None = None
) -> list[Configuration]:
    """The user's own configurations, each of the space that it names, or of the first one that has its names.

    Args:
        given: What the user gave.
        spaces: The search spaces.
        task_type: With it, a configuration may have what the constructor of its learner takes, also outside the space.

    Raises:
        InputError, UnknownHyperparameterError, OutOfRangeError: one that fits none of the spaces.
    """
    return [_read_configuration(item, spaces, task_type) for item in given]


def apply_fixed(own: Sequence[Configuration], fixed: Fixed) -> list[Configuration]:
    """The user's own configurations with what is fixed.

    Raises:
        InputError: one of them has another value, which is not the library's default.
    """
    for configuration in own if fixed else ():
        of_learner = fixed.by_learner[configuration.learner]
        usual = of_learner.space.default.hyperparameters
        for name, value in configuration.hyperparameters.items():
            wanted = of_learner.values.get(name, value)
            if value not in (wanted, usual.get(name, wanted)):
                raise InputError(
                    f"`configurations` has {name}={value!r}, and `fixed` has {name}={wanted!r}; leave out one of them.",
                    argument="fixed",
                )
    return [fixed.apply(each) for each in own]


def _read_configuration(given: Given, spaces: Sequence[SearchSpace], task_type: TaskType | None) -> Configuration:
    learner, values = _find_values(given)
    space = _find_space(learner, list(values), spaces, task_type)
    if isinstance(given, str):
        axes = {axis.name: axis for axis in space}
        values = {name: read_text(axes.get(name), str(text)) for name, text in values.items()}
    if task_type is None:
        return space.configuration(convert_types(values, space))
    return read_arguments(find_learner(space.learner), values, task_type)


def _find_values(given: Given) -> tuple[str, Mapping[str, Any]]:
    """The learner that the user named, empty where none, and the values."""
    if isinstance(given, Configuration):
        return given.learner, given.values
    if isinstance(given, Arguments) and given.is_unchanged:
        return given.configuration.learner, given
    if isinstance(given, str):
        return _split_text(given)
    if not isinstance(given, Mapping):
        raise InputError(
            f"`configurations` has dictionaries, texts key=value,… or `Configuration` values, got {given!r:.60}.",
            argument="configurations",
        )
    values = dict(given)
    return str(values.pop("learner", "")), values


def _split_text(text: str) -> tuple[str, dict[str, Value]]:
    """The learner, empty where none is named, and the texts by name of `learner:key=value,…`."""
    head, colon, rest = text.partition(":")
    learner, body = (head.strip(), rest) if colon and "=" not in head else ("", text)
    values: dict[str, Value] = {}
    for part in filter(None, (part.strip() for part in body.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise InputError(
                f"`configurations` takes key=value pairs with commas between them, got '{part}' in '{text}'."
            )
        values[key.strip()] = value.strip()
    return learner, values


def _find_space(
    learner: str, names: Sequence[str], spaces: Sequence[SearchSpace], task_type: TaskType | None
) -> SearchSpace:
    """The space of a learner, or, where none is named, the one that has most of the names."""
    known = {space.learner: space for space in spaces}
    if learner:
        if learner not in known:
            raise UnknownHyperparameterError(
                f"'{learner}' is not one of the learners here. {did_you_mean(learner, list(known))}"
            )
        return known[learner]
    space = max(spaces, key=lambda space: sum(name in _list_names(space, task_type) for name in names))
    for name in names if task_type is None else ():
        if name not in space.names:
            raise UnknownHyperparameterError(
                f"'{name}' is not a hyperparameter of {space.learner}. {did_you_mean(name, list(space.names))}"
            )
    return space


def _list_names(space: SearchSpace, task_type: TaskType | None) -> Collection[str]:
    if task_type is None:
        return space.names
    return {*space.names, *find_learner(space.learner).further_arguments(task_type)}
