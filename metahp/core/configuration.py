"""A configuration: one value for each active hyperparameter of a learner."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, ValuesView
from dataclasses import dataclass, field, replace
from typing import Any

from metahp.core.checks import MAX_INT64, MAX_TEXT, check_text, show
from metahp.core.errors import InputError

Value = float | int | str | bool | None

# Marks a configuration outside the search space, among its values in files. No argument of Python has such a name.
OUTSIDE = "metahp.outside"
# Beside it: names of the arguments that a user fixed (`metahp.learners.fixed`), and a fixed seed of the learner.
FIXED, SEED = "metahp.fixed", "metahp.seed"
_MARKS = frozenset({OUTSIDE, FIXED, SEED})


class Arguments(dict[str, Any]):
    """The values of a configuration by name, which also know the configuration that they come from.

    A call gives a view of the values, as `dict.values` does: a `Configuration` is a mapping, and code that takes any
    mapping calls its `values()`.
    """

    def __init__(self, values: Mapping[str, Any], configuration: "Configuration") -> None:
        super().__init__(values)
        self.configuration = configuration

    @property
    def is_unchanged(self) -> bool:
        """Whether these are still the values of the configuration."""
        return dict(self) == dict(self.configuration.values)

    def __call__(self) -> ValuesView[Any]:
        """A view of the values."""
        return super().values()

    def __reduce__(self) -> tuple[Any, ...]:
        return Arguments, (dict(self), self.configuration)


@dataclass(frozen=True, slots=True, repr=False)
class Configuration(Mapping[str, Any]):
    """A learner's name and one value for each of its active hyperparameters, in the order of their names.

    As a mapping it has the arguments of the learner's constructor: `LGBMClassifier(**configuration)`. These are the
    hyperparameters, and in a recommendation or a result also the arguments without which one of them has no effect.

    Two configurations are equal when their learners and hyperparameters are equal.

    Attributes:
        learner: Name of the learner.
        pairs: Pairs of hyperparameter name and value, as files keep them; sorted by name when made by `of`.
        arguments: The constructor's arguments; None where they are the hyperparameters or are not known.
        id: Hash of learner and hyperparameters, 20 hexadecimal digits; the same on every machine.

    Raises:
        InputError: a value is not a finite number, text, truth value or None, or a name is not a text.
    """

    learner: str
    pairs: tuple[tuple[str, Value], ...]
    arguments: tuple[tuple[str, Any], ...] | None = field(default=None, compare=False, kw_only=True)
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        check_text(self.learner, "The learner of a configuration", is_required=True)
        for name, value in self.pairs:
            # Thousands of configurations are made; for nearly all names and values this fast check is enough.
            if not (type(name) is str and name.isidentifier() and len(name) < MAX_TEXT):
                check_text(name, "The name of a hyperparameter")
            if not (value is None or value is True or value is False):
                _check_value(name, value)
        text = json.dumps([self.learner, self.pairs], separators=(",", ":"), allow_nan=False)
        object.__setattr__(self, "id", hashlib.blake2b(text.encode(), digest_size=10).hexdigest())

    @classmethod
    def of(cls, learner: str, values: Mapping[str, Value]) -> "Configuration":
        """The configuration of `learner` with `values`, in the order of their names."""
        try:
            return cls(learner, tuple(sorted(values.items())))
        except (TypeError, AttributeError):
            raise InputError(f"A configuration has values by name, got {show(values)}.") from None

    @classmethod
    def outside(cls, learner: str, values: Mapping[str, Value]) -> "Configuration":
        """A configuration outside the search space: its values are measured as they are, and teach no other task."""
        return cls.of(learner, {**values, OUTSIDE: True})

    @property
    def is_outside(self) -> bool:
        """Whether it lies outside the search space of its learner."""
        return (OUTSIDE, True) in self.pairs

    @property
    def stored(self) -> dict[str, Value]:
        """The hyperparameters as files keep them: with the marks of a configuration outside the search space."""
        return dict(self.pairs)

    @property
    def hyperparameters(self) -> dict[str, Value]:
        """The hyperparameters by name, without the other arguments of the constructor."""
        return {name: value for name, value in self.pairs if name not in _MARKS}

    @property
    def seed(self) -> int | None:
        """The seed of the learner that a user fixed; None where it is that of the protocol."""
        seed = self.stored.get(SEED)
        return int(seed) if isinstance(seed, int) else None

    @property
    def values(self) -> Arguments:
        """What it has as a mapping, as a dictionary of one's own."""
        known = self.hyperparameters if self.arguments is None else dict(self.arguments)
        return Arguments(known, self)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"Configuration({self.learner!r}, {', '.join(f'{name}={value!r}' for name, value in self.values.items())})"
        )

    def replaced(self, **changes: Value) -> "Configuration":
        """A copy of this configuration with `changes` to its hyperparameters."""
        return Configuration.of(self.learner, {**self.stored, **changes})

    def with_arguments(self, arguments: Mapping[str, Any] | None) -> "Configuration":
        """A copy that shows these arguments of the constructor; its hyperparameters if None."""
        return replace(self, arguments=None if arguments is None else tuple(arguments.items()))


# A user's own configuration: a text, a dictionary or a `Configuration`.
Given = str | Mapping[str, Value] | Configuration


def _check_value(name: str, value: object) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"The value of '{name}' is a finite number, got {value!r}.")
    elif isinstance(value, str):
        check_text(value, f"The value of '{name}'")
    elif isinstance(value, bool) or not isinstance(value, int) or not -MAX_INT64 <= value <= MAX_INT64:
        raise InputError(
            f"The value of '{name}' is a number of at most 64 bits, a text, a truth value or None, got {show(value)}."
        )
