"""The exported script is run as a user would run it, in a process of its own, with warnings as errors."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.core.metric import find_metric
from metahp.core.task import TaskType
from metahp.core.trial import Protocol
from metahp.datasets.load import load
from metahp.datasets.preparation import Preparation
from metahp.datasets.table import Table
from metahp.evaluation.design import make_design
from metahp.evaluation.protocol import measure
from metahp.learners.registry import LEARNERS, find_learner
from metahp.recommendation.result import Recommendation, Recommended
from metahp.results.model import fit_model
from metahp.results.script import ScriptFolds, make_recommendation_script, make_training_script
from metahp.study.request import Folds
from metahp.study.rows import split_rows

TARGETS = {"binary": TaskType.BINARY, "multiclass": TaskType.MULTICLASS, "regression": TaskType.REGRESSION}


def recommendation_of(table: Table, learner: str, index: int = 0, metric: str | None = None) -> Recommendation:
    """A recommendation of one configuration of the learner's design, with made-up expectations."""
    configuration, origin = make_design(find_learner(learner), table.task.type, index + 1)[index]
    configuration = configuration.replaced(**({"n_estimators": 20} if "n_estimators" in configuration.values else {}))
    item = Recommended(
        rank=1,
        configuration=configuration,
        score=0.8,
        low=0.7,
        high=0.9,
        default_score=0.75,
        fit_seconds=1.0,
        origin=origin,
    )
    return Recommendation(
        task=table.task,
        target=table.target,
        metric=find_metric(table.task.type, metric),
        items=(item,),
        neighbours=(),
        reasons=(),
        track_record=None,
        abstained=False,
        is_known_task=False,
        n_past_tasks=12,
        n_past_trials=345,
        preparation=Preparation(),
    )


