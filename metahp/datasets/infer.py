"""Make a table from a raw table: find the target and the task type, and prepare the columns."""

import numpy as np
import pandas as pd

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.core.task import Task, TaskType
from metahp.core.text import make_encodable
from metahp.datasets.columns import parse_column
from metahp.datasets.fingerprint import fingerprint
from metahp.datasets.limits import MIN_ROWS
from metahp.datasets.portable import make_number_label
from metahp.datasets.preparation import Preparation
from metahp.datasets.raw import RawTable
from metahp.datasets.table import Table

TARGET_NAMES = ("target", "class", "label", "y", "outcome", "response", "target_class", "labels", "classes")
# A target of integers is read as classes if it has at most this many distinct values …
MAX_INTEGER_CLASSES = 20
# … and each occurs at least this often on average: a count from 0 to 15 in 60 rows is a number.
MIN_ROWS_PER_CLASS = 5
# Warn above this many columns: every later step takes longer.
WIDE_COLUMNS = 1000


def build_table(
    raw: RawTable | pd.DataFrame,
    *,
    target: str | None = None,
    task_type: TaskType | str | None = None,
    group: str = "",
) -> Table:
    """A table made from `raw`, which is not changed.

    Args:
        raw: One row per example, with the target among the columns; a frame means `RawTable.of(frame)`.
        target: Name of the target column; None for that of `raw`, which is guessed where `raw` has none.
        task_type: What to predict; None to infer it from the target.
        group: Name of a group of related tasks; the name of the table where empty.

    Raises:
        InputError: no rows, fewer than 20 rows with a target, one column or too many, one class, as many classes as
            rows, no usable feature, or a task type that the target does not allow.
        UnknownNameError: no column is called `target`, or no task type is called `task_type`.
    """
    wanted = find_task_type(task_type)
    raw = raw if isinstance(raw, RawTable) else RawTable.of(raw)
    frame = raw.frame
    _check_size(frame)
    warnings = list(raw.warnings)
    if frame.shape[1] > WIDE_COLUMNS:
        warnings.append(
            f"the table is wide: {frame.shape[1]:,} columns; every step takes longer, "
            "so leave out the columns that you know to be useless"
        )
    target, origin = _find_target(frame, raw.target if target is None else target)
    parsed = parse_column(frame[target])
    has_target = parsed.notna()
    if not has_target.any():
        raise InputError(
            f"Every value of the target '{target}' is missing; name another column with `target`.", argument="target"
        )
    n_without = int((~has_target).sum())
    if n_without:
        warnings.append(f"{n_without} row(s) without a target left out")
        frame, parsed = frame[has_target.to_numpy()], parsed[has_target]
    if len(frame) < MIN_ROWS:
        raise InputError(
            f"Expected at least {MIN_ROWS} rows with a target, found {len(frame)}; "
            "with fewer rows, scores are meaningless."
        )
    kind, y, classes = _encode_target(parsed, target, wanted)

    columns = {str(name): parse_column(frame[name]) for name in frame.columns if name != target}
    task_id = fingerprint(list(columns.values()), parsed, kind)
    renamed = [name for name in raw.read.renamed.values() if name != target]
    preparation, notes = Preparation.fit(columns, renamed)
    if not preparation.columns:
        left_out = "; ".join(f"{column} ({why})" for column, why in list(preparation.dropped.items())[:5])
        raise InputError(f"No usable feature column is left beside the target '{target}': {left_out}.")
    features = preparation.make_features(columns)
    return Table(
        task=Task(
            id=task_id,
            type=kind,
            n_rows=len(frame),
            n_features=features.shape[1],
            n_classes=len(classes),
            name=make_encodable(raw.name),
            group=make_encodable(group or raw.name),
        ),
        features=features,
        y=y,
        target=target,
        classes=classes,
        target_origin=origin,
        n_rows_without_target=n_without,
        preparation=preparation,
        warnings=(*warnings, *notes),
        read=raw.read,
    )


def _check_size(frame: pd.DataFrame) -> None:
    if frame.shape[1] < 2:
        raise InputError(
            f"Expected a target and at least one feature column, found {frame.shape[1]} column(s). "
            "Is the separator one of , ; tab |?"
        )
    if len(frame) == 0:
        raise InputError(f"Expected at least {MIN_ROWS} rows, found a header and no rows.")


def find_task_type(name: str | None) -> TaskType | None:
    """The task type called `name`; None stays None.

    Raises:
        UnknownNameError: no such task type.
    """
    if name is None:
        return None
    known = [str(kind) for kind in TaskType]
    if name not in known:
        raise UnknownNameError(f"No `task` is called '{name}'. {did_you_mean(name, known)}", argument="task")
    return TaskType(name)


def _find_target(frame: pd.DataFrame, target: str | None) -> tuple[str, str]:
    names = list(frame.columns)
    if target is not None:
        target = make_encodable(target).strip()
        if target not in names:
            raise UnknownNameError(
                f"No column is called '{target}'. {did_you_mean(target, names[:50])}", argument="target"
            )
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
            "Empty these cells to leave out their rows, or name another column with `target`.",
            argument="target",
        )
    kind = wanted or _infer_task_type(parsed, is_number)
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
            "Name another column with `target`; if it is a number, write it as 1234.5 and use `task='regression'`.",
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


def _infer_task_type(parsed: pd.Series, is_number: bool) -> TaskType:
    n_unique = parsed.nunique()
    if not is_number:
        return TaskType.BINARY if n_unique == 2 else TaskType.MULTICLASS
    if n_unique <= 2:
        return TaskType.BINARY
    is_whole = bool((parsed == parsed.round()).all())
    few = n_unique <= min(MAX_INTEGER_CLASSES, len(parsed) / MIN_ROWS_PER_CLASS)
    return TaskType.MULTICLASS if is_whole and few else TaskType.REGRESSION
