"""A configuration as a script that runs without metahp, with pandas, scikit-learn and the learner's libraries."""

import ast
import inspect
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from metahp.core.configuration import Configuration
from metahp.core.metric import Metric
from metahp.core.task import TaskType
from metahp.datasets.infer import to_numbers
from metahp.datasets.source import local_path
from metahp.datasets.table import MISSING_MARKERS, Table
from metahp.learners.base import Learner
from metahp.learners.registry import learner_named
from metahp.recommendation.result import Recommendation

# Tables below have training folds with fewer rows than the quantiles of the linear learner.
SHORT_TABLE = 200
LINE_LENGTH = 100

_HEADER = '''"""Train {learner} on {file} with the hyperparameters that metahp {version} {verb}.

{expectation}
Needs {needs}; metahp is not needed.
"""
'''

_TEXT = '''
def text(column):
    """Cells as text without the spaces around them; what marks a gap is missing."""
    stripped = column.astype("str").str.strip()
    return stripped.mask(stripped.isin(MISSING))
'''

_NUMBERS = '''
def numbers(column):
    """Cells as numbers; what is infinite is missing."""
    values = column if pd.api.types.is_numeric_dtype(column) else text(column)
    return pd.to_numeric(values, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
'''

_DATE_PARTS = '''
def date_parts(column):
    """Numeric parts of a date."""
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = pd.to_datetime(text(column), format="mixed", utc=True)
    column = column.dt.tz_localize(None)
    days = (column - pd.Timestamp(0).as_unit("s")) / pd.Timedelta(days=1)
    parts = {"days": days, "month": column.dt.month, "weekday": column.dt.day_of_week, "hour": column.dt.hour}
    return {part: values.astype(float) for part, values in parts.items()}
'''


# Where a table has fewer rows than quantiles, scikit-learn takes as many quantiles as rows, and says so in each fold.
_QUANTILES_NOTE = 'warnings.filterwarnings("ignore", message="n_quantiles")  # few rows: as many quantiles as rows'
_PANDAS_DEFAULTS = frozenset({("compression", "None"), ("decimal", '"."'), ("quotechar", "'\"'"), ("sep", '","')})
# By these endings pandas takes a file for packed unless it is told that it is not.
_PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar")


class _Name(str):
    """A variable of the script, which stands in for its value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


# Variables of the script that list columns; they stand for the only column of their kind while an estimator is made.
_COLUMNS = {
    _Name("numeric_columns"): 'X.select_dtypes("number").columns',
    _Name("categorical_columns"): 'X.select_dtypes("category").columns',
}


@dataclass(frozen=True, slots=True)
class ScriptFolds:
    """How a script cross-validates: in `count` folds, by group or by time where `kind` is "group" or "time".

    `column` is where the file has the group or time of a row; empty where it has them nowhere, and then a script
    with a `kind` cross-validates nothing.
    """

    count: int = 3
    kind: str = ""
    column: str = ""


def python_script(recommendation: Recommendation, table: Table, path: str) -> str:
    """A script that trains the best configuration on the file `path`, which `table` was read from.

    It prepares the columns as metahp did, prints the cross-validated score and fits on all rows.
    """
    return training_script(
        recommendation.best.configuration,
        table,
        path,
        metric=recommendation.metric,
        seed=recommendation.seed,
        verb="recommends",
        expectation=_expectation(recommendation),
    )


def training_script(
    configuration: Configuration,
    table: Table,
    path: str,
    *,
    metric: Metric,
    seed: int,
    verb: str,
    expectation: str,
    folds: ScriptFolds = ScriptFolds(),
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

    Raises:
        InputError: pandas has no reader for the format of the file.
    """
    imports: set[tuple[str, str]] = set()
    learner = learner_named(configuration.learner)
    numeric, categorical = ([name] for name in _COLUMNS)
    estimator = learner.estimator(configuration, table.task.type, numeric=numeric, categorical=categorical, seed=seed)
    model = _code(estimator, imports)
    ending = _ending(metric, table, folds, imports)
    path = local_path(path)
    body = [_constants(table, path, seed), *_functions(table), _features(table, path, learner)]
    if columns := [f"{name} = {chosen}" for name, chosen in _COLUMNS.items() if name in model]:
        body.append("\n".join(columns))
    is_short = table.task.n_rows < SHORT_TABLE and "QuantileTransformer" in model
    if is_short:
        body.append(_QUANTILES_NOTE)
    body += [f"model = {model}", ending]
    header = _HEADER.format(
        learner=configuration.learner,
        file=_escaped(Path(path).name),
        version=version("metahp"),
        verb=verb,
        expectation=expectation,
        needs=", ".join(f"{package} {_major_minor(package)} or later" for package in _packages(learner)),
    )
    is_unpacked = table.read.format == "arff" and table.read.compression is not None
    standard = [*(["gzip"] if is_unpacked else []), *(["warnings"] if is_short else [])]
    return "\n".join([header, _import_lines(imports, standard), "", *body]) + "\n"


