"""The content hash of a task: it depends on the values, not on the file, the row order or the column order."""

import hashlib
from typing import cast

import numpy as np
import pandas as pd

from metahp.core.task import TaskType

# Multipliers of splitmix64 (Steele et al., 2014, "Fast splittable pseudorandom number generators").
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MAX_SPELLINGS = 6
_MISSING = np.uint64(0x9E3779B97F4A7C15)


def fingerprint(features: list[pd.Series], target: pd.Series, task_type: TaskType) -> str:
    """Hex digest of a table's parsed values and its target, independent of names, row order and column order.

    Columns must be parsed (`metahp.datasets.columns.parse_column`): float64, datetime64 or categories. The hash of a
    cell includes the multiset of its column, so swapping two cells between columns changes the digest.
    """
    rows = np.zeros(len(target), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in features:
            rows += _hash_column(column, salt=1)
        rows = _mix(rows + _hash_column(target, salt=2))
        parts = [str(int(rows.sum(dtype=np.uint64))), str(int(np.bitwise_xor.reduce(rows)))]
    parts += [str(len(target)), str(len(features)), "class" if task_type.is_classification else "number"]
    return hashlib.blake2b("/".join(parts).encode(), digest_size=12).hexdigest()


def _hash_column(column: pd.Series, salt: int) -> np.ndarray:
    cells = _hash_cells(column)
    return _mix(cells ^ _mix(cells).sum(dtype=np.uint64) + np.uint64(salt))


def _hash_cells(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = column.astype("datetime64[s]").astype("int64").astype(float).where(column.notna())
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(dtype=float)
        missing = np.isnan(numbers)
        cells = pd.util.hash_array(numbers + 0.0)  # + 0.0 turns -0.0 into 0.0
    else:
        categories = cast(pd.Categorical, column.array)
        texts, missing = categories.categories.to_numpy(dtype=object), categories.codes < 0
        n_spellings = len(texts) + bool(missing.any())
        if n_spellings <= _MAX_SPELLINGS and {text.lower() for text in texts} <= {"true", "false"}:
            # Formats without a boolean type write True, true or TRUE.
            texts = np.array([text.lower() for text in texts], dtype=object)
        cells = pd.util.hash_array(texts, categorize=False)[categories.codes]
    return np.where(missing, _MISSING, cells)


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * _MIX_1
    values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))
