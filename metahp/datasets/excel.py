"""Read a sheet of a workbook: xlsx, xls, xlsb and ods, by python-calamine."""

from typing import Any

import pandas as pd

from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.datasets.layout import find_layout
from metahp.datasets.limits import MIN_ROWS, check_cells, check_columns
from metahp.datasets.raw import ReadOptions
from metahp.datasets.source import Source

SUFFIXES = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
# Rows in which the header is looked for.
SAMPLE_ROWS = 100


def read_excel(source: Source, sheet: str | None = None) -> tuple[pd.DataFrame, ReadOptions, tuple[str, ...]]:
    """The raw frame of a sheet (the first one with enough rows where None), how it was read, and warnings.

    Raises:
        InputError: the workbook is damaged, the sheet is empty, or python-calamine is not installed.
        UnknownNameError: there is no such sheet.
    """
    try:
        import python_calamine  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            f"'{source.label}' is a workbook; pip install 'metahp[excel]' reads it, or save the sheet as CSV."
        ) from None
    with source.open() as stream:
        try:
            book = python_calamine.CalamineWorkbook.from_filelike(stream)
            names = book.sheet_names
            found = _find_sheet(names, sheet)
            rows: list[list[Any]] = book.get_sheet_by_name(found).to_python(skip_empty_area=False)
            if sheet is None and len(rows) <= MIN_ROWS:
                # A cover sheet or a note is no table.
                for name in names[1:]:
                    others = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
                    if len(others) > MIN_ROWS:
                        found, rows = name, others
                        break
        except python_calamine.CalamineError as error:
            raise InputError(f"'{source.label}' is not a readable workbook ({error}). Save the sheet as CSV.") from None
    warnings = (
        [f"read the sheet '{found}' of {len(names)}; `sheet` names another"] if sheet is None and len(names) > 1 else []
    )
    n_blank = next((index for index, row in enumerate(rows) if any(cell != "" for cell in row)), len(rows))
    rows = rows[n_blank:]
    if len(rows) < 2:
        raise InputError(f"The sheet '{found}' of '{source.label}' has no rows below a header; `sheet` names another.")
    check_columns(len(rows[0]), f"'{source.label}'")
    check_cells(len(rows), len(rows[0]), f"'{source.label}'")
    layout = find_layout([[_write_cell(cell) for cell in row] for row in rows[:SAMPLE_ROWS]])
    values = [row for row in rows[layout.first :] if any(cell != "" for cell in row)]
    frame = pd.DataFrame(values, columns=pd.Index(range(len(layout.names))), dtype=object)
    frame = frame.mask(frame == "").set_axis(pd.Index(layout.names), axis=1)
    options = ReadOptions(
        format="excel",
        sheet=found,
        skip_lines=n_blank + layout.first,
        column_names=layout.names,
        first_line=n_blank + layout.first + 1,
    )
    return frame, options, (*warnings, *layout.warnings)


def _find_sheet(names: list[str], sheet: str | None) -> str:
    if sheet is None:
        return names[0]
    if sheet not in names:
        raise UnknownNameError(f"No sheet is called '{sheet}'. {did_you_mean(sheet, names)}", argument="sheet")
    return sheet


def _write_cell(cell: Any) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
