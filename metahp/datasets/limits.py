"""Limits of a table: rows, columns, nesting and bytes in memory. A larger table is refused before it is read."""

import psutil

from metahp.core.errors import InputError

# With fewer rows, scores are meaningless.
MIN_ROWS = 20
# Gene-expression tables have a column for each of about 20,000 genes, and a few for the patients. Each column takes
# about 0.3 ms and 15 kB to load, whatever the number of rows, and more in every later step.
MAX_COLUMNS = 25_000
# Useful cells are at most lists of lists. Arrow's JSON parser and Python's `str` of arrays recurse at every level: at
# some hundred levels they end the process or raise.
MAX_DEPTH = 32
# Bound for a compressed table or a pipe: more than any table to learn from, less than the memory of most machines.
MAX_UNPACKED_BYTES = 1 << 32
# A line is held in memory as a whole.
MAX_LINE_BYTES = 1 << 28
# Text that is parsed in Python needs several times its size.
PYTHON_SHARE = 4
CELL_BYTES = 8


def compute_memory_bound() -> int:
    """Bytes that one table may take: 4 GiB, or half of the available memory if that is less; parsing needs the rest."""
    return int(min(MAX_UNPACKED_BYTES, psutil.virtual_memory().available // 2))


def check_columns(n_columns: int, what: str) -> None:
    """Refuse a table with too many columns; `what` names it at the start of the message.

    Raises:
        InputError: the table has more than `MAX_COLUMNS` columns.
    """
    if n_columns > MAX_COLUMNS:
        raise InputError(
            f"{what} has {n_columns:,} columns; expected at most {MAX_COLUMNS:,}. "
            "Keep the columns that vary most from row to row, or check whether rows and columns are swapped."
        )


def check_cells(n_rows: int, n_columns: int, what: str) -> None:
    """Refuse a table that would not fit into memory; `what` names it at the start of the message.

    Raises:
        InputError: the cells need more than half of the available memory.
    """
    needed, available = n_rows * n_columns * CELL_BYTES, psutil.virtual_memory().available
    if needed > available // 2:
        raise InputError(
            f"{what} has {n_rows:,} rows and {n_columns:,} columns, {format_gibibytes(needed)} in memory; expected at "
            f"most {format_gibibytes(available // 2)}, half of what is free. Leave out columns or rows."
        )


def format_gibibytes(n_bytes: int) -> str:
    """The size as text, such as `4.0 GiB`."""
    return f"{n_bytes / 2**30:,.1f} GiB"
