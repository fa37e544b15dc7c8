"""A table ready to learn from: features, target, task and what was done to get there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from metahp.core.errors import InputError
from metahp.core.task import Task

# What counts as a missing value in every text column, whatever the file's format.
MISSING_MARKERS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "?")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file was read, so that a script with pandas alone can read the same file again.

    `format` is csv, jsonl, parquet, arff, sparse-arff, or frame (a table that was never a file). `skip_lines` counts
    the lines before the header, or before the first row where `column_names` is given, as it is for ARFF, which has
    no header; `comment` starts the lines to be left out.
    """

    format: str = "frame"
    separator: str = ","
    encoding: str = "utf-8"
    compression: str | None = None
    decimal: str = "."
    quote: str = '"'
    skip_lines: int = 0
    column_names: tuple[str, ...] = ()
    comment: str = ""

    def pandas_source(self, path: str, text_columns: Sequence[str] = ()) -> str:
        """A Python expression that reads the file at `path` into a frame, with pandas imported as `pd`.

        Args:
            path: The file, as the expression names it.
            text_columns: Columns to be kept as text though they may look like numbers.

        Raises:
            InputError: pandas has no reader for this format.
        """
        if self.format == "parquet":
            return f"pd.read_parquet({path!r})"
        named: dict[str, object] = {"encoding": self.encoding, "compression": self.compression}
        if self.format == "jsonl":
            named |= {"lines": True, "dtype": False, "precise_float": True}
            return f"pd.read_json({path!r}, {_arguments(named)})"
        if self.format not in ("csv", "arff"):
            raise InputError(
                f"pandas cannot read this table again by itself (it came as: {self.format}); "
                "save it as CSV or Parquet and start from that file."
            )
        if text_columns:
            named["dtype"] = dict.fromkeys(text_columns, "str")
        named |= {
            "sep": self.separator,
            "decimal": self.decimal,
            "quotechar": self.quote,
            "na_values": list(MISSING_MARKERS),
            "keep_default_na": False,
            "skipinitialspace": True,
        }
        if self.column_names:
            named |= {"header": None, "names": list(self.column_names), "escapechar": "\\"}
        if self.skip_lines:
            named["skiprows"] = self.skip_lines
        if self.comment:
            named["comment"] = self.comment
        return f"pd.read_csv({path!r}, {_arguments(named)})"


def _arguments(named: dict[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in named.items())


@dataclass(frozen=True)
class Preparation:
    """What turned the raw columns into features, so that an exported script can do it again.

    `numeric`, `categorical` and `dates` name the raw columns used; `dropped` maps a column that is left out to the
    reason; `renamed` maps the position of a column with an empty or repeated name to the name it got.
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)
    renamed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Table:
    """A task with its rows.

    `features` has float64 columns (missing values NaN) and `category` columns whose categories are strings; `y` has
    shape (n,), float64 for regression and integer codes into `classes` otherwise. `warnings` has one line for each
    thing a user should know; `target_origin` says how the target was found; `read` says how the file was read.
    """

    task: Task
    features: pd.DataFrame
    y: np.ndarray
    target: str
    classes: tuple[str, ...] = ()
    target_origin: str = "given"
    n_rows_without_target: int = 0
    preparation: Preparation = Preparation()
    warnings: tuple[str, ...] = ()
    read: ReadOptions = ReadOptions()

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
