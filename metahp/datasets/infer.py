"""From a raw frame to a table: the target, the task type, and what every column is."""

import re
import warnings as python_warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.task import Task, TaskType
from metahp.core.text import encodable
from metahp.datasets.fingerprint import fingerprint
from metahp.datasets.limits import check_columns
from metahp.datasets.table import MISSING_MARKERS, Preparation, ReadOptions, Table

MIN_ROWS = 20
TARGET_NAMES = ("target", "class", "label", "y", "outcome", "response", "target_class", "labels", "classes")
# An integer-valued target is read as classes up to this many distinct values …
MAX_INTEGER_CLASSES = 20
# … when each is met at least this often on average; a count from 0 to 15 in 60 rows is a number.
MIN_ROWS_PER_CLASS = 5
ID_UNIQUE_SHARE = 0.9
TEXT_WORDS = 4.0
MIXED_NUMERIC_SHARE = 0.5
# No date is longer, and on long texts the search for its shape takes the square of their length.
MIN_DATE_LENGTH, MAX_DATE_LENGTH = 6, 100
# In seconds, so that 9999-12-31 is a date too: nanoseconds end in 2262.
_EPOCH = pd.Timestamp(0).as_unit("s")
_DATE_SHAPE = re.compile(r"\d.*[-/:.].*\d")
# Columns are typed on this many values first; only a column that could be a number or a date is parsed whole.
PEEK = 1000
# … and these few tell most text from numbers.
FEW = 10
# More columns than this are worth a word: every later step takes its time with them.
WIDE_COLUMNS = 1000


def build_table(
    frame: pd.DataFrame,
    *,
    target: str | None = None,
    task_type: TaskType | str | None = None,
    name: str = "",
    group: str = "",
    read: ReadOptions = ReadOptions(),  # noqa: B008 - a frozen value
    warnings: Sequence[str] = (),
) -> Table:
    """A table from a raw frame, which is not changed.

    Args:
        frame: One row per example; the target is among the columns.
        target: Name of the target column; guessed where None.
        task_type: What to predict; inferred from the target where None.
        name: How the task is called in results.
        group: Tasks of one group are kin; the name where empty.
        read: How the frame was read, kept with the table.
        warnings: What reading it had to say; comes first in the table's warnings.

    Raises:
        InputError: no rows, fewer than 20 rows with a target, one column or too many, one class, as many classes as
            rows, no usable feature, or a task type that the target does not allow.
        UnknownNameError: no column is called `target`, or no task type is called `task_type`.
    """
    wanted = _known_task_type(task_type)
    check_columns(frame.shape[1], "The table")
    frame, renamed = with_unique_names(frame)
    warnings = list(warnings)
    if renamed:
        warnings.append(f"{len(renamed)} empty or repeated column name(s) renamed: {_some(renamed.values())}")
    if frame.shape[1] < 2:
        raise InputError(
            f"Expected a target and at least one feature column, found {frame.shape[1]} column(s). "
            "Is the separator one of , ; tab |?"
        )
    if len(frame) == 0:
        raise InputError(f"Expected at least {MIN_ROWS} rows, found a header and no rows.")
    if frame.shape[1] > WIDE_COLUMNS:
        warnings.append(
            f"the table is wide: {frame.shape[1]:,} columns; every step takes longer, "
            "so leave out the columns that you know to be useless"
        )
    target, origin = _find_target(frame, target)
    parsed = parse_column(frame[target])
    has_target = parsed.notna()
    if not has_target.any():
        raise InputError(f"Every value of the target '{target}' is missing; name another column with `target`.")
    n_without = int((~has_target).sum())
    if n_without:
        warnings.append(f"{n_without} row(s) without a target left out")
        frame, parsed = frame[has_target.to_numpy()], parsed[has_target]
    if len(frame) < MIN_ROWS:
        raise InputError(
            f"Expected at least {MIN_ROWS} rows with a target, found {len(frame)}; "
            "with so few, no score means anything."
        )
    kind, y, classes = _encode_target(parsed, target, wanted)

    raw = [parse_column(frame[column]) for column in frame.columns if column != target]
    task_id = fingerprint(raw, parsed, kind)
    features, preparation, notes = _clean(raw, renamed)
    if features.shape[1] == 0:
        left_out = "; ".join(f"{column} ({why})" for column, why in list(preparation.dropped.items())[:5])
        raise InputError(f"No usable feature column is left beside the target '{target}': {left_out}.")
    task = Task(
        id=task_id,
        type=kind,
        n_rows=len(frame),
        n_features=features.shape[1],
        n_classes=len(classes),
        name=encodable(name),
        group=encodable(group or name),
    )
    return Table(task, features, y, target, classes, origin, n_without, preparation, (*warnings, *notes), read)


