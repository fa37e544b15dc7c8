"""What could have been meant otherwise in a column is said, with the cells that show it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.datasets.load import load
from metahp.datasets.reading import make_reading_options
from metahp.datasets.table import Table

N = 120
X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=N).round(3), "y": np.arange(N) % 2})


def load_with(folder: Path, cells: list[str], *, separator: str = ",", **options: object) -> Table:
    """The table of a CSV file with a column `v` of these cells."""
    path = folder / "t.csv"
    X.assign(v=cells)[["v", "a", "y"]].to_csv(path, index=False, sep=separator)
    return load(path, target="y", how=make_reading_options(**options))  # type: ignore[arg-type]


def find_warning(table: Table, words: str) -> str:
    found = [warning for warning in table.warnings if words in warning]
    assert len(found) == 1, table.warnings
    return found[0]


@pytest.mark.parametrize("sign", ["%", " %", " percent", " pct"])
@pytest.mark.parametrize("every", [2, 5, 40])
def test_percents_beside_fractions_are_hundredths(sign: str, every: int, tmp_path: Path) -> None:
    shares = [5 + i * 7 % 83 for i in range(N)]
    cells = [f"{x}{sign}" if i % every == 0 else f"{x / 100}" for i, x in enumerate(shares)]
    table = load_with(tmp_path, cells)
    np.testing.assert_allclose(table.features["v"], np.array(shares) / 100)
    assert "percents are divided by 100" in find_warning(table, "column 'v' mixes percents such as '5")
    new = pd.DataFrame({"v": ["12%", "0.12", "12"], "a": [1.0] * 3})
    values = table.preparation.transform(new)[0]["v"].tolist()
    assert values == [0.12 if sign.strip() == "%" else values[0], 0.12, 12.0]


def test_percents_beside_other_numbers_are_read_as_one_and_it_is_said(tmp_path: Path) -> None:
    table = load_with(tmp_path, [f"{10 + i % 80}{'%' if i % 2 else ''}" for i in range(N)])
    assert table.features["v"].tolist() == [10.0 + i % 80 for i in range(N)]
    assert find_warning(table, "mixes").endswith(
        "read as if the plain numbers were percents too; where they are not, write all cells in one way"
    )
    table = load_with(tmp_path, [f"{10 + i % 80}%" if i % 9 else "0" for i in range(N)])
    assert not any("mixes" in warning for warning in table.warnings)


@pytest.mark.parametrize(
    ("forms", "quoted"),
    [
        (["${}", "€{}"], "'${n}', '€{n}'"),
        (["{} USD", "{} EUR", "{} GBP"], "USD"),
        (["US${}", "CA${}"], "US$"),
        (["{} kg", "{} lb"], "kg"),
        (["{}kg", "{}"], ""),
        (["{} km", "{} miles"], "miles"),
        (["{} weeks", "{} months", "{} years"], "weeks"),
        (["{}°C", "{}°F"], "°C"),
        (["{} kg", "{} cm"], "cm"),
    ],
)
def test_amounts_in_units_that_are_not_converted_are_said(forms: list[str], quoted: str, tmp_path: Path) -> None:
    cells = [forms[i % len(forms)].format(10 + i * 7 % 101) for i in range(N)]
    table = load_with(tmp_path, cells)
    if not quoted:
        assert "v" in table.features
        assert not any("different units" in warning for warning in table.warnings)
        return
    warning = find_warning(table, "column 'v' holds amounts in different units")
    assert quoted.partition("{")[0].strip("', ") in warning
    assert "not as numbers" in warning


@pytest.mark.parametrize(
    "forms", [["{}st", "{}nd", "{}rd", "{}th"], ["{}A", "{}B"], ["V{}", "W{}"], ["{} Main", "{} Elm"]]
)
def test_names_with_numbers_are_no_amounts(forms: list[str], tmp_path: Path) -> None:
    table = load_with(tmp_path, [forms[i % len(forms)].format(1 + i % 9) for i in range(N)])
    assert not any("units" in warning for warning in table.warnings)
