"""Tune: a warm start from past tasks, a strategy that refines it, and the trials written back."""

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from metahp.api.advice import chosen_learners
from metahp.api.tuning.attempts import Given
from metahp.api.tuning.objective import metric_of
from metahp.api.tuning.objective_tuning import tune_objective
from metahp.api.tuning.past import TRANSFER, check_strategy
from metahp.api.tuning.rows import rows_of
from metahp.api.tuning.search import Search
from metahp.api.tuning.study import Progress
from metahp.api.tuning.table_tuning import tune_table
from metahp.api.tuning.tuned import Plan, TuneResult
from metahp.core.configuration import Value
from metahp.core.errors import BusyError, InputError, KnowledgeBaseError
from metahp.core.metric import metric_for
from metahp.core.space import SearchSpace
from metahp.evaluation import interrupts
from metahp.evaluation.budget import Budget
from metahp.evaluation.runner import Limits
from metahp.knowledge.locate import knowledge_base_path, open_snapshot
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.results.directory import opened

logger = logging.getLogger(__name__)

# Transfer goes on learning from past tasks with every trial, so that it needs few points chosen before any.
N_WARM_TRANSFER, N_WARM = 3, 10
# Arguments of a table that an objective has no use for, and the other way round.
TABLE_ONLY = (
    *("y", "target", "task", "learners", "trial_timeout", "memory_limit", "cv", "groups", "time", "splitter"),
    *("test_size", "max_rows", "ensemble", "voting", "prune", "early_stopping", "budget_seconds", "on_start"),
)
OBJECTIVE_ONLY = ("space", "metafeatures", "name", "direction")
DEVICES = ("auto", "cpu", "cuda")


def tune(
    X: Any = None,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    metric: str | None = None,
    learners: str | Sequence[str] | None = None,
    trials: int = 50,
    timeout: float | None = None,
    trial_timeout: float = 300.0,
    memory_limit: float = 4096.0,
    jobs: int = 1,
    device: str = "auto",
    strategy: str = TRANSFER,
    cold: bool = False,
    warm: int | None = None,
    seed: int = 0,
    knowledge_base: str | Path | KnowledgeBase | None = None,
    record: bool = True,
    output: str | Path | None = None,
    cv: int | None = None,
    groups: Any = None,
    time: Any = None,
    splitter: Any = None,
    test_size: float | None = None,
    max_rows: int | None = None,
    configurations: Sequence[Given] = (),
    ensemble: bool = False,
    voting: bool = False,
    patience: int | None = None,
    prune: bool = True,
    early_stopping: bool = True,
    budget_seconds: float = 2.0,
    command: str | None = None,
    on_start: Callable[[Plan], None] = lambda plan: None,
    on_trial: Callable[[Progress], None] = lambda progress: None,
    objective: Callable[[dict[str, Value]], float | Sequence[float]] | None = None,
    space: SearchSpace | None = None,
    metafeatures: Mapping[str, float] | None = None,
    name: str = "",
    direction: str = "maximize",
) -> TuneResult:
    """Tune learners on a table, or an objective of your own, starting from what past tasks have shown.

    The same call again goes on where the last one ended, however it ended: trials of this task under the same
    protocol (found in the knowledge base, or in `output` where nothing is recorded) count towards `trials`, and no
    configuration is evaluated twice.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`; None for an objective.
        y: Target of arrays and of frames without it, shape (n,).
        target: Target column; guessed where None.
        task: binary, multiclass or regression; inferred where None.
        metric: A scikit-learn scorer name; the task type's default where None.
        learners: Name or names of learners to choose from; None for all that the knowledge base knows well enough.
        trials: How many finished trials there are to be, those of earlier calls included.
        timeout: Seconds after which the call ends with what it has found; None for no limit.
        trial_timeout: Seconds of one trial over all folds; one that takes longer is killed, and a trial.
        memory_limit: Resident memory of one trial in MiB; one that takes more is killed, and a trial.
        jobs: How many trials run side by side, each on one thread.
        device: auto, cpu or cuda, for the posterior; trials of the learners here run on the CPU.
        strategy: What chooses after the warm start: transfer, which goes on learning from past tasks, or random,
            grid, tpe, gp, cmaes or nsga2. Where nothing is known of past tasks, gp takes the place of transfer.
        cold: Leave past tasks aside: no recommended points, and no transfer.
        warm: How many recommended points to begin with; None for 3 with transfer and 10 with another strategy.
        seed: Of folds, models and strategy.
        knowledge_base: A knowledge base or the path of one; None for the user's own.
        record: Write trials and meta-features to the knowledge base.
        output: Result directory to write, or to replace; None for none. That of an objective has no model.
        cv: Number of folds; None for 5, or 3 where there are more than 10,000 rows.
        groups: Rows of one group are never both trained and tested on: a column, which is then no feature, or labels
            of shape (n,).
        time: Train on the past, test on what follows: a column, or times of shape (n,).
        splitter: A scikit-learn splitter, or pairs of training and test indices.
        test_size: Share of rows to set aside before anything looks at them; the result then has `test_score_`. They
            are the latest where `time` is given, whole groups where `groups` are.
        max_rows: Trials use a sample of so many rows; None for all.
        configurations: Configurations of your own to try first: dictionaries, texts `key=value,…`, or
            `Configuration`s; values not named are the library's defaults. `learner:` before the text, or a key
            `learner`, says whose they are.
        ensemble: The final model is the greedy ensemble, not the best single configuration.
        voting: Members of the ensemble vote, instead of averaging probabilities.
        patience: End after so many trials without a better one; None for never.
        prune: End a trial after its first folds where it is hopeless.
        early_stopping: Of the iterations of boosted trees keep those where the mean loss over the folds is lowest; a
            default and your own configurations keep all of theirs.
        budget_seconds: Work for the meta-features, in seconds of one core of a common machine.
        command: The command line, kept in the result.
        on_start: Called with what is about to be done on a table.
        on_trial: Called at the start and after every trial.
        objective: A function of a dictionary of values that gives a score, or a score per fold; an exception makes a
            failed trial. With several `jobs` it runs in threads.
        space: The search space of the objective; its `learner` is the name by which past tasks are found again.
        metafeatures: Numbers that describe the objective's task, so that like tasks find each other.
        name: Of the objective's task, which is known by its name and meta-features; the space's where empty.
        direction: maximize or minimize the objective.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: input that cannot be used.
        MetahpError: no trial is complete; the message has the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; else the result says that it was.
    """
    if objective is None and X is None:
        raise InputError("Expected a table (X), or an objective with its space.")
    if objective is not None and (X is not None or not isinstance(space, SearchSpace) or not callable(objective)):
        raise InputError("An objective is a function and comes with a SearchSpace, and without a table.")
    _check_used(locals(), "a table" if objective is None else "an objective")
    if warm is None:
        warm = N_WARM_TRANSFER if strategy == TRANSFER else N_WARM
    _check_numbers(trials, timeout, trial_timeout, memory_limit, jobs, warm, patience, seed)
    if device not in DEVICES:
        raise InputError(f"`device` is one of {', '.join(DEVICES)}, got '{device}'.", argument="device")
    check_strategy(strategy)
    directory = None if output is None else Path(output)
    with ExitStack() as stack:
        if directory is not None:
            stack.enter_context(opened(directory))
        rows = (
            None
            if objective is not None
            else rows_of(
                X,
                y,
                target=target,
                task=task,
                cv=cv,
                groups=groups,
                time=time,
                splitter=splitter,
                test_size=test_size,
                max_rows=max_rows,
                seed=seed,
            )
        )
        base, snapshot, totals = _open(knowledge_base)
        if snapshot is not None:
            stack.enter_context(snapshot)
        search = Search(
            base=base,
            snapshot=snapshot,
            is_recorded=record,
            directory=directory,
            n_trials=trials,
            budget=Budget(math.inf if timeout is None else timeout),
            patience=patience,
            n_jobs=jobs,
            strategy=strategy,
            device=device,
            is_cold=cold or totals is None,
            n_warm=0 if cold or totals is None else warm,
            configurations=configurations,
            seed=seed,
            command=command,
            on_trial=on_trial,
        )
        if objective is not None:
            assert space is not None
            metafeatures = {} if metafeatures is None else metafeatures
            if not isinstance(metafeatures, Mapping) or not all(isinstance(one, Real) for one in metafeatures.values()):
                raise InputError(f"metafeatures are numbers by name, got {metafeatures!r}.")
            measured = metric_of(metric, direction)
            return tune_objective(search, objective, space, measured, metafeatures, name or space.learner)
        assert rows is not None
        return tune_table(
            search,
            rows,
            X if isinstance(X, str | Path) else None,
            metric_for(rows.table.task.type, metric),
            chosen_learners(learners, totals or {"defaults_by_learner": {}}),
            Limits(trial_timeout, memory_limit),
            is_pruned=prune,
            stops_early=early_stopping,
            is_ensemble=ensemble,
            is_voting=voting,
            budget_seconds=budget_seconds,
            on_start=on_start,
        )


