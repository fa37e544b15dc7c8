"""Means and their standard errors."""

from collections.abc import Sequence

import numpy as np


def compute_standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Standard error of the mean of `values`, shape (n,); NaN for fewer than two."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def compute_mean_difference(values: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Mean of the paired differences `values - others`, both of shape (n,), and its standard error."""
    differences = np.asarray(values, dtype=float) - np.asarray(others, dtype=float)
    return float(differences.mean()), compute_standard_error(differences)
