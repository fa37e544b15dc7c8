"""Fixtures for all tests; each is small enough to check by eye."""

import numpy as np
import pandas as pd
import pytest

from metahp.core.space import Categorical, Float, Integer, SearchSpace


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def space() -> SearchSpace:
    """One axis of every kind: logarithmic, integer, special values on both sides, categorical and conditional."""
    return SearchSpace(
        "toy",
        1,
        (
            Float("rate", 1e-3, 1.0, 0.1, is_log=True),
            Integer("depth", 2, 12, None, above=(None,)),
            Float("penalty", 1e-2, 10.0, 0.0, is_log=True, below=(0.0,)),
            Categorical("kind", ("plain", "wavy"), "plain"),
            Integer("waves", 1, 5, 3, only_if=("kind", ("wavy",))),
        ),
    )


@pytest.fixture
def raw_frame(rng: np.random.Generator) -> pd.DataFrame:
    """Ninety rows with a number, a number with gaps, a category, and targets of all three task types."""
    n = 90
    signal = rng.normal(size=n)
    colour = rng.choice(["red", "green", "blue"], size=n)
    return pd.DataFrame(
        {
            "signal": signal,
            "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "colour": colour,
            "binary": np.where(signal + rng.normal(scale=0.5, size=n) > 0, "yes", "no"),
            "multiclass": np.select([signal < -0.5, signal < 0.5], ["low", "middle"], "high"),
            "regression": 3 * signal + (colour == "red") + rng.normal(scale=0.3, size=n),
        }
    )
