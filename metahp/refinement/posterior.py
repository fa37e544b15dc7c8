"""The prior of a task conditioned on its trials: a Bayesian mixture of Gaussian processes in float64.

Symbols: `t` scenarios, `n` points, `o` observed trials, `p` dimensions; S (t, n) losses in the scenarios, w their
weights, m = w S, D = √w (S − m), v the scenarios' mean variance, e = exp(b) the scale of the new task's loss.

A component is an assumption about the new task:

- *its mean*: one scenario S_j, with the covariance a v M; or the mean m of all scenarios, with the covariance
  DᵀD + a v M, which is a linear blend of scenarios. M is the Matérn-5/2 kernel. Where the scenarios fit badly, a large
  a wins, and the local term dominates.
- *its amplitude* a, from a short grid, and likewise *the noise of its trials*, where that is unknown.
- *its log scale* b, from a grid around the log scales of past tasks.

Where the noise of the trials is unknown, one more component has the mean m and the covariance a v M with length scales,
amplitude and noise learned from the trials of this task (`metahp.surrogate.gaussian_process`), because the axes that
matter differ between tasks. Where the noise is known, the process of this task (`metahp.refinement.task_process`) soon
takes the mixture's place.

In all components the level of the loss is unknown: a constant with a wide prior. Weights are prior weights times powers
of marginal likelihoods. Components that differ only in mean and scale share a Cholesky factor.

The size of a loss beyond the clip does not count: its density is in units of the scale, so that no scenario can win
with a scale so small that all losses are clipped. The power of the likelihood is below one, because no component is
true: with full likelihoods one component soon has all the weight, and the search never looks elsewhere.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from metahp.core.errors import InputError
from metahp.refinement.acquisition import compute_log_mixture, log_expected_improvement
from metahp.refinement.gain import JointLosses
from metahp.surrogate.gaussian_process import N_LEARNED_FROM, Relevance

# Keeps the Cholesky factor of a singular covariance defined; losses are of order one.
JITTER = 1e-6
# Share of a trial's squared standard error over the folds that is noise of this trial. The remainder is the folds'
# difficulty, which all trials share. On the lightgbm trials of the seed (57 to 88 tables by metric, the better half of
# the configurations) this share has medians of .13 (RMSE), .31 (ROC AUC) and .36 (log loss).
OWN_SHARE = 0.25
# Least variance of a posterior: that of noise far below any difference that matters.
MIN_VARIANCE = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureSettings:
    """Settings of the mixture, chosen by regret on left-out tasks of six published suites.

    `own_weight` and `min_own_trials` were not varied on the suites.

    Attributes:
        amplitudes: Variances of the local term, as shares of the scenarios' mean variance.
        noises: Noise variances of trials whose noise is unknown, as shares of the scenarios' mean variance. Where the
            noise of some trials is known, only the first is used; it is then the least noise of every trial.
        blend: Prior weight of the components that blend all scenarios; all single scenarios together have weight one.
        own_weight: Prior weight of the component with length scales learned from this task.
        n_scales: Number of log scales.
        scale_width: The log scales lie within this many standard deviations of their prior mean.
        clip: Losses are clipped at this many scales above the incumbent.
        level: Prior standard deviation of the loss's level, in scales.
        power: Power of the likelihoods.
        min_own_trials: Number of finished trials from which on length scales are learned from this task, and the
            process of this task (`metahp.refinement.task_process`) takes the mixture's place.
        n_components: Number of components that are evaluated on all candidates.
    """

    amplitudes: tuple[float, ...] = (0.05, 0.2, 0.8)
    noises: tuple[float, ...] = (0.02, 0.2)
    blend: float = 1.0
    own_weight: float = 1.0
    n_scales: int = 7
    scale_width: float = 2.0
    clip: float = 1.4
    level: float = 5.0
    power: float = 0.5
    min_own_trials: int = 5
    n_components: int = 256


@dataclass(frozen=True, eq=False)
class Points:
    """The prior of n configurations, in float64.

    Attributes:
        inputs: Kernel inputs, shape (n, p).
        scenarios: Normalised losses S in the scenarios, shape (t, n).
        mean: Mean m of the scenarios, shape (n,).
        deviations: Weighted deviations D of the scenarios, shape (t, n).
    """

    inputs: Tensor
    scenarios: Tensor
    mean: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, inputs: np.ndarray, scenarios: np.ndarray, weights: Tensor) -> "Points":
        """Points with `inputs` (n, p) and `scenarios` (t, n), on the device of the scenarios' `weights` (t,)."""
        values = torch.as_tensor(scenarios, dtype=torch.float64, device=weights.device)
        mean = weights @ values
        deviations = (values - mean) * weights.sqrt()[:, None]
        return cls(torch.as_tensor(inputs, dtype=torch.float64, device=weights.device), values, mean, deviations)

    @classmethod
    def join(cls, parts: Sequence["Points"]) -> "Points":
        """The points of all parts, in their order."""
        return cls(
            torch.cat([each.inputs for each in parts]),
            torch.cat([each.scenarios for each in parts], dim=1),
            torch.cat([each.mean for each in parts]),
            torch.cat([each.deviations for each in parts], dim=1),
        )

    def select(self, index: Sequence[int]) -> "Points":
        """The points at these indices."""
        return Points(self.inputs[index], self.scenarios[:, index], self.mean[index], self.deviations[:, index])

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Cross:
    """Covariance terms between two sets of points: M (`correlation`) and DᵀD (`blended`), both (n, q)."""

    correlation: Tensor
    blended: Tensor

    @classmethod
    def of(cls, left: Points, right: Points) -> "Cross":
        """The terms between `left` (n points) and `right` (q points)."""
        return cls(compute_matern52(left.inputs, right.inputs), left.deviations.T @ right.deviations)

    @classmethod
    def join(cls, parts: Sequence["Cross"]) -> "Cross":
        """All rows of the parts, in their order."""
        return cls(torch.cat([each.correlation for each in parts]), torch.cat([each.blended for each in parts]))


