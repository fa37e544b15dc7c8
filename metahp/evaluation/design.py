"""The fixed design: library default, published tuned defaults, then a prefix of one quasi-random sequence."""

import warnings

from scipy.stats import qmc

from metahp.core.configuration import Configuration
from metahp.core.task import TaskType
from metahp.core.trial import Origin
from metahp.learners.base import Learner

# Changing the seed would change every point of every design already measured.
DESIGN_SEED = 20261121


def make_design(learner: Learner, task_type: TaskType, n: int) -> list[tuple[Configuration, Origin]]:
    """`n` different configurations, the same on every task of the type; a longer design starts with a shorter one.

    The quasi-random points are a scrambled Sobol' sequence in the unit cube of the search space (Owen, 1998).
    """
    space = learner.space(task_type)
    chosen = {space.default: Origin.DEFAULT}
    for values in learner.published(task_type).values():
        chosen.setdefault(space.configuration(values), Origin.PUBLISHED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties of Sobol")
        # Points of a Sobol' sequence come in powers of two; the prefix of a longer draw is the shorter draw.
        unit = qmc.Sobol(len(space), scramble=True, rng=DESIGN_SEED).random(n)
    for configuration in space.from_unit(unit):
        chosen.setdefault(configuration, Origin.DESIGN)
    return list(chosen.items())[:n]
