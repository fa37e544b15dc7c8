import json
import sys

import numpy as np
import pytest

from benchmarks import refinement, suites, transfer
from benchmarks.common import run_main


def test_a_suite_is_read_with_its_conditions_and_without_flat_tasks(suite_folder):
    suite = suites.load_suite("toy", suite_folder)
    assert suite.tasks == ("0", "1", "2", "3", "4", "5")
    [space] = suite.spaces
    axes = {axis.name: axis for axis in space}
    assert axes["waves"].only_if == ("kind", ("wavy",))
    assert suite.metafeatures is not None
    assert suite.metafeatures[:, 0] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    evidence = suite.evidence()
    assert evidence.losses.shape == (6, 12)
    best = [evidence.candidates[column].values["x"] for column in evidence.losses.argmin(axis=1)]
    assert best == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7], abs=0.11)


@pytest.fixture
def run(suite_folder, monkeypatch, tmp_path):
    """Runs a benchmark on the suite; the exit code and the JSON."""

    def runs(module, *options):
        file = tmp_path / "out.json"
        arguments = ["--data", str(suite_folder), "--json", str(file), "--jobs", "1", *options]
        monkeypatch.setattr(sys, "argv", [module.__file__, *arguments])
        code = run_main(module.main)
        return code, json.loads(file.read_text(encoding="utf-8")) if code == 0 else None

    return runs


def test_every_method_is_scored_on_left_out_tasks_of_a_suite(run):
    code, rows = run(transfer, "--folds", "3", "--seeds", "1")
    assert code == 0
    by_method = {row["method"]: row for row in rows}
    assert list(by_method)[:4] == ["metahp", "greedy portfolio", "15-nearest portfolio", "random"]
    for name in list(by_method)[:4]:
        regret = [by_method[name][f"k = {k}"] for k in transfer.KS]
        assert regret == sorted(regret, reverse=True)
        # All twelve configurations are tried.
        assert regret[-1] == 0
    assert by_method["metahp"]["k = 1"] < by_method["random"]["k = 1"]


def test_every_search_uses_up_a_suite_without_trying_anything_twice(run):
    code, rows = run(refinement, "--tasks", "1,4", "--seeds", "1", "--evaluations", "15")
    assert code == 0
    assert [row["method"] for row in rows] == ["transfer", "tpe", "gp", "random"]
    for row in rows:
        regret = [row[str(k)] for k in (1, 3, 5, 10, 15)]
        assert regret == sorted(regret, reverse=True)
        assert regret[-1] == 0
    assert rows[0]["1"] < np.mean([row["1"] for row in rows[1:]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--suite", "tyo"), "tyo.parquet does not exist. In that folder: toy."),
        (("--tasks", "17"), "No task of toy has one of these names."),
    ],
)
def test_what_is_not_there_is_said(run, capsys, options, message):
    assert run(transfer, *options) == (2, None)
    assert message in capsys.readouterr().err


def test_an_unknown_method_is_said(run, capsys):
    assert run(refinement, "--methods", "transfer,tep") == (2, None)
    assert "'tep' is not a method. Known: transfer, tpe, gp, random. Did you mean 'tpe'?" in capsys.readouterr().err
