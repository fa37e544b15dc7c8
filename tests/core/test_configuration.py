"""A configuration as a mapping, and what never changes with that: its id, its equality and what files keep of it."""

import pickle
from collections.abc import Mapping

from metahp.core.configuration import OUTSIDE, Arguments, Configuration
from metahp.core.space import Float, SearchSpace

SPACE = SearchSpace("toy", 1, (Float("rate", 0.0, 1.0, 0.5),))
PLAIN = Configuration.of("toy", {"rate": 0.5, "kind": "a"})
SHOWN = PLAIN.with_arguments({"rate": 0.5, "kind": "a", "frequency": 1})


def test_a_configuration_is_a_mapping_of_the_constructors_arguments() -> None:
    assert isinstance(PLAIN, Mapping)
    assert dict(PLAIN) == dict(**PLAIN) == PLAIN.values == {"kind": "a", "rate": 0.5}
    assert (SHOWN["frequency"], len(SHOWN), "frequency" in SHOWN, SHOWN.get("absent")) == (1, 3, True, None)
    assert dict(SHOWN.items()) == SHOWN.values
    assert sorted(map(str, SHOWN.values())) == ["0.5", "1", "a"]


def test_arguments_change_neither_id_nor_equality_nor_what_is_stored() -> None:
    assert SHOWN == PLAIN
    assert hash(SHOWN) == hash(PLAIN)
    assert SHOWN.id == PLAIN.id == Configuration("toy", PLAIN.pairs).id
    assert SHOWN.stored == SHOWN.hyperparameters == {"kind": "a", "rate": 0.5}
    assert SHOWN.replaced(rate=0.7).values == {"kind": "a", "rate": 0.7}


def test_ids_are_those_of_earlier_versions() -> None:
    assert PLAIN.id == "df94326453972cf7fedd"


def test_a_configuration_outside_the_space_is_another_one_and_never_taken_for_one_inside() -> None:
    outside = Configuration.outside("toy", {"rate": 0.5})
    assert outside.is_outside
    assert not SPACE.default.is_outside
    assert outside != SPACE.default
    assert outside.values == {"rate": 0.5}
    assert outside.stored == {"rate": 0.5, OUTSIDE: True}
    assert Configuration.of("toy", outside.stored) == outside
    assert outside.replaced(rate=2.0).is_outside
    assert SPACE.upgraded(outside) is None


def test_arguments_know_whether_they_are_still_those_of_their_configuration() -> None:
    values = pickle.loads(pickle.dumps(SHOWN)).values
    assert isinstance(values, Arguments)
    assert values.is_unchanged
    values["rate"] = 0.1
    assert not values.is_unchanged
    assert pickle.loads(pickle.dumps(values)) == values