@dataclass(frozen=True, eq=False)
class ObservedTrials:
    """Trials of the task.

    Attributes:
        points: All n trials; the first `len(losses)` of them are finished, the others pending.
        losses: Losses of the finished trials, shape (o,), in the unit of `log_scale`; infinite where the trial failed.
        noise: Standard errors of the losses, shape (o,), in the same unit; NaN where they are unknown.
    """

    points: Points
    losses: Tensor
    noise: Tensor


class _Kind(Enum):
    """The assumption of a kernel's components about the new task."""

    SCENARIO, BLEND, OWN = range(3)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Covariance:
    """A covariance with its Cholesky factor, and the means that go with it.

    Attributes:
        kind: The assumption about the new task.
        amplitude: Variance of the local term.
        noise: Noise variance of a trial.
        scales: Length scales learned from this task; None for those of past tasks.
        factor: Lower Cholesky factor of all n trials, shape (n, n).
        losses: Whitened losses of the finished trials, shape (o, scales).
        means: Whitened means at the finished trials, shape (o, means).
    """

    kind: _Kind
    amplitude: float
    noise: float
    scales: Tensor | None
    factor: Tensor
    losses: Tensor
    means: Tensor


def find_torch_device(name: str) -> torch.device:
    """The device called `auto` (CUDA if available), `cpu` or `cuda`.

    Raises:
        InputError: `cuda` is not available, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"'{name}' is not a device. Known: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "No CUDA device can be used here: PyTorch sees none. Use the device 'cpu' or 'auto', or install a PyTorch "
            "build for your GPU's CUDA version."
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def compute_matern52(left: Tensor, right: Tensor) -> Tensor:
    """Matérn-5/2 correlations (n, m) of points that are already divided by their length scales."""
    distance = 5**0.5 * torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
    return (1 + distance + distance**2 / 3) * torch.exp(-distance)


class Posterior:
    """The mixture conditioned on `observed`, in which at least one loss is finite.

    Args:
        weights: Weights of the scenarios, shape (t,); their sum is one.
        log_scale: Mean and standard deviation of the log of past tasks' loss scales.
        variance: The scenarios' mean variance over the candidates, above zero.
        observed: Trials of the task. In each component a pending trial counts as a trial whose loss is the posterior
            mean: the mean stays the same and the variance at that point vanishes.
        settings: Settings of the mixture.

    Attributes:
        log_weights: Log weights of the components, for each kernel shape (scales, means); normalised over all.
        relevance: Length scales learned from this task; None where the noise is known or the trials are too few.
    """

    def __init__(
        self,
        weights: Tensor,
        log_scale: tuple[float, float],
        variance: float,
        observed: ObservedTrials,
        settings: MixtureSettings,
    ) -> None:
        self._weights = weights
        self._variance = variance
        self._settings = settings
        self._points = observed.points
        self._n_finished = len(observed.losses)
        self._best = observed.losses.min()
        steps = torch.linspace(-1.0, 1.0, settings.n_scales, dtype=torch.float64, device=weights.device)
        steps = settings.scale_width * steps if settings.n_scales > 1 else steps * 0
        self._log_scales = log_scale[0] + log_scale[1] * steps
        self._scale_prior = torch.log_softmax(-0.5 * steps**2, dim=0)
        is_known = bool(torch.isfinite(observed.noise).any())
        self._noises = settings.noises[:1] if is_known else settings.noises
        known_noise = torch.zeros_like(observed.losses)
        self._fit(observed.losses, known_noise, None)
        # Standard errors and residuals are in units of the loss. Components differ in scale, so the mean scale is used.
        by_scale = torch.stack([each.logsumexp(dim=1) for each in self.log_weights]).logsumexp(dim=0).exp()
        scale = torch.exp(by_scale @ self._log_scales)
        self.relevance: Relevance | None = None
        if is_known:
            variance_of_trial = OWN_SHARE * (observed.noise / scale) ** 2
            known_noise = torch.where(torch.isfinite(variance_of_trial), variance_of_trial, 0.0)
        elif self._n_finished >= settings.min_own_trials:
            self.relevance = self._learn_relevance(observed.losses, scale)
        if is_known or self.relevance:
            self._fit(observed.losses, known_noise, self.relevance)

    def _learn_relevance(self, losses: Tensor, scale: Tensor) -> Relevance:
        y = ((losses - self._best) / scale).clamp(max=self._settings.clip)
        best = torch.argsort(losses, stable=True)[:N_LEARNED_FROM]
        return Relevance.learn(*(each[best].cpu().numpy() for each in (self._points.inputs, self._points.mean, y)))

    def _fit(self, losses: Tensor, known_noise: Tensor, relevance: Relevance | None) -> None:
        settings, o, v = self._settings, self._n_finished, self._variance
        y = (losses[:, None] - self._best) / torch.exp(self._log_scales)
        n_unclipped = (y < settings.clip).sum(dim=0)
        y = y.clamp(max=settings.clip)
        among, even = Cross.of(self._points, self._points), torch.zeros_like(self._weights[:1])
        scenario, blend = self._points.scenarios, self._points.mean[None]
        kinds: list[tuple[_Kind, float, float, Tensor | None, Tensor, Tensor]] = [
            (kind, amplitude * v, noise * v, None, means, prior)
            for kind, means, prior in (
                (_Kind.SCENARIO, scenario, self._weights.log()),
                (_Kind.BLEND, blend, even + math.log(settings.blend)),
            )
            for amplitude, noise in itertools.product(settings.amplitudes, self._noises)
        ]
        if relevance:
            own_scales = torch.as_tensor(relevance.length_scales, device=y.device)
            prior = even + math.log(settings.own_weight)
            kinds.append((_Kind.OWN, relevance.amplitude, relevance.noise, own_scales, blend, prior))
        self._kernels, logs = [], []
        for kind, amplitude, noise, scales, means, prior in kinds:
            diagonal = torch.full((len(self._points),), JITTER, dtype=y.dtype, device=y.device)
            # At least the component's noise: an error estimated from three folds may be zero by chance.
            diagonal[:o] += known_noise.clamp(min=noise)
            correlation = among.correlation if scales is None else self._compute_correlation(self._points, scales)
            covariance = self._compute_covariance(kind, amplitude, correlation, among.blended)
            factor = torch.linalg.cholesky(covariance + torch.diag(diagonal))
            finished = factor[:o, :o]
            white_y = torch.linalg.solve_triangular(finished, y, upper=False)
            white_means = torch.linalg.solve_triangular(finished, means[:, :o].T, upper=False)
            squares = torch.cdist(white_y.T, white_means.T) ** 2
            likelihood = -0.5 * squares - finished.diagonal().log().sum()
            likelihood = likelihood - (n_unclipped * self._log_scales)[:, None]
            self._kernels.append(
                _Covariance(
                    kind=kind,
                    amplitude=amplitude,
                    noise=noise,
                    scales=scales,
                    factor=factor,
                    losses=white_y,
                    means=white_means,
                )
            )
            logs.append(settings.power * likelihood + self._scale_prior[:, None] + prior)
        total = torch.logsumexp(torch.cat([each.flatten() for each in logs]), dim=0)
        self.log_weights = [each - total for each in logs]
        self._kept = self._select_components()

    def _select_components(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Scales, means and counts of the components that represent all, for each kernel.

        Systematic resampling: equally spaced quantiles of the weights in the order of the components. The count of a
        component is its weight times `n_components`, rounded up or down. Some of the many small components stay, where
        a threshold would drop them all.
        """
        n = self._settings.n_components
        flat = torch.cat([each.flatten() for each in self.log_weights]).exp()
        edges = flat.cumsum(dim=0)
        quantiles = (torch.arange(n, dtype=flat.dtype, device=flat.device) + 0.5) / n * edges[-1]
        index, counts = torch.unique(torch.searchsorted(edges, quantiles), return_counts=True)
        kept, start = [], 0
        for weights in self.log_weights:
            is_here = (index >= start) & (index < start + weights.numel())
            position = index[is_here] - start
            kept.append((position // weights.shape[1], position % weights.shape[1], counts[is_here]))
            start += weights.numel()
        return kept

    def _compute_correlation(self, points: Points, scales: Tensor) -> Tensor:
        return compute_matern52(self._points.inputs / scales, points.inputs / scales)

    def _compute_covariance(self, kind: _Kind, amplitude: float, correlation: Tensor, blended: Tensor) -> Tensor:
        covariance = correlation * amplitude
        if kind is _Kind.BLEND:
            covariance += blended
        return covariance.add_(self._settings.level**2)

    def _predict_components(
        self, points: Points, cross: Cross
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """For the kept components of each kernel: means (k, n), deviations (n,), incumbents, log scales and weights."""
        settings, o, log_n = self._settings, self._n_finished, math.log(self._settings.n_components)
        for kernel, (scale, index, counts) in zip(self._kernels, self._kept, strict=True):
            if not len(counts):
                continue
            residuals = kernel.losses[:, scale] - kernel.means[:, index]
            correlation = (
                cross.correlation if kernel.scales is None else self._compute_correlation(points, kernel.scales)
            )
            covariance = self._compute_covariance(kernel.kind, kernel.amplitude, correlation, cross.blended)
            white = torch.linalg.solve_triangular(kernel.factor, covariance, upper=False)
            # Variance of the loss that a trial measures, noise included: in a look-up table the noise is fixed.
            prior: float | Tensor = kernel.amplitude + kernel.noise + settings.level**2
            means, believed = points.mean[None], self._points.mean[None, o:]
            if kernel.kind is _Kind.SCENARIO:
                means, believed = points.scenarios[index], self._points.scenarios[index, o:]
            elif kernel.kind is _Kind.BLEND:
                prior = prior + torch.linalg.vector_norm(points.deviations, dim=0) ** 2
            mu = means + residuals.T @ white[:o]
            sigma = (prior - torch.linalg.vector_norm(white, dim=0) ** 2).clamp(min=MIN_VARIANCE).sqrt()
            believed = believed + residuals.T @ kernel.factor[o:, :o].T
            incumbent = torch.cat([torch.zeros_like(residuals[:1].T), believed], dim=1).amin(dim=1)
            yield mu, sigma, incumbent, self._log_scales[scale], counts.to(mu.dtype).log() - log_n

    def compute_log_improvement(self, points: Points, cross: Cross | None = None) -> Tensor:
        """Log of the mixture's expected improvement over the best finite loss, in units of the loss, shape (n,).

        `cross` is between the observed points and these; None to compute it.
        """
        terms, weights = [], []
        for mu, sigma, incumbent, log_scale, log_weight in self._predict_components(
            points, cross or Cross.of(self._points, points)
        ):
            terms.append(log_expected_improvement(mu, sigma, incumbent[:, None]))
            weights.append(log_weight + log_scale)
        return compute_log_mixture(torch.cat(weights), torch.cat(terms))

    def predict(self, points: Points) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the mixture, in units of the loss, both (n,)."""
        means, squares = torch.zeros(2, len(points), dtype=torch.float64, device=points.inputs.device)
        for mu, sigma, _, log_scale, log_weight in self._predict_components(points, Cross.of(self._points, points)):
            loss = self._best + torch.exp(log_scale)[:, None] * mu
            deviation = torch.exp(log_scale)[:, None] * sigma
            means = means + torch.exp(log_weight) @ loss
            squares = squares + torch.exp(log_weight) @ (loss**2 + deviation**2)
        return means, (squares - means**2).clamp(min=0.0).sqrt()

    def predict_jointly(self, points: Points) -> list[JointLosses]:
        """The losses without noise, in units of the loss, as a normal distribution of each kept component."""
        o, cross = self._n_finished, Cross.of(self._points, points)
        among, joint = Cross.of(points, points), []
        for kernel, (scale, index, counts) in zip(self._kernels, self._kept, strict=True):
            if not len(counts):
                continue
            residuals = kernel.losses[:, scale] - kernel.means[:, index]
            correlation, own = cross.correlation, among.correlation
            if kernel.scales is not None:
                correlation = self._compute_correlation(points, kernel.scales)
                own = compute_matern52(points.inputs / kernel.scales, points.inputs / kernel.scales)
            covariance = self._compute_covariance(kernel.kind, kernel.amplitude, correlation, cross.blended)
            white = torch.linalg.solve_triangular(kernel.factor, covariance, upper=False)
            prior = self._compute_covariance(kernel.kind, kernel.amplitude, own, among.blended)
            means = points.scenarios[index] if kernel.kind is _Kind.SCENARIO else points.mean[None]
            scales = torch.exp(self._log_scales[scale])
            mu = self._best + scales[:, None] * (means + residuals.T @ white[:o])
            weights = counts.to(mu.dtype) / self._settings.n_components
            joint.append(
                JointLosses(
                    means=mu,
                    covariance=prior - white.T @ white,
                    noise=math.sqrt(kernel.noise),
                    scales=scales,
                    weights=weights,
                )
            )
        return joint
