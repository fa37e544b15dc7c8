"""Past tasks of a toy learner, whose optimum lies where their first meta-feature says."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from metahp.core.space import Float, Integer, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import Curve, Origin, Protocol, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.surrogate.collecting import collect_evidence
from metahp.surrogate.evidence import Evidence

N_FEATURES = 3
SPACE = SearchSpace(
    "toy",
    1,
    (Float("x", 0.0, 1.0, 0.5), Integer("n_estimators", 1, 100, 10, is_log=True)),
    iteration_axis="n_estimators",
)


@dataclass(frozen=True)
class Toy:
    """A search space of two axes, one of which counts iterations, and the metric of its trials."""

    space: SearchSpace = SPACE
    metric: str = "neg_root_mean_squared_error"
    names: tuple[str, ...] = tuple(f"m{i}" for i in range(N_FEATURES))

    def loss(self, centre: float, x: float, n_estimators: int) -> float:
        return 1.0 + (x - centre) ** 2 + 1.0 / n_estimators

    def past(self, n_tasks: int, rng: np.random.Generator) -> tuple[list[Task], np.ndarray, list[Trial]]:
        """Tasks, their meta-features and their trials: thirteen of each, with a checkpoint in the middle."""
        tasks, trials = [], []
        centres = rng.uniform(size=n_tasks)
        for index, centre in enumerate(centres.tolist()):
            task = Task(
                id=f"t{index}",
                type=TaskType.REGRESSION,
                n_rows=100 + index,
                n_features=5,
                n_classes=0,
                name=f"task {index}",
                group=f"g{index // 2}",
            )
            tasks.append(task)
            for x in (0.5, *np.linspace(0, 1, 12).round(3).tolist()):
                loss = self.loss(centre, x, 10)
                trials.append(
                    Trial(
                        task=task.id,
                        configuration=self.space.configuration({"x": x, "n_estimators": 10}),
                        protocol=Protocol(),
                        n_rows=task.n_rows,
                        state=TrialState.COMPLETE,
                        origin=Origin.DEFAULT if x == 0.5 else Origin.DESIGN,
                        fold_losses={self.metric: tuple(loss + rng.normal(scale=1e-3, size=3))},
                        curve=Curve((5, 10), {self.metric: (self.loss(centre, x, 5), loss)}),
                        fit_seconds=0.1 * (1 + x),
                        predict_seconds=0.01,
                    )
                )
        return tasks, np.column_stack([centres, rng.normal(size=(n_tasks, N_FEATURES - 1))]), trials

    def evidence(self, tasks: Sequence[Task], metafeatures: np.ndarray, trials: Sequence[Trial]) -> Evidence:
        return collect_evidence(
            tasks,
            metafeatures,
            TrialColumns.of(trials),
            metric=self.metric,
            metrics={"regression": self.metric},
            spaces={"toy": self.space},
        )


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="session")
def past(toy: Toy) -> Evidence:
    """The evidence of sixty tasks."""
    return toy.evidence(*toy.past(60, np.random.default_rng(0)))
