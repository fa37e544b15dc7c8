"""A configuration: one value for each active hyperparameter of a learner."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from metahp.core.checks import MAX_INT64, MAX_TEXT, check_text, show
from metahp.core.errors import InputError

Value = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A learner's name and one value for each of its active hyperparameters, in the order of their names.

    Two configurations are equal when their learners and values are equal.

    Attributes:
        learner: Name of the learner.
        items: Pairs of hyperparameter name and value, sorted by name when made by `of`.
        id: Hash of learner and values, 20 hexadecimal digits; the same on every machine.

    Raises:
        InputError: a value is not a finite number, text, truth value or None, or a name is not a text.
    """

    learner: str
    items: tuple[tuple[str, Value], ...]
    id: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        check_text(self.learner, "The learner of a configuration", is_required=True)
        for name, value in self.items:
            # Thousands of configurations are made; for nearly all names and values this fast check is enough.
            if not (type(name) is str and name.isidentifier() and len(name) < MAX_TEXT):
                check_text(name, "The name of a hyperparameter")
            if not (value is None or value is True or value is False):
                _check_value(name, value)
        text = json.dumps([self.learner, self.items], separators=(",", ":"), allow_nan=False)
        object.__setattr__(self, "id", hashlib.blake2b(text.encode(), digest_size=10).hexdigest())

    @classmethod
    def of(cls, learner: str, values: Mapping[str, Value]) -> "Configuration":
        """The configuration of `learner` with `values`, in the order of their names."""
        try:
            return cls(learner, tuple(sorted(values.items())))
        except (TypeError, AttributeError):
            raise InputError(f"A configuration has values by name, got {show(values)}.") from None

    @property
    def values(self) -> dict[str, Value]:
        """The values by hyperparameter name."""
        return dict(self.items)

    def replaced(self, **changes: Value) -> "Configuration":
        """A copy of this configuration with `changes` to its values."""
        return Configuration.of(self.learner, {**self.values, **changes})


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
