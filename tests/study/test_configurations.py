import pytest

from builders import BOWL_SPACE, tune_bowl
from metahp.core.errors import InputError, MetahpError, UnknownHyperparameterError
from metahp.core.trial import Origin
from metahp.knowledge.store import KnowledgeBase


def test_a_users_own_configurations_come_first(base: KnowledgeBase) -> None:
    own = ["rate=0.02,depth=7", {"rate": 1, "kind": "b"}, BOWL_SPACE.default]
    result = tune_bowl(base, trials=4, configurations=own)
    assert [trial.origin for trial in result.trials[:3]] == [Origin.USER] * 3
    assert result.trials[0].configuration.values == {"rate": 0.02, "depth": 7, "kind": "a"}
    assert repr(result.trials[1].configuration.values["rate"]) == "1.0"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ("rat=0.1", "'rat' is not a hyperparameter of toy_service.*Did you mean 'rate'"),
        ("rate", "key=value pairs"),
        ("depth=2.5", "whole number"),
        ("kind=c", "one of 'a', 'b'"),
        ("toy_servic:rate=0.1", "Did you mean 'toy_service'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(base: KnowledgeBase, own: str, words: str) -> None:
    with pytest.raises((InputError, UnknownHyperparameterError, MetahpError), match=words):
        tune_bowl(base, trials=4, configurations=[own])
