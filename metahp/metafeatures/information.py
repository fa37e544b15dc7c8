"""Meta-features of association: what each column alone says about the target.

Columns and numeric targets are cut into bins of equal frequency; a missing value is a bin of its own.
"""

import numpy as np
from scipy.stats import rankdata

from metahp.core.task import TaskType
from metahp.metafeatures.statistical import standardised
from metahp.metafeatures.view import Sample, Step, Values, View

BINS = 10
# Rarer categories than these share a bin, and rarer classes likewise: a bin needs rows to say anything.
MAX_LEVELS = 32
# Ranks cost a sort each, and the rows come in random order.
RANK_ROWS = 3_000
# Information below this, in nats, is noise; it bounds the logarithm.
FLOOR = 1e-3
SECONDS_PER_COLUMN = 7e-5
SECONDS_PER_CELL = 3.5e-8
# Of the association of numeric columns.
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


def steps(view: View) -> list[Step]:
    """Two steps: information of all columns, and association of the numeric ones."""
    n, d = view.shape
    per_numeric = n * SECONDS_PER_STANDARDISED_CELL + min(n, RANK_ROWS) * SECONDS_PER_RANK
    return [
        Step(
            names=_INFORMATION,
            expected_seconds=d * (SECONDS_PER_COLUMN + n * SECONDS_PER_CELL),
            run=lambda _: _information(view.sample),
        ),
        Step(
            names=_ASSOCIATION,
            expected_seconds=SECONDS_PER_STEP + view.n_numeric * per_numeric,
            run=lambda _: _association(view.sample),
        ),
    ]


def _information(sample: Sample) -> Values:
    target = _bins(sample.y.astype(float), sample.task_type is TaskType.REGRESSION)
    n_target = int(target.max()) + 1
    target_entropy = _entropy(np.bincount(target))
    if target_entropy == 0:
        raise ValueError("the target is constant in the sample")
    information, entropy, joint = [], [], []
    for column, is_category in zip(sample.X.T, sample.is_categorical, strict=True):
        codes = _bins(column, not is_category)
        table = np.bincount(codes * n_target + target, minlength=(int(codes.max()) + 1) * n_target)
        column_entropy = _entropy(np.bincount(codes))
        both = _entropy(table)
        # Miller and Madow's correction (1955): plug-in entropies are too low by (cells − 1) / 2n.
        bias = ((table > 0).sum() - codes.max() - n_target) / (2 * len(codes))
        information.append(max(column_entropy + target_entropy - both - bias, 0.0))
        entropy.append(column_entropy)
        joint.append(both)
    told, H = np.array(information), np.array(entropy)
    share = told / target_entropy
    noise = max(float((H - told).mean()), FLOOR) / max(float(told.mean()), FLOOR)
    return dict(
        zip(
            _INFORMATION,
            (
                share.mean(),
                share.max(),
                told.max() / told.sum() if told.sum() > 0 else 1.0,
                np.log(noise),
                H.mean() / np.log(MAX_LEVELS + 1),
                np.mean(joint) / np.log((MAX_LEVELS + 1) * n_target),
            ),
            strict=True,
        )
    )


def _bins(values: np.ndarray, is_number: bool) -> np.ndarray:
    """Bin numbers from 0, shape (n,)."""
    missing = np.isnan(values)
    present = values[~missing]
    codes = np.zeros(len(values), dtype=np.int64)
    if present.size:
        codes[~missing] = 1 + (_quantile_bins(present) if is_number else _frequent_levels(present.astype(np.int64)))
    met = np.bincount(codes) > 0
    return (np.cumsum(met) - 1)[codes]


def _quantile_bins(values: np.ndarray) -> np.ndarray:
    """Every value its own bin where there are few; otherwise bins of about equal frequency, ties together."""
    ordered = np.sort(values)
    first = np.concatenate([[True], ordered[1:] > ordered[:-1]])
    if first.sum() <= BINS:
        return np.searchsorted(ordered[first], values)
    edges = ordered[np.arange(1, BINS) * len(ordered) // BINS]
    return np.searchsorted(np.unique(edges), values, side="right")


def _frequent_levels(codes: np.ndarray) -> np.ndarray:
    """Places by falling frequency, those from `MAX_LEVELS` on together."""
    counts = np.bincount(codes)
    place = np.empty(counts.size, dtype=np.int64)
    place[np.argsort(-counts, kind="stable")] = np.arange(counts.size)
    return np.minimum(place, MAX_LEVELS - 1)[codes]


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _association(sample: Sample) -> Values:
    X = sample.X[:, ~sample.is_categorical]
    if X.shape[1] == 0:
        return dict.fromkeys(_ASSOCIATION, 0.0)
    linear = _explained_variance(standardised(X), sample.y, sample.n_classes)
    X, y = X[:RANK_ROWS], sample.y[:RANK_ROWS]
    ranks = np.where(np.isnan(X), np.nan, rankdata(np.where(np.isnan(X), np.inf, X), axis=0))
    rank = _explained_variance(standardised(ranks), y if sample.n_classes else rankdata(y), sample.n_classes)
    return dict(zip(_ASSOCIATION, (linear.mean(), linear.max(), rank.mean(), rank.max()), strict=True))


def _explained_variance(Z: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of the variance of each column that goes along with the target, shape (d,), between 0 and 1.

    The squared correlation with numbers (`n_classes` 0), the correlation ratio η² with classes.
    Missing values, 0 in `Z`, count as the column's mean.
    """
    total = np.maximum((Z**2).sum(axis=0), np.finfo(float).tiny)
    if not n_classes:
        y = standardised(y[:, None])[:, 0]
        return np.minimum((Z.T @ y) ** 2 / (total * max(float(y @ y), np.finfo(float).tiny)), 1.0)
    membership = np.zeros((len(Z), n_classes))
    membership[np.arange(len(Z)), y] = 1.0
    counts = np.maximum(membership.sum(axis=0), 1.0)
    return np.minimum(((membership.T @ Z) ** 2 / counts[:, None]).sum(axis=0) / total, 1.0)
