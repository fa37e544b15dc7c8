"""Totals and notes at the end of a file are no rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.datasets.load import load
from metahp.datasets.table import Table

N = 60
rng = np.random.default_rng(0)
AGES = rng.integers(18, 90, N)
INCOMES = rng.normal(3000, 900, N).round(2)
ROWS = [f"{i},{AGES[i]},{INCOMES[i]},{'yes' if i % 3 else 'no'}" for i in range(N)]


def load_lines(folder: Path, rows: list[str], header: str = "id,age,income,bought", **options: str) -> Table:
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return load(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "footer",
    [
        [f"Total,{AGES.sum()},{INCOMES.sum():.2f},"],
        [f"TOTAL:,{AGES.sum()},{INCOMES.sum():.2f},40"],
        [f"Average,{AGES.mean():.1f},{INCOMES.mean():.2f},"],
        [f",{AGES.sum()},{INCOMES.sum():.2f},Total"],
        ["Grand total,,,"],
        ["Summe,,,"],
        [",,,", f"Sum,{AGES.sum()},,", f"Mean,{AGES.mean():.1f},,"],
        ["", f"Total,{AGES.sum()},{INCOMES.sum()},"],
        ["Source: the shop,,,"],
        ["Total: 60 rows"],
        ["Total,60", "* without returns"],
    ],
)
@pytest.mark.parametrize("target", ["bought", "income"])
def test_lines_of_totals_and_notes_are_left_out_and_quoted(footer: list[str], target: str, tmp_path: Path) -> None:
    clean = load_lines(tmp_path, ROWS, target=target)
    table = load_lines(tmp_path, [*ROWS, *footer], target=target)
    assert table.task.id == clean.task.id
    assert table.task.type == clean.task.type
    pd.testing.assert_frame_equal(table.features, clean.features)
    new = [warning for warning in table.warnings if warning not in clean.warnings]
    word = next(line for line in footer if line.strip(",")).strip(",").split(",")[0]
    assert len(new) == 1
    assert new[0].startswith("the last ")
    assert word in new[0]


def test_totals_below_names_are_known_by_their_sums(tmp_path: Path) -> None:
    names = [f"Region {i}" for i in range(N)]
    rows = [f'{name},{age},"${income:,.0f}"' for name, age, income in zip(names, AGES, INCOMES, strict=True)]
    total = f'Total,{AGES.sum()},"${INCOMES.sum():,.0f}"'
    table = load_lines(tmp_path, [*rows, total], header="region,age,income")
    assert len(table.y) == N
    mean = f'Average,{AGES.mean():.2f},"${INCOMES.mean():,.0f}"'
    assert len(load_lines(tmp_path, [*rows, mean], header="region,age,income").y) == N


@pytest.mark.parametrize("word", ["Total", "Sum", "Average", "Mean"])
def test_a_row_that_fits_stays(word: str, tmp_path: Path) -> None:
    words = [word if i % 20 == 19 else f"w{i % 7}" for i in range(N)]
    rows = [f"{words[i]},{AGES[i]},{'yes' if i % 3 else 'no'}" for i in range(N)]
    assert len(load_lines(tmp_path, rows, header="word,age,bought").y) == N
    alone = [*rows[:-1], f"{word} value,{AGES[0]},no"]
    assert len(load_lines(tmp_path, alone, header="word,age,bought").y) == N


def test_a_short_line_that_is_no_total_is_an_error(tmp_path: Path) -> None:
    from metahp.core.errors import InputError  # noqa: PLC0415

    with pytest.raises(InputError, match="line 62: expected 4 fields"):
        load_lines(tmp_path, [*ROWS, "1,2"])
    with pytest.raises(InputError, match="line 2: expected 4 fields"):
        load_lines(tmp_path, ["Total,2", *ROWS])
