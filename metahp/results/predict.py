"""A result directory becomes a model again; what is in it is taken as foreign until it has been checked."""

import hashlib
import math
from pathlib import Path
from typing import Any

from metahp.core.checks import check_text
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, MetahpError
from metahp.core.metric import METRICS, Metric, find_metric
from metahp.core.task import TaskType
from metahp.datasets.preparation import DATE_PARTS, Preparation
from metahp.evaluation.scoring import Scorer, make_named_scorer
from metahp.learners.expected import Expected
from metahp.learners.registry import LEARNERS, find_learner
from metahp.learners.untrusted import MAX_DESCRIPTION_BYTES, MAX_MODEL_BYTES, parse_json, read_file
from metahp.results.content import BEST, MODELS, PREPARATION, SCHEMA_VERSION
from metahp.results.formats import describe_error, load_model
from metahp.results.model import Member, TunedModel
from metahp.results.owner import check_is_directory

# An ensemble is chosen from at most 50 configurations.
MAX_MEMBERS = 200
# So many probabilities of 10,000 rows take 800 MB.
MAX_CLASSES = 10_000


def load_result(directory: str | Path) -> TunedModel:
    """The tuned model in a result directory, which predicts exactly what it did when it was written.

    Raises:
        InputError: it is no result directory, one of another version or of an objective, which has no model, or its
            files are missing, changed or foreign.
        UnknownNameError: there is no such metric, or no such learner; one of your own must be registered first.
    """
    folder = Path(directory)
    found = _read_description(folder, BEST)
    try:
        best, has_model = found["best"], PREPARATION in found["files"]
        params, score = dict(best["configuration"]), best["score"]
    except Exception as error:
        raise InputError(_describe_damage(folder / BEST, error)) from None
    if not has_model:
        raise InputError(f"'{folder}' has no model: an objective was tuned there. What was found is in its {BEST}.")
    described = _read_description(folder, PREPARATION)
    try:
        return _load_tuned_model(folder, described, params, score)
    except MetahpError as error:
        if len(str(error).splitlines()) <= 1:
            raise
        # It quotes a text of the description that has several lines.
        raise InputError(_describe_damage(folder / PREPARATION, error)) from None
    except Exception as error:
        # The description may be anything that JSON can say, and fails in as many ways.
        raise InputError(_describe_damage(folder / PREPARATION, error)) from None


def _load_tuned_model(folder: Path, described: dict[str, Any], params: dict[str, Any], score: Any) -> TunedModel:
    task_type = TaskType(described["task_type"])
    classes = _read_classes(task_type, described["classes"])
    metric, scorer = _find_metric(task_type, classes, described)
    preparation = Preparation.from_dict(described)
    _check_columns(preparation)
    members = _check_list(described["members"], "members")
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"{len(members):,} members, expected at most {MAX_MEMBERS}")
    stems = ["model"] if len(members) == 1 else [f"{MODELS}/{index}" for index in range(len(members))]
    return TunedModel(
        task_type=task_type,
        target=str(described["target"]),
        classes=classes,
        metric=metric,
        preparation=preparation,
        members=tuple(
            _load_member(folder, stem, values, task_type, preparation, len(classes))
            for stem, values in zip(stems, members, strict=True)
        ),
        is_voting=bool(described["is_voting"]),
        best_params_=params,
        best_score_=score,
        seed=int(described.get("seed", 0)),
        scorer=scorer,
    )


def _find_metric(
    task_type: TaskType, classes: tuple[str, ...], described: dict[str, Any]
) -> tuple[Metric, Scorer | None]:
    """The metric of a model, with its scorer where it is another one of scikit-learn's."""
    name = described["metric"]
    if described.get("is_own_metric") is True:
        check_text(name, "The metric of a model", is_required=True)
        return Metric(name, 0.0, (task_type,)), None
    metric = find_metric(task_type, name)
    return metric, None if metric.name in METRICS else make_named_scorer(metric, task_type, classes)


