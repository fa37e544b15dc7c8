"""How raw columns become features again: what the training table did to its columns, applied to a new frame."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from metahp.core.errors import InputError, did_you_mean
from metahp.datasets.infer import date_parts, number_label, parse_column, to_dates, to_numbers, with_unique_names
from metahp.datasets.table import MISSING_MARKERS, Table

MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Column:
    """A raw column that is used: its kind (number, category or date), its categories, or the parts kept of a date."""

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _FEATURES:
            raise InputError(f"Expected a column of kind {', '.join(_FEATURES)}, found '{self.kind}'.")


@dataclass(frozen=True, slots=True)
class Preparation:
    """The columns that become features, in order.

    `renamed` holds the columns without a name of their own, in the order in which the file had them.
    """

    columns: tuple[Column, ...]
    renamed: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the raw columns that are categories."""
        return tuple(column.name for column in self.columns if column.kind == "category")

    def features(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """Features of a raw frame, as the models were trained on, and what a user should know of them.

        The order of the columns does not matter and other columns are ignored. A value that training did not know
        (an unseen category, text among numbers) is missing, and one line says so.

        Raises:
            InputError: columns are missing.
        """
        frame = self._renamed(frame)
        missing = [column.name for column in self.columns if column.name not in frame.columns]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(self.columns)} columns that the model needs are missing: {_some(missing)}. "
                + did_you_mean(missing[0], [str(name) for name in frame.columns[:50]]).replace("Known", "Found")
            )
        features: dict[str, Any] = {}
        notes = []
        for column in self.columns:
            made, unknown = _FEATURES[column.kind](frame[column.name], column)
            features |= made
            if len(unknown):
                values = _some(dict.fromkeys(map(repr, unknown)))
                notes.append(f"column '{column.name}': {len(unknown):,} unknown value(s) read as missing ({values})")
        return pd.DataFrame(features, index=range(len(frame))), tuple(notes)

    def _renamed(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame, renamed = with_unique_names(frame)
        # Names that stand for a position move with it; where as many columns have one, their order tells them apart.
        if len(renamed) == len(self.renamed):
            frame = frame.rename(columns=dict(zip(renamed.values(), self.renamed, strict=True)))
        return frame

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "columns": [{name: value for name, value in asdict(column).items() if value} for column in self.columns],
            "renamed": list(self.renamed),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preparation":
        """The preparation that `to_dict` wrote."""
        columns = tuple(
            Column(
                str(column["name"]),
                column["kind"],
                tuple(map(str, column.get("categories", ()))),
                tuple(map(str, column.get("parts", ()))),
            )
            for column in values["columns"]
        )
        return cls(columns, tuple(map(str, values["renamed"])))


def preparation_of(table: Table) -> Preparation:
    """What was done to the columns of a table."""
    done = table.preparation
    columns: dict[str, Column] = {}
    for feature in map(str, table.features):
        if feature in done.numeric:
            columns[feature] = Column(feature, "number")
        elif feature in done.categorical:
            categories = tuple(map(str, table.features[feature].cat.categories))
            columns[feature] = Column(feature, "category", categories)
        else:
            name, _, part = feature.rpartition(".")
            kept = columns[name].parts if name in columns else ()
            columns[name] = Column(name, "date", parts=(*kept, part))
    return Preparation(tuple(columns.values()), tuple(name for name in done.renamed.values() if name != table.target))


def texts_of(column: pd.Series) -> np.ndarray:
    """The cells as text without the spaces around them, None where one is missing; numbers as `number_label` has it."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(object)
    missing = column.isna().to_numpy()
    is_number = pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)
    codes, values = pd.factorize(column.astype(object))
    texts = [number_label(value) if is_number else str(value).strip() for value in values]
    cells: np.ndarray = np.array([None if text in MISSING_MARKERS else text for text in [*texts, ""]], dtype=object)
    return cells[np.where(missing, -1, codes)]


def _number(column: pd.Series, _: Column) -> tuple[dict[str, Any], np.ndarray]:
    parsed = parse_column(column.astype(float) if pd.api.types.is_bool_dtype(column.dtype) else column)
    texts = np.array([], dtype=object)
    if not pd.api.types.is_numeric_dtype(parsed.dtype):
        texts = texts_of(column)
        parsed = pd.Series(to_numbers(texts))
        texts = texts[parsed.isna() & ~pd.isna(texts)]
    values = parsed.to_numpy(dtype=float)
    return {str(column.name): np.where(np.isfinite(values), values, np.nan)}, texts


def _category(column: pd.Series, known: Column) -> tuple[dict[str, Any], np.ndarray]:
    texts = texts_of(column)
    categories = pd.Index(known.categories, dtype="str")
    codes = categories.get_indexer(pd.Index(texts, dtype=object))
    made = pd.Categorical.from_codes(codes, categories=categories)
    return {known.name: made}, texts[(codes < 0) & ~pd.isna(texts)]


def _date(column: pd.Series, known: Column) -> tuple[dict[str, Any], np.ndarray]:
    dates = parse_column(column)
    texts = np.array([], dtype=object)
    if not pd.api.types.is_datetime64_any_dtype(dates.dtype):
        texts = texts_of(column)
        dates = pd.Series(to_dates(texts))
        texts = texts[dates.isna() & ~pd.isna(texts)]
    parts = date_parts(dates)
    return {f"{known.name}.{part}": parts[part].to_numpy() for part in known.parts}, texts


_FEATURES = {"number": _number, "category": _category, "date": _date}


def _some(names: Any) -> str:
    listed = list(names)
    return ", ".join(listed[:MAX_NAMED]) + (f" and {len(listed) - MAX_NAMED} more" if len(listed) > MAX_NAMED else "")
