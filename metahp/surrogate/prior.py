"""The prior of a task: scenarios with weights over the candidates, from the trained knowledge of past tasks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.core.space import SearchSpace
from metahp.surrogate.encoding import Evidence, encode, normalised_losses
from metahp.surrogate.forest import Forest, shared_leaves
from metahp.surrogate.model import Surrogate
from metahp.surrogate.scenarios import copies, copy_width, distances, feature_distances, near_width, similarities
from metahp.surrogate.worlds import Kernel, Worlds, matern52_draws, raw_inputs

# Where every past task has configurations of its own, the surrogate's view of the average task is taken at so many.
N_REFERENCE = 600
# Above so many candidates of which each is known on few tasks, a sample of them is the reference.
MOST_CANDIDATES = 6000
# Where fewer past tasks have trials of every learner, those of some learners count as much as they do.
MIN_WHOLE = 10
# The share of an interpolated loss's distance from the mean of its task that counts beside measured losses. Among many
# interpolated ones the best are too good to be true: on the 26 longest classification designs of the seed, the thirty
# candidates interpolated as best on average promised -.01 and measured .12. Shares of 1, .8, .6 and .4 gave a regret of
# .49, .41, .38 and .38 at k = 1 and of .18, .17, .16 and .16 at k = 10 on 60 tables where all candidates were advised.
INTERPOLATED = 0.6
# Worlds are stored with half precision, and normalised losses are at most 2.
STORED_PRECISION = 2e-3
# Enough that a batch does not hang on which of them were drawn.
N_DRAWS = 512
# Worlds with less weight are not drawn from.
LEAST_WEIGHT = 1e-9


@dataclass(frozen=True, slots=True)
class Settings:
    """The prior's own hyperparameters.

    `shift` is λ of the scenarios; `temperature` the width of the similarity, in normalised loss; `trust` the share of
    the weight that goes by similarity, the rest being equal for all past tasks. `local` says how far a task is from
    any world, alike at configurations that are alike: its standard deviation in normalised loss, times the square root
    of the number of worlds, for the more there are, the nearer is one. `shift` and `trust` are calibrated on past tasks
    where there are enough of them (`metahp.surrogate.calibration`).
    """

    shift: float = 0.25
    temperature: float = 0.2
    trust: float = 0.5
    local: float = 1.0


def drawn(
    scenarios: np.ndarray, weights: np.ndarray, inputs: np.ndarray, *, local: float, moved: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scenarios with a local term: each drawn several times, with a random function of the configuration added.

    Without it a batch is chosen as if the new task were one of the past ones, shifted.

    Args:
        scenarios: Shape (t, c).
        weights: Shape (t,).
        inputs: `Kernel.inputs` of the candidates, shape (c, p).
        local: Standard deviation of the random functions, times the square root of the number of scenarios with weight.
        moved: The share of it that each scenario takes, shape (t,): a near copy of the task has none.

    Returns:
        Scenarios (n, c) and weights (n,), n being `N_DRAWS` or a little more; those without weight are left out.
    """
    used = np.flatnonzero(weights > LEAST_WEIGHT)
    repeats = -(-N_DRAWS // len(used))
    share = np.tile(np.broadcast_to(moved, weights.shape)[used], repeats)
    added = matern52_draws(inputs, repeats * len(used), seed=0) * (local / np.sqrt(len(used)) * share)[:, None]
    return np.tile(scenarios[used], (repeats, 1)) + added, np.tile(weights[used], repeats) / repeats


@dataclass(frozen=True, eq=False)
class Prior:
    """A distribution over the normalised loss of the candidates on one task.

    `scenarios` has shape (t, c), `weights` (t,); `mean` is the surrogate's and `shift` what
    the scenarios were shifted by, both (c,); near copies of the task were shifted by less, `moved` (t,) of it.
    `abstained` says why past tasks were not trusted and all worlds weigh the same; empty where they were.
    """

    mean: np.ndarray
    scenarios: np.ndarray
    weights: np.ndarray
    similarity: np.ndarray
    shift: np.ndarray
    moved: np.ndarray
    abstained: str = ""


@dataclass(frozen=True, eq=False)
class TaskPrior:
    """The prior of one task as functions over all configurations.

    `weights` (t,) sum to one; `moved` (t,) is the share of the shift that each world takes; `log_scale` is mean and
    standard deviation of the log of what a unit of normalised loss was worth on past tasks, in units of their constant
    prediction's loss.
    """

    worlds: Worlds
    shift: Worlds
    moved: np.ndarray
    weights: np.ndarray
    log_scale: tuple[float, float]

    @property
    def kernel(self) -> Kernel:
        """The kernel of the worlds."""
        return self.worlds.kernel

    def scenarios_at(self, inputs: np.ndarray) -> np.ndarray:
        """Normalised loss of each scenario at `Kernel.inputs` (n, p), shape (t, n)."""
        return self.worlds.at(inputs) + self.moved[:, None] * self.shift.at(inputs)


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What was learned from past tasks, ready for any new task: worlds, surrogate, and its view of the average task.

    `columns` are the candidates' places in the evidence: those that some task has measured, or a sample of them where
    hardly any two tasks share one. `worlds` are normalised losses (t, c) with no gap left, `units` what one unit is
    worth (t,); `average` is the surrogate's mean over the past tasks (c,); `copy_width` is the distance of
    meta-features within which a task is a near copy, `near_width` the squared one within which it is alike.

    `whole` (t,) marks the tasks that have trials of every learner. The others say nothing of how learners compare, as
    their best is the best of some of them: they count for near copies alone.
    """

    candidates: tuple[Configuration, ...]
    columns: np.ndarray
    encoded: np.ndarray
    defaults: Mapping[str, int]
    metafeatures: np.ndarray
    worlds: np.ndarray
    units: np.ndarray
    average: np.ndarray
    surrogate: Surrogate
    forest: Forest
    kernel: Kernel
    copy_width: float
    near_width: float
    whole: np.ndarray
    settings: Settings = Settings()
    functions: Worlds | None = None

    @classmethod
    def learn(
        cls,
        past: Evidence,
        spaces: Mapping[str, SearchSpace],
        *,
        seed: int,
        settings: Settings | None = None,
        baselines: np.ndarray | None = None,
    ) -> "Knowledge":
        """Train on the evidence of past tasks, whose constant predictions have the losses `baselines` (t,), or 1."""
        known = _measured(past)
        encoded = encode([past.candidates[j] for j in known], spaces)
        target = normalised_losses(past.losses[:, known], _default_columns(past, known), clip=DEFAULT_SCALED_CLIP)[0]
        whole = _whole(target, encoded)
        surrogate = Surrogate.fit(past.metafeatures[whole], encoded, target[whole], seed=seed)
        kernel = Kernel.learn(spaces, raw_inputs(encoded, spaces), target, seed=seed)
        return cls._of(past, surrogate, None, kernel, settings or Settings(), baselines, None, seed=seed)

    def extended(self, past: Evidence, *, seed: int, baselines: np.ndarray | None = None) -> "Knowledge":
        """The same models and settings with the worlds of `past`: a fraction of the time of learning."""
        return self._of(past, self.surrogate, self.forest, self.kernel, self.settings, baselines, self, seed=seed)

    @classmethod
    def _of(
        cls,
        past: Evidence,
        surrogate: Surrogate,
        forest: Forest | None,
        kernel: Kernel,
        settings: Settings,
        baselines: np.ndarray | None,
        older: "Knowledge | None",
        *,
        seed: int,
    ) -> "Knowledge":
        known = _measured(past)
        encoded = encode([past.candidates[j] for j in known], kernel.spaces)
        target, units = normalised_losses(
            past.losses[:, known], _default_columns(past, known), clip=DEFAULT_SCALED_CLIP
        )
        measured = ~np.isnan(target)
        unknown, whole = unknown_learners(target, encoded), _whole(target, encoded)
        lacking = unknown.any(axis=1)
        if lacking.any():
            expected = surrogate.predict(past.metafeatures[lacking], encoded)
            target[lacking] = np.where(unknown[lacking], expected, target[lacking])
        inputs = raw_inputs(encoded, kernel.spaces) / kernel.length_scales
        functions = Worlds.fit(kernel, inputs, target, seed=seed)
        kept = np.arange(known.size)
        if known.size > MOST_CANDIDATES:
            kept = np.sort(np.random.default_rng(seed).choice(known.size, N_REFERENCE, replace=False))
        columns = known[kept]
        candidates = tuple(past.candidates[j] for j in columns)
        worlds = target[:, kept]
        if older is not None and kept.size == known.size:
            worlds = np.where(np.isnan(worlds), older.told(past.metafeatures, candidates, worlds, measured), worlds)
        if (gaps := np.isnan(worlds)).any():
            # Where hardly any two tasks share a candidate, all are interpolated and none has an advantage.
            share = INTERPOLATED if kept.size == known.size else 1.0
            worlds = np.where(gaps, functions.at(inputs[kept], share=share, wanted=gaps), worlds)
        return cls(
            candidates,
            columns,
            encoded[kept],
            _places(past.defaults, columns),
            past.metafeatures,
            worlds,
            units if baselines is None else units / baselines,
            surrogate.average(past.metafeatures[whole], encoded[kept]),
            surrogate,
            forest or Forest.fit(past.metafeatures[whole], worlds[whole], seed=seed),
            kernel,
            copy_width(past.metafeatures),
            near_width(past.metafeatures),
            whole,
            settings,
            functions,
        )

    def told(
        self, metafeatures: np.ndarray, candidates: Sequence[Configuration], losses: np.ndarray, measured: np.ndarray
    ) -> np.ndarray:
        """The worlds of those tasks of which nothing has been measured since, shape (t, c); NaN elsewhere.

        `metafeatures` (t, m) say which task is which; `losses` (t, c) are normalised and hold where `measured` is true.
        """
        place = {candidate: column for column, candidate in enumerate(self.candidates)}
        old = np.array([place.get(candidate, -1) for candidate in candidates])
        row_of = {values.tobytes(): row for row, values in enumerate(self.metafeatures)}
        told = np.full(losses.shape, np.nan)
        for row, values in enumerate(metafeatures):
            known = row_of.get(values.tobytes())
            if known is None or (measured[row] & (old < 0)).any():
                continue
            same = measured[row] & (old >= 0)
            if np.allclose(losses[row, same], self.worlds[known, old[same]], rtol=0.0, atol=STORED_PRECISION):
                told[row, old >= 0] = self.worlds[known, old[old >= 0]]
        return told

    def prior(self, metafeatures: np.ndarray, *, abstained: str = "") -> Prior:
        """The prior of a task with these meta-features, shape (m,).

        With `abstained` (why no past task can be trusted) the worlds are neither shifted nor weighted by similarity, so
        that a batch chosen from them is the portfolio.
        """
        [mean] = self.surrogate.predict(metafeatures[None, :], self.encoded)
        return self._prior(metafeatures, mean, abstained)

    def priors(self, metafeatures: np.ndarray) -> Iterator[Prior]:
        """The priors of several tasks, shape (n, m): together they take a fraction of what they take one by one."""
        for own, mean in zip(metafeatures, self.surrogate.predict(metafeatures, self.encoded), strict=True):
            yield self._prior(own, mean, "")

    def _prior(self, metafeatures: np.ndarray, mean: np.ndarray, abstained: str) -> Prior:
        similarity = 1.0 / (1.0 + distances(mean, self.worlds))
        equal = self.whole / self.whole.sum()
        if abstained:
            still = np.zeros(len(self.candidates))
            return Prior(equal @ self.worlds, self.worlds, equal, similarity, still, equal * 0, abstained)
        apart, whole = feature_distances(metafeatures, self.metafeatures), self.whole
        shared = shared_leaves(self.forest.leaves(metafeatures[None, :])[0], self._leaves[whole])
        weights = np.zeros(len(whole))
        weights[whole] = similarities(
            mean,
            self.worlds[whole],
            apart[whole],
            shared,
            temperature=self.settings.temperature,
            near=self.near_width,
        )
        weights = self.settings.trust * weights + (1 - self.settings.trust) * equal
        shift = self.settings.shift * (mean - self.average)
        # What was measured on the same table with a few rows changed counts for more than any model of it.
        copied = self.copied(metafeatures)
        nearest = float(copied.max())
        if nearest > 0:
            weights = (1 - nearest) * weights + nearest * copied / copied.sum()
        similarity = np.maximum(similarity, copied)
        moved = 1 - copied
        return Prior(mean, self.worlds + moved[:, None] * shift, weights, similarity, shift, moved)

    def drawn(self, prior: Prior, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What a batch is chosen from: `drawn` scenarios (n, c) and weights (n,) at candidates `among` (c,), or all.

        Where the prior abstained, its own scenarios: the batch is the portfolio.
        """
        among = np.arange(len(self.candidates)) if among is None else among
        if prior.abstained:
            return prior.scenarios[:, among], prior.weights
        scenarios, inputs = prior.scenarios[:, among], self._inputs[among]
        return drawn(scenarios, prior.weights, inputs, local=self.settings.local, moved=prior.moved)

    def copied(self, metafeatures: np.ndarray) -> np.ndarray:
        """How nearly each past task is a copy of the one with these meta-features (m,): 1 for the same, shape (t,)."""
        return copies(metafeatures, self.metafeatures, self.copy_width)

    def task_prior(self, metafeatures: np.ndarray | None, *, abstained: str = "") -> TaskPrior:
        """The same prior as functions over all configurations; `metafeatures` (m,), None where there are none."""
        prior = self.prior(
            np.full(self.metafeatures.shape[1], np.nan) if metafeatures is None else metafeatures,
            abstained=abstained or ("" if metafeatures is not None else "no meta-features"),
        )
        # A task whose losses are all the same has no scale, but `normalised_losses` gives it the tiniest unit.
        scaled = (self.units > np.sqrt(np.finfo(float).tiny)) & (prior.weights > 0)
        log_scale = (0.0, 1.0)
        if scaled.any():
            log_units, weights = np.log(self.units[scaled]), prior.weights[scaled] / prior.weights[scaled].sum()
            mean = float(weights @ log_units)
            # One more task, a factor of e away, stands for all that was not seen: few tasks hardly tell the spread.
            t = len(log_units)
            log_scale = mean, float(np.sqrt((t * (weights @ (log_units - mean) ** 2) + 1.0) / (t + 1)))
        shift = Worlds.fit(self.kernel, self._inputs, prior.shift[None, :])
        return TaskPrior(self._functions, shift, prior.moved, prior.weights, log_scale)

    @cached_property
    def _inputs(self) -> np.ndarray:
        return raw_inputs(self.encoded, self.kernel.spaces) / self.kernel.length_scales

    @cached_property
    def _leaves(self) -> np.ndarray:
        return self.forest.leaves(self.metafeatures)

    @cached_property
    def _functions(self) -> Worlds:
        return self.functions or Worlds.fit(self.kernel, self._inputs, self.worlds)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, without objects, for a cache file."""
        listed = [[c.learner, c.values] for c in self.candidates]
        return {
            "candidates": _bytes(json.dumps(listed)),
            "columns": self.columns,
            "defaults": _bytes(json.dumps(dict(self.defaults))),
            "encoded": self.encoded,
            "metafeatures": self.metafeatures,
            "worlds": self.worlds.astype(np.float16),
            "units": self.units,
            "average": self.average,
            "whole": self.whole,
            "surrogate": _bytes(self.surrogate.to_text()),
            **{f"forest_{name}": values for name, values in self.forest.to_arrays().items()},
            "length_scales": self.kernel.length_scales,
            "kernel": np.array([self.kernel.amplitude, self.kernel.noise]),
            "widths": np.array([self.copy_width, self.near_width]),
            "settings": np.array(astuple(self.settings)),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], spaces: Mapping[str, SearchSpace]) -> "Knowledge":
        """The knowledge that `to_arrays` wrote; `spaces` are those it was learned with."""
        listed = json.loads(arrays["candidates"].tobytes())
        return cls(
            tuple(Configuration.of(learner, values) for learner, values in listed),
            arrays["columns"],
            arrays["encoded"],
            json.loads(arrays["defaults"].tobytes()),
            arrays["metafeatures"],
            arrays["worlds"].astype(float),
            arrays["units"],
            arrays["average"],
            Surrogate.from_text(arrays["surrogate"].tobytes().decode()),
            Forest.from_arrays(
                {name.removeprefix("forest_"): arrays[name] for name in arrays if name.startswith("forest_")}
            ),
            Kernel(spaces, arrays["length_scales"], *map(float, arrays["kernel"])),
            float(arrays["widths"][0]),
            float(arrays["widths"][1]),
            arrays["whole"],
            Settings(*map(float, arrays["settings"])),
        )


def _measured(past: Evidence) -> np.ndarray:
    """Columns that some task has measured: another candidate is known from elsewhere, and may be a left-out optimum."""
    return np.flatnonzero(~np.isnan(past.losses).all(axis=0))


def unknown_learners(target: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """Cells (t, c) of learners of which the task has no trial: there is nothing to interpolate from."""
    unknown = np.zeros(target.shape, dtype=bool)
    for learner in np.unique(encoded[:, 0]):
        own = encoded[:, 0] == learner
        unknown[:, own] = np.isnan(target[:, own]).all(axis=1, keepdims=True)
    return unknown


def _whole(target: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """Tasks (t,) that have trials of every learner; all of them where these are few."""
    whole = np.asarray(~unknown_learners(target, encoded).any(axis=1))
    return whole if whole.sum() >= MIN_WHOLE else np.ones_like(whole)


def _default_columns(past: Evidence, columns: np.ndarray) -> list[int]:
    return list(_places(past.defaults, columns).values())


def _places(defaults: Mapping[str, int], columns: np.ndarray) -> dict[str, int]:
    """Where the library defaults stand among `columns`; those that are not there are left out."""
    place = {int(column): index for index, column in enumerate(columns)}
    return {learner: place[column] for learner, column in defaults.items() if column in place}


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)
