"""Every script in `examples/` runs as it stands, with a new knowledge base, and prints what it is there to show."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# What each script prints, as a pattern; None for a module that a script imports.
SHOWS = {
    "knowledge_base.py": r"merged: 4 trials were new; now 8 trials on 2 tasks\n(  task .*, 200 rows, 4 trials\n)+$",
    "make_digits.py": r"^\Z",
    "my_learner.py": None,
    "predict.py": r"predicted:( \d){10}\ntrue:     ( \d){10}\n",
    "recommend.py": r"1  +lightgbm +0\.9[^$]*Measured on 600 of the rows: 0\.9",
    "tune_my_learner.py": r"try first: (\{.n_neighbors.: \d+\} ?){3}\n[^$]*best: neighbours with \{.*\d+\}, -0\.",
    "tune_objective.py": r"tuesday: 0\.99\d* with \{'mode': 'safe', 'rate': 0\.0\d+\}\n  past tasks: 1;",
    "tune_table.py": r"best of 8 trials[^$]*posterior[^$]*past_tasks: \d{3}\n[^$]*again: 8 of 8 trials",
}


def run(script: str, folder: Path) -> str:
    """What a script prints in a folder of its own beside a copy of the examples; warnings of others are errors."""
    examples = shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::UserWarning", examples / script],
        cwd=folder,
        env={**os.environ, "METAHP_HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_known_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWS)


@pytest.mark.parametrize("script", [name for name, pattern in SHOWS.items() if pattern])
def test_an_example_shows_what_it_is_there_for(script: str, tmp_path: Path) -> None:
    printed = run(script, tmp_path)
    assert re.search(SHOWS[script], printed), printed
    # Nothing is left beside the examples, and the table is the one that its script makes.
    names = {path.name for path in (tmp_path / "examples").iterdir()}
    assert names == {"digits.csv", *SHOWS}
    assert (tmp_path / "examples" / "digits.csv").read_bytes() == (EXAMPLES / "digits.csv").read_bytes()
