"""The part of a script that reads a file and makes features of its columns, as metahp does."""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import replace
from types import FunctionType
from typing import Any

import numpy as np

from metahp.core.task import TaskType
from metahp.datasets import portable
from metahp.datasets.preparation import KINDS, Column
from metahp.datasets.table import Table
from metahp.learners.base import Learner
from metahp.results.source_code import Variable, write_call, write_value

# Columns that are left out are named up to this many.
MAX_DROPPED = 20
_PANDAS_DEFAULTS = frozenset({("compression", "None"), ("decimal", '"."'), ("quotechar", "'\"'"), ("sep", '","')})
# By these endings pandas takes a file for packed unless the call says that it is not.
_PACKED = (".gz", ".bz2", ".zip", ".xz", ".zst", ".tar")
_TEXT_COLUMNS = '{name: "str" for name, kind in COLUMNS.items() if kind != "number"}'
# What makes features of a column of each kind; the name of the portable function, and the lines that call it.
_READERS = {
    "number": ("read_numbers", ["columns[name] = read_numbers(frame[name])"]),
    "written": ("read_written_numbers", ["columns[name] = read_written_numbers(frame[name], **WRITTEN[name])"]),
    "clock": ("read_seconds", ["columns[name] = read_seconds(frame[name])"]),
    "category": ("read_categories", ["columns[name] = read_categories(frame[name])"]),
    "date": (
        "read_date_parts",
        [
            'parts = read_date_parts(frame[name], FORMATS.get(name, ["mixed"]))',
            'columns |= {f"{name}.{part}": parts[part] for part in kind}',
        ],
    ),
}


def write_constants(table: Table) -> str:
    """The lines that say what the columns are."""
    columns = {column.name: _describe_column(column) for column in table.preparation.columns}
    dropped = table.preparation.dropped
    lines = ["# Numbers, categories, or dates and the parts of them that are features."]
    lines.append(f"COLUMNS = {write_value(columns, set(), prefix=10)}")
    lines.append(f"MISSING = {write_value(list(table.preparation.missing), set(), prefix=10)}")
    lines += _write_notations(table)
    if dropped:
        lines.append("# Left out:")
        lines += [f"#   {name!r}: {why}" for name, why in list(dropped.items())[:MAX_DROPPED]]
        if len(dropped) > MAX_DROPPED:
            lines.append(f"#   and {len(dropped) - MAX_DROPPED} more")
    return "\n".join(lines) + "\n"


def _write_notations(table: Table) -> list[str]:
    """The lines that say how numbers and dates are written."""
    every = [*table.preparation.columns, *([table.preparation.target] if table.preparation.target else [])]
    lines = []
    if written := [column for column in every if column.kind == "written"]:
        values = {column.name: {"decimal": column.decimal, "units": dict(column.units)} for column in written}
        lines += ["# Decimal marks, and what a number is multiplied by for its unit."]
        lines.append(f"WRITTEN = {write_value(values, set(), prefix=10)}")
    if dates := [column for column in every if column.kind == "date"]:
        formats = {column.name: list(column.formats) for column in dates if column.formats}
        stems = {column.name: column.stem for column in dates if column.stem}
        lines.append(f"FORMATS = {write_value(formats, set(), prefix=10)}")
        if stems:
            lines.append("# What the names of the features of a date begin with.")
            lines.append(f"STEMS = {write_value(stems, set(), prefix=8)}")
    if respelled := [column for column in every if column.is_respelled]:
        spellings = {column.name: list(column.categories) for column in respelled}
        lines += ["# How categories are written; other cases and blanks mean the same."]
        lines.append(f"SPELLINGS = {write_value(spellings, set(), prefix=12)}")
    return lines


def write_column_call(table: Table, name: str, function: str) -> str:
    """The expression that reads a column of the frame by a portable function."""
    column = next((column for column in table.preparation.columns if column.name == name), None)
    more = ""
    if column is not None and column.kind == "written":
        more = f", **WRITTEN[{write_value(name, set())}]"
    elif column is not None and column.kind == "date":
        more = f", FORMATS.get({write_value(name, set())}, ['mixed'])"
    return f"{function}(frame[{write_value(name, set())}]{more})"


