"""Search spaces: frozen values that turn configurations into points of the unit cube and back."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from metahp.core.configuration import Configuration, Value
from metahp.core.errors import InputError, OutOfRangeError, UnknownHyperparameterError, did_you_mean

# Share of a unit axis reserved for each special value (`reg_alpha=0`, `max_depth=None`). Large enough that a
# quasi-random design of sixty points meets it several times, small enough that most points stay in the range.
SPECIAL_SHARE = 0.12

Condition = tuple[str, tuple[Value, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A numeric hyperparameter between `low` and `high`, both included.

    Attributes:
        name: Name of the hyperparameter.
        low: Lowest value; above 0 on a log axis.
        high: Highest value.
        default: Default of the learner's library.
        is_log: Whether the unit axis is logarithmic.
        is_integer: Whether values are rounded to integers.
        below: At most one special value that continues the range below `low`.
        above: At most one special value that continues the range above `high`: `above=(None,)` on `max_depth` means
            "deeper than `high`: no limit".
        only_if: `(parent, values)`: the hyperparameter is active only if `parent` has one of `values`.
    """

    name: str
    low: float
    high: float
    default: Value
    is_log: bool = False
    is_integer: bool = False
    below: tuple[Value, ...] = ()
    above: tuple[Value, ...] = ()
    only_if: Condition | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.is_log and self.low <= 0):
            raise InputError(
                f"'{self.name}': expected 0 < low < high on a log axis (low < high elsewhere), "
                f"got low={self.low}, high={self.high}."
            )
        self.to_unit(self.default)

    def _find_edges(self) -> tuple[float, float]:
        return SPECIAL_SHARE * len(self.below), 1.0 - SPECIAL_SHARE * len(self.above)

    def to_unit(self, value: Value) -> float:
        """Position of `value` on the unit axis; a special value lies in the middle of its share."""
        start, stop = self._find_edges()
        for specials, position in ((self.below, start / 2), (self.above, (1 + stop) / 2)):
            if specials and value == specials[0]:
                return position
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise OutOfRangeError(
                f"'{self.name}' is a number in [{self.low:g}, {self.high:g}]{self._describe_specials()}, got {value!r}."
            )
        if not self.low <= value <= self.high:
            raise OutOfRangeError(
                f"'{self.name}' lies in [{self.low:g}, {self.high:g}]{self._describe_specials()}, got {value!r}."
            )
        low, high, at = (math.log(v) if self.is_log else float(v) for v in (self.low, self.high, value))
        # A rounding error must not pass the edge: the share of the special value begins there.
        return min(start + (stop - start) * (at - low) / (high - low), stop)

    def from_unit(self, unit: float) -> Value:
        """The value at position `unit`, which is clipped to [0, 1]; rounded if the hyperparameter is an integer."""
        start, stop = self._find_edges()
        unit = min(max(float(unit), 0.0), 1.0)
        if self.below and unit < start:
            return self.below[0]
        if self.above and unit > stop:
            return self.above[0]
        low, high = (math.log(v) if self.is_log else float(v) for v in (self.low, self.high))
        at = low + (high - low) * min(max((unit - start) / (stop - start), 0.0), 1.0)
        value = math.exp(at) if self.is_log else at
        if self.is_integer:
            return int(min(max(round(value), self.low), self.high))
        # Six significant digits are readable and survive a round trip through text. The ends of the range may have
        # more digits.
        return float(min(max(float(f"{value:.6g}"), self.low), self.high))

    def _describe_specials(self) -> str:
        named = [repr(v) for v in (*self.below, *self.above)]
        return f" or {' or '.join(named)}" if named else ""


def Float(  # noqa: N802
    name: str,
    low: float,
    high: float,
    default: Value,
    *,
    is_log: bool = False,
    below: tuple[Value, ...] = (),
    above: tuple[Value, ...] = (),
    only_if: Condition | None = None,
) -> Number:
    """A continuous hyperparameter (`is_log`, `below`, `above`, `only_if` as in `Number`)."""
    return Number(
        name=name,
        low=low,
        high=high,
        default=default,
        is_log=is_log,
        is_integer=False,
        below=below,
        above=above,
        only_if=only_if,
    )


