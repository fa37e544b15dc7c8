"""What a knowledge base holds that this installation has no use for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metahp.core.configuration import Configuration
from metahp.core.space import Float, SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.trial import OBJECTIVE_SPLITS, Origin, Protocol, Trial, TrialState
from metahp.knowledge.coverage import count_unused
from metahp.knowledge.records import TaskRecord
from metahp.knowledge.store import KnowledgeBase
from metahp.learners import registry
from metahp.learners.linear import Linear

TASKS = [
    TaskRecord(task=Task(id=f"{number:024x}", type=task_type, n_rows=100, n_features=3, n_classes=n_classes))
    for number, (task_type, n_classes) in enumerate(((TaskType.BINARY, 2), (TaskType.REGRESSION, 0)))
]
NOTHING = {"trials_of_unknown_learners": {}, "trials_set_aside": {}, "trials_without_metric": {}}


def a_trial(learner: str = "linear", record: TaskRecord = TASKS[0], metric: str = "roc_auc", **values: object) -> Trial:
    configuration = Configuration.of(learner, values)
    return Trial(
        task=record.task.id,
        configuration=configuration,
        protocol=Protocol(),
        n_rows=100,
        state=TrialState.COMPLETE,
        origin=Origin.DESIGN,
        fold_losses={metric: (0.1,) * 3},
    )


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    return KnowledgeBase(tmp_path / "kb")


def count(kb: KnowledgeBase) -> dict[str, Any]:
    with kb.take_snapshot() as snapshot:
        return count_unused(snapshot)


def test_an_empty_knowledge_base_and_one_of_useful_trials_have_nothing_to_count(kb: KnowledgeBase) -> None:
    assert count(kb) == NOTHING
    kb.record([a_trial(C=1.0), a_trial(C=2.0)], TASKS)
    assert count(kb) == NOTHING
    kb.ingest()
    assert count(kb) == NOTHING


def test_trials_of_no_use_are_counted_by_learner_in_file_and_journal(kb: KnowledgeBase) -> None:
    trials = [
        a_trial(C=1.0),
        a_trial("boosted_oracle", depth=3),
        a_trial("boosted_oracle", depth=4),
        a_trial("oracle", magic=True),
        a_trial(C=1e9),
        a_trial("lightgbm", num_leaves=-1),
        # Regression has no `C`, which is dropped, and `model` is none of two classes.
        a_trial(record=TASKS[1], metric="neg_root_mean_squared_error", C=1e9, model="ridge"),
        a_trial(record=TASKS[1], metric="neg_root_mean_squared_error", model="lasso"),
        a_trial(metric="accuracy", C=3.0),
        replace(a_trial(C=4.0), state=TrialState.FAILED, fold_losses={}, reason="no luck"),
        # A user's own objective, whose space is not known here.
        replace(a_trial("my_service", rate=0.5, metric="objective"), protocol=Protocol(splits=OBJECTIVE_SPLITS)),
    ]
    expected = {
        "trials_of_unknown_learners": {"boosted_oracle": 2, "oracle": 1},
        "trials_set_aside": {"lightgbm": 1, "linear": 2},
        "trials_without_metric": {"linear": 1},
    }
    kb.record(trials, TASKS)
    assert count(kb) == expected
    kb.ingest()
    assert count(kb) == expected
    # The file and the journal together, and what both have once.
    kb.record([*trials[:3], a_trial("oracle", magic=False)])
    expected["trials_of_unknown_learners"]["oracle"] = 2
    assert count(kb) == expected


def test_a_task_that_is_not_described_sets_nothing_aside_that_some_type_of_task_allows(kb: KnowledgeBase) -> None:
    kb.record([a_trial(metric="accuracy", C=2.0), a_trial(model="ridge"), a_trial(C=1e9, model="lasso")])
    kb.ingest()
    assert count(kb) == {**NOTHING, "trials_set_aside": {"linear": 1}}


def test_a_narrower_space_sets_trials_aside(kb: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrower(Linear):
        def space(self, task_type: TaskType) -> SearchSpace:
            return SearchSpace("linear", 2, (Float("C", 1.0, 10.0, 1.0),))

    kb.record([a_trial(C=c) for c in (0.5, 1.0, 2.0, 20.0)], TASKS)
    assert count(kb) == NOTHING
    monkeypatch.setitem(registry._learners._loaded, "linear", Narrower())
    assert count(kb) == {**NOTHING, "trials_set_aside": {"linear": 2}}
