"""What a study is asked with; a value that cannot be used is refused when it is made.

The names of the arguments in messages are those of `metahp.tune` and `metahp.tune_objective`. The limits of one trial
are `metahp.evaluation.limits.Limits`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from metahp.core.configuration import Given
from metahp.core.errors import InputError, UnknownNameError, did_you_mean
from metahp.evaluation.countdown import Countdown
from metahp.evaluation.limits import Limits
from metahp.evaluation.worker_process import WorkerProcess
from metahp.refinement.strategy import STRATEGY_NAMES
from metahp.study.progress import Progress

# The strategy that learns from past tasks until the end.
TRANSFER = "transfer"
# It needs few warm points, because every later trial is chosen with past tasks in view too.
N_WARM_TRANSFER, N_WARM = 3, 10
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folds:
    """How the rows of a table are split, and how many of them are set aside or left out.

    Attributes:
        cv: Number of folds; None for the default.
        groups: A column, or labels of shape (n,): rows of one group are never both trained and tested on.
        time: A column, or times of shape (n,): training rows come before test rows.
        splitter: A scikit-learn splitter, or pairs of training and test indices.
        test_size: Share of rows to set aside before anything looks at them.
        max_rows: Number of rows that trials use; None for all.
        sample_weight: A column, or weights of shape (n,); None where all rows count the same.
        seed: Seed of the folds and of the sample.

    Raises:
        InputError: a value that cannot be used, or two that exclude each other.
    """

    cv: int | None = None
    groups: Any = None
    time: Any = None
    splitter: Any = None
    test_size: float | None = None
    max_rows: int | None = None
    sample_weight: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.time is not None and (self.groups is not None or self.splitter is not None):
            raise InputError(
                "Folds by time cannot keep groups together or follow a splitter; ask for one of them.", argument="time"
            )
        if self.splitter is not None and self.cv is not None:
            raise InputError("A splitter decides on the folds itself; leave out `cv`.", argument="cv")
        if self.test_size is not None and not 0 < self.test_size < 1:
            raise InputError(
                f"`test_size` is a share of the rows between 0 and 1, got {self.test_size:g}.", argument="test_size"
            )
        if self.cv is not None:
            check_count("cv", self.cv, least=2)
        if self.max_rows is not None:
            check_count("max_rows", self.max_rows)
        check_count("seed", self.seed, least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When a study ends; its clock starts when it is made.

    Attributes:
        trials: End after this many trials, those of earlier runs included.
        timeout: End after this many seconds; None for no limit.
        patience: End after this many trials without a better one; None for no limit.
        stops_when_flat: End where further trials are expected to bring too little (`metahp.study.outlook`).

    Raises:
        InputError: a value that cannot be used.
    """

    trials: int
    timeout: float | None = None
    patience: int | None = None
    stops_when_flat: bool = False
    _countdown: Countdown = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"`timeout` is a number of seconds above 0, got {self.timeout:g}.", argument="timeout")
        check_count("trials", self.trials)
        if self.patience is not None:
            check_count("patience", self.patience)
        object.__setattr__(self, "_countdown", Countdown(math.inf if self.timeout is None else self.timeout))

    def make_part(self, share: float) -> "Budget":
        """The budget whose time limit ends after this share of the time, on the same clock.

        More rows come after it, so it does not end where the search is flat.
        """
        assert self.timeout is not None
        part = replace(self, timeout=share * self.timeout, stops_when_flat=False)
        object.__setattr__(part, "_countdown", self._countdown.shorten(share))
        return part

    def limit_trials(self, trials: int) -> "Budget":
        """The budget that ends after this many trials, on the same clock."""
        limited = replace(self, trials=trials)
        object.__setattr__(limited, "_countdown", self._countdown)
        return limited

    @property
    def seconds_left(self) -> float:
        """Seconds until the time limit, negative after it; infinite where there is none."""
        return self._countdown.measure_left()

    @property
    def seconds_spent(self) -> float:
        """Seconds since the clock started."""
        return self._countdown.measure_spent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a study begins, and what chooses its trials from there.

    Attributes:
        strategy: Name of the search strategy.
        device: Where the strategy computes: auto, cpu or cuda.
        is_cold: Whether past tasks are left aside.
        warm: Number of warm points; None for the default of the strategy.
        configurations: The user's own configurations, which are tried first.

    Raises:
        InputError, UnknownNameError: a value that cannot be used.
    """

    strategy: str = TRANSFER
    device: str = "auto"
    is_cold: bool = False
    warm: int | None = None
    configurations: Sequence[Given] = ()

    def __post_init__(self) -> None:
        if self.warm is not None:
            check_count("warm", self.warm, least=0)
        if self.device not in DEVICES:
            raise InputError(f"`device` is one of {', '.join(DEVICES)}, got '{self.device}'.", argument="device")
        known = [TRANSFER, *STRATEGY_NAMES]
        if self.strategy not in known:
            raise UnknownNameError(
                f"'{self.strategy}' is not a search strategy. {did_you_mean(self.strategy, known)}", argument="strategy"
            )

    @property
    def n_warm(self) -> int:
        """How many warm points to begin with."""
        if self.is_cold:
            return 0
        if self.warm is not None:
            return self.warm
        return N_WARM_TRANSFER if self.strategy == TRANSFER else N_WARM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """What a person asks of a study, be it of a table or of an objective.

    Attributes:
        budget: When it ends.
        start: Where it begins.
        n_jobs: How many trials run side by side.
        seed: Seed of models and strategy.
        command: The command line, which the result keeps; None without one.
        on_trial: Called at the start and after every trial.
        worker: A process for the first trials that is being started already; None to start it when it is needed.

    Raises:
        InputError: a value that cannot be used.
    """

    budget: Budget
    start: Start
    n_jobs: int = 1
    seed: int = 0
    command: str | None = None
    on_trial: Callable[[Progress], None] = lambda progress: None
    worker: WorkerProcess | None = None

    def __post_init__(self) -> None:
        check_count("jobs", self.n_jobs)
        if self.budget.stops_when_flat and (self.start.strategy != TRANSFER or self.start.is_cold):
            raise InputError(
                f"Only the strategy {TRANSFER} with past tasks estimates what more trials bring; leave out "
                "`stop_when_flat`, `strategy` or `cold`.",
                argument="stop_when_flat",
            )
        check_count("seed", self.seed, least=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableSettings:
    """How the trials of a table are measured, and what becomes of them.

    Attributes:
        metric: Name of the metric, or a scorer; None for the default of the task type.
        learners: Name or names of the learners to choose from; None for those that are known well enough.
        limits: Limits of each trial.
        budget_seconds: Work for the meta-features, in seconds of one core.
        is_pruned: Whether a hopeless trial ends after its first folds.
        stops_early: Whether boosted trees keep the iterations with the lowest loss.
        is_ensemble: Whether the final model is the ensemble.
        is_voting: Whether members of the ensemble vote, instead of averaging probabilities.
        on_start: Called with the `Plan` of the study.
        fixed: Arguments that all configurations have, as given (`metahp.learners.read_fixed`); None for none.
    """

    metric: Any
    learners: str | Sequence[str] | None
    limits: Limits
    budget_seconds: float
    is_pruned: bool
    stops_early: bool
    is_ensemble: bool
    is_voting: bool
    on_start: Callable[[Any], None]
    fixed: Any = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """Where a study finds past tasks and leaves what it found.

    Attributes:
        knowledge_base: A knowledge base or the path of one; None for the user's own.
        is_recorded: Whether trials and meta-features are written to it.
        output: Result directory; None for none.
    """

    knowledge_base: Any
    is_recorded: bool
    output: str | Path | None


def check_count(argument: str, count: object, *, least: int = 1) -> None:
    """Refuse what is no whole number of at least `least`.

    Raises:
        InputError: it is refused.
    """
    if not isinstance(count, Integral) or isinstance(count, bool) or count < least:
        raise InputError(f"`{argument}` is a whole number of at least {least}, got {count!r}.", argument=argument)
