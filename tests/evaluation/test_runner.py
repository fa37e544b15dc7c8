import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from metahp.core.errors import InputError, WorkerError
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.read import TableSource
from metahp.datasets.table import Table
from metahp.evaluation.limits import Limits
from metahp.evaluation.processes import TrialProcesses, run_jobs
from metahp.evaluation.protocol import measure
from metahp.evaluation.pruning import Pruning
from metahp.evaluation.runner import Job, Runner, Workload
from metahp.evaluation.splits import split_by_time
from metahp.learners import registry
from metahp.learners.forest import ForestLearner
from metahp.learners.registry import find_learner

FOREST = find_learner("random_forest")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TableSource:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(3000, 40)), columns=[f"x{i}" for i in range(40)])
    frame["target"] = frame["x0"] + rng.normal(size=3000)
    path = tmp_path_factory.mktemp("tables") / "table.parquet"
    frame.to_parquet(path)
    return TableSource(path=str(path), target="target")


def job(source: TableSource, n_estimators: int = 10, limits: Limits = Limits(), **changes: object) -> Job:  # noqa: B008
    table_type = source.load().task if Path(source.path).exists() else None
    space = FOREST.space(table_type.type) if table_type else FOREST.space(TaskType.REGRESSION)
    values = {"n_estimators": n_estimators, "max_depth": 3, "max_features": 0.1, **changes}
    protocol = Protocol(max_rows=300) if n_estimators == 10 else Protocol()
    return Job(
        source=source,
        task=table_type.id if table_type else "gone",
        configuration=space.configuration(values),
        protocol=protocol,
        origin=Origin.USER,
        limits=limits,
    )


def test_limits_crashes_and_errors_are_trials_and_the_next_job_runs(source: TableSource, tmp_path: Path) -> None:
    slow = {"max_depth": None, "max_features": 1.0}
    with Runner() as runner:
        first = runner.run(job(source))
        late = runner.run(job(source, 300, Limits(seconds=0.3), **slow))
        after_late = runner.run(job(source))
        large = runner.run(job(source, 300, Limits(memory_mib=20.0), **slow))
        after_large = runner.run(job(source))
        gone = runner.run(job(TableSource(path=str(tmp_path / "gone.parquet"))))
        assert runner._worker is not None
        runner._worker.kill()
        runner._worker.await_exit()
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


def test_a_trial_says_of_which_version_of_the_space_it_is(
    source: TableSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Newer(ForestLearner):
        def space(self, task_type: TaskType) -> SearchSpace:
            return replace(super().space(task_type), version=7)

    monkeypatch.setitem(registry._learners._loaded, "random_forest", Newer("random_forest"))
    with Runner() as runner:
        trials = [runner.run(job(each)) for each in (source, TableSource(path=str(tmp_path / "gone.parquet")))]
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAILED]
    assert [trial.space_version for trial in trials] == [7, 7]


def test_a_trial_in_a_worker_is_the_measurement_made_here(source: TableSource) -> None:
    [trial] = run_jobs([job(source)], n_jobs=1)
    here = measure(source.load(), FOREST, trial.configuration, trial.protocol)
    np.testing.assert_equal(trial.fold_losses, here.fold_losses)
    assert trial.curve.checkpoints == here.curve.checkpoints
    np.testing.assert_equal(trial.curve.losses, here.curve.losses)
    assert trial.n_rows == 300


def _same(one: Trial, other: Trial) -> None:
    assert one.state is TrialState.COMPLETE, one.reason
    assert one.id == other.id
    np.testing.assert_equal(one.fold_losses, other.fold_losses)


class CountedTable(Table):
    """A table that counts how often its matrix is asked for, which is done to send it."""

    n_asked = 0

    @property
    def matrix(self) -> np.ndarray:
        type(self).n_asked += 1
        return Table.matrix.func(self)


def test_a_table_in_memory_is_sent_once_to_a_worker_and_measured_as_one_that_is_read(source: TableSource) -> None:
    plain, other = source.load(), source.load()
    counted = CountedTable(task=plain.task, features=plain.features, y=plain.y, target=plain.target)
    jobs = [replace(job(source, n), source=Workload(counted)) for n in (10, 11, 12)]
    with Runner() as runner:
        trials = [runner.run(one) for one in jobs]
        assert CountedTable.n_asked == 1
        runner.run(replace(jobs[0], source=Workload(other)))
        runner.run(jobs[0])
        assert CountedTable.n_asked == 2
        runner.close()
        _same(runner.run(jobs[0]), trials[0])
        assert CountedTable.n_asked == 3
        _same(runner.run(job(source)), trials[0])


def test_splits_predictions_and_pruning_reach_the_worker_and_come_back(source: TableSource) -> None:
    table = source.load()
    splits = split_by_time(table, np.arange(3000), 3)
    timed = replace(job(source), source=Workload(table, splits), protocol=splits.make_protocol(max_rows=3000))
    here = measure(table, FOREST, timed.configuration, timed.protocol, splits=splits, keep_predictions=True)
    with Runner() as runner:
        outcome = runner.evaluate(replace(timed, keep_predictions=True))
        bare = runner.evaluate(timed)
        pruned = runner.evaluate(replace(timed, keep_predictions=True, pruning=Pruning("r2", (1.0, 0.0))))
    np.testing.assert_array_equal(outcome.predictions, here.predictions)
    assert np.isnan(outcome.predictions).sum() == 750
    np.testing.assert_equal(outcome.trial.fold_losses, bare.trial.fold_losses)
    np.testing.assert_equal(outcome.trial.fold_losses, here.fold_losses)
    assert bare.predictions is None
    assert pruned.trial.state is TrialState.PRUNED
    assert pruned.trial.fold_losses["r2"] == here.fold_losses["r2"][:2]
    assert pruned.trial.reason.startswith("pruned after 2 of 3 folds")
    assert pruned.trial.fit_seconds > 0
    assert pruned.predictions is None
    assert pruned.trial.id == bare.trial.id


