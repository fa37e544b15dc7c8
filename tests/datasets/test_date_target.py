"""A date is not predicted, and the message says that it is a date."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metahp.core.errors import InputError
from metahp.datasets.load import load

N = 60
DAYS = pd.date_range("2020-01-30", periods=N, freq="D")
X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=N), "b": np.arange(N) % 7})


@pytest.mark.parametrize("task", [None, "regression", "multiclass"])
@pytest.mark.parametrize(
    "days",
    [
        DAYS,
        DAYS.tz_localize("UTC"),
        DAYS.astype(str),
        DAYS.strftime("%d/%m/%Y"),
        DAYS.strftime("%d %B %Y"),
        DAYS.date,
        DAYS[::3].repeat(3)[:N],
    ],
)
def test_dates_as_a_target_are_refused_as_dates(days: Any, task: str | None, tmp_path: Path) -> None:
    frame = X.assign(when=days)
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source in (frame, tmp_path / "t.csv"):
        with pytest.raises(InputError, match=r"The target 'when' holds dates such as '.*2020.*not predicted") as caught:
            load(source, target="when", task=task)
        assert caught.value.argument == "target"


def test_few_dates_may_be_classes() -> None:
    frame = X.assign(when=DAYS[:3].astype(str).repeat(N // 3))
    assert load(frame, target="when").classes == ("2020-01-30", "2020-01-31", "2020-02-01")
