"""The study of a user's own objective: its task, which is known by a name and meta-features, and its result."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import METRICS, Metric
from metahp.core.space import SearchSpace
from metahp.core.task import Task, TaskType
from metahp.core.text import make_encodable
from metahp.core.trial import OBJECTIVE_SPLITS, Protocol
from metahp.evaluation import interrupts
from metahp.evaluation.threads import ObjectiveFunction, ObjectiveThreads
from metahp.knowledge.records import TaskRecord
from metahp.learners.registry import LEARNERS
from metahp.results.content import Objective, ResultContent
from metahp.results.directory import write_result
from metahp.study.configurations import read_configurations
from metahp.study.outlook import find_outlook_notes
from metahp.study.request import Request
from metahp.study.result import TuneResult, make_result
from metahp.study.run import run_study
from metahp.study.search import LateSearch, Search
from metahp.study.trials import Storage, StudyTrials

# Default metric name of an objective.
METRIC_NAME = "objective"
# The objective itself decides how it measures and what it does with a seed, so trials of all seeds are comparable.
PROTOCOL = Protocol(splits=OBJECTIVE_SPLITS)
MAXIMIZE, MINIMIZE = "maximize", "minimize"
HINT = "Trials belong to a task by its name and meta-features: after a change of the objective give it another name."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObjectiveRequest:
    """What a study of an objective is asked for, beside a `Request`.

    Attributes:
        function: The objective.
        space: Its search space.
        metric: What its scores are.
        metafeatures: Numbers that describe the task.
        name: Name of the task; that of the space where it is empty.
        task: The task; the same name and meta-features are the same task.

    Raises:
        InputError: a value that cannot be used.
    """

    function: ObjectiveFunction
    space: SearchSpace
    metric: Metric
    metafeatures: Mapping[str, float]
    name: str = ""
    task: Task = field(init=False)

    def __post_init__(self) -> None:
        if not callable(self.function) or not isinstance(self.space, SearchSpace):
            raise InputError("An objective is a function and comes with a SearchSpace.")
        if self.space.learner in LEARNERS:
            raise InputError(f"'{self.space.learner}' is the name of a learner of metahp; call the space otherwise.")
        values = self.metafeatures
        if not isinstance(values, Mapping) or not all(isinstance(value, Real) for value in values.values()):
            raise InputError(f"metafeatures are numbers by name, got {values!r}.", argument="metafeatures")
        task = make_task(self.name or self.space.learner, values, self.metric)
        object.__setattr__(self, "task", task)


def make_metric(name: str | None, direction: str) -> Metric:
    """The metric of an objective.

    Raises:
        InputError: no such direction, or a known metric that is to be minimised.
    """
    if direction not in (MAXIMIZE, MINIMIZE):
        raise InputError(f"direction is {MAXIMIZE} or {MINIMIZE}, got '{direction}'.", argument="direction")
    if name in METRICS:
        if direction == MINIMIZE:
            raise InputError(f"'{name}' is a score, greater is better; it cannot be minimised.", argument="direction")
        return METRICS[name]
    return Metric(name or METRIC_NAME, 0.0, (), sign=1 if direction == MAXIMIZE else -1)


def make_task(name: str, metafeatures: Mapping[str, float], metric: Metric) -> Task:
    """The task of an objective; its id is a hash of name, meta-features and metric."""
    name = make_encodable(name)
    described = [name, sorted((key, repr(float(value))) for key, value in metafeatures.items())]
    # These two words stand in the ids of all tasks on record.
    described += [metric.name, "Metric" if metric.sign > 0 else "Cost"]
    id_ = hashlib.blake2b(json.dumps(described).encode(), digest_size=12).hexdigest()
    return Task(id=id_, type=TaskType.REGRESSION, n_rows=0, n_features=0, name=name, group=name)


def tune_function(
    request: Request,
    objective_request: ObjectiveRequest,
    storage: Storage,
    begin: Callable[[StudyTrials, Sequence[Configuration]], Search | LateSearch],
) -> TuneResult:
    """Tune an objective; errors as for `metahp.tune_objective`.

    Args:
        request: What is asked of any study.
        objective_request: What is asked of this one.
        storage: Where trials and result are kept.
        begin: Makes the search of the trials so far and the user's own configurations, before the first trial.
    """
    task, space, metric = objective_request.task, objective_request.space, objective_request.metric
    own = read_configurations(request.start.configurations, [space])
    trials = storage.open_trials(task.id, PROTOCOL, metric, [space])
    is_open = trials.n_trials < request.budget.trials
    notes: tuple[str, ...] = ()
    if not is_open:
        notes = (f"nothing left to do: the task '{task.name}' has {trials.n_trials} trials already. {HINT}",)
    search = begin(trials, own)
    strategy = search.strategy if isinstance(search, Search) else search
    if is_open:
        storage.record(TaskRecord(task=task, metafeatures=objective_request.metafeatures))
    with interrupts.hold_signals() as held:
        with ObjectiveThreads(
            objective_request.function, space, task=task.id, protocol=PROTOCOL, metric=metric, n_jobs=request.n_jobs
        ) as backend:
            best, ended, outlook = run_study(
                request, trials, strategy, backend, lambda suggestion: suggestion, held, hint=HINT
            )
        late = () if isinstance(search, Search) else search.past.notes
        result = make_result(
            trials,
            best,
            ended,
            n_past_tasks=search.past.n_past_tasks,
            directory=storage.directory,
            outlook=outlook,
            warnings=(*notes, *late, *find_outlook_notes(request.budget, trials, outlook)),
        )
        if storage.directory is not None:
            content = ResultContent(
                table=Objective(task, objective_request.metafeatures),
                metric=metric,
                best=best.configuration,
                model=None,
                trials=result.trials,
                protocol=PROTOCOL,
                seed=request.seed,
                command=request.command,
                default_score=result.default_score_,
                warm_start=result.warm_start(),
                outlook=result.describe_outlook(),
            )
            write_result(storage.directory, content)
        storage.ingest(request.budget.seconds_left)
        return replace(result, ended="interrupted") if held.is_waiting else result
