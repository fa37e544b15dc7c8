"""Which axes matter on one task: length scales of its own, from its own trials."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from metahp.surrogate.worlds import negative_log_likelihood

# Normal priors, mean and standard deviation, of the logs of length scale (in those of past tasks), amplitude and noise
# (as variances, in that of the residuals).
LENGTH, AMPLITUDE, NOISE = (0.0, 1.0), (0.0, 1.0), (-2.0, 1.0)
N_STEPS = 30
# How many standard deviations the optimiser may leave the means of the priors by.
FARTHEST = 4.0


@dataclass(frozen=True, eq=False)
class Relevance:
    """Length scales (p,) in units of those of past tasks; amplitude and noise are variances of the residuals."""

    length_scales: np.ndarray
    amplitude: float
    noise: float

    @classmethod
    def learn(cls, inputs: np.ndarray, residuals: np.ndarray) -> "Relevance":
        """The mode of the posterior of a Gaussian process with a Matérn-5/2 kernel.

        Args:
            inputs: Points divided by the length scales of past tasks, shape (n, p).
            residuals: What the prior's mean leaves of the losses there, shape (n,).
        """
        variance = max(float(residuals.var()), np.finfo(float).tiny)
        samples = [(inputs, (residuals - residuals.mean()) / np.sqrt(variance))]
        middle, width = np.array([LENGTH] * inputs.shape[1] + [AMPLITUDE, NOISE]).T

        def negative_log_posterior(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = negative_log_likelihood(theta, samples)
            apart = (theta - middle) / width
            return value + 0.5 * float(apart @ apart), gradient + apart / width

        bounds = np.column_stack([middle - FARTHEST * width, middle + FARTHEST * width])
        # On matrices this small, threads of a linear algebra library only wait for each other.
        with threadpool_limits(1):
            found = minimize(
                negative_log_posterior, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": N_STEPS}
            ).x
        scales = np.exp(found)
        return cls(scales[:-2], float(scales[-2] * variance), float(scales[-1] * variance))
