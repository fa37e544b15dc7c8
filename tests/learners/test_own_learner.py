"""A user's own learner works everywhere: measured in workers, recommended, tuned, exported, saved and loaded."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metahp
from metahp import api
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, MetahpWarning
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, TrialState
from metahp.datasets.load import load
from metahp.evaluation.processes import run_jobs
from metahp.evaluation.runner import Job, Runner, Workload
from metahp.knowledge.store import KnowledgeBase
from metahp.learners import registry
from metahp.learners.registry import LearnerReference, find_learner
from metahp.learners.skops_reader import ForeignError, read_skops

HOME = Path(__file__).parent / "nearest_neighbours.py"
MOST_LINES = 25
N_TABLES = 3


def make_job(workload: Workload, configuration: Configuration) -> Job:
    return Job(source=workload, task="t", configuration=configuration, protocol=Protocol(), origin=Origin.DEFAULT)


def table(seed: int, n: int = 90) -> pd.DataFrame:
    """Two numbers and a category; the first number determines the class, the others have missing values."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), "kind": rng.choice(list("xyz"), size=n)})
    frame["target"] = np.where(frame["a"] + 0.5 * rng.normal(size=n) > 0, "yes", "no")
    frame.loc[rng.random(n) < 0.1, "b"] = np.nan
    frame.loc[rng.random(n) < 0.1, "kind"] = None
    return frame


