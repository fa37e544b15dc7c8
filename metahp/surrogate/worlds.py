"""Past tasks as functions over all configurations: Gaussian-process interpolations that share one kernel."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from metahp.core.configuration import Configuration
from metahp.core.space import Categorical, SearchSpace
from metahp.surrogate.encoding import encode

# Distance of two choices of a categorical, in units of a numeric axis, before length scales are learned.
CHOICE_DISTANCE = 0.7
# What length scales are learned from: enough to tell the axes apart, little enough for a few seconds.
LEARNING_TASKS = 24
LEARNING_POINTS = 120
LEARNING_STEPS = 40
# Weight of a unit normal prior on each log length scale, for the mean log likelihood of a task.
PRIOR_WEIGHT = 0.1
# A world is interpolated from at most so many of its configurations; solving costs their cube.
MOST_POINTS = 800
JITTER = 1e-6
# Groups of tasks that are solved side by side; each takes matrices of its own.
N_THREADS = 4
# Configurations that a group is asked of at once, so that its matrices stay small.
BLOCK = 1000
# Waves of which a random function is made.
N_WAVES = 256


def matern52(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Matérn-5/2 correlations of points A (n, p) and B (m, p), one length scale in each direction, shape (n, m)."""
    squared = (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T
    r = np.sqrt(5.0 * np.maximum(squared, 0.0))
    return (1.0 + r + r * r / 3.0) * np.exp(-r)


def matern52_draws(inputs: np.ndarray, n: int, *, seed: int) -> np.ndarray:
    """Draws of `n` random functions of unit variance with that correlation at points (c, p), shape (n, c).

    Sums of cosines whose frequencies follow the kernel's spectral density, a Student t distribution with five degrees
    of freedom (Rahimi and Recht, 2007, "Random features for large-scale kernel machines").
    """
    rng = np.random.default_rng(seed)
    frequencies = rng.normal(size=(inputs.shape[1], N_WAVES)) * np.sqrt(5.0 / rng.chisquare(5.0, size=N_WAVES))
    waves = np.cos(inputs @ frequencies + rng.uniform(0.0, 2.0 * np.pi, size=N_WAVES))
    return rng.normal(size=(n, N_WAVES)) @ waves.T * np.sqrt(2.0 / N_WAVES)


@dataclass(frozen=True, eq=False)
class Kernel:
    """Covariance of a world's losses at two configurations, learned from past tasks.

    `spaces` are the search spaces by learner, `length_scales` (p,) belong to the columns of `raw_inputs`, `amplitude`
    is the variance of a world and `noise` that of a measurement, both in units of a world's variance.
    """

    spaces: Mapping[str, SearchSpace]
    length_scales: np.ndarray
    amplitude: float = 1.0
    noise: float = 0.05

    @classmethod
    def learn(cls, spaces: Mapping[str, SearchSpace], inputs: np.ndarray, worlds: np.ndarray, *, seed: int) -> "Kernel":
        """Maximise the mean marginal likelihood of some worlds.

        Args:
            spaces: Search space by learner.
            inputs: `raw_inputs` of the columns of `worlds`, shape (c, p).
            worlds: Normalised losses, shape (t, c), NaN where not measured.
            seed: Chooses the tasks and points that are looked at.
        """
        rng = np.random.default_rng(seed)
        samples: list[tuple[np.ndarray, np.ndarray]] = []
        for row in rng.permutation(len(worlds)):
            known = np.flatnonzero(~np.isnan(worlds[row]))
            if known.size > LEARNING_POINTS:
                known = rng.choice(known, LEARNING_POINTS, replace=False)
            y = worlds[row, known]
            if known.size > 2 and y.std() > JITTER and len(samples) < LEARNING_TASKS:
                samples.append((inputs[known], (y - y.mean()) / y.std()))
        start = np.concatenate([np.full(inputs.shape[1], -0.5), [0.0, -3.0]])
        if not samples:
            return cls(spaces, np.exp(start[:-2]))
        bounds = [(-3.5, 3.5)] * inputs.shape[1] + [(-3.0, 3.0), (-7.0, 1.0)]
        # On matrices this small, threads of a linear algebra library only wait for each other.
        with threadpool_limits(1):
            found = minimize(
                _penalised,
                start,
                args=(samples,),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": LEARNING_STEPS},
            ).x
        return cls(spaces, np.exp(found[:-2]), float(np.exp(found[-2])), float(np.exp(found[-1])))

    def inputs(self, configurations: Sequence[Configuration]) -> np.ndarray:
        """Coordinates in which the correlation is Matérn-5/2 of the plain distance, shape (n, p)."""
        return raw_inputs(encode(configurations, self.spaces), self.spaces) / self.length_scales


def raw_inputs(encoded: np.ndarray, spaces: Mapping[str, SearchSpace]) -> np.ndarray:
    """Kernel coordinates before scaling, shape (n, p), of configurations as `encode` gives them.

    A numeric axis is its unit coordinate, a choice of two is one column, one of more is a column per choice, and so
    is the learner where there are several. Inactive hyperparameters lie in the middle.
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


@dataclass(frozen=True, eq=False)
class Worlds:
    """Interpolated losses of past tasks at any configuration.

    Tasks that measured the same configurations share a group: its `points` (m, p) scaled by the kernel's length
    scales, `coefficients` (m, g), `means` (g,) and the rows of its tasks.
    """

    kernel: Kernel
    groups: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]
    n_tasks: int

    @classmethod
    def fit(cls, kernel: Kernel, inputs: np.ndarray, values: np.ndarray, *, seed: int = 0) -> "Worlds":
        """Interpolate `values` (t, c), NaN where not measured, at `inputs` (c, p), scaled by the length scales."""
        by_pattern: dict[bytes, list[int]] = {}
        for row, known in enumerate(~np.isnan(values)):
            by_pattern.setdefault(known.tobytes(), []).append(row)

        def solved(pattern: bytes, members: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            rows = np.array(members)
            known = np.flatnonzero(np.frombuffer(pattern, dtype=bool))
            if known.size > MOST_POINTS:
                known = np.sort(np.random.default_rng(seed).choice(known, MOST_POINTS, replace=False))
            points = inputs[known]
            own = values[np.ix_(rows, known)]
            means = own.mean(axis=1) if known.size else np.zeros(rows.size)
            covariance = kernel.amplitude * matern52(points, points)
            covariance[np.diag_indices_from(covariance)] += kernel.noise + JITTER
            coefficients = cho_solve(cho_factor(covariance), (own - means[:, None]).T) if known.size else own.T
            return points, coefficients, means, rows

        with threadpool_limits(1), ThreadPoolExecutor(N_THREADS) as pool:
            groups = tuple(pool.map(solved, by_pattern.keys(), by_pattern.values()))
        return cls(kernel, groups, len(values))

    def at(self, inputs: np.ndarray, *, share: float = 1.0, wanted: np.ndarray | None = None) -> np.ndarray:
        """Expected losses of every task at `inputs` (n, p), scaled by the length scales, shape (t, n).

        With a `share` below one they lie nearer to the mean of their task. Of the cells that are not `wanted` (t, n)
        some may be NaN, which saves their time.
        """
        values = np.full((self.n_tasks, len(inputs)), np.nan)

        def tell(points: np.ndarray, coefficients: np.ndarray, means: np.ndarray, rows: np.ndarray) -> None:
            columns = np.arange(len(inputs)) if wanted is None else np.flatnonzero(wanted[rows].any(axis=0))
            for start in range(0, len(columns), BLOCK):
                block = columns[start : start + BLOCK]
                correlation = self.kernel.amplitude * matern52(inputs[block], points)
                values[np.ix_(rows, block)] = (share * (correlation @ coefficients) + means).T

        with threadpool_limits(1), ThreadPoolExecutor(N_THREADS) as pool:
            list(pool.map(tell, *zip(*self.groups, strict=True)))
        return values


def _penalised(theta: np.ndarray, samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, np.ndarray]:
    value, gradient = negative_log_likelihood(theta, samples)
    gradient[:-2] += PRIOR_WEIGHT * theta[:-2]
    return value + 0.5 * PRIOR_WEIGHT * float((theta[:-2] ** 2).sum()), gradient


def negative_log_likelihood(
    theta: np.ndarray, samples: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, np.ndarray]:
    """Of Matérn-5/2 Gaussian processes, a mean over `samples`: points (n, p) and their values (n,), without a mean.

    With its gradient in `theta`: p log length scales, log amplitude and log noise.
    """
    values, gradients, _ = zip(*(likelihood_of(theta, inputs, y) for inputs, y in samples), strict=True)
    return float(np.mean(values)), np.mean(gradients, axis=0)


def likelihood_of(
    theta: np.ndarray, inputs: np.ndarray, y: np.ndarray, level: float = 0.0
) -> tuple[float, np.ndarray, np.ndarray]:
    """Negative log likelihood of one sample, its gradient in `theta` and in `y` (n,).

    `level` is the prior variance of a constant that is added to the process.
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
