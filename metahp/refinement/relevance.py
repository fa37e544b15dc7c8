"""Which axes matter on one task: length scales of its own, from its own trials."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from metahp.surrogate.worlds import likelihood_of

# Normal priors, mean and standard deviation, of the logs of the length scales (in those of past tasks), of the
# amplitude and the noise (as variances, in that of the losses) and of the slope.
LENGTH, AMPLITUDE, NOISE, SLOPE = (0.0, 1.0), (0.0, 1.0), (-2.0, 1.0), (0.0, 1.0)
# Prior variance of the level, in that of the losses.
LEVEL = 4.0
# So many of the best trials are learned from: a step of the optimiser takes the cube of their number.
N_LEARNED_FROM = 100
N_STEPS = 30
# How many standard deviations the optimiser may leave the means of the priors by.
FARTHEST = 4.0


@dataclass(frozen=True, eq=False)
class Relevance:
    """What makes losses of what the prior expects: level + slope m(x) + f(x) + noise.

    Length scales (p,) in units of those of past tasks; amplitude (of f), noise and level are variances.
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
            mean: m, what the prior expects there, shape (n,).
            losses: Shape (n,), in a unit in which the slope may be expected to be one.
        """
        unit = float(losses.std()) or 1.0
        y = (losses - losses.mean()) / unit
        middle, width = np.array([LENGTH] * inputs.shape[1] + [AMPLITUDE, NOISE, SLOPE]).T
        middle[-1] -= np.log(unit)

        def negative_log_posterior(theta: np.ndarray) -> tuple[float, np.ndarray]:
            expected, apart = np.exp(theta[-1]) * mean, (theta - middle) / width
            value, gradient, by_y = likelihood_of(theta[:-1], inputs, y - expected, LEVEL)
            return value + 0.5 * float(apart @ apart), np.append(gradient, -by_y @ expected) + apart / width

        bounds = np.column_stack([middle - FARTHEST * width, middle + FARTHEST * width])
        # On matrices this small, threads of a linear algebra library only wait for each other.
        with threadpool_limits(1):
            found = minimize(
                negative_log_posterior, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": N_STEPS}
            ).x
        amplitude, noise, slope = np.exp(found[-3:]).tolist()
        return cls(np.exp(found[:-3]), amplitude * unit**2, noise * unit**2, slope * unit, LEVEL * unit**2)
