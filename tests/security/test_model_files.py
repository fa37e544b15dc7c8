"""A result directory of somebody else gives predictions or one line: no crash of native code and no endless loop.

What once ended in native code is loaded in a process of its own, which runs this file as a script.
"""

import hashlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, MetahpError
from metahp.core.metric import find_metric
from metahp.core.task import TaskType
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.load import load
from metahp.datasets.table import Table
from metahp.learners import skops_archive, untrusted
from metahp.learners.registry import find_learner
from metahp.learners.skops_reader import KNOWN_STATES
from metahp.results.content import ResultContent
from metahp.results.directory import write_result
from metahp.results.model import TunedModel, fit_model
from metahp.results.predict import MAX_MEMBERS, load_result

N_ROWS = 80
# Changes of each file; the process has several times the seconds that it needs.
N_MUTATIONS = 120
SECONDS = 300
# What indices and sizes are replaced with.
NUMBERS = (b"-1", b"0", b"1", b"7", b"-2147483648", b"2147483647", b"99999999999999999999", b"1e300", b"nan", b"0.5")
SCALARS = ("-1", "0", "3", "2000000000", "1e308", "NaN", "null", "true", '"x"', "[[1]]", "-9223372036854775808")
# A learner and values for each file that is mutated; the spline's table has a column that is nearly constant.
MODELS = {
    "lightgbm": ("multiclass", "lightgbm", {"min_child_samples": 2, "num_leaves": 6, "n_estimators": 10}),
    "forest": ("multiclass", "random_forest", {"n_estimators": 10, "max_depth": 4, "categorical": "onehot"}),
    "spline": ("regression", "linear", {"numeric": "spline", "n_knots": 3}),
    "onehot": ("binary", "linear", {}),
}


def table_of(kind: str) -> Table:
    """Numbers with gaps, a column that is nearly constant, a date, and categories that a one-hot encoder must group."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=N_ROWS)
    target = {
        "binary": np.where(signal > 0, "yes", "no"),
        "multiclass": np.select([signal < -0.5, signal < 0.5], ["low", "middle"], "high"),
        "regression": 3 * signal + rng.normal(size=N_ROWS),
    }
    frame = pd.DataFrame(
        {
            "signal": signal,
            "gaps": np.where(rng.random(N_ROWS) < 0.3, np.nan, rng.normal(size=N_ROWS)),
            "zeros": np.where(rng.random(N_ROWS) < 0.95, 0.0, signal),
            "colour": pd.Series(rng.choice(["red", "green", "blue", ""], size=N_ROWS)).replace("", None),
            "place": [f"place {index % 60}" for index in range(N_ROWS)],
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, size=N_ROWS), unit="D"),
            "y": target[kind],
        }
    )
    return load(frame, target="y")


def configuration_of(learner: str, table: Table, values: dict[str, Any]) -> Configuration:
    return find_learner(learner).space(table.task.type).configuration(values)


def write(folder: Path, kind: str, learner: str, values: dict[str, Any], *, n_members: int = 1) -> TunedModel:
    """A result directory, and the model in it."""
    table = table_of(kind)
    metric = find_metric(table.task.type)
    configuration = configuration_of(learner, table, values)
    model = fit_model(table, [(configuration, 1.0)] * n_members, metric, seed=0)
    trial = Trial(
        task=table.task.id,
        configuration=configuration,
        protocol=Protocol(),
        n_rows=N_ROWS,
        state=TrialState.COMPLETE,
        origin=Origin.DEFAULT,
        fold_losses={metric.name: (0.1, 0.2, 0.3)},
        fit_seconds=1.0,
    )
    write_result(
        folder,
        ResultContent(
            table=table, metric=metric, best=configuration, model=model, trials=[trial], protocol=Protocol(), seed=0
        ),
    )
    return model


def put(folder: Path, data: bytes) -> None:
    """Put another model into a result directory, as somebody would who knows of the hash."""
    path = folder / "preparation.json"
    described = json.loads(path.read_text())
    member = described["members"][0]
    (folder / member["file"]).write_bytes(data)
    member["blake2b"] = hashlib.blake2b(data, digest_size=16).hexdigest()
    path.write_text(json.dumps(described))


def model_file(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.name.startswith("model."))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a result of each of `MODELS`."""
    root = tmp_path_factory.mktemp("results")
    for name, (kind, learner, values) in MODELS.items():
        write(root / name, kind, learner, values)
    return root


