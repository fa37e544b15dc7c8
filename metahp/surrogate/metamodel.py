"""The meta-model: trained once on past tasks, used for all questions about their learners."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.core.space import SearchSpace
from metahp.surrogate.evidence import Evidence, encode, normalise_losses
from metahp.surrogate.forest import SimilarityForest
from metahp.surrogate.gaussian_process import Interpolation, Kernel, make_raw_inputs
from metahp.surrogate.similarity import compute_copy_width, compute_near_width
from metahp.surrogate.surrogate import Surrogate

# With fewer past tasks that have trials of every learner, tasks with trials of some learners count in full too.
MIN_WHOLE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorSettings:
    """The prior's own hyperparameters.

    Attributes:
        shift: Share of the surrogate's predicted shift that is added to the scenarios.
        trust: Share of the weight that depends on similarity; the remainder is equal for all past tasks.
        local: Standard deviation of a task's difference from a scenario, in normalised loss, times the square root of
            the number of scenarios: with more scenarios the nearest one is closer. The difference is a smooth function
            of the configuration.
    """

    shift: float = 0.25
    trust: float = 0.5
    local: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class MetaModel:
    """Surrogate, forest and kernel, trained on the past tasks of some learners for one metric.

    It is also used for other metrics: their scenarios are measured losses.

    Attributes:
        metric: Name of the metric of training.
        kernel: Covariance over configurations.
        forest: Forest that measures similarity.
        surrogate: Model of normalised losses; None means that nothing is shifted.
        metafeatures: Meta-features of the surrogate's training tasks, shape (t, m).
        averages: Mean prediction of the surrogate over these tasks, by id of the configuration.
        near_width: Squared distance of meta-features within which a task is similar.
        copy_width: Distance of meta-features within which a task is a near copy.
        settings: Hyperparameters of the prior.
    """

    metric: str
    kernel: Kernel
    forest: SimilarityForest
    surrogate: Surrogate | None
    metafeatures: np.ndarray
    averages: Mapping[str, float]
    near_width: float
    copy_width: float
    settings: PriorSettings

    @classmethod
    def fit(cls, evidence: Evidence, *, seed: int, settings: PriorSettings | None = None) -> "MetaModel":
        """Train on the evidence of past tasks."""
        evidence = evidence.drop_unmeasured()
        spaces = evidence.spaces
        encoded = encode(evidence.candidates, spaces)
        losses, _ = normalise_losses(evidence.losses, list(evidence.defaults.values()), clip=DEFAULT_SCALED_CLIP)
        whole = find_whole_tasks(losses, encoded)
        surrogate = Surrogate.fit(evidence.metafeatures[whole], encoded, losses[whole], seed=seed)
        kernel = Kernel.learn(spaces, make_raw_inputs(encoded, spaces), losses, seed=seed)
        inputs = make_raw_inputs(encoded, spaces) / kernel.length_scales
        kept = choose_reference_columns(evidence, seed=seed)
        values = losses[np.ix_(whole, kept)]
        if (gaps := np.isnan(values)).any():
            filled = Interpolation.fit(kernel, inputs, losses[whole], seed=seed).at(
                inputs[kept], share=choose_interpolated_share(kept, len(inputs)), wanted=gaps
            )
            values = np.where(gaps, filled, values)
        metafeatures = evidence.metafeatures[whole]
        averages = surrogate.average(metafeatures, encoded[kept]).tolist()
        return cls(
            metric=evidence.metric,
            kernel=kernel,
            forest=SimilarityForest.fit(metafeatures, values, seed=seed),
            surrogate=surrogate,
            # Rounded as in a file, so that a stored model predicts the same as one that was just trained.
            metafeatures=metafeatures.astype(np.float32).astype(float),
            averages=dict(zip((evidence.candidates[j].id for j in kept), averages, strict=True)),
            near_width=compute_near_width(evidence.metafeatures),
            copy_width=compute_copy_width(evidence.metafeatures),
            settings=settings or PriorSettings(),
        )

    @classmethod
    def make_untrained(cls, evidence: Evidence) -> "MetaModel":
        """A meta-model without training: all past tasks are equally similar, all axes equally important."""
        n_inputs = make_raw_inputs(encode(evidence.candidates[:1], evidence.spaces), evidence.spaces).shape[1]
        nothing = np.zeros((0, evidence.metafeatures.shape[1]))
        return cls(
            metric=evidence.metric,
            kernel=Kernel(evidence.spaces, np.ones(n_inputs)),
            forest=SimilarityForest.make_empty(evidence.metafeatures.shape[1]),
            surrogate=None,
            metafeatures=nothing,
            averages={},
            near_width=0.0,
            copy_width=compute_copy_width(evidence.metafeatures),
            settings=PriorSettings(shift=0.0, trust=0.0),
        )

    def compute_shifts(
        self, metafeatures: np.ndarray, candidates: Sequence[Configuration], encoded: np.ndarray
    ) -> np.ndarray:
        """Predicted difference of tasks from the average task, in normalised loss, shape (n, c).

        Args:
            metafeatures: Of the n tasks, shape (n, m).
            candidates: c configurations.
            encoded: The same as numbers, shape (c, d).
        """
        if self.surrogate is None:
            return np.zeros((len(metafeatures), len(candidates)))
        average = np.array([self.averages.get(candidate.id, np.nan) for candidate in candidates])
        if (new := np.isnan(average)).any():
            average[new] = self.surrogate.average(self.metafeatures, encoded[new])
        return self.surrogate.predict(metafeatures, encoded) - average

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All fields as plain arrays without objects, for a file; `from_arrays` reads them."""
        spaces = {name: space.fingerprint for name, space in self.kernel.spaces.items()}
        about = {"metric": self.metric, "spaces": spaces, "candidates": list(self.averages)}
        return {
            "about": to_bytes(json.dumps(about)),
            "surrogate": to_bytes(self.surrogate.to_text() if self.surrogate else ""),
            "averages": np.array(list(self.averages.values()), dtype=float),
            "metafeatures": self.metafeatures.astype(np.float32),
            "length_scales": self.kernel.length_scales,
            "kernel": np.array([self.kernel.amplitude, self.kernel.noise]),
            "widths": np.array([self.near_width, self.copy_width]),
            "settings": np.array(astuple(self.settings)),
            **{f"forest_{name}": values for name, values in self.forest.to_arrays().items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], spaces: Mapping[str, SearchSpace]) -> "MetaModel":
        """The meta-model that `to_arrays` wrote; `spaces` must contain its search spaces and may have others.

        Raises:
            KeyError, ValueError: an array or a space is missing, or a space has changed.
        """
        about = json.loads(arrays["about"].tobytes())
        trained = {name: spaces[name] for name in about["spaces"]}
        for name, fingerprint in about["spaces"].items():
            if trained[name].fingerprint != fingerprint:
                raise ValueError(f"it was trained with another search space of {name}")
        text = arrays["surrogate"].tobytes().decode()
        shift, trust, local = map(float, arrays["settings"])
        near, copy = map(float, arrays["widths"])
        return cls(
            metric=about["metric"],
            kernel=Kernel(trained, arrays["length_scales"], *map(float, arrays["kernel"])),
            forest=SimilarityForest.from_arrays(
                {name.removeprefix("forest_"): arrays[name] for name in arrays if name.startswith("forest_")}
            ),
            surrogate=Surrogate.from_text(text) if text else None,
            metafeatures=arrays["metafeatures"].astype(float),
            averages=dict(zip(about["candidates"], arrays["averages"].tolist(), strict=True)),
            near_width=near,
            copy_width=copy,
            settings=PriorSettings(shift=shift, trust=trust, local=local),
        )


