"""Recommend: what past tasks say about a table, from the adviser trained on a knowledge base."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from metahp.api.tables import load
from metahp.core.errors import InputError, KnowledgeBaseError
from metahp.core.metric import Metric, kin_metrics, metric_for
from metahp.core.space import SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.text import encodable
from metahp.core.trial import Origin, Trial
from metahp.evaluation.budget import Budget
from metahp.evaluation.losses import constant_losses
from metahp.knowledge import cache
from metahp.knowledge.locate import open_knowledge_base
from metahp.knowledge.records import BASELINE, TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners.registry import LEARNERS, learner_named
from metahp.metafeatures.extract import NAMES, VERSION, at_rows, extract
from metahp.recommendation.adviser import Advice, Adviser
from metahp.recommendation.result import Recommendation, Recommended
from metahp.surrogate.encoding import LARGEST, Evidence, comparable, evidence, is_inside

# 80 % of a normal distribution lie within so many standard deviations.
Z_80 = 1.2816
# One to learn from and one to see whether it helps.
MIN_PAST_TASKS = 2
# A learner measured on a smaller share of the tasks of the best known one is not recommended unless it is asked for.
LEAST_KNOWN = 0.15
# New tasks, as a share of those learned from, for which an adviser is not trained anew: their trials join its worlds,
# which takes seconds, and its surrogate stays.
RETRAIN_SHARE = 0.1
# With fewer losses of past tasks, other processes take longer to start than an adviser takes to train.
MANY_CELLS = 50_000
# Raised whenever the arrays of an adviser change their meaning, so that kept ones are trained again.
ADVISER_VERSION = 9
_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What an adviser is asked: `k` configurations for a task with `metafeatures` (m,).

    A constant prediction has the loss `baseline` on it. With `is_searched` the prior over all configurations is wanted
    too.
    """

    task: Task
    metafeatures: np.ndarray
    baseline: float
    k: int
    is_searched: bool = False


def recommend(
    X: Any,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    k: int = 5,
    learners: str | Sequence[str] | None = None,
    knowledge_base: str | Path | KnowledgeBase | None = None,
    seed: int = 0,
    budget_seconds: float = 2.0,
) -> Recommendation:
    """The `k` configurations to try first on a table.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`.
        y: Target of arrays and of frames without it, shape (n,).
        target: Target column; guessed where it is None.
        task: binary, multiclass or regression; inferred where it is None.
        metric: A scikit-learn scorer name; the task type's default where it is None.
        k: How many.
        learners: Name or names of learners to choose from; None for all that the knowledge base knows well enough.
        knowledge_base: A knowledge base or the path of one; None for the user's own.
        seed: Of the meta-features' samples and of the training of surrogates.
        budget_seconds: For the meta-features.

    Raises:
        InputError, UnknownNameError: input that cannot be used; KnowledgeBaseError: no past task of this kind.
    """
    if k < 1:
        raise InputError(f"k is the number of configurations, at least 1, got {k}.")
    table = load(X, y, target=target, task=task)
    chosen = metric_for(table.task.type, metric)
    base = (
        knowledge_base
        if isinstance(knowledge_base, KnowledgeBase)
        else open_knowledge_base(Path(knowledge_base) if knowledge_base else None)
    )
    totals = base.info()
    names = chosen_learners(learners, totals)
    shared = {
        "task": table.task,
        "target": table.target,
        "metric": chosen,
        "seed": seed,
        "n_past_tasks": totals["n_tasks"],
        "n_past_trials": totals["n_trials"],
        "numeric": tuple(c for c, is_cat in zip(table.features, table.is_categorical, strict=True) if not is_cat),
        "categorical": tuple(c for c, is_cat in zip(table.features, table.is_categorical, strict=True) if is_cat),
    }
    own = _find_own_trials(base, table.task, chosen, names)
    measured = None
    if own:
        measured = Recommendation(
            items=_from_own_trials(own, table.task, chosen, k),
            neighbours=(),
            track_record=None,
            abstained=False,
            reasons=(f"this table is in the knowledge base: {len(own)} trials measured on it",),
            is_known_task=True,
            warnings=table.warnings,
            **shared,
        )
        # Fewer, as an interrupted search leaves them, are not all that there is to say; the adviser knows them too.
        if len(own) >= k and {trial.configuration.learner for trial in own} >= set(names):
            return measured
    metafeatures = extract(table, seconds_left=Budget(budget_seconds).left, seed=seed)
    baseline = constant_losses(table.y, table.task.type, table.task.n_classes)[chosen.name]
    question = Question(table.task, metafeatures.vector(), baseline, k)
    try:
        adviser, advice, notes = ask_adviser(base, chosen, names, question, seed=seed)
    except KnowledgeBaseError:
        if measured is None:
            raise
        return measured
    defaults = set(adviser.knowledge.defaults.values())
    items = tuple(
        Recommended(
            rank,
            adviser.knowledge.candidates[item.column],
            chosen.score(item.loss),
            chosen.score(item.high),
            chosen.score(item.low),
            chosen.score(item.default_loss),
            item.fit_seconds,
            Origin.DEFAULT if item.column in defaults else Origin.PORTFOLIO if advice.abstained else Origin.SURROGATE,
        )
        for rank, item in enumerate(advice.items, start=1)
    )
    abstained = (f"past tasks not trusted, so this is the portfolio: {advice.abstained}",) if advice.abstained else ()
    return Recommendation(
        items=items,
        neighbours=advice.neighbours,
        reasons=advice.reasons,
        track_record=adviser.track_record,
        abstained=bool(advice.abstained),
        is_known_task=False,
        warnings=(*table.warnings, *metafeatures.warnings, *notes, *abstained),
        **shared,
    )


