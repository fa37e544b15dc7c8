"""From a raw frame to a table: the target, the task type, and what every column is."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.task import Task, TaskType
from metahp.datasets.fingerprint import fingerprint
from metahp.datasets.table import Preparation, Table

MIN_ROWS = 20
TARGET_NAMES = ("target", "class", "label", "y", "outcome", "response", "target_class", "labels", "classes")
# An integer-valued target is read as classes up to this many distinct values …
MAX_INTEGER_CLASSES = 20
# … when each is met at least this often on average; a count from 0 to 15 in 60 rows is a number.
MIN_ROWS_PER_CLASS = 5
ID_UNIQUE_SHARE = 0.9
TEXT_WORDS = 4.0
MIXED_NUMERIC_SHARE = 0.5
MIN_DATE_LENGTH = 6
# Columns are typed on this many values first; only a column that could be a number or a date is parsed whole.
PEEK = 1000


def build_table(
    frame: pd.DataFrame,
    *,
    target: str | None = None,
    task_type: TaskType | str | None = None,
    name: str = "",
    group: str = "",
) -> Table:
    """A table from a raw frame, which is not changed.

    Raises:
        InputError: fewer than 20 rows with a target, one column, one class, as many classes as rows, no usable
            feature, or a task type that the target does not allow.
        UnknownNameError: no column is called `target`.
    """
    frame, renamed = _with_unique_names(frame)
    warnings = []
    if renamed:
        warnings.append(f"{len(renamed)} empty or repeated column name(s) renamed: {_some(renamed.values())}")
    if frame.shape[1] < 2:
        raise InputError(f"Expected a target and at least one feature column, found {frame.shape[1]} column(s). "
                         "Is the separator right?")
    target, origin = _find_target(frame, target)
    parsed = parse_column(frame[target])
    has_target = parsed.notna()
    if not has_target.any():
        raise InputError(f"Every value of the target '{target}' is missing; name another column with --target.")
    n_without = int((~has_target).sum())
    if n_without:
        warnings.append(f"{n_without} row(s) without a target left out")
        frame, parsed = frame[has_target.to_numpy()], parsed[has_target]
    if len(frame) < MIN_ROWS:
        raise InputError(f"Expected at least {MIN_ROWS} rows with a target, found {len(frame)}.")
    kind, y, classes = _encode_target(parsed, target, TaskType(task_type) if task_type else None)

    raw = [parse_column(frame[column]) for column in frame.columns if column != target]
    task_id = fingerprint(raw, parsed, kind)
    features, preparation, notes = _clean(raw, renamed)
    if features.shape[1] == 0:
        left_out = "; ".join(f"{column} ({why})" for column, why in list(preparation.dropped.items())[:5])
        raise InputError(f"No usable feature column is left beside the target '{target}': {left_out}.")
    task = Task(task_id, kind, len(frame), features.shape[1], len(classes), name, group or name)
    return Table(task, features, y, target, classes, origin, n_without, preparation, (*warnings, *notes))


def parse_column(column: pd.Series) -> pd.Series:
    """The column as float64, datetime64 or text (object, missing as None): what a file's format cannot change."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.astype(object).map({True: "True", False: "False"}).astype(object)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return pd.Series(column.to_numpy(dtype=float, na_value=np.nan), index=column.index, name=column.name)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column.dt.tz_localize(None) if column.dt.tz is not None else column
    values = column.astype(object)
    values = values.where(values.notna(), None)
    text = values.map(lambda value: None if value is None else str(value).strip() or None).astype(object)
    present = text.dropna()
    if present.empty:
        return pd.Series(np.nan, index=column.index, name=column.name, dtype=float)
    if pd.to_numeric(present.iloc[:PEEK], errors="coerce").notna().all():
        numbers = pd.to_numeric(text, errors="coerce").astype(float)
        if numbers.notna().sum() == len(present):
            return numbers
    if _looks_like_dates(present.iloc[:PEEK]):
        dates = pd.to_datetime(text, errors="coerce", format="mixed", utc=True).dt.tz_localize(None)
        if dates.notna().sum() == len(present):
            return dates
    return text


def _looks_like_dates(sample: pd.Series) -> bool:
    shaped = sample.str.len().min() >= MIN_DATE_LENGTH and sample.str.contains(r"\d.*[-/:.].*\d").all()
    return bool(shaped) and bool(
        pd.to_datetime(sample, errors="coerce", format="mixed", utc=True).notna().all())


