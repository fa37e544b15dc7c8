"""Configurations for the first seconds of a study, before past tasks have been asked about its table.

They are good on past tasks in general and cheap. `metahp.train` writes them beside the models, as a small text that
needs no library to be read.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.errors import KnowledgeBaseError, MetahpError
from metahp.core.metric import find_guiding_metric
from metahp.core.regret import DEFAULT_SCALED_CLIP
from metahp.core.space import SearchSpace
from metahp.core.task import TaskType
from metahp.files import write_file
from metahp.knowledge.seed import find_seed_folder

if TYPE_CHECKING:
    from metahp.surrogate.evidence import Evidence

FILE = "quick_points.json"
# More are never tried before past tasks have been asked.
N_POINTS = 8
# Least share of the past tasks that have measured a configuration.
LEAST_MEASURED = 0.9
_log = logging.getLogger(__name__)


def choose_quick_points(evidence: "Evidence") -> list[Configuration]:
    """Configurations that improve most per second on past tasks, each given the cheapest default and those before it.

    Only those are considered that nearly all tasks have measured; where one has not, it counts as the default.
    """
    # Here, so that reading the points needs no more than a text.
    from metahp.refinement.pace import BETWEEN_TRIALS
    from metahp.surrogate.evidence import normalise_losses

    if not evidence.defaults or not len(evidence.tasks):
        return []
    known = np.flatnonzero(np.isfinite(evidence.losses).mean(axis=0) >= LEAST_MEASURED)
    seconds = np.exp(np.nanmean(np.log(np.maximum(evidence.fit_seconds[:, known], 1e-4)), axis=0))
    normalised, _ = normalise_losses(evidence.losses, list(evidence.defaults.values()), clip=DEFAULT_SCALED_CLIP)
    losses = np.nan_to_num(normalised[:, known], nan=1.0)
    place = {int(column): i for i, column in enumerate(known)}
    defaults = [place[column] for column in evidence.defaults.values() if column in place]
    if not defaults:
        return []
    tried = [min(defaults, key=lambda i: seconds[i])]
    best = losses[:, tried[0]]
    while len(tried) <= N_POINTS:
        gain = np.maximum(best[:, None] - losses, 0.0).mean(axis=0)
        worth = gain / (seconds + BETWEEN_TRIALS)
        worth[tried] = 0.0
        pick = int(worth.argmax())
        if not worth[pick] > 0:
            break
        tried.append(pick)
        best = np.minimum(best, losses[:, pick])
    return [evidence.candidates[known[i]] for i in tried[1:]]


def write_quick_points(folder: Path, points: Mapping[str, Sequence[Configuration]]) -> None:
    """Keep configurations by the name of their question (`name_question`)."""
    content = {
        name: [{"learner": each.learner, "values": each.hyperparameters} for each in chosen]
        for name, chosen in sorted(points.items())
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / FILE, (json.dumps(content, indent=1) + "\n").encode())


def name_question(task_type: TaskType, metric: str, learners: Sequence[str]) -> str:
    """The name of a question: kind of task, the metric that guides, and the learners."""
    kind = "classification" if task_type.is_classification else "regression"
    return f"{kind} {find_guiding_metric(metric)} {'.'.join(sorted(learners))}"


def read_quick_points(
    folder: Path, task_type: TaskType, metric: str, spaces: Mapping[str, SearchSpace]
) -> list[Configuration]:
    """Configurations for a question, from a folder of a knowledge base or else from the seed; empty if there are none.

    If no question had exactly these learners, the one with the most of them answers.
    """
    for place in _list_folders(folder):
        try:
            content = json.loads((place / FILE).read_text(encoding="utf-8"))
            names = [name for name in content if _is_answer(name, task_type, metric, spaces)]
            if not names:
                continue
            best = max(names, key=lambda name: name.count("."))
            return [configuration for each in content[best] if (configuration := _read(each, spaces)) is not None]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            message = "In its first seconds a search has fewer configurations to try, because %s cannot be read (%s)"
            _log.warning(f"{message}; `metahp kb train` writes it anew.", place / FILE, error)
    return []


def _is_answer(name: str, task_type: TaskType, metric: str, spaces: Mapping[str, SearchSpace]) -> bool:
    kind, _, learners = name.rpartition(" ")
    wanted = name_question(task_type, metric, ()).rstrip()
    return kind == wanted and set(learners.split(".")) <= set(spaces)


def _read(values: Mapping[str, object], spaces: Mapping[str, SearchSpace]) -> Configuration | None:
    """A configuration of one of the spaces; None where it is of another version of it."""
    try:
        space = spaces[str(values["learner"])]
        return space.configuration(values["values"])  # type: ignore[arg-type]
    except (MetahpError, KeyError):
        return None


def _list_folders(folder: Path) -> list[Path]:
    try:
        return [folder, find_seed_folder()]
    except KnowledgeBaseError:
        return [folder]
