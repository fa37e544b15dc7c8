"""What each part of the prior is worth: variants that differ from it in one thing, on the same folds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import lightgbm
import numpy as np
from metahp.recommendation.selection import greedy_batch
from metahp.surrogate.encoding import Evidence, normalised_losses
from metahp.surrogate.model import PARAMETERS, ROUNDS, Surrogate, n_rounds
from metahp.surrogate.scenarios import copies, distances, feature_distances, near_width, similarities
from scipy.stats import norm, rankdata

from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.core.space import SearchSpace
from metahp.metafeatures import probes
from metahp.metafeatures.extract import GROUP_OF, GROUPS, NAMES
from metahp.surrogate.calibration import INNER_FOLDS, Unseen, calibrated
from metahp.surrogate.forest import Forest, shared_leaves
from metahp.surrogate.prior import Knowledge, Settings, drawn
from metahp.surrogate.validation import batch_regret, group_folds

_Made = TypeVar("_Made")
_PAIRS = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 16,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.4,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}
_PAIRS_ROUNDS = 200
# Of the similarity of two tasks, which is the root of their product.
PARTS = ("profile", "distance", "forest")


@dataclass(frozen=True)
class Variant:
    """One way to make the prior; the values below are the full method. None is calibrated on the past tasks.

    `target` is how the losses of a task are normalised, `names` the meta-features that are known, `rounds`
    and `leaves` those of the surrogate, `picks` how a batch is chosen, `near_copies` whether a near copy of the task
    counts for more than any model of it.
    """

    target: str = "default-scaled"
    shift: float | None = None
    trust: float | None = None
    similarity: tuple[str, ...] = PARTS
    temperature: float = Settings().temperature
    worlds: str = "own"
    names: tuple[str, ...] = NAMES
    rounds: int = ROUNDS
    leaves: int = PARAMETERS["num_leaves"]
    picks: str = "greedy"
    near_copies: bool = True
    local: float = Settings().local


def _without(names: Sequence[str] = (), groups: Sequence[str] = ()) -> tuple[str, ...]:
    """All meta-features but some."""
    return tuple(name for name in NAMES if name not in names and GROUP_OF[name] not in groups)


def _probes(contrasts: Sequence[str]) -> list[str]:
    """What the fits of some contrasts give."""
    return [name for contrast in contrasts for name in probes.names_of(contrast)]


CONTRASTS = probes.CONTRASTS
FULL = "full method"
VARIANTS: dict[str, Variant] = {
    FULL: Variant(),
    "target: ranks": Variant(target="rank"),
    "target: Gaussian quantiles": Variant(target="gaussian"),
    **{f"shift λ = {value}": Variant(shift=value) for value in (0.0, 0.15, 0.5, 1.0)},
    **{f"trust in similarity = {value}": Variant(trust=value) for value in (0.0, 0.5, 1.0)},
    "neither shift nor similarity (portfolio)": Variant(shift=0.0, trust=0.0),
    **{f"temperature {value}": Variant(temperature=value) for value in (0.1, 0.4)},
    **{
        f"similarity: without the {part}": Variant(similarity=tuple(other for other in PARTS if other != part))
        for part in PARTS
    },
    **{f"similarity: {part} alone": Variant(similarity=(part,)) for part in PARTS},
    "similarity: learned on pairs of tasks": Variant(similarity=("pairs",)),
    "near copies not told": Variant(near_copies=False),
    **{f"local term {value}": Variant(local=value) for value in (0.0, 2.0, 4.0)},
    "worlds: smoothed by a Gaussian process": Variant(worlds="smooth"),
    "without probes": Variant(names=_without(groups=["probes"])),
    "without landmarks": Variant(names=_without(groups=["landmarks"])),
    "only simple and statistical": Variant(names=_without(groups=["information", "probes", "landmarks"])),
    "only probes": Variant(names=_without(groups=[group for group in GROUPS if group != "probes"])),
    **{f"probes: without {contrast}": Variant(names=_without(_probes([contrast]))) for contrast in CONTRASTS},
    **{
        f"probes: first {n} contrasts": Variant(names=_without(_probes(CONTRASTS[n:])))
        for n in range(0, len(CONTRASTS), 2)
    },
    **{f"{value} rounds": Variant(rounds=value) for value in (100, 200, 400)},
    **{f"{value} leaves": Variant(leaves=value) for value in (8, 64)},
    "batch: top k by the mean": Variant(picks="top"),
    "batch: top k by the surrogate": Variant(picks="surrogate"),
}

# From the losses of one task, shape (c,), NaN where not measured, to numbers that the library only shifts and scales.
_TARGETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rank": lambda losses: rankdata(losses, nan_policy="omit"),
    "gaussian": lambda losses: norm.ppf((rankdata(losses, nan_policy="omit") - 0.5) / (~np.isnan(losses)).sum()),
}


@dataclass(frozen=True, eq=False)
class Split:
    """Past tasks, split into known and left-out ones, and what variants share on it: surrogates and similarities.

    `left_out` has the evidence of the tasks left out; only `truth` looks at their losses.
    """

    known: Evidence
    left_out: Evidence
    spaces: Mapping[str, SearchSpace]
    seed: int
    kept: dict[object, Any] = field(default_factory=dict)

    def once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """What `make` gives, made on the first call for `key`."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    @cached_property
    def _full(self) -> Knowledge:
        return Knowledge.learn(self.known, self.spaces, seed=self.seed, settings=Settings(shift=1.0, trust=1.0))

    def _target(self, past: Evidence, name: str) -> np.ndarray:
        part = past.columns(self._full.columns)
        if name == "default-scaled":
            return normalised_losses(part.losses, list(part.defaults.values()), clip=DEFAULT_SCALED_CLIP)[0]
        # Without a default nothing but the best, the median and the worst is left of the scale.
        return normalised_losses(
            np.array([_TARGETS[name](losses) for losses in part.losses]), [], clip=DEFAULT_SCALED_CLIP
        )[0]

    def knowledge(self, variant: Variant) -> Knowledge:
        """Knowledge of the known tasks, with all trust in similarity and surrogate."""
        key = ("knowledge", variant.target, variant.names, variant.rounds, variant.leaves)
        return self.once(key, lambda: self._learn(variant))

    def _learn(self, variant: Variant) -> Knowledge:
        full = self._full
        plain = Variant(target=variant.target, names=variant.names, leaves=variant.leaves)
        if variant.rounds != ROUNDS:
            text = self.knowledge(replace(plain, rounds=ROUNDS)).surrogate.to_text()
            shorter = lightgbm.Booster(model_str=text).model_to_string(num_iteration=variant.rounds)
            surrogate, worlds = Surrogate.from_text(shorter), full.worlds
        elif plain == Variant():
            return full
        else:
            target = self._target(self.known, variant.target)
            parameters = {**PARAMETERS, "num_leaves": variant.leaves, "seed": self.seed, "num_threads": 1}
            rows, columns = np.nonzero(~np.isnan(target))
            X = np.hstack([_only(self.known.metafeatures, variant.names)[rows], full.encoded[columns]])
            data = lightgbm.Dataset(X.astype(np.float32), target[rows, columns])
            surrogate = Surrogate(lightgbm.train(parameters, data, num_boost_round=n_rounds(len(self.known.tasks))))
            worlds = full.worlds
            if variant.target != "default-scaled":
                middle = np.nanmean(target, axis=1, keepdims=True)
                worlds = np.where(np.isnan(target), middle, target)
        average = surrogate.average(_only(self.known.metafeatures, variant.names), full.encoded)
        return replace(full, surrogate=surrogate, worlds=worlds, average=average)

    def similar(self, variant: Variant, row: int, profile: np.ndarray) -> np.ndarray:
        """Weights of the known tasks for a left-out one, whose surrogate's mean is `profile`, shape (t,)."""
        worlds, past, names = self.knowledge(variant).worlds, self.known.metafeatures, variant.names
        own = _only(self.left_out.metafeatures[row], names)
        if variant.similarity == ("pairs",):
            model = self.once(("pairs", names), lambda: self._pairs(names))
            apart = np.abs(_only(past, names) - own)
            squared = np.maximum(model.predict(apart, num_threads=1), 0.0) ** 2
            weights = np.exp(-(squared - squared.min()) / (2 * variant.temperature**2))
            return weights / weights.sum()
        shared = np.ones(len(past))
        if "forest" in variant.similarity:
            forest, leaves = self.once(("forest", variant.target, names), lambda: self._forest(names, worlds))
            shared = shared_leaves(forest.leaves(own[None, :])[0], leaves)
        near = self.once(("near", names), lambda: near_width(_only(past, names)))
        apart = self.once(("apart", names, row), lambda: feature_distances(own, _only(past, names)))
        return similarities(
            profile,
            worlds,
            apart,
            shared,
            temperature=variant.temperature if "profile" in variant.similarity else np.inf,
            near=near if "distance" in variant.similarity else 0.0,
        )

    def _forest(self, names: tuple[str, ...], worlds: np.ndarray) -> tuple[Forest, np.ndarray]:
        """A forest and the leaves of the known tasks, shape (t, r)."""
        metafeatures = _only(self.known.metafeatures, names)
        forest = Forest.fit(metafeatures, worlds, seed=self.seed)
        return forest, forest.leaves(metafeatures)

    def _pairs(self, names: tuple[str, ...]) -> lightgbm.Booster:
        """Predicts how far apart the losses of two tasks are from the differences of their meta-features."""
        worlds, metafeatures = self._full.worlds, _only(self.known.metafeatures, names)
        first, second = np.triu_indices(len(worlds), 1)
        apart = np.array([distances(world, worlds) for world in worlds])[first, second]
        data = lightgbm.Dataset(np.abs(metafeatures[first] - metafeatures[second]), apart)
        return lightgbm.train({**_PAIRS, "seed": self.seed}, data, num_boost_round=_PAIRS_ROUNDS)

    def worlds(self, variant: Variant) -> np.ndarray:
        """Losses of the known tasks, shape (t, c)."""
        knowledge = self.knowledge(variant)
        if variant.worlds == "own":
            return knowledge.worlds
        return self.once(
            "smooth", lambda: knowledge.task_prior(None).worlds.at(knowledge.kernel.inputs(knowledge.candidates))
        )

    def unseen(self, variant: Variant) -> list[Unseen]:
        """What the known tasks say of each left-out one, and the truth."""
        knowledge, worlds = self.knowledge(variant), self.worlds(variant)
        key = ("profiles", variant.target, variant.names, variant.rounds, variant.leaves)
        profiles = self.once(
            key,
            lambda: knowledge.surrogate.predict(_only(self.left_out.metafeatures, variant.names), knowledge.encoded),
        )
        truth = self._target(self.left_out, variant.target)
        return [
            Unseen(
                worlds.mean(axis=0),
                self.similar(variant, row, profile) @ worlds,
                profile - knowledge.average,
                truth[row],
            )
            for row, profile in enumerate(profiles)
        ]

    def batches(self, variant: Variant, settings: Settings, k: int) -> Iterator[list[int]]:
        """For each left-out task the columns of `k` candidates that were measured on it."""
        knowledge, worlds = self.knowledge(variant), self.worlds(variant)
        for row, said in enumerate(self.unseen(variant)):
            weights = self.similar(variant, row, said.moved + knowledge.average)
            weights = settings.trust * weights + (1 - settings.trust) / len(weights)
            copied = np.zeros(len(weights))
            if variant.near_copies:
                copied = copies(self.left_out.metafeatures[row], self.known.metafeatures, knowledge.copy_width)
                if (nearest := copied.max()) > 0:
                    weights = (1 - nearest) * weights + nearest * copied / copied.sum()
            measured = np.flatnonzero(~np.isnan(self.left_out.losses[row, knowledge.columns]))
            scenarios = (worlds + settings.shift * (1 - copied)[:, None] * said.moved)[:, measured]
            if variant.picks == "greedy":
                inputs = knowledge.kernel.inputs([knowledge.candidates[j] for j in measured])
                batch = greedy_batch(*drawn(scenarios, weights, inputs, local=variant.local), k)
            else:
                mean = weights @ scenarios if variant.picks == "top" else (said.moved + knowledge.average)[measured]
                batch = np.argsort(mean, kind="stable")[:k].tolist()
            yield knowledge.columns[measured[batch]].tolist()


