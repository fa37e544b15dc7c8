"""A backend that looks losses up in a table instead of measuring them."""

from collections.abc import Mapping

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.trial import OBJECTIVE_SPLITS, Protocol, Trial, TrialState
from metahp.evaluation.backend import Candidate, InTurn, Outcome

# A table says nothing of how its losses were measured, and may have any number of them for a configuration.
PROTOCOL = Protocol(splits=OBJECTIVE_SPLITS)
TASK = "lookup"


class Lookup(InTurn[Candidate]):
    """Complete trials with the losses of a table.

    Args:
        losses: The losses of each configuration, one for each fold.
        metric: What the trials call these losses.
    """

    def __init__(self, losses: Mapping[Configuration, tuple[float, ...]], *, metric: str) -> None:
        super().__init__(self._look_up)
        self._losses = losses
        self._metric = metric

    def _look_up(self, job: Candidate) -> Outcome:
        losses = self._losses.get(job.configuration)
        if losses is None:
            raise InputError(f"The table has no losses of {job.configuration}.")
        return Outcome(
            Trial(
                task=TASK,
                configuration=job.configuration,
                protocol=PROTOCOL,
                n_rows=0,
                state=TrialState.COMPLETE,
                origin=job.origin,
                fold_losses={self._metric: losses},
            )
        )
