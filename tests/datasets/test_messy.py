"""Real tables, written out as people do: the same task, target, features and values as of the clean table."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.api import describe
from metahp.datasets.load import load
from metahp.datasets.table import Table

FOLDER = Path(__file__).parents[3] / "shared" / "datasets"
# Tables with numbers in several columns, of all task types.
NAMES = (
    "wine",
    "abalone",
    "auto_mpg",
    "boston_housing",
    "adult",
    "haberman",
    "banknote",
    "phoneme",
    "servo",
    "car_evaluation",
)


def _write_messy(frame: pd.DataFrame, target: str, path: Path, rng: np.random.Generator) -> None:
    """A CSV file with a title, a comment, an id, dates, amounts, decimal commas, markers and separators at the end."""
    n = len(frame)
    columns: dict[str, list[str]] = {"record_id": [f"R-{i:06d}" for i in rng.permutation(n)]}
    columns["entered"] = [
        f"{day:%d/%m/%Y}" for day in pd.Timestamp("2019-01-30") + pd.to_timedelta(rng.permutation(n) % 400, "D")
    ]
    notations = [
        lambda text: f"${text}",
        lambda text: f"{text}%",
        lambda text: text.replace(".", ","),
        lambda text: f"{text} kg",
    ]
    turn = 0
    for name in frame.columns:
        cells = frame[name]
        if name != target and cells.dtype == np.float64 and cells.nunique() > 20:
            write, turn = notations[turn % len(notations)], turn + 1
            shown = [
                ("n.a." if rng.random() < 0.5 else "-") if np.isnan(x) else write(np.format_float_positional(x))
                for x in cells
            ]
        else:
            shown = ["" if pd.isna(cell) else str(cell) for cell in cells]
        columns[str(name)] = shown
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write("Export of the laboratory\n# not checked\n")
        writer = csv.writer(file, delimiter=";", lineterminator=";\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the tables")
@pytest.mark.parametrize("name", NAMES)
def test_a_messy_file_of_a_real_table_is_the_same_table(name: str, tmp_path: Path) -> None:
    path = FOLDER / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"no table {name}")
    frame = pd.read_parquet(path).iloc[:1500].reset_index(drop=True)
    target = str(frame.columns[-1])
    frame.to_csv(tmp_path / "clean.csv", index=False)
    clean = load(tmp_path / "clean.csv", target=target)
    _write_messy(frame, target, tmp_path / "messy.csv", np.random.default_rng(len(name)))
    messy = load(tmp_path / "messy.csv", target=target)
    assert messy.task.type == clean.task.type
    assert messy.classes == clean.classes
    assert "record_id" in messy.preparation.dropped
    assert messy.preparation.dates == (*clean.preparation.dates, "entered")
    kept = [feature for feature in messy.features if not feature.startswith("entered.")]
    assert kept == list(clean.features)
    pd.testing.assert_frame_equal(messy.features[kept], clean.features, rtol=1e-12)
    np.testing.assert_allclose(messy.y, clean.y)
    again = _drop_dates(tmp_path, target)
    expected, actual = describe(clean, budget_seconds=0.0).values, describe(again, budget_seconds=0.0).values
    assert {name: value for name, value in actual.items() if not _is_near(value, expected[name])} == {}


def _drop_dates(folder: Path, target: str) -> Table:
    from metahp.datasets.reading import make_reading_options  # noqa: PLC0415

    return load(folder / "messy.csv", target=target, how=make_reading_options(drop="entered"))


def _is_near(value: float, expected: float) -> bool:
    return bool(np.isclose(value, expected, rtol=1e-6, atol=1e-9, equal_nan=True))