@pytest.fixture(scope="module")
def new_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("new") / "new.csv"
    table(N_TABLES).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def grown(neighbours: type[metahp.Learner], tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    """A knowledge base of three tables, measured in two worker processes."""
    folder = tmp_path_factory.mktemp("grown")
    lines = ["name,file,task,target,group"]
    for seed in range(N_TABLES):
        table(seed).to_csv(folder / f"t{seed}.csv", index=False)
        lines.append(f"t{seed},t{seed}.csv,binary,target,t{seed}")
    (folder / "MANIFEST.csv").write_text("\n".join(lines))
    manifest = api.read_manifest(folder / "MANIFEST.csv")
    return api.refresh_seed(
        manifest,
        folder / "seed",
        learners=["neighbours"],
        sizes={"neighbours": 5},
        searches={"neighbours": 1},
        n_jobs=2,
    )


def test_it_is_written_in_under_twenty_five_lines() -> None:
    for module in (HOME, HOME.parents[2] / "examples" / "my_learner.py"):
        assert len(module.read_text().splitlines()) < MOST_LINES


def test_the_knowledge_base_grows_by_its_trials(grown: KnowledgeBase) -> None:
    trials = grown.trials(learner="neighbours")
    assert len(trials) == N_TABLES * 6
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert all(set(trial.versions) == {"scikit-learn"} for trial in trials)


def test_it_is_recommended(grown: KnowledgeBase, new_table: Path) -> None:
    recommendation = metahp.recommend(new_table, learners=["neighbours"], knowledge_base=grown, k=2)
    assert [item.learner for item in recommendation.items] == ["neighbours"] * 2
    assert recommendation.best.score > 0.5
    [first, _] = recommendation.estimators()
    frame = load(new_table, target="target")
    assert first.fit(frame.features, frame.y).score(frame.features, frame.y) > 0.6


def test_it_is_tuned_and_its_result_predicts_and_its_script_runs(
    grown: KnowledgeBase, new_table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "result"
    result = metahp.tune(
        new_table, learners=["neighbours"], knowledge_base=grown, trials=5, jobs=2, cv=2, output=out, warm=2
    )
    assert result.best_score_ > 0.7
    assert {trial.state for trial in result.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    loaded = metahp.load_result(out)
    frame = pd.read_csv(new_table)
    np.testing.assert_array_equal(loaded.predict_proba(frame), result.best_estimator_.predict_proba(frame))
    assert loaded.score(frame) > 0.7
    script = run(tmp_path, str(out / "script.py"))
    assert script.returncode == 0, script.stderr
    assert "fitted on all 90 rows" in script.stdout
    text = (out / "script.py").read_text()
    assert "from sklearn.neighbors import KNeighborsClassifier\n" in text
    assert "nearest_neighbours" not in text


@pytest.mark.parametrize("task_type", TaskType)
def test_it_fits_every_type_of_task(neighbours: type[metahp.Learner], task_type: TaskType, new_table: Path) -> None:
    frame = pd.read_csv(new_table)
    frame["target"] = {
        TaskType.BINARY: frame["target"],
        TaskType.MULTICLASS: np.digitize(frame["a"], [-0.5, 0.5]).astype(str),
        TaskType.REGRESSION: frame["a"] + frame["b"].fillna(0),
    }[task_type]
    loaded = api.load(frame, target="target", task=str(task_type))
    configuration = neighbours().space(task_type).default
    [trial] = run_jobs([make_job(Workload(loaded), configuration)], n_jobs=1)
    assert trial.state is TrialState.COMPLETE, trial.reason


# Its trials where it is not registered, and its failures.


def test_its_trials_break_nothing_where_it_is_not_registered(
    neighbours: type[metahp.Learner], new_table: Path, tmp_path: Path
) -> None:
    kb = KnowledgeBase(tmp_path / "kb")
    metahp.refresh(
        [table(0), table(1), new_table],
        ["neighbours", "linear"],
        target="target",
        configurations=3,
        knowledge_base=kb,
    )
    table(5).to_csv(tmp_path / "other.csv", index=False)
    program = (
        "import metahp\n"
        f"options = {{'target': 'target', 'knowledge_base': metahp.KnowledgeBase({str(kb.folder)!r})}}\n"
        f"for path in ('other.csv', {str(new_table)!r}):\n"
        "    print({item.learner for item in metahp.recommend(path, k=3, learners='linear', **options).items})\n"
        "    print({item.learner for item in metahp.recommend(path, k=3, **options).items})\n"
        "    result = metahp.tune(path, trials=3, cv=3, **options)\n"
        "    print({trial.configuration.learner for trial in result.trials})\n"
        "print({each.learners for each in metahp.train(options['knowledge_base']) if not each.why_not})\n"
        "metahp.refresh(['other.csv'], 'linear', configurations=2, **options)\n"
    )
    done = run(tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'linear'}"] * 6 + ["{('linear',)}"]
    shown = run(tmp_path, "-m", "metahp", "kb", "info", "--kb", str(kb.folder))
    assert "trials of learners that this metahp does not know, not learned from: neighbours 9" in shown.stdout


def test_a_refresh_names_its_failures_and_tries_them_again(neighbours: type[metahp.Learner], tmp_path: Path) -> None:
    kb = KnowledgeBase(tmp_path / "kb")
    # A fold of so small a table has fewer rows than some configurations have neighbours.
    tiny, options = table(0, n=24), {"target": "target", "configurations": 6, "knowledge_base": kb}
    with pytest.warns(MetahpWarning, match=r"\d of 6 trials failed and will be tried again .*neighbours: ValueError"):
        metahp.refresh([tiny], "neighbours", **options)
    n_failed = 6 - len(kb.trials())
    assert {trial.state for trial in kb.trials()} == {TrialState.COMPLETE}
    with pytest.raises(InputError, match=rf"{n_failed} of {n_failed} trials failed"):
        metahp.refresh([tiny], "neighbours", **options)


# How a worker finds the learner.


SCRIPT = """
import pandas as pd
import metahp
{learner}
metahp.register_learner(Neighbours)
result = metahp.tune({table!r}, learners="neighbours", knowledge_base="kb", cold=True, trials=3, cv=2, jobs=2,
                     strategy="random", output="out")
print(sorted({{str(trial.state) for trial in result.trials}}), metahp.load_result("out").score({table!r}) > 0.6)
"""


def run(folder: Path, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "METAHP_HOME": str(folder / "home"), **changes}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_module_beside_a_script_reaches_the_workers(new_table: Path, tmp_path: Path) -> None:
    shutil.copy(HOME, tmp_path / "mine.py")
    (tmp_path / "tune.py").write_text(SCRIPT.format(learner="from mine import Neighbours", table=str(new_table)))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(elsewhere, str(tmp_path / "tune.py"))
    assert (done.returncode, done.stdout) == (0, "['complete'] True\n"), done.stderr


def test_a_worker_looks_into_the_folders_of_a_learner_last_and_only_for_that_learner(
    neighbours: type[metahp.Learner], new_table: Path
) -> None:
    """Otherwise a `random.py` beside the learner's module would replace Python's."""
    workload = Workload(load(new_table, target="target"))
    path_of_modules = "__import__('sys').path"
    with Runner() as runner:
        plain = find_learner("linear").space(TaskType.BINARY).default
        runner.run(make_job(workload, plain))
        before = runner.call(eval, path_of_modules)
        own_default = neighbours().space(TaskType.BINARY).default
        runner.run(make_job(workload, own_default))
        after = runner.call(eval, path_of_modules)
    assert str(HOME.parent) not in before
    assert after[: len(before)] == before
    assert str(HOME.parent) in after
    assert "" not in after


def test_a_learner_in_the_script_itself_is_refused_in_one_line(new_table: Path, tmp_path: Path) -> None:
    body = HOME.read_text()
    (tmp_path / "tune.py").write_text(SCRIPT.format(learner=body, table=str(new_table)))
    done = run(tmp_path, "tune.py")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "The learner 'neighbours' is defined in the script or session itself, so worker processes cannot import it; "
        "put its class into a separate module, such as neighbours.py, and import it from there."
    )


def test_a_worker_that_cannot_import_a_learner_says_so(
    neighbours: type[metahp.Learner], new_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = neighbours().space(TaskType.BINARY)
    configuration = metahp.SearchSpace("gone", 1, space.hyperparameters).default
    reference = LearnerReference("gone", "gone_module:Neighbours", str(tmp_path / "gone_module.py"), (str(tmp_path),))
    monkeypatch.setattr(registry._learners, "references", {**registry._learners.references, "gone": reference})
    monkeypatch.setitem(registry._learners._loaded, "gone", neighbours())
    workload = Workload(load(new_table, target="target"))
    [trial] = run_jobs([make_job(workload, configuration)], n_jobs=1)
    assert trial.state is TrialState.FAILED
    assert trial.reason == (
        "InputError: The learner 'gone' cannot be imported as gone_module:Neighbours "
        "(ModuleNotFoundError: No module named 'gone_module')."
    )


def test_files_are_no_reason_to_import_a_learner(new_table: Path, grown: KnowledgeBase, tmp_path: Path) -> None:
    """A process that has not registered the learner does not import it because a file has its name."""
    out = tmp_path / "result"
    metahp.tune(
        new_table, learners="neighbours", knowledge_base=grown, cold=True, trials=2, cv=2, strategy="random", output=out
    )
    program = (
        "import sys, metahp\n"
        f"print(len(metahp.KnowledgeBase({str(grown.folder)!r}).trials(learner='neighbours')) > 0)\n"
        f"try:\n    metahp.load_result({str(out)!r})\n"
        "except metahp.MetahpError as error:\n    print(error)\n"
        "print('nearest_neighbours' in sys.modules)\n"
    )
    # The module lies in the working folder, which is on the path of a program given by `-c`.
    done = run(HOME.parent, "-c", program, METAHP_HOME=str(tmp_path / "home"))
    has_trials, unknown, is_imported = done.stdout.splitlines()
    assert unknown.startswith("'neighbours' is not a learner. Known: lightgbm, ")
    assert unknown.endswith("Import and register your own learner first, with metahp.register_learner.")
    assert (has_trials, is_imported) == ("True", "False")


# What a file of its models may hold.


@pytest.fixture
def fitted(neighbours: type[metahp.Learner], new_table: Path) -> Any:
    loaded = load(new_table, target="target")
    learner = neighbours()
    estimator = learner.estimator(
        learner.space(TaskType.BINARY).default, TaskType.BINARY, numeric=["a", "b"], categorical=["kind"], seed=0
    )
    return estimator.fit(loaded.features, loaded.y)


def test_its_types_are_trusted_in_its_own_models_alone(neighbours: type[metahp.Learner], fitted: Any) -> None:
    with pytest.raises(InputError, match=r"KNeighborsClassifier, which no .* to trusted_types of the learner 'linear'"):
        find_learner("linear").dump(fitted)
    content = neighbours().dump(fitted)
    with pytest.raises(ForeignError, match="KNeighborsClassifier"):
        read_skops(content)
    assert type(read_skops(content, neighbours.trusted_types)) is type(fitted)


@pytest.mark.parametrize(
    ("found", "crafted"),
    [
        (b'"KNeighborsClassifier"', b'"NearestNeighbors"'),
        (b'"__class__": "KNeighborsClassifier", "__module__": "sklearn.neighbors._classification", '
         b'"__loader__": "ObjectNode"',
         b'"__class__": "KNeighborsClassifier", "__module__": "sklearn.neighbors._classification", '
         b'"__loader__": "TypeNode"'),
    ],
    ids=["a type beside it", "the class in another role"],
)  # fmt: skip
def test_a_crafted_type_in_its_model_is_refused(
    found: bytes, crafted: bytes, neighbours: type[metahp.Learner], fitted: Any
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(neighbours().dump(fitted))) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                content = json.dumps(json.loads(content)).encode()
                assert found in content
                content = content.replace(found, crafted)
            new.writestr(name, content)
    with pytest.raises(ForeignError):
        read_skops(buffer.getvalue(), neighbours.trusted_types)