def _describe_column(column: Column) -> str | list[str]:
    return list(column.parts) if column.kind == "date" else column.kind


def write_functions(table: Table, learner: Learner, more: Sequence[str] = ()) -> list[str]:
    """The functions that read columns: those of `portable` that are needed, `more` by their names, and `prepare`."""
    wanted = {_READERS[kind][0] for kind in _find_kinds(table)} | {_choose_target_reader(table)}
    wanted |= {"make_number_label"} if _has_number_labels(table) else set()
    wanted |= set(more)
    wanted |= {"respell"} if table.preparation.target is not None and table.preparation.target.is_respelled else set()
    functions = [*_copy_sources(wanted), _write_prepare(table, learner)]
    return [f"{function}\n" for function in functions]


def _find_kinds(table: Table) -> list[str]:
    return [kind for kind in KINDS if any(column.kind == kind for column in table.preparation.columns)]


def _copy_sources(names: set[str]) -> list[str]:
    """The source code of portable functions, and of those that they call, in the order of their file."""
    sources = {
        name: inspect.getsource(function)
        for name, function in vars(portable).items()
        if isinstance(function, FunctionType)
    }
    calls = {
        name: {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)} & sources.keys()
        for name, source in sources.items()
    }
    needed: set[str] = set()
    while names - needed:
        needed |= names
        names = set().union(*(calls[name] for name in names))
    return [source for name, source in sources.items() if name in needed]


def _write_prepare(table: Table, learner: Learner) -> str:
    kinds = _find_kinds(table)
    lines: list[str] = []
    for kind in kinds:
        if kind == kinds[-1]:
            test = "else:" if len(kinds) > 1 else ""
        else:
            test = f'{"elif" if lines else "if"} kind == "{kind}":'
        made = _READERS[kind][1]
        if kind == "category" and any(column.is_respelled for column in table.preparation.columns):
            made = ["columns[name] = read_categories(frame[name], spellings=SPELLINGS.get(name, ()))"]
        if kind == "date" and any(column.stem for column in table.preparation.columns):
            made = [line.replace("{name}.", "{STEMS.get(name, name)}.") for line in made]
        lines += [test, *(f"    {line}" for line in made)] if test else made
    loop = "for name in COLUMNS:" if kinds in (["number"], ["category"]) else "for name, kind in COLUMNS.items():"
    has_categories = bool(table.is_categorical.any())
    adapting = learner.adapting(table.preparation.feature_names, has_categories=has_categories)
    body = [
        '"""Features of raw rows, as the model takes them."""',
        "columns = {}",
        loop,
        *(f"    {line}" for line in lines),
        *(["X = pd.DataFrame(columns)", *adapting, "return X"] if adapting else ["return pd.DataFrame(columns)"]),
    ]
    return "\n".join(["def prepare(frame: pd.DataFrame) -> pd.DataFrame:", *(f"    {line}" for line in body)]) + "\n"


