"""What the result of a study holds, file by file.

best.json         the best configuration and how it was found
preparation.json  what makes features of raw columns, and which model files there are
model.txt         the fitted model in its learner's format (model.skops of scikit-learn; models/0.txt, … of several)
trials.parquet    one row per trial
script.py         trains the best configuration without metahp, where the table came from a file

An objective has no model: its result has best.json and trials.parquet only.
"""

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import METRICS, SCORERS, Metric
from metahp.core.statistics import compute_standard_error
from metahp.core.task import Task
from metahp.core.trial import Protocol, Trial, TrialState
from metahp.datasets.table import Table
from metahp.evaluation.splits import WEIGHTED
from metahp.learners.arguments import make_arguments
from metahp.learners.fixed import NOTHING_FIXED, Fixed
from metahp.learners.registry import find_learner
from metahp.results.model import TunedModel
from metahp.results.owner import BEST
from metahp.results.script import ScriptFolds, make_training_script

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
PREPARATION, TRIALS, SCRIPT = "preparation.json", "trials.parquet", "script.py"
MODELS = "models"
# `best.json` has the versions of these packages, and of the libraries of the learners.
_PACKAGES = ("metahp", "numpy", "pandas", "scikit-learn", "skops")


@dataclass(frozen=True, slots=True)
class Objective:
    """What was tuned where there was no table: a user's own function, known by its task and meta-features."""

    task: Task
    metafeatures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultContent:
    """What to write of a study.

    Attributes:
        table: What was tuned on, or the objective.
        metric: What was tuned for.
        best: The best single configuration; its score is looked up in `trials`.
        model: Fitted; one member, or those of an ensemble. None of an objective.
        trials: All trials in the order in which they finished.
        protocol: How they were measured.
        seed: Of the run, and of the model.
        path: The file that the table was read from; None where there is none.
        split_column: Column of the file by whose groups or times the folds go; empty without.
        weight_column: Column of the file that has the weights of rows; empty without.
        is_weighted: Whether rows have weights.
        command: The command line, where there was one.
        default_score: Score of the library's default of the best learner; None where it was not measured.
        test_score: Score of the model on outer rows that took no part in tuning; None without.
        ensemble: What to report of the ensemble (JSON-ready); None without.
        warm_start: What to report of the warm start (JSON-ready); None without.
        outlook: What to report of the gain that more time is expected to bring (JSON-ready); None without.
        fixed: What the user fixed.

    Raises:
        InputError: the best configuration has no complete trial, or there is no model of a table.
    """

    table: Table | Objective
    metric: Metric
    best: Configuration
    model: TunedModel | None
    trials: Sequence[Trial]
    protocol: Protocol
    seed: int
    path: str | Path | None = None
    split_column: str = ""
    weight_column: str = ""
    is_weighted: bool = False
    command: str | None = None
    default_score: float | None = None
    test_score: float | None = None
    ensemble: Mapping[str, Any] | None = None
    warm_start: Mapping[str, Any] | None = None
    outlook: Mapping[str, Any] | None = None
    fixed: Fixed = NOTHING_FIXED
    best_trial: Trial = field(init=False)

    def __post_init__(self) -> None:
        own = [t for t in self.trials if t.configuration == self.best and t.state is TrialState.COMPLETE]
        if not own:
            raise InputError("The best configuration has no complete trial among the trials of this run.")
        if (self.model is None) != isinstance(self.table, Objective):
            raise InputError("A result of a table has a model, and that of an objective has none.")
        object.__setattr__(self, "best_trial", own[-1])

    @property
    def is_ensemble(self) -> bool:
        """Whether the model has several members."""
        return self.model is not None and len(self.model.members) > 1


def make_trials_frame(trials: Sequence[Trial], metric: Metric) -> pd.DataFrame:
    """One row per trial in the order given: scores in the metric's own sign, seconds summed over the folds.

    Only a complete trial has a score; `fold_scores` of a pruned one are those of the folds that were run.
    `curve_scores` are the mean scores after `curve_iterations` iterations, to the end of the run, of which early
    stopping may have kept fewer; both are empty where there is no learning curve.
    """
    rows = []
    for finished, trial in enumerate(trials):
        scores = [metric.score(loss) for loss in trial.fold_losses.get(metric.name, ())]
        # The first folds of a pruned trial give no score that can be compared with others.
        is_complete = trial.state is TrialState.COMPLETE
        rows.append(
            {
                "id": trial.id,
                "learner": trial.configuration.learner,
                "configuration": json.dumps(trial.configuration.values),
                "state": str(trial.state),
                "reason": trial.reason,
                "origin": str(trial.origin),
                "score": metric.score(trial.loss(metric.name)) if is_complete else math.nan,
                "standard_error": compute_standard_error(scores) if is_complete else math.nan,
                "fold_scores": scores,
                "curve_iterations": list(trial.curve.checkpoints),
                "curve_scores": [metric.score(loss) for loss in trial.curve.losses.get(metric.name, ())],
                "fit_seconds": trial.fit_seconds,
                "predict_seconds": trial.predict_seconds,
                "finished": finished,
            }
        )
    return pd.DataFrame(rows)


def make_files(content: ResultContent) -> dict[str, bytes]:
    """The content of every file by its name: the description of the model after the model, `best.json` last."""
    files = {} if content.model is None else _make_model_files(content.model)
    script = _make_script(content)
    if script is not None:
        files[SCRIPT] = script.encode()
    buffer = BytesIO()
    make_trials_frame(content.trials, content.metric).to_parquet(buffer, index=False)
    files[TRIALS] = buffer.getvalue()
    files[BEST] = _write_json(_describe_best(content, list(files)))
    return files


