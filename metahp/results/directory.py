"""The directory that a study leaves behind, with the best configuration, the model, the trials and a script.

best.json         the best configuration and how it was found
preparation.json  what makes features of raw columns, and which model files there are
model.txt         the fitted model in its learner's format (model.skops of scikit-learn; models/0.txt, … of several)
trials.parquet    one row per trial
script.py         trains the best configuration without metahp, where the table came from a file
study/            the trials from which a later run goes on; see `metahp.study.trials`

An objective has no model: its directory has best.json, trials.parquet and study/ only.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError
from metahp.core.metric import Metric
from metahp.core.statistics import standard_error
from metahp.core.task import Task
from metahp.core.trial import Protocol, Trial, TrialState
from metahp.datasets.table import Table
from metahp.evaluation import interrupts
from metahp.files import (
    HeldError,
    is_unfinished,
    locked,
    sweep,
    sync_folder,
    unfinished_folder,
    unfinished_path,
    write_files,
    write_synced,
)
from metahp.learners.registry import LEARNERS, learner_named
from metahp.learners.untrusted import MAX_DESCRIPTION_BYTES, parse_json, read_file
from metahp.recommendation.result import arguments_of
from metahp.results.model import TunedModel
from metahp.results.script import ScriptFolds, training_script

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
BEST, PREPARATION, TRIALS, SCRIPT = "best.json", "preparation.json", "trials.parquet", "script.py"
STUDY = "study"
MODELS = "models"
LOCK = "lock"
# Free space without which no run begins; most results need less.
SPACE_BYTES = 1 << 20
_DESCRIPTIONS = (PREPARATION, TRIALS, SCRIPT)
_MODEL = re.compile(r"(?:model|models/[0-9]{1,9})\.([a-z0-9]+)")
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
        command: The command line, where there was one.
        default_score: Score of the library's default of the best learner; None where it was not measured.
        test_score: Score of the model on outer rows that took no part in tuning; None without.
        ensemble: What to report of the ensemble (JSON-ready); None without.
        warm_start: What to report of the warm start (JSON-ready); None without.

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
    command: str | None = None
    default_score: float | None = None
    test_score: float | None = None
    ensemble: Mapping[str, Any] | None = None
    warm_start: Mapping[str, Any] | None = None
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


def check_directory(directory: str | Path) -> None:
    """Refuse, before the first trial, a directory that `write_result` would refuse.

    Raises:
        InputError: it is a file or a link, has a link where a result has files, or holds files that are not an
            earlier result.
    """
    path = Path(directory)
    entries = list(path.iterdir()) if path.is_dir() else []
    models = list((path / MODELS).iterdir()) if (path / MODELS).is_dir() else []
    for place in (path, *entries, *models):
        is_ours = place.parent != path or place.name == BEST or _is_ours(place, has_study=True)
        if is_ours and place.is_symlink():
            raise InputError(
                f"'{place}' is a link, and what is written there would land elsewhere; name the real place."
            )
    if path.exists() and not path.is_dir():
        raise InputError(
            f"`output` '{path}' is a file; expected a directory, or a name for a new one.", argument="output"
        )
    # Unfinished files of a killed run do not count, nor does the study of a run that has not ended yet.
    has_study = (path / STUDY / LOCK).exists()
    others = (entry for entry in entries if not _is_ours(entry, has_study=has_study))
    if any(others) and not (path / BEST).exists():
        raise InputError(
            f"`output` '{path}' holds other files; name a new or empty directory, or an earlier result.",
            argument="output",
        )


def _is_ours(entry: Path, *, has_study: bool) -> bool:
    """Whether a run left this entry of a directory; files of a result count only beside a study."""
    is_of_result = entry.name == MODELS or _is_of_result(entry.name)
    return entry.name == STUDY or is_unfinished(entry) or (has_study and is_of_result)


def _is_of_result(name: str) -> bool:
    """Whether a result may have a file of this name besides `best.json`."""
    model = _MODEL.fullmatch(name)
    return name in _DESCRIPTIONS or (
        model is not None and any(learner.suffix == model[1] for learner in LEARNERS.values())
    )


@contextlib.contextmanager
def hold_directory(directory: str | Path) -> Iterator[None]:
    """Hold a result directory for one run, so that no other process writes there.

    Unfinished files of an earlier run are removed first, and at the end a new directory in which nothing was kept.

    Raises:
        InputError: as `check_directory`; or another process holds it, or it cannot be written.
    """
    path = Path(directory)
    check_directory(path)
    study = path / STUDY
    new = [folder for folder in (study, path) if not folder.exists()]
    with contextlib.ExitStack() as stack:
        try:
            study.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(study / LOCK))
            stack.callback(_remove_if_unused, study, new)
            _refuse_links(study)
            sweep(path.absolute().parent, path.absolute().name)
            for folder in (path, study, *study.glob("*"), *study.glob("*/journal")):
                sweep(folder)
            _check_space(study)
        except HeldError as error:
            raise InputError(
                f"'{path}' is in use by {error}; wait until it is done, or name another directory with `output`."
            ) from None
        except OSError as error:
            raise _unwritable(path, error) from error
        yield


def _remove_if_unused(study: Path, new: Sequence[Path]) -> None:
    """Remove the folders that this run has made, where they hold nothing but its lock."""
    with contextlib.suppress(OSError):
        if study in new and [entry.name for entry in study.iterdir()] == [LOCK]:
            (study / LOCK).unlink()
            for folder in new:
                folder.rmdir()


def _refuse_links(folder: Path) -> None:
    """Refuse a folder that holds links: files behind them do not belong to metahp."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (path := Path(parent) / name).is_symlink():
                raise InputError(
                    f"'{path}' is a link, which metahp does not make; remove it, or name another `output`."
                )


