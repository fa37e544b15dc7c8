"""Which axes matter on one task: length scales of its own, from its own trials."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from metahp.surrogate.worlds import likelihood_of

# Normal priors, mean and standard deviation, of the logs of the length scales (in those of past tasks), of the
# amplitude and the noise (as variances, in that of the losses), of the slope and of the blend.
LENGTH, AMPLITUDE, NOISE, SLOPE, BLEND = (0.0, 1.0), (0.0, 1.0), (-2.0, 1.0), (0.0, 1.0), (1.0, 1.0)
# Prior variance of the level, in that of the losses.
LEVEL = 4.0
# So many of the best trials are learned from: a step of the optimiser takes the cube of their number.
N_LEARNED_FROM = 100
N_STEPS = 30
# How many standard deviations the optimiser may leave the means of the priors by.
FARTHEST = 4.0


@dataclass(frozen=True, eq=False)
class Relevance:
    """What makes losses of what the prior expects: level + slope m(x) + g(x) + f(x) + noise.

    Length scales (p,) in units of those of past tasks; amplitude (of f), noise and level are variances. The covariance
    of g is the blend times that of the worlds; zero where it was not asked for.
    """

    length_scales: np.ndarray
    amplitude: float
    noise: float
    slope: float
    blend: float
    level: float

    @classmethod
    def learn(
        cls, inputs: np.ndarray, mean: np.ndarray, losses: np.ndarray, blended: np.ndarray | None = None
    ) -> "Relevance":
        """The mode of the posterior of a Gaussian process with a Matérn-5/2 kernel.

        Args:
            inputs: Points divided by the length scales of past tasks, shape (n, p).
            mean: m, what the prior expects there, shape (n,).
            losses: Shape (n,), in a unit in which the slope may be expected to be one.
            blended: The worlds' covariance, shape (n, n), where losses may also follow a blend of them.
        """
        unit = float(losses.std()) or 1.0
        y = (losses - losses.mean()) / unit
        worlds = np.zeros((len(y), len(y))) if blended is None else blended
        # Slope and blend turn what the worlds say, in their unit, into losses and their variance.
        middle, width = np.array([LENGTH] * inputs.shape[1] + [AMPLITUDE, NOISE, SLOPE, BLEND]).T
        middle[-2:] -= np.log([unit, unit**2])

        def negative_log_posterior(theta: np.ndarray) -> tuple[float, np.ndarray]:
            expected, blend, apart = np.exp(theta[-2]) * mean, np.exp(theta[-1]) * worlds, (theta - middle) / width
            value, gradient, by_y, by_covariance = likelihood_of(theta[:-2], inputs, y - expected, LEVEL + blend)
            gradient = np.append(gradient, [-by_y @ expected, (by_covariance * blend).sum()])
            return value + 0.5 * float(apart @ apart), gradient + apart / width

        bounds = np.column_stack([middle - FARTHEST * width, middle + FARTHEST * width])
        # On matrices this small, threads of a linear algebra library only wait for each other.
        with threadpool_limits(1):
            found = minimize(
                negative_log_posterior, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": N_STEPS}
            ).x
        amplitude, noise, slope, blend = (np.exp(found[-4:]) * [unit**2, unit**2, unit, unit**2]).tolist()
        return cls(np.exp(found[:-4]), amplitude, noise, slope, 0.0 if blended is None else blend, LEVEL * unit**2)
