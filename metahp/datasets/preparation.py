"""Fit on the columns of a table how they become features, and make features of its rows and of new rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from metahp.core.errors import InputError, did_you_mean
from metahp.core.text import join_names
from metahp.datasets.columns import PEEK, label_numbers, refuse_complex
from metahp.datasets.limits import MIN_ROWS
from metahp.datasets.portable import parse_numbers, read_categories, read_date_parts, read_numbers, read_texts
from metahp.datasets.raw import name_columns

ID_UNIQUE_SHARE = 0.9
TEXT_WORDS = 4.0
MIXED_NUMERIC_SHARE = 0.5
KINDS = ("number", "category", "date")
DATE_PARTS = tuple(read_date_parts(pd.Series(dtype="datetime64[s]")))


@dataclass(frozen=True, slots=True)
class Column:
    """A raw column that is used: its kind (number, category or date), its categories, or the date parts to use."""

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"Expected a column of kind {', '.join(KINDS)}, found '{self.kind}'.")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features made of this column, in order."""
        return tuple(f"{self.name}.{part}" for part in self.parts) if self.kind == "date" else (self.name,)

    def make_features(self, cells: pd.Series) -> dict[str, Any]:
        """Features of the cells by name: float64 arrays, or one categorical array."""
        if self.kind == "number":
            return {self.name: read_numbers(cells)}
        if self.kind == "date":
            with warnings.catch_warnings():
                # pandas warns about unknown time zone names; such cells are missing here.
                warnings.simplefilter("ignore")
                parts = read_date_parts(cells)
            return {f"{self.name}.{part}": parts[part] for part in self.parts}
        return {self.name: read_categories(cells, self.categories)}

    def find_unknown(self, cells: pd.Series, features: Mapping[str, Any]) -> list[str]:
        """Texts of the cells that have a value but are missing in `features`, which were made of these cells."""
        if self.kind == "number" and pd.api.types.is_numeric_dtype(cells.dtype):
            return []
        is_missing = pd.isna(next(iter(features.values())))
        if not is_missing.any():
            return []
        texts, positions = read_texts(cells[is_missing])
        if self.kind == "number":
            # Infinity is a missing feature, but not an unknown value.
            texts[np.isinf(parse_numbers(texts))] = None
        return [text for text in texts[positions] if text is not None]


