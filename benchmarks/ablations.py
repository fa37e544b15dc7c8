"""What each part of the prior is worth: variants that differ from it in one thing, on the same folds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import lightgbm
import numpy as np
from scipy.stats import norm, rankdata

from benchmarks.common import DIFFERENCE, Cells, Figures, average
from benchmarks.left_out import Guided, Judged, JudgedTasks, Scored, pool
from metahp.metafeatures import probes
from metahp.metafeatures.extract import GROUP_OF, GROUPS, NAMES
from metahp.surrogate.calibration import OF_TABLES
from metahp.surrogate.evidence import Evidence
from metahp.surrogate.forest import compute_leaf_shares
from metahp.surrogate.metamodel import MetaModel, PriorSettings
from metahp.surrogate.prior import PastTasks, Prior
from metahp.surrogate.similarity import compute_feature_distances, compute_near_width, compute_similarities
from metahp.surrogate.surrogate import ROUNDS, Surrogate
from metahp.surrogate.validation import compute_batch_regret

# Of the similarity of two tasks, which is the root of their product.
PARTS = ("distance", "forest")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to make the prior; the values below are the full method.

    `target` is how the losses of a task are normalised, `names` the meta-features that are known, `rounds` those of the
    surrogate, `picks` how a batch is chosen, `near_copies` whether a near copy of the task counts for more than any
    model of it, and `is_smooth` whether a Gaussian process takes the place of losses that were measured, too.
    """

    target: str = "default-scaled"
    settings: PriorSettings = OF_TABLES
    similarity: tuple[str, ...] = PARTS
    is_smooth: bool = False
    names: tuple[str, ...] = NAMES
    rounds: int = ROUNDS
    picks: str = "greedy"
    near_copies: bool = True


def _without(names: Sequence[str] = (), groups: Sequence[str] = ()) -> tuple[str, ...]:
    """All meta-features but some."""
    return tuple(name for name in NAMES if name not in names and GROUP_OF[name] not in groups)


def _probes(contrasts: Sequence[str]) -> list[str]:
    """What the fits of some contrasts give."""
    return [name for contrast in contrasts for name in probes.name_features(contrast)]


CONTRASTS = probes.CONTRASTS
FULL = "full method"
VARIANTS: dict[str, Variant] = {
    FULL: Variant(),
    "target: ranks": Variant(target="rank"),
    "target: Gaussian quantiles": Variant(target="gaussian"),
    **{f"shift λ = {value}": Variant(settings=replace(OF_TABLES, shift=value)) for value in (0.0, 0.15, 0.5, 1.0)},
    **{
        f"trust in similarity = {value}": Variant(settings=replace(OF_TABLES, trust=value)) for value in (0.0, 0.5, 1.0)
    },
    "neither shift nor similarity (portfolio)": Variant(settings=replace(OF_TABLES, shift=0.0, trust=0.0)),
    **{f"similarity: {part} alone": Variant(similarity=(part,)) for part in PARTS},
    "near copies not told": Variant(near_copies=False),
    **{f"local term {value}": Variant(settings=replace(OF_TABLES, local=value)) for value in (0.0, 2.0, 4.0)},
    "losses: smoothed by a Gaussian process": Variant(is_smooth=True),
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
    "batch: top k by the mean": Variant(picks="mean"),
    "batch: top k by the surrogate": Variant(picks="surrogate"),
}


def choose_variants(words: Sequence[str]) -> dict[str, Variant]:
    """The full method and the variants whose names begin with one of the words; all without any."""
    return {name: each for name, each in VARIANTS.items() if not words or name == FULL or name.startswith(tuple(words))}


# From the losses of one task, shape (c,), NaN where not measured, to numbers that the library only shifts and scales.
_TARGETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rank": lambda losses: rankdata(losses, nan_policy="omit"),
    "gaussian": lambda losses: norm.ppf((rankdata(losses, nan_policy="omit") - 0.5) / (~np.isnan(losses)).sum()),
}


def rescale_losses(evidence: Evidence, target: str) -> Evidence:
    """The evidence with its losses in another scale.

    Without a default nothing but the best, the median and the worst is left of the scale.
    """
    if target not in _TARGETS:
        return evidence
    losses = np.array([_TARGETS[target](losses) for losses in evidence.losses])
    return replace(evidence, losses=losses, defaults={})


def keep_metafeatures(evidence: Evidence, names: Sequence[str]) -> Evidence:
    """The evidence with these meta-features alone."""
    return replace(evidence, metafeatures=_only(evidence.metafeatures, names))


