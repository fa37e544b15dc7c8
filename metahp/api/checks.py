"""Names that a person gave, checked before anything heavy is imported: a file, columns, a metric, learners."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metahp.core.errors import UnknownNameError, did_you_mean
from metahp.core.metric import check_metric_name
from metahp.core.task import find_task_type
from metahp.core.text import make_encodable
from metahp.datasets.header import read_plain_header
from metahp.datasets.paths import check_exists
from metahp.learners.registry import find_reference

# More names would fill the screen.
MAX_NAMES = 50


def check_names(
    X: Any,
    y: Any = None,
    *,
    target: Any = None,
    task: str | None = None,
    metric: Any = None,
    learners: str | Sequence[str] | None = None,
    groups: Any = None,
    time: Any = None,
    sample_weight: Any = None,
) -> None:
    """Refuse names that nothing has; arguments as of `metahp.tune`. What is in doubt passes, and is checked later.

    Raises:
        InputError: there is no such file.
        UnknownNameError: there is no such column, task type, metric or learner.
    """
    if isinstance(X, str | Path):
        check_exists(str(X))
    check_metric_name(metric, find_task_type(task))
    for name in (learners,) if isinstance(learners, str) else learners or ():
        find_reference(name)
    wanted = {"target": target if y is None else None, "groups": groups, "time": time}
    wanted["sample_weight"] = sample_weight
    wanted = {argument: name for argument, name in wanted.items() if isinstance(name, str)}
    known = _find_columns(X) if wanted else []
    for argument, name in wanted.items() if known else ():
        if make_encodable(name).strip() not in known and name not in known:
            raise UnknownNameError(
                f"No column is called '{name}'. {did_you_mean(name, known[:MAX_NAMES])}", argument=argument
            )


def _find_columns(X: Any) -> list[str]:
    """The names of the columns of a table; empty where they are not known without reading it."""
    if isinstance(X, str | Path):
        header = read_plain_header(str(X))
        return list(header or ())
    names = list(getattr(X, "columns", ()))
    if not names or not all(isinstance(name, str) for name in names):
        return []
    return [make_encodable(name).strip() for name in names]
