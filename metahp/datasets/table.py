"""A table ready to learn from: features, target, task and how it was prepared."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from metahp.core.task import Task
from metahp.datasets.preparation import Preparation
from metahp.datasets.raw import ReadOptions


@dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """A task with its rows.

    `features` has float64 columns (missing values NaN) and `category` columns whose categories are strings; `y` has
    shape (n,), float64 for regression and integer codes into `classes` otherwise. `warnings` has one line for each
    thing a user should know; `target_origin` says how the target was found; `read` says how a script can read
    the file again.
    """

    task: Task
    features: pd.DataFrame
    y: np.ndarray
    target: str
    classes: tuple[str, ...] = ()
    target_origin: str = "given"
    n_rows_without_target: int = 0
    preparation: Preparation = Preparation()  # noqa: RUF009 - a frozen value
    warnings: tuple[str, ...] = ()
    read: ReadOptions = ReadOptions()  # noqa: RUF009 - a frozen value

    @cached_property
    def is_categorical(self) -> np.ndarray:
        """Which feature columns are categories, shape (d,)."""
        return np.array([isinstance(dtype, pd.CategoricalDtype) for dtype in self.features.dtypes], dtype=bool)

    @cached_property
    def matrix(self) -> np.ndarray:
        """Features as float64, shape (n, d): numbers as they are, categories as codes, missing values NaN."""
        matrix = np.empty(self.features.shape, dtype=np.float64, order="F")
        for index, is_category in enumerate(self.is_categorical):
            column = self.features.iloc[:, index]
            if is_category:
                codes = column.cat.codes.to_numpy(dtype=float)
                matrix[:, index] = np.where(codes < 0, np.nan, codes)
            else:
                matrix[:, index] = column.to_numpy(dtype=float)
        return matrix
