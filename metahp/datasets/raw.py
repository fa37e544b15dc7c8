"""Raw tables: unchanged columns, and how a script can read them again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from metahp.core.errors import InputError
from metahp.core.text import join_names, make_encodable, name_column
from metahp.datasets.columns import FILE_RULES, ColumnRules
from metahp.datasets.limits import check_columns
from metahp.datasets.portable import MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a file was read, so that a script with only pandas can read it again.

    Attributes:
        format: csv, jsonl, parquet, arff, sparse-arff, or frame (not from a file).
        separator: Separator of the fields of a row.
        encoding: Encoding of the text.
        compression: Compression in pandas' terms; None for none.
        decimal_hint: Decimal mark that numbers of the file show; empty where they show none or both.
        quote: Quote character around fields that contain a separator.
        skip_lines: Lines before the header, or before the first row where `column_names` are given.
        column_names: Names of the columns where the file has no header, as in ARFF.
        comment: Start of lines to skip; empty for none.
        renamed: New names, by position, of columns whose name was empty or repeated.
        first_line: Line of the first row of values; 0 where there are no lines.
        missing: Texts that are missing values.
        sheet: Sheet of a workbook.
        is_nested: Whether objects inside of objects became columns, as in JSON.
        n_footer: Lines at the end that are no rows.
    """

    format: str = "frame"
    separator: str = ","
    encoding: str = "utf-8"
    compression: str | None = None
    decimal_hint: str = ""
    quote: str = '"'
    skip_lines: int = 0
    column_names: tuple[str, ...] = ()
    comment: str = ""
    renamed: Mapping[int, str] = field(default_factory=dict)
    first_line: int = 0
    missing: tuple[str, ...] = MISSING
    sheet: str = ""
    is_nested: bool = False
    n_footer: int = 0

    def write_pandas_call(self, path: str, text_columns: Sequence[str] = ()) -> str:
        """A Python expression that reads the file at `path` into a frame, with pandas imported as `pd`.

        Args:
            path: The file, as written in the expression.
            text_columns: Columns to keep as text even if they look like numbers.

        Raises:
            InputError: pandas has no reader for this format.
        """
        if self.format == "parquet":
            return f"pd.read_parquet({path!r})"
        named: dict[str, object] = {"encoding": self.encoding, "compression": self.compression}
        if self.format in ("jsonl", "json"):
            named |= {"lines": True} if self.format == "jsonl" else {}
            named |= {"dtype": False, "precise_float": True}
            call = f"pd.read_json({path!r}, {_format_arguments(named)})"
            return f"pd.json_normalize({call}.to_dict('records'))" if self.is_nested else call
        if self.format == "excel":
            how: dict[str, object] = {"sheet_name": self.sheet, "header": None, "names": list(self.column_names)}
            how |= {"skiprows": self.skip_lines, "dtype": "object", "engine": "calamine"}
            return f"pd.read_excel({path!r}, {_format_arguments(how)})"
        if self.format not in ("csv", "arff"):
            raise InputError(
                f"pandas cannot read this table again (its format is {self.format}); "
                "save it as CSV or Parquet and start from that file."
            )
        if text_columns:
            named["dtype"] = dict.fromkeys(text_columns, "str")
        named |= {
            "sep": self.separator,
            "quotechar": self.quote,
            "na_values": list(self.missing),
            "keep_default_na": False,
            "skipinitialspace": True,
        }
        if self.column_names:
            named |= {"header": None, "names": list(self.column_names)}
            named |= {"escapechar": "\\"} if self.format == "arff" else {"index_col": False}
        if self.skip_lines:
            named["skiprows"] = self.skip_lines
        if self.comment:
            named["comment"] = self.comment
        return f"pd.read_csv({path!r}, {_format_arguments(named)})"


def _format_arguments(named: dict[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in named.items())


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RawTable:
    """The columns of a file or a frame as they are; `RawTable.of` makes their names unique.

    Attributes:
        frame: One row per example, with unique column names; includes the target.
        target: Name of the target; None to guess it.
        name: Name of the task in results.
        read: How a script can read the file again.
        warnings: One line for each thing that a user should know.
        rules: How cells become values.
        drop: Columns to leave out.
        id_column: The column that names a row, kept beside predictions; empty where there is none.
        path: The file; empty where there is none.
    """

    frame: pd.DataFrame
    target: str | None = None
    name: str = ""
    read: ReadOptions = ReadOptions()
    warnings: tuple[str, ...] = ()
    rules: ColumnRules = FILE_RULES
    drop: tuple[str, ...] = ()
    id_column: str = ""
    path: str = ""

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        *,
        target: str | None = None,
        name: str = "",
        read: ReadOptions = ReadOptions(),
        warnings: Sequence[str] = (),
        rules: ColumnRules = FILE_RULES,
    ) -> "RawTable":
        """The raw table of a frame, which is not changed; columns with an empty or repeated name get a new name.

        Raises:
            InputError: too many columns.
        """
        check_columns(frame.shape[1], "The table")
        frame, renamed = name_columns(frame)
        warnings = list(warnings)
        if renamed:
            warnings.append(f"{len(renamed)} empty or repeated column name(s) renamed: {join_names(renamed.values())}")
        return cls(
            frame=frame,
            target=target,
            name=name,
            read=replace(read, renamed=renamed),
            warnings=tuple(warnings),
            rules=rules,
        )


def name_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, str]]:
    """The frame with unique column names that any encoding can write, and the new names by position."""
    names, renamed, seen = [], {}, set(map(name_column, frame.columns))
    used: set[str] = set()
    for index, raw in enumerate(frame.columns):
        name = make_encodable(name_column(raw)).strip()
        if not name or name in used or name.startswith("Unnamed: "):
            stem, count = name if name and not name.startswith("Unnamed: ") else "column", 2
            name = f"{stem}_{index + 1}"
            while name in used or name in seen:
                name, count = f"{stem}_{index + 1}_{count}", count + 1
            renamed[index] = name
        used.add(name)
        names.append(name)
    return frame.set_axis(names, axis=1), renamed