def _find_own_trials(base: KnowledgeBase, task: Task, metric: Metric, learners: Sequence[str]) -> list[Trial]:
    """The comparable trials of a known table with a finite loss, and a configuration that its learner takes."""
    spaces = _spaces(task.type, learners)
    trials = [
        trial
        for trial in comparable(base.trials(task=task.id))
        if trial.configuration.learner in spaces and np.isfinite(trial.loss(metric.name))
    ]
    kept = [trial for trial in trials if is_inside(trial.configuration, spaces[trial.configuration.learner])]
    if len(kept) < len(trials):
        _log.warning(
            "%d trial(s) of this table are left out: their configuration lies outside its search space.",
            len(trials) - len(kept),
        )
    return kept


def _from_own_trials(own: Sequence[Trial], task: Task, metric: Metric, k: int) -> tuple[Recommended, ...]:
    """The best measured configurations of a known table, with what was measured."""
    ranked = sorted(own, key=lambda trial: trial.loss(metric.name))
    default = {name: learner.space(task.type).default.id for name, learner in LEARNERS.items()}
    default_loss = {
        trial.configuration.learner: trial.loss(metric.name)
        for trial in own
        if trial.configuration.id == default.get(trial.configuration.learner)
    }
    items = []
    for rank, trial in enumerate(ranked[:k], start=1):
        losses = np.asarray(trial.fold_losses[metric.name])
        half = Z_80 * float(losses.std(ddof=1)) / np.sqrt(losses.size) if losses.size > 1 else math.nan
        loss = trial.loss(metric.name)
        seconds = trial.fit_seconds / (trial.protocol.folds - 1) / trial.protocol.repeats
        # A trial that does not say on how many rows it was measured does not say how long all of them would take.
        all_rows = task.n_rows / trial.n_rows if trial.n_rows else math.nan
        items.append(
            Recommended(
                rank,
                trial.configuration,
                metric.score(loss),
                metric.score(loss + half),
                metric.score(loss - half),
                metric.score(default_loss.get(trial.configuration.learner, float("nan"))),
                seconds * all_rows,
                trial.origin,
            )
        )
    return tuple(items)


def chosen_learners(names: str | Sequence[str] | None, totals: Mapping[str, Any]) -> tuple[str, ...]:
    """The learners of these names, each once, or the known ones where none is named.

    Raises:
        UnknownNameError: there is no learner of a name.
    """
    if not names:
        return known_learners(totals)
    chosen = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in chosen:
        learner_named(name)
    return chosen


