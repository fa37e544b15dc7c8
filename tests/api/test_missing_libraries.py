"""A learner whose library is not installed: known, refused where it is asked for, and left out where it is not."""

import pytest

import metahp
from metahp.api.known_learners import choose_learners
from metahp.core.errors import InputError
from metahp.core.task import TaskType
from metahp.learners import base as learners_base
from metahp.learners.registry import find_learner


@pytest.fixture
def no_xgboost(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without XGBoost."""
    monkeypatch.setattr(learners_base, "_is_installed", lambda library: not library.startswith("xgboost"))


@pytest.mark.usefixtures("no_xgboost")
def test_it_is_refused_with_the_line_that_installs_it() -> None:
    with pytest.raises(InputError, match=r"xgboost.* is not installed: pip install 'metahp\[xgboost\]'") as caught:
        choose_learners("xgboost", {})
    assert caught.value.argument == "learners"
    with pytest.raises(InputError, match="is not installed"):
        metahp.recommend({"a": range(40), "y": [0, 1] * 20}, target="y", learners=["lightgbm", "xgboost"])


@pytest.mark.usefixtures("no_xgboost")
def test_it_is_left_out_where_no_learner_is_asked_for() -> None:
    totals = {"defaults_by_learner": {"lightgbm": 10, "xgboost": 10, "linear": 1}}
    assert choose_learners(None, totals) == ("lightgbm",)


def test_its_space_and_its_published_configurations_need_no_library() -> None:
    for name in ("xgboost", "catboost"):
        learner = find_learner(name)
        for task_type in TaskType:
            space = learner.space(task_type)
            assert all(space.configuration(values) for values in learner.published(task_type).values())
