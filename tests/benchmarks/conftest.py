import numpy as np
import pandas as pd
import pytest

from metahp.core.trial import Origin
from metahp.refinement.strategy import Suggestion


@pytest.fixture
def suite_folder(tmp_path):
    """A look-up suite `toy` of six tasks, whose best x moves with their only meta-feature, and one that is flat."""
    rng = np.random.default_rng(0)
    rows, metafeatures = [], []
    for task in range(6):
        centre = 0.2 + 0.1 * task
        metafeatures.append({"task_id": task, "mf_centre": centre})
        for i, x in enumerate(np.linspace(0, 1, 6)):
            for kind, waves in (("plain", None), ("wavy", i + 1)):
                score = 1 - (x - centre) ** 2 + 0.001 * rng.normal()
                rows.append({"task_id": task, "score": score, "hp_x": x, "hp_kind": kind, "hp_waves": waves})
    rows += [{**row, "task_id": 6, "score": 0.5} for row in rows[:12]]
    metafeatures.append({"task_id": 6, "mf_centre": 0.5})
    pd.DataFrame(rows).to_parquet(tmp_path / "toy.parquet")
    pd.DataFrame(metafeatures).to_parquet(tmp_path / "toy_metafeatures.parquet")
    return tmp_path


class Scripted:
    """A search that asks for given configurations, and keeps what it is told."""

    def __init__(self, *configurations):
        self.asked = iter(configurations)
        self.told = []

    def ask(self):
        return next((Suggestion(configuration, Origin.POSTERIOR) for configuration in self.asked), None)

    def tell(self, observation):
        self.told.append(observation)


@pytest.fixture
def scripted():
    return Scripted