def _make_model_files(model: TunedModel) -> dict[str, bytes]:
    members = model.members
    files: dict[str, bytes] = {}
    described = []
    for index, member in enumerate(members):
        learner = find_learner(member.configuration.learner)
        name = f"{'model' if len(members) == 1 else f'models/{index}'}.{learner.suffix}"
        files[name] = learner.dump(member.model)
        described.append(
            {
                "file": name,
                "blake2b": hashlib.blake2b(files[name], digest_size=16).hexdigest(),
                "learner": member.configuration.learner,
                "configuration": member.configuration.stored,
                "weight": member.weight,
                "seen_classes": list(member.seen),
            }
        )
    files[PREPARATION] = _write_json(
        {
            "schema_version": SCHEMA_VERSION,
            "task_type": str(model.task_type),
            "target": model.target,
            "classes": list(model.classes),
            "metric": model.metric.name,
            # A scorer of the user's own is no text.
            "is_own_metric": model.metric.name not in METRICS and model.metric.name not in SCORERS,
            **model.preparation.to_dict(),
            "is_voting": model.is_voting,
            "seed": model.seed,
            "members": described,
        }
    )
    return files


def _describe_task(content: ResultContent) -> dict[str, Any]:
    table = content.table
    if isinstance(table, Objective):
        return {
            "id": table.task.id,
            "type": "objective",
            "name": table.task.name,
            "metric": content.metric.name,
            "direction": "maximize" if content.metric.sign > 0 else "minimize",
            "metafeatures": {name: _round_score(value) for name, value in table.metafeatures.items()},
        }
    return {
        "id": table.task.id,
        "type": str(table.task.type),
        "target": table.target,
        "file": None if content.path is None else str(Path(content.path).absolute()),
        "n_rows": table.task.n_rows,
        "n_features": table.task.n_features,
        "metric": content.metric.name,
        "classes": list(table.classes),
    }


def _describe_best(content: ResultContent, files: list[str]) -> dict[str, Any]:
    metric, trial = content.metric, content.best_trial
    is_table = isinstance(content.table, Table)
    scores = [metric.score(loss) for loss in trial.fold_losses[metric.name]]
    states = [str(one.state) for one in content.trials]
    is_ensemble, test_score = content.is_ensemble, _round_score(content.test_score)
    return {
        "schema_version": SCHEMA_VERSION,
        "task": _describe_task(content),
        "best": {
            "learner": content.best.learner,
            "configuration": make_arguments(content.best),
            "trial": trial.id,
            "origin": str(trial.origin),
            "score": _round_score(metric.score(trial.loss(metric.name))),
            "standard_error": _round_score(compute_standard_error(scores)),
            "score_is": f"{'cross-validated' if is_table else 'what the objective gave'} and selected on",
            "test_score": None if is_ensemble else test_score,
        },
        "default_score": _round_score(content.default_score),
        "trials": {state: states.count(state) for state in map(str, TrialState)},
        "ensemble": None
        if content.ensemble is None
        else {**content.ensemble, "is_the_model": is_ensemble, "test_score": test_score if is_ensemble else None},
        "warm_start": None if content.warm_start is None else dict(content.warm_start),
        "outlook": None if content.outlook is None else dict(content.outlook),
        # An objective decides itself how it measures.
        "protocol": asdict(content.protocol) if is_table else None,
        "seed": content.seed,
        "fixed": content.fixed.shown or None,
        "command": content.command,
        "versions": {package: version(package) for package in _list_packages(content)},
        "files": files,
    }


def _list_packages(content: ResultContent) -> list[str]:
    """The distributions that the model depends on, each once."""
    learners = [member.configuration.learner for member in (content.model.members if content.model else ())]
    return list(dict.fromkeys([*_PACKAGES, *(name for one in learners for name in find_learner(one).libraries)]))


def _make_script(content: ResultContent) -> str | None:
    if content.path is None or isinstance(content.table, Objective):
        return None
    trial, protocol = content.best_trial, content.protocol
    score = content.metric.speak(content.metric.score(trial.loss(content.metric.name)))
    kind = protocol.split_name.partition(":")[0]
    left_out = "\nThe ensemble is not made here: this is its best single configuration." if content.is_ensemble else ""
    try:
        return make_training_script(
            content.best,
            content.table,
            str(Path(content.path).absolute()),
            metric=content.metric,
            seed=content.seed,
            verb="found",
            expectation=f"{content.metric.label} when tuned: {score:.4g} ({protocol.folds}-fold cross-validation of "
            f"{trial.n_rows:,} rows, and selected on it).{left_out}",
            n_jobs=content.fixed.n_jobs.get(content.best.learner, 1),
            folds=ScriptFolds(
                count=protocol.folds,
                kind="" if kind == WEIGHTED else kind,
                column=content.split_column,
                weight_column=content.weight_column,
                is_weighted=content.is_weighted,
            ),
        )
    except InputError as error:
        logger.warning("The result has no %s, so only metahp can use the model: %s", SCRIPT, error)
        return None


def _write_json(value: Any) -> bytes:
    # JSON has the same escape for half a character, as in a path that is not UTF-8.
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")


def _round_score(number: float | None) -> float | None:
    """The number without its rounded last digits (0.8000000000000002 is 0.8); None for NaN and infinity."""
    return None if number is None or not math.isfinite(number) else float(f"{number:.12g}")
