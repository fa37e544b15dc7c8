"""Explicit training and test parts: by group, by time, or by any scikit-learn splitter."""

import hashlib
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from metahp.core.errors import InputError
from metahp.core.trial import WEIGHTS, Protocol
from metahp.datasets.table import Table

Part = tuple[np.ndarray, np.ndarray]
# The kind of the default folds of rows with weights.
WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Training and test rows of every fold, as integer indices into a table.

    `name` is what a `Protocol` calls them: their kind (group, time, custom; weighted for the default folds with
    weights) and a hash of all indices, then a hash of the weights where there are any, so that trials of other parts or
    weights are never taken for trials of these. `weights` are those of the table's rows, shape (n_rows,); None where
    all are equal.
    """

    name: str
    parts: tuple[Part, ...]
    weights: np.ndarray | None = None

    def make_protocol(self, *, seed: int = 0, max_rows: int = Protocol().max_rows) -> Protocol:
        """The protocol of trials on these parts; of a table with more rows, a sample of `max_rows` is used of them."""
        return Protocol(folds=len(self.parts), seed=seed, max_rows=max_rows, splits=self.name)


def split_by_group(table: Table, labels: Any, folds: int, seed: int) -> Splits:
    """Folds in which no group is both trained on and tested, stratified by class for classification.

    Args:
        table: The table.
        labels: The group of every row, shape (n_rows,).
        folds: How many folds.
        seed: Of the shuffle of the groups.

    Raises:
        InputError: labels are missing, or there are fewer groups than folds, or a part cannot be used.
    """
    codes, values = pd.factorize(_read_column(table, labels, "groups"))
    if len(values) < folds:
        raise InputError(
            f"{folds} folds need at least {folds} groups, these rows have {len(values)}. "
            "Ask for fewer folds, or group by another column."
        )
    splitter = (
        StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        if table.task.type.is_classification
        else GroupKFold(folds, shuffle=True, random_state=seed)
    )
    return _make_splits("group", table, _draw_pairs(table, splitter, codes))


def split_by_time(table: Table, order: Any, folds: int) -> Splits:
    """Folds whose training rows come before their test rows (scikit-learn's `TimeSeriesSplit` over the instants).

    Rows of one instant stay together. Rows before the first test part are never tested.

    Args:
        table: The table.
        order: Time of every row, shape (n_rows,): numbers, dates, or text that pandas reads as dates.
        folds: How many folds.

    Raises:
        InputError: times are missing or no times, or there are fewer instants than folds + 1, or a part cannot be used.
    """
    times = _read_column(table, order, "times")
    if not (pd.api.types.is_numeric_dtype(times) or pd.api.types.is_datetime64_any_dtype(times)):
        try:
            times = pd.to_datetime(times.astype(str))
        except ValueError as error:
            raise InputError(
                f"Expected times that are numbers or dates, such as 2026-01-31; got '{times.iloc[0]}' ({error})."
            ) from None
    codes, instants = pd.factorize(times, sort=True)
    if len(instants) < folds + 1:
        raise InputError(
            f"{folds} folds by time need at least {folds + 1} different times, these rows have {len(instants)}. "
            "Ask for fewer folds."
        )
    rows, edges = np.argsort(codes, kind="stable"), np.concatenate(([0], np.cumsum(np.bincount(codes))))
    pairs = [
        (rows[edges[train[0]] : edges[train[-1] + 1]], rows[edges[test[0]] : edges[test[-1] + 1]])
        for train, test in TimeSeriesSplit(folds).split(instants)
    ]
    return _make_splits("time", table, pairs)


def split_with(table: Table, splitter: Any, groups: Any = None) -> Splits:
    """The parts of any scikit-learn splitter, or of an iterable of pairs of training and test indices.

    Give a random splitter a `random_state`, or the next call makes other parts.

    Raises:
        InputError: the splitter cannot split this table, or a part cannot be used.
    """
    if not hasattr(splitter, "split"):
        if not isinstance(splitter, Iterable):
            raise InputError(
                "Expected a scikit-learn splitter or pairs of training and test indices, got a "
                f"{type(splitter).__name__}."
            )
        return _make_splits("custom", table, list(splitter))
    codes = None if groups is None else pd.factorize(_read_column(table, groups, "groups"))[0]
    return _make_splits("custom", table, _draw_pairs(table, splitter, codes))


def weigh(table: Table, weights: Any, splits: Splits | None, folds: int, seed: int) -> Splits:
    """The same parts, or the default folds for None, with weights of the rows.

    Args:
        table: The table.
        weights: Of shape (n_rows,).
        splits: The parts; None for `folds` shuffled folds, stratified by class for classification.
        folds: How many default folds.
        seed: Of the default folds.

    Raises:
        InputError: weights that are no numbers, negative, or zero in all rows of a part.
    """
    values = check_weights(_read_column(table, weights, "weights"))
    if splits is None:
        kind = StratifiedKFold if table.task.type.is_classification else KFold
        pairs = _draw_pairs(table, kind(folds, shuffle=True, random_state=seed), None)
        splits = _make_splits(WEIGHTED, table, pairs)
    for number, (train, test) in enumerate(splits.parts, start=1):
        for name, part in (("training", train), ("test", test)):
            if not values[part].any():
                raise InputError(
                    f"All rows of the {name} part of fold {number} have the weight 0. Ask for fewer folds, or leave "
                    "such rows out.",
                    argument="sample_weight",
                )
    digest = hashlib.blake2b(values.astype("<f8").tobytes(), digest_size=12)
    return replace(splits, name=f"{splits.name} {WEIGHTS}{digest.hexdigest()}", weights=values)


def check_weights(weights: Any) -> np.ndarray:
    """Weights of rows as float64, shape (n,).

    Raises:
        InputError: they are no finite numbers of at least 0, or all are 0.
    """
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"Expected weights that are numbers ({error}).", argument="sample_weight") from None
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise InputError(
            f"Expected weights that are finite and at least 0; {int(wrong.sum()):,} of {len(values):,} are not, the "
            f"first is {values[wrong][0]:g} in row {int(np.argmax(wrong)) + 1:,}.",
            argument="sample_weight",
        )
    if not values.any():
        raise InputError(f"All {len(values):,} weights are 0; expected some above 0.", argument="sample_weight")
    return values


def _draw_pairs(table: Table, splitter: Any, groups: np.ndarray | None) -> list[Any]:
    try:
        with warnings.catch_warnings():
            # Classes with fewer rows than folds are allowed, as in the default folds.
            warnings.filterwarnings("ignore", message="The least populated class")
            return list(splitter.split(table.features, table.y, groups))
    except (ValueError, TypeError) as error:
        raise InputError(f"{type(splitter).__name__} cannot split this table: {error}") from error


def _make_splits(kind: str, table: Table, pairs: list[Any]) -> Splits:
    """The parts, checked and named by their content."""
    if len(pairs) < 2:
        raise InputError(f"Expected at least 2 folds, got {len(pairs)}.")
    parts = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"Fold {number}: expected a pair of training and test indices.")
        train, test = (
            _check_indices(values, f"{name} part of fold {number}", table)
            for name, values in zip(("training", "test"), pair, strict=True)
        )
        if np.intersect1d(train, test).size:
            raise InputError(f"Fold {number}: rows of the training part are in the test part too.")
        if table.task.type.is_classification and np.unique(table.y[train]).size < 2:
            raise InputError(
                f"The training part of fold {number} has the class '{table.classes[table.y[train[0]]]}' only. "
                "Ask for fewer folds, or split in another way."
            )
        parts.append((train, test))
    digest = hashlib.blake2b(digest_size=12)
    for array in (array for part in parts for array in part):
        digest.update(len(array).to_bytes(8, "little"))
        digest.update(array.astype("<i8").tobytes())
    return Splits(f"{kind}:{digest.hexdigest()}", tuple(parts))


def _check_indices(values: Any, name: str, table: Table) -> np.ndarray:
    array, n = np.asarray(values), table.task.n_rows
    if array.size == 0:
        raise InputError(f"The {name} is empty. Ask for fewer folds, or split in another way.")
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"The {name}: expected row indices, got {array.dtype} values of shape {array.shape}.")
    if array.min() < 0 or array.max() >= n:
        raise InputError(
            f"The {name} has indices from {array.min()} to {array.max()}; expected 0 to {n - 1}, since {n} rows of "
            "this table have a target."
        )
    return array.astype(np.int64)


def _read_column(table: Table, values: Any, name: str) -> pd.Series:
    column = pd.Series(values).reset_index(drop=True)
    if len(column) != table.task.n_rows:
        raise InputError(f"Got {name} for {len(column)} rows; {table.task.n_rows} rows of this table have a target.")
    check_complete(column, name)
    return column


def check_complete(values: Any, name: str) -> None:
    """Refuse missing groups or times.

    Raises:
        InputError: some are missing.
    """
    if n_missing := int(pd.isna(values).sum()):
        raise InputError(f"The {name} of {n_missing} rows are missing. Fill them in, or leave these rows out.")
