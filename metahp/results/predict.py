"""A result directory becomes a model again; what is in it is taken as foreign until it has been checked."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, MetahpError
from metahp.core.metric import metric_for
from metahp.core.task import TaskType
from metahp.results.directory import BEST, PREPARATION, SCHEMA_VERSION
from metahp.results.formats import load_model
from metahp.results.model import Member, TunedModel
from metahp.results.preparation import Preparation

_MODEL_FILE = re.compile(r"(model|models/\d+)\.(txt|skops)")


def load_result(directory: str | Path) -> TunedModel:
    """The tuned model in a result directory, which predicts exactly what it did when it was written.

    Raises:
        InputError: it is no result directory, one of another version or of an objective, which has no model, or its
            files are missing, changed or foreign.
    """
    folder = Path(directory)
    found = _described(folder, BEST)
    try:
        best, has_model = found["best"], PREPARATION in found["files"]
        params, score = dict(best["configuration"]), best["score"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(_damaged(folder / BEST, error)) from None
    if not has_model:
        raise InputError(f"'{folder}' has no model: an objective was tuned there. What was found is in its {BEST}.")
    described = _described(folder, PREPARATION)
    try:
        task_type = TaskType(described["task_type"])
        classes = tuple(map(str, described["classes"]))
        members = described["members"]
        return TunedModel(
            task_type,
            str(described["target"]),
            classes,
            metric_for(task_type, described["metric"]),
            Preparation.from_dict(described),
            tuple(_member(folder, values, len(classes)) for values in members),
            bool(described["is_voting"]),
            best_params_=params,
            best_score_=score,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(_damaged(folder / PREPARATION, error)) from None
    except ValueError as error:
        if isinstance(error, MetahpError):
            raise
        raise InputError(_damaged(folder / PREPARATION, error)) from None


def _described(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"'{folder}' {what}; expected the directory that metahp tune wrote.")
    if not path.is_file():
        result = any((folder / other).is_file() for other in (BEST, PREPARATION))
        raise InputError(
            f"'{folder}' has no {name}"
            + ("; restore that file or tune again." if result else ", so it is not a directory that metahp tune wrote.")
        )
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(_damaged(path, error)) from None
    found = described.get("schema_version") if isinstance(described, dict) else None
    if found != SCHEMA_VERSION:
        raise InputError(
            f"'{path}' has schema version {found}, this metahp reads {SCHEMA_VERSION}; "
            "upgrade metahp, or tune again with this one."
        )
    return dict(described)


def _member(folder: Path, values: dict[str, Any], n_classes: int) -> Member:
    name = str(values["file"])
    if not _MODEL_FILE.fullmatch(name):
        raise InputError(
            f"'{folder / PREPARATION}' names '{name[:60]}' as a model, which is no name that metahp gives."
        )
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); restore it, or tune again.") from None
    if hashlib.blake2b(data, digest_size=16).hexdigest() != values["blake2b"]:
        raise InputError(f"'{path}' was changed after it was written, so it is not loaded; restore it, or tune again.")
    seen = tuple(map(int, values["seen_classes"]))
    if any(not 0 <= code < n_classes for code in seen):
        raise InputError(f"'{folder / PREPARATION}' has classes {seen} of {n_classes}; it is damaged.")
    configuration = Configuration.of(str(values["learner"]), values["configuration"])
    return Member(configuration, float(values["weight"]), load_model(data, str(path)), seen)


def _damaged(path: Path, error: Exception) -> str:
    what = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
    return f"'{path}' is damaged ({what}); restore it, or tune again."
