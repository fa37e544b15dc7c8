"""A user's own configurations: dictionaries, texts and `Configuration`s, checked against the search spaces."""

from collections.abc import Iterable, Mapping, Sequence

from metahp.core.configuration import Configuration, Value
from metahp.core.errors import InputError, UnknownHyperparameterError, did_you_mean
from metahp.core.space import Categorical, Hyperparameter, SearchSpace

Given = str | Mapping[str, Value] | Configuration


def read_configurations(given: Iterable[Given], spaces: Sequence[SearchSpace]) -> list[Configuration]:
    """The user's own configurations, each in the space that it names, or in the first one that has its names.

    Raises:
        InputError, UnknownHyperparameterError, OutOfRangeError: one that fits none of the spaces.
    """
    return [_read_configuration(item, spaces) for item in given]


def _read_configuration(given: Given, spaces: Sequence[SearchSpace]) -> Configuration:
    if isinstance(given, Configuration):
        learner, values = given.learner, given.values
    elif isinstance(given, str):
        learner, values = _split_text(given)
    else:
        values = dict(given)
        learner = str(values.pop("learner", ""))
    space = _find_space(learner, list(values), spaces)
    if isinstance(given, str):
        axes = {axis.name: axis for axis in space}
        values = {name: _read_value(axes[name], str(text)) for name, text in values.items()}
    return _convert_types(space.configuration(values), space)


def _convert_types(configuration: Configuration, space: SearchSpace) -> Configuration:
    """The same configuration with values of the types that its space gives: on a continuous axis, 1 becomes 1.0."""
    values = configuration.values
    for axis in space:
        if axis.name not in values:
            continue
        value = values[axis.name]
        if isinstance(axis, Categorical):
            values[axis.name] = axis.from_unit(axis.to_unit(value))
        elif equal := [special for special in (*axis.below, *axis.above) if special == value]:
            values[axis.name] = equal[0]
        else:
            number = float(value)  # type: ignore[arg-type]  # the space has let nothing else pass
            values[axis.name] = int(number) if axis.is_integer else number
    return Configuration.of(configuration.learner, values)


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


def _find_space(learner: str, names: Sequence[str], spaces: Sequence[SearchSpace]) -> SearchSpace:
    """The space of a learner, or, where none is named, the one that has most of the names."""
    known = {space.learner: space for space in spaces}
    if learner:
        if learner not in known:
            raise UnknownHyperparameterError(
                f"'{learner}' is not one of the learners here. {did_you_mean(learner, list(known))}"
            )
        space = known[learner]
    else:
        space = max(spaces, key=lambda each: sum(name in each.names for name in names))
    for name in names:
        if name not in space.names:
            raise UnknownHyperparameterError(
                f"'{name}' is not a hyperparameter of {space.learner}. {did_you_mean(name, list(space.names))}"
            )
    return space


def _read_value(axis: Hyperparameter, text: str) -> Value:
    """The value that a text means on an axis; the space refuses a text that means none."""
    specials = axis.choices if isinstance(axis, Categorical) else (*axis.below, *axis.above)
    for special in specials:
        if text.lower() == str(special).lower():
            return special
    if isinstance(axis, Categorical):
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if axis.is_integer and not number.is_integer():
        raise InputError(f"'{axis.name}' is a whole number, got {text}.")
    return int(number) if axis.is_integer else number
