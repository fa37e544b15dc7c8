"""Texts that several commands print: a table, a configuration, a number."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metahp.core.configuration import Configuration
    from metahp.core.metric import Metric
    from metahp.datasets.table import Table

UNKNOWN = "–"
_OF_SECOND_CLASS = ("f1", "precision", "recall", "jaccard", "average_precision")


def format_table(table: "Table", file: str) -> str:
    """One line about a table: size, kinds of columns, target and task type."""
    import numpy as np

    categorical = int(table.is_categorical.sum())
    missing = float(table.features.isna().to_numpy().mean())
    details = [f"{categorical} categorical"] if categorical else []
    details += [f"{missing:.1%} missing".replace("%", " %")] if missing else []
    kinds = f" ({', '.join(details)})" if details else ""
    origin = "" if table.target_origin == "given" else f" ({table.target_origin})"
    name = "standard input" if file == "-" else Path(file).name
    line = (
        f"{name}: {table.task.n_rows:,} rows × {table.task.n_features:,} features{kinds}, "
        f"target '{table.target}'{origin}, {table.task.type}"
    )
    if table.task.type.is_classification:
        minority = np.bincount(table.y).min() / table.y.size
        classes = f", {table.task.n_classes} classes" if table.task.n_classes > 2 else ""
        line += f"{classes}, rarest class {minority:.0%}".replace("%", " %")
    return line


def format_metric(metric: "Metric", table: "Table") -> str:
    """The metric as people call it, with the class that F1 and the like are about, and the direction of errors."""
    is_about_second = metric.name in _OF_SECOND_CLASS and len(table.classes) == 2
    about = f" of class '{table.classes[1]}'" if is_about_second else ""
    return f"{metric.label}{about}{' (lower is better)' if metric.is_negated else ''}"


def format_changes(configuration: "Configuration", default: "Configuration") -> str:
    """The hyperparameters that differ from the library's default, with their values."""
    values, usual = configuration.hyperparameters, default.hyperparameters
    differing = {name: value for name, value in values.items() if usual.get(name, ...) != value}
    if not differing:
        return "library default"
    shown = (
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in differing.items()
    )
    return ", ".join(shown) + (", rest default" if len(differing) < len(values) else "")


def count_decimals(error: float) -> int:
    """Number of decimals that show two digits of an error, at most six; four where the error is unknown."""
    if not (math.isfinite(error) and error > 0):
        return 4
    return min(max(1 - math.floor(math.log10(error)), 0), 6)


def format_duration(seconds: float) -> str:
    """A waiting time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