def _open(given: str | Path | KnowledgeBase | None) -> tuple[KnowledgeBase, Snapshot | None, dict[str, Any] | None]:
    """The knowledge base with a snapshot and what it holds, None where it is damaged.

    That stops no study, and a warning says so.
    """
    snapshot: Snapshot | None = None
    try:
        base, snapshot = open_snapshot(given)
        return base, snapshot, snapshot.totals
    except KnowledgeBaseError as error:
        if snapshot is not None:
            snapshot.close()
        if isinstance(error, BusyError):
            raise
        # DuckDB makes an error of its own of a signal that comes while it reads.
        interrupts.check()
        logger.warning("a cold start, and earlier trials from the result directory alone: %s", error)
        if isinstance(given, KnowledgeBase):
            return given, None, None
        return KnowledgeBase(knowledge_base_path(Path(given) if given else None)), None, None


def _check_used(given: Mapping[str, Any], tuned: str) -> None:
    """Refuse arguments that would change nothing, rather than let somebody rely on them."""
    parameters = inspect.signature(tune).parameters
    for name in OBJECTIVE_ONLY if tuned == "a table" else TABLE_ONLY:
        default = parameters[name].default
        if given[name] is not default and (default is None or given[name] != default):
            raise InputError(f"{name} is not for {tuned}, and would be ignored; leave it out.")


def _check_numbers(
    trials: int,
    timeout: float | None,
    trial_timeout: float,
    memory_limit: float,
    jobs: int,
    warm: int,
    patience: int | None,
    seed: int,
) -> None:
    for argument, number in (("timeout", timeout), ("trial_timeout", trial_timeout)):
        if number is not None and not number > 0:
            raise InputError(f"`{argument}` is a number of seconds above 0, got {number:g}.", argument=argument)
    if not memory_limit > 0:
        raise InputError(f"`memory_limit` is a number of MiB above 0, got {memory_limit:g}.", argument="memory_limit")
    for argument, count in (("trials", trials), ("jobs", jobs), ("patience", patience)):
        if count is not None and (not isinstance(count, Integral) or isinstance(count, bool) or count < 1):
            raise InputError(f"`{argument}` is a whole number of at least 1, got {count!r}.", argument=argument)
    if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"`seed` is a whole number of at least 0, got {seed!r}.", argument="seed")
    if warm < 0:
        raise InputError(f"`warm` is at least 0, got {warm}.", argument="warm")
