"""An empty knowledge base, and a table with groups and times."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from metahp.knowledge.store import KnowledgeBase


@pytest.fixture
def base(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase(tmp_path / "kb")


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    iris = load_iris(as_frame=True).frame.rename(columns={"target": "kind"})
    rng = np.random.default_rng(0)
    iris["farm"] = rng.integers(0, 12, len(iris)).astype(str)
    iris["day"] = rng.permutation(pd.date_range("2026-01-01", periods=len(iris)))
    return iris
