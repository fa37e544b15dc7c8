"""The learners by name: the learners of metahp, and the learners that this process has registered.

A learner is imported on first use, so a list of names costs no import. Names from files (a knowledge base, a result
directory) are only looked up: a learner that is not registered is never imported.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from metahp.core.errors import InputError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from metahp.learners.base import Learner

_SHIPPED = {
    "lightgbm": "metahp.learners.lightgbm:LightGBM",
    "random_forest": "metahp.learners.forest:RANDOM_FOREST",
    "extra_trees": "metahp.learners.forest:EXTRA_TREES",
    "linear": "metahp.learners.linear:Linear",
    "xgboost": "metahp.learners.xgboost:XGBoost",
    "catboost": "metahp.learners.catboost:CatBoost",
}

# Names of the script of a process and of a process that `multiprocessing` started. Other processes cannot import these.
_MAIN = ("__main__", "__mp_main__")


@dataclass(frozen=True, slots=True)
class LearnerReference:
    """Where another process finds a learner.

    Attributes:
        name: The learner's name.
        target: `module:name` of a learner, or of a class of learners that takes no arguments.
        file: File that this process imported the module from; empty for the learners of metahp.
        path: Folders where this process searches for modules; empty for the learners of metahp.
    """

    name: str
    target: str
    file: str = ""
    path: tuple[str, ...] = ()


class _Learners(Mapping[str, "Learner"]):
    """Learners by name, each imported on first use."""

    def __init__(self) -> None:
        self.references = {name: LearnerReference(name, target) for name, target in _SHIPPED.items()}
        self._loaded: dict[str, Learner] = {}

    def __getitem__(self, name: str) -> "Learner":
        if name not in self._loaded:
            self._loaded[name] = _load(self.references[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.references

    def __iter__(self) -> Iterator[str]:
        return iter(self.references)

    def __len__(self) -> int:
        return len(self.references)

    def add(self, reference: LearnerReference, learner: "Learner | None" = None) -> None:
        """Add a reference under its name, replacing an earlier one; without `learner`, it is imported on first use."""
        self.references[reference.name] = reference
        self._loaded.pop(reference.name, None)
        if learner is not None:
            self._loaded[reference.name] = learner


_learners = _Learners()
LEARNERS: Mapping[str, "Learner"] = _learners


def find_learner(name: str) -> "Learner":
    """The learner called `name`.

    Raises:
        UnknownNameError: no learner of metahp and no registered learner has this name.
    """
    _check_known(name)
    return LEARNERS[name]


def find_reference(name: str) -> LearnerReference:
    """Where another process finds the learner called `name`; this imports nothing.

    Raises:
        UnknownNameError: no learner of metahp and no registered learner has this name.
    """
    _check_known(name)
    return _learners.references[name]


def list_references() -> tuple[LearnerReference, ...]:
    """References of all learners that are not metahp's own, for another process."""
    return tuple(reference for name, reference in _learners.references.items() if name not in _SHIPPED)


def adopt(references: Iterable[LearnerReference]) -> None:
    """Register the learners that another process has registered, so that `find_learner` finds them here."""
    for reference in references:
        if _learners.references.get(reference.name) != reference:
            _learners.add(reference)


def register_learner(learner: "Learner | type[Learner]") -> None:
    """Register a learner by its name, for this process and the worker processes that it starts.

    Args:
        learner: A subclass of `metahp.Learner` that takes no arguments, or an instance that is a global variable of its
            module. To register the same learner again changes nothing.

    Raises:
        InputError: the name is taken or malformed, a library is not installed, the class is abstract, or worker
            processes cannot import the learner because it is defined in a script, a session or a function.
    """
    # The author of a learner has imported this module; it is too slow to import for a list of names.
    instance: Learner = import_module("metahp.learners.base").make_learner(learner)
    reference = _make_reference(learner, instance)
    earlier = _learners.references.get(instance.name)
    if earlier is not None and earlier.target != reference.target:
        raise InputError(
            f"A learner '{instance.name}' is registered already ({earlier.target}); "
            f"give {reference.target} another name."
        )
    _learners.add(reference, instance)


def _check_known(name: str) -> None:
    if name not in LEARNERS:
        raise UnknownNameError(
            f"'{name}' is not a learner. {did_you_mean(name, list(LEARNERS))} "
            "Import and register your own learner first, with metahp.register_learner."
        )


def _make_reference(learner: "Learner | type[Learner]", instance: "Learner") -> LearnerReference:
    """The reference to a class, or to an instance by its name in its module."""
    kind = type(instance)
    is_main = kind.__module__ in _MAIN
    if is_main or "<locals>" in kind.__qualname__ or kind.__module__ not in sys.modules:
        where = "the script or session itself" if is_main else "a function"
        raise InputError(
            f"The learner '{instance.name}' is defined in {where}, so worker processes cannot import it; "
            f"put its class into a separate module, such as {instance.name}.py, and import it from there."
        )
    module = sys.modules[kind.__module__]
    name = kind.__qualname__
    if not isinstance(learner, type):
        names = [key for key, value in vars(module).items() if value is learner]
        if not names and vars(learner):
            raise InputError(
                f"Worker processes cannot import this instance of {module.__name__}.{name}; "
                f"give it a name in the module {module.__name__}, or register a class that takes no arguments."
            )
        name = names[0] if names else name
    file = getattr(module, "__file__", None) or ""
    path = () if module.__name__.startswith("metahp.") else _list_folders(module)
    return LearnerReference(instance.name, f"{module.__name__}:{name}", os.path.abspath(file) if file else "", path)


def _list_folders(module: Any) -> tuple[str, ...]:
    """The folder of the module's outermost package, then the folders where this process searches for modules.

    An empty entry of `sys.path` is left out: it means the current working folder, which may hold modules by chance.
    """
    outermost = sys.modules[module.__name__.partition(".")[0]]
    homes = list(getattr(outermost, "__path__", [])) or [getattr(outermost, "__file__", None) or ""]
    folders = [os.path.dirname(os.path.abspath(home)) for home in homes if home]
    return tuple(dict.fromkeys([*folders, *(os.path.abspath(entry) for entry in sys.path if entry)]))


def _load(reference: LearnerReference) -> "Learner":
    """The learner of a reference, imported.

    Its folders go to the end of `sys.path`, so that a `random.py` beside the learner's module does not replace
    Python's.

    Raises:
        InputError: the learner cannot be imported, or this process finds another module of the same name.
    """
    name, _, attribute = reference.target.partition(":")
    if reference.file:
        sys.path.extend(entry for entry in reference.path if entry not in sys.path)
    try:
        if reference.file:
            _check_file(reference, name)
        target: Any = attrgetter(attribute)(import_module(name))
        learner: Learner = target() if isinstance(target, type) else target
    except Exception as error:
        if not reference.file or isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"The learner '{reference.name}' cannot be imported as {reference.target} "
            f"({type(error).__name__}: {reason})."
        ) from error
    return learner


def _check_file(reference: LearnerReference, name: str) -> None:
    """Check that the module is the learner's and not another of the same name, before any of its code runs."""
    spec = find_spec(name)
    origin = spec.origin if spec is not None and spec.origin else None
    if origin is not None and os.path.realpath(origin) != os.path.realpath(reference.file):
        raise InputError(
            f"The learner '{reference.name}' is in {reference.file}, but a worker process finds {origin} under the "
            f"same name; rename the module '{name}'."
        )
