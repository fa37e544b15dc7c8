"""Frames whose rows are not computed yet are refused in one line that says what to call."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from metahp.core.errors import InputError
from metahp.datasets.load import load
from metahp.datasets.read import make_frame

FRAME = pd.DataFrame({"a": np.arange(60) % 7, "y": np.arange(60) % 2})


class DataFrame:
    """As dask's: it converts itself into an array, without names."""

    __module__ = "dask.dataframe"

    def compute(self) -> pd.DataFrame:
        return FRAME

    def __array__(self, *_: Any) -> np.ndarray:
        return FRAME.to_numpy()


class SparkFrame:
    """As Spark's: `collect` gives rows without types there."""

    __module__ = "pyspark.sql"

    def collect(self) -> list[Any]:
        return []

    def toPandas(self) -> pd.DataFrame:  # noqa: N802 - Spark's name
        return FRAME


def make_lazy() -> list[tuple[Any, str]]:
    table = pa.Table.from_pandas(FRAME)
    lazy = [
        (DataFrame(), "X is lazy (DataFrame of dask): .*; pass `X.compute()`"),
        (SparkFrame(), "SparkFrame of pyspark.* `X.toPandas()`"),
    ]
    lazy += [(table.to_reader(), "RecordBatchReader of pyarrow.*`X.read_all()`")]
    return [*lazy, (pads.dataset(table), "InMemoryDataset of pyarrow.*`X.to_table()`")]


@pytest.mark.parametrize(("lazy", "message"), make_lazy())
def test_a_lazy_frame_says_what_to_call(lazy: Any, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        load(lazy, target="y")


def test_lazy_frames_of_polars_and_duckdb_say_what_to_call() -> None:
    polars = pytest.importorskip("polars")
    with pytest.raises(InputError, match=r"X is lazy \(LazyFrame of polars\): .*; pass `X\.collect\(\)`"):
        load(polars.from_pandas(FRAME).lazy(), target="y")
    with pytest.raises(InputError, match=r"y is lazy \(LazyFrame of polars\)"):
        load(FRAME[["a"]], polars.from_pandas(FRAME[["y"]]).lazy())
    duckdb = pytest.importorskip("duckdb")
    with pytest.raises(InputError, match=r"X is lazy \(DuckDBPyRelation of duckdb\): .*; pass `X\.fetchdf\(\)`"):
        load(duckdb.sql("select 1 as a, 2 as y"), target="y")


def test_frames_with_rows_are_read() -> None:
    polars = pytest.importorskip("polars")
    for rows in (pa.Table.from_pandas(FRAME), polars.from_pandas(FRAME)):
        assert load(rows, target="y").task.id == load(FRAME, target="y").task.id
    assert make_frame(np.zeros((3, 2))).shape == (3, 2)
