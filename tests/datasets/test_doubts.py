"""What could have been meant otherwise in a column is said, with the cells that show it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.core.errors import InputError
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
    said = find_warning(table, "column 'v' mixes percents and plain numbers")
    assert said.partition(": ")[2].startswith(f"'5{sign}' is read as 0.05 beside '0.")
    new = pd.DataFrame({"v": ["12%", "0.12", "12"], "a": [1.0] * 3})
    values = table.preparation.transform(new)[0]["v"].tolist()
    assert values == [0.12 if sign.strip() == "%" else values[0], 0.12, 12.0]


def test_percents_beside_other_numbers_are_read_as_one_and_it_is_said(tmp_path: Path) -> None:
    table = load_with(tmp_path, [f"{10 + i % 80}{'%' if i % 2 else ''}" for i in range(N)])
    assert table.features["v"].tolist() == [10.0 + i % 80 for i in range(N)]
    assert "'11%' and '10' are read on one scale" in find_warning(table, "mixes percents")
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


DAYS = pd.date_range("2020-01-01", periods=N, freq="3D")


@pytest.mark.parametrize("mark", ["/", "-", "."])
@pytest.mark.parametrize("time", ["", " %H:%M"])
def test_dates_of_both_orders_are_said(mark: str, time: str, tmp_path: Path) -> None:
    first, second = (f"{order.replace('/', mark)}{time}" for order in ("%d/%m/%Y", "%m/%d/%Y"))
    table = load_with(tmp_path, [day.strftime(first if i % 2 else second) for i, day in enumerate(DAYS)])
    assert "v" not in table.preparation.dates
    warning = find_warning(table, "column 'v' holds dates in two orders")
    assert "has the day first" in warning
    assert "not as dates" in warning


@pytest.mark.parametrize("is_day_first", [True, False])
@pytest.mark.parametrize("sign", ["/", "-"])
def test_dates_against_the_order_that_was_asked_for_are_said(is_day_first: bool, sign: str, tmp_path: Path) -> None:
    form = sign.join(["%d", "%m", "%Y"] if is_day_first else ["%m", "%d", "%Y"])
    cells = DAYS.strftime(form).tolist()
    table = load_with(tmp_path, cells, dayfirst=not is_day_first)
    days = (DAYS - pd.Timestamp(0)).days.to_numpy(dtype=float)
    np.testing.assert_array_equal(table.features["v.days"], days)
    first = "day" if is_day_first else "month"
    assert f"the {first} comes first, so all are read like that" in find_warning(table, "against `dayfirst`")
    assert not any("dayfirst" in warning for warning in load_with(tmp_path, cells, dayfirst=is_day_first).warnings)


PEOPLE = [100 + i * 997 % 8000 for i in range(N)]


def write_thousands(mark: str) -> list[str]:
    return [f"{x:,}".replace(",", mark) for x in PEOPLE]


@pytest.mark.parametrize("form", ["{}", "€{}", "{} kg"])
def test_points_are_thousands_where_the_file_says_so(form: str, tmp_path: Path) -> None:
    cells = [form.format(text) for text in write_thousands(".")]
    table = load_with(tmp_path, cells, separator=";")
    # The column `a` has decimal points.
    assert table.features["v"].max() < 1000
    X.assign(v=cells, a=[f"{i % 7},5" for i in range(N)])[["v", "a", "y"]].to_csv(
        tmp_path / "t.csv", sep=";", index=False
    )
    table = load(tmp_path / "t.csv", target="y")
    assert table.features["v"].tolist() == PEOPLE
    assert "`decimal='.'` reads decimals" in find_warning(table, "column 'v' reads points as separators of thousands")
    new = pd.DataFrame({"v": [form.format("1.250"), "1.250"], "a": ["1,5", "2,5"]})
    assert table.preparation.transform(new)[0]["v"].tolist() == [1250.0] * 2
    assert table.preparation.transform(new.assign(v=[1250.0, 1250.0]))[0]["v"].tolist() == [1250.0] * 2
    assert load(tmp_path / "t.csv", target="y", how=make_reading_options(decimal=".")).features["v"].max() < 1000


def test_semicolons_alone_say_that_points_are_thousands(tmp_path: Path) -> None:
    X.assign(v=write_thousands("."), a=range(0, 2 * N, 2))[["v", "a", "y"]].to_csv(
        tmp_path / "t.csv", sep=";", index=False
    )
    table = load(tmp_path / "t.csv", target="y")
    assert table.features["v"].tolist() == PEOPLE
    assert find_warning(table, "points")
    assert not any("decimal commas read" in warning for warning in table.warnings)


@pytest.mark.parametrize("form", ["{}", "${}", "{} kg"])
def test_what_could_be_thousands_is_said(form: str, tmp_path: Path) -> None:
    cells = [form.format(text) for text in write_thousands(".")]
    table = load_with(tmp_path, cells)
    assert table.features["v"].max() < 1000
    said = find_warning(table, "column 'v' could hold thousands")
    assert f"'{form.format('1.097')}' beside '{form.format('100')}' is read as 1.097" in said
    assert "`decimal=','` reads thousands" in said
    assert load_with(tmp_path, cells, decimal=",").features["v"].tolist() == PEOPLE
    assert not any("thousands" in warning for warning in load_with(tmp_path, cells, decimal=".").warnings)


@pytest.mark.parametrize(
    "cells",
    [
        [f"{x / 1000:.3f}" for x in PEOPLE],
        [f"{x / 1000:.3f}" if i % 9 else f"{x / 1000:.2f}" for i, x in enumerate(PEOPLE)],
        [str(x / 1000) for x in PEOPLE],
        write_thousands(","),
        [f"{x / 1000 + 1:.3f}" if i % 2 else f"{x}" for i, x in enumerate(PEOPLE)],
    ],
)
def test_other_decimals_are_not_doubted(cells: list[str], tmp_path: Path) -> None:
    assert not any("thousands" in warning for warning in load_with(tmp_path, cells).warnings)


def test_a_decimal_mark_is_a_point_or_a_comma() -> None:
    with pytest.raises(InputError, match=r"`decimal` is '\.' or ',', got ';'"):
        make_reading_options(decimal=";")


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([["a", "b"], ["c"]], "lists: cells such as ['a', 'b']"),
        ([(1, 2), (3,)], "tuples"),
        ([{"k": 1}, {"k": 2}], "dictionaries"),
        ([{"b", "a"}, {"c"}], "sets: cells such as ['a', 'b']"),
        ([np.array([1, 2]), np.array([3])], "arrays"),
        ([None, [1]], "lists"),
    ],
)
def test_cells_that_hold_several_values_are_said(cells: list[object], kind: str, tmp_path: Path) -> None:
    frame = X.assign(v=[cells[i % 7 % len(cells)] for i in range(N)])[["v", "a", "y"]]
    said = find_warning(load(frame, target="y"), "column 'v' holds ")
    assert kind in said
    assert "`drop` it" in said
    if "sets" not in kind:
        frame.to_parquet(tmp_path / "t.parquet")
        assert find_warning(load(tmp_path / "t.parquet", target="y"), "column 'v' holds ")
    pyarrow = pytest.importorskip("pyarrow")
    arrow = pd.arrays.ArrowExtensionArray(pyarrow.array([[1, 2], [3]] * (N // 2)))
    assert "holds lists" in find_warning(load(X.assign(v=arrow), target="y"), "column 'v'")
