"""How much a table may have: rows, columns, nesting and bytes in memory. One with more is refused before it is read."""

import psutil

from metahp.core.errors import InputError

# With fewer rows, no score means anything.
MIN_ROWS = 20
# Gene-expression tables have a column for each of about 20,000 genes, and a few for the patients. Every column costs
# about 0.3 ms and 15 kB to load, whatever its rows, and more in every later step.
MAX_COLUMNS = 25_000
# No cell of a table means more than a list of lists; Arrow's JSON parser and Python's `str` of arrays call themselves
# for every level, and end the process or give up at some hundred levels.
MAX_DEPTH = 32
# What a compressed table or a pipe may hold: more than a table that can be learned from here, less than most memories.
MAX_UNPACKED_BYTES = 1 << 32
# A line is held in memory as a whole.
MAX_LINE_BYTES = 1 << 28
# Text that is parsed in Python needs several times its size.
PYTHON_SHARE = 4
CELL_BYTES = 8


def compute_memory_bound() -> int:
    """The bytes that one table may take: half of the memory that is available now, the other half is for parsing."""
    return int(min(MAX_UNPACKED_BYTES, psutil.virtual_memory().available // 2))


def check_columns(n_columns: int, what: str) -> None:
    """Refuse a table that is too wide; `what` names it at the start of the message.

    Raises:
        InputError: it has more than `MAX_COLUMNS` columns.
    """
    if n_columns > MAX_COLUMNS:
        raise InputError(
            f"{what} has {n_columns:,} columns; expected at most {MAX_COLUMNS:,}. "
            "Keep the columns that vary most from row to row, or check whether rows and columns are swapped."
        )


def check_cells(n_rows: int, n_columns: int, what: str) -> None:
    """Refuse a table that is small as a file and large in memory; `what` names it at the start of the message.

    Raises:
        InputError: its cells do not fit into half of the memory that is available now.
    """
    needed, available = n_rows * n_columns * CELL_BYTES, psutil.virtual_memory().available
    if needed > available // 2:
        raise InputError(
            f"{what} has {n_rows:,} rows and {n_columns:,} columns, {format_gibibytes(needed)} in memory; expected at "
            f"most {format_gibibytes(available // 2)}, half of what is free. Leave out columns or rows."
        )


def format_gibibytes(n_bytes: int) -> str:
    """The size as people read it."""
    return f"{n_bytes / 2**30:,.1f} GiB"