def _check_space(folder: Path) -> None:
    """Write and remove a file, so that a full disk is found before the first trial and not after the last.

    Raises:
        OSError: it cannot be written.
    """
    probe = unfinished_path(folder / "space")
    try:
        write_synced(probe, bytes(SPACE_BYTES))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def check_is_of(directory: str | Path, file: str | Path) -> None:
    """Refuse a directory that holds the result of another file, where the user did not name it.

    Raises:
        InputError: it does.
    """
    try:
        other = parse_json(read_file(Path(directory) / BEST, MAX_DESCRIPTION_BYTES))["task"]["file"]
    except (InputError, ValueError, KeyError, TypeError):
        return
    if other is not None and other != str(Path(file).absolute()):
        raise InputError(f"'{directory}' holds the result of '{other}'; name another directory with `output`.")


def write_result(directory: str | Path, content: ResultContent) -> None:
    """Write a result directory, or replace the one that is there.

    All files are complete on disk before the first one gets its name. A new directory appears at once with all of
    them. In an earlier result, each file is replaced at once; a reader in between finds that the model and its
    description do not belong together. Only files that the earlier result names as its own are removed.

    Raises:
        InputError: the directory holds something else or cannot be written, or the model has foreign types.
    """
    target = Path(directory).absolute()
    check_directory(target)
    files = _files(content)
    try:
        home = target if target.is_dir() else target.parent
        home.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(home / target.name) as staging:
            write_files(staging, files)
            with interrupts.shielded():
                if home is not target:
                    staging.rename(target)
                else:
                    _replace(target, staging, list(files))
                sync_folder(home)
    except OSError as error:
        raise _unwritable(directory, error) from error


def _unwritable(directory: str | Path, error: OSError) -> InputError:
    return InputError(
        f"The result cannot be written to '{directory}' ({error.strerror}); "
        "name a directory that you may write to, on a disk with space left."
    )


def trials_frame(trials: Sequence[Trial], metric: Metric) -> pd.DataFrame:
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
                "standard_error": standard_error(scores) if is_complete else math.nan,
                "fold_scores": scores,
                "curve_iterations": list(trial.curve.checkpoints),
                "curve_scores": [metric.score(loss) for loss in trial.curve.losses.get(metric.name, ())],
                "fit_seconds": trial.fit_seconds,
                "predict_seconds": trial.predict_seconds,
                "finished": finished,
            }
        )
    return pd.DataFrame(rows)


def _files(content: ResultContent) -> dict[str, bytes]:
    """The content of every file by its name: the description of the model after the model, `best.json` last."""
    files = {} if content.model is None else _model_files(content.model)
    script = _script(content)
    if script is not None:
        files[SCRIPT] = script.encode()
    buffer = BytesIO()
    trials_frame(content.trials, content.metric).to_parquet(buffer, index=False)
    files[TRIALS] = buffer.getvalue()
    files[BEST] = _json(_best(content, list(files)))
    return files


def _model_files(model: TunedModel) -> dict[str, bytes]:
    members = model.members
    files: dict[str, bytes] = {}
    described = []
    for index, member in enumerate(members):
        learner = learner_named(member.configuration.learner)
        name = f"{'model' if len(members) == 1 else f'models/{index}'}.{learner.suffix}"
        files[name] = learner.dump(member.model)
        described.append(
            {
                "file": name,
                "blake2b": hashlib.blake2b(files[name], digest_size=16).hexdigest(),
                "learner": member.configuration.learner,
                "configuration": member.configuration.values,
                "weight": member.weight,
                "seen_classes": list(member.seen),
            }
        )
    files[PREPARATION] = _json(
        {
            "schema_version": SCHEMA_VERSION,
            "task_type": str(model.task_type),
            "target": model.target,
            "classes": list(model.classes),
            "metric": model.metric.name,
            **model.preparation.to_dict(),
            "is_voting": model.is_voting,
            "members": described,
        }
    )
    return files