# What no learner writes, for texts: what is replaced (a pattern for lines), by what, and what the refusal says.

Change = tuple[str, str, str]
TEXTS: dict[str, Change] = {
    "a circle": (r"^left_child=\S+", "left_child=0", "come after their parents, found a circle"),
    "a node of no parent": (r"^right_child=\S+", "right_child=-1", "one parent for each node"),
    "a child that is none": (r"^right_child=\S+", "right_child=900", "expected right_child from"),
    "a feature that is none": (r"^split_feature=\d+", "split_feature=1999999999", "expected split_feature from 0 to"),
    "a feature below 0": (r"^split_feature=\d+", "split_feature=-7", "expected split_feature from 0 to"),
    "many leaves": (r"^num_leaves=\d+", "num_leaves=1999999999", "expected num_leaves from 1 to 4096"),
    "no leaf": (r"^num_leaves=\d+", "num_leaves=0", "expected num_leaves from 1 to 4096"),
    "too few values": (r"^leaf_value=\S+ ", "leaf_value=", r"expected \d+ number\(s\) as leaf_value"),
    "no number": (r"^threshold=\S+", "threshold=--1", "as threshold, found '--1"),
    "an odd decision": (r"^decision_type=\d+", "decision_type=99", "expected decision_type to be one of"),
    "a split of no categories": (r"^decision_type=\d+", "decision_type=1", "splits by category"),
    "categories unsplit": (r"^num_cat=[1-9]\d*", "num_cat=0", "expected is_linear in the tree, found 'cat_boundaries"),
    "a set that ends too late": (r"^cat_boundaries=0 \d+", "cat_boundaries=0 4096", "rise from 0 to"),
    "a set that starts too early": (r"^cat_boundaries=0", "cat_boundaries=-8", "rise from 0 to"),
    "a linear tree": (r"^is_linear=0", "is_linear=1", "a tree without linear models"),
    "a line without a value": (r"^is_linear=0", "is_linear", "expected is_linear in the tree, found 'is_linear'"),
    "a line too many": (r"^is_linear=0", "is_linear=0\nis_linear=0", "expected shrinkage in the tree, found"),
    "an unknown line": (r"^is_linear=0", "leaf_const=0", "expected is_linear in the tree, found 'leaf_const=0'"),
    "sizes of other trees": (r"^tree_sizes=\d+", "tree_sizes=999999999", "expected a tree of the size in tree_sizes"),
    "a size below 0": (r"^tree_sizes=\d+", "tree_sizes=-9", "expected tree_sizes from 1"),
    "a tree too few": (r"^tree_sizes=\d+ ", "tree_sizes=", "expected a multiple of 3 trees"),
    "more classes than trees": (r"num_class:3", "num_class:2000000", "expected objective=multiclass num_class:3"),
    "another objective": (r"^objective=.*", "objective=custom", "expected objective=multiclass num_class:3"),
    "no class": (r"^num_class=3", "num_class=0", "expected num_class=3, found '0'"),
    "fewer features": (r"^max_feature_idx=\d+", "max_feature_idx=1", "expected max_feature_idx="),
    "a mean of trees": (r"^feature_names", "average_output\nfeature_names", "expected feature_names in the header"),
    "another format": (r"^version=v4", "version=v3", "expected version=v4, found 'v3'"),
    "an end within": (r"^version=v4", "version=v4\0", "expected version=v4"),
    "another booster": (r"^tree$", "dart", "expected a first line 'tree'"),
    "a parameter without a value": (r"^\[boosting: gbdt\]", "boosting", "expected parameters of our learner"),
    "another boosting": (r"^\[boosting: gbdt\]", "[boosting: rf]", "expected parameters of our learner"),
    "a parser of its own": (r"^end of parameters", "end of parameters\n\nparser:", "expected"),
    "other categories": (
        r'^pandas_categorical:.*"red"',
        'pandas_categorical:[["pink"',
        "the categories of preparation",
    ),
    "deep categories": (r"^pandas_categorical:", f"pandas_categorical:{'[' * 10**5}", "nested 100,00. deep"),
}


