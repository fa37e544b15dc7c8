"""`metahp kb info` on a knowledge base with trials that this installation has no use for."""

import json
from pathlib import Path

import pytest

from metahp.cli.main import main
from metahp.core.configuration import Configuration
from metahp.core.trial import Origin, Protocol, Trial, TrialState


def test_info_counts_what_nothing_can_be_learned_from(
    known, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = known.copied(tmp_path / "home")
    task = base.tasks()[0].task
    configurations = [Configuration.of("oracle", {"depth": 3}), Configuration.of("linear", {"C": 1e9})]
    base.record(
        [
            Trial(
                task=task.id,
                configuration=each,
                protocol=Protocol(),
                n_rows=150,
                state=TrialState.COMPLETE,
                origin=Origin.DESIGN,
                fold_losses={"roc_auc": (0.1,) * 3},
            )
            for each in configurations
        ]
    )
    command = ["kb", "info", "--kb", str(base.folder)]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "trials of learners that this metahp does not know, not learned from: oracle 1" in lines
    assert "trials outside of today's search spaces, not learned from: linear 1" in lines
    assert "trials without the default metric, not learned from: none" in lines
    assert main([*command, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials_of_unknown_learners"] == {"oracle": 1}
    assert found["trials_set_aside"] == {"linear": 1}
    assert found["trials_without_metric"] == {}


def test_train_trains_each_model_once_and_says_how_it_does(known, tmp_path, capsys):
    home = known.copied(tmp_path / "home").folder
    for path in (home / "surrogate").glob("*model*.npz"):
        path.unlink()
    assert main(["kb", "train", "--kb", str(home), "--learner", "linear"]) == 0
    first = capsys.readouterr()
    # One for rankings, one for probabilities and one for decisions; of regression there is nothing to learn from.
    assert first.out == "trained: 3\n"
    assert "still to train: 3, about" in first.err
    assert "3 of 3: classification" in first.err
    assert "not trained: regression" in first.err
    assert main(["kb", "train", "--kb", str(home), "--learner", "linear"]) == 0
    assert capsys.readouterr().out == "nothing to train: all models are up to date\n"


def test_train_refuses_a_learner_that_is_not_known(known, capsys):
    assert main(["kb", "train", "--kb", str(known.home), "--learner", "linaer"]) == 2
    assert "Did you mean 'linear'" in capsys.readouterr().err
