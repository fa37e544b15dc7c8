"""A configuration as a script that runs without metahp, with pandas, scikit-learn and the learner's libraries."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from metahp.core.configuration import Configuration
from metahp.core.metric import METRICS, SCORERS, Metric
from metahp.core.task import TaskType
from metahp.datasets.paths import make_local_path
from metahp.datasets.table import Table
from metahp.learners.base import Learner, name_weights
from metahp.learners.registry import find_learner
from metahp.recommendation.result import Recommendation
from metahp.results.script_columns import write_column_call, write_constants, write_functions, write_reading
from metahp.results.source_code import Variable, escape, write_value

# Tables below have training folds with fewer rows than the quantiles of the linear learner.
SHORT_TABLE = 200

_HEADER = '''"""Train {learner} on {file} with the hyperparameters that metahp {version} {verb}.

{expectation}
Needs {needs}; metahp is not needed.
"""
'''

# Where a table has fewer rows than quantiles, scikit-learn takes as many quantiles as rows, and says so in each fold.
_QUANTILES_NOTE = 'warnings.filterwarnings("ignore", message="n_quantiles")  # few rows: as many quantiles as rows'
# Variables of the script that list columns; they stand for the only column of their kind while an estimator is made.
_COLUMNS = {
    Variable("numeric_columns"): 'X.select_dtypes("number").columns',
    Variable("categorical_columns"): 'X.select_dtypes("category").columns',
}

_PROBABILITY = 'response_method="predict_proba"'
# Scorers of the second of two classes: function and further arguments.
_OF_SECOND_CLASS: dict[str, tuple[str, tuple[str, ...]]] = {
    "f1": ("f1_score", ()),
    "precision": ("precision_score", ()),
    "recall": ("recall_score", ()),
    "jaccard": ("jaccard_score", ()),
    "average_precision": ("average_precision_score", (_PROBABILITY,)),
    "neg_brier_score": ("brier_score_loss", (_PROBABILITY, "greater_is_better=False")),
    "d2_brier_score": ("d2_brier_score", (_PROBABILITY,)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptFolds:
    """How a script cross-validates: in `count` folds, by group or by time where `kind` is "group" or "time".

    `column` is where the file has the group or time of a row; empty where it has them nowhere, and then a script
    with a `kind` cross-validates nothing. Where `is_weighted`, `weight_column` is where the file has the weights of
    rows; a script for a file without them weighs all rows alike.
    """

    count: int = 3
    kind: str = ""
    column: str = ""
    weight_column: str = ""
    is_weighted: bool = False


def make_recommendation_script(recommendation: Recommendation, table: Table, path: str) -> str:
    """A script that trains the best configuration on the file `path`, which `table` was read from.

    It prepares the columns as metahp did, prints the cross-validated score and fits on all rows.
    """
    return make_training_script(
        recommendation.best.configuration,
        table,
        path,
        metric=recommendation.metric,
        seed=recommendation.seed,
        verb="recommends",
        expectation=_write_expectation(recommendation),
        n_jobs=recommendation.n_jobs.get(recommendation.best.learner, 1),
    )


def make_training_script(
    configuration: Configuration,
    table: Table,
    path: str,
    *,
    metric: Metric,
    seed: int,
    verb: str,
    expectation: str,
    folds: ScriptFolds = ScriptFolds(),
    n_jobs: int = 1,
) -> str:
    """A script that trains `configuration` on the file `path`, which `table` was read from.

    Args:
        configuration: Of a learner that is known.
        table: Says how the columns are prepared.
        path: The file, as the script names it.
        metric: What the script prints, cross-validated.
        seed: Of the model and of the folds.
        verb: What metahp did to the hyperparameters: it "recommends" or "found" them.
        expectation: A sentence on what score to expect.
        folds: Of the cross-validation.
        n_jobs: Number of threads of the model.

    Raises:
        InputError: pandas has no reader for the format of the file.
    """
    tuned_by = metric
    if metric.name not in METRICS and metric.name not in SCORERS:
        metric = METRICS[metric.past_name]
    imports: set[tuple[str, str]] = set()
    learner = find_learner(configuration.learner)
    numeric, categorical = ([name] for name in _COLUMNS)
    if not table.is_categorical.any():
        categorical = []
    configuration = configuration.with_arguments(None)
    estimator = learner.estimator(
        configuration, table.task.type, numeric=numeric, categorical=categorical, seed=seed, n_jobs=n_jobs
    )
    is_adapted = isinstance(estimator, Pipeline) and estimator.steps[0][0] == "adapt"
    model = write_value(estimator[-1] if is_adapted else estimator, imports)
    if configuration.seed is not None:
        model = model.replace("random_state=SEED", f"random_state={configuration.seed}")
    weights_name = name_weights(estimator[-1] if is_adapted else estimator) if folds.weight_column else ""
    ending = _write_ending(learner, metric, table, folds, imports, weights_name)
    path = make_local_path(path)
    constants = [f"PATH = {write_value(path, set())}", f"TARGET = {write_value(table.target, set())}", f"SEED = {seed}"]
    body = [*constants, write_constants(table), "", *write_functions(table, learner, _list_readers(table, folds))]
    body.append(write_reading(table, learner, path))
    if columns := [f"{name} = {chosen}" for name, chosen in _COLUMNS.items() if name in model]:
        body.append("\n".join(columns))
    is_short = table.task.n_rows < SHORT_TABLE and "QuantileTransformer" in model
    if is_short:
        body.append(_QUANTILES_NOTE)
    if tuned_by is not metric:
        body.append(f"# metahp tuned by the scorer {tuned_by.name}, which is not known here; the score is another one.")
    body += [f"model = {model}", ending]
    header = _HEADER.format(
        learner=configuration.learner,
        file=escape(Path(path).name),
        version=version("metahp"),
        verb=verb,
        expectation=expectation,
        needs=", ".join(f"{package} {_find_version(package)} or later" for package in _list_packages(learner)),
    )
    is_unpacked = table.read.format == "arff" and table.read.compression is not None
    has_patterns = any(" re." in part or "(re." in part for part in body)
    used = {"gzip": is_unpacked, "re": has_patterns, "warnings": is_short}
    standard = [name for name, is_used in used.items() if is_used]
    return "\n".join([header, _write_imports(imports, standard), "", *body]) + "\n"


def _write_expectation(recommendation: Recommendation) -> str:
    best = recommendation.best
    if math.isnan(best.score):
        return "What to expect of them on this table is not known."
    metric = recommendation.metric
    low, high = sorted((metric.speak(best.low), metric.speak(best.high)))
    default = f"; {best.learner}'s library default {metric.speak(best.default_score):.4g}"
    default = "" if math.isnan(best.default_score) else default
    measured = "Measured" if recommendation.is_known_task else "Expected"
    return (
        f"{measured} {metric.label}: {metric.speak(best.score):.4g} (80 % interval {low:.4g} to {high:.4g}"
        + default
        + (
            "),\nas measured on this very table.\n"
            if recommendation.is_known_task
            else f"),\nlearned from a knowledge base of {recommendation.n_past_tasks:,} tasks.\n"
        )
        + "\n".join(textwrap.wrap(recommendation.score_words, 100))
    )


def _list_packages(learner: Learner) -> list[str]:
    return list(dict.fromkeys(["pandas", "scikit-learn", *learner.libraries]))


def _find_version(package: str) -> str:
    return ".".join(version(package).split(".")[:2])


def _write_imports(imports: set[tuple[str, str]], standard: Sequence[str]) -> str:
    lines = [*(f"import {module}" for module in standard), *([""] if standard else [])]
    lines += ["import numpy as np", "import pandas as pd"]
    for module in sorted({module for module, _ in imports}):
        names = ", ".join(sorted(name for home, name in imports if home == module))
        lines.append(f"from {module} import {names}")
    return "\n".join(lines)


def _write_ending(
    learner: Learner,
    metric: Metric,
    table: Table,
    folds: ScriptFolds,
    imports: set[tuple[str, str]],
    weights_name: str,
) -> str:
    """The lines that cross-validate and fit; `weights_name` is the argument of `fit` that takes weights of rows.

    It is empty where the file has none.
    """
    fit = f"model.fit(X, y, {weights_name}=weights)" if folds.weight_column else "model.fit(X, y)"
    lines = [fit, 'print(f"fitted on all {len(X):,} rows")']
    if not folds.kind or folds.column:
        lines = [*_write_cross_validation(learner, metric, table, folds, imports, weights_name), "", *lines]
    if folds.weight_column:
        call = write_column_call(table, folds.weight_column, "read_numbers")
        lines = ["# Weights of the rows.", f"weights = {call}", "", *lines]
    elif folds.is_weighted:
        lines = ["# The weights of the rows are not in the file: here all rows count the same.", *lines]
    return "\n" + "\n".join(lines)


def _write_scorer(metric: Metric, table: Table, learner: Learner, imports: set[tuple[str, str]]) -> str:
    """The scorer of a metric as code; by its name alone, one of the second class takes the class 1 for it."""
    if table.task.type is not TaskType.BINARY or metric.name not in _OF_SECOND_CLASS:
        return f'"{metric.name}"'
    function, more = _OF_SECOND_CLASS[metric.name]
    second = write_value(table.classes[1], set()) if learner.takes_labels else "1"
    imports |= {("sklearn.metrics", function), ("sklearn.metrics", "make_scorer")}
    return f"make_scorer({', '.join([function, *more, f'pos_label={second}'])})"


def _choose_time_reader(table: Table, folds: ScriptFolds) -> str:
    """The function that reads the times of rows; empty where the folds do not go by time."""
    if folds.kind != "time" or not folds.column:
        return ""
    readers = {"date": "read_date_parts", "written": "read_written_numbers", "clock": "read_seconds"}
    kinds = {column.name: column.kind for column in table.preparation.columns}
    return readers.get(kinds.get(folds.column, ""), "read_numbers")


def _list_readers(table: Table, folds: ScriptFolds) -> list[str]:
    """The functions that read the columns which are no features."""
    readers = [_choose_time_reader(table, folds), "read_numbers" if folds.weight_column else ""]
    return [reader for reader in readers if reader]


def _write_cross_validation(
    learner: Learner,
    metric: Metric,
    table: Table,
    folds: ScriptFolds,
    imports: set[tuple[str, str]],
    weights_name: str,
) -> list[str]:
    splitter = f"{'Stratified' if table.task.type.is_classification else ''}{'Group' if folds.kind else ''}KFold"
    n, rows, groups, how = folds.count, "", "", f" by {folds.kind}" if folds.kind else ""
    lines = []
    if table.task.type.is_classification and np.bincount(table.y).min() < n:
        lines += [
            f"# A class with fewer than {n} rows cannot be in every fold: such rows are left out of the score.",
            f"scored = pd.Series(y).map(pd.Series(y).value_counts()).to_numpy() >= {n}",
        ]
        rows, how = "[scored]", f"{how} on {{scored.sum():,}} of {{len(X):,}} rows"
    if folds.kind == "time":
        splitter = "TimeSeriesSplit"
        times = write_column_call(table, folds.column, _choose_time_reader(table, folds))
        times += '["days"]' if folds.column in table.preparation.dates else ""
        lines += [
            "# Rows of one time stay together.",
            f"times = pd.factorize({times}{rows}, sort=True)[0]",
            f"folds = {splitter}({n}).split(np.unique(times))",
            "folds = [tuple(np.flatnonzero(np.isin(times, part)) for part in parts) for parts in folds]",
        ]
    else:
        lines.append(f"folds = {splitter}({n}, shuffle=True, random_state=SEED)")
    if folds.kind == "group":
        lines.append(f"groups = pd.factorize(frame[{write_value(folds.column, set())}])[0]")
        groups = f", groups=groups{rows}"
    imports.add(("sklearn.model_selection", splitter))
    scoring = _write_scorer(metric, table, learner, imports)
    mean = f"{'-' if metric.is_negated else ''}scores.mean()"
    if folds.weight_column:
        scorer = f"get_scorer({scoring})"
        imports |= {("sklearn.base", "clone"), ("sklearn.metrics", "get_scorer")}
        pairs = "folds" if folds.kind == "time" else f"folds.split(X{rows}, y{rows}{groups})"
        part = "X{0}.iloc[{1}], y{0}[{1}], {2}=weights{0}[{1}]"
        return [
            *lines,
            f"scorer, scores = {scorer}, []",
            f"for train, test in {pairs}:",
            f"    fitted = clone(model).fit({part.format(rows, 'train', weights_name)})",
            f"    scores.append(scorer(fitted, {part.format(rows, 'test', 'sample_weight')}))",
            f'print(f"{metric.label}: {{{mean.replace("scores.mean()", "np.mean(scores)")}:.4f}} '
            f'({n}-fold cross-validation{how}, weighted)")',
        ]
    imports.add(("sklearn.model_selection", "cross_val_score"))
    return [
        *lines,
        f"scores = cross_val_score(model, X{rows}, y{rows}{groups}, scoring={scoring}, cv=folds)",
        f'print(f"{metric.label}: {{{mean}:.4f}} ({n}-fold cross-validation{how})")',
    ]