def crafted_text(text: str, change: Change) -> bytes:
    """The text with a change; the sizes of the trees are those of the changed text where the change is not of these."""
    pattern, value, _ = change
    changed, n = re.subn(pattern, lambda _: value, text, flags=re.MULTILINE)
    assert n > 0, pattern
    return (changed if "tree_sizes" in pattern else with_sizes(changed)).encode()


def with_sizes(text: str) -> str:
    head, blank, rest = text.partition("\n\n")
    trees = re.split(r"(?m)^(?=Tree=|end of trees)", rest)[1:-1]
    sizes = " ".join(str(len(tree.encode())) for tree in trees)
    return re.sub(r"(?m)^tree_sizes=.*", f"tree_sizes={sizes}", head) + blank + rest


# The same for skops files: which result, what makes of an entry another, and what the refusal says.

Entry = Callable[[str, bytes], bytes]


def rezipped(data: bytes, change: Entry) -> bytes:
    """The archive with its entries changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def in_nodes(**fields: int) -> Entry:
    """Set fields of the first node of every tree."""

    def change(name: str, data: bytes) -> bytes:
        array = np.load(io.BytesIO(data)) if name.endswith(".npy") else np.empty(0)
        if not array.dtype.names:
            return data
        for field, value in fields.items():
            array[field][0] = value
        return saved(array)

    return change


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def states(schema: Any) -> Iterator[dict[str, Any]]:
    """All JSON objects."""
    if isinstance(schema, dict):
        yield schema
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from states(value)


def in_schema(change: Callable[[dict[str, Any]], None]) -> Entry:
    """Change every JSON object of the schema, where `change` sees fit; without ids, by which skops finds others."""

    def changed(name: str, data: bytes) -> bytes:
        if name != "schema.json":
            return data
        schema = json.loads(data)
        for state in list(states(schema)):
            change(state)
            state.pop("__id__", None)
        return json.dumps(schema).encode()

    return changed


def value_of(name: str, content: str) -> Entry:
    """Set the attribute `name` of every object that has it to a number or text."""

    def change(state: dict[str, Any]) -> None:
        if isinstance(state.get(name), dict):
            state[name] = {**JSON, "content": content}

    return in_schema(change)


def items_of(name: str, content: str) -> Entry:
    """Set all items of a list that is an attribute."""

    def change(state: dict[str, Any]) -> None:
        if isinstance(state.get(name), dict):
            state[name]["content"] = [{**JSON, "content": content} for _ in state[name]["content"]]

    return in_schema(change)


def loaded_by(loader: str, module: str, name: str) -> Entry:
    """Load whatever is a number or text by another loader."""

    def change(state: dict[str, Any]) -> None:
        if state.get("__loader__") == "JsonNode":
            state |= {"__loader__": loader, "__module__": module, "__class__": name}

    return in_schema(change)


def bend_splines(state: dict[str, Any]) -> None:
    if isinstance(state.get("_c"), dict):
        state["_c"]["file"] = state["_t"]["file"]


def swap_columns(state: dict[str, Any]) -> None:
    if isinstance(state.get("_transformer_to_input_indices"), dict):
        content = state["_transformer_to_input_indices"]["content"]
        content["numeric"], content["categorical"] = content["categorical"], content["numeric"]


def number_categories(state: dict[str, Any]) -> None:
    if isinstance(state.get("categories_"), dict):
        for array in state["categories_"]["content"]:
            array["content"] = [{**JSON, "content": str(index)} for index in range(len(array["content"]))]


def add_method(state: dict[str, Any]) -> None:
    content = state.get("content")
    if isinstance(content, dict) and "estimators_" in content and "key_types" in state:
        content["predict_proba"] = content["verbose"]
        state["key_types"]["content"].append(state["key_types"]["content"][0])


def emptied_arrays(name: str, data: bytes) -> bytes:
    """Arrays of no bytes with an axis that never ends."""
    if not name.endswith(".npy") or np.load(io.BytesIO(data)).dtype.names:
        return data
    return re.sub(rb"\(\d*,?\),( *)", rb"(0, 9000000000000000000),", data)


JSON = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "is_json": True}
ARCHIVES: dict[str, tuple[str, Entry, str]] = {
    "a circle": ("forest", in_nodes(left_child=0, right_child=0), "come after their parents, found a circle"),
    "a child that is none": ("forest", in_nodes(left_child=10**9), "one parent for each node"),
    "a child below the leaves": ("forest", in_nodes(left_child=-2), "found a circle"),
    "half a leaf": ("forest", in_nodes(left_child=-1), "expected leaves without children"),
    "a feature that is none": ("forest", in_nodes(feature=10**12), "expected trees that split by"),
    "more nodes than there are": ("forest", value_of("node_count", "900000000"), "as many nodes as a tree counts"),
    "more outputs than there are": ("forest", items_of("args", "9000"), "expected a tree with one output"),
    "fewer features": ("forest", value_of("n_features_in_", "2"), "expected trees of 2 features"),
    "no features": ("forest", value_of("n_features_in_", "null"), "the number of features of"),
    "more trees than there are": ("forest", value_of("n_estimators", "900000"), "with the parameters of the learner"),
    "a million threads": ("forest", value_of("n_jobs", "1000000"), "at most 1024 jobs"),
    "a method": ("forest", in_schema(add_method), "found its method predict_proba"),
    "columns below 0": ("onehot", items_of("_n_features_outs", "-4000000"), "expected at most 50 columns"),
    "too few columns": ("onehot", items_of("_n_features_outs", "1"), "expected a"),
    "ungrouped columns": ("onehot", value_of("_infrequent_enabled", "false"), "a limit of one-hot columns"),
    "sparse columns": ("onehot", value_of("sparse_output", "true"), "with the parameters of the learner"),
    "a folder for a cache": ("onehot", value_of("memory", '"/tmp/cache"'), "with the parameters of the learner"),
    "columns of other kinds": ("onehot", in_schema(swap_columns), "the columns of preparation.json"),
    "categories that are numbers": ("onehot", in_schema(number_categories), "expected categories that are texts"),
    "splines without coefficients": ("spline", in_schema(bend_splines), "as many knots of a spline"),
    "splines of high degree": ("spline", value_of("k", "2000000000"), "as many knots of a spline"),
    "too many splines": ("spline", value_of("n_features_out_", "900000000"), "columns of each spline"),
    "an endless axis": ("onehot", emptied_arrays, "bytes in an array, found shape"),
    "a function": (
        "onehot",
        loaded_by("FunctionNode", "os", "system"),
        "holds .*system, which no model of metahp does",
    ),
    "a state seen before": ("onehot", loaded_by("CachedNode", "builtins", "str"), "which no model of metahp does"),
    "a sparse matrix": (
        "onehot",
        loaded_by("SparseMatrixNode", "scipy.sparse", "csr_matrix"),
        "which no model of metahp",
    ),
    "a name of two lines": ("onehot", loaded_by("FunctionNode", "os", "system\n"), "which no model of metahp does"),
    "an unknown protocol": (
        "onehot",
        in_schema(lambda s: s.update(protocol=0) if "protocol" in s else None),
        "protocol",
    ),
    "no number": ("onehot", value_of("n_features_in_", "[[[1]]]"), "expected a number or text"),
}


def bomb(_: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("schema.json", b" " * (skops_archive.MIN_UNPACKED_BYTES + 1))
    return buffer.getvalue()


def many_entries(_: bytes) -> bytes:
    return b"PK\1\2" * (skops_archive.MAX_ENTRIES + 1)


def deep_schema(data: bytes) -> bytes:
    return rezipped(data, lambda name, entry: b'{"a":' * 10**5 if name == "schema.json" else entry)


def twice(data: bytes) -> bytes:
    buffer = io.BytesIO(data)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(buffer, "a") as file:
        file.writestr("schema.json", "{}")
    return buffer.getvalue()


WHOLE_ARCHIVES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a bomb": (bomb, r"unpacks to 67,108,865 bytes, expected at most 67,108,864"),
    "many entries": (many_entries, "expected at most 20,000 entries"),
    "a deep schema": (deep_schema, "nested 100,000 deep"),
    "a name twice": (twice, "entries of different names"),
    "half a file": (lambda data: data[: len(data) // 2], "is not a skops model"),
    "nothing": (lambda _: b"", "is not a skops model"),
}


def crafted(results: Path, case: str) -> tuple[Path, bytes]:
    """The directory that a case starts from, and its changed file."""
    group, _, name = case.partition(": ")
    if group == "text":
        source = results / "lightgbm"
        return source, crafted_text(model_file(source).read_text(), TEXTS[name])
    source = results / (ARCHIVES[name][0] if group == "entry" else "onehot")
    data = model_file(source).read_bytes()
    return source, rezipped(data, ARCHIVES[name][1]) if group == "entry" else WHOLE_ARCHIVES[name][0](data)


def says_of(case: str) -> str:
    """What the refusal of a case says."""
    group, _, name = case.partition(": ")
    return {"text": TEXTS, "entry": ARCHIVES, "whole": WHOLE_ARCHIVES}[group][name][-1]


CASES = [f"text: {name}" for name in TEXTS] + [f"entry: {name}" for name in ARCHIVES]
CASES += [f"whole: {name}" for name in WHOLE_ARCHIVES]


def run(*arguments: str | Path) -> list[str]:
    """The lines that this file prints as a script, which must end by itself."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-300:]}\n{done.stderr[-2000:]}"
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def outcomes(results: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each case: one process loads all of them and predicts."""
    root = tmp_path_factory.mktemp("crafted")
    for index, case in enumerate(CASES):
        source, data = crafted(results, case)
        shutil.copytree(source, root / str(index))
        put(root / str(index), data)
    return dict(zip(CASES, run("load", root, str(len(CASES))), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_crafted_model_is_refused_in_one_line(case: str, outcomes: dict[str, str]):
    assert re.search(says_of(case), outcomes[case]), outcomes[case]
    assert outcomes[case].startswith("InputError")


def test_models_with_random_changes_are_refused_or_predict(results: Path, tmp_path: Path):
    lines = run("mutate", results, tmp_path)
    assert len(lines) == N_MUTATIONS * len(MODELS)
    refused = [line for line in lines if line.startswith("InputError")]
    assert all(line.startswith(("InputError: ", "UnknownNameError: ", "predicted")) for line in lines)
    assert 0.3 * len(lines) < len(refused) < len(lines)


# What is not crafted comes back.


def options(learner: str, kind: str) -> Iterator[dict[str, Any]]:
    """Values for every choice that changes what a learner's pipeline consists of."""
    if learner == "lightgbm":
        yield from ({}, {"extra_trees": True}, {"subsample": 0.5, "min_child_samples": 2}, {"min_child_samples": 200})
    elif learner == "linear":
        for numeric, categorical in itertools.product(("standard", "quantile", "spline"), ("onehot", "target")):
            preprocessing = {"numeric": numeric, "categorical": categorical}
            yield (
                {**preprocessing, "model": "elasticnet"} if kind == "regression" else {**preprocessing, "l1_ratio": 0.5}
            )
            yield {**preprocessing, "class_weight": "balanced"} if kind != "regression" else preprocessing
    else:
        for bootstrap, categorical in itertools.product((True, False), ("ordinal", "onehot")):
            yield {"n_estimators": 10, "bootstrap": bootstrap, "categorical": categorical}


@pytest.fixture(scope="module")
def written() -> set[tuple[str, str]]:
    """Loaders and types in the skops files that the tests have written."""
    return set()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("learner", ["lightgbm", "random_forest", "extra_trees", "linear"])
def test_every_option_of_every_learner_comes_back(learner: str, kind: str, tmp_path: Path, written: set):
    for index, values in enumerate(options(learner, kind)):
        model = write(tmp_path / str(index), kind, learner, values)
        features = table_of(kind).features
        np.testing.assert_array_equal(load_result(tmp_path / str(index)).outputs(features), model.outputs(features))
        if learner != "lightgbm":
            archive = skops_archive.Archive.open(model_file(tmp_path / str(index)).read_bytes())
            for state in states(archive.read_schema()):
                if "__loader__" in state:
                    written.add((state["__loader__"], f"{state['__module__']}.{state['__class__']}"))


def test_no_type_is_known_that_no_learner_needs(written: set):
    if len(written) < 20:
        pytest.skip("needs the files that the tests of all learners write")
    assert written == KNOWN_STATES


def test_a_model_of_other_types_is_not_written():
    with pytest.raises(InputError, match=r"The model holds sklearn\..*PCA, which no learner of metahp uses"):
        find_learner("linear").dump(make_pipeline(PCA()))


# The directory around the models.


@pytest.fixture
def result(results: Path, tmp_path: Path) -> Path:
    shutil.copytree(results / "lightgbm", tmp_path / "result")
    return tmp_path / "result"


@pytest.mark.parametrize("name", ["best.json", "preparation.json", "model.txt"])
def test_a_link_instead_of_a_file_is_refused(name: str, result: Path, tmp_path: Path):
    (result / name).rename(tmp_path / "elsewhere")
    (result / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"{name}' is a symbolic link, expected the file itself"):
        load_result(result)


def test_a_link_instead_of_the_folder_of_models_is_refused(tmp_path: Path):
    kind, learner, values = MODELS["lightgbm"]
    write(tmp_path / "result", kind, learner, values, n_members=2)
    load_result(tmp_path / "result")
    (tmp_path / "result" / "models").rename(tmp_path / "elsewhere")
    (tmp_path / "result" / "models").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(InputError, match=r"models' is a symbolic link, expected a folder"):
        load_result(tmp_path / "result")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_instead_of_a_file_is_refused(result: Path):
    (result / "model.txt").unlink()
    os.mkfifo(result / "model.txt")
    with pytest.raises(InputError, match=r"model\.txt' is not a regular file"):
        load_result(result)


def test_a_file_that_is_too_large_is_not_read(result: Path):
    os.truncate(result / "best.json", untrusted.MAX_DESCRIPTION_BYTES + 1)
    with pytest.raises(InputError, match=r"best\.json' has 67,108,865 bytes, expected at most 67,108,864"):
        load_result(result)


@pytest.mark.parametrize("name", ["best.json", "preparation.json"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 10**5, "nested 100,000 deep, expected at most 100"),
        ('{"a": "' + "]" * 200 + '", "b": ' + "[" * 150, "nested 151 deep"),
        ('{"schema_version": NaN}', "NaN is not a number in JSON"),
        ('{"schema_version": 1' + "0" * 5000 + "}", "damaged"),
        ("\ud800", "damaged"),
        ("", "damaged"),
        ("[]", "schema version None"),
        ('{"schema_version": "1\\n2"}', "schema version '1"),
    ],
)
def test_a_description_that_is_no_json_of_ours_is_refused(name: str, text: str, says: str, result: Path):
    (result / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=says) as caught:
        load_result(result)
    assert "\n" not in str(caught.value)