def _read_description(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    check_is_directory(folder)
    if not path.is_file() and not path.is_symlink():
        result = any((folder / other).is_file() for other in (BEST, PREPARATION))
        raise InputError(
            f"'{folder}' has no {name}"
            + ("; restore that file or tune again." if result else ", so it is not a directory that metahp tune wrote.")
        )
    data = read_file(path, MAX_DESCRIPTION_BYTES)
    try:
        described = parse_json(data)
    except Exception as error:
        raise InputError(_describe_damage(path, error)) from None
    found = described.get("schema_version") if isinstance(described, dict) else None
    if found != SCHEMA_VERSION:
        raise InputError(
            f"'{path}' has schema version {repr(found)[:20]}, this metahp reads {SCHEMA_VERSION}; "
            "upgrade metahp, or tune again with this one."
        )
    return dict(described)


def _check_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} that are no list")
    return value


def _read_classes(task_type: TaskType, described: Any) -> tuple[str, ...]:
    classes = tuple(map(str, _check_list(described, "classes")))
    least, most = {TaskType.BINARY: (2, 2), TaskType.MULTICLASS: (2, MAX_CLASSES)}.get(task_type, (0, 0))
    if not least <= len(classes) <= most or len(set(classes)) < len(classes):
        raise ValueError(f"{len(classes):,} classes of a {task_type} task, expected {least} to {most:,} different ones")
    return classes


def _check_columns(preparation: Preparation) -> None:
    for column in preparation.columns:
        if len(set(column.categories)) < len(column.categories):
            raise ValueError(f"column {column.name[:60]!r} has a category twice")
        if bool(column.parts) != (column.kind == "date") or not set(DATE_PARTS).issuperset(column.parts):
            raise ValueError(f"column {column.name[:60]!r} has parts that are none of its kind")
    features = preparation.feature_names
    if not features or len(set(features)) < len(features):
        raise ValueError("expected at least one feature, and each once")


def _load_member(
    folder: Path, stem: str, values: dict[str, Any], task_type: TaskType, preparation: Preparation, n_classes: int
) -> Member:
    name = str(values["file"])
    allowed = [f"{stem}.{suffix}" for suffix in dict.fromkeys(one.suffix for one in LEARNERS.values())]
    if name not in allowed:
        raise InputError(
            f"'{folder / PREPARATION}' names {name[:60]!r} as a model, which is no name that metahp gives; "
            f"expected {' or '.join(allowed)}."
        )
    learner = find_learner(str(values["learner"]))
    if name != (own := f"{stem}.{learner.suffix}"):
        raise InputError(f"'{folder / PREPARATION}' names {name!r}, expected a model of {learner.name} in {own}.")
    path = folder / name
    if path.parent.is_symlink() and path.parent != folder:
        raise InputError(f"'{path.parent}' is a symbolic link, expected a folder; copy the folder to that place.")
    data = read_file(path, MAX_MODEL_BYTES)
    if hashlib.blake2b(data, digest_size=16).hexdigest() != values["blake2b"]:
        raise InputError(f"'{path}' was changed after it was written, so it is not loaded; restore it, or tune again.")
    seen = _check_list(values["seen_classes"], "seen classes")
    is_subset = all(type(code) is int and 0 <= code < n_classes for code in seen) and sorted(set(seen)) == seen
    if not is_subset or bool(seen) != bool(n_classes):
        raise InputError(f"'{folder / PREPARATION}' has classes {str(seen)[:60]} of {n_classes}; it is damaged.")
    weight = values["weight"]
    if not isinstance(weight, int | float) or not math.isfinite(weight):
        raise ValueError("a weight that is no number")
    configuration = Configuration.of(learner.name, values["configuration"])
    expected = _make_expected(configuration, task_type, preparation, len(seen))
    return Member(configuration, float(weight), load_model(data, str(path), expected), tuple(seen))


def _make_expected(
    configuration: Configuration, task_type: TaskType, preparation: Preparation, n_classes: int
) -> Expected:
    features = preparation.feature_names
    names = find_learner(configuration.learner).fitted_names(features)
    categories = {column.name: column.categories for column in preparation.columns if column.kind == "category"}
    return Expected(
        configuration=configuration,
        task_type=task_type,
        features=tuple(names),
        categories={
            name: categories[feature] for name, feature in zip(names, features, strict=True) if feature in categories
        },
        n_classes=n_classes,
    )


def _describe_damage(path: Path, error: Exception) -> str:
    what = f"no {describe_error(error)}" if isinstance(error, KeyError) else describe_error(error)
    return f"'{path}' is damaged ({what}); restore it, or tune again."