def known_learners(totals: Mapping[str, Any]) -> tuple[str, ...]:
    """The learners tried on no less than `LEAST_KNOWN` of the tasks of any, by what `KnowledgeBase.info` counts.

    All of them where nothing is measured: the caller then learns what is missing.
    """
    tasks = {name: totals["defaults_by_learner"].get(name, 0) for name in LEARNERS}
    return tuple(name for name in LEARNERS if tasks[name] >= LEAST_KNOWN * max(tasks.values()))


def past_evidence(
    records: Iterable[TaskRecord],
    trials: Iterable[Trial],
    task_type: TaskType,
    metric: Metric,
    learners: Sequence[str],
) -> tuple[Evidence, np.ndarray]:
    """Evidence for tasks like `task_type`, and the loss of a constant prediction on each of its tasks, shape (t,).

    Classification learns from classification and regression from regression: spaces and designs differ between them.
    """
    kin = kin_metrics(metric.name)
    like = [
        record
        for record in records
        if record.task.type.is_classification == task_type.is_classification and record.metafeatures_version == VERSION
    ]
    records = [record for record in like if _is_described(record, kin[record.task.type])]
    if len(records) < len(like):
        _log.warning(
            "%d past task(s) are left out: they have no rows, no features or no loss of a constant prediction.",
            len(like) - len(records),
        )
    if not records:
        raise KnowledgeBaseError(
            f"The knowledge base has no {task_type} task to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    vectors = np.array([[record.metafeatures.get(name, np.nan) for name in NAMES] for record in records], dtype=float)
    past = evidence(
        [record.task for record in records],
        vectors,
        list(trials),
        metrics={str(kind): name for kind, name in kin.items()},
        spaces=_spaces(task_type, learners),
    )
    n_groups = len({task.group or task.id for task in past.tasks})
    if n_groups < MIN_PAST_TASKS:
        raise KnowledgeBaseError(
            f"Of {' and '.join(learners)} the knowledge base has trials on {n_groups} distinct {task_type} tasks, and "
            f"{MIN_PAST_TASKS} are the least to learn from. Grow it with scripts/refresh_knowledge_base.py."
        )
    constant = {record.task.id: record.metafeatures[BASELINE + kin[record.task.type]] for record in records}
    n_rows = np.array([task.n_rows for task in past.tasks])
    past = replace(past, metafeatures=at_rows(past.metafeatures, n_rows))
    return past, np.array([constant[task.id] for task in past.tasks])


def _is_described(record: TaskRecord, metric: str) -> bool:
    """Whether a past task has what its losses are compared by."""
    baseline = record.metafeatures.get(BASELINE + metric, math.nan)
    return min(record.task.n_rows, record.task.n_features) >= 1 and 1 / LARGEST <= baseline <= LARGEST


def trained_adviser(
    base: KnowledgeBase, task_type: TaskType, metric: Metric, learners: Sequence[str], *, seed: int
) -> tuple[Adviser, tuple[str, ...]]:
    """The trained adviser, from the cache where the knowledge base has not changed since it was trained."""
    adviser, _, notes = _train_and_ask(base, task_type, metric, learners, lambda adviser: None, seed=seed)
    return adviser, notes


def ask_adviser(
    base: KnowledgeBase, metric: Metric, learners: Sequence[str], question: Question, *, seed: int
) -> tuple[Adviser, Advice, tuple[str, ...]]:
    """As `trained_adviser`, and its advice; one from the cache that fails at the question is trained again."""

    def ask(adviser: Adviser) -> Advice:
        advice = adviser.advise(question.task, question.metafeatures, NAMES, question.baseline, question.k)
        if question.is_searched:
            adviser.knowledge.task_prior(question.metafeatures, abstained=advice.abstained)
        return advice

    return _train_and_ask(base, question.task.type, metric, learners, ask, seed=seed)


def _train_and_ask(
    base: KnowledgeBase,
    task_type: TaskType,
    metric: Metric,
    learners: Sequence[str],
    ask: Callable[[Adviser], Answer],
    *,
    seed: int,
) -> tuple[Adviser, Answer, tuple[str, ...]]:
    """A trained adviser with its answer, and what a user should know of how it was found."""
    spaces = _spaces(task_type, learners)
    key = adviser_key(base.content_hash(), task_type, metric, learners, seed)
    if (kept := _use_first(cache.find(base.folder, key), spaces, lambda adviser: adviser, ask)) is not None:
        return *kept, ()
    budget = Budget(0.0)
    trials = [trial for name in learners for trial in base.trials(learner=name)]
    past, baselines = past_evidence(base.tasks(), trials, task_type, metric, learners)
    older = cache.find_newest(base.folder, adviser_key("*", task_type, metric, learners, seed), besides=key)
    kept = _use_first(older, spaces, lambda adviser: _extended(adviser, past, baselines, seed), ask)
    notes: tuple[str, ...] = ()
    if kept is None:
        run = _side_by_side if past.losses.size >= MANY_CELLS else map
        adviser = Adviser.learn(past, baselines, spaces, metric=metric.name, seed=seed, run=run)
        kept = adviser, ask(adviser)
        notes = (f"trained on the knowledge base in {budget.spent():.0f} s; the next call finds the result",)
    cache.save(base.folder, key, kept[0].to_arrays())
    return *kept, notes


def _use_first(
    files: Iterable[tuple[Path, Mapping[str, np.ndarray]]],
    spaces: Mapping[str, SearchSpace],
    prepare: Callable[[Adviser], Adviser | None],
    ask: Callable[[Adviser], Answer],
) -> tuple[Adviser, Answer] | None:
    """The first kept adviser that gives an answer, and the answer; None where there is none.

    Files are not trusted: whatever goes wrong with one is a logged warning. Where `prepare` has no use for an adviser,
    it has none for the older ones.
    """
    for path, arrays in files:
        try:
            adviser = prepare(Adviser.from_arrays(arrays, spaces))
            return None if adviser is None else (adviser, ask(adviser))
        except MemoryError:
            raise
        except Exception as error:
            _log.warning(
                "The kept model %s cannot be used (%s: %s) and is trained again.",
                encodable(str(path)),
                type(error).__name__,
                " ".join(encodable(str(error)).split()),
            )
    return None


def _side_by_side(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
    """What the function gives for each argument, in their order, computed on all cores."""
    from joblib import cpu_count

    from metahp.evaluation.parallel import call_each

    found = dict(call_each(function, arguments, n_jobs=min(len(arguments), cpu_count())))
    return [found[place] for place in range(len(arguments))]


def _extended(older: Adviser, past: Evidence, baselines: np.ndarray, seed: int) -> Adviser | None:
    """An older adviser with the tasks and trials that are new; None where there are too many, or some are gone."""
    known = {task.id for task in past.tasks}
    is_little = len(known) <= (1 + RETRAIN_SHARE) * older.n_learned
    return older.extended(past, baselines, seed=seed) if is_little and known >= {t.id for t in older.tasks} else None


def adviser_key(content: str, task_type: TaskType, metric: Metric, learners: Sequence[str], seed: int) -> str:
    """The cache key of an adviser: two that agree in it were trained on the same data in the same way.

    Two classes and several share an adviser: each learns from both.
    """
    kind = "classification" if task_type.is_classification else "regression"
    return f"v{ADVISER_VERSION}-{content}-{kind}-{metric.name}-{'.'.join(sorted(learners))}-{seed}"


def train_adviser(
    records: Sequence[TaskRecord],
    trials: Sequence[Trial],
    task_type: TaskType,
    metric: Metric,
    learners: Sequence[str],
    *,
    seed: int,
) -> Adviser:
    """Train on all past tasks like `task_type`."""
    past, baselines = past_evidence(records, trials, task_type, metric, learners)
    return Adviser.learn(past, baselines, _spaces(task_type, learners), metric=metric.name, seed=seed)


def _spaces(task_type: TaskType, learners: Sequence[str]) -> dict[str, SearchSpace]:
    return {name: learner_named(name).space(task_type) for name in sorted(learners)}