def test_brackets_in_texts_are_not_nested():
    assert untrusted.measure_nesting(rb'{"a": ["[[[", "\"[[", "\\", [1]]}') == 3
    assert untrusted.measure_nesting(b"[[1], [[2]]]") == 3
    assert untrusted.measure_nesting(b"1") == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": ["a", "b"]}, "classes"),
        ({"classes": ["a", "a", "b"]}, "different ones"),
        ({"classes": "abc"}, "no list"),
        ({"classes": [str(index) for index in range(20_000)]}, "20,000 classes"),
        ({"task_type": "regression"}, "classes"),
        ({"task_type": ["binary"]}, "damaged"),
        ({"metric": {"name": 1}}, "metric"),
        ({"metric": "a\nb"}, "damaged"),
        ({"columns": []}, "at least one feature"),
        ({"columns": {"a": 1}}, "damaged"),
        ({"columns": [{"name": "a", "kind": ["number"]}]}, "damaged"),
        ({"columns": [{"name": "a", "kind": "a\nb"}]}, "damaged"),
        ({"columns": [{"name": "a", "kind": "number"}] * 2}, "each once"),
        ({"columns": [{"name": "a", "kind": "category", "categories": ["x", "x"]}]}, "a category twice"),
        ({"columns": [{"name": "a", "kind": "date", "parts": ["century"]}]}, "parts that are none"),
        ({"columns": [{"name": "a", "kind": "date"}]}, "parts that are none"),
        ({"columns": [{"name": "a", "kind": "number"}]}, "expected max_feature_idx=0"),
        ({"renamed": 1}, "damaged"),
        ({"dropped": ["a"]}, "damaged"),
        ({"members": {}}, "no list"),
        ({"members": [{}] * (MAX_MEMBERS + 1)}, "201 members, expected at most 200"),
        ({"members": [3]}, "damaged"),
    ],
)
def test_a_changed_description_is_refused(changes: dict[str, Any], says: str, result: Path):
    path = result / "preparation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=says) as caught:
        load_result(result)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weight": 10**400}, "weight|damaged"),
        ({"weight": "heavy"}, "a weight that is no number"),
        ({"weight": -1}, "above zero"),
        ({"seen_classes": [0, 1]}, "expected num_class=1"),
        ({"seen_classes": []}, "it is damaged"),
        ({"seen_classes": [2, 1, 0]}, "it is damaged"),
        ({"seen_classes": [0, 1, 3]}, "it is damaged"),
        ({"seen_classes": 3}, "no list"),
        ({"learner": "linear"}, "expected a model of linear"),
        ({"configuration": 3}, "values by name|damaged"),
        ({"file": "models/0.txt"}, "no name that metahp gives; expected model.txt or model.skops"),
        ({"file": "model.txt\n"}, "no name that metahp gives"),
    ],
)
def test_a_changed_member_is_refused(changes: dict[str, Any], says: str, result: Path):
    path = result / "preparation.json"
    described = json.loads(path.read_text())
    described["members"][0] |= changes
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=says) as caught:
        load_result(result)
    assert "\n" not in str(caught.value)