# With more candidates than the first number, each measured on few tasks, a sample of the second size replaces them.
MOST_CANDIDATES, N_REFERENCE = 6000, 600
# Factor of an interpolated loss's distance from the mean of its task, where measured losses compete with it. The best
# of many interpolated losses are too optimistic: on the 26 longest classification designs of the seed, the thirty
# candidates with the best interpolated losses on average promised -.01 and measured .12. Factors of 1, .8, .6 and .4
# gave a regret of .49, .41, .38 and .38 at k = 1 and of .18, .17, .16 and .16 at k = 10 on 60 tables where all
# candidates were advised.
INTERPOLATED = 0.6


def choose_reference_columns(evidence: Evidence, *, seed: int) -> np.ndarray:
    """Columns of the candidates in use: all, or if there are too many a sample with all the defaults."""
    n = len(evidence.candidates)
    if n <= MOST_CANDIDATES:
        return np.arange(n)
    sample = np.random.default_rng(seed).choice(n, N_REFERENCE, replace=False)
    return np.union1d(sample, np.array(list(evidence.defaults.values()), dtype=int))


def choose_interpolated_share(kept: np.ndarray, n: int) -> float:
    """`INTERPOLATED`, or 1 for a sample of candidates: there nearly all are interpolated, so none has an advantage."""
    return INTERPOLATED if kept.size == n else 1.0


def find_unknown_learners(losses: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """Whether a task has no trial of a candidate's learner, so that nothing can be interpolated, shape (t, c)."""
    unknown = np.zeros(losses.shape, dtype=bool)
    for learner in np.unique(encoded[:, 0]):
        own = encoded[:, 0] == learner
        unknown[:, own] = np.isnan(losses[:, own]).all(axis=1, keepdims=True)
    return unknown


def find_whole_tasks(losses: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """Whether each task has trials of every learner, shape (t,); all true if fewer than `MIN_WHOLE` have."""
    whole = np.asarray(~find_unknown_learners(losses, encoded).any(axis=1))
    return whole if whole.sum() >= MIN_WHOLE else np.ones_like(whole)


def to_bytes(text: str) -> np.ndarray:
    """A text as an array of bytes."""
    return np.frombuffer(text.encode(), dtype=np.uint8)
