"""A Gaussian process of one task: its trials decide which axes matter, the noise and the scale.

The loss is level + b m(x) + f(x) + noise: m is the mean of the past tasks' scenarios, b the slope that turns it into
this task's scale, and f has a Matérn-5/2 covariance with one length scale per axis
(`metahp.surrogate.gaussian_process`). With few trials all parameters stay near the values from past tasks; b becomes
small where the scenarios do not describe the task. The noise is learned too, because the standard error over the folds
includes the folds' difficulty, which all trials share.

On real tables the process was better than the mixture in `metahp.refinement.posterior` (`benchmarks/live.py`); on
look-up tables without noise it is worse at ten trials (`benchmarks/refinement.py`).
"""

import math

import torch
from torch import Tensor

from metahp.refinement.acquisition import log_expected_improvement
from metahp.refinement.gain import JointLosses
from metahp.refinement.posterior import JITTER, MIN_VARIANCE, ObservedTrials, Points, compute_matern52
from metahp.surrogate.gaussian_process import N_LEARNED_FROM, Relevance

# Losses are clipped at so many spreads above the best; a spread is median minus best. Failed trials get the clip.
CLIP = 4.0


class TaskProcess:
    """The process conditioned on `observed`, in which at least one loss is finite.

    A pending trial counts as a trial whose loss is its posterior mean, without noise: the mean stays the same and the
    variance at that point vanishes.

    Attributes:
        relevance: The learned parameters, in units of the spread.
    """

    def __init__(self, observed: ObservedTrials) -> None:
        losses, points, n = observed.losses, observed.points, len(observed.losses)
        self._points, self._n_finished, self._best = points, n, losses.min()
        finite = losses[torch.isfinite(losses)]
        # Median and best are equal where half of the trials are as good as the best; the mean then gives the spread.
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
        # Posterior means of the pending trials; the loss of the best finished trial is zero.
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
        """Mean and standard deviation of the loss without noise, in units of the loss, both (n,)."""
        mu, sigma = self._predict_standardised(points)
        return self._best + self._spread * mu, self._spread * sigma

    def predict_jointly(self, points: Points) -> list[JointLosses]:
        """The losses without noise, in units of the loss, as one normal distribution of weight one."""
        white = torch.linalg.solve_triangular(self._factor, self._compute_covariance(points), upper=False)
        learned, inputs = self.relevance, points.inputs / self._scales
        covariance = learned.amplitude * compute_matern52(inputs, inputs) + learned.level - white.T @ white
        mean = self._best + self._spread * self._compute_mean(points, white)
        return [
            JointLosses(
                means=mean[None],
                covariance=covariance,
                noise=math.sqrt(learned.noise),
                scales=torch.full_like(mean[:1], self._spread),
                weights=torch.ones_like(mean[:1]),
            )
        ]
