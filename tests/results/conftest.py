"""Small real tables with every kind of column, and results made of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from metahp.core.configuration import Configuration
from metahp.core.metric import find_metric
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.load import load
from metahp.datasets.table import Table
from metahp.learners.registry import find_learner
from metahp.results.content import ResultContent
from metahp.results.model import fit_model

LOADERS = {"binary": load_breast_cancer, "multiclass": load_wine, "regression": load_diabetes}
PROTOCOL = Protocol()


def frame_of(kind: str) -> pd.DataFrame:
    """Ninety rows and six columns of a bundled table; gaps, categories that look like numbers, dates, an odd name."""
    X, y = LOADERS[kind](return_X_y=True, as_frame=True)
    frame = X.iloc[:, :4].assign(y=y).sample(90, random_state=0).reset_index(drop=True)
    rng = np.random.default_rng(0)
    frame.iloc[:, 1] = frame.iloc[:, 1].mask(rng.random(90) < 0.2)
    frame["size, in mm"] = rng.normal(size=90)
    frame["zone"] = rng.choice(["01", "02", "10", "north", ""], size=90)
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, size=90), unit="D")
    if kind == "binary":
        frame["y"] = np.where(frame["y"] == 1, "yes", "no")
    return frame


def configuration_of(learner: str, table: Table, **values: object) -> Configuration:
    space = find_learner(learner).space(table.task.type)
    small = {space.iteration_axis: 10} if space.iteration_axis else {}
    return space.configuration({**small, **values})  # type: ignore[dict-item]


def trial_of(table: Table, configuration: Configuration, losses: tuple[float, ...], origin: Origin) -> Trial:
    metric = find_metric(table.task.type).name
    return Trial(
        task=table.task.id,
        configuration=configuration,
        protocol=PROTOCOL,
        n_rows=90,
        state=TrialState.COMPLETE,
        origin=origin,
        fold_losses={metric: losses},
        fit_seconds=0.5,
    )


@pytest.fixture
def make_table(tmp_path: Path) -> Callable[[str], Table]:
    """Writes `KIND.csv` and gives the table in it."""

    def make(kind: str) -> Table:
        path = tmp_path / f"{kind}.csv"
        frame_of(kind).to_csv(path, index=False)
        return load(path, target="y")

    return make


@pytest.fixture
def make_content(make_table: Callable[[str], Table], tmp_path: Path) -> Callable[..., ResultContent]:
    """A result with a default and a better trial; `members` beyond the best one make it an ensemble."""

    def make(kind: str, learner: str, *others: str, is_voting: bool = False, **values: object) -> ResultContent:
        table = make_table(kind)
        metric = find_metric(table.task.type)
        best = configuration_of(learner, table, **values)
        default = find_learner(learner).space(table.task.type).default
        failed = Trial(
            task=table.task.id,
            configuration=configuration_of("extra_trees", table),
            protocol=PROTOCOL,
            n_rows=90,
            state=TrialState.TIMEOUT,
            origin=Origin.DESIGN,
            fold_losses={},
            reason="longer than 1 s",
        )
        trials = [
            trial_of(table, default, (0.3, 0.4, 0.5), Origin.DEFAULT),
            failed,
            trial_of(table, best, (0.1, 0.2, 0.3), Origin.SURROGATE),
        ]
        members = [(best, 2.0), *((configuration_of(name, table), 1.0) for name in others)]
        model = fit_model(table, members, metric, seed=3, is_voting=is_voting)
        return ResultContent(
            table=table,
            metric=metric,
            best=best,
            model=model,
            trials=trials,
            protocol=PROTOCOL,
            seed=3,
            path=tmp_path / f"{kind}.csv",
            command="metahp tune",
            default_score=0.6,
        )

    return make
