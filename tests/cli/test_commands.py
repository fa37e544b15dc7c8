"""The commands from the outside: standard output, standard error, exit code."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from metahp.cli import recommend as command
from metahp.cli.main import main
from metahp.cli.output import print_part
from metahp.core.metric import METRICS, find_metric
from metahp.core.task import TaskType
from metahp.core.text import format_seconds
from metahp.core.trial import Origin
from metahp.datasets.load import load
from metahp.datasets.preparation import Preparation
from metahp.learners.registry import find_learner
from metahp.recommendation.result import Neighbour, Recommendation, Recommended, TrackRecord, set_reference


@pytest.fixture
def table_file(raw_frame: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    raw_frame.drop(columns=["multiclass", "regression"]).to_csv(path, index=False)
    return path


def make_recommendation(path: Path) -> tuple[Recommendation, object]:
    table = load(path)
    boosted = (
        find_learner("lightgbm")
        .space(TaskType.BINARY)
        .configuration(
            {"learning_rate": 0.0213456, "n_estimators": 310, "num_leaves": 9, "subsample": 0.7, "reg_alpha": 0.01}
        )
    )
    linear = find_learner("linear").space(TaskType.BINARY).default
    items = (
        Recommended(
            rank=1,
            configuration=boosted,
            score=0.846,
            low=0.834,
            high=0.857,
            default_score=0.825,
            fit_seconds=1.42,
            origin=Origin.SURROGATE,
        ),
        Recommended(
            rank=2,
            configuration=linear,
            score=np.nan,
            low=np.nan,
            high=np.nan,
            default_score=np.nan,
            fit_seconds=np.nan,
            origin=Origin.PORTFOLIO,
        ),
    )
    recommendation = Recommendation(
        task=table.task,
        target=table.target,
        metric=find_metric(TaskType.BINARY),
        items=set_reference(items),
        neighbours=(Neighbour("telco", 0.91), Neighbour("bank", 0.874)),
        reasons=("small trees did better than large ones in a quick trial on this table",),
        track_record=TrackRecord(
            learner="lightgbm", metric="roc_auc", n_tasks=425, k=5, win_rate=0.88, random_trials=31.0
        ),
        abstained=False,
        is_known_task=False,
        n_past_tasks=425,
        n_past_trials=61200,
        preparation=Preparation(),
    )
    return recommendation, table


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_report_is_readable_at_this_width(table_file: Path, width: int) -> None:
    recommendation, table = make_recommendation(table_file)
    text = StringIO()
    console = Console(file=text, width=width, highlight=False)
    for part in command.make_report(recommendation, table, str(table_file), 0.7, width, "metahp recommend table.csv"):
        print_part(console, part)
    printed = text.getvalue()
    assert max(map(len, printed.splitlines())) <= width
    flat = " ".join(printed.split())
    for words in (
        "table.csv: 90 rows × 3 features (1 categorical, ",
        "target 'binary' (guessed: last column), binary, rarest class",
        "metric ROC AUC · knowledge base: 425 tasks, 61,200 trials · took 0.7 s",
        "0.846 (.834–.857)",
        "+0.021",
        "1.4 s",
        "similar tasks",
        "learning_rate 0.0213",
        "n_estimators 310",
        "rest default",
        "library default",
        "Gains are over the library default of lightgbm (expected ROC AUC 0.825).",
        "The list is a set: #1 has the best expected score, and each other entry hedges against those above it.",
        "Why: most like telco (similarity 0.91), bank (0.87); small trees did better than large ones in a quick trial "
        "on this table.",
        "425 past tasks (ROC AUC), each left out of training: #1 beat the default of lightgbm on 88 %; the first 5",
        "Next: metahp recommend table.csv",
        "Expected scores are those of 3-fold cross-validation, mostly on at most 2,500 rows, with their 80 % "
        "interval; a model trained on all rows usually does better.",
    ):
        assert words in flat
    assert "\x1b" not in printed
    assert "…" not in printed
    assert "nan" not in printed


def test_an_error_is_a_positive_number_and_gains_are_over_one_default(tmp_path: Path, rng: np.random.Generator) -> None:
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "price"])
    table = load(frame, target="price")
    spaces = {name: find_learner(name).space(TaskType.REGRESSION) for name in ("lightgbm", "linear")}
    scores = {"lightgbm": (-54.1, -50.0), "linear": (-55.0, -56.0)}
    items = set_reference(
        Recommended(
            rank=rank,
            configuration=spaces[name].default,
            score=score,
            low=score - 7.0,
            high=score + 8.0,
            default_score=default_score,
            fit_seconds=1.0,
            origin=Origin.SURROGATE,
        )
        for rank, (name, (score, default_score)) in enumerate(scores.items(), start=1)
    )
    assert [item.gain for item in items] == pytest.approx([-4.1, -5.0])
    recommendation = replace(
        make_recommendation(frame_file(frame, tmp_path))[0],
        task=table.task,
        metric=find_metric(TaskType.REGRESSION, "rmse"),
        items=items,
    )
    assert recommendation.reference == "lightgbm"
    text = StringIO()
    console = Console(file=text, width=60, highlight=False)
    for part in command.make_report(recommendation, table, "t.csv", 0.7, 60, ""):
        print_part(console, part)
    flat = " ".join(text.getvalue().split())
    for words in (
        "metric RMSE (lower is better) ·",
        "expected RMSE gain fit time",
        "54 (46–61) -4",
        "55 (47–62) -5",
        "Gains are over the library default of lightgbm (expected RMSE 50); a positive gain is a lower RMSE.",
    ):
        assert words in flat


def frame_file(frame: pd.DataFrame, folder: Path) -> Path:
    path = folder / "frame.csv"
    frame.assign(label=["a", "b"] * 30).to_csv(path, index=False)
    return path


def test_a_long_number_is_folded_and_not_cut(table_file: Path) -> None:
    recommendation, table = make_recommendation(table_file)
    huge = replace(recommendation.items[0], score=123456789.0, low=100000000.0, high=200000000.0)
    text = StringIO()
    console = Console(file=text, width=60, highlight=False)
    for part in command.make_report(replace(recommendation, items=(huge,)), table, "t.csv", 0.7, 60, ""):
        print_part(console, part)
    printed = text.getvalue()
    assert "…" not in printed
    assert "123456789" in printed
    assert "(100000000–200000000)" in printed


@pytest.mark.parametrize(
    ("metric", "score", "low", "high", "shown"),
    [
        ("accuracy", 0.846, 0.834, 0.857, "0.846  (.834–.857)"),
        ("neg_log_loss", -12.34, -15.0, -9.0, "12.3  (9.0–15.0)"),
        ("r2", -0.1, -0.2, 0.1, "-0.10  (-0.20 to 0.10)"),
        ("accuracy", 1.0, 1.0, 1.0, "1.0000  (1.0000–1.0000)"),
        ("accuracy", *(float("nan"),) * 3, "–"),
    ],
)
def test_a_score_has_as_many_decimals_as_its_interval_gives_meaning(
    metric: str, score: float, low: float, high: float, shown: str
) -> None:
    configuration = find_learner("linear").space(TaskType.BINARY).default
    item = Recommended(
        rank=1,
        configuration=configuration,
        score=score,
        low=low,
        high=high,
        default_score=score,
        fit_seconds=1.0,
        origin=Origin.DEFAULT,
    )
    assert command.format_expected(item, METRICS[metric]) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.01, "<0.1 s"),
        (1.42, "1.4 s"),
        (90.0, "1.5 min"),
        (7200.0, "2.0 h"),
        (float("nan"), "–"),
    ],
)
def test_seconds_are_shown_as_a_person_reads_them(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["recommend", "gone.csv"], "gone.csv"),
        (["recommend", "{table}", "--target", "binry"], "No column is called 'binry'"),
        (["recommend", "{table}", "--metric", "rmse"], "'rmse' is not a metric for a binary task"),
        (["recommend", "{table}", "--learner", "lightgmb"], "Did you mean 'lightgbm'"),
        (
            ["recommend", "{table}", "--task", "clustering"],
            "No --task is called 'clustering'. Known: binary, multiclass, regression.",
        ),
        (["recommend", "{table}", "-k", "0"], "-k"),
        (["recommend", "{table}", "--format", "xml"], "xml"),
        (["recommend", "-", "--format", "python"], "standard input"),
        (["recommend"], "Missing argument"),
        (["describe", "{table}", "--nonsense"], "--nonsense"),
        (["recomend"], "recomend"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    table_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main([argument.format(table=table_file) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("metahp: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_an_unexpected_error_is_one_line_with_a_hint_and_exit_code_1(
    table_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk\nis on fire")

    monkeypatch.setattr("metahp.api.load", broken)
    monkeypatch.delenv("METAHP_DEBUG", raising=False)
    assert main(["describe", str(table_file)]) == 1
    error = capsys.readouterr().err
    assert error == "metahp: RuntimeError: the disk is on fire (set METAHP_DEBUG=1 to see where)\n"
    monkeypatch.setenv("METAHP_DEBUG", "1")
    with pytest.raises(RuntimeError, match="on fire"):
        main(["describe", str(table_file)])


def test_an_interrupt_is_exit_code_130(
    table_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("metahp.api.load", interrupted)
    assert main(["describe", str(table_file)]) == 130
    assert capsys.readouterr().err == "metahp: interrupted\n"


def test_describe_shows_every_meta_feature_and_the_seconds_of_each_group(
    table_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["describe", str(table_file), "--format", "json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    content = json.loads(captured.out)
    assert content["task"]["n_rows"] == 90
    assert main(["describe", str(table_file), "--quiet"]) == 0
    printed = capsys.readouterr().out
    for name in content["values"]:
        assert name in printed
    for group in content["seconds"]:
        assert f"{group} (" in printed


def test_a_reader_that_goes_away_is_met_in_silence(table_file: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "metahp", "describe", str(table_file), "--quiet", "--budget-seconds", "0"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 1


def test_a_warning_names_the_budget_as_an_option(table_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(table_file), "--budget-seconds", "0"]) == 0
    assert re.search(r"as a fixed portfolio; --budget-seconds [\d.]+ allows for all of it", capsys.readouterr().err)


def test_the_command_to_copy_is_one_line_at_any_width(table_file: Path) -> None:
    recommendation, table = make_recommendation(table_file)
    text = StringIO()
    console = Console(file=text, width=40, highlight=False)
    again = "metahp recommend a-long-name-of-a-file.csv --metric auc --format python > train.py"
    for part in command.make_report(recommendation, table, "t.csv", 0.7, 40, again):
        print_part(console, part)
    assert f"Next: {again}\n" in text.getvalue()


def test_without_any_score_there_is_no_column_of_dashes(table_file: Path) -> None:
    recommendation, table = make_recommendation(table_file)
    nothing = dict.fromkeys(("score", "low", "high", "default_score", "reference_score"), float("nan"))
    silent = replace(recommendation, items=tuple(replace(item, **nothing) for item in recommendation.items))
    text = StringIO()
    console = Console(file=text, width=60, highlight=False)
    for part in command.make_report(silent, table, "t.csv", 0.7, 60, ""):
        print_part(console, part)
    assert "expected" not in text.getvalue().lower()
    assert not re.search(r"\bgains?\b", text.getvalue(), re.IGNORECASE)
    assert "nan" not in silent._repr_html_() + repr(silent) + repr(silent.best)


def test_a_notebook_shows_what_the_numbers_are(table_file: Path) -> None:
    recommendation, _ = make_recommendation(table_file)
    page = recommendation._repr_html_()
    for words in (
        "expected ROC AUC",
        "<td>0.834 to 0.857</td>",
        "<td>+0.021</td>",
        "<td>similar tasks</td>",
        "<td>1.4 s</td>",
        "Gains are over the library default of lightgbm.",
        "a model trained on all rows usually does better",
    ):
        assert words in page
    assert "nan" not in page
    assert "surrogate" not in page
    assert "first lightgbm, expected ROC AUC 0.846" in repr(recommendation)
    known = replace(recommendation, is_known_task=True)
    assert "measured ROC AUC" in known._repr_html_()
    assert "on 90 rows" in known.score_words
