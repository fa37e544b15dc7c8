"""What is in a result directory, that it is never half written, and what is refused."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from metahp.core.errors import InputError, UnknownNameError
from metahp.core.task import Task, TaskType
from metahp.files import make_unfinished_path
from metahp.results import directory as module
from metahp.results.content import Objective, ResultContent
from metahp.results.directory import check_directory, write_result
from metahp.results.owner import check_is_of
from metahp.results.predict import load_result

Make = Callable[..., ResultContent]


@pytest.fixture
def content(make_content: Make) -> ResultContent:
    return make_content("binary", "lightgbm")


@pytest.fixture
def result(content: ResultContent, tmp_path: Path) -> Path:
    write_result(tmp_path / "result", content)
    return tmp_path / "result"


@pytest.fixture
def pipeline_result(make_content: Make, tmp_path: Path) -> Path:
    write_result(tmp_path / "pipeline", make_content("binary", "linear"))
    return tmp_path / "pipeline"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def describe(folder: Path, **changes: object) -> None:
    """Change `preparation.json`."""
    path = folder / "preparation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace_model(folder: Path, data: bytes) -> None:
    """Put another model into the directory, as somebody would who knows of the hash."""
    member = json.loads((folder / "preparation.json").read_text())["members"][0]
    (folder / member["file"]).write_bytes(data)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    describe(folder, members=[{**member, "blake2b": digest}])


def test_best_json_says_what_was_found_and_how(result: Path, content: ResultContent):
    best = json.loads((result / "best.json").read_text())
    assert best["schema_version"] == 1
    assert best["task"]["classes"] == ["no", "yes"]
    assert best["best"]["learner"] == "lightgbm"
    assert best["best"]["configuration"]["n_estimators"] == 10
    assert best["best"]["score"] == pytest.approx(0.8)
    assert best["best"]["standard_error"] == pytest.approx(0.1 / np.sqrt(3))
    assert best["best"]["score_is"] == "cross-validated and selected on"
    assert best["best"]["test_score"] is None
    assert best["default_score"] == pytest.approx(0.6)
    assert best["trials"] == {"complete": 2, "failed": 0, "timeout": 1, "out_of_memory": 0, "pruned": 0}
    assert best["protocol"]["folds"] == 3
    assert set(best["versions"]) >= {"metahp", "lightgbm", "scikit-learn"}
    assert set(best["files"]) == {"model.txt", "preparation.json", "script.py", "trials.parquet"}
    assert set(contents(result)) == {*best["files"], "best.json"}


def test_trials_are_in_the_order_in_which_they_finished(result: Path, content: ResultContent):
    trials = pd.read_parquet(result / "trials.parquet")
    assert trials["id"].tolist() == [trial.id for trial in content.trials]
    assert trials["finished"].tolist() == [0, 1, 2]
    assert trials["state"].tolist() == ["complete", "timeout", "complete"]
    assert trials["score"].round(6).tolist()[::2] == [0.6, 0.8]
    assert np.isnan(trials["score"][1])
    assert trials["fold_scores"][2] == pytest.approx([0.9, 0.8, 0.7])
    assert json.loads(trials["configuration"][2]) == content.best.values


def test_nothing_is_pickled(result: Path, make_content: Make, tmp_path: Path):
    write_result(tmp_path / "forest", make_content("binary", "random_forest", "linear"))
    for name, data in {**contents(result), **contents(tmp_path / "forest")}.items():
        assert not data.startswith(b"\x80"), name
        assert Path(name).suffix in {".json", ".txt", ".skops", ".parquet", ".py"}


def test_writing_again_replaces_files_and_leaves_none_of_the_old_model(result: Path, make_content: Make):
    write_result(result, make_content("binary", "linear", "extra_trees"))
    assert sorted(contents(result)) == [
        "best.json",
        "models/0.skops",
        "models/1.skops",
        "preparation.json",
        "script.py",
        "trials.parquet",
    ]
    load_result(result)


def test_a_failure_while_writing_leaves_the_old_result(result: Path, make_content: Make, monkeypatch):
    before = contents(result)
    after = make_content("binary", "linear")
    written = []

    def fail_at_the_third(handle: int) -> None:
        written.append(handle)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", fail_at_the_third)
    with pytest.raises(InputError, match="No space left on device"):
        write_result(result, after)
    assert contents(result) == before


def test_a_failure_while_writing_a_new_directory_leaves_nothing(content: ResultContent, tmp_path: Path, monkeypatch):
    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(InputError, match="cannot be written"):
        write_result(tmp_path / "new", content)
    assert not [path for path in tmp_path.iterdir() if "new" in path.name]


def test_a_kill_between_two_replacements_is_seen(result: Path, make_content: Make, tmp_path: Path):
    write_result(tmp_path / "other", make_content("binary", "lightgbm", num_leaves=4))
    (tmp_path / "other" / "model.txt").replace(result / "model.txt")
    with pytest.raises(InputError, match=r"model\.txt' was changed after it was written"):
        load_result(result)


def test_a_directory_with_other_files_is_left_alone(content: ResultContent, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "script.py").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        write_result(tmp_path / "mine", content)
    assert contents(tmp_path / "mine") == {"script.py": b"mine"}
    with pytest.raises(InputError, match="is a file"):
        check_directory(tmp_path / "binary.csv")
    make_unfinished_path(tmp_path / "empty" / "empty").mkdir(parents=True)
    write_result(tmp_path / "empty", content)
    load_result(tmp_path / "empty")


def test_a_table_from_no_file_has_no_script(content: ResultContent, tmp_path: Path):
    write_result(tmp_path / "result", replace(content, path=None))
    assert "script.py" not in contents(tmp_path / "result")


def test_the_result_of_another_file_is_not_replaced_unasked(result: Path, content: ResultContent, tmp_path: Path):
    assert content.path is not None
    check_is_of(result, content.path)
    check_is_of(tmp_path / "new", content.path)
    with pytest.raises(InputError, match="name another directory with `output`"):
        check_is_of(result, tmp_path / "elsewhere" / Path(content.path).name)


def test_the_result_of_an_objective_replaces_a_model(result: Path, content: ResultContent):
    task = Task(id="0" * 24, type=TaskType.REGRESSION, n_rows=0, n_features=0, name="monday")
    objective = replace(content, table=Objective(task, {"size": np.inf}), model=None, path=None)
    write_result(result, objective)
    assert set(contents(result)) == {"best.json", "trials.parquet"}
    best = json.loads((result / "best.json").read_text())
    assert best["task"]["metafeatures"] == {"size": None}
    assert best["best"]["score_is"] == "what the objective gave and selected on"
    with pytest.raises(InputError, match="has no model"):
        load_result(result)
    write_result(result, content)
    load_result(result)
    with pytest.raises(InputError, match="A result of a table has a model"):
        replace(content, model=None)


def test_a_foreign_type_is_refused(pipeline_result: Path):
    model = Pipeline([("odd", FunctionTransformer(func=re.sub))])
    replace_model(pipeline_result, skops.io.dumps(model))
    with pytest.raises(InputError, match=r"holds .*sub.* which no model of metahp does; it is not loaded"):
        load_result(pipeline_result)


def test_another_estimator_than_a_pipeline_is_refused(pipeline_result: Path):
    replace_model(pipeline_result, skops.io.dumps(FunctionTransformer()))
    with pytest.raises(InputError, match="holds FunctionTransformer, expected a Pipeline"):
        load_result(pipeline_result)


@pytest.mark.parametrize(("kind", "says"), [("result", "not a LightGBM model"), ("pipeline_result", "not a skops")])
def test_a_broken_model_is_refused_in_one_line(kind: str, says: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(kind)
    replace_model(folder, b"nonsense")
    with pytest.raises(InputError, match=says) as caught:
        load_result(folder)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_format_than_its_learners_is_refused(result: Path, pipeline_result: Path):
    (result / "model.skops").write_bytes((pipeline_result / "model.skops").read_bytes())
    member = json.loads((result / "preparation.json").read_text())["members"][0]
    describe(result, members=[{**member, "file": "model.skops"}])
    with pytest.raises(InputError, match=r"names 'model.skops', expected a model of lightgbm in model.txt"):
        load_result(result)


def test_a_result_of_a_learner_that_is_not_registered_says_how_to_register_it(pipeline_result: Path):
    member = json.loads((pipeline_result / "preparation.json").read_text())["members"][0]
    describe(pipeline_result, members=[{**member, "learner": "os"}])
    with pytest.raises(UnknownNameError, match=r"'os' is not a learner.*with metahp.register_learner\.") as caught:
        load_result(pipeline_result)
    assert "\n" not in str(caught.value)


def test_a_model_outside_the_directory_is_refused(result: Path):
    member = json.loads((result / "preparation.json").read_text())["members"][0]
    describe(result, members=[{**member, "file": "../result/model.txt"}])
    with pytest.raises(InputError, match="no name that metahp gives"):
        load_result(result)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": 2}, "schema version 2, this metahp reads 1; upgrade metahp"),
        ({"columns": [{"kind": "number"}]}, "damaged"),
        ({"columns": [{"name": "a", "kind": "picture"}]}, "found 'picture'"),
        ({"task_type": "ranking"}, "damaged"),
        ({"members": []}, "at least one member"),
        ({"metric": "r2"}, "not a metric for a binary task"),
    ],
)
def test_a_changed_description_is_refused(changes: dict, says: str, result: Path):
    describe(result, **changes)
    with pytest.raises(Exception, match=says) as caught:
        load_result(result)
    assert caught.type.__module__ == "metahp.core.errors"


def test_what_is_no_result_is_named(result: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere' does not exist; expected the directory"):
        load_result(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a directory that metahp tune wrote"):
        load_result(tmp_path)
    with pytest.raises(InputError, match="is a file; expected the directory"):
        load_result(result / "best.json")
    (result / "model.txt").unlink()
    with pytest.raises(InputError, match=r"model\.txt' cannot be read \(No such file"):
        load_result(result)
    (result / "best.json").write_text('{"schema_version": 1, "best": 3, "files": []}')
    with pytest.raises(InputError, match=r"best\.json' is damaged"):
        load_result(result)
    (result / "best.json").unlink()
    with pytest.raises(InputError, match=r"has no best\.json; restore that file or tune again"):
        load_result(result)


def test_missing_columns_are_named(result: Path, tmp_path: Path):
    frame = pd.read_csv(tmp_path / "binary.csv").rename(columns={"zone": "Zone"}).drop(columns="day")
    with pytest.raises(InputError, match=r"2 of 7 columns that the model needs are missing: zone, day.*mean 'Zone'\?"):
        load_result(result).predict(frame)


def test_the_best_configuration_must_have_been_tried(content: ResultContent):
    with pytest.raises(InputError, match="no complete trial"):
        replace(content, trials=[])
