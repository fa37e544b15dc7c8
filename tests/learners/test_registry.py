"""Learners by name: imported on first use, registered once, refused with a reason."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import metahp
from metahp.core.errors import InputError, UnknownNameError
from metahp.learners import registry
from metahp.learners.forest import EXTRA_TREES
from metahp.learners.registry import (
    LEARNERS,
    LearnerReference,
    adopt,
    find_learner,
    find_reference,
    list_references,
)


def test_names_cost_no_import() -> None:
    program = (
        "import sys; from metahp.learners.registry import LEARNERS, find_reference; print(*LEARNERS, len(LEARNERS)); "
        "find_reference('linear'); 'lightgbm' in LEARNERS; "
        "print([name for name in ('numpy', 'sklearn', 'lightgbm', 'xgboost', 'catboost') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "lightgbm random_forest extra_trees linear xgboost catboost 6\n[]\n"


def test_a_shipped_learner_is_found_by_its_reference() -> None:
    reference = find_reference("extra_trees")
    assert reference == LearnerReference("extra_trees", "metahp.learners.forest:EXTRA_TREES")
    assert find_learner("extra_trees") is EXTRA_TREES is LEARNERS["extra_trees"]


def test_an_unknown_learner_is_named_with_the_closest_and_with_what_to_do() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'lightgbm'\? .* metahp.register_learner\.$"):
        find_learner("lightgmb")
    with pytest.raises(UnknownNameError, match="'os' is not a learner"):
        find_reference("os")


def test_another_process_adopts_what_was_registered_here(
    neighbours: type[metahp.Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    [reference] = list_references()
    assert (reference.name, reference.target) == ("neighbours", "nearest_neighbours:Neighbours")
    assert reference.path[0] == str(Path(__file__).parent)
    assert Path(reference.file).name == "nearest_neighbours.py"
    monkeypatch.setattr(registry, "_learners", registry._Learners())
    monkeypatch.setattr(registry, "LEARNERS", registry._learners)
    adopt([reference])
    assert type(find_learner("neighbours")) is neighbours


def test_another_module_of_the_same_name_is_not_taken_for_the_learners(neighbours: type[metahp.Learner]) -> None:
    reference = LearnerReference("neighbours", "nearest_neighbours:Neighbours", "/elsewhere/nearest_neighbours.py")
    with pytest.raises(InputError, match=r"is in /elsewhere/.*finds .* under the same name; rename the module"):
        registry._load(reference)


def test_the_same_class_may_be_registered_again(neighbours: type[metahp.Learner]) -> None:
    metahp.register_learner(neighbours)
    assert type(find_learner("neighbours")) is neighbours


def change_class(neighbours: type[metahp.Learner], **changes: Any) -> type[metahp.Learner]:
    """A class with other attributes that claims to be defined in the module."""
    return type("Neighbours", (neighbours,), {"__module__": neighbours.__module__, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"__qualname__": "Other"}, "A learner 'neighbours' is registered already"),
        (
            {"name": "lightgbm"},
            "'lightgbm' is registered already .metahp.learners.lightgbm:LightGBM.; give .* another name",
        ),
        ({"name": "My Learner"}, "to begin with a letter; .* has the name 'My Learner'"),
        ({"name": None}, "to begin with a letter; .* has the name None"),
        (
            {"__init__": lambda self, size: None},
            "fails .*missing 1 required positional.* expected a class that takes no arguments",
        ),
        ({"libraries": ("no-such-library",)}, "library 'no-such-library', but no distribution of this name"),
        ({"space": lambda self, task_type: metahp.SearchSpace("toy", 1, ())}, "to have the learner's name, got 'toy'"),
        ({"__module__": "__main__"}, "in the script or session itself"),
        ({"__qualname__": "f.<locals>.Neighbours"}, "is defined in a function"),
    ],
)
def test_a_refused_learner_gets_a_reason_in_one_line(
    changes: dict[str, Any], says: str, neighbours: type[metahp.Learner]
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        metahp.register_learner(change_class(neighbours, **changes))
    assert "\n" not in str(caught.value)
    assert type(find_learner("neighbours")) is neighbours


def test_an_instance_without_a_name_in_its_module_is_refused(
    neighbours: type[metahp.Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    different = neighbours()
    different.design_size = 3
    with pytest.raises(InputError, match="give it a name in the module nearest_neighbours"):
        metahp.register_learner(different)
    with pytest.raises(InputError, match=r"Expected a subclass of metahp.Learner or an instance of one, got <class"):
        metahp.register_learner(dict)  # type: ignore[arg-type]
    monkeypatch.setattr(sys.modules["nearest_neighbours"], "THREE", different, raising=False)
    before = dict(registry._learners.references)
    monkeypatch.setattr(registry._learners, "references", before)
    del before["neighbours"]
    metahp.register_learner(different)
    assert before["neighbours"].target == "nearest_neighbours:THREE"
    with pytest.raises(UnknownNameError, match="Known: lightgbm"):
        find_learner("neighbors_of_mine")