def test_a_model_that_fails_says_so_in_one_line(results: Path, tmp_path: Path):
    shutil.copytree(results / "onehot", tmp_path / "result")
    put(tmp_path / "result", rezipped(model_file(results / "onehot").read_bytes(), value_of("mean_", '"x"')))
    model = load_result(tmp_path / "result")
    with pytest.raises(InputError, match=r"The linear model cannot predict \(.*\); use the versions in best.json"):
        model.outputs(table_of("binary").features)


# What runs in a process of its own.


def outcome(folder: Path, features: pd.DataFrame) -> str:
    """The error in one line, or that there are predictions of the right shape."""
    try:
        model = load_result(folder)
        found = model.outputs(features)
    except MetahpError as error:
        text = f"{type(error).__name__}: {error}"
        return text if len(text.splitlines()) == 1 else f"several lines: {text!r}"
    expected = (N_ROWS, len(model.classes)) if model.classes else (N_ROWS,)
    return "predicted" if found.shape == expected else f"shape {found.shape}"


def load_all(root: Path, count: int) -> None:
    features = {kind: table_of(kind).features for kind in TaskType}
    for index in range(count):
        described = json.loads((root / str(index) / "preparation.json").read_text())
        print(outcome(root / str(index), features[described["task_type"]]), flush=True)