def _only(metafeatures: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Meta-features (…, m) with NaN in all but those named."""
    return np.where(np.isin(NAMES, names), metafeatures, np.nan)


# Past tasks as one variant reads them.
Reader = Callable[[Variant, Evidence], PastTasks]


def make_reader(guide: Evidence, *, seed: int) -> Reader:
    """Reads the evidence of past tasks by models that are trained on that of the guide, each once."""

    @cache
    def trained(target: str, names: tuple[str, ...]) -> MetaModel:
        evidence = keep_metafeatures(rescale_losses(guide.drop_unmeasured(), target), names)
        return MetaModel.fit(evidence, seed=seed, settings=OF_TABLES)

    @cache
    def shortened(target: str, names: tuple[str, ...], rounds: int) -> MetaModel:
        model = trained(target, names)
        if rounds == ROUNDS or model.surrogate is None:
            return model
        text = lightgbm.Booster(model_str=model.surrogate.to_text()).model_to_string(num_iteration=rounds)
        return replace(model, surrogate=Surrogate.from_text(text), averages={})

    # What variants share whose losses have the same scale; evidence is not hashed by what is in it.
    @cache
    def scaled(target: str, evidence: Evidence) -> PastTasks:
        return PastTasks.read(rescale_losses(evidence.drop_unmeasured(), target), trained(target, NAMES))

    def read(variant: Variant, evidence: Evidence) -> PastTasks:
        past = scaled(variant.target, evidence)
        model = shortened(variant.target, variant.names, variant.rounds)
        return replace(
            past,
            model=replace(model, settings=variant.settings),
            evidence=keep_metafeatures(past.evidence, variant.names),
            values=past.interpolation.at(past.inputs) if variant.is_smooth else past.values,
        )

    return read


def make_priors(past: PastTasks, variant: Variant, metafeatures: np.ndarray) -> Iterator[Prior]:
    """The priors of tasks with meta-features (n, m): the library's, but for what the variant says of similarity."""
    known, whole, settings = past.evidence.metafeatures, past.whole, past.model.settings
    near = compute_near_width(known) if "distance" in variant.similarity else 0.0
    past_leaves, leaves = past.model.forest.leaves(known)[whole], past.model.forest.leaves(metafeatures)
    if "forest" not in variant.similarity:
        past_leaves, leaves = past_leaves[:, :0], leaves[:, :0]
    for own, its_leaves, prior in zip(metafeatures, leaves, past.make_priors(metafeatures), strict=True):
        apart = compute_feature_distances(own, known)[whole]
        weights = np.zeros(len(whole))
        weights[whole] = compute_similarities(apart, compute_leaf_shares(its_leaves, past_leaves), near=near)
        weights = settings.trust * weights + (1 - settings.trust) * whole / whole.sum()
        copied = past.measure_copies(own) if variant.near_copies else np.zeros(len(whole))
        if (nearest := float(copied.max())) > 0:
            weights = (1 - nearest) * weights + nearest * copied / copied.sum()
        values = past.values + (1 - copied)[:, None] * prior.shift
        yield replace(prior, values=values, moved=1 - copied, weights=weights)


def choose(past: PastTasks, variant: Variant, prior: Prior, own: np.ndarray, among: np.ndarray, k: int) -> list[int]:
    """The first `k` of the candidates `among` for a task with meta-features `own` (m,)."""
    if variant.picks == "greedy" or past.model.surrogate is None:
        return prior.batch(k, among)
    mean = prior.weights @ prior.values
    if variant.picks == "surrogate":
        [mean] = past.model.surrogate.predict(own[None], past.encoded)
    return among[np.argsort(mean[among], kind="stable")[:k]].tolist()


def score_variants(
    read: Reader,
    known: Evidence,
    evidence: Evidence,
    rows: np.ndarray,
    variants: Mapping[str, Variant],
    *,
    ks: Sequence[int],
) -> dict[str, np.ndarray]:
    """Regret of each variant on left-out tasks `rows` of the evidence, where `known` is that of the others.

    By variant, shape (n, len(ks)).
    """
    regrets = {}
    for name, variant in variants.items():
        past = read(variant, known)
        columns = evidence.find_columns(past.evidence)
        metafeatures = _only(evidence.metafeatures[rows], variant.names)
        found = []
        for row, own, prior in zip(rows, metafeatures, make_priors(past, variant, metafeatures), strict=True):
            among = np.flatnonzero(~np.isnan(evidence.losses[row, columns]))
            batch = columns[choose(past, variant, prior, own, among, max(ks))].tolist()
            found.append(compute_batch_regret(evidence, int(row), batch, ks))
        regrets[name] = np.array(found)
    return regrets


def judge_variants(
    guided: Guided, left_out: frozenset[str], seed: int, *, variants: Mapping[str, Variant], ks: Sequence[int]
) -> dict[str, Judged]:
    """Regret of variants of the prior on the tasks left out."""
    known, judged = guided.past.drop_tasks(left_out), {}
    read = make_reader(known.evidence(guided.guide, guided.learners), seed=seed)
    for name, scored in guided.scored.items():
        evidence, rows = scored.evidence, guided.rows(name, left_out)
        if rows.size:
            past = known.evidence(evidence.metric, list(evidence.spaces))
            judged[name] = rows, score_variants(read, past, evidence, rows, variants, ks=ks)
    return judged


def tabulate_variants(
    scored: Sequence[Scored], found: Sequence[JudgedTasks], title: str, *, variants: Sequence[str], ks: Sequence[int]
) -> Figures:
    """The regret of the full method by some metrics, and how much higher that of each variant is, paired by task."""
    regret = {name: pool(scored, found, name).mean(axis=0) for name in variants}
    rows: Cells = [[f"{FULL}, regret", *average(regret[FULL])]]
    rows += [[name, *average(regret[name] - regret[FULL], DIFFERENCE)] for name in variants if name != FULL]
    return Figures(f"{title}; of a variant, how much higher it is", ["variant", *(f"k = {k}" for k in ks)], rows)
