"""Gaussian processes in numpy: past tasks as functions of the configuration, and their common kernel.

Symbols: `n` points in `p` dimensions, `t` tasks, `c` candidates. All covariances are Matérn-5/2 plus noise.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from metahp.core.configuration import Configuration
from metahp.core.space import Categorical, SearchSpace
from metahp.surrogate.evidence import encode

# Distance of two choices of a categorical, in units of a numeric axis, before length scales are learned.
CHOICE_DISTANCE = 0.7
# Data for learning length scales: enough to distinguish the axes, small enough for a few seconds.
LEARNING_TASKS = 24
LEARNING_POINTS = 120
LEARNING_STEPS = 40
# Weight of a unit normal prior on each log length scale, relative to the mean log likelihood of a task.
PRIOR_WEIGHT = 0.1
# Tasks share a Cholesky factor of the configurations that at least this share of the tasks, and two, have measured.
SHARED = 0.05
# Largest number of its group's shared configurations that a task may lack.
MOST_LACKING = 160
# Largest number of configurations from which a task is interpolated; the cost is cubic in it.
MOST_POINTS = 800
JITTER = 1e-6
# Number of groups of tasks that are solved in parallel; each needs its own matrices.
N_THREADS = 4
# Number of configurations that are predicted at once, so that matrices stay small.
BLOCK = 1000
# Number of cosines in the sum that approximates a random function.
N_COSINES = 256
# The optimiser has converged when a step gains less than this share of the log likelihood. A hundredth of a nat for a
# hundred points does not change any length scale noticeably.
TOLERANCE = 1e-5
# Number of steps of a second attempt, as a multiple of the first attempt's.
MORE_STEPS = 5
# Priors of the kernel of one task, as mean and standard deviation of the log: length scales (in units of those of past
# tasks), amplitude and noise (variances, in units of the variance of the losses), and slope.
LENGTH, AMPLITUDE, NOISE, SLOPE = (0.0, 1.0), (0.0, 1.0), (-2.0, 1.0), (0.0, 1.0)
# Prior variance of the level of one task, in units of the variance of the losses.
LEVEL = 4.0
# Number of the best trials of a task to learn from: the cost of an optimiser step is cubic in it.
N_LEARNED_FROM = 100
N_STEPS = 30
# Largest distance from the means of the priors that the optimiser may reach, in standard deviations.
FARTHEST = 4.0
_log = logging.getLogger(__name__)

# Fewer points than this are not worth the start of threads.
FEW_POINTS = 256

# Maps a point to its value and gradient.
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


def compute_matern52(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Matérn-5/2 correlations of points A (n, p) and B (m, p), one length scale in each direction, shape (n, m)."""
    squared = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T
    r = np.sqrt(5.0 * np.maximum(squared, 0.0))
    return (1.0 + r + r * r / 3.0) * np.exp(-r)


def draw_matern52(inputs: np.ndarray, n: int, *, seed: int) -> np.ndarray:
    """Draws of `n` random functions with unit variance and Matérn-5/2 correlation at points (c, p), shape (n, c).

    Sums of cosines whose frequencies follow the kernel's spectral density, a Student t distribution with five degrees
    of freedom (Rahimi and Recht, 2007, "Random features for large-scale kernel machines").
    """
    rng = np.random.default_rng(seed)
    frequencies = rng.normal(size=(inputs.shape[1], N_COSINES)) * np.sqrt(5.0 / rng.chisquare(5.0, size=N_COSINES))
    waves = np.cos(inputs @ frequencies + rng.uniform(0.0, 2.0 * np.pi, size=N_COSINES))
    return rng.normal(size=(n, N_COSINES)) @ waves.T * np.sqrt(2.0 / N_COSINES)