def ablated(
    past: Evidence,
    train: np.ndarray,
    test: np.ndarray,
    spaces: Mapping[str, SearchSpace],
    variants: Mapping[str, Variant],
    *,
    ks: Sequence[int],
    seed: int,
) -> dict[str, np.ndarray]:
    """Regret of each variant on the tasks `test` after learning from `train`, shape (len(test), len(ks)).

    Every variant is calibrated anew, on the known tasks alone.
    """
    known = past.rows(train)
    groups = [task.group or task.id for task in known.tasks]
    outer = Split(known, past.rows(test), spaces, seed)
    inner = [
        Split(known.rows(some), known.rows(others), spaces, seed)
        for some, others in group_folds(groups, INNER_FOLDS, seed=seed)
    ]
    regrets = {}
    for name, variant in variants.items():
        settings = Settings(variant.shift or 0.0, variant.temperature, variant.trust or 0.0)
        if variant.shift is None or variant.trust is None:
            settings = calibrated([each for split in inner for each in split.unseen(variant)])
        settings = replace(
            settings,
            shift=settings.shift if variant.shift is None else variant.shift,
            trust=settings.trust if variant.trust is None else variant.trust,
        )
        batches = outer.batches(variant, settings, max(ks))
        regrets[name] = np.array(
            [batch_regret(past, int(row), batch, ks) for row, batch in zip(test, batches, strict=True)]
        )
    return regrets


def _only(metafeatures: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Meta-features (…, m) with NaN in all but those named."""
    return np.where(np.isin(NAMES, names), metafeatures, np.nan)
