"""What a user fixed, from how it was given: checked against the learners and the columns of the table."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metahp.core.configuration import Value
from metahp.core.errors import InputError, MetahpError, UnknownHyperparameterError, did_you_mean
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.datasets.table import Table
from metahp.learners.arguments import IDLE, check_argument, convert_types, make_plain, read_text
from metahp.learners.base import Learner
from metahp.learners.fixed import N_JOBS, NOTHING_FIXED, RANDOM_STATE, Fixed, FixedArguments
from metahp.learners.registry import LEARNERS, find_learner

# What a user gives: values by argument, or by learner and argument; or texts `NAME=VALUE` and `LEARNER:NAME=VALUE`.
GivenFixed = Mapping[str, Any] | Sequence[str]


def read_fixed(given: GivenFixed | None, learners: Sequence[str], table: Table) -> Fixed:
    """What a user fixed, checked against the learners and the table.

    Args:
        given: As in `metahp.tune`; None or empty for nothing.
        learners: Names of the learners in question.
        table: Says which columns there are.

    Raises:
        InputError, UnknownHyperparameterError, OutOfRangeError: a learner, an argument, a value or a column cannot be
            used.
    """
    if not given:
        return NOTHING_FIXED
    flat, by_learner = _sort(given, learners)
    _check_flat(flat, learners, table.task.type)
    try:
        read = {
            name: _read_of_learner(find_learner(name), {**flat, **by_learner.get(name, {})}, table) for name in learners
        }
    except MetahpError as error:
        error.argument = error.argument or "fixed"
        raise
    return Fixed(by_learner=read)


def leave_out(given: GivenFixed | None, learners: Sequence[str], task_type: TaskType) -> tuple[tuple[str, ...], str]:
    """The learners that take all that is fixed for all of them, and a line about the others; empty without others.

    Where none takes it all, these are all learners: `read_fixed` then says what is wrong.
    """
    flat = _sort(given, learners)[0] if given else {}
    untaken = {
        name: [each for each in flat if each not in _list_names(find_learner(name), task_type)] for name in learners
    }
    kept = tuple(name for name in learners if not untaken[name])
    if not kept or len(kept) == len(learners):
        return tuple(learners), ""
    names = dict.fromkeys(each for listed in untaken.values() for each in listed)
    others = ", ".join(name for name in learners if untaken[name])
    example = f"{kept[0]}: {next(iter(names))}"
    return kept, (
        f"left out, because of the fixed {', '.join(names)}, which not all of them take: {others}; fixed for some "
        f"learners alone ({example}), the others stay"
    )


class _TypedText(str):
    """A value as the text that a user typed."""

    __slots__ = ()


def _sort(given: GivenFixed, learners: Sequence[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What is given for all learners, and for each."""
    flat: dict[str, Any] = {}
    by_learner: dict[str, dict[str, Any]] = {}
    if isinstance(given, Mapping):
        for name, value in given.items():
            if isinstance(value, Mapping) and name in LEARNERS:
                by_learner[name] = dict(value)
            else:
                flat[str(name)] = value
    else:
        for text in [given] if isinstance(given, str) else given:
            key, equals, value = str(text).partition("=")
            learner, colon, name = key.rpartition(":")
            if not equals or not name.strip():
                raise InputError(f"`fixed` takes NAME=VALUE or LEARNER:NAME=VALUE, got '{text}'.", argument="fixed")
            (by_learner.setdefault(learner.strip(), {}) if colon else flat)[name.strip()] = _TypedText(value.strip())
    for name in by_learner:
        if name not in learners:
            raise InputError(
                f"`fixed` names '{name}', which is not one of the learners here. {did_you_mean(name, list(learners))}",
                argument="fixed",
            )
    return flat, by_learner


def _check_flat(flat: Mapping[str, Any], learners: Sequence[str], task_type: TaskType) -> None:
    """Refuse an argument for all learners that one of them does not take."""
    known = {name: _list_names(find_learner(name), task_type) for name in learners}
    for name in flat:
        taking = [learner for learner in learners if name in known[learner]]
        if len(taking) == len(learners):
            continue
        if not taking:
            names = list(dict.fromkeys(each for listed in known.values() for each in listed))
            raise UnknownHyperparameterError(
                f"`fixed` has '{name}', which is no argument of {', '.join(learners)}. "
                f"{_name_taking(name, task_type) or did_you_mean(name, names)}",
                argument="fixed",
            )
        others = ", ".join(learner for learner in learners if learner not in taking)
        raise UnknownHyperparameterError(
            f"`fixed` has '{name}', which {others} does not take. {', '.join(taking)} does: fix it there alone, as in "
            f"{{'{taking[0]}': {{'{name}': …}}}} ({taking[0]}:{name}=… in the shell), or choose the `learners`.",
            argument="fixed",
        )


def _name_taking(name: str, task_type: TaskType) -> str:
    """Which installed learners take an argument, in one sentence; empty where none does."""
    installed = (learner for learner in LEARNERS.values() if not learner.explain_missing())
    taking = [learner.name for learner in installed if name in _list_names(learner, task_type)]
    return f"It is one of {', '.join(taking)}; choose from these `learners`." if taking else ""


def _list_names(learner: Learner, task_type: TaskType) -> list[str]:
    return [*learner.space(task_type).names, *learner.further_arguments(task_type), *IDLE, RANDOM_STATE]


