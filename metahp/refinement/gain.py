"""What further trials are expected to bring."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Draws of the losses; the standard error of the mean gain is a few percent of it.
N_DRAWS = 512


@dataclass(frozen=True, eq=False)
class JointLosses:
    """A mixture of normal distributions of the losses of n configurations, which share a covariance up to a factor.

    Attributes:
        means: Shape (k, n).
        weights: Weights of the distributions, shape (k,); over all parts of a mixture they sum to one.
        covariance: Shape (n, n), before it is scaled.
        scales: Factors of the standard deviations, shape (k,).
    """

    means: Tensor
    weights: Tensor
    covariance: Tensor
    scales: Tensor


def compute_expected_gains(joint: Sequence[JointLosses], n_tried: int) -> np.ndarray:
    """Expected decrease of the lowest loss with the first 1, 2, … of the candidates, shape (n - n_tried,).

    Args:
        joint: The losses of `n_tried` finished trials and then those of the candidates, the best first, as a mixture.
        n_tried: How many of them are finished.
    """
    gains = []
    for each in joint:
        # No Cholesky factor: near copies of finished trials have hardly any variance left.
        variances, axes = torch.linalg.eigh(each.covariance)
        factor = axes * variances.clamp(min=0.0).sqrt()
        drawn = torch.arange(len(each.weights), device=factor.device)
        drawn = drawn.repeat_interleave((each.weights * N_DRAWS).round().long())
        # The same random numbers every time: the estimates of one trial and the next differ by what was learned.
        normal = np.random.default_rng(0).standard_normal((len(drawn), len(factor)))
        apart = torch.as_tensor(normal, device=factor.device) @ factor.T
        losses = each.means[drawn] + each.scales[drawn, None] * apart
        best = losses[:, :n_tried].amin(dim=1, keepdim=True)
        gains.append((best - losses[:, n_tried:].cummin(dim=1).values).clamp(min=0.0))
    return np.asarray(torch.cat(gains).mean(dim=0).cpu())