def mutate_all(results: Path, folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, (kind, _, _) in MODELS.items():
        features = table_of(kind).features
        original = model_file(results / name).read_bytes()
        for index in range(N_MUTATIONS):
            place = folder / f"{name}-{index}"
            shutil.copytree(results / name, place)
            if index % 4 == 3:
                mutate_description(place / "preparation.json", rng)
            else:
                put(place, mutated_text(original, rng) if name == "lightgbm" else mutated_archive(original, rng))
            print(outcome(place, features), flush=True)
            shutil.rmtree(place)


def mutate_description(path: Path, rng: np.random.Generator) -> None:
    described = json.loads(path.read_text())
    change_state(described, rng)
    path.write_text(json.dumps(described))


def change_state(value: Any, rng: np.random.Generator) -> None:
    """Drop, repeat or replace something in lists and objects."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[rng.integers(len(keys))] if keys else None
        if key is None:
            return
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        if rng.random() < 0.3:
            del value[key]
        elif rng.random() < 0.3 and isinstance(value, list):
            value.append(value[key])
        else:
            content = SCALARS[rng.integers(len(SCALARS))]
            is_content = isinstance(value, dict) and key == "content"
            value[key] = content if is_content else json.loads(content)
        return


def mutated_text(data: bytes, rng: np.random.Generator) -> bytes:
    """A change of bytes, numbers or lines; the sizes of trees fit afterwards in two of three cases."""
    kind = rng.integers(6)
    lines = data.split(b"\n")
    at = int(rng.integers(1, len(lines) - 160 if rng.random() < 0.9 else len(lines)))
    if kind == 0:
        position = int(rng.integers(len(data)))
        lines = (data[:position] + bytes([rng.integers(256)]) + data[position + 1 :]).split(b"\n")
    elif kind == 1:
        lines[at] = b""
    elif kind == 2:
        lines.insert(at, lines[at])
    elif kind == 3:
        del lines[at]
    else:
        name, equals, value = lines[at].partition(b"=")
        tokens = value.split(b" ")
        here, there = rng.integers(len(tokens), size=2)
        tokens[here] = NUMBERS[rng.integers(len(NUMBERS))] if kind == 4 else tokens[there]
        lines[at] = name + equals + b" ".join(tokens)
    text = b"\n".join(lines)
    if rng.random() < 0.67 and b"\n\n" in text:
        return with_sizes(text.decode("latin-1")).encode("latin-1")
    return text


def mutated_archive(data: bytes, rng: np.random.Generator) -> bytes:
    """A change of the schema, of the bytes of an array, or of the whole file."""
    if rng.random() < 0.1:
        position = int(rng.integers(len(data)))
        return data[:position] + bytes([rng.integers(256)]) + data[position + 1 :]
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        arrays = [name for name in file.namelist() if name.endswith(".npy")]
    chosen = "schema.json" if rng.random() < 0.5 else arrays[rng.integers(len(arrays))]

    def change(name: str, entry: bytes) -> bytes:
        if name != chosen:
            return entry
        if name == "schema.json":
            schema = json.loads(entry)
            all_states = list(states(schema))
            change_state(all_states[rng.integers(len(all_states))], rng)
            return json.dumps(schema).encode()
        start = 128 if rng.random() < 0.9 else 0
        words = np.frombuffer(entry[start : start + (len(entry) - start) // 8 * 8], dtype=np.int64).copy()
        if len(words):
            words[rng.integers(len(words))] = [-1, 0, 1, -(2**62), 2**62, 10**6][rng.integers(6)]
        return entry[:start] + words.tobytes() + entry[start + 8 * len(words) :]

    return rezipped(data, change)


if __name__ == "__main__":
    verb, first, second = sys.argv[1:]
    if verb == "load":
        load_all(Path(first), int(second))
    else:
        mutate_all(Path(first), Path(second))
