"""Read CSV and similar files: guess the separator, read rows with Arrow, name the line of a row that does not fit."""

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from metahp.core.errors import InputError
from metahp.datasets.footer import looks_like_footer
from metahp.datasets.layout import Layout, find_layout, find_usual_width
from metahp.datasets.limits import MAX_LINE_BYTES, check_columns, format_gibibytes
from metahp.datasets.notation import GROUPS_OF_THREE, are_groups_of_three, find_decimal_marks
from metahp.datasets.portable import MISSING
from metahp.datasets.raw import ReadOptions
from metahp.datasets.source import Text

SEPARATORS = (",", ";", "\t", "|")
SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SAMPLE_BYTES = 1 << 18
MAX_SAMPLE_BYTES = 1 << 26
SAMPLE_LINES = 20
SAMPLE_ROWS = 100
# A block must hold at least one row of a very wide table.
BLOCK_BYTES = 1 << 23
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LOSES_DIGITS = re.compile(r"[-+]?0\d+|[-+]?\d{16,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sketch:
    """Facts from the start of a file: separator, header, where the rows begin, and which columns look like numbers."""

    separator: str
    header: list[str]
    layout: Layout
    skipped: int
    offset: int
    first_line: int
    rows: list[list[str]]
    decimal: str
    is_numeric: list[bool]
    could_be_codes: list[bool]
    could_be_thousands: list[bool]
    has_space_before_quote: bool


def read_delimited(
    text: Text, text_columns: Collection[str] = (), min_columns: int = 2, separator: str | None = None
) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    """The raw frame with the header's names unchanged, the read options, and warnings.

    Columns in `text_columns` stay text. With fewer than `min_columns` columns the separator counts as unknown.

    Raises:
        InputError: no rows, or a row with another number of fields than the header.
    """
    sketch = _make_sketch(text, text_columns, min_columns, separator)
    warnings = [*text.warnings, *sketch.layout.warnings]
    if _looks_headless(sketch.header):
        warnings.append("the first line is read as column names but looks like values; add a header line if it is data")
    if sketch.has_space_before_quote:
        frame = _read_with_pandas(text, sketch)
    else:
        try:
            frame = _read_with_arrow(text, sketch)
        except pa.ArrowInvalid:
            # Arrow refuses unusual files. A row of the wrong length is an error; pandas' slower parser reads the rest.
            frame = _read_with_pandas(text, sketch)
    if frame.empty:
        raise InputError(f"'{text.source.label}' has a header and no rows; expected rows of values below it.")
    options = ReadOptions(
        format="csv",
        separator=sketch.separator,
        encoding=text.encoding,
        compression=text.source.compression,
        decimal_hint=sketch.decimal,
        skip_lines=sketch.skipped if sketch.layout.is_plain else sketch.first_line - 1,
        column_names=() if sketch.layout.is_plain else sketch.layout.names,
        first_line=sketch.first_line,
    )
    return frame.set_axis(sketch.header, axis=1), options, tuple(warnings)


def _make_sketch(text: Text, text_columns: Collection[str], min_columns: int, given: str | None) -> _Sketch:
    sample, is_whole = _read_sample(text)
    decoded = sample.decode("utf-8", errors="ignore")
    first = decoded.lstrip("\r\n \t")[:1] or decoded[:1]
    separators = SEPARATORS if given is None else (given,)
    parsed = {separator: _parse_sample(decoded, separator, is_whole) for separator in separators}
    separator = max(separators, key=lambda candidate: _rate_separator([row for _, row in parsed[candidate]]))
    lines = parsed[separator]
    if not lines and decoded.strip():
        raise InputError(
            f"'{text.source.label}' has a first line with more than {csv.field_size_limit():,} characters in one "
            "field; is a quote not closed, or is it a table at all?"
        )
    if not lines or not first:
        raise InputError(f"'{text.source.label}' is empty; expected a header line and rows.")
    layout = find_layout([row for _, row in lines])
    end, header = lines[layout.first - 1][0], layout.names
    check_columns(len(header), f"'{text.source.label}'")
    rows = [row for _, row in lines[layout.first :]]
    ends = [match.end() for match in _LINE_END.finditer(sample)]
    if len(header) < min_columns:
        raise InputError(
            f"'{text.source.label}' has one column; expected a target and at least one feature, "
            "separated by one of , ; tab |."
        )
    offset = ends[end - 1] if end <= len(ends) else len(sample)
    if not rows and is_whole:
        raise InputError(f"'{text.source.label}' has a header and no rows; expected rows of values below it.")
    skipped = _count_blank_lines(decoded)
    columns = [[row[index] for row in rows if index < len(row)] for index in range(len(header))]
    spaced = re.search(re.escape(separator) + r' +"', decoded) is not None
    names = [name.strip() for name in header]
    return _Sketch(
        separator=separator,
        header=names,
        layout=layout,
        skipped=skipped,
        offset=offset,
        first_line=end + 1,
        rows=rows,
        decimal=_find_decimal(rows, separator),
        is_numeric=[
            name not in text_columns and _is_numeric(values) for name, values in zip(names, columns, strict=True)
        ],
        could_be_codes=[_could_be_codes(values) for values in columns],
        could_be_thousands=[are_groups_of_three(_list_present(values)) for values in columns],
        has_space_before_quote=spaced,
    )


def _read_sample(text: Text) -> tuple[bytes, bool]:
    """The first bytes of the text, at least `SAMPLE_LINES` lines of it, and whether they are the whole text."""
    size = SAMPLE_BYTES
    with text.open() as stream:
        sample = stream.read(size)
        while len(sample) == size and size < MAX_SAMPLE_BYTES and len(sample.splitlines()) < SAMPLE_LINES:
            sample += stream.read(size)
            size *= 2
    return sample, len(sample) < size


def _parse_sample(decoded: str, separator: str, is_whole: bool) -> list[tuple[int, list[str]]]:
    """The first rows that are not blank, each with the number of the line where it ends."""
    rows = []
    reader = csv.reader(io.StringIO(decoded, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                rows.append((reader.line_num, row))
            if len(rows) > SAMPLE_ROWS:
                return rows
    except csv.Error:
        # A quote that is never closed makes one endless field; the full parser will name it.
        return rows
    return rows if is_whole or len(rows) < 2 else rows[:-1]


def _rate_separator(rows: list[list[str]]) -> tuple[float, int]:
    """How well a separator fits: the share of rows of the usual length, then the number of columns."""
    width, share = find_usual_width(rows)
    return (share, width) if width > 1 else (0.0, 0)


def _count_blank_lines(decoded: str) -> int:
    blank = decoded[: len(decoded) - len(decoded.lstrip())]
    return len(_LINE_END.findall(blank.encode()))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_numeric(values: list[str]) -> bool:
    """Whether all values are numbers that lose nothing as such: no leading zero, not too many digits."""
    present = _list_present(values)
    return all(_is_number(value) for value in present) and not any(_LOSES_DIGITS.fullmatch(value) for value in present)


def _find_decimal(rows: list[list[str]], separator: str) -> str:
    """The decimal mark that the cells show, or else the semicolons between them; empty for none or both."""
    marks = find_decimal_marks([cell.strip() for row in rows for cell in row])
    # Where the comma is the decimal mark, spreadsheets separate fields by semicolons.
    return "," if not marks and separator == ";" else marks if len(marks) == 1 else ""


def _list_present(values: list[str]) -> list[str]:
    return [text for value in values if (text := value.strip()) not in MISSING]


def _could_be_codes(values: list[str]) -> bool:
    """Whether later values may have leading zeros: all of these are digits, and equally many."""
    present = _list_present(values)
    return len({len(value) for value in present}) == 1 and len(present[0]) > 1 and all(map(str.isdecimal, present))


def _looks_headless(header: list[str]) -> bool:
    numbers = [float(name) for name in header if _is_number(name)]
    counted: np.ndarray | list[float] = np.arange(len(numbers)) + numbers[0] if numbers else []
    # 0, 1, 2, … and consecutive years are column names.
    is_value = any(number != round(number) for number in numbers)
    return (is_value or 2 * len(numbers) >= len(header)) and not np.array_equal(numbers, counted)


def _read_with_arrow(text: Text, sketch: _Sketch) -> pd.DataFrame:
    names = [f"c{index}" for index in range(len(sketch.header))]
    numeric = {name for name, is_numeric in zip(names, sketch.is_numeric, strict=True) if is_numeric}
    codes = {name for name, could_be in zip(names, sketch.could_be_codes, strict=True) if could_be} & numeric
    thousands = {name for name, could_be in zip(names, sketch.could_be_thousands, strict=True) if could_be} & numeric
    numeric -= codes | thousands
    try:
        table = _read_arrow_table(
            text, sketch, {name: pa.float64() if name in numeric else pa.string() for name in names}
        )
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
        # The first rows hold numbers but a later row does not: read all as text, then convert column by column.
        table = _read_arrow_table(text, sketch, dict.fromkeys(names, pa.string()))
        for index, name in enumerate(names):
            if name in numeric:
                table = table.set_column(index, name, _cast_to_numbers(table.column(index)))
    for index, name in enumerate(names):
        if name in codes:
            table = table.set_column(index, name, _cast_to_numbers(table.column(index), keep_codes=True))
        elif name in thousands and not _are_all_groups_of_three(table.column(index)):
            table = table.set_column(index, name, _cast_to_numbers(table.column(index)))
    return table.to_pandas(split_blocks=True, self_destruct=True)


def _are_all_groups_of_three(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.match_substring_regex(pc.utf8_trim_whitespace(column), f"^({GROUPS_OF_THREE})$")).as_py())


def _read_arrow_table(text: Text, sketch: _Sketch, types: dict[str, pa.DataType]) -> pa.Table:
    source = text.source
    with source.open_arrow() as stream:
        stream.seek(text.start + sketch.offset)
        try:
            return pacsv.read_csv(
                stream,
                read_options=pacsv.ReadOptions(column_names=list(types), block_size=BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(delimiter=sketch.separator, newlines_in_values=text.has_quotes),
                convert_options=pacsv.ConvertOptions(
                    column_types=types,
                    null_values=list(MISSING),
                    strings_can_be_null=True,
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                raise InputError(
                    f"'{source.label}' has a header and no rows; expected rows of values below it."
                ) from None
            raise


def _cast_to_numbers(column: pa.ChunkedArray, *, keep_codes: bool = False) -> pa.ChunkedArray:
    """The column as numbers; as it is where it holds other text, or codes with leading zeros that are to be kept."""
    trimmed = pc.utf8_trim_whitespace(column)
    if keep_codes and pc.any(pc.match_substring_regex(trimmed, "^0[0-9]")).as_py():
        return column
    missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
    try:
        return pc.cast(pc.if_else(missing, pa.scalar(None, pa.string()), trimmed), pa.float64())
    except pa.ArrowInvalid:
        return column


def _read_with_pandas(text: Text, sketch: _Sketch) -> pd.DataFrame:
    _check_rows(text, sketch)
    with text.open() as stream:
        stream.seek(text.start + sketch.offset)
        try:
            frame = pd.read_csv(
                stream,
                sep=sketch.separator,
                header=None,
                names=range(len(sketch.header)),
                dtype="str",
                keep_default_na=False,
                na_values=list(MISSING),
                skipinitialspace=True,
                encoding="utf-8",
                index_col=False,
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(
                f"'{text.source.label}' cannot be parsed as CSV: {str(error).splitlines()[0]}. "
                "Check the quotes, or save it as Parquet."
            ) from None
    return frame


def _check_rows(text: Text, sketch: _Sketch) -> None:
    """Read row by row, to name the line of the first row that does not fit the header."""
    n_expected = len(sketch.header)
    with text.open() as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        reader = csv.reader(_read_lines(lines, text.source.label), delimiter=sketch.separator, skipinitialspace=True)
        start = 1
        # Totals and notes at the end may lack fields.
        footer: InputError | None = None
        try:
            for row in reader:
                is_blank = len(row) <= 1 and not "".join(row).strip()
                if footer is not None and not is_blank and not looks_like_footer(row):
                    raise footer
                if len(row) != n_expected and not is_blank:
                    error = InputError(
                        f"'{text.source.label}', line {start}: expected {n_expected} fields as in the header, found "
                        f"{len(row)} (separator: {SEPARATOR_NAMES[sketch.separator]}). "
                        "Correct that line, or quote values that hold the separator."
                    )
                    if len(row) > n_expected or not looks_like_footer(row):
                        raise error
                    footer = footer or error
                start = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"'{text.source.label}', line {start}: {error}; is a quote not closed?") from None


def _read_lines(lines: io.TextIOWrapper, label: str) -> Iterator[str]:
    while line := lines.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise InputError(
                f"'{label}' has a line of more than {format_gibibytes(MAX_LINE_BYTES)}; is it a table at all?"
            )
        yield line
