"""`metahp predict` from the outside: standard output, standard error, exit code."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metahp.cli.main import main
from metahp.core.metric import find_metric
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.datasets.load import load
from metahp.learners.registry import find_learner
from metahp.results.content import ResultContent
from metahp.results.directory import write_result
from metahp.results.model import fit_model
from metahp.results.predict import load_result


@pytest.fixture
def make_result(raw_frame: pd.DataFrame, tmp_path: Path):
    """Writes `table.csv` with one target, and the result of tuning on it; gives both paths."""

    def make(target: str) -> tuple[Path, Path]:
        path = tmp_path / "table.csv"
        raw_frame[["signal", "gaps", "colour", target]].to_csv(path, index=False)
        table = load(path, target=target)
        metric = find_metric(table.task.type)
        best = find_learner("lightgbm").space(table.task.type).configuration({"n_estimators": 10})
        trial = Trial(
            task=table.task.id,
            configuration=best,
            protocol=Protocol(),
            n_rows=90,
            state=TrialState.COMPLETE,
            origin=Origin.DESIGN,
            fold_losses={metric.name: (0.1, 0.2, 0.3)},
        )
        model = fit_model(table, [(best, 1.0)], metric, seed=0)
        write_result(
            tmp_path / "result",
            ResultContent(
                table=table,
                metric=metric,
                best=best,
                model=model,
                trials=[trial],
                protocol=Protocol(),
                seed=0,
                path=path,
            ),
        )
        return tmp_path / "result", path

    return make


def test_one_prediction_a_row_in_order(make_result, capsys):
    result, path = make_result("multiclass")
    assert main(["predict", str(result), str(path)]) == 0
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(printed.columns) == ["prediction"]
    np.testing.assert_array_equal(printed["prediction"], load_result(result).predict(path))


def test_probabilities_come_back_to_the_last_bit(make_result, tmp_path: Path, capsys):
    result, path = make_result("multiclass")
    assert main(["predict", str(result), str(path), "--proba", "--output", str(tmp_path / "out.csv")]) == 0
    printed = pd.read_csv(tmp_path / "out.csv")
    assert list(printed.columns) == ["prediction", "high", "low", "middle"]
    np.testing.assert_array_equal(printed.iloc[:, 1:], load_result(result).predict_proba(path))
    assert capsys.readouterr().out == ""


def test_the_score_goes_to_standard_error(make_result, capsys):
    result, path = make_result("binary")
    assert main(["predict", str(result), str(path), "--score"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("metahp: ROC AUC: 0.9")
    assert "on 90 rows with a known binary" in captured.err
    assert captured.out.startswith("prediction\n")


def test_unknown_values_are_warned_of_unless_quiet(make_result, tmp_path: Path, capsys):
    result, path = make_result("regression")
    pd.read_csv(path).assign(colour="mauve").to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(result), str(tmp_path / "new.csv")]) == 0
    assert capsys.readouterr().err == (
        "metahp: warning: column 'colour': 90 unknown value(s) read as missing ('mauve')\n"
    )
    assert main(["predict", str(result), str(tmp_path / "new.csv"), "-q"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{folder}", "{file}"], "not a directory that metahp tune wrote"),
        (["{folder}/nowhere", "{file}"], "does not exist"),
        (["{folder}/result", "{folder}/nothing.csv"], "There is no file"),
        (["{folder}/result", "{file}", "--proba"], "--proba needs a classification model"),
        (["{folder}/result", "{folder}/short.csv"], "columns that the model needs are missing: gaps, colour"),
        (["{folder}/result", "{folder}/short.csv", "--output", "{folder}/no/out.csv"], "are missing"),
        (["{folder}/result"], "Missing argument"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments: list[str], says: str, make_result, tmp_path: Path, capsys):
    _, path = make_result("regression")
    pd.read_csv(path)[["signal"]].to_csv(tmp_path / "short.csv", index=False)
    words = [word.format(folder=tmp_path, file=path) for word in arguments]
    assert main(["predict", *words]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
