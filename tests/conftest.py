"""Fixtures for all tests; each is small enough to check by eye."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp import api
from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.trial_columns import NumberLists, TrialColumns
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.seed import SEED_KEY, find_seed_folder, hash_seed
from metahp.knowledge.store import KnowledgeBase


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


def list_columns(trials: TrialColumns) -> list[tuple[object, ...]]:
    """The trials in columns one by one, in the order of their ids, with losses as texts, for which NaN is NaN."""
    rows = []
    for i in np.argsort(trials.ids):
        one = trials.take(np.array([i]))
        losses = [
            {metric: values for metric, values in pairs if values != "[]"}
            for lists in (one.fold_losses, one.curve_losses)
            for pairs in [[(metric, _show(lists.choose([metric], np.zeros(1, int)))) for metric in lists.metrics]]
        ]
        rows.append(
            (
                one.ids[0],
                one.tasks[one.task_of[0]],
                one.configurations[one.configuration_of[0]],
                one.protocols[one.protocol_of[0]],
                one.states[0],
                one.origins[0],
                one.fit_seconds[0],
                *losses,
                _show(one.checkpoints),
            )
        )
    return rows


def _show(lists: NumberLists) -> str:
    return str(lists.flatten()[2].tolist())


@pytest.fixture(scope="session")
def listed() -> Callable[[TrialColumns], list[tuple[object, ...]]]:
    """What lists the trials in columns."""
    return list_columns


@dataclass(frozen=True)
class Known:
    """A table that is not known, and the folder of a knowledge base that knows four others and has an adviser."""

    table: Path
    home: Path

    def copied(self, home: Path) -> KnowledgeBase:
        """A copy of the knowledge base, which a test may change."""
        shutil.copytree(self.home, home)
        return KnowledgeBase(home)


def small_table(seed: int, n_rows: int = 150) -> pd.DataFrame:
    """Three numbers and a target of two classes, which the first number tells."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n_rows, 3)), columns=["a", "b", "c"])
    frame["target"] = np.where(frame["a"] + rng.normal(size=n_rows) > 0, "yes", "no")
    return frame


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    """A tiny knowledge base of linear models on binary tasks; it believes it has the seed, so nobody waits for that."""
    folder = tmp_path_factory.mktemp("known")
    for seed in range(5):
        small_table(seed).to_csv(folder / f"t{seed}.csv", index=False)
    manifest = folder / "MANIFEST.csv"
    lines = ["name,file,task,target,group", *(f"t{i},t{i}.csv,binary,target,t{i}" for i in range(4))]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    measured = api.refresh_seed(api.read_manifest(manifest), folder / "seed", learners=["linear"], sizes={"linear": 4})
    base = KnowledgeBase(folder / "home")
    base.add(measured.tasks(), trials_to_table(measured.trials()), {SEED_KEY: hash_seed(find_seed_folder())})
    known = Known(folder / "t4.csv", base.folder)
    api.recommend(known.table, learners="linear", knowledge_base=base)
    return known
