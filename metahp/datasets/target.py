"""Find the target of a raw table, what to predict, and the values of the target."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.task import TaskType
from metahp.core.text import make_encodable
from metahp.datasets.columns import ColumnRules, ParsedColumn, parse_column
from metahp.datasets.notation import PEEK
from metahp.datasets.portable import MISSING, make_number_label, parse_numbers

# Names of targets, and how sure they make: a column of the first group is the target wherever it stands.
CERTAIN_NAMES = frozenset({"target", "label", "labels", "outcome", "response", "target_class", "y_true", "dependent"})
LIKELY_NAMES = frozenset(
    {
        "class",
        "classes",
        "y",
        "price",
        "saleprice",
        "sale_price",
        "churn",
        "churned",
        "survived",
        "diagnosis",
        "quality",
    }
    | {"species", "income", "salary", "sales", "revenue", "cnt", "score", "result", "fraud", "is_fraud", "exited"}
    | {"attrition", "approved", "converted", "purchased", "subscribed", "defaulted", "medv", "mpg", "demand", "charges"}
    | {"selling_price", "median_house_value", "default", "amount", "yield", "rating", "grade", "status", "category"}
)
CERTAIN, LIKELY, LAST, FIRST = 6.0, 2.0, 1.5, 0.5
# A target of integers is read as classes if it has at most this many distinct values …
MAX_INTEGER_CLASSES = 20
# … and each occurs at least this often on average: a count from 0 to 15 in 60 rows is a number.
MIN_ROWS_PER_CLASS = 5
# A target that is asked to be numbers may have other cells beside this share of numbers.
MIN_NUMERIC_SHARE = 0.7
_PLAIN_NAMES = ("class", "y", "classes")


def find_target(frame: pd.DataFrame, target: str | None) -> tuple[str, str]:
    """Name of the target, and how it was found: it was given, or name and place of a column say so.

    Raises:
        UnknownNameError: no column is called `target`.
    """
    names = list(frame.columns)
    if target is not None:
        target = make_encodable(str(target)).strip()
        if target not in names:
            raise UnknownNameError(
                f"No column is called '{target}'. {did_you_mean(target, names[:50])}", argument="target"
            )
        return target, "given"
    candidates = [name for name in names if _is_likely(name) or not is_junk(frame[name])] or names
    ratings = [_rate_target(name, candidates) for name in candidates]
    best = max(range(len(candidates)), key=lambda index: (ratings[index], index))
    is_named = ratings[best] >= LIKELY
    return candidates[best], "guessed: its name" if is_named else "guessed: last column"


def is_junk(column: pd.Series) -> bool:
    """Whether a column can be no target: nothing but separators and missing values."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return bool(column.isna().all())
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return False
    present = column.dropna()
    # The first cells settle it for nearly all columns.
    return not any(map(_has_word, present.head(PEEK))) and not any(map(_has_word, present))


def _has_word(cell: object) -> bool:
    return not isinstance(cell, str) or (cell.strip(" ,;|\t") != "" and cell.strip() not in MISSING)


def _is_likely(name: str) -> bool:
    return _rate_target(name, [name]) >= LIKELY + LAST


