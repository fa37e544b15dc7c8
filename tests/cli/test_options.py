"""Arguments of the Python interface are options where the command line speaks of them."""

import re
from pathlib import Path

import pandas as pd
import pytest

import metahp
from metahp.cli.options import find_option, reword, reword_error
from metahp.core.errors import InputError, MetahpError

PACKAGE = Path(metahp.__file__).parent


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Change `cv` or `max_rows`.", "Change --cv or --max-rows."),
        ("try `task='multiclass'`", "try --task multiclass"),
        ("`budget_seconds=10.5` allows them", "--budget-seconds 10.5 allows them"),
        ("`configurations` takes key=value pairs", "--try takes key=value pairs"),
        ("run `metahp kb train`; the column `price`", "run `metahp kb train`; the column `price`"),
    ],
)
def test_arguments_in_backticks_become_options(message: str, shown: str) -> None:
    assert reword(message) == shown


def test_an_error_ends_with_the_option_that_its_message_does_not_name() -> None:
    assert (
        reword_error(InputError("`device` is one of cpu, cuda.", argument="device")) == "--device is one of cpu, cuda."
    )
    assert reword_error(InputError("Expected 2 classes.", argument="task")) == "Expected 2 classes. (see --task)"
    assert reword_error(InputError("Expected a number.", argument="metafeatures")) == "Expected a number."
    assert find_option("knowledge_base") == "--kb"


def test_python_speaks_of_arguments(raw_frame: pd.DataFrame) -> None:
    with pytest.raises(MetahpError, match=re.escape("`device` is one of auto, cpu, cuda, got 'tpu'.")) as caught:
        metahp.tune(raw_frame, device="tpu")
    assert caught.value.argument == "device"


def test_no_room_but_cli_knows_an_option() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for path in PACKAGE.rglob("*.py")
        if "cli" not in path.relative_to(PACKAGE).parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"""["' (`]--[a-z]""", line) and "--help" not in line
    ]
    assert found == []
