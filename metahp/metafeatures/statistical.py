"""Meta-features of distributions: shapes of the numeric columns and of a numeric target, correlations, spectrum.

Features of numeric columns are 0 for a table without them, and features of a numeric target are 0 for classification.
"""

from dataclasses import dataclass

import numpy as np

from metahp.core.task import TaskType
from metahp.metafeatures.view import Sample, Step, Values, View

# A value is an outlier if it lies more than this many interquartile ranges outside of the quartiles (Tukey's fences).
FENCE = 1.5
# `components_ratio` counts the principal components that explain this share of the variance.
SPECTRUM_SHARE = 0.9
# Quantile of the absolute skewness over columns that `skewness_high` gives.
HIGH_QUANTILE = 0.9
SECONDS_PER_STEP = 5e-4
SECONDS_PER_CELL = 1.8e-7
# Cost of the correlations: standardising, the matrix product, and its eigenvalues.
SECONDS_PER_STANDARDISED_CELL = 1.5e-8
SECONDS_PER_PRODUCT = 1.6e-10
SECONDS_PER_CUBE = 2.7e-10

_COLUMNS = (
    "skewness_median",
    "skewness_high",
    "kurtosis_median",
    "outlier_share_mean",
    "zero_share_mean",
    "integer_column_share",
    "unique_ratio_mean",
)
_CORRELATIONS = ("correlation_mean", "correlation_max", "first_component_share", "components_ratio")
_TARGET = ("target_skewness", "target_kurtosis", "target_outlier_share", "target_unique_ratio", "target_log_gain")
NAMES: tuple[str, ...] = (*_COLUMNS, *_CORRELATIONS, *_TARGET)


def plan_steps(view: View) -> list[Step]:
    """Three steps: columns, correlations, target."""
    n, d = view.shape[0], view.n_numeric
    correlations = n * d * (SECONDS_PER_STANDARDISED_CELL + d * SECONDS_PER_PRODUCT) + d**3 * SECONDS_PER_CUBE
    return [
        Step(
            names=_COLUMNS,
            expected_seconds=SECONDS_PER_STEP + n * d * SECONDS_PER_CELL,
            run=lambda _: _describe_columns(view.sample),
        ),
        Step(
            names=_CORRELATIONS,
            expected_seconds=SECONDS_PER_STEP + correlations,
            run=lambda _: _describe_correlations(view.sample),
        ),
        Step(
            names=_TARGET,
            expected_seconds=SECONDS_PER_STEP + n * SECONDS_PER_CELL,
            run=lambda _: _describe_target(view.sample),
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnStatistics:
    """Statistics of columns, each of shape (d,); skewness and kurtosis are signed logarithms, 0 where undefined."""

    skewness: np.ndarray
    kurtosis: np.ndarray
    outlier_share: np.ndarray
    zero_share: np.ndarray
    is_integer: np.ndarray
    unique_ratio: np.ndarray


def measure_columns(X: np.ndarray) -> ColumnStatistics:
    """Statistics of the columns of `X`, shape (n, d) with n and d at least 1, over the values that are present."""
    ordered = np.sort(X, axis=0)  # NaN goes last
    present = ~np.isnan(ordered)
    count = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, ordered, 0.0)
    # Columns are divided by their largest magnitude first: powers of huge or tiny values overflow or underflow.
    filled = filled / np.maximum(np.abs(filled).max(axis=0), np.finfo(float).tiny)
    centred = np.where(present, filled - filled.sum(axis=0) / count, 0.0)
    variance = (centred**2).sum(axis=0) / count
    varies = (variance > 1e-24) & (count > 2)
    scale = np.where(varies, np.sqrt(variance), 1.0)
    z = np.where(varies, centred / scale, 0.0)
    cubes, fourths = (z**3).sum(axis=0) / count, (z**4).sum(axis=0) / count
    low, high = _compute_quantile(filled, count, 0.25), _compute_quantile(filled, count, 0.75)
    reach = FENCE * (high - low)
    is_outlier = present & ((filled < low - reach) | (filled > high + reach))
    distinct = 1 + ((np.diff(ordered, axis=0) > 0) & present[1:]).sum(axis=0)
    return ColumnStatistics(
        skewness=_compute_signed_log(cubes),
        kurtosis=_compute_signed_log(np.where(varies, fourths - 3.0, 0.0)),
        outlier_share=is_outlier.sum(axis=0) / count,
        zero_share=(present & (ordered == 0)).sum(axis=0) / count,
        is_integer=((ordered == np.rint(ordered)) | ~present).all(axis=0),
        unique_ratio=distinct / count,
    )


def _compute_quantile(ordered: np.ndarray, count: np.ndarray, share: float) -> np.ndarray:
    """Linearly interpolated quantile of sorted columns, shape (d,); the first `count` values of each are present."""
    position = (count - 1) * share
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, count - 1)
    columns = np.arange(ordered.shape[1])
    return ordered[below, columns] + (position - below) * (ordered[above, columns] - ordered[below, columns])