@dataclass(frozen=True, slots=True)
class Preparation:
    """How raw columns become features: fitted on a table, applied to its rows, to new rows and in scripts.

    Attributes:
        columns: The used columns, in the order of their features.
        renamed: New names of columns whose name was empty or repeated, in order, without the target.
        dropped: The reason for leaving a column out, by name.
        inputs: Names of all columns of the table in their order, without the target: those of a matrix without names.
    """

    columns: tuple[Column, ...] = ()
    renamed: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls, columns: Mapping[str, pd.Series], renamed: Sequence[str] = ()
    ) -> tuple["Preparation", tuple[str, ...]]:
        """The preparation of a table, and notes for the user.

        Args:
            columns: Columns by name, without the target, as `columns.parse_column` returns them.
            renamed: See the attribute.
        """
        used: dict[str, Column] = {}
        dropped: dict[str, str] = {}
        infinite, mixed = [], []
        for name, cells in columns.items():
            if pd.api.types.is_numeric_dtype(cells.dtype):
                values = cells.to_numpy()
                if np.isinf(values).any():
                    infinite.append(name)
                    values = read_numbers(cells)
                column, why = Column(name, "number"), _explain_useless_number(values)
            elif isinstance(cells.dtype, pd.CategoricalDtype):
                categorical = cast(pd.Categorical, cells.array)
                categories = tuple(categorical.categories.to_numpy(dtype=object))
                column, why = Column(name, "category", categories), _explain_useless_text(categorical)
                if not why and _compute_numeric_share(categorical) >= MIXED_NUMERIC_SHARE:
                    mixed.append(name)
            else:
                parts = tuple(part for part, values in read_date_parts(cells).items() if _is_varying(values))
                column, why = Column(name, "date", parts=parts), "" if parts else "constant"
            if why:
                dropped[name] = why
            else:
                used[name] = column
        _keep_names_apart(used, dropped)
        notes = []
        if infinite:
            notes.append(f"infinite values read as missing in {join_names(infinite)}")
        if mixed:
            notes.append(f"numbers and text mixed, read as categories: {join_names(mixed)}")
        for why in dict.fromkeys(dropped.values()):
            notes.append(f"left out ({why}): {join_names(name for name in dropped if dropped[name] == why)}")
        return cls(tuple(used.values()), tuple(renamed), dropped, tuple(columns)), tuple(notes)

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the columns of numbers."""
        return self._list_names("number")

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the columns of categories."""
        return self._list_names("category")

    @property
    def dates(self) -> tuple[str, ...]:
        """Names of the columns of dates."""
        return self._list_names("date")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(name for column in self.columns for name in column.feature_names)

    def transform(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """The same features for another raw frame, and notes for the user.

        The order of the columns does not matter, and other columns are ignored. A value that the table did not have
        (an unseen category, text among numbers) becomes missing, with a note.

        Raises:
            InputError: columns are missing, or a column holds complex numbers.
        """
        frame = self._rename(frame)
        missing = [column.name for column in self.columns if column.name not in frame.columns]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(self.columns)} columns that the model needs are missing: "
                f"{join_names(missing)}. "
                + did_you_mean(missing[0], [str(name) for name in frame.columns[:50]]).replace("Known", "Found")
            )
        features: dict[str, Any] = {}
        notes = []
        for column in self.columns:
            cells = frame[column.name]
            refuse_complex(cells)
            cells = cells if column.kind == "number" else label_numbers(cells)
            column_features = column.make_features(cells)
            features |= column_features
            if unknown := column.find_unknown(cells, column_features):
                values = join_names(dict.fromkeys(map(repr, unknown)))
                notes.append(f"column '{column.name}': {len(unknown):,} unknown value(s) read as missing ({values})")
        return pd.DataFrame(features, index=range(len(frame))), tuple(notes)

    def make_features(self, columns: Mapping[str, pd.Series]) -> pd.DataFrame:
        """Features of the parsed columns used in `fit`: the same as `transform` gives for the raw columns."""
        features: dict[str, Any] = {}
        for column in self.columns:
            cells = columns[column.name]
            features |= {column.name: cells.array} if column.kind == "category" else column.make_features(cells)
        return pd.DataFrame(features, index=range(len(next(iter(columns.values())))))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "columns": [{name: value for name, value in asdict(column).items() if value} for column in self.columns],
            "renamed": list(self.renamed),
            "dropped": dict(self.dropped),
            "inputs": list(self.inputs),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preparation":
        """The preparation that `to_dict` wrote; `dropped` may be absent.

        Raises:
            InputError: unknown kind of column; values that `to_dict` does not write may raise any other error.
        """
        columns = tuple(map(_make_column, values["columns"]))
        dropped = {str(name): str(why) for name, why in values.get("dropped", {}).items()}
        inputs = tuple(map(str, values.get("inputs", ())))
        return cls(columns, tuple(map(str, values["renamed"])), dropped, inputs)

    def _list_names(self, kind: str) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.kind == kind)

    def _rename(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame, renamed = name_columns(frame)
        # The new names contain positions, which may differ here; with equally many new names, match them by order.
        if len(renamed) == len(self.renamed):
            frame = frame.rename(columns=dict(zip(renamed.values(), self.renamed, strict=True)))
        return frame


def _make_column(values: Mapping[str, Any]) -> Column:
    if not isinstance(values["kind"], str):
        raise ValueError("the kind of a column must be text")
    categories, parts = (tuple(map(str, values.get(name, ()))) for name in ("categories", "parts"))
    return Column(str(values["name"]), values["kind"], categories, parts)


def _keep_names_apart(used: dict[str, Column], dropped: dict[str, str]) -> None:
    """Drop date parts with the same name as another column, so that feature names are unique."""
    others = {name for name, column in used.items() if column.kind != "date"}
    for name, column in list(used.items()):
        parts = tuple(part for part in column.parts if f"{name}.{part}" not in others)
        if len(parts) < len(column.parts):
            used[name] = replace(column, parts=parts)
        if column.parts and not parts:
            del used[name]
            dropped[name] = "other columns are called like its parts"


def _is_varying(values: np.ndarray) -> bool:
    present = values[~np.isnan(values)]
    return present.size > 0 and bool(present.min() < present.max())


def _compute_numeric_share(values: pd.Categorical) -> float:
    """Share of the present values that are numbers."""
    counts = np.bincount(values.codes[values.codes >= 0], minlength=len(values.categories))
    is_number = ~np.isnan(parse_numbers(values.categories.to_numpy(dtype=object)))
    return float(counts[is_number].sum() / counts.sum())


def _explain_useless_number(values: np.ndarray) -> str:
    present = values[~np.isnan(values)]
    if present.size == 0:
        return "no value"
    if present.min() == present.max() and present.size == values.size:
        return "constant"
    is_full = present.size == values.size and values.size > MIN_ROWS
    # Rows may be in any order. The range comes first: it saves sorting most columns.
    if is_full and np.ptp(values) == values.size - 1 and (np.diff(np.sort(values)) == 1).all():
        return "row number"
    return ""


def _explain_useless_text(values: pd.Categorical) -> str:
    present = values.codes[values.codes >= 0]
    n_unique, n_present = len(values.categories), len(present)
    if n_unique == 0:
        return "no value"
    if n_unique == 1 and n_present == len(values):
        return "constant"
    if n_unique > max(MIN_ROWS, ID_UNIQUE_SHARE * n_present):
        words = np.mean([len(str(text).split()) for text in values.categories[present[:PEEK]].to_numpy(dtype=object)])
        return "free text" if words > TEXT_WORDS else "id-like: nearly every value is different"
    return ""