def find_minimum(objective: Objective, start: np.ndarray, bounds: np.ndarray, n_steps: int, what: str) -> np.ndarray:
    """The point with the lowest value that L-BFGS-B finds within `bounds` (p, 2), shape (p,).

    If it has not converged after `n_steps` steps, or met a matrix without a Cholesky factor, it tries again from the
    best point so far with more steps. If that does not converge either, a logged warning names the parameters `what`,
    and the result is the best point found, or `start` if no point has a finite value.
    """
    best, lowest, highest, n_missed = start, np.inf, -np.inf, 0

    def evaluate_safely(theta: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, lowest, highest, n_missed
        try:
            value, gradient = objective(theta)
        except np.linalg.LinAlgError:
            value, gradient = np.nan, theta
        if not np.isfinite(value):
            n_missed += 1
            # Worse than all others but finite: SciPy takes an infinite value as convergence.
            return (highest + abs(highest) + 1.0 if np.isfinite(highest) else 0.0), np.zeros_like(theta)
        highest = max(highest, value)
        if value < lowest:
            best, lowest = theta.copy(), value
        return value, gradient

    for steps in (n_steps, MORE_STEPS * n_steps):
        n_missed = 0
        # For matrices this small, threads of a linear algebra library only wait for each other.
        with find_thread_pools().limit(limits=1):
            options = {"maxiter": steps, "ftol": TOLERANCE}
            found = minimize(evaluate_safely, best, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        if found.success and not n_missed:
            return np.asarray(found.x)
    if not np.isfinite(lowest):
        _log.warning("%s could not be learned: their usual values are used, so the search may need more trials.", what)
    else:
        why = "a covariance has no Cholesky factor" if n_missed else found.message
        _log.warning("%s did not converge (%s): the best are used, so the search may need more trials.", what, why)
    return best


@dataclass(frozen=True, eq=False)
class Kernel:
    """Covariance of a task's losses at two configurations, learned from past tasks.

    Attributes:
        spaces: Search space by learner.
        length_scales: One for each column of `make_raw_inputs`, shape (p,).
        amplitude: Variance of the process, in units of the variance of a task's losses.
        noise: Variance of a measurement, in the same unit.
    """

    spaces: Mapping[str, SearchSpace]
    length_scales: np.ndarray
    amplitude: float = 1.0
    noise: float = 0.05

    @classmethod
    def learn(cls, spaces: Mapping[str, SearchSpace], inputs: np.ndarray, losses: np.ndarray, *, seed: int) -> "Kernel":
        """Maximise the mean marginal likelihood of some tasks.

        Args:
            spaces: Search space by learner.
            inputs: `make_raw_inputs` of the columns of `losses`, shape (c, p).
            losses: Normalised, shape (t, c), NaN where not measured.
            seed: Selects the tasks and points to learn from.
        """
        rng = np.random.default_rng(seed)
        samples: list[tuple[np.ndarray, np.ndarray]] = []
        for row in rng.permutation(len(losses)):
            known = np.flatnonzero(~np.isnan(losses[row]))
            if known.size > LEARNING_POINTS:
                known = rng.choice(known, LEARNING_POINTS, replace=False)
            y = losses[row, known]
            if known.size > 2 and y.std() > JITTER and len(samples) < LEARNING_TASKS:
                samples.append((inputs[known], (y - y.mean()) / y.std()))
        start = np.concatenate([np.full(inputs.shape[1], -0.5), [0.0, -3.0]])
        if not samples:
            return cls(spaces, np.exp(start[:-2]))
        bounds = np.array([(-3.5, 3.5)] * inputs.shape[1] + [(-3.0, 3.0), (-7.0, 1.0)])

        def compute_penalised(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = compute_negative_log_likelihood(theta, samples)
            gradient[:-2] += PRIOR_WEIGHT * theta[:-2]
            return value + 0.5 * PRIOR_WEIGHT * float((theta[:-2] ** 2).sum()), gradient

        found = find_minimum(compute_penalised, start, bounds, LEARNING_STEPS, "The length scales of past tasks")
        return cls(spaces, np.exp(found[:-2]), float(np.exp(found[-2])), float(np.exp(found[-1])))

    def inputs(self, configurations: Sequence[Configuration]) -> np.ndarray:
        """Coordinates in which the correlation is Matérn-5/2 of the plain distance, shape (n, p)."""
        return make_raw_inputs(encode(configurations, self.spaces), self.spaces) / self.length_scales


def make_raw_inputs(encoded: np.ndarray, spaces: Mapping[str, SearchSpace]) -> np.ndarray:
    """Kernel coordinates before scaling, shape (n, p), of configurations as `encode` gives them.

    A numeric axis is one column with its unit coordinate. A categorical has one column if it has two choices, else one
    column per choice. If there are several learners, each has a column. Inactive hyperparameters lie in the middle.
    """
    columns = []
    if len(spaces) > 1:
        columns += [np.where(encoded[:, 0] == index, CHOICE_DISTANCE, 0.0) for index in range(len(spaces))]
    axes = [axis for space in spaces.values() for axis in space]
    for axis, values in zip(axes, encoded[:, 1:].T, strict=True):
        if not isinstance(axis, Categorical):
            columns.append(np.where(np.isnan(values), 0.5, values))
        elif len(axis.choices) == 2:
            columns.append(CHOICE_DISTANCE * np.where(np.isnan(values), 0.5, values > 0.5))
        else:
            index = np.floor(np.nan_to_num(values, nan=-1.0) * len(axis.choices))
            columns += [np.where(index == k, CHOICE_DISTANCE, 0.0) for k in range(len(axis.choices))]
    return np.column_stack(columns)


@dataclass(frozen=True, eq=False, slots=True)
class _Group:
    """Tasks that measured the same configurations, and a few extra ones each.

    Attributes:
        points: Points divided by the kernel's length scales, shape (m, p).
        coefficients: Weight of each point for each task, shape (m, g); zero at the extra points of other tasks.
        means: Mean loss of each task, shape (g,).
        rows: Index of each task, shape (g,).
    """

    points: np.ndarray
    coefficients: np.ndarray
    means: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Interpolation:
    """Expected losses of past tasks at any configuration: the posterior mean of one Gaussian process per task."""

    kernel: Kernel
    groups: tuple[_Group, ...]
    n_tasks: int

    @classmethod
    def fit(cls, kernel: Kernel, inputs: np.ndarray, losses: np.ndarray, *, seed: int = 0) -> "Interpolation":
        """Interpolate `losses` (t, c), NaN where not measured, at `inputs` (c, p), divided by the length scales.

        Tasks with mostly the same configurations share a Cholesky factor of these. Configurations that a task lacks, or
        has in addition, change its solution by a Schur complement.
        """
        known = ~np.isnan(losses)
        means = np.array([row[own].mean() if own.any() else 0.0 for row, own in zip(losses, known, strict=True)])
        groups = _share_columns(known)

        def solve_columns(group: tuple[np.ndarray, np.ndarray]) -> _Group:
            columns, rows = group
            kept = columns
            if columns.size > MOST_POINTS:
                kept = np.sort(np.random.default_rng(seed).choice(columns, MOST_POINTS, replace=False))
            own = known[rows]
            own[:, columns] = False
            return _solve_group(kernel, inputs, losses, kept, own, means, rows)

        with find_thread_pools().limit(limits=1), ThreadPoolExecutor(N_THREADS) as pool:
            return cls(kernel, tuple(pool.map(solve_columns, groups)), len(losses))

    def at(self, inputs: np.ndarray, *, share: float = 1.0, wanted: np.ndarray | None = None) -> np.ndarray:
        """Expected losses of every task at `inputs` (n, p), divided by the length scales, shape (t, n).

        Args:
            inputs: Points.
            share: Factor of the distance from the task's mean.
            wanted: Cells that are needed, shape (t, n); other cells may be NaN, which saves time. None means all.
        """
        values = np.full((self.n_tasks, len(inputs)), np.nan)

        def fill(group: _Group) -> None:
            columns = np.arange(len(inputs)) if wanted is None else np.flatnonzero(wanted[group.rows].any(axis=0))
            for start in range(0, len(columns), BLOCK):
                block = columns[start : start + BLOCK]
                correlation = self.kernel.amplitude * compute_matern52(inputs[block], group.points)
                values[np.ix_(group.rows, block)] = (share * (correlation @ group.coefficients) + group.means).T

        with find_thread_pools().limit(limits=1):
            if len(inputs) < FEW_POINTS:
                for group in self.groups:
                    fill(group)
            else:
                with ThreadPoolExecutor(N_THREADS) as pool:
                    list(pool.map(fill, self.groups))
        return values


@cache
def find_thread_pools() -> ThreadpoolController:
    """The thread pools of the libraries that are loaded; to look for them takes milliseconds, and is done once."""
    return ThreadpoolController()


def _share_columns(known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Groups of tasks that measured nearly the same columns, as pairs of shared columns and tasks.

    `known` (t, c) says what was measured. A task may lack at most `MOST_LACKING` of its group's columns.
    """
    common = known & (known.sum(axis=0) >= max(SHARED * len(known), 2))
    # If a task shares fewer columns than it has for itself, sharing saves nothing.
    alone = 2 * common.sum(axis=1) < known.sum(axis=1)
    common[alone] = known[alone]
    distinct: dict[bytes, int] = {}
    of_task = np.array([distinct.setdefault(row.tobytes(), len(distinct)) for row in common], dtype=int)
    patterns = np.array([np.frombuffer(pattern, dtype=bool) for pattern in distinct])
    counts = np.bincount(of_task)
    place = np.arange(len(patterns))
    for small in np.argsort(counts, kind="stable"):
        pattern = patterns[small]
        # Join the larger group that has all its columns and the fewest others.
        n_lacking = np.where((patterns | ~pattern).all(axis=1), patterns.sum(axis=1) - pattern.sum(), len(pattern) + 1)
        n_lacking[(counts < counts[small]) | ((counts == counts[small]) & (np.arange(len(patterns)) <= small))] = (
            len(pattern) + 1
        )
        best = int(n_lacking.argmin()) if pattern.any() else small
        if n_lacking[best] <= MOST_LACKING:
            place[small] = best
    for small in np.argsort(-counts, kind="stable"):
        place[small] = place[place[small]]
    home = place[of_task]
    return [(np.flatnonzero(patterns[group]), np.flatnonzero(home == group)) for group in np.unique(home)]


def _solve_group(
    kernel: Kernel,
    inputs: np.ndarray,
    losses: np.ndarray,
    columns: np.ndarray,
    own: np.ndarray,
    means: np.ndarray,
    rows: np.ndarray,
) -> _Group:
    """Coefficients of the tasks `rows`, which measured nearly all `columns` and the further ones in `own` (g, c)."""
    noise = kernel.noise + JITTER
    points, means = inputs[columns], means[rows]
    others = np.flatnonzero(own.any(axis=0))
    added = inputs[others]
    extra = np.zeros((others.size, rows.size))
    if not columns.size:
        for task, row in enumerate(rows):
            at = np.flatnonzero(own[task, others])
            if at.size:
                covariance = _add_noise(kernel.amplitude * compute_matern52(added[at], added[at]), noise)
                extra[at, task] = solve(covariance, losses[row, others[at]] - means[task], assume_a="pos")
        return _Group(added, extra, means, rows)
    factor = cholesky(_add_noise(kernel.amplitude * compute_matern52(points, points), noise), lower=True)
    residuals = (losses[np.ix_(rows, columns)] - means[:, None]).T
    is_lacking = np.isnan(residuals)
    shared = cho_solve((factor, True), np.where(is_lacking, 0.0, residuals))
    cross = kernel.amplitude * compute_matern52(points, added)
    reduced = cho_solve((factor, True), cross)
    # Columns of the inverse at points that at least one task lacks.
    lacked = np.flatnonzero(is_lacking.any(axis=1))
    inverse = cho_solve((factor, True), np.eye(len(columns))[:, lacked])
    for task, row in enumerate(rows):
        at, without = np.flatnonzero(own[task, others]), np.flatnonzero(is_lacking[lacked, task])
        if not at.size and not without.size:
            continue
        # A lacking point must have a zero coefficient: choose its value so that it has.
        change = inverse[:, without]
        gone = lacked[without]

        def restrict(values: np.ndarray, change: np.ndarray = change, gone: np.ndarray = gone) -> np.ndarray:
            return values - change @ solve(change[gone], values[gone], assume_a="pos") if gone.size else values

        of_shared = restrict(shared[:, task])
        if at.size:
            of_own = restrict(reduced[:, at])
            schur = _add_noise(
                kernel.amplitude * compute_matern52(added[at], added[at]) - cross[:, at].T @ of_own, noise
            )
            unexplained = losses[row, others[at]] - means[task] - cross[:, at].T @ of_shared
            extra[at, task] = solve(schur, unexplained, assume_a="pos")
            of_shared = of_shared - of_own @ extra[at, task]
        shared[:, task] = of_shared
    return _Group(np.vstack([points, added]), np.vstack([shared, extra]), means, rows)


def _add_noise(covariance: np.ndarray, noise: float) -> np.ndarray:
    covariance[np.diag_indices_from(covariance)] += noise
    return covariance


def compute_negative_log_likelihood(
    theta: np.ndarray, samples: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, np.ndarray]:
    """Negative log likelihood of Matérn-5/2 Gaussian processes and its gradient in `theta`, as means over `samples`.

    Args:
        theta: p log length scales, log amplitude and log noise.
        samples: Pairs of points (n, p) and centred values (n,).
    """
    values, gradients, _ = zip(*(compute_likelihood(theta, inputs, y) for inputs, y in samples), strict=True)
    return float(np.mean(values)), np.mean(gradients, axis=0)


def compute_likelihood(
    theta: np.ndarray, inputs: np.ndarray, y: np.ndarray, level: float = 0.0
) -> tuple[float, np.ndarray, np.ndarray]:
    """Negative log likelihood of one sample, its gradient in `theta` and in `y` (n,).

    `level` is the prior variance of a constant added to the process.

    Raises:
        LinAlgError: the covariance has no Cholesky factor.
    """
    scales, amplitude, noise = np.exp(theta[:-2]), np.exp(theta[-2]), np.exp(theta[-1])
    x = inputs / scales
    squared = (x**2).sum(axis=1)[:, None] + (x**2).sum(axis=1) - 2 * x @ x.T
    r = np.sqrt(5.0 * np.maximum(squared, 0.0))
    decay = np.exp(-r)
    correlation = (1.0 + r + r * r / 3.0) * decay
    covariance = amplitude * correlation + level
    covariance[np.diag_indices_from(covariance)] += noise + JITTER
    factor = cho_factor(covariance, lower=True)
    inverse = cho_solve(factor, np.eye(len(y)))
    weights = inverse @ y
    outer = 0.5 * (inverse - np.outer(weights, weights))
    # d correlation / d log length scale = 5/3 (1 + r) exp(-r) times the squared scaled distance along that axis.
    slope = outer * amplitude * (5.0 / 3.0) * (1.0 + r) * decay
    gradient = np.empty_like(theta)
    gradient[:-2] = 2.0 * (slope.sum(axis=1) @ x**2 - ((slope @ x) * x).sum(axis=0))
    gradient[-2] = (outer * correlation).sum() * amplitude
    gradient[-1] = np.trace(outer) * noise
    return 0.5 * float(y @ weights) + float(np.log(np.diag(factor[0])).sum()), gradient, weights


@dataclass(frozen=True, eq=False, kw_only=True)
class Relevance:
    """Which axes matter on one task: loss = level + slope m(x) + f(x) + noise, where m is the prior's mean.

    Attributes:
        length_scales: In units of those of past tasks, shape (p,).
        amplitude: Variance of f.
        noise: Variance of the noise.
        slope: Factor of m.
        level: Prior variance of the level.
    """

    length_scales: np.ndarray
    amplitude: float
    noise: float
    slope: float
    level: float

    @classmethod
    def learn(cls, inputs: np.ndarray, mean: np.ndarray, losses: np.ndarray) -> "Relevance":
        """The mode of the posterior of a Gaussian process with a Matérn-5/2 kernel.

        Args:
            inputs: Points divided by the length scales of past tasks, shape (n, p).
            mean: The prior's mean m at the points, shape (n,).
            losses: Shape (n,), in a unit in which the expected slope is one.
        """
        unit = float(losses.std()) or 1.0
        y = (losses - losses.mean()) / unit
        middle, width = np.array([LENGTH] * inputs.shape[1] + [AMPLITUDE, NOISE, SLOPE]).T
        middle[-1] -= np.log(unit)

        def compute_negative_log_posterior(theta: np.ndarray) -> tuple[float, np.ndarray]:
            expected, apart = np.exp(theta[-1]) * mean, (theta - middle) / width
            value, gradient, by_y = compute_likelihood(theta[:-1], inputs, y - expected, LEVEL)
            return value + 0.5 * float(apart @ apart), np.append(gradient, -by_y @ expected) + apart / width

        bounds = np.column_stack([middle - FARTHEST * width, middle + FARTHEST * width])
        found = find_minimum(compute_negative_log_posterior, middle, bounds, N_STEPS, "The length scales of this task")
        amplitude, noise, slope = np.exp(found[-3:]).tolist()
        return cls(
            length_scales=np.exp(found[:-3]),
            amplitude=amplitude * unit**2,
            noise=noise * unit**2,
            slope=slope * unit,
            level=LEVEL * unit**2,
        )