def run(script: str, folder: Path) -> str:
    """Standard output of the script."""
    path = folder / "train.py"
    path.write_text(script, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:The max_iter was reached", str(path)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{script}"
    return done.stdout


def printed_score(output: str) -> float:
    match = re.search(r": (-?\d+\.\d+) \(\d-fold", output)
    assert match, output
    return float(match.group(1))


@pytest.fixture
def frame(raw_frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """All kinds of columns: with a comma in the name, dates, booleans, a constant and text that looks like numbers."""
    n = len(raw_frame)
    return raw_frame.assign(
        **{
            "size, in mm": rng.normal(size=n),
            "when": pd.date_range("2024-01-01", periods=n, freq="31h").astype(str),
            "flag": rng.random(n) < 0.5,
            "same": "x",
            "mixed": rng.choice(["1", "2", "many"], size=n),
        }
    )


def features(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    rest = [name for name in frame if name not in TARGETS]
    return frame[[*rest, target]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_the_script_of_each_learner_scores_as_metahp_does(
    frame: pd.DataFrame, tmp_path: Path, learner: str, target: str
) -> None:
    path = tmp_path / "table.csv"
    features(frame, target).to_csv(path, index=False)
    table = load(path, target=target)
    recommendation = recommendation_of(table, learner, index=7)
    output = run(make_recommendation_script(recommendation, table, str(path)), tmp_path)
    measured = measure(table, find_learner(learner), recommendation.best.configuration, Protocol())
    metric = recommendation.metric
    expected = metric.speak(metric.score(float(np.mean(measured.fold_losses[metric.name]))))
    assert printed_score(output) == pytest.approx(expected, abs=2e-4)
    assert "fitted on all 90 rows" in output


@pytest.mark.parametrize("labels", [("no", "yes"), ("9", "10"), ("1", "2")])
def test_the_script_scores_f1_by_the_class_that_metahp_scores_it_by(
    frame: pd.DataFrame, tmp_path: Path, rng: np.random.Generator, labels: tuple[str, str]
) -> None:
    path = tmp_path / "table.csv"
    table = features(frame, "binary").drop(columns="binary")
    table.assign(label=np.where(rng.random(90) + frame["signal"] > 0.2, *labels)).to_csv(path, index=False)
    table = load(path, target="label")
    recommendation = recommendation_of(table, "linear", metric="f1")
    output = run(make_recommendation_script(recommendation, table, str(path)), tmp_path)
    measured = measure(table, find_learner("linear"), recommendation.best.configuration, Protocol())
    assert "F1: " in output
    assert printed_score(output) == pytest.approx(1 - float(np.mean(measured.fold_losses["f1"])), abs=2e-4)


@pytest.mark.parametrize("target", ["binary", "regression"])
@pytest.mark.parametrize(("kind", "column"), [("group", "farm"), ("time", "when"), ("time", "minute")])
def test_the_script_of_a_search_by_group_or_time_scores_in_the_same_folds(
    frame: pd.DataFrame, tmp_path: Path, rng: np.random.Generator, target: str, kind: str, column: str
) -> None:
    frame = frame.assign(farm=rng.integers(0, 20, len(frame)).astype(str), minute=rng.integers(0, 40, len(frame)))
    path = tmp_path / "table.csv"
    features(frame, target).to_csv(path, index=False)
    rows = split_rows(path, target=target, folds=Folds(cv=4, **{"groups" if kind == "group" else "time": column}))
    assert rows.split_column == column
    configuration = find_learner("linear").space(rows.table.task.type).default
    metric = find_metric(rows.table.task.type)
    options = {"metric": metric, "seed": 0, "verb": "found", "expectation": ""}
    script = make_training_script(
        configuration, rows.table, str(path), **options, folds=ScriptFolds(count=4, kind=kind, column=column)
    )
    output = run(script, tmp_path)
    measured = measure(rows.table, find_learner("linear"), configuration, rows.protocol, splits=rows.splits)
    expected = metric.speak(metric.score(float(np.mean(measured.fold_losses[metric.name]))))
    assert printed_score(output) == pytest.approx(expected, abs=2e-4)
    assert f"(4-fold cross-validation by {kind})" in output

    nowhere = make_training_script(
        configuration, rows.table, str(path), **options, folds=ScriptFolds(count=4, kind=kind)
    )
    assert run(nowhere, tmp_path) == "fitted on all 90 rows\n"


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path)


def _jsonl(frame: pd.DataFrame, path: Path) -> None:
    frame.to_json(path, orient="records", lines=True)


def _tsv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, sep="\t", index=False, encoding="latin-1")


def _zipped(frame: pd.DataFrame, path: Path) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        frame.to_csv(file, index=False, sep=";")


def _arff(frame: pd.DataFrame, path: Path) -> None:
    kinds = ["numeric" if pd.api.types.is_float_dtype(dtype) else "string" for dtype in frame.dtypes]
    lines = [
        "% Quinlan's comment",
        "@relation toy",
        *(f"@attribute '{name}' {kind}" for name, kind in zip(frame, kinds, strict=True)),
        "@data",
    ]
    for row in frame.itertuples(index=False):
        lines.append(
            ",".join("?" if value != value else f"'{value}'" if isinstance(value, str) else str(value) for value in row)
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _zipped_arff(frame: pd.DataFrame, path: Path) -> None:
    _arff(frame, path)
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("table.parquet", _parquet),
        ("table.jsonl", _jsonl),
        ("table.tsv", _tsv),
        ("table.csv.gz", _zipped),
        ("table.arff", _arff),
        ("table.arff.gz", _zipped_arff),
    ],
)
def test_the_script_reads_the_format_that_metahp_read(frame: pd.DataFrame, tmp_path: Path, name: str, write) -> None:
    frame["colour"] = frame["colour"].replace("red", "röt" if ".arff" not in name else "red")
    path = tmp_path / name
    write(features(frame, "binary"), path)
    table = load(path, target="binary")
    recommendation = recommendation_of(table, "linear")
    output = run(make_recommendation_script(recommendation, table, str(path)), tmp_path)
    measured = measure(table, find_learner("linear"), recommendation.best.configuration, Protocol())
    expected = recommendation.metric.score(float(np.mean(measured.fold_losses["roc_auc"])))
    assert printed_score(output) == pytest.approx(expected, abs=2e-4)


def test_rows_without_a_target_and_renamed_columns_are_treated_as_metahp_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [f"{rng.normal():.3f},{rng.normal():.3f},{rng.integers(0, 2) if i % 7 else ''}" for i in range(60)]
    path = tmp_path / "table.csv"
    path.write_text("a,a,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    table = load(path)
    assert table.preparation.renamed
    assert table.n_rows_without_target == 9
    output = run(make_recommendation_script(recommendation_of(table, "random_forest"), table, str(path)), tmp_path)
    assert "fitted on all 51 rows" in output


def test_a_class_too_rare_for_the_folds_is_left_out_of_the_score_and_said_so(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.loc[:1, "multiclass"] = "rare"
    path = tmp_path / "table.csv"
    features(frame, "multiclass").to_csv(path, index=False)
    table = load(path, target="multiclass")
    script = make_recommendation_script(recommendation_of(table, "linear"), table, str(path))
    assert "fewer than 3 rows" in script
    output = run(script, tmp_path)
    assert "(3-fold cross-validation on 88 of 90 rows)" in output
    assert np.isfinite(printed_score(output))


@pytest.mark.parametrize("name", ["a[0]", 'the "size"', "when_month", "a: b"])
def test_the_script_of_lightgbm_takes_any_names(frame: pd.DataFrame, tmp_path: Path, name: str) -> None:
    path = tmp_path / "table.csv"
    features(frame.rename(columns={"signal": name, "size, in mm": "size"}), "binary").to_csv(path, index=False)
    table = load(path, target="binary")
    output = run(make_recommendation_script(recommendation_of(table, "lightgbm"), table, str(path)), tmp_path)
    assert "fitted on all 90 rows" in output


def test_the_script_says_where_its_numbers_come_from_and_needs_no_metahp(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    features(frame, "binary").to_csv(path, index=False)
    table = load(path, target="binary")
    script = make_recommendation_script(recommendation_of(table, "lightgbm"), table, str(path))
    assert "Expected ROC AUC: 0.8 (80 % interval 0.7 to 0.9; lightgbm's library default 0.75)" in script
    assert "3-fold cross-validation, mostly on at most 2,500 rows" in " ".join(script.split())
    assert "learned from a knowledge base of 12 tasks" in script
    assert not re.search(r"^\s*(import|from) metahp", script, flags=re.MULTILINE)


def write_nasty(frame: pd.DataFrame, path: Path) -> None:
    """Every format, with names that are empty, repeated or have spaces around them where it can have them."""
    if path.suffix == ".csv":
        text = frame.to_csv(index=False, header=False, sep=";", decimal=",")
        path.write_text(";".join(["number", " spaced ", "", "twice", "twice", *frame.columns[5:]]) + "\n" + text)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(frame.to_csv(index=False, sep="\t", encoding="utf-8").encode("utf-16")))
    elif path.suffix == ".arff":
        _arff(frame.astype({"flag": str}).drop(columns=["duration", "zoned"]), path)
    elif path.suffix == ".jsonl":
        frame.drop(columns=["duration", "zoned"]).to_json(path, orient="records", lines=True, date_format="iso")
    else:
        frame.assign(list=[[i % 3] for i in range(len(frame))]).to_parquet(path)


@pytest.fixture
def nasty(rng: np.random.Generator) -> pd.DataFrame:
    n = 80
    days = pd.Series(pd.date_range("2024-01-30", periods=n, freq="31h"))
    return pd.DataFrame(
        {
            "number": rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n),
            "infinite": rng.choice([1.5, np.inf, np.nan, -np.inf, 2.5], n),
            "word": rng.choice(["u", " v", "w ", "?", "", "NA", "None"], n),
            "digits": rng.choice(["01", " 02", "10 ", "nan"], n),
            "mixed": rng.choice(["1", "2.50", "many", "N/A"], n),
            "flag": rng.random(n) < 0.5,
            "flags": rng.choice(["TRUE", "false", "null"], n),
            "when": days.astype(str),
            "zones": rng.choice(["2020-01-01T10:00:00+02:00", "2020-05-01 12:00", "", " 1999-12-31 "], n),
            "far": rng.choice(["9999-12-31", "0001-01-01", "2020-01-01"], n),
            "zoned": days.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
            "duration": pd.to_timedelta(rng.integers(0, 9, n), unit="h"),
            "same": "k",
            "label": rng.choice([0.1, 0.1 + 0.2, 0.3, 5.0, np.nan], n),
        }
    )


@pytest.mark.parametrize("name", ["t.csv", "t.tsv.gz", "t.arff", "t.jsonl", "t.parquet"])
def test_the_features_and_predictions_of_the_script_are_those_of_metahp(
    nasty: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    write_nasty(nasty, path)
    table = load(path, target="label", task="multiclass")
    kinds = {column.kind for column in table.preparation.columns}
    assert {"category", "date"} <= kinds
    assert kinds & {"number", "written"}
    configuration = find_learner("lightgbm").space(table.task.type).configuration({"n_estimators": 10})
    options = {"metric": find_metric(table.task.type), "seed": 0, "verb": "found", "expectation": ""}
    for learner in ("lightgbm", "linear"):
        chosen = configuration if learner == "lightgbm" else find_learner(learner).space(table.task.type).default
        script = make_training_script(chosen, table, str(path), **options)
        found: dict = {}
        exec(script.partition("\nmodel = ")[0], found)
        names = find_learner(learner).fitted_names(table.preparation.feature_names)
        pd.testing.assert_frame_equal(found["X"], table.features.set_axis(names, axis=1))
        assert [table.classes.index(label) for label in found["y"]] == table.y.tolist()
    exec(make_training_script(configuration, table, str(path), **options), found)
    model = fit_model(table, [(configuration, 1.0)], options["metric"], seed=0)
    np.testing.assert_array_equal(found["model"].predict_proba(found["X"]), model.outputs(table.features))


def test_the_script_prepares_new_rows_as_metahp_does(nasty: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    nasty.to_parquet(path)
    table = load(path, target="label", task="multiclass")
    script = make_training_script(
        find_learner("linear").space(table.task.type).default,
        table,
        str(path),
        metric=find_metric(table.task.type),
        seed=0,
        verb="found",
        expectation="",
    )
    found: dict = {}
    exec(script.partition("\nmodel = ")[0], found)
    new = nasty.drop(columns="duration").iloc[::-3, ::-1].astype(object).reset_index(drop=True)
    new.loc[0] = None
    new["duration"] = nasty["duration"].iloc[::-3].to_numpy()
    odd = {
        "number": " 7 ",
        "infinite": "inf",
        "digits": "x",
        "mixed": True,
        "flag": "new",
        "far": "never",
    }
    new.loc[1, list(odd)] = pd.Series(odd)
    new.at[3, "word"] = ["u"]
    new.loc[2, ["when", "zones"]] = ["2031-02-01 10:00", "2030-01-01T00:00:00-05:00"]
    expected, notes = table.preparation.transform(new)
    made = found["prepare"](new)
    for column in table.preparation.categorical:
        # The script's own categories are those that it finds.
        made[column] = made[column].cat.set_categories(expected[column].cat.categories)
    pd.testing.assert_frame_equal(made, expected)
    assert len(notes) == 5