def _expectation(recommendation: Recommendation) -> str:
    best = recommendation.best
    if math.isnan(best.score):
        return "What to expect of them on this table is not known."
    return (
        f"Expected {recommendation.metric.name}: {best.score:.4g} (80 % interval {best.low:.4g} to {best.high:.4g}"
        + (f"; library default {best.default_score:.4g}" if not math.isnan(best.default_score) else "")
        + (
            "),\nas measured on this very table."
            if recommendation.is_known_task
            else f"),\nlearned from a knowledge base of {recommendation.n_past_tasks:,} tasks."
        )
    )


def _packages(learner: Learner) -> list[str]:
    return list(dict.fromkeys(["pandas", "scikit-learn", *learner.libraries]))


def _major_minor(package: str) -> str:
    return ".".join(version(package).split(".")[:2])


def _import_lines(imports: set[tuple[str, str]], standard: Sequence[str]) -> str:
    lines = [*(f"import {module}" for module in standard), *([""] if standard else [])]
    lines += ["import numpy as np", "import pandas as pd"]
    for module in sorted({module for module, _ in imports}):
        names = ", ".join(sorted(name for home, name in imports if home == module))
        lines.append(f"from {module} import {names}")
    return "\n".join(lines)


def _constants(table: Table, path: str, seed: int) -> str:
    preparation = table.preparation
    parts = _date_parts(table)
    lines = [f"PATH = {_code(path, set())}", f"TARGET = {_code(table.target, set())}", f"SEED = {seed}"]
    lines.append(f"NUMERIC = {_code(list(preparation.numeric), set(), prefix=10)}")
    lines.append(f"CATEGORICAL = {_code(list(preparation.categorical), set(), prefix=14)}")
    lines.append(f"MISSING = {_code(list(MISSING_MARKERS), set(), prefix=10)}")
    if parts:
        lines.append(f"DATES = {_code(parts, set(), prefix=8)}")
    if preparation.dropped:
        lines.append("# Left out:")
        lines += [f"#   {name!r}: {why}" for name, why in list(preparation.dropped.items())[:20]]
        if len(preparation.dropped) > 20:
            lines.append(f"#   and {len(preparation.dropped) - 20} more")
    return "\n".join(lines) + "\n"


def _date_parts(table: Table) -> dict[str, list[str]]:
    """The parts that are features, by the name of the date."""
    return {
        name: [column.removeprefix(f"{name}.") for column in map(str, table.features) if column.startswith(f"{name}.")]
        for name in table.preparation.dates
    }


def _functions(table: Table) -> list[str]:
    return [_TEXT, _NUMBERS, *([_DATE_PARTS] if table.preparation.dates else []), ""]


def _features(table: Table, path: str, learner: Learner) -> str:
    lines = [_reading(table, path)]
    if table.preparation.renamed:
        lines.append("# Columns with an empty or repeated name, by position.")
        lines.append(f"RENAMED = {_code(dict(table.preparation.renamed), set(), prefix=10)}")
        lines.append("frame.columns = [RENAMED.get(i, str(name).strip()) for i, name in enumerate(frame.columns)]")
    else:
        lines.append("frame.columns = [str(name).strip() for name in frame.columns]")
    if table.task.type is TaskType.REGRESSION or _is_numeric_label(table.classes):
        lines.append("y = numbers(frame[TARGET])")
    else:
        lines.append("y = text(frame[TARGET])")
    lines.append("frame, y = frame[y.notna()], y[y.notna()]")
    if table.task.type.is_classification:
        label = '(y + 0.0).map("{:.15g}".format)' if _is_numeric_label(table.classes) else "y"
        lines.append(f"y = np.array({label}.tolist())")
    lines.append("")
    lines.append("columns = {name: numbers(frame[name]) for name in NUMERIC}")
    lines.append('columns |= {name: text(frame[name]).astype("category") for name in CATEGORICAL}')
    if table.preparation.dates:
        lines += [
            "for name, kept in DATES.items():",
            "    parts = date_parts(frame[name])",
            '    columns |= {f"{name} {part}": parts[part] for part in kept}',
        ]
    lines.append("X = pd.DataFrame(columns)")
    lines += learner.renaming(_script_names(table))
    return "\n".join(lines) + "\n"


