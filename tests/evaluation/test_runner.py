from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.read import TableSource
from metahp.evaluation.parallel import run_jobs
from metahp.evaluation.protocol import measure
from metahp.evaluation.runner import Job, Limits, Runner
from metahp.learners.catalogue import learner_named

FOREST = learner_named("random_forest")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TableSource:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(3000, 40)), columns=[f"x{i}" for i in range(40)])
    frame["target"] = frame["x0"] + rng.normal(size=3000)
    path = tmp_path_factory.mktemp("tables") / "table.parquet"
    frame.to_parquet(path)
    return TableSource(str(path), "target")


def job(source: TableSource, n_estimators: int = 10, limits: Limits = Limits(), **changes: object) -> Job:  # noqa: B008
    table_type = source.load().task if Path(source.path).exists() else None
    space = FOREST.space(table_type.type) if table_type else FOREST.space(TaskType.REGRESSION)
    values = {"n_estimators": n_estimators, "max_depth": 3, "max_features": 0.1, **changes}
    protocol = Protocol(max_rows=300) if n_estimators == 10 else Protocol()
    return Job(
        source, table_type.id if table_type else "gone", space.configuration(values), protocol, Origin.USER, limits
    )


def test_limits_crashes_and_errors_are_trials_and_the_next_job_runs(source: TableSource, tmp_path: Path) -> None:
    slow = {"max_depth": None, "max_features": 1.0}
    with Runner() as runner:
        first = runner.run(job(source))
        late = runner.run(job(source, 300, Limits(seconds=0.3), **slow))
        after_late = runner.run(job(source))
        large = runner.run(job(source, 300, Limits(memory_mib=20.0), **slow))
        after_large = runner.run(job(source))
        gone = runner.run(job(TableSource(str(tmp_path / "gone.parquet"))))
        assert runner._process is not None
        runner._process.kill()
        runner._process.wait()
        after_crash = runner.run(job(source))
    assert first.state is TrialState.COMPLETE
    assert late.state is TrialState.TIMEOUT
    assert late.reason == "not finished after the limit of 0.3 s"
    assert late.fit_seconds == 0.3
    assert large.state is TrialState.OUT_OF_MEMORY
    assert "above the limit of 20 MiB" in large.reason
    assert gone.state is TrialState.FAILED
    assert "gone.parquet" in gone.reason or "FileNotFound" in gone.reason
    for again in (after_late, after_large, after_crash):
        _same(again, first)


def test_a_trial_in_a_worker_is_the_measurement_made_here(source: TableSource) -> None:
    [trial] = run_jobs([job(source)], n_jobs=1)
    here = measure(source.load(), FOREST, trial.configuration, trial.protocol)
    assert trial.fold_losses == here.fold_losses
    assert trial.curve == here.curve
    assert trial.n_rows == 300


def _same(one: Trial, other: Trial) -> None:
    assert one.state is TrialState.COMPLETE, one.reason
    assert one.id == other.id
    assert one.fold_losses == other.fold_losses
