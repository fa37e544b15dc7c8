"""A user's own configurations: dictionaries, texts and `Configuration`s, checked against the search spaces."""

from collections.abc import Iterable, Mapping, Sequence

from metahp.core.configuration import Configuration, Value
from metahp.core.errors import InputError, UnknownHyperparameterError, did_you_mean
from metahp.core.space import Categorical, Hyperparameter, SearchSpace

Given = str | Mapping[str, Value] | Configuration


def configurations_of(given: Iterable[Given], spaces: Sequence[SearchSpace]) -> list[Configuration]:
    """The user's own configurations, each in the one of `spaces` that it names, or the first that has its names."""
    found = []
    for one in given:
        if isinstance(one, Configuration):
            learner, values = one.learner, one.values
        elif isinstance(one, str):
            learner, values = _pairs(one)
        else:
            values = dict(one)
            learner = str(values.pop("learner", ""))
        space = _space_of(learner, list(values), spaces)
        if isinstance(one, str):
            axes = {axis.name: axis for axis in space}
            values = {key: _value(axes[key], str(text)) for key, text in values.items()}
        found.append(space.configuration(values))
    return [_canonical(configuration, spaces) for configuration in found]


def _canonical(configuration: Configuration, spaces: Sequence[SearchSpace]) -> Configuration:
    """The same configuration with values of the types that its space gives: 1 and 1.0 are one on a continuous axis."""
    [space] = [space for space in spaces if space.learner == configuration.learner]
    values = configuration.values
    for axis in space:
        if axis.name not in values:
            continue
        value = values[axis.name]
        if isinstance(axis, Categorical):
            values[axis.name] = axis.from_unit(axis.to_unit(value))
        elif special := [one for one in (*axis.below, *axis.above) if one == value]:
            values[axis.name] = special[0]
        else:
            number = float(value)  # type: ignore[arg-type]  # the space has let nothing else pass
            values[axis.name] = int(number) if axis.is_integer else number
    return Configuration.of(configuration.learner, values)


def _pairs(text: str) -> tuple[str, dict[str, Value]]:
    """Learner (empty where it is not named) and texts by name of `learner:key=value,…`."""
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


def _space_of(learner: str, names: Sequence[str], spaces: Sequence[SearchSpace]) -> SearchSpace:
    known = {space.learner: space for space in spaces}
    if learner:
        if learner not in known:
            raise UnknownHyperparameterError(
                f"'{learner}' is not one of the learners here. {did_you_mean(learner, list(known))}"
            )
        space = known[learner]
    else:
        space = max(spaces, key=lambda one: sum(name in one.names for name in names))
    for name in names:
        if name not in space.names:
            raise UnknownHyperparameterError(
                f"'{name}' is not a hyperparameter of {space.learner}. {did_you_mean(name, list(space.names))}"
            )
    return space


def _value(axis: Hyperparameter, text: str) -> Value:
    """The value that a text stands for on an axis; one that is none is left to the space to refuse."""
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
