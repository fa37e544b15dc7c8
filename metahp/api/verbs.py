"""The verbs of the public interface; a wrong name or a missing file is refused before anything heavy is imported."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from metahp.api.checks import check_names
from metahp.core.configuration import Given
from metahp.core.errors import InputError
from metahp.core.space import SearchSpace
from metahp.core.text import name_column
from metahp.core.warn import LoggedWarnings, warn_user
from metahp.datasets.reading import make_reading_options
from metahp.evaluation.limits import Limits
from metahp.evaluation.worker_process import WorkerProcess
from metahp.results.owner import check_is_directory
from metahp.study.progress import Progress, ProgressPrinter
from metahp.study.request import TRANSFER, Budget, Folds, Place, Request, Start, TableSettings

if TYPE_CHECKING:
    from metahp.datasets.raw import RawTable
    from metahp.datasets.table import Table
    from metahp.evaluation.threads import ObjectiveFunction
    from metahp.knowledge.store import KnowledgeBase
    from metahp.learners.read_fixed import GivenFixed
    from metahp.metafeatures.extract import MetaFeatures
    from metahp.recommendation.result import Recommendation
    from metahp.results.model import TunedModel
    from metahp.study.result import Plan, TuneResult

# Gives a score of a fitted estimator on rows and targets; greater is better.
Scoring = Callable[..., Any]


def read(
    source: Any,
    y: Any = None,
    *,
    target: Hashable | None = None,
    drop: Any = (),
    categorical: Any = (),
    numeric: Any = (),
    dayfirst: bool | None = None,
    na: Any = (),
    decimal: str | None = None,
    sep: str | None = None,
    sheet: str | None = None,
    id: Hashable | None = None,
) -> "RawTable":
    """The columns of a table with what you know of them, for `load`, `recommend`, `describe` and `tune`.

    Args:
        source: A path, `-` for standard input, a frame, or an array (n, d).
        y: Target, shape (n,), where `source` does not contain it.
        target: Target column; None to guess it.
        drop: Name or names of columns to leave out.
        categorical: Names of columns that are categories though they look like numbers.
        numeric: Names of columns that are numbers; their other cells are missing.
        dayfirst: Whether the day comes first in dates; None to find it.
        na: Texts and numbers that stand for a missing value, beside the usual ones.
        decimal: Decimal mark of columns that do not show one, `.` or `,`; None to find it.
        sep: Between the fields of a CSV file; None to find it.
        sheet: Sheet of a workbook; None for the first one that holds a table.
        id: Column that names a row: no feature, but kept beside predictions.

    Raises:
        InputError, UnknownNameError: input that cannot be used.
    """
    check_names(source, y, target=None if target is None else name_column(target))
    how = make_reading_options(
        drop=drop,
        categorical=categorical,
        numeric=numeric,
        dayfirst=dayfirst,
        na=na,
        decimal=decimal,
        sep=sep,
        sheet=sheet,
        id=id,
    )
    from metahp.datasets.load import read as read_table

    return read_table(source, y, target=target, how=how)


def load(
    source: Any, y: Any = None, *, target: Hashable | None = None, task: str | None = None, **reading: Any
) -> "Table":
    """A table from a path, `-` for standard input, a raw table, a frame, or arrays `source` (n, d) and `y` (n,).

    Args:
        source: A path, `-` for standard input, a frame, an array (n, d), or what `read` gives.
        y: Target, shape (n,), where `source` does not contain it.
        target: Target column; None to guess it.
        task: binary, multiclass or regression; None to infer it.
        **reading: The other arguments of `read`: drop, categorical, numeric, dayfirst, na, decimal, sep, sheet and id.

    Raises:
        InputError, UnknownNameError: input that cannot be used.
    """
    check_names(source, y, target=None if target is None else name_column(target), task=task)
    how = make_reading_options(**reading)
    from metahp.datasets.load import load as load_table
    from metahp.datasets.table import Table

    table = load_table(source, y, target=target, task=task, how=how)
    if not isinstance(source, Table):
        warn_user(table.warnings)
    return table


def _load_features(X: Any, y: Any, target: str | None, task: str | None, sample_weight: Any) -> "Table":
    """The table of `load`, without the column of the weights of rows."""
    if not isinstance(sample_weight, str):
        return load(X, y, target=target, task=task)
    from metahp.datasets.load import leave_out_weights
    from metahp.datasets.load import read as read_table
    from metahp.datasets.table import Table

    if isinstance(X, Table):
        raise InputError("A column of weights needs the raw rows; pass a file or a frame.", argument="sample_weight")
    return load(leave_out_weights(read_table(X, y, target=target), sample_weight), task=task)


def describe(
    X: Any,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    sample_weight: Any = None,
    budget_seconds: float = 2.0,
    seed: int = 0,
) -> "MetaFeatures":
    """The meta-features of a table; those beyond `budget_seconds` of work are NaN and named in `warnings`.

    A column that is named as `sample_weight` is no feature.
    """
    check_names(X, y, target=target, task=task, sample_weight=sample_weight)
    from metahp.api.tables import describe_table

    table = _load_features(X, y, target, task, sample_weight)
    described = describe_table(table, budget_seconds=budget_seconds, seed=seed)
    warn_user(described.warnings)
    return described


def recommend(
    X: Any,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    metric: "str | Scoring | None" = None,
    sample_weight: Any = None,
    k: int = 5,
    learners: str | Sequence[str] | None = None,
    knowledge_base: "str | Path | KnowledgeBase | None" = None,
    seed: int = 0,
    budget_seconds: float = 2.0,
    fixed: "GivenFixed | None" = None,
) -> "Recommendation":
    """The `k` configurations to try first on a table.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`.
        y: Target, shape (n,), where `X` does not contain it.
        target: Target column; None to guess it.
        task: binary, multiclass or regression; None to infer it.
        metric: A usual name (rmse, mae, log_loss, auc, f1, …), the name of a scikit-learn scorer that suits the task,
            or a scorer `(estimator, X, y)`, as `make_scorer` makes one; None for the task type's default. Past tasks
            are asked by the nearest metric that they store.
        sample_weight: As of `tune`; past tasks know no weights, so here a column of them is only left out.
        k: Number of configurations.
        learners: Name or names of learners to choose from; None for all that the knowledge base knows well enough.
        knowledge_base: A knowledge base or its path; None for the user's own.
        seed: Seed of the meta-features' samples and of the estimators; does not affect what past tasks say.
        budget_seconds: Work for the meta-features, in seconds of one core of a common machine.
        fixed: Arguments that every configuration has, as in `tune`; past tasks are asked without them.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: unusable input.
        KnowledgeBaseError: no past task of this kind.
    """
    if k < 1:
        raise InputError(f"k is the number of configurations, at least 1, got {k}.")
    check_names(X, y, target=target, task=task, metric=metric, learners=learners, sample_weight=sample_weight)
    from metahp.api.advice import advise_on

    table = _load_features(X, y, target, task, sample_weight)
    with LoggedWarnings() as logged:
        recommendation = advise_on(
            table,
            metric=metric,
            k=k,
            learners=learners,
            knowledge_base=knowledge_base,
            seed=seed,
            budget_seconds=budget_seconds,
            fixed=fixed,
        )
    recommendation = replace(recommendation, warnings=logged.add_to(recommendation.warnings))
    warn_user(recommendation.warnings, said=table.warnings)
    return recommendation


def tune(
    X: Any = None,
    y: Any = None,
    *,
    target: str | None = None,
    task: str | None = None,
    metric: "str | Scoring | None" = None,
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
    knowledge_base: "str | Path | KnowledgeBase | None" = None,
    record: bool = True,
    output: str | Path | None = None,
    cv: int | None = None,
    groups: Any = None,
    time: Any = None,
    splitter: Any = None,
    test_size: float | None = None,
    max_rows: int | None = None,
    sample_weight: Any = None,
    configurations: Sequence[Given] = (),
    fixed: "GivenFixed | None" = None,
    ensemble: bool = False,
    voting: bool = False,
    patience: int | None = None,
    stop_when_flat: bool = False,
    prune: bool = True,
    early_stopping: bool = True,
    budget_seconds: float = 2.0,
    verbose: int = 0,
    command: str | None = None,
    on_start: "Callable[[Plan], None]" = lambda plan: None,
    on_trial: Callable[[Progress], None] = lambda progress: None,
    **others: Never,
) -> "TuneResult":
    """Tune learners on a table, starting from recommendations of past tasks.

    The same call continues where the last one ended, even if that was interrupted. Earlier trials of this task under
    the same protocol (in the knowledge base, or in `output` without recording) count towards `trials`, and no
    configuration is evaluated twice.

    Args:
        X: A path, a frame, an array (n, d), or a `Table`.
        y: Target, shape (n,), where `X` does not contain it.
        target: Target column; None to guess it.
        task: binary, multiclass or regression; None to infer it.
        metric: A usual name (rmse, mae, log_loss, auc, f1, …), the name of a scikit-learn scorer that suits the task,
            or a scorer `(estimator, X, y)`, as `make_scorer` makes one; None for the task type's default. Past tasks
            are asked by the nearest metric that they store.
        learners: Name or names of learners to choose from; None for all that the knowledge base knows well enough.
        trials: Number of finished trials, including those of earlier calls.
        timeout: Seconds for everything: past tasks, trials and the final fit; None for no limit. Under a limit library
            defaults are tried first, the cheapest one at once, while past tasks are asked. The call ends with a model
            even where the limit is shorter than its first trial.
        trial_timeout: Seconds of one trial over all folds; a longer trial is killed, and counts as a trial.
        memory_limit: Resident memory of one trial in MiB; a larger trial is killed, and counts as a trial.
        jobs: Number of trials that run in parallel, each on one thread.
        device: auto, cpu or cuda, for the posterior; trials of metahp's learners run on the CPU.
        strategy: Strategy after the warm start: transfer, which also learns from past tasks, or random, grid, tpe, gp,
            cmaes or nsga2. Without past tasks, gp replaces transfer.
        cold: Ignore past tasks: no recommended points, and no transfer.
        warm: Number of recommended points to start with; None for 3 with transfer and 10 with another strategy.
        seed: Seed of folds, models and strategy.
        knowledge_base: A knowledge base or its path; None for the user's own.
        record: Write trials and meta-features to the knowledge base.
        output: Result directory to write or replace; None for none.
        cv: Number of folds; None for 5, or 3 where there are more than 10,000 rows.
        groups: All rows of a group are either trained on or tested on. A column, which is then not a feature, or labels
            of shape (n,).
        time: Train on earlier rows, test on later ones. A column, or times of shape (n,).
        splitter: A scikit-learn splitter, or pairs of training and test indices.
        test_size: Share of rows to set aside as test rows before anything else; the result then has `test_score_`. With
            `time` they are the latest rows, with `groups` whole groups.
        max_rows: Trials use a sample of this many rows; None for all.
        sample_weight: Weights of the rows: a column, which is then not a feature, or numbers of shape (n,), at least 0.
            They count in fits and in scores. None where all are equal.
        configurations: Your configurations to try first: dictionaries, texts `key=value,…`, or `Configuration` values;
            missing values are the library's defaults. `learner:` before the text, or a key `learner`, names the
            learner.
        fixed: Arguments that every configuration has: hyperparameters, which are then not searched, and others of the
            learner's constructor, as in `{"max_bin": 63, "n_jobs": 4, "random_state": 7}` or
            `{"monotone_constraints": {"age": 1}}`. For one of several learners: `{"lightgbm": {…}}`. Also texts
            `NAME=VALUE`. Trials with other fixed arguments do not count; `n_jobs` is that of the final fit.
        ensemble: Make the final model a greedy ensemble, not the best single configuration.
        voting: Let the members of the ensemble vote, instead of averaging probabilities.
        patience: End after this many trials without improvement; None for never.
        stop_when_flat: End where further trials are expected to bring less than a tenth of what tuning has gained over
            the default, or than a tenth of the noise of the folds; not before 25 trials, and only with `transfer`.
        prune: Stop a hopeless trial after its first folds.
        early_stopping: Cut boosted trees at the iteration with the lowest mean loss over the folds; a default and your
            configurations keep all iterations.
        budget_seconds: Work for the meta-features, in seconds of one core of a common machine.
        verbose: Progress on standard error: 0 none, 1 the plan, each new best trial and a line every few seconds, 2
            every trial.
        command: The command line, stored in the result.
        on_start: Called with the plan of the study.
        on_trial: Called at the start and after every trial.
        **others: Not accepted; for `objective` the error names `tune_objective`.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: unusable input.
        MetahpError: no trial is complete; the message gives the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; later interrupts are noted in the result.
    """
    if others:
        raise _refuse_arguments(others)
    if X is None:
        raise InputError("Expected a table as `X`: a path, a frame or an array.")
    folds = Folds(
        cv=cv,
        groups=groups,
        time=time,
        splitter=splitter,
        test_size=test_size,
        max_rows=max_rows,
        sample_weight=sample_weight,
        seed=seed,
    )
    show = ProgressPrinter(verbose)
    request = Request(
        budget=Budget(trials=trials, timeout=timeout, patience=patience, stops_when_flat=stop_when_flat),
        start=Start(strategy=strategy, device=device, is_cold=cold, warm=warm, configurations=configurations),
        n_jobs=jobs,
        seed=seed,
        command=command,
        on_trial=show.follow(on_trial),
    )
    said: set[str] = set()

    def start(plan: "Plan") -> None:
        # Whoever loaded a table has been told of it.
        said.update(getattr(X, "warnings", ()))
        warn_user(plan.warnings, said=said)
        said.update(plan.warnings)
        on_start(plan)

    settings = TableSettings(
        metric=metric,
        learners=learners,
        limits=Limits(seconds=trial_timeout, memory_mib=memory_limit),
        budget_seconds=budget_seconds,
        is_pruned=prune,
        stops_early=early_stopping,
        is_ensemble=ensemble,
        is_voting=voting,
        on_start=start,
        fixed=fixed,
    )
    place = Place(knowledge_base=knowledge_base, is_recorded=record, output=output)
    check_names(
        X,
        y,
        target=target,
        task=task,
        metric=metric,
        learners=learners,
        groups=groups,
        time=time,
        sample_weight=sample_weight,
    )
    if timeout is not None:
        # Its imports take as long as those of this process, which come now.
        request = replace(request, worker=WorkerProcess())
    from metahp.api.tuning import tune_rows

    with LoggedWarnings() as logged:
        result = tune_rows(request, settings, place, folds, X, y, target=target, task=task)
    result = replace(result, warnings=logged.add_to(result.warnings))
    warn_user(result.warnings, said=said)
    return result


def tune_objective(
    function: "ObjectiveFunction",
    space: SearchSpace,
    *,
    metafeatures: Mapping[str, float] | None = None,
    name: str = "",
    direction: str = "maximize",
    metric: str | None = None,
    trials: int = 50,
    timeout: float | None = None,
    jobs: int = 1,
    device: str = "auto",
    strategy: str = TRANSFER,
    cold: bool = False,
    warm: int | None = None,
    seed: int = 0,
    knowledge_base: "str | Path | KnowledgeBase | None" = None,
    record: bool = True,
    output: str | Path | None = None,
    configurations: Sequence[Given] = (),
    patience: int | None = None,
    stop_when_flat: bool = False,
    verbose: int = 0,
    command: str | None = None,
    on_trial: Callable[[Progress], None] = lambda progress: None,
) -> "TuneResult":
    """Tune your function, starting from recommendations of past tasks of its search space.

    The same call continues where the last one ended, even if that was interrupted. Earlier trials of this task (in the
    knowledge base, or in `output` without recording) count towards `trials`, and no configuration is evaluated twice.

    Args:
        function: Takes a dictionary of values and returns a score, or a score per fold; an exception makes a failed
            trial. With several `jobs` it runs in threads.
        space: The search space; past tasks are found by its `learner`.
        metafeatures: Numbers that describe the task; similar tasks are found by them.
        name: Name of the task, which it identifies together with the meta-features; the name of the space where empty.
        direction: maximize or minimize.
        metric: Name of the score.
        trials: Number of finished trials, including those of earlier calls.
        timeout: Seconds for everything; None for no limit. Under a limit the default is tried first, while past tasks
            are asked. The call ends with a trial even where the limit is shorter than that.
        jobs: Number of parallel calls of `function`.
        device: auto, cpu or cuda, for the posterior of the transfer strategy.
        strategy: Strategy after the warm start: transfer, which also learns from past tasks, or random, grid, tpe, gp,
            cmaes or nsga2. Without past tasks, gp replaces transfer.
        cold: Ignore past tasks: no recommended points, and no transfer.
        warm: Number of recommended points to start with; None for 3 with transfer and 10 with another strategy.
        seed: Seed of the strategy.
        knowledge_base: A knowledge base or its path; None for the user's own.
        record: Write trials and meta-features to the knowledge base.
        output: Result directory to write or replace; None for none. It contains no model.
        configurations: Your configurations to try first: dictionaries, texts `key=value,…`, or `Configuration` values;
            missing values are the defaults of the space.
        patience: End after this many trials without improvement; None for never.
        stop_when_flat: End where further trials are expected to bring less than a tenth of what tuning has gained over
            the default, or than a tenth of the noise of the folds; not before 25 trials, and only with `transfer`.
        verbose: Progress on standard error: 0 none, 1 the plan, each new best trial and a line every few seconds, 2
            every trial.
        command: The command line, stored in the result.
        on_trial: Called at the start and after every trial.

    Raises:
        InputError, UnknownNameError, OutOfRangeError: unusable input.
        MetahpError: no trial is complete; the message gives the most frequent reason.
        KeyboardInterrupt: interrupted before any trial was complete; later interrupts are noted in the result.
    """
    show = ProgressPrinter(verbose)
    request = Request(
        budget=Budget(trials=trials, timeout=timeout, patience=patience, stops_when_flat=stop_when_flat),
        start=Start(strategy=strategy, device=device, is_cold=cold, warm=warm, configurations=configurations),
        n_jobs=jobs,
        seed=seed,
        command=command,
        on_trial=show.follow(on_trial),
    )
    place = Place(knowledge_base=knowledge_base, is_recorded=record, output=output)
    from metahp.api.tuning import tune_space
    from metahp.study.objective import ObjectiveRequest, make_metric

    objective_request = ObjectiveRequest(
        function=function,
        space=space,
        metric=make_metric(metric, direction),
        metafeatures={} if metafeatures is None else metafeatures,
        name=name,
    )
    with LoggedWarnings() as logged:
        result = tune_space(request, objective_request, place)
    result = replace(result, warnings=logged.add_to(result.warnings))
    warn_user(result.warnings)
    return result


def load_result(directory: str | Path) -> "TunedModel":
    """The tuned model in a result directory, which predicts exactly what it did when it was written.

    Raises:
        InputError: it is no result directory, one of another version or of an objective, which has no model, or its
            files are missing, changed or foreign.
        UnknownNameError: there is no such metric, or no such learner; one of your own must be registered first.
    """
    check_is_directory(directory)
    from metahp.results.predict import load_result as read_result

    return read_result(directory)


def _refuse_arguments(others: Mapping[str, Any]) -> Exception:
    """The error for arguments that `tune` does not have."""
    if "objective" in others:
        return InputError("`tune` is for tables; tune a function with metahp.tune_objective(function, space, …).")
    return TypeError(f"tune() got an unexpected keyword argument '{next(iter(others))}'")