def _script_names(table: Table) -> tuple[str, ...]:
    """The names of the columns of the script's `X`, whose date parts are named after a space."""
    dates = [f"{name} {part}" for name, parts in _date_parts(table).items() for part in parts]
    return (*table.preparation.numeric, *table.preparation.categorical, *dates)


def _reading(table: Table, path: str) -> str:
    """The lines that read the file into `frame`."""
    read = table.read
    if read.format == "parquet":
        # As an open file: by its path, Parquet's reader may take it for an address or cannot write it.
        return 'with open(PATH, "rb") as file:\n    frame = pd.read_parquet(file)'
    if read.format != "arff":
        return f"frame = {_read_call(table, path)}"
    # Lines that pandas skips by itself must not have a quote that it takes for the start of a longer one.
    opened = f'open(PATH, encoding="{read.encoding}")'
    if read.compression is not None:
        opened = f'gzip.open(PATH, "rt", encoding="{read.encoding}")'
    rows = replace(table, read=replace(read, skip_lines=0, compression=None))
    return (
        f"with {opened} as file:\n    for _ in range({read.skip_lines}):\n        next(file)\n"
        f"    frame = {_read_call(rows, '', source='file', depth=1)}"
    )


def _read_call(table: Table, path: str, *, source: str = "PATH", depth: int = 0) -> str:
    """The call that reads `source`, without the arguments that are pandas' defaults."""
    # The columns' names are in the script already; a placeholder stands for them until the call is written.
    placeholder = [_Name("CATEGORICAL")] if table.preparation.categorical else []
    call = ast.parse(table.read.pandas_source(_Name(source), placeholder), mode="eval").body
    assert isinstance(call, ast.Call)
    written = {"na_values": "MISSING", "dtype": 'dict.fromkeys(CATEGORICAL, "str")'}
    parts = [ast.unparse(argument) for argument in call.args]
    for keyword in call.keywords:
        value = _code(ast.literal_eval(keyword.value), set()) if isinstance(keyword.value, ast.Constant) else None
        is_told = keyword.arg == "compression" and path.lower().endswith(_PACKED)
        if (keyword.arg, value) in _PANDAS_DEFAULTS and not is_told:
            continue
        is_frame_wide = keyword.arg == "dtype" and value is not None
        text = None if is_frame_wide else written.get(str(keyword.arg))
        parts.append(f"{keyword.arg}={text or value or ast.unparse(keyword.value)}")
    return _bracketed(f"{ast.unparse(call.func)}(", parts, ")", depth, 8)


def _is_numeric_label(classes: Sequence[str]) -> bool:
    # As the target itself was read: Python takes more texts for numbers than pandas does, such as `1_000`.
    return bool(classes) and bool(np.isfinite(to_numbers(np.array(classes, dtype=object))).all())


def _ending(metric: Metric, table: Table, folds: ScriptFolds, imports: set[tuple[str, str]]) -> str:
    lines = ["model.fit(X, y)", 'print(f"fitted on all {len(X):,} rows")']
    if not folds.kind or folds.column:
        lines = [*_cross_validation(metric, table, folds, imports), "", *lines]
    return "\n" + "\n".join(lines)


def _cross_validation(metric: Metric, table: Table, folds: ScriptFolds, imports: set[tuple[str, str]]) -> list[str]:
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
        column = f"frame[{_code(folds.column, set())}]"
        is_date = folds.column in table.preparation.dates
        times = f'pd.to_datetime(text({column}), format="mixed", utc=True)' if is_date else f"numbers({column})"
        lines += [
            "# Rows of one time stay together.",
            f"times = pd.factorize({times}{rows}, sort=True)[0]",
            f"folds = {splitter}({n}).split(np.unique(times))",
            "folds = [tuple(np.flatnonzero(np.isin(times, part)) for part in parts) for parts in folds]",
        ]
    else:
        lines.append(f"folds = {splitter}({n}, shuffle=True, random_state=SEED)")
    if folds.kind == "group":
        lines.append(f"groups = pd.factorize(frame[{_code(folds.column, set())}])[0]")
        groups = f", groups=groups{rows}"
    imports |= {("sklearn.model_selection", name) for name in (splitter, "cross_val_score")}
    return [
        *lines,
        f'scores = cross_val_score(model, X{rows}, y{rows}{groups}, scoring="{metric.name}", cv=folds)',
        f'print(f"{metric.name}: {{scores.mean():.4f}} ({n}-fold cross-validation{how})")',
    ]


