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
            Trial(task.id, each, Protocol(), 150, TrialState.COMPLETE, Origin.DESIGN, {"roc_auc": (0.1,) * 3})
            for each in configurations
        ]
    )
    command = ["kb", "info", "--kb", str(base.folder)]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "trials of unknown learners: oracle 1" in lines
    assert "trials set aside: linear 1" in lines
    assert "trials without metric: none" in lines
    assert main([*command, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials_of_unknown_learners"] == {"oracle": 1}
    assert found["trials_set_aside"] == {"linear": 1}
    assert found["trials_without_metric"] == {}
