"""What further trials are expected to bring.

Losses are drawn jointly at the incumbent and at the best candidates, and measured with noise. A candidate takes the
incumbent's place where it is measured to be better; the gain is then the difference of their losses without noise,
because the luck of the incumbent's folds and of the candidate's is no gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Draws of the losses; the standard error of the mean gain is a few percent of it.
N_DRAWS = 512


@dataclass(frozen=True, eq=False, kw_only=True)
class JointLosses:
    """A mixture of normal distributions of the losses of n configurations, which share a covariance up to a factor.

    Attributes:
        means: Shape (k, n).
        covariance: Shape (n, n), before it is scaled.
        noise: Standard deviation of a trial's noise, before it is scaled.
        scales: Factors of the standard deviations, shape (k,).
        weights: Weights of the distributions, shape (k,); over all parts of a mixture they sum to one.
    """

    means: Tensor
    covariance: Tensor
    noise: float
    scales: Tensor
    weights: Tensor


def compute_expected_gains(joint: Sequence[JointLosses], incumbent: float) -> np.ndarray:
    """Expected decrease of the incumbent's loss with trials of the first 1, 2, … of n - 1 candidates, shape (n - 1,).

    Args:
        joint: The losses of the incumbent and then those of the candidates, the best first, as a mixture.
        incumbent: The loss that was measured of the incumbent.
    """
    total = np.zeros(len(joint[0].covariance) - 1)
    for each in joint:
        # No Cholesky factor: near copies of finished trials have hardly any variance left.
        variances, axes = torch.linalg.eigh(each.covariance)
        factor = axes * variances.clamp(min=0.0).sqrt()
        n_draws = (each.weights * N_DRAWS).round().clamp(min=1).long()
        drawn = torch.arange(len(n_draws), device=factor.device).repeat_interleave(n_draws)
        # The same random numbers every time: the estimates of one trial and the next differ by what was learned.
        normal = np.random.default_rng(0).standard_normal((2, len(drawn), len(factor)))
        of_losses, of_noise = torch.as_tensor(normal, device=factor.device)
        scales = each.scales[drawn, None]
        losses = each.means[drawn] + scales * (of_losses @ factor.T)
        measured, best = (losses + scales * each.noise * of_noise)[:, 1:].cummin(dim=1)
        gains = torch.where(measured < incumbent, losses[:, :1] - losses[:, 1:].gather(1, best), 0.0)
        total += ((each.weights / n_draws)[drawn] @ gains).cpu().numpy()
    # Further trials never harm.
    return np.maximum.accumulate(total.clip(min=0.0))