def _code(value: Any, imports: set[tuple[str, str]], *, depth: int = 0, prefix: int = 8) -> str:
    """Source code of a value: an unfitted estimator with the arguments that are not its defaults, or plain data.

    What an estimator needs is added to `imports` as (module, name). Broken over lines where one is too long.
    """
    if isinstance(value, dict):
        parts = [f"{_code(key, imports)}: {_code(item, imports, depth=depth + 1)}" for key, item in value.items()]
        return _bracketed("{", parts, "}", depth, prefix)
    if isinstance(value, list | tuple) and value and all(type(item) is _Name for item in value):
        return str(value[0]) if len(value) == 1 else f"[{', '.join(f'*{name}' for name in value)}]"
    if isinstance(value, list):
        return _bracketed("[", [_code(item, imports, depth=depth + 1) for item in value], "]", depth, prefix)
    if isinstance(value, tuple):
        # A named step hugs what it names: `("encode", ColumnTransformer(`.
        parts = [_code(item, imports, depth=depth) for item in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if type(value) is str:
        return repr(value) if '"' in value else f'"{_escaped(value)}"'
    if isinstance(value, BaseEstimator) or type(value).__module__.startswith("sklearn."):
        kind = type(value)
        imports.add((_public_home(kind), kind.__name__))
        arguments = _arguments(value)
        if len(arguments) == 1:
            [(name, given)] = arguments.items()
            return f"{kind.__name__}({name}={_code(given, imports, depth=depth)})"
        parts = [f"{name}={_code(given, imports, depth=depth + 1)}" for name, given in arguments.items()]
        return _bracketed(f"{kind.__name__}(", parts, ")", depth, prefix)
    if isinstance(value, np.generic):
        return repr(value.item())
    return repr(value)


def _public_home(kind: type) -> str:
    """The outermost module that a class can be imported from: `sklearn.pipeline`, `lightgbm`."""
    parts = kind.__module__.split(".")
    homes = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return next(home for home in homes if getattr(sys.modules.get(home), kind.__name__, None) is kind)


def _escaped(text: str) -> str:
    """The text as it may stand between double quotes, in a docstring too: in one line, and ending no string.

    Whatever does not show (control characters, those that change the direction of writing, half characters) is an
    escape, as `repr` has it.
    """
    return repr(text)[1:-1].replace('"', '\\"')


def _arguments(value: Any) -> dict[str, Any]:
    """Constructor arguments that differ from their defaults."""
    signature = inspect.signature(type(value).__init__).parameters
    given = (
        value.get_params(deep=False)
        if isinstance(value, BaseEstimator)
        else {name: getattr(value, name) for name in signature if hasattr(value, name)}
    )
    changed = {}
    for name, argument in given.items():
        default = signature[name].default if name in signature else inspect.Parameter.empty
        is_same = type(argument) is type(default) and (argument is default or argument == default)
        if not is_same and not (isinstance(argument, float) and math.isnan(argument)):
            changed[name] = _Name("SEED") if name == "random_state" else argument
    return changed


def _bracketed(start: str, parts: list[str], end: str, depth: int, prefix: int) -> str:
    line = start + ", ".join(parts) + end
    if "\n" not in line and len(line) + prefix + 4 * depth <= LINE_LENGTH:
        return line
    indent = "    " * (depth + 1)
    if all("\n" not in part for part in parts) and max(map(len, parts)) < 30 and len(parts) > 8:
        return start + "\n" + _filled(parts, indent) + "\n" + "    " * depth + end
    return start + "\n" + "".join(f"{indent}{part},\n" for part in parts) + "    " * depth + end


def _filled(parts: list[str], indent: str) -> str:
    lines, line = [], indent
    for part in parts:
        if len(line) + len(part) + 2 > LINE_LENGTH:
            lines.append(line.rstrip())
            line = indent
        line += f"{part}, "
    return "\n".join([*lines, line.rstrip()])