def _with_unique_names(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, str]]:
    names, renamed, seen = [], {}, set(map(str, frame.columns))
    used: set[str] = set()
    for index, raw in enumerate(frame.columns):
        name = str(raw).strip()
        if not name or name in used or name.startswith("Unnamed: "):
            stem, count = name if name and not name.startswith("Unnamed: ") else "column", 2
            name = f"{stem}_{index + 1}"
            while name in used or name in seen:
                name, count = f"{stem}_{index + 1}_{count}", count + 1
            renamed[index] = name
        used.add(name)
        names.append(name)
    return frame.set_axis(names, axis=1), renamed


def _find_target(frame: pd.DataFrame, target: str | None) -> tuple[str, str]:
    names = list(frame.columns)
    if target is not None:
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
        raise InputError(f"The target '{name}' has infinite values; expected numbers or classes.")
    kind = wanted or _infer_task_type(parsed, is_number)
    if kind is TaskType.REGRESSION:
        if not is_number:
            raise InputError(f"Regression needs a numeric target; '{name}' holds text such as "
                             f"{parsed.iloc[0]!r}. Try --task multiclass, or another --target.")
        if parsed.nunique() < 2:
            raise InputError(f"The target '{name}' has a single value; there is nothing to learn.")
        return kind, parsed.to_numpy(dtype=float), ()
    labels = parsed.map(lambda value: f"{value:g}") if is_number else parsed.astype(str)
    classes, codes = np.unique(labels.to_numpy(dtype=object).astype(str), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"The target '{name}' has a single class '{classes[0]}'; expected at least 2.")
    if len(classes) == len(parsed) or len(classes) > len(parsed) / 2:
        raise InputError(f"The target '{name}' has {len(classes)} classes in {len(parsed)} rows: it looks like an id. "
                         "Name another column with --target, or use --task regression if it is a number.")
    if kind is TaskType.BINARY and len(classes) != 2:
        raise InputError(f"--task binary needs 2 classes; '{name}' has {len(classes)}. Try --task multiclass.")
    if wanted is None:
        kind = TaskType.BINARY if len(classes) == 2 else TaskType.MULTICLASS
    return kind, codes.astype(np.int64), tuple(map(str, classes))


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
            parts = _date_parts(column)
            dates.append(name)
            features.update({f"{name}:{part}": values for part, values in parts.items()})
            if not parts:
                dates.remove(name)
                dropped[name] = "constant"
        elif why := _why_useless_text(column):
            dropped[name] = why
        else:
            if pd.to_numeric(column.dropna(), errors="coerce").notna().mean() >= MIXED_NUMERIC_SHARE:
                mixed.append(name)
            categorical.append(name)
            features[name] = column.astype("category")
    notes = []
    if infinite:
        notes.append(f"infinite values read as missing in {_some(infinite)}")
    if mixed:
        notes.append(f"numbers and text mixed, read as categories: {_some(mixed)}")
    for why in dict.fromkeys(dropped.values()):
        notes.append(f"left out ({why}): {_some(name for name, reason in dropped.items() if reason == why)}")
    index = raw[0].index
    frame = pd.DataFrame({name: values.to_numpy() if not isinstance(values.dtype, pd.CategoricalDtype) else values.array
                          for name, values in features.items()}, index=range(len(index)))
    return frame, Preparation(tuple(numeric), tuple(categorical), tuple(dates), dropped, renamed), notes


def _why_useless_number(column: pd.Series) -> str:
    values = column.to_numpy()
    present = values[~np.isnan(values)]
    if present.size == 0:
        return "no value"
    if present.min() == present.max() and present.size == values.size:
        return "constant"
    if present.size == values.size and values.size > MIN_ROWS:
        steps = np.diff(values)
        if steps[0] == 1 and (steps == 1).all():
            return "row number"
    return ""


def _why_useless_text(column: pd.Series) -> str:
    present = column.dropna()
    n_unique = present.nunique()
    if n_unique == 0:
        return "no value"
    if n_unique == 1 and len(present) == len(column):
        return "constant"
    if n_unique > max(MIN_ROWS, ID_UNIQUE_SHARE * len(present)):
        words = present.iloc[:PEEK].str.count(r"\s+").mean() + 1
        return "free text" if words > TEXT_WORDS else "id-like: nearly every value is different"
    return ""


def _date_parts(column: pd.Series) -> dict[str, pd.Series]:
    """Numeric parts of a date that vary: days since 1970, month, day of the week and hour; missing stays missing."""
    days = (column - pd.Timestamp(0)) / pd.Timedelta(days=1)
    parts = {"days": days, "month": column.dt.month, "weekday": column.dt.dayofweek, "hour": column.dt.hour}
    return {part: values.astype(float) for part, values in parts.items() if values.nunique() > 1}


def _some(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
