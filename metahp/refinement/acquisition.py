"""Log expected improvement, of one normal distribution and of a mixture, without underflow."""

import math

import torch
from torch import Tensor

# Below this z the two terms of EI cancel; the form with the scaled complementary error function is exact there.
_DIRECT = -1.0
# Below this z the argument of the logarithm, about 1/z², loses its digits; the leading asymptotic term is as good.
_ASYMPTOTIC = -1e4
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF_PI = math.sqrt(math.pi / 2)


def log_expected_improvement(mu: Tensor, sigma: Tensor, incumbent: float | Tensor) -> Tensor:
    """Log expected improvement over the incumbent, for minimisation.

    Args:
        mu: Mean of the loss, any shape.
        sigma: Standard deviation of the loss, above zero; broadcasts with `mu`.
        incumbent: Best loss so far; broadcasts with `mu`.

    Returns:
        Shape of `mu`; higher is better. Finite even where EI underflows to zero.

    Source: Ament et al., 2023, "Unexpected Improvements to Expected Improvement" (arXiv 2310.20708), eq. 9.
    """
    z = (incumbent - mu) / sigma
    near = z.clamp(min=_DIRECT)
    direct = torch.log(torch.exp(-0.5 * near**2 - _LOG_SQRT_2PI) + near * torch.special.ndtr(near))
    far = z.clamp(max=_DIRECT)
    middle = far.clamp(min=_ASYMPTOTIC)
    # 1 - |z| Φ(z) / φ(z), which tends to 1/z².
    ratio = 1 + _SQRT_HALF_PI * middle * torch.special.erfcx(-middle / math.sqrt(2))
    tail = torch.where(far > _ASYMPTOTIC, torch.log(ratio), -2 * torch.log(-far))
    return torch.where(z > _DIRECT, direct, tail - 0.5 * far**2 - _LOG_SQRT_2PI) + torch.log(sigma)


def compute_log_mixture(log_weights: Tensor, log_values: Tensor) -> Tensor:
    """Log of the weighted sum of `exp(log_values)`, shape (q,).

    Args:
        log_weights: Shape (k,).
        log_values: Shape (k, q).

    The expected improvement of a mixture is the mixture of its components' expected improvements.
    """
    return torch.logsumexp(log_weights[:, None] + log_values, dim=0)


def compute_expected_best_loss(scenarios: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
    """Expected best loss of the chosen candidates with each further candidate, before any trial, shape (n,).

    Args:
        scenarios: Loss of each candidate in each scenario, shape (t, n).
        weights: Weights of the scenarios, shape (t,).
        chosen: Loss of each chosen candidate in each scenario, shape (t, k); k may be zero.
    """
    best = torch.cat([torch.full_like(chosen[:, :0].sum(dim=1, keepdim=True), math.inf), chosen], dim=1).amin(dim=1)
    return weights @ torch.minimum(scenarios, best[:, None])
