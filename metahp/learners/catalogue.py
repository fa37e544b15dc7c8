"""The learners metahp ships, by name."""

from metahp.core.errors import UnknownNameError, did_you_mean
from metahp.learners.base import Learner
from metahp.learners.forest import Forest
from metahp.learners.lightgbm import LightGBM
from metahp.learners.linear import Linear

LEARNERS: dict[str, Learner] = {
    learner.name: learner for learner in (LightGBM(), Forest("random_forest"), Forest("extra_trees"), Linear())
}

# How many configurations of each learner the seed measures on every task.
DESIGN_SIZES = {"lightgbm": 64, "random_forest": 30, "extra_trees": 30, "linear": 30}


def learner_named(name: str) -> Learner:
    """The learner called `name`.

    Raises:
        UnknownNameError: metahp ships no such learner.
    """
    if name not in LEARNERS:
        raise UnknownNameError(f"'{name}' is not a learner. {did_you_mean(name, list(LEARNERS))}")
    return LEARNERS[name]