def test_a_job_whose_parts_do_not_fit_together_is_refused(source: TableSource) -> None:
    table = source.load()
    splits = split_by_time(table, np.arange(3000), 3)
    plain = job(source)
    with pytest.raises(InputError, match="names the splits that its table comes with"):
        replace(plain, protocol=splits.make_protocol())
    with pytest.raises(InputError, match="names the splits that its table comes with"):
        replace(plain, source=Workload(table, splits))
    with pytest.raises(InputError, match="a threshold for every fold but the last, 2; got 1"):
        replace(plain, pruning=Pruning("r2", (0.5,)))


def test_seconds_of_the_processor_leave_out_the_time_in_which_a_worker_waits(source: TableSource) -> None:
    def run(runner: Runner, limits: Limits) -> Trial:
        """A trial whose worker is held up for longer than its limit."""
        assert runner._worker is not None
        worker = psutil.Process(runner._worker._process.pid)
        worker.suspend()
        going_on = threading.Timer(1.5, worker.resume)
        going_on.start()
        trial = runner.run(job(source, 30, limits))
        going_on.cancel()
        return trial

    with Runner() as runner:
        runner.run(job(source))
        held_up = run(runner, Limits(seconds=1.0, by_processor=True))
        late = run(runner, Limits(seconds=1.0))
        slow = runner.run(job(source, 300, Limits(seconds=0.3, by_processor=True), max_depth=None, max_features=1.0))
    assert held_up.state is TrialState.COMPLETE
    assert 0 < held_up.fit_seconds < 1.0
    assert late.state is slow.state is TrialState.TIMEOUT


def test_a_pool_gives_back_every_trial_and_goes_on_after_one_that_met_a_limit(source: TableSource) -> None:
    workload = Workload(source.load())
    jobs = [replace(job(source, n), source=workload) for n in (10, 11, 12)]
    late = replace(
        job(source, 300, Limits(seconds=0.3), max_depth=None, max_features=1.0), source=workload, keep_predictions=True
    )
    with TrialProcesses(2) as pool:
        for one in (late, *jobs):
            pool.submit(one)
        assert pool.n_pending == 4
        outcomes = [pool.await_outcome() for _ in range(4)]
        with pytest.raises(InputError, match="No trial is pending"):
            pool.await_outcome()
        # The loop of a strategy: the next one is chosen as soon as one has ended.
        pool.submit(jobs[0])
        again = pool.await_outcome(timeout=60)
    by_id = {outcome.trial.id: outcome for outcome in outcomes}
    assert set(by_id) == {trial.id for trial in run_jobs([late, *jobs], n_jobs=1)}
    states = sorted(outcome.trial.state for outcome in outcomes)
    assert states == [TrialState.COMPLETE] * 3 + [TrialState.TIMEOUT]
    assert all(outcome.predictions is None for outcome in outcomes)
    _same(again.trial, by_id[again.trial.id].trial)


def test_a_pool_that_is_left_kills_what_still_runs(source: TableSource) -> None:
    long = job(source, 300, max_depth=None, max_features=1.0)
    with TrialProcesses(2) as pool:
        pool.submit(job(source))
        pool.await_outcome()
        for _ in range(3):
            pool.submit(long)
        assert pool.await_outcome(timeout=0.01) is None
        workers = psutil.Process().children()
        assert workers
    assert not [worker for worker in workers if worker.is_running()]
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(long)


def test_a_stopped_runner_measures_nothing_more(source: TableSource) -> None:
    with Runner() as runner:
        runner.run(job(source))
        runner.stop()
        with pytest.raises(WorkerError, match="stopped"):
            runner.run(job(source))


# Tests that a shell started in the background ignore the interrupt, and so would their children.
LONG_RUN = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import psutil
from metahp.core.configuration import Configuration
from metahp.core.trial import Origin, Protocol
from metahp.datasets.read import TableSource
from metahp.evaluation.processes import TrialProcesses
from metahp.evaluation.runner import Job
from metahp.learners.forest import ForestLearner
from metahp.learners.registry import LEARNERS, find_learner

source = TableSource(path=sys.argv[1], target="target")
task = source.load().task
space = find_learner("random_forest").space(task.type)
def job(**values):
    return Job(
        source=source, task=task.id, configuration=space.configuration(values), protocol=Protocol(), origin=Origin.USER
    )
with TrialProcesses(2) as pool:
    pool.submit(job(n_estimators=10, max_depth=3))
    pool.submit(job(n_estimators=11, max_depth=3))
    pool.await_outcome(), pool.await_outcome()
    pool.submit(job(n_estimators=299))
    pool.submit(job(n_estimators=300))
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    pool.await_outcome()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_in_mid_trial_when_their_parent_is_interrupted_or_killed(
    source: TableSource, how: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LONG_RUN, source.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.send_signal(how)
        _, errors = parent.communicate()
    # Their trials take half a minute, so what is gone by then did not finish first.
    _, alive = psutil.wait_procs(workers, timeout=0 if how is signal.SIGINT else 5)
    assert alive == []
    if how is signal.SIGINT:
        assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1