def _task(content: ResultContent) -> dict[str, Any]:
    table = content.table
    if isinstance(table, Objective):
        return {
            "id": table.task.id,
            "type": "objective",
            "name": table.task.name,
            "metric": content.metric.name,
            "direction": "maximize" if content.metric.sign > 0 else "minimize",
            "metafeatures": {name: _known(value) for name, value in table.metafeatures.items()},
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


def _best(content: ResultContent, files: list[str]) -> dict[str, Any]:
    metric, trial = content.metric, content.best_trial
    is_table = isinstance(content.table, Table)
    scores = [metric.score(loss) for loss in trial.fold_losses[metric.name]]
    states = [str(one.state) for one in content.trials]
    is_ensemble, test_score = content.is_ensemble, _known(content.test_score)
    return {
        "schema_version": SCHEMA_VERSION,
        "task": _task(content),
        "best": {
            "learner": content.best.learner,
            "configuration": arguments_of(content.best),
            "trial": trial.id,
            "origin": str(trial.origin),
            "score": _known(metric.score(trial.loss(metric.name))),
            "standard_error": _known(standard_error(scores)),
            "score_is": f"{'cross-validated' if is_table else 'what the objective gave'} and selected on",
            "test_score": None if is_ensemble else test_score,
        },
        "default_score": _known(content.default_score),
        "trials": {state: states.count(state) for state in map(str, TrialState)},
        "ensemble": None
        if content.ensemble is None
        else {**content.ensemble, "is_the_model": is_ensemble, "test_score": test_score if is_ensemble else None},
        "warm_start": None if content.warm_start is None else dict(content.warm_start),
        # An objective decides itself how it measures.
        "protocol": asdict(content.protocol) if is_table else None,
        "seed": content.seed,
        "command": content.command,
        "versions": {package: version(package) for package in _packages(content)},
        "files": files,
    }


def _packages(content: ResultContent) -> list[str]:
    """The distributions that the model depends on, each once."""
    learners = [member.configuration.learner for member in (content.model.members if content.model else ())]
    return list(dict.fromkeys([*_PACKAGES, *(name for one in learners for name in learner_named(one).libraries)]))


def _script(content: ResultContent) -> str | None:
    if content.path is None or isinstance(content.table, Objective):
        return None
    trial, protocol = content.best_trial, content.protocol
    score = content.metric.score(trial.loss(content.metric.name))
    left_out = "\nThe ensemble is not made here: this is its best single configuration." if content.is_ensemble else ""
    try:
        return training_script(
            content.best,
            content.table,
            str(Path(content.path).absolute()),
            metric=content.metric,
            seed=content.seed,
            verb="found",
            expectation=f"{content.metric.name} when tuned: {score:.4g} ({protocol.folds}-fold cross-validation of "
            f"{trial.n_rows:,} rows, and selected on it).{left_out}",
            folds=ScriptFolds(protocol.folds, protocol.splits.partition(":")[0], content.split_column),
        )
    except InputError as error:
        logger.warning("no %s: %s", SCRIPT, error)
        return None


def _replace(target: Path, staging: Path, names: list[str]) -> None:
    """Put the staged files in the place of an earlier result.

    `best.json` comes last: it names the earlier files, so after a kill it still lists what has to be removed.
    """
    *others, best = names
    obsolete = [name for name in _manifest(target) if name not in names]
    for name in others:
        path = target / name
        path.parent.mkdir(exist_ok=True)
        (staging / name).replace(path)
    for name in obsolete:
        (target / name).unlink(missing_ok=True)
    # On disk before the list of the earlier files is gone.
    for folder in {(target / name).parent for name in others}:
        sync_folder(folder)
    (staging / best).replace(target / best)


def _manifest(target: Path) -> list[str]:
    """The files that the result in `target` names as its own, where a result can have files of these names."""
    try:
        described = parse_json(read_file(target / BEST, MAX_DESCRIPTION_BYTES))
        return [name for name in described["files"] if isinstance(name, str) and _is_of_result(name)]
    except (InputError, ValueError, KeyError, TypeError) as error:
        if (target / BEST).exists():
            logger.warning("the earlier %s cannot be read (%s): files that only it names stay", target / BEST, error)
        return []


def _json(value: Any) -> bytes:
    # JSON has the same escape for half a character, as in a path that is not UTF-8.
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace")


def _known(number: float | None) -> float | None:
    """The number without its rounded last digits (0.8000000000000002 is 0.8); None for NaN and infinity."""
    return None if number is None or not math.isfinite(number) else float(f"{number:.12g}")