def _rate_target(name: str, names: Sequence[str]) -> float:
    word = re.sub(r"[\W_]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name)).strip("_").casefold()
    is_last, is_first = name == names[-1], name == names[0]
    place = LAST if is_last else FIRST if is_first else 0.0
    if word in CERTAIN_NAMES or word.replace("_", "") in CERTAIN_NAMES:
        # Of several, the one called target.
        return CERTAIN + place + (2.0 if word == "target" else 0.0)
    if word == "y" and any(other.casefold() == "x" for other in names) and not is_last:
        # A place on a map.
        return 0.0
    if word in LIKELY_NAMES or word.replace("_", "") in LIKELY_NAMES:
        # A name that data sets use for nothing else counts more than a word such as price.
        return LIKELY + place + (0.25 if word in _PLAIN_NAMES else 0.0 if is_last else -1.0)
    return place


def parse_target(column: pd.Series, rules: ColumnRules, wanted: TaskType | None) -> ParsedColumn:
    """The target as numbers or categories, as `parse_column` gives them.

    The type of a frame counts: text and categories are classes. In a file, text that holds numbers with units and the
    like, or numbers but for a few cells, is a number only where it makes a regression: classes keep their names.

    Raises:
        InputError: the column holds complex numbers.
    """
    name = str(column.name)
    if wanted is TaskType.REGRESSION:
        is_category = isinstance(column.dtype, pd.CategoricalDtype)
        column = column.astype(column.cat.categories.dtype) if is_category else column
        rules = replace(rules, is_typed=False, categorical=())
        forced = parse_column(column, replace(rules, numeric=(*rules.numeric, name)))
        is_mostly_number = forced.cells.notna().sum() >= MIN_NUMERIC_SHARE * column.notna().sum()
        if forced.is_number and (is_mostly_number or name in rules.numeric):
            return forced
        parsed = parse_column(column, rules)
        return replace(parsed, date=_find_first_date(parsed))
    as_classes = replace(rules, categorical=(*rules.categorical, name))
    is_text = column.dtype == object or pd.api.types.is_string_dtype(column.dtype)
    if rules.is_typed and is_text and name not in rules.numeric and all(isinstance(x, str) for x in column.dropna()):
        return replace(parse_column(column, as_classes), date=_find_first_date(parse_column(column, rules)))
    parsed = parse_column(column, rules)
    if isinstance(parsed.cells.dtype, pd.CategoricalDtype) or name in rules.numeric:
        return parsed
    if not parsed.is_number:
        return replace(parse_column(column, as_classes), date=_find_first_date(parsed))
    is_read = parsed.notation is not None and (parsed.notation.kind != "number" or bool(parsed.odd))
    if is_read and infer_task_type(parsed.cells.dropna(), is_number=True) is not TaskType.REGRESSION:
        return parse_column(column, as_classes)
    return parsed


def _find_first_date(parsed: ParsedColumn) -> str:
    """A date as it is written, or as ISO writes it where it was no text; empty where the column holds none."""
    if not pd.api.types.is_datetime64_any_dtype(parsed.cells.dtype):
        return ""
    return parsed.example or str(parsed.cells.dropna().iloc[0]).removesuffix(" 00:00:00")


def encode_target(
    parsed: pd.Series, name: str, wanted: TaskType | None, *, date: str = ""
) -> tuple[TaskType, np.ndarray, tuple[str, ...]]:
    """Task type, target as numbers or codes of classes, shape (n,), and the classes.

    Args:
        parsed: The cells, none missing.
        name: Name of the target.
        wanted: What to predict; None to infer it.
        date: One of the cells, where they are dates; few dates may be classes.

    Raises:
        InputError: the target does not allow the wanted type, has one class, or as many as rows.
    """
    is_number = pd.api.types.is_numeric_dtype(parsed.dtype)
    if is_number and np.isinf(parsed).any():
        raise InputError(
            f"The target '{name}' has infinite values; expected finite numbers or classes. "
            "Empty these cells to leave out their rows, or name another column with `target`.",
            argument="target",
        )
    if date and (wanted is TaskType.REGRESSION or not _has_few_values(parsed)):
        raise InputError(
            f"The target '{name}' holds dates such as '{date}', and dates are not predicted. Name another column with "
            "`target`, or write the dates as a number, such as the days since the first one.",
            argument="target",
        )
    kind = wanted or infer_task_type(parsed, is_number=is_number)
    if kind is TaskType.REGRESSION:
        if not is_number:
            raise InputError(
                f"Regression needs a numeric target; '{name}' holds text such as "
                f"'{_find_first_text(parsed)}'. Write numbers as 1234.5, try `task='multiclass'`, "
                "or name another `target`.",
                argument="task",
            )
        if parsed.nunique() < 2:
            raise InputError(f"The target '{name}' has a single value; there is nothing to learn.", argument="target")
        return kind, parsed.to_numpy(dtype=float), ()
    codes, distinct = pd.factorize(parsed)
    labels = [make_number_label(value) if is_number else str(value) for value in np.asarray(distinct, dtype=object)]
    # As objects: numpy's own text drops a NUL at the end.
    classes, positions = np.unique(np.array(labels, dtype=object), return_inverse=True)
    codes = positions[codes]
    if len(classes) < 2:
        raise InputError(
            f"The target '{name}' has a single class '{classes[0]}'; expected at least 2.", argument="target"
        )
    if len(classes) > len(parsed) / 2:
        raise InputError(
            f"The target '{name}' has {len(classes)} classes in {len(parsed)} rows: it looks like an id. "
            "Name another column with `target`; if it is a number, `task='regression'` reads those cells that are.",
            argument="target",
        )
    if kind is TaskType.BINARY and len(classes) != 2:
        raise InputError(
            f"`task='binary'` needs 2 classes; '{name}' has {len(classes)}. Try `task='multiclass'`.", argument="task"
        )
    if wanted is None:
        kind = TaskType.BINARY if len(classes) == 2 else TaskType.MULTICLASS
    return kind, codes.astype(np.int64), tuple(map(str, classes))


def _find_first_text(parsed: pd.Series) -> str:
    """The first value that is not a number; the first value where all are numbers."""
    not_numbers = parsed[pd.to_numeric(parsed.astype(str), errors="coerce").isna()]
    return str((not_numbers if len(not_numbers) else parsed).iloc[0])


def infer_task_type(parsed: pd.Series, *, is_number: bool) -> TaskType:
    """What to predict, from the values of a target, none missing."""
    n_unique = parsed.nunique()
    if not is_number:
        return TaskType.BINARY if n_unique == 2 else TaskType.MULTICLASS
    if n_unique <= 2:
        return TaskType.BINARY
    is_whole = bool((parsed == parsed.round()).all())
    return TaskType.MULTICLASS if is_whole and _has_few_values(parsed) else TaskType.REGRESSION


def _has_few_values(parsed: pd.Series) -> bool:
    return bool(parsed.nunique() <= min(MAX_INTEGER_CLASSES, len(parsed) / MIN_ROWS_PER_CLASS))


def convert_labels(classes: tuple[str, ...]) -> np.ndarray:
    """The classes as numbers or booleans where all of them are what such a target is called by, else as text."""
    if set(classes) == {"False", "True"}:
        return np.array([name == "True" for name in classes])
    numbers = parse_numbers(np.array(classes, dtype=object))
    if not np.isfinite(numbers).all() or any(
        make_number_label(number) != name for number, name in zip(numbers, classes, strict=True)
    ):
        return np.array(classes, dtype=object)
    is_whole = (numbers == numbers.round()).all() and np.abs(numbers).max() < 2**53
    return numbers.astype(np.int64) if is_whole else numbers