def _read_of_learner(learner: Learner, given: Mapping[str, Any], table: Table) -> FixedArguments:
    task_type = table.task.type
    space = learner.space(task_type)
    axes = {axis.name: axis for axis in space}
    values: dict[str, Value] = {}
    numbers: dict[str, int] = {}
    shown: dict[str, Any] = {}
    columns = ""
    for name, value in given.items():
        if name == learner.monotone_argument and value is not None:
            signs, shown[name] = _read_signs(name, value, table)
            if any(signs):
                values[name] = make_plain(learner, name, signs)
                columns = _hash_columns(signs, table.matrix)
            continue
        plain = read_text(axes.get(name), value) if isinstance(value, _TypedText) else make_plain(learner, name, value)
        if name in (N_JOBS, RANDOM_STATE):
            numbers[name] = _check_number(name, plain)
        elif name in IDLE:
            continue
        else:
            plain = convert_types({name: plain}, space)[name]
            check_argument(learner, space, name, plain, task_type)
            values[name] = plain
        shown[name] = plain
    _check_conditions(space, values)
    return FixedArguments(
        space=space,
        values=values,
        seed=numbers.get(RANDOM_STATE),
        n_jobs=numbers.get(N_JOBS),
        columns=columns,
        shown=shown,
    )


def _check_number(name: str, value: Value) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if name == N_JOBS and value != 0:
            return value
        if name == RANDOM_STATE and 0 <= value < 2**32:
            return value
    wanted = "a whole number other than 0" if name == N_JOBS else "a whole number from 0 to 4294967295"
    raise InputError(f"The fixed '{name}' is {wanted}, got {value!r}.")


def _check_conditions(space: SearchSpace, values: Mapping[str, Value]) -> None:
    """Refuse a fixed hyperparameter that has no effect in a part of the space."""
    for axis in space:
        if axis.name not in values or axis.only_if is None:
            continue
        parent, allowed = axis.only_if
        if parent not in values or values[parent] not in allowed:
            ways = " or ".join(f"{parent}={value!r}" for value in allowed)
            raise InputError(f"'{axis.name}' of {space.learner} has an effect with {ways} only: fix that too.")


def _read_signs(name: str, value: Any, table: Table) -> tuple[list[int], Any]:
    """The sign of each feature, and the constraints as JSON data."""
    if table.task.n_classes > 2:
        raise InputError(
            f"'{name}' is for two classes or a number as target; this one has {table.task.n_classes} classes."
        )
    features = list(table.preparation.feature_names)
    if isinstance(value, _TypedText):
        value = _split_signs(name, value)
    if isinstance(value, list | tuple | np.ndarray):
        if len(value) != len(features):
            raise InputError(
                f"'{name}' has a sign for each of {len(features)} features, got {len(value)}; name columns instead, as "
                f"in {{'{features[0]}': 1}}."
            )
        value = {feature: sign for feature, sign in zip(features, value, strict=True) if sign}
    if not isinstance(value, Mapping):
        raise InputError(f"'{name}' has 1 or -1 by column, as in {{'{features[0]}': 1}}; got {value!r:.60}.")
    for column, sign in value.items():
        _check_column(name, str(column), table)
        if isinstance(sign, bool) or sign not in (-1, 0, 1):
            raise InputError(f"'{name}' of the column '{column}' is 1 (rises), -1 (falls) or 0, got {sign!r}.")
    constraints = {str(column): int(sign) for column, sign in value.items()}
    return [constraints.get(feature, 0) for feature in features], constraints


def _split_signs(name: str, text: str) -> dict[str, Any]:
    """Constraints of a text `age:1,income:-1`, or of JSON."""
    if text.startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError:
            raise InputError(f"'{name}' is no JSON object: {text:.60}") from None
    parts = [part.rpartition(":") for part in text.split(",")]
    if not all(colon for _, colon, _ in parts):
        raise InputError(f"'{name}' is COLUMN:1 or COLUMN:-1, with commas between several; got '{text}'.")
    return {column.strip(): read_text(None, sign.strip()) for column, _, sign in parts}


def _check_column(name: str, column: str, table: Table) -> None:
    """Refuse a column whose values have no order that predictions could follow."""
    preparation = table.preparation
    features = list(preparation.feature_names)
    if column in preparation.categorical:
        raise InputError(f"'{name}' has the column '{column}', which is categorical; only numbers have an order.")
    if column in features:
        return
    if column in preparation.dropped:
        raise InputError(f"'{name}' has the column '{column}', which is left out ({preparation.dropped[column]}).")
    if column == table.target:
        raise InputError(f"'{name}' has the column '{column}', which is the target.")
    if dates := [each for each in preparation.columns if each.name == column and each.kind == "date"]:
        raise InputError(
            f"'{name}' has the date '{column}'; name one of its parts: {', '.join(dates[0].feature_names)}."
        )
    raise InputError(f"'{name}' has '{column}', which is no column of the table. {did_you_mean(column, features[:50])}")


def _hash_columns(signs: Sequence[int], matrix: np.ndarray) -> str:
    """Hash of the values of columns with a sign: the same for any order of rows and columns."""
    digests = [
        hashlib.blake2b(np.sort(matrix[:, index]).tobytes() + bytes([sign + 1]), digest_size=8).hexdigest()
        for index, sign in enumerate(signs)
        if sign
    ]
    return hashlib.blake2b("".join(sorted(digests)).encode(), digest_size=6).hexdigest()
