"""Meta-features of association: what each column alone says about the target.

Numeric columns and numeric targets are cut into bins of equal frequency; missing values form a separate bin.
"""

import numpy as np
from scipy.stats import rankdata

from metahp.core.task import TaskType
from metahp.metafeatures.statistical import standardise
from metahp.metafeatures.view import Sample, Step, Values, View

BINS = 10
# All categories (and classes) that are less frequent than these share a bin, as a bin needs rows to be informative.
MAX_LEVELS = 32
# Most rows for rank association, as ranks cost a sort for each column. The first rows are a random sample.
RANK_ROWS = 3_000
# Information below this, in nats, is noise; it keeps the logarithm finite.
FLOOR = 1e-3
SECONDS_PER_COLUMN = 7e-5
SECONDS_PER_CELL = 3.5e-8
# Cost of the association of numeric columns.
SECONDS_PER_STEP = 6e-4
SECONDS_PER_STANDARDISED_CELL = 1.7e-8
SECONDS_PER_RANK = 7.5e-8

_INFORMATION = (
    "information_mean",
    "information_max",
    "information_concentration",
    "log_noise_ratio",
    "column_entropy",
    "joint_entropy",
)
_ASSOCIATION = ("linear_association_mean", "linear_association_max", "rank_association_mean", "rank_association_max")
NAMES: tuple[str, ...] = (*_INFORMATION, *_ASSOCIATION)


def plan_steps(view: View) -> list[Step]:
    """Two steps: information of all columns, and association of the numeric columns."""
    n, d = view.shape
    per_numeric = n * SECONDS_PER_STANDARDISED_CELL + min(n, RANK_ROWS) * SECONDS_PER_RANK
    return [
        Step(
            names=_INFORMATION,
            expected_seconds=d * (SECONDS_PER_COLUMN + n * SECONDS_PER_CELL),
            run=lambda _: _measure_information(view.sample),
        ),
        Step(
            names=_ASSOCIATION,
            expected_seconds=SECONDS_PER_STEP + view.n_numeric * per_numeric,
            run=lambda _: _measure_association(view.sample),
        ),
    ]


def _measure_information(sample: Sample) -> Values:
    target = _cut_into_bins(sample.y.astype(float), sample.task_type is TaskType.REGRESSION)
    n_target = int(target.max()) + 1
    target_entropy = _compute_entropy(np.bincount(target))
    if target_entropy == 0:
        raise ValueError("the target is constant in the sample")
    informations, entropies, joint_entropies = [], [], []
    for column, is_category in zip(sample.X.T, sample.is_categorical, strict=True):
        codes = _cut_into_bins(column, not is_category)
        table = np.bincount(codes * n_target + target, minlength=(int(codes.max()) + 1) * n_target)
        column_entropy = _compute_entropy(np.bincount(codes))
        joint_entropy = _compute_entropy(table)
        # Miller and Madow's correction (1955): plug-in entropies are too low by (cells − 1) / 2n.
        bias = ((table > 0).sum() - codes.max() - n_target) / (2 * len(codes))
        informations.append(max(column_entropy + target_entropy - joint_entropy - bias, 0.0))
        entropies.append(column_entropy)
        joint_entropies.append(joint_entropy)
    information, H = np.array(informations), np.array(entropies)
    share = information / target_entropy
    noise = max(float((H - information).mean()), FLOOR) / max(float(information.mean()), FLOOR)
    return dict(
        zip(
            _INFORMATION,
            (
                share.mean(),
                share.max(),
                information.max() / information.sum() if information.sum() > 0 else 1.0,
                np.log(noise),
                H.mean() / np.log(MAX_LEVELS + 1),
                np.mean(joint_entropies) / np.log((MAX_LEVELS + 1) * n_target),
            ),
            strict=True,
        )
    )


def _cut_into_bins(values: np.ndarray, is_number: bool) -> np.ndarray:
    """Bin numbers from 0 without empty bins, shape (n,)."""
    is_missing = np.isnan(values)
    present = values[~is_missing]
    codes = np.zeros(len(values), dtype=np.int64)
    if present.size:
        codes[~is_missing] = 1 + (_bin_numbers(present) if is_number else _bin_categories(present.astype(np.int64)))
    is_used = np.bincount(codes) > 0
    return (np.cumsum(is_used) - 1)[codes]


def _bin_numbers(values: np.ndarray) -> np.ndarray:
    """One bin per value if at most `BINS` values differ; else bins of about equal frequency that do not split ties."""
    ordered = np.sort(values)
    is_new = np.concatenate([[True], ordered[1:] > ordered[:-1]])
    if is_new.sum() <= BINS:
        return np.searchsorted(ordered[is_new], values)
    edges = ordered[np.arange(1, BINS) * len(ordered) // BINS]
    return np.searchsorted(np.unique(edges), values, side="right")


def _bin_categories(codes: np.ndarray) -> np.ndarray:
    """Ranks of categories by falling frequency; the rarest share rank `MAX_LEVELS` - 1."""
    counts = np.bincount(codes)
    rank = np.empty(counts.size, dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(counts.size)
    return np.minimum(rank, MAX_LEVELS - 1)[codes]


def _compute_entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _measure_association(sample: Sample) -> Values:
    X = sample.X[:, ~sample.is_categorical]
    if X.shape[1] == 0:
        return dict.fromkeys(_ASSOCIATION, 0.0)
    linear = _compute_explained_variance(standardise(X), sample.y, sample.n_classes)
    X, y = X[:RANK_ROWS], sample.y[:RANK_ROWS]
    ranks = np.where(np.isnan(X), np.nan, rankdata(np.where(np.isnan(X), np.inf, X), axis=0))
    rank = _compute_explained_variance(standardise(ranks), y if sample.n_classes else rankdata(y), sample.n_classes)
    return dict(zip(_ASSOCIATION, (linear.mean(), linear.max(), rank.mean(), rank.max()), strict=True))


def _compute_explained_variance(Z: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of the variance of each column that the target explains, shape (d,), between 0 and 1.

    This is the squared correlation for regression (`n_classes` 0) and the correlation ratio η² for classes.
    Missing values, 0 in `Z`, count as the column's mean.
    """
    total = np.maximum((Z**2).sum(axis=0), np.finfo(float).tiny)
    if not n_classes:
        y = standardise(y[:, None])[:, 0]
        return np.minimum((Z.T @ y) ** 2 / (total * max(float(y @ y), np.finfo(float).tiny)), 1.0)
    membership = np.zeros((len(Z), n_classes))
    membership[np.arange(len(Z)), y] = 1.0
    counts = np.maximum(membership.sum(axis=0), 1.0)
    return np.minimum(((membership.T @ Z) ** 2 / counts[:, None]).sum(axis=0) / total, 1.0)