def Integer(  # noqa: N802
    name: str,
    low: int,
    high: int,
    default: Value,
    *,
    is_log: bool = False,
    below: tuple[Value, ...] = (),
    above: tuple[Value, ...] = (),
    only_if: Condition | None = None,
) -> Number:
    """An integer hyperparameter (`is_log`, `below`, `above`, `only_if` as in `Number`)."""
    return Number(
        name=name,
        low=low,
        high=high,
        default=default,
        is_log=is_log,
        is_integer=True,
        below=below,
        above=above,
        only_if=only_if,
    )


@dataclass(frozen=True, slots=True)
class Categorical:
    """A hyperparameter with a few unordered choices.

    Attributes:
        name: Name of the hyperparameter.
        choices: Its values.
        default: Default of the learner's library, one of `choices`.
        only_if: As in `Number`.
    """

    name: str
    choices: tuple[Value, ...]
    default: Value
    only_if: Condition | None = None

    def __post_init__(self) -> None:
        self.to_unit(self.default)

    def to_unit(self, value: Value) -> float:
        """Middle of the share of `value` on the unit axis."""
        for index, choice in enumerate(self.choices):
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return (index + 0.5) / len(self.choices)
        raise OutOfRangeError(f"'{self.name}' is one of {', '.join(map(repr, self.choices))}, got {value!r}.")

    def from_unit(self, unit: float) -> Value:
        """The choice whose share holds `unit`."""
        index = int(min(max(float(unit), 0.0), 1.0) * len(self.choices))
        return self.choices[min(index, len(self.choices) - 1)]


