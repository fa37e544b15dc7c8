"""Fit on the columns of a table how they become features, and make features of its rows and of new rows."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import pandas as pd

from metahp.core.errors import InputError, did_you_mean
from metahp.core.text import join_names
from metahp.datasets.cells import label_numbers, normalise_column, replace_markers
from metahp.datasets.columns import ID_UNIQUE_SHARE, MIN_UNIQUE, ParsedColumn
from metahp.datasets.limits import MIN_ROWS
from metahp.datasets.notation import PEEK
from metahp.datasets.portable import (
    MISSING,
    parse_numbers,
    read_categories,
    read_date_parts,
    read_numbers,
    read_seconds,
    read_texts,
    read_written_numbers,
    split_number,
)
from metahp.datasets.raw import name_columns

TEXT_WORDS = 4.0
MIXED_NUMERIC_SHARE = 0.5
# A number is as Python writes it, or written with units and separators, or a clock time or duration in seconds.
NUMBERS = ("number", "written", "clock")
KINDS = (*NUMBERS, "category", "date")
# A column of different whole numbers in whose name one of these words stands is an id.
ID_WORDS = frozenset({"id", "ids", "uid", "uuid", "guid", "key", "pk", "index", "idx", "nr", "no", "num", "number"})
ID_WORDS |= {"serial", "row", "rowid", "record", "code", "account", "invoice", "ssn", "unnamed", "column"}
ROW_NUMBER, NUMERIC_ID = "row number", "id: a different whole number in every row"
DATE_PARTS = tuple(read_date_parts(pd.Series(dtype="datetime64[s]")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A raw column that is used.

    Attributes:
        name: Its name.
        kind: One of `KINDS`.
        categories: Texts of a category.
        parts: Parts of a date that are features.
        formats: Formats of dates that are text.
        decimal: Decimal mark of written numbers.
        units: Units of written numbers and the factor of each.
        stem: What the names of a date's features begin with; the column's name where empty.
        is_respelled: Whether texts that differ only by case and blanks are one category.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    decimal: str = ""
    units: Mapping[str, float] = field(default_factory=dict)
    stem: str = ""
    is_respelled: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"Expected a column of kind {', '.join(KINDS)}, found '{self.kind}'.")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features made of this column, in order."""
        return tuple(f"{self.stem or self.name}.{part}" for part in self.parts) if self.kind == "date" else (self.name,)

    @property
    def spellings(self) -> tuple[str, ...]:
        """How categories are written where other spellings are met; empty where there are none."""
        return self.categories if self.is_respelled else ()

    def make_features(self, cells: pd.Series) -> dict[str, Any]:
        """Features of the cells by name: float64 arrays, or one categorical array."""
        if self.kind == "number":
            return {self.name: read_numbers(cells)}
        if self.kind == "written":
            return {self.name: read_written_numbers(cells, self.decimal, dict(self.units))}
        if self.kind == "clock":
            return {self.name: read_seconds(cells)}
        if self.kind == "date":
            with warnings.catch_warnings():
                # pandas warns about unknown time zone names; such cells are missing here.
                warnings.simplefilter("ignore")
                parts = read_date_parts(cells, self.formats or ("mixed",))
            return dict(zip(self.feature_names, (parts[part] for part in self.parts), strict=True))
        return {self.name: read_categories(cells, self.categories, self.spellings)}

    def find_unknown(self, cells: pd.Series, features: Mapping[str, Any]) -> list[str]:
        """Texts of the cells that have a value but are missing in `features`, which were made of these cells."""
        if self.kind in NUMBERS and pd.api.types.is_numeric_dtype(cells.dtype):
            return []
        is_missing = pd.isna(next(iter(features.values())))
        if not is_missing.any():
            return []
        texts, positions = read_texts(cells[is_missing])
        if self.kind == "number":
            # Infinity is a missing feature, but not an unknown value.
            texts[np.isinf(parse_numbers(texts))] = None
        return [text for text in texts[positions] if text is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
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
    missing: tuple[str, ...] = MISSING
    target: Column | None = None
    id_column: str = ""
    inputs: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        columns: Mapping[str, ParsedColumn],
        renamed: Sequence[str] = (),
        *,
        useless: Mapping[str, str] = MappingProxyType({}),
        missing: tuple[str, ...] = MISSING,
    ) -> tuple["Preparation", tuple[str, ...]]:
        """The preparation of a table, and notes for the user.

        Args:
            columns: Columns by name, without the target, as `columns.parse_column` returns them.
            renamed: See the attribute.
            useless: Columns to leave out, and why.
            missing: See the attribute.
        """
        used: dict[str, Column] = {}
        dropped: dict[str, str] = dict(useless)
        numbered: dict[str, Column] = {}
        infinite, mixed, codes = [], [], []
        for name, parsed in columns.items():
            if name in useless:
                continue
            cells, notation = parsed.cells, parsed.notation
            if pd.api.types.is_numeric_dtype(cells.dtype):
                values = cells.to_numpy()
                if np.isinf(values).any():
                    infinite.append(name)
                    values = read_numbers(cells)
                column, why = Column(name=name, kind="number"), _explain_useless_number(name, values)
                if notation is not None:
                    column = replace(column, kind=notation.kind, decimal=notation.decimal, units=notation.units)
            elif isinstance(cells.dtype, pd.CategoricalDtype):
                categorical = cast(pd.Categorical, cells.array)
                categories = tuple(categorical.categories.to_numpy(dtype=object))
                column, why = (
                    Column(name=name, kind="category", categories=categories, is_respelled=parsed.is_respelled),
                    _explain_useless_text(categorical),
                )
                share = 0.0 if why or parsed.is_typed else _compute_numeric_share(categorical)
                if share == 1.0:
                    codes.append(name)
                elif share >= MIXED_NUMERIC_SHARE:
                    mixed.append(name)
            else:
                parts = tuple(part for part, values in read_date_parts(cells).items() if _is_varying(values))
                formats = () if notation is None else notation.formats
                column = Column(name=name, kind="date", parts=parts, formats=formats)
                why = "" if parts else "no value" if cells.isna().all() else "constant"
            if why:
                dropped[name] = why
                if column.kind in NUMBERS and why in (ROW_NUMBER, NUMERIC_ID):
                    numbered[name] = column
            else:
                used[name] = column
        if not used:
            # A table of nothing else is about them.
            used = {name: column for name, column in numbered.items() if name not in useless}
            dropped = {name: why for name, why in dropped.items() if name not in used}
        _keep_names_apart(used)
        notes = []
        if infinite:
            notes.append(f"infinite values read as missing in {join_names(infinite)}")
        if mixed:
            notes.append(f"numbers and text mixed, read as categories: {join_names(mixed)}")
        if codes:
            notes.append(f"codes of digits read as categories: {join_names(codes)}")
        for why in dict.fromkeys(dropped.values()):
            notes.append(f"left out ({why}): {join_names(name for name in dropped if dropped[name] == why)}")
        preparation = cls(
            columns=tuple(used.values()),
            renamed=tuple(renamed),
            dropped=dropped,
            missing=missing,
            inputs=tuple(columns),
        )
        return preparation, tuple(notes)

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the columns of numbers, clock times among them."""
        return tuple(column.name for column in self.columns if column.kind in NUMBERS)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the columns of categories."""
        return self._list_names("category")

    @property
    def dates(self) -> tuple[str, ...]:
        """Names of the columns of dates."""
        return self._list_names("date")

    @property
    def day_first(self) -> bool | None:
        """Whether the day comes first in dates that are text; None where no column shows it, or not all agree."""
        firsts = {form[:2] for column in self.columns for form in column.formats if form[:2] in ("%d", "%m")}
        return firsts == {"%d"} if len(firsts) == 1 else None

    @property
    def text_names(self) -> tuple[str, ...]:
        """Names of the columns that have to be read as text, though they may look like numbers."""
        return tuple(column.name for column in self.columns if column.kind != "number")

    @property
    def used_names(self) -> tuple[str, ...]:
        """Names of the columns that are used, in order."""
        return tuple(column.name for column in self.columns)

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
            cells = replace_markers(normalise_column(cells), self.missing)
            cells = label_numbers(cells) if column.kind == "category" else cells
            column_features = column.make_features(cells)
            features |= column_features
            if unknown := column.find_unknown(cells, column_features):
                values = join_names(dict.fromkeys(map(repr, unknown)))
                notes.append(f"column '{column.name}': {len(unknown):,} unknown value(s) read as missing ({values})")
        return pd.DataFrame(features, index=range(len(frame))), tuple(notes)

    def find_ids(self, frame: pd.DataFrame) -> pd.Series | None:
        """The column of a raw frame that names its rows; None where there is none."""
        frame = self._rename(frame)
        return frame[self.id_column] if self.id_column and self.id_column in frame.columns else None

    def make_features(self, columns: Mapping[str, ParsedColumn]) -> pd.DataFrame:
        """Features of the parsed columns used in `fit`: the same as `transform` gives for the raw columns."""
        features: dict[str, Any] = {}
        for column in self.columns:
            cells = columns[column.name].cells
            features |= {column.name: cells.array} if column.kind == "category" else column.make_features(cells)
        return pd.DataFrame(features, index=range(len(next(iter(columns.values())).cells)))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "columns": [_write_column(column) for column in self.columns],
            "renamed": list(self.renamed),
            "dropped": dict(self.dropped),
            "missing": list(self.missing),
            "id_column": self.id_column,
            "target_column": None if self.target is None else _write_column(self.target),
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
        missing = tuple(map(str, values.get("missing", MISSING)))
        target = values.get("target_column")
        return cls(
            columns=columns,
            renamed=tuple(map(str, values["renamed"])),
            dropped=dropped,
            missing=missing,
            target=None if target is None else _make_column(target),
            id_column=str(values.get("id_column", "")),
            inputs=tuple(map(str, values.get("inputs", ()))),
        )

    def _list_names(self, kind: str) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.kind == kind)

    def _rename(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame, renamed = name_columns(frame)
        # The new names contain positions, which may differ here; with equally many new names, match them by order.
        if len(renamed) == len(self.renamed):
            frame = frame.rename(columns=dict(zip(renamed.values(), self.renamed, strict=True)))
        return frame


def make_target_column(parsed: ParsedColumn) -> Column | None:
    """How a target is written; None where it is neither a number nor a class in several spellings."""
    if parsed.is_respelled:
        categories = tuple(cast(pd.Categorical, parsed.cells.array).categories.to_numpy(dtype=object))
        return Column(name=parsed.name, kind="category", categories=categories, is_respelled=True)
    if not parsed.is_number:
        return None
    column, notation = Column(name=parsed.name, kind="number"), parsed.notation
    if notation is None:
        return column
    return replace(column, kind=notation.kind, decimal=notation.decimal, units=notation.units)


def _write_column(column: Column) -> dict[str, Any]:
    return {name: value for name, value in asdict(column).items() if value}


def _make_column(values: Mapping[str, Any]) -> Column:
    if not isinstance(values["kind"], str):
        raise ValueError("the kind of a column must be text")
    categories, parts, formats = (tuple(map(str, values.get(name, ()))) for name in ("categories", "parts", "formats"))
    units = {str(unit): float(factor) for unit, factor in dict(values.get("units", {})).items()}
    return Column(
        name=str(values["name"]),
        kind=values["kind"],
        categories=categories,
        parts=parts,
        formats=formats,
        decimal=str(values.get("decimal", "")),
        units=units,
        stem=str(values.get("stem", "")),
        is_respelled=bool(values.get("is_respelled", False)),
    )


def _keep_names_apart(used: dict[str, Column]) -> None:
    """Give the features of a date other names where a column has one of them already."""
    names = {name for name, column in used.items() if column.kind != "date"}
    for name, column in used.items():
        if column.kind == "date":
            count = 1
            while names & set(column.feature_names):
                count += 1
                column = replace(column, stem=f"{name}_{count}")
            used[name] = column
            names |= set(column.feature_names)


def _is_varying(values: np.ndarray) -> bool:
    present = values[~np.isnan(values)]
    return present.size > 0 and bool(present.min() < present.max())


def _compute_numeric_share(values: pd.Categorical) -> float:
    """Share of the present values that are numbers."""
    counts = np.bincount(values.codes[values.codes >= 0], minlength=len(values.categories))
    texts = values.categories.to_numpy(dtype=object)
    is_number = ~np.isnan(parse_numbers(texts)) | np.array([split_number(text) is not None for text in texts])
    return float(counts[is_number].sum() / counts.sum())


def _explain_useless_number(name: str, values: np.ndarray) -> str:
    present = values[~np.isnan(values)]
    if present.size == 0:
        return "no value"
    if present.min() == present.max() and present.size == values.size:
        return "constant"
    is_full = present.size == values.size and values.size > MIN_ROWS
    # Rows may be in any order. The range comes first: it saves sorting most columns.
    if is_full and np.ptp(values) == values.size - 1 and (np.diff(np.sort(values)) == 1).all():
        return ROW_NUMBER
    if is_full and _is_called_id(name) and (values == np.round(values)).all() and len(np.unique(values)) == values.size:
        return NUMERIC_ID
    return ""


def _is_called_id(name: str) -> bool:
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).casefold()
    return bool(set(re.split(r"[\W_\d]+", words)) & ID_WORDS) or words.endswith("id")


def _explain_useless_text(values: pd.Categorical) -> str:
    present = values.codes[values.codes >= 0]
    n_unique, n_present = len(values.categories), len(present)
    if n_unique == 0:
        return "no value"
    if n_unique == 1 and n_present == len(values):
        return "constant"
    if n_unique > max(MIN_UNIQUE, ID_UNIQUE_SHARE * n_present):
        words = np.mean([len(str(text).split()) for text in values.categories[present[:PEEK]].to_numpy(dtype=object)])
        return "free text" if words > TEXT_WORDS else "id-like: nearly every value is different"
    return ""
