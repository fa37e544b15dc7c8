"""ARFF (Weka): numeric, nominal, string and date attributes, dense and sparse rows, quotes and `?`.

scipy's reader supports neither string attributes nor sparse rows.
Source of the format: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metahp.core.errors import InputError
from metahp.datasets.limits import check_cells, check_columns
from metahp.datasets.raw import ReadOptions
from metahp.datasets.source import Text

# Possessive quantifiers (`*+`, `++`) never backtrack, so every line is matched in linear time.
_QUOTED = r"'[^'\\]*+(?:\\.[^'\\]*+)*+'|\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\""
_ATTRIBUTE = re.compile(rf"@attribute\s++({_QUOTED}|[^\s{{]++)\s*+(.*)$", re.IGNORECASE)
_COMMA_FIELD = re.compile(rf"\s*+(?:({_QUOTED})\s*+(?=,|$)|([^,]*+))(,|$)")
_SPACE_FIELD = re.compile(rf"\s*+(?:({_QUOTED})(?=\s|$)|(\S++))(\s++|$)")
_SPARSE_FIELD = re.compile(rf"\s*+(\d++)\s++(?:({_QUOTED})\s*+(?=,|$)|([^,]++))(?:,|$)|[^,]*+(?:,|$)")
_WEIGHT = re.compile(r",\s*+\{[^{}]*+\}\s*$")
_NUMERIC = ("numeric", "real", "integer")
MAX_INDEX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    is_numeric: bool
    values: tuple[str, ...]

    @property
    def sparse_default(self) -> str:
        """The value that a sparse row omits: zero, which is the first value of a nominal attribute."""
        return self.values[0] if self.values else "0"


def read_arff(text: Text) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    """The raw frame (numeric attributes as float64, all others as text), the read options, and warnings.

    Raises:
        InputError: no attributes, no `@data`, or a row that does not fit the attributes; the message names the line.
    """
    label = text.source.label
    lines = re.split(r"\r\n|\n|\r", text.decode())
    attributes, n_header = _parse_header(lines, label)
    # A sparse row has a short line but takes as much memory as any other row.
    check_cells(sum(line.lstrip().startswith("{") for line in lines[n_header:]), len(attributes), f"'{label}'")
    rows, numbers, is_sparse = [], [], False
    comment = ""
    for number, raw in enumerate(lines[n_header:], start=n_header + 1):
        line = raw.strip()
        if line.startswith("%"):
            comment = "%"
        elif line.startswith("{"):
            rows.append(_parse_sparse_row(line, attributes, label, number))
            numbers.append(number)
            is_sparse = True
        elif line:
            rows.append(_parse_dense_row(line, len(attributes), label, number))
            numbers.append(number)
    if not rows:
        raise InputError(f"'{label}' has attributes and no rows; expected at least 20.")
    columns = {
        index: _make_column([row[index] for row in rows], attribute, numbers, label)
        for index, attribute in enumerate(attributes)
    }
    data = "\n".join(lines[n_header:])
    options = ReadOptions(
        format="sparse-arff" if is_sparse else "arff",
        separator="," if "," in data else " ",
        encoding=text.encoding,
        compression=text.source.compression,
        quote='"' if '"' in data and "'" not in data else "'",
        skip_lines=n_header,
        column_names=tuple(attribute.name for attribute in attributes),
        comment=comment,
    )
    return pd.DataFrame(columns).set_axis(list(options.column_names), axis=1), options, text.warnings


def _parse_header(lines: list[str], label: str) -> tuple[list[_Attribute], int]:
    attributes: list[_Attribute] = []
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        lowered = line.lower()
        if lowered.startswith("@data"):
            if not attributes:
                raise InputError(f"'{label}', line {number}: @data comes before any @attribute.")
            check_columns(len(attributes), f"'{label}'")
            return attributes, number
        if lowered.startswith("@attribute"):
            attributes.append(_parse_attribute(line, label, number))
        elif line and not line.startswith("%") and not lowered.startswith("@relation"):
            raise InputError(
                f"'{label}', line {number}: expected @relation, @attribute, @data or a % comment in the "
                f"header of an ARFF file, found '{line[:40]}'."
            )
    raise InputError(f"'{label}' is an ARFF file without @data; is it cut off?")


def _parse_attribute(line: str, label: str, number: int) -> _Attribute:
    match = _ATTRIBUTE.match(line)
    kind = match.group(2).strip() if match else ""
    word = kind.split()[0].lower() if kind else ""
    if match is None or not (kind.startswith("{") or word in (*_NUMERIC, "string", "date")):
        raise InputError(
            f"'{label}', line {number}: expected an attribute with its type (numeric, string, date or "
            f"{{value, …}}), found '{line[:60]}'."
        )
    values = tuple(_split_fields(kind.strip("{} \t"), _COMMA_FIELD)) if kind.startswith("{") else ()
    return _Attribute(_unquote(match.group(1)), word in _NUMERIC, values)


def _split_fields(line: str, pattern: re.Pattern[str]) -> list[str]:
    if "'" not in line and '"' not in line:
        return [field.strip() for field in line.split(",")] if pattern is _COMMA_FIELD else line.split()
    fields, position = [], 0
    while match := pattern.match(line, position):
        fields.append(_unquote(match.group(1) or match.group(2).rstrip()))
        position = match.end()
        if match.group(3) == "" or (pattern is _SPACE_FIELD and position == len(line)):
            break
    return fields


def _unquote(field: str) -> str:
    if len(field) >= 2 and field[0] in "'\"" and field[-1] == field[0]:
        return re.sub(r"\\(.)", r"\1", field[1:-1])
    return field


def _parse_dense_row(line: str, n_expected: int, label: str, number: int) -> list[str]:
    line = _WEIGHT.sub("", line)
    row = _split_fields(line, _COMMA_FIELD if "," in line else _SPACE_FIELD)
    if len(row) != n_expected:
        raise InputError(
            f"'{label}', line {number}: expected {n_expected} values, one for each attribute, "
            f"found {len(row)}. Correct that line, or quote values that hold a comma."
        )
    return row


def _parse_sparse_row(line: str, attributes: list[_Attribute], label: str, number: int) -> list[str]:
    line = _WEIGHT.sub("", line)
    row = [attribute.sparse_default for attribute in attributes]
    fields = list(_SPARSE_FIELD.finditer(line[1 : line.rfind("}")])) if "}" in line else []
    if "}" not in line or any(match.group(1) is None and match.group().rstrip(",").strip() for match in fields):
        raise InputError(f"'{label}', line {number}: expected a sparse row {{index value, …}}, found '{line[:40]}'.")
    for match in fields:
        digits, quoted, plain = match.groups()
        if digits is None:
            continue
        if len(digits) > MAX_INDEX_DIGITS or int(digits) >= len(row):
            raise InputError(
                f"'{label}', line {number}: attribute {digits[:20]} does not exist; "
                f"attributes are counted from 0 to {len(row) - 1}."
            )
        row[int(digits)] = _unquote(quoted or plain.rstrip())
    return row


def _make_column(values: list[str], attribute: _Attribute, numbers: list[int], label: str) -> np.ndarray:
    if not attribute.is_numeric:
        return np.array([None if value == "?" else value for value in values], dtype=object)
    column = np.full(len(values), np.nan)
    for index, value in enumerate(values):
        if value not in ("?", ""):
            try:
                column[index] = float(value)
            except ValueError:
                raise InputError(
                    f"'{label}', line {numbers[index]}: attribute '{attribute.name}' is numeric, found '{value[:40]}'."
                ) from None
    return column
