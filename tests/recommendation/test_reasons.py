"""Meta-features in words."""

import numpy as np
import pytest

from metahp.core.task import TaskType
from metahp.metafeatures.extract import NAMES
from metahp.recommendation.reasons import explain_metafeature, find_subject

PAST = np.array([0.0, 1.0, 2.0, 3.0, 4.0, np.nan])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-5.0, 5.0])
def test_every_meta_feature_has_words_and_none_shows_its_name(name: str, value: float) -> None:
    words = explain_metafeature(name, value, PAST, TaskType.BINARY)
    assert words
    assert name not in words
    assert "_" not in words
    assert not any(character.isdigit() for character in words.replace("L2", ""))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_of_what_is_unknown(name: str) -> None:
    assert explain_metafeature(name, np.nan, PAST, TaskType.BINARY) == ""


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("probe_four_leaves", -0.1, "small trees did better than large ones in a quick trial on this table"),
        ("probe_four_leaves", 0.1, "small trees did worse than large ones in a quick trial on this table"),
        (
            "probe_order_four_leaves",
            0.001,
            "small trees did about as well as large ones in a quick trial on this table",
        ),
        (
            "landmark_linear_to_probe",
            -0.3,
            "a linear model did better than boosted trees in a quick trial on this table",
        ),
        ("log_n_rows", 9.0, "the number of rows is high among past tables"),
        ("log_n_rows", -1.0, "the number of rows is low among past tables"),
        ("log_n_rows", 2.0, ""),
        ("probe_skill", -1.0, "a quick trial of boosted trees predicts this target better than most"),
        ("is_binary", 1.0, "the target has two classes"),
    ],
)
def test_words_by_hand(name: str, value: float, words: str) -> None:
    assert explain_metafeature(name, value, PAST, TaskType.BINARY) == words


def test_a_regression_has_no_classes() -> None:
    assert explain_metafeature("log_rows_per_class", 9.0, PAST, TaskType.REGRESSION) == ""


def test_two_losses_of_one_comparison_have_one_subject() -> None:
    assert find_subject("probe_order_fast") == find_subject("probe_fast")
    assert find_subject("probe_order_skill") != find_subject("probe_skill")