def _compute_signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))


def _describe_columns(sample: Sample) -> Values:
    X = sample.X[:, ~sample.is_categorical]
    if X.shape[1] == 0:
        return dict.fromkeys(_COLUMNS, 0.0)
    statistics = measure_columns(X)
    return dict(
        zip(
            _COLUMNS,
            (
                np.median(statistics.skewness),
                np.quantile(np.abs(statistics.skewness), HIGH_QUANTILE),
                np.median(statistics.kurtosis),
                statistics.outlier_share.mean(),
                statistics.zero_share.mean(),
                statistics.is_integer.mean(),
                statistics.unique_ratio.mean(),
            ),
            strict=True,
        )
    )


def standardise(X: np.ndarray) -> np.ndarray:
    """Columns of `X` with mean 0 and variance 1 over present values; missing values and constant columns become 0."""
    present = ~np.isnan(X)
    count = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, X, 0.0)
    filled = filled / np.maximum(np.abs(filled).max(axis=0), np.finfo(float).tiny)
    centred = np.where(present, filled - filled.sum(axis=0) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    return np.where(spread > 1e-12, centred / np.where(spread > 1e-12, spread, 1.0), 0.0)


def _describe_correlations(sample: Sample) -> Values:
    Z = standardise(sample.X[:, ~sample.is_categorical])
    Z = Z[:, (Z != 0).any(axis=0)]
    d = Z.shape[1]
    if d < 2:
        return dict(zip(_CORRELATIONS, (0.0, 0.0, float(d), float(d)), strict=True))
    # Missing values count as the mean, so a column with missing values is no longer of unit length.
    Z = Z / np.sqrt((Z**2).sum(axis=0))
    correlation = Z.T @ Z
    off_diagonal = np.minimum(np.abs(correlation[np.triu_indices(d, 1)]), 1.0)
    spectrum = np.maximum(np.linalg.eigvalsh(correlation)[::-1], 0.0) / d
    # The tolerance keeps rounding errors of the sum from adding a component.
    n_components = 1 + int((np.cumsum(spectrum) < SPECTRUM_SHARE - 1e-9).sum())
    values = (off_diagonal.mean(), off_diagonal.max(), spectrum[0], min(n_components, d) / d)
    return dict(zip(_CORRELATIONS, values, strict=True))


def _describe_target(sample: Sample) -> Values:
    if sample.task_type is not TaskType.REGRESSION:
        return dict.fromkeys(_TARGET, 0.0)
    y = sample.y[:, None]
    statistics = measure_columns(y)
    log_gain = 0.0
    if y.min() > 0:
        log_gain = float(abs(statistics.skewness[0]) - abs(measure_columns(np.log(y)).skewness[0]))
    values = (
        statistics.skewness[0],
        statistics.kurtosis[0],
        statistics.outlier_share[0],
        statistics.unique_ratio[0],
        log_gain,
    )
    return dict(zip(_TARGET, values, strict=True))
