"""Arguments that a user fixes for all configurations of a question: hyperparameters, and others of the constructor.

A configuration with fixed arguments that are no values of its search space lies outside of it and says so by a mark
(`metahp.core.configuration.FIXED`): its trials are other trials than those without them, and teach no other task.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from metahp.core.configuration import FIXED, SEED, Configuration, Value
from metahp.core.errors import OutOfRangeError
from metahp.core.space import Categorical, Hyperparameter, Number, SearchSpace

# Every learner takes these: they belong to the run.
N_JOBS, RANDOM_STATE = "n_jobs", "random_state"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedArguments:
    """What is fixed for one learner.

    Attributes:
        space: The search space of the learner.
        values: Fixed hyperparameters and other arguments, as configurations hold them.
        seed: The seed of the learner; None for that of the protocol.
        n_jobs: Number of threads of the final fit; None for no fixed one.
        columns: Hash of the columns that a monotone constraint is about, whatever their order; empty without one.
        shown: What a user gave, as JSON data.
        mark: Names of what makes a configuration one outside the space; empty where nothing does.
    """

    space: SearchSpace
    values: Mapping[str, Value]
    seed: int | None = None
    n_jobs: int | None = None
    columns: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)
    mark: str = field(init=False)

    def __post_init__(self) -> None:
        axes = {axis.name: axis for axis in self.space}
        outside = [name for name, value in self.values.items() if name not in axes or not _has(axes[name], value)]
        names = sorted([*outside, *([RANDOM_STATE] if self.seed is not None else [])])
        object.__setattr__(self, "mark", " ".join([*names, *([f"#{self.columns}"] if self.columns else [])]))

    def apply(self, configuration: Configuration) -> Configuration:
        """The configuration with what is fixed, in place of what it has there."""
        values = {**configuration.hyperparameters, **self.values}
        active = self.space.activate(values)
        further = {name: value for name, value in values.items() if name not in self.space.names}
        if not self.mark and not configuration.is_outside:
            return Configuration.of(self.space.learner, active)
        seed = {} if self.seed is None else {SEED: self.seed}
        mark = {FIXED: self.mark} if self.mark else {}
        return Configuration.outside(self.space.learner, {**active, **further, **seed, **mark})

    def strip(self, configuration: Configuration) -> Configuration:
        """What a strategy sees of a configuration with what is fixed: one of the narrow space.

        It stays outside where more than what is fixed is outside the search space.
        """
        values = configuration.hyperparameters
        further = {name: value for name, value in values.items() if name not in {*self.space.names, *self.values}}
        narrow = self.narrow()
        stand_ins = {axis.name: axis.default for axis in narrow if axis.name in self.values}
        try:
            if not further:
                return narrow.configuration({k: v for k, v in {**values, **stand_ins}.items() if k in narrow.names})
        except OutOfRangeError:
            pass
        return configuration

    def narrow(self) -> SearchSpace:
        """The search space in which each fixed hyperparameter has one value.

        Where the fixed value lies outside the space, it is the nearest one inside, which past tasks know.
        """
        axes = tuple(_fix(axis, self.values[axis.name]) if axis.name in self.values else axis for axis in self.space)
        iterations = None if self.space.iteration_axis in self.values else self.space.iteration_axis
        return replace(self.space, hyperparameters=axes, iteration_axis=iterations)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fixed:
    """What is fixed for each of the learners in question; nothing for a learner that is not among them."""

    by_learner: Mapping[str, FixedArguments] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_learner)

    def apply(self, configuration: Configuration) -> Configuration:
        """The configuration with what is fixed for its learner."""
        fixed = self.by_learner.get(configuration.learner)
        return configuration if fixed is None else fixed.apply(configuration)

    def strip(self, configuration: Configuration) -> Configuration:
        """What a strategy sees of a configuration with what is fixed; see `FixedArguments.strip`."""
        fixed = self.by_learner.get(configuration.learner)
        return configuration if fixed is None else fixed.strip(configuration)

    def restrict(self, configurations: Iterable[Configuration]) -> list[Configuration]:
        """Distinct configurations of the narrow spaces that stand for those of the whole ones, in their order."""
        return list(dict.fromkeys(self.strip(self.apply(each)) for each in configurations))

    def narrow(self, spaces: Sequence[SearchSpace]) -> list[SearchSpace]:
        """The spaces that a strategy searches."""
        return [
            self.by_learner[space.learner].narrow() if space.learner in self.by_learner else space for space in spaces
        ]

    def is_in(self, configuration: Configuration) -> bool:
        """Whether a configuration has just what is fixed for its learner."""
        if configuration.learner not in self.by_learner:
            return FIXED not in configuration.stored
        return self.apply(configuration) == configuration

    def has_iterations(self, learner: str) -> bool:
        """Whether the number of iterations of a learner is fixed, so that early stopping must not choose another."""
        fixed = self.by_learner.get(learner)
        return fixed is not None and fixed.space.iteration_axis in fixed.values

    @property
    def n_jobs(self) -> dict[str, int]:
        """Number of threads of the final fit by learner, where it is fixed."""
        return {name: each.n_jobs for name, each in self.by_learner.items() if each.n_jobs is not None}

    @property
    def shown(self) -> dict[str, dict[str, Any]]:
        """What a user gave, by learner, as JSON data."""
        return {name: dict(each.shown) for name, each in self.by_learner.items()}

    @property
    def described(self) -> dict[str, dict[str, Any]]:
        """What a user gave that trials depend on, by learner, as JSON data."""
        return {
            name: {key: value for key, value in shown.items() if key != N_JOBS} for name, shown in self.shown.items()
        }

    def describe(self) -> str:
        """What is fixed, in words: once where it is the same for all learners."""
        texts = {name: _write(each.shown) for name, each in self.by_learner.items() if each.shown}
        if len(texts) == len(self.by_learner) and len(set(texts.values())) == 1:
            return next(iter(texts.values()))
        return "; ".join(f"{name}: {text}" for name, text in texts.items())

    def find_note(self) -> str:
        """What a user should know of advice that rests on past tasks; empty where that is nothing."""
        names = dict.fromkeys(name for each in self.by_learner.values() for name in each.shown if name != N_JOBS)
        if not names:
            return ""
        return (
            f"every configuration has the fixed {', '.join(names)}; past tasks ran without, so what they say of scores "
            "and gains is a guide"
        )


NOTHING_FIXED = Fixed()


def _has(axis: Hyperparameter, value: Value) -> bool:
    try:
        axis.to_unit(value)
    except OutOfRangeError:
        return False
    return True


def _fix(axis: Hyperparameter, value: Value) -> Categorical:
    """The axis with one value: the nearest one of the axis."""
    inside = value
    if not _has(axis, value):
        inside = axis.default
        if isinstance(axis, Number) and isinstance(value, int | float):
            inside = axis.from_unit(0.0 if value < axis.low else 1.0)
    return Categorical(axis.name, (inside,), inside, axis.only_if)


def _write(shown: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {' '.join(f'{key}:{sign:+d}' for key, sign in value.items()) if isinstance(value, dict) else value}"
        for name, value in shown.items()
    )
