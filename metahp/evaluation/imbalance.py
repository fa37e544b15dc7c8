"""What a user should know of a rare class: what a metric can tell of it, and how many of its rows a fold tests."""

import math
from collections.abc import Iterator

import numpy as np

from metahp.core.metric import Metric
from metahp.core.text import format_count
from metahp.core.trial import Protocol
from metahp.datasets.table import Table

# A class with a smaller share of the rows is named.
RARE_SHARE = 1 / 200
# With fewer rows than this a class is named when the table is read.
NAMED_ROWS = 3
# Metrics that are good for a prediction that is always the most frequent class.
_PLEASED_BY_CONSTANTS = ("accuracy", "f1_micro", "f1_weighted", "precision_micro", "recall_micro", "recall_weighted")


def describe_imbalance(table: Table, metric: Metric, protocol: Protocol | None = None) -> Iterator[str]:
    """A line about a rare class, and one about classes with fewer rows than folds.

    Args:
        table: Any table; a regression has no classes.
        metric: What is tuned for.
        protocol: How trials are measured; None where that is not known.
    """
    if not table.task.type.is_classification:
        return
    counts = np.bincount(table.y, minlength=table.task.n_classes)
    rarest, n = int(counts.argmin()), len(table.y)
    if 0 < counts[rarest] <= RARE_SHARE * n:
        yield _describe_rarest(table, metric, protocol, rarest, int(counts[rarest]))
    if protocol is None or protocol.split_name:
        return
    few = [name for name, count in zip(table.classes, counts, strict=True) if NAMED_ROWS <= count < protocol.folds]
    if few:
        names = ", ".join(f"'{name}'" for name in few[:5]) + (", …" if len(few) > 5 else "")
        yield (
            f"fewer rows of class {names} than {protocol.folds} folds, so some folds do not test it; ask for "
            f"{int(counts[counts >= NAMED_ROWS].min())} folds (`cv`), or merge it with another class"
        )


def _describe_rarest(table: Table, metric: Metric, protocol: Protocol | None, rarest: int, count: int) -> str:
    n = len(table.y)
    line = f"class '{table.classes[rarest]}' is 1 in {round(n / count):,} rows"
    if protocol is None:
        tested, folds = count, ""
    else:
        tested = min(count, max(round(count * protocol.max_rows / n), min(count, protocol.folds)))
        in_fold = format_count(max(tested // protocol.folds, 1), "row")
        folds = f", about {in_fold} in each of {protocol.folds} folds"
    # Of a share of so many rows that is a half, the most uncertain one.
    line += f" ({tested:,} in all{folds}), so a share of them, such as recall, has a standard error of up to "
    line += f"{math.sqrt(0.25 / tested):.2f}"
    if metric.name in _PLEASED_BY_CONSTANTS:
        share = np.bincount(table.y).max() / n
        line += (
            f"; always predicting '{table.classes[int(np.bincount(table.y).argmax())]}' has an accuracy of "
            f"{share:.4g}, so {metric.label} says little about them: average_precision or balanced_accuracy say more"
        )
    return line