Hyperparameter = Number | Categorical


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The hyperparameters of a learner, in a fixed order, with a version.

    The unit cube has one axis per hyperparameter; an inactive hyperparameter is NaN there.

    Attributes:
        learner: Name of the learner.
        version: Version number of the space.
        hyperparameters: One for each axis; a parent comes before the hyperparameters that depend on it.
        iteration_axis: Name of the integer hyperparameter that counts the iterations of a training run (trees, epochs);
            checkpoints of learning curves are values of it. None if there is no such hyperparameter.

    Raises:
        InputError: a hyperparameter appears twice or before its parent, or the iteration axis is not a plain integer.
    """

    learner: str
    version: int
    hyperparameters: tuple[Hyperparameter, ...]
    iteration_axis: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for axis in self.hyperparameters:
            if axis.name in seen:
                raise InputError(f"Search space of '{self.learner}': '{axis.name}' appears twice.")
            if axis.only_if and axis.only_if[0] not in seen:
                raise InputError(
                    f"Search space of '{self.learner}': '{axis.name}' depends on '{axis.only_if[0]}', "
                    "which must come before it."
                )
            seen.add(axis.name)
        self._check_iteration_axis()

    def _check_iteration_axis(self) -> None:
        name = self.iteration_axis
        if name is None:
            return
        axis = next((axis for axis in self if axis.name == name), None)
        if axis is None:
            raise InputError(
                f"Search space of '{self.learner}': its iteration axis '{name}' is none of its hyperparameters. "
                f"{did_you_mean(name, list(self.names))}"
            )
        is_plain = isinstance(axis, Number) and axis.is_integer and axis.low >= 1 and not (axis.below or axis.above)
        if not is_plain or axis.only_if:
            raise InputError(
                f"Search space of '{self.learner}': its iteration axis '{name}' must be an integer from 1 on, "
                "without special values or a condition."
            )

    def __iter__(self) -> Iterator[Hyperparameter]:
        return iter(self.hyperparameters)

    def __len__(self) -> int:
        return len(self.hyperparameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Hyperparameter names in the order of the axes."""
        return tuple(axis.name for axis in self.hyperparameters)

    @property
    def iterations(self) -> tuple[int, int]:
        """The lowest and highest number of iterations; both are 0 if this space has no iteration axis."""
        counted = (axis for axis in self if axis.name == self.iteration_axis and isinstance(axis, Number))
        return next(((int(axis.low), int(axis.high)) for axis in counted), (0, 0))

    def iterations_of(self, configuration: Configuration) -> int | None:
        """Number of iterations of a configuration; None if no hyperparameter counts them."""
        value = configuration.stored.get(self.iteration_axis) if self.iteration_axis else None
        return int(value) if isinstance(value, int | float) else None

    def with_iterations(self, configuration: Configuration, n_iterations: int) -> Configuration:
        """`configuration` with `n_iterations` iterations; unchanged if no hyperparameter counts them."""
        if self.iteration_axis is None:
            return configuration
        return configuration.replaced(**{self.iteration_axis: n_iterations})

    @property
    def fingerprint(self) -> str:
        """Hash of everything that gives configurations a meaning, without the version number.

        Spaces with the same fingerprint have the same configurations, the same unit cube and the same default.
        """
        axes = []
        for axis in self:
            fields = asdict(axis)
            if isinstance(axis, Number):
                # 1 and 1.0 are the same end of a range.
                fields |= {"low": float(axis.low), "high": float(axis.high)}
            axes.append(fields)
        text = json.dumps([self.learner, self.iteration_axis, axes], sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def default(self) -> Configuration:
        """The default of the learner's library, which is the first configuration of every design."""
        return self.configuration({})

    def configuration(self, values: Mapping[str, Value]) -> Configuration:
        """The configuration with `values`; all other hyperparameters have their defaults.

        Raises:
            UnknownHyperparameterError: this space does not have a hyperparameter of that name.
            OutOfRangeError: a value lies outside its range.
        """
        names = self.names
        for name in values:
            if name not in names:
                raise UnknownHyperparameterError(
                    f"'{name}' is not a hyperparameter of {self.learner}. {did_you_mean(name, list(names))}"
                )
        chosen = self.activate(values)
        for axis in self.hyperparameters:
            if axis.name in chosen:
                axis.to_unit(chosen[axis.name])
        return Configuration.of(self.learner, chosen)

    def activate(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The values of all active hyperparameters, defaults for those not given; whether they lie inside is open."""
        chosen: dict[str, Value] = {}
        for axis in self.hyperparameters:
            if _is_active(axis, chosen):
                chosen[axis.name] = values.get(axis.name, axis.default)
        return chosen

    def upgraded(self, configuration: Configuration) -> Configuration | None:
        """A configuration of any version of this space as a configuration of this version; None if there is none.

        A missing hyperparameter takes its default: the library used it before the space had the hyperparameter. A
        hyperparameter that this space no longer has is dropped, whatever its value: this space does not know which
        value was the library's. The result is None if a value lies outside its range or is no longer a choice, if the
        learner is another one, or if the configuration was outside the space from the start. A configuration of this
        version is returned unchanged.
        """
        if configuration.learner != self.learner or configuration.is_outside:
            return None
        names = self.names
        try:
            upgraded = self.configuration({name: value for name, value in configuration.pairs if name in names})
        except OutOfRangeError:
            return None
        return configuration if upgraded == configuration else upgraded

    def to_unit(self, configurations: Sequence[Configuration]) -> np.ndarray:
        """Points in the unit cube, shape (n, d); NaN where a hyperparameter is inactive.

        Raises:
            UnknownHyperparameterError: a configuration has a hyperparameter that this space lacks.
            OutOfRangeError: a value lies outside its range.
        """
        unit = np.full((len(configurations), len(self)), np.nan)
        column = {name: index for index, name in enumerate(self.names)}
        # Positions are cached: most of the thousands of configurations share their values with others.
        positions: dict[tuple[str, type, Value], float] = {}
        for row, configuration in enumerate(configurations):
            for name, value in configuration.pairs:
                if name not in column:
                    raise UnknownHyperparameterError(
                        f"'{name}' is not a hyperparameter of {self.learner}. {did_you_mean(name, list(self.names))}"
                    )
                key = name, type(value), value
                if key not in positions:
                    positions[key] = self.hyperparameters[column[name]].to_unit(value)
                unit[row, column[name]] = positions[key]
        return unit

    def from_unit(self, unit: np.ndarray) -> list[Configuration]:
        """Configurations at the points `unit`, shape (n, d); values are rounded and clipped, inactive ones dropped."""
        configurations = []
        for point in np.atleast_2d(unit):
            chosen: dict[str, Value] = {}
            for axis, position in zip(self.hyperparameters, point, strict=True):
                if _is_active(axis, chosen):
                    chosen[axis.name] = axis.default if math.isnan(position) else axis.from_unit(position)
            configurations.append(Configuration.of(self.learner, chosen))
        return configurations


def _is_active(axis: Hyperparameter, chosen: Mapping[str, Value]) -> bool:
    return axis.only_if is None or chosen.get(axis.only_if[0]) in axis.only_if[1]
