"""Weights and average precision from the shell, end to end."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metahp
from metahp.cli.main import main


def test_tune_by_average_precision_with_a_column_of_weights(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    a = rng.normal(size=120)
    frame = pd.DataFrame(
        {"a": a, "b": rng.normal(size=120), "w": rng.uniform(0.5, 2.0, 120), "y": a > rng.normal(size=120)}
    )
    path, out = tmp_path / "t.csv", tmp_path / "out"
    frame.to_csv(path, index=False)
    words = ["tune", str(path), "--target", "y", "--metric", "average_precision", "--weight", "w", "--trials", "1"]
    more = ["--cv", "3", "--learner", "linear", "--cold", "--no-record", "-o", str(out)]
    assert main([*words, *more]) == 0
    assert "average precision" in capsys.readouterr().out
    assert "weights" in (out / "script.py").read_text()
    assert list(metahp.load_result(out).preparation.feature_names) == ["a", "b"]