def parse_column(column: pd.Series) -> pd.Series:
    """The column as float64, datetime64 or text (object, missing as None): what a file's format cannot change.

    Text columns are read value by value on their distinct values: `MISSING_MARKERS` are missing, and a column that
    holds nothing but numbers (or dates) becomes numeric (or datetime64).
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(_dtype_with_missing(dtype.categories.dtype))
        dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return column.astype(object).map({True: "True", False: "False"}).astype(object)
    if dtype == np.float64 and isinstance(dtype, np.dtype):
        return column
    if pd.api.types.is_complex_dtype(dtype):
        raise InputError(f"Column '{column.name}' holds complex numbers; expected numbers, text, dates or booleans.")
    if pd.api.types.is_numeric_dtype(dtype):
        return pd.Series(column.to_numpy(dtype=float, na_value=np.nan), index=column.index, name=column.name)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return column.dt.tz_localize(None) if column.dt.tz is not None else column
    if pd.api.types.is_timedelta64_dtype(dtype):
        return column.dt.total_seconds().astype(float)
    if pd.api.types.is_object_dtype(dtype):
        missing = column.isna().to_numpy()
        column = pd.Series(
            [None if gone else str(value) for value, gone in zip(column, missing, strict=True)],
            index=column.index,
            name=column.name,
            dtype=object,
        )
    return _parse_text(column)


def _dtype_with_missing(dtype: Any) -> Any:
    """The dtype that holds the same values and missing ones too."""
    if pd.api.types.is_bool_dtype(dtype):
        return object
    return float if pd.api.types.is_numeric_dtype(dtype) else dtype


def _parse_text(column: pd.Series) -> pd.Series:
    codes, values = pd.factorize(column)
    # By way of numpy: pandas' own iteration over Arrow text makes an Arrow scalar of each value.
    stripped = [encodable(str(value)).strip() for value in np.asarray(values, dtype=object)]
    texts = [None if text in MISSING_MARKERS else text for text in stripped]
    present = [text for text in texts if text is not None]
    if not present:
        return pd.Series(np.nan, index=column.index, name=column.name, dtype=float)
    # One more at the end is what code -1, a missing value, picks.
    distinct: np.ndarray = np.array([*texts, None], dtype=object)
    parsed = distinct
    if _are_numbers(present[:FEW]) and _are_numbers(present[:PEEK]):
        numbers = to_numbers(distinct)
        if np.count_nonzero(~np.isnan(numbers)) == len(present):
            parsed = numbers
    if parsed is distinct and _looks_like_dates(present[:PEEK]):
        dates = to_dates(distinct)
        if np.count_nonzero(dates.notna()) == len(present):
            parsed = dates.to_numpy()
    return pd.Series(parsed[codes], index=column.index, name=column.name, dtype=parsed.dtype)


def _are_numbers(texts: list[str]) -> bool:
    return not np.isnan(to_numbers(np.array(texts, dtype=object))).any()


def to_numbers(texts: np.ndarray) -> np.ndarray:
    """The texts as float64; NaN for what is no number."""
    return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=float)


def to_dates(texts: np.ndarray | list[str]) -> pd.DatetimeIndex:
    """The texts as dates, in universal time where they name a zone; NaT for what is no date."""
    with python_warnings.catch_warnings():
        # pandas warns of time zone names that it does not know; such a column is text here.
        python_warnings.simplefilter("ignore")
        return pd.DatetimeIndex(pd.to_datetime(texts, errors="coerce", format="mixed", utc=True)).tz_localize(None)


def _looks_like_dates(sample: list[str]) -> bool:
    shaped = all(MIN_DATE_LENGTH <= len(text) <= MAX_DATE_LENGTH and _DATE_SHAPE.search(text) for text in sample)
    return shaped and bool(to_dates(sample).notna().all())


def with_unique_names(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, str]]:
    """The frame with a name of its own for every column that any encoding can write, and the new names by position."""
    names, renamed, seen = [], {}, set(map(str, frame.columns))
    used: set[str] = set()
    for index, raw in enumerate(frame.columns):
        name = encodable(str(raw)).strip()
        if not name or name in used or name.startswith("Unnamed: "):
            stem, count = name if name and not name.startswith("Unnamed: ") else "column", 2
            name = f"{stem}_{index + 1}"
            while name in used or name in seen:
                name, count = f"{stem}_{index + 1}_{count}", count + 1
            renamed[index] = name
        used.add(name)
        names.append(name)
    return frame.set_axis(names, axis=1), renamed


def _known_task_type(task_type: TaskType | str | None) -> TaskType | None:
    if task_type is None or isinstance(task_type, TaskType):
        return task_type
    known = [str(kind) for kind in TaskType]
    if task_type not in known:
        raise UnknownNameError(f"No task type is called '{task_type}'. {did_you_mean(task_type, known)}")
    return TaskType(task_type)


def _find_target(frame: pd.DataFrame, target: str | None) -> tuple[str, str]:
    names = list(frame.columns)
    if target is not None:
        target = encodable(target).strip()
        if target not in names:
            raise UnknownNameError(f"No column is called '{target}'. {did_you_mean(target, names[:50])}")
        return target, "given"
    for wanted in TARGET_NAMES:
        for name in names:
            if name.lower() == wanted:
                return name, "guessed: its name"
    return names[-1], "guessed: last column"


def _encode_target(
    parsed: pd.Series, name: str, wanted: TaskType | None
) -> tuple[TaskType, np.ndarray, tuple[str, ...]]:
    is_number = pd.api.types.is_numeric_dtype(parsed.dtype)
    if is_number and np.isinf(parsed).any():
        raise InputError(
            f"The target '{name}' has infinite values; expected finite numbers or classes. "
            "Empty these cells to leave out their rows, or name another column with `target`."
        )
    kind = wanted or _infer_task_type(parsed, is_number)
    if kind is TaskType.REGRESSION:
        if not is_number:
            raise InputError(
                f"Regression needs a numeric target; '{name}' holds text such as "
                f"'{_first_text(parsed)}'. Write numbers as 1234.5, try `task='multiclass'`, or name another `target`."
            )
        if parsed.nunique() < 2:
            raise InputError(f"The target '{name}' has a single value; there is nothing to learn.")
        return kind, parsed.to_numpy(dtype=float), ()
    codes, distinct = pd.factorize(parsed)
    labels = [number_label(value) for value in distinct] if is_number else [str(value) for value in distinct]
    # As objects: numpy's own text drops a NUL at the end.
    classes, positions = np.unique(np.array(labels, dtype=object), return_inverse=True)
    codes = positions[codes]
    if len(classes) < 2:
        raise InputError(f"The target '{name}' has a single class '{classes[0]}'; expected at least 2.")
    if len(classes) > len(parsed) / 2:
        raise InputError(
            f"The target '{name}' has {len(classes)} classes in {len(parsed)} rows: it looks like an id. "
            "Name another column with `target`; if it is a number, write it as 1234.5 and use `task='regression'`."
        )
    if kind is TaskType.BINARY and len(classes) != 2:
        raise InputError(
            f"`task='binary'` needs 2 classes; '{name}' has {len(classes)}. Try `task='multiclass'`.", argument="task"
        )
    if wanted is None:
        kind = TaskType.BINARY if len(classes) == 2 else TaskType.MULTICLASS
    return kind, codes.astype(np.int64), tuple(map(str, classes))


def number_label(value: float) -> str:
    """The class that a number in the target stands for."""
    value = float(value) + 0.0  # + 0.0 makes -0.0 and 0.0 one class
    return f"{value:.0f}" if value == round(value) and abs(value) < 2**53 else repr(value)


def _first_text(parsed: pd.Series) -> str:
    """The first value that is not a number, which is what has to be mended; the first one where all are."""
    odd = parsed[pd.to_numeric(parsed.astype(str), errors="coerce").isna()]
    return str((odd if len(odd) else parsed).iloc[0])


def _infer_task_type(parsed: pd.Series, is_number: bool) -> TaskType:
    n_unique = parsed.nunique()
    if not is_number:
        return TaskType.BINARY if n_unique == 2 else TaskType.MULTICLASS
    if n_unique <= 2:
        return TaskType.BINARY
    is_whole = bool((parsed == parsed.round()).all())
    few = n_unique <= min(MAX_INTEGER_CLASSES, len(parsed) / MIN_ROWS_PER_CLASS)
    return TaskType.MULTICLASS if is_whole and few else TaskType.REGRESSION


def _clean(raw: list[pd.Series], renamed: dict[int, str]) -> tuple[pd.DataFrame, Preparation, list[str]]:
    numeric, categorical, dates, dropped = [], [], [], {}
    features: dict[str, pd.Series] = {}
    infinite, mixed = [], []
    for column in raw:
        name = str(column.name)
        if pd.api.types.is_numeric_dtype(column.dtype):
            if np.isinf(column.to_numpy()).any():
                infinite.append(name)
                column = column.where(np.isfinite(column), np.nan)
            if why := _why_useless_number(column):
                dropped[name] = why
            else:
                numeric.append(name)
                features[name] = column
        elif pd.api.types.is_datetime64_any_dtype(column.dtype):
            parts = {part: values for part, values in date_parts(column).items() if values.nunique() > 1}
            if parts:
                dates.append(name)
            else:
                dropped[name] = "constant"
            features.update({f"{name}.{part}": values for part, values in parts.items()})
        else:
            category = column.astype("category")
            if why := _why_useless_text(category):
                dropped[name] = why
                continue
            categorical.append(name)
            features[name] = category
            if _numeric_share(category.array) >= MIXED_NUMERIC_SHARE:
                mixed.append(name)
    notes = []
    if infinite:
        notes.append(f"infinite values read as missing in {_some(infinite)}")
    if mixed:
        notes.append(f"numbers and text mixed, read as categories: {_some(mixed)}")
    for why in dict.fromkeys(dropped.values()):
        notes.append(f"left out ({why}): {_some(name for name, reason in dropped.items() if reason == why)}")
    index = raw[0].index
    frame = pd.DataFrame(
        {
            name: values.to_numpy() if not isinstance(values.dtype, pd.CategoricalDtype) else values.array
            for name, values in features.items()
        },
        index=range(len(index)),
    )
    return frame, Preparation(tuple(numeric), tuple(categorical), tuple(dates), dropped, renamed), notes


def _numeric_share(values: pd.Categorical) -> float:
    """Share of the present values that read as numbers."""
    counts = np.bincount(values.codes[values.codes >= 0], minlength=len(values.categories))
    is_number = ~np.isnan(to_numbers(values.categories.to_numpy(dtype=object)))
    return float(counts[is_number].sum() / counts.sum())


def _why_useless_number(column: pd.Series) -> str:
    values = column.to_numpy()
    present = values[~np.isnan(values)]
    if present.size == 0:
        return "no value"
    if present.min() == present.max() and present.size == values.size:
        return "constant"
    is_full = present.size == values.size and values.size > MIN_ROWS
    # In whatever order the rows come; the range is asked first, since it spares most columns the sort.
    if is_full and np.ptp(values) == values.size - 1 and (np.diff(np.sort(values)) == 1).all():
        return "row number"
    return ""


def _why_useless_text(column: pd.Series) -> str:
    n_unique, n_present = len(column.cat.categories), int(column.notna().sum())
    if n_unique == 0:
        return "no value"
    if n_unique == 1 and n_present == len(column):
        return "constant"
    if n_unique > max(MIN_ROWS, ID_UNIQUE_SHARE * n_present):
        words = np.mean([len(str(text).split()) for text in column.dropna().iloc[:PEEK].to_numpy(dtype=object)])
        return "free text" if words > TEXT_WORDS else "id-like: nearly every value is different"
    return ""


def date_parts(column: pd.Series) -> dict[str, pd.Series]:
    """Numeric parts of a date: days since 1970, month, day of the week and hour; missing stays missing."""
    days = (column - _EPOCH) / pd.Timedelta(days=1)
    parts = {"days": days, "month": column.dt.month, "weekday": column.dt.day_of_week, "hour": column.dt.hour}
    return {part: values.astype(float) for part, values in parts.items()}


def _some(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
