"""A configuration: one value for each active hyperparameter of a learner."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

Value = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A learner's name and one value for each of its active hyperparameters.

    Two configurations are equal when learner and values are; `id` is a hash of both, the same on every machine.
    """

    learner: str
    items: tuple[tuple[str, Value], ...]
    id: str = field(compare=False)

    @classmethod
    def of(cls, learner: str, values: Mapping[str, Value]) -> "Configuration":
        """The configuration of `learner` with `values`, in the order of their names."""
        items = tuple(sorted(values.items()))
        text = json.dumps([learner, items], separators=(",", ":"), allow_nan=False)
        return cls(learner, items, hashlib.blake2b(text.encode(), digest_size=10).hexdigest())

    @property
    def values(self) -> dict[str, Value]:
        """The values by hyperparameter name."""
        return dict(self.items)

    def replaced(self, **changes: Value) -> "Configuration":
        """This configuration with some values changed."""
        return Configuration.of(self.learner, {**self.values, **changes})