def write_reading(table: Table, learner: Learner, path: str) -> str:
    """The lines that read the file at PATH, which is `path`, and make features `X` and targets `y` of it."""
    lines = [_write_opening(table, path)]
    if table.read.n_footer:
        lines += ["# Lines of totals or notes at the end.", f"frame = frame.iloc[:-{table.read.n_footer}]"]
    if table.read.renamed:
        lines.append("# Columns with an empty or repeated name, by position.")
        lines.append(f"RENAMED = {write_value(dict(table.read.renamed), set(), prefix=10)}")
        lines.append("frame.columns = [RENAMED.get(i, str(name).strip()) for i, name in enumerate(frame.columns)]")
    else:
        lines.append("frame.columns = [str(name).strip() for name in frame.columns]")
    reader = _choose_target_reader(table)
    if reader == "read_written_numbers":
        lines.append("y = read_written_numbers(frame[TARGET], **WRITTEN[TARGET])")
    elif reader != "read_texts":
        lines.append(f"y = {reader}(frame[TARGET])")
    else:
        lines.append("texts, positions = read_texts(frame[TARGET])")
        is_respelled = table.preparation.target is not None and table.preparation.target.is_respelled
        lines.append("y = respell(texts, SPELLINGS[TARGET])[positions]" if is_respelled else "y = texts[positions]")
    lines.append("frame, y = frame[pd.notna(y)], y[pd.notna(y)]")
    if _has_number_labels(table):
        lines.append("y = np.array([make_number_label(value) for value in y])")
    if table.task.type.is_classification and not learner.takes_labels:
        lines += [
            "# The model takes classes as codes: CLASSES[i] is the class i.",
            "CLASSES, y = np.unique(y, return_inverse=True)",
        ]
    return "\n".join([*lines, "X = prepare(frame)"]) + "\n"


def _choose_target_reader(table: Table) -> str:
    target = table.preparation.target
    is_number = table.task.type is TaskType.REGRESSION or _has_number_labels(table)
    if target is not None and target.is_respelled:
        return "read_texts"
    if is_number and target is not None:
        return _READERS[target.kind][0]
    return "read_numbers" if is_number else "read_texts"


def _has_number_labels(table: Table) -> bool:
    # As the target itself was read: Python takes more texts for numbers than pandas does, such as `1_000`.
    labels = np.array(table.classes, dtype=object)
    return bool(table.classes) and bool(np.isfinite(portable.parse_numbers(labels)).all())


def _write_opening(table: Table, path: str) -> str:
    """The lines that read the file into `frame`."""
    read = table.read
    if read.format == "parquet":
        # As an open file: by its path, Parquet's reader may take it for an address or cannot write it.
        return 'with open(PATH, "rb") as file:\n    frame = pd.read_parquet(file)'
    if read.format != "arff":
        return f"frame = {_write_read_call(table, path)}"
    # Lines that pandas skips by itself must not have a quote that it takes for the start of a longer one.
    opened = f'open(PATH, encoding="{read.encoding}")'
    if read.compression is not None:
        opened = f'gzip.open(PATH, "rt", encoding="{read.encoding}")'
    rows = replace(table, read=replace(read, skip_lines=0, compression=None))
    return (
        f"with {opened} as file:\n    for _ in range({read.skip_lines}):\n        next(file)\n"
        f"    frame = {_write_read_call(rows, '', source='file', depth=1)}"
    )


def _write_read_call(table: Table, path: str, *, source: str = "PATH", depth: int = 0) -> str:
    """The call that reads `source`, without the arguments that are pandas' defaults."""
    # The columns' names are in the script already; a placeholder stands for them until the call is written.
    target = table.preparation.target
    is_written = target is not None and target.kind == "written"
    placeholder = [Variable("COLUMNS")] if table.preparation.text_names or is_written else []
    call = ast.parse(table.read.write_pandas_call(Variable(source), placeholder), mode="eval").body
    assert isinstance(call, ast.Call)
    written = {"na_values": "MISSING", "dtype": _TEXT_COLUMNS + (' | {TARGET: "str"}' if is_written else "")}
    parts = [ast.unparse(argument) for argument in call.args]
    for keyword in call.keywords:
        value: Any = None
        if isinstance(keyword.value, ast.Constant):
            value = write_value(ast.literal_eval(keyword.value), set())
        is_told = keyword.arg == "compression" and path.lower().endswith(_PACKED)
        if (keyword.arg, value) in _PANDAS_DEFAULTS and not is_told:
            continue
        is_frame_wide = keyword.arg == "dtype" and value is not None
        text = None if is_frame_wide else written.get(str(keyword.arg))
        parts.append(f"{keyword.arg}={text or value or ast.unparse(keyword.value)}")
    return write_call(ast.unparse(call.func), parts, depth=depth)
