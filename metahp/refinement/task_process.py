"""A Gaussian process of one task: the axes that matter on it, its noise and its scale, from its own trials.

The loss is level + b m(x) + f(x) + noise: m is the mean of the past tasks' scenarios, b the slope that turns it into
this task's scale, and f has a Matérn-5/2 covariance with one length scale per axis
(`metahp.surrogate.gaussian_process`). With few trials all of them stay near what past tasks set; where the scenarios
say nothing of the task, b becomes small. The noise is learned as well: what the folds tell counts the folds'
difficulty, which all trials share.

On real tables it was ahead of the mixture in `metahp.refinement.posterior` (`benchmarks/live.py`); on look-ups
without noise it is behind at ten trials (`benchmarks/refinement.py`).
"""

import math

import torch
from torch import Tensor

from metahp.refinement.acquisition import log_expected_improvement
from metahp.refinement.posterior import JITTER, MIN_VARIANCE, Observed, Points, compute_matern52
from metahp.surrogate.gaussian_process import N_LEARNED_FROM, Relevance

# A loss counts as no worse than so many spreads, median minus best, above the best, and so does that of a failed trial.
CLIP = 4.0


class TaskProcess:
    """The process after `observed`, at least one trial of which is finite.

    Pending trials are believed to give what is expected of them, without noise: that leaves the mean as it is and takes
    the variance there away.

    Attributes:
        relevance: What was learned, in units of the spread.
    """

    def __init__(self, observed: Observed) -> None:
        losses, points, n = observed.losses, observed.points, len(observed.losses)
        self._points, self._n_finished, self._best = points, n, losses.min()
        finite = losses[torch.isfinite(losses)]
        # Where half of the trials are as good as the best, the mean tells them from the others.
        self._spread = float(finite.median() - self._best) or float(finite.mean() - self._best) or 1.0
        y = ((losses - self._best) / self._spread).clamp(max=CLIP)
        best = torch.argsort(losses, stable=True)[:N_LEARNED_FROM]
        learned = Relevance.learn(*(each[best].cpu().numpy() for each in (points.inputs, points.mean, y)))
        self.relevance = learned
        self._scales = torch.as_tensor(learned.length_scales, device=y.device)
        self._level = float(y.mean())
        residuals = y - learned.slope * points.mean[:n] - self._level
        noise = torch.full_like(points.mean, JITTER)
        noise[:n] += learned.noise
        self._factor = torch.linalg.cholesky(self._compute_covariance(points) + torch.diag(noise))
        self._white = torch.linalg.solve_triangular(self._factor[:n, :n], residuals[:, None], upper=False)
        # Of the pending trials, and of the best finished one, which is zero.
        believed = self._compute_mean(points, self._factor.T)[n:]
        self._incumbent = float(torch.cat([torch.zeros_like(y[:1]), believed]).min())

    def _compute_covariance(self, points: Points) -> Tensor:
        learned = self.relevance
        correlation = compute_matern52(self._points.inputs / self._scales, points.inputs / self._scales)
        return learned.amplitude * correlation + learned.level

    def _compute_mean(self, points: Points, white: Tensor) -> Tensor:
        gain = (white[: self._n_finished].T @ self._white)[:, 0]
        return self._level + self.relevance.slope * points.mean + gain

    def _predict_standardised(self, points: Points) -> tuple[Tensor, Tensor]:
        white = torch.linalg.solve_triangular(self._factor, self._compute_covariance(points), upper=False)
        variance = self.relevance.amplitude + self.relevance.level - torch.linalg.vector_norm(white, dim=0) ** 2
        return self._compute_mean(points, white), variance.clamp(min=MIN_VARIANCE).sqrt()

    def compute_log_improvement(self, points: Points) -> Tensor:
        """Log of the expected improvement over the best loss, in units of the loss, shape (n,)."""
        return log_expected_improvement(*self._predict_standardised(points), self._incumbent) + math.log(self._spread)

    def predict(self, points: Points) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the loss without noise, in its units, both (n,)."""
        mu, sigma = self._predict_standardised(points)
        return self._best + self._spread * mu, self._spread * sigma
