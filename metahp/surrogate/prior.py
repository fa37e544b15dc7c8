"""The prior of a task: scenarios with weights over the candidates, from the trained knowledge of past tasks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.core.space import SearchSpace
from metahp.surrogate.encoding import Evidence, encode, normalised_losses
from metahp.surrogate.model import Surrogate
from metahp.surrogate.scenarios import distances, similarities


@dataclass(frozen=True, slots=True)
class Settings:
    """The prior's own hyperparameters, chosen by regret on left-out tasks.

    `shift` is λ of the scenarios; `temperature` the width of the similarity, in normalised loss.
    """

    shift: float = 0.5
    temperature: float = 0.3


@dataclass(frozen=True, eq=False)
class Prior:
    """A distribution over the normalised loss of the candidates on one task.

    `scenarios` has shape (t, c), `weights` (t,); `mean` is the surrogate's and `shift` what
    the scenarios were shifted by, both (c,). `abstained` says why past tasks were
    not trusted and all worlds weigh the same; empty where they were.
    """

    mean: np.ndarray
    scenarios: np.ndarray
    weights: np.ndarray
    similarity: np.ndarray
    shift: np.ndarray
    abstained: str = ""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What was learned from past tasks, ready for any new task: worlds, surrogate, and its view of the average task.

    `worlds` are normalised losses (t, c) with no gap left; `average` is the surrogate's mean over the past tasks (c,).
    """

    candidates: tuple[Configuration, ...]
    encoded: np.ndarray
    defaults: Mapping[str, int]
    metafeatures: np.ndarray
    worlds: np.ndarray
    average: np.ndarray
    surrogate: Surrogate
    settings: Settings = Settings()

    @classmethod
    def learn(
        cls,
        past: Evidence,
        spaces: Mapping[str, SearchSpace],
        *,
        seed: int,
        settings: Settings | None = None,
    ) -> "Knowledge":
        """Train on the evidence of past tasks."""
        encoded = encode(past.candidates, spaces)
        target = normalised_losses(past.losses, list(past.defaults.values()), clip=DEFAULT_SCALED_CLIP)
        surrogate = Surrogate.fit(past.metafeatures, encoded, target, seed=seed)
        predicted = surrogate.predict(past.metafeatures, encoded)
        worlds = np.where(np.isnan(target), predicted, target)
        return cls(
            past.candidates,
            encoded,
            past.defaults,
            past.metafeatures,
            worlds,
            predicted.mean(axis=0),
            surrogate,
            settings or Settings(),
        )

    def prior(self, metafeatures: np.ndarray, *, abstained: str = "") -> Prior:
        """The prior of a task with these meta-features, shape (m,).

        With `abstained` (why no past task can be trusted) the worlds are neither shifted nor weighted, so that a batch
        chosen from them is the portfolio.
        """
        mean = self.surrogate.predict(metafeatures[None, :], self.encoded)[0]
        similarity = 1.0 / (1.0 + distances(mean, self.worlds))
        if abstained:
            equal = np.full(len(self.worlds), 1.0 / len(self.worlds))
            return Prior(
                self.worlds.mean(axis=0), self.worlds, equal, similarity, np.zeros(len(self.candidates)), abstained
            )
        weights = similarities(mean, self.worlds, temperature=self.settings.temperature)
        shift = self.settings.shift * (mean - self.average)
        return Prior(mean, self.worlds + shift, weights, similarity, shift)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, without objects, for a cache file."""
        listed = [[c.learner, c.values] for c in self.candidates]
        return {
            "candidates": _bytes(json.dumps(listed)),
            "defaults": _bytes(json.dumps(dict(self.defaults))),
            "encoded": self.encoded,
            "metafeatures": self.metafeatures,
            "worlds": self.worlds.astype(np.float32),
            "average": self.average,
            "surrogate": _bytes(self.surrogate.to_text()),
            "settings": np.array([self.settings.shift, self.settings.temperature]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Knowledge":
        """The knowledge that `to_arrays` wrote."""
        listed = json.loads(arrays["candidates"].tobytes())
        return cls(
            tuple(Configuration.of(learner, values) for learner, values in listed),
            arrays["encoded"],
            json.loads(arrays["defaults"].tobytes()),
            arrays["metafeatures"],
            arrays["worlds"].astype(float),
            arrays["average"],
            Surrogate.from_text(arrays["surrogate"].tobytes().decode()),
            Settings(*map(float, arrays["settings"])),
        )


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)
