import subprocess
import sys

import pytest

import metahp

HEAVY = ("numpy", "pandas", "scipy", "sklearn", "lightgbm", "torch", "duckdb", "pyarrow", "rich", "joblib")


@pytest.mark.parametrize(
    "statement",
    [
        "import metahp",
        "from metahp.cli.main import main; assert main(['--help']) == 0",
        "from metahp.cli.main import main; assert main(['recommend', '--help']) == 0",
        "from metahp.cli.main import main; assert main(['--version']) == 0",
    ],
)
def test_the_doors_load_nothing_heavy(statement: str) -> None:
    check = f"import sys; {statement}; print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


@pytest.mark.parametrize("name", metahp.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(metahp, name) is not None
    assert name in dir(metahp)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        _ = metahp.recomend
